"""Whatever is done to a page store, in whatever order, it holds what a dictionary would, and no byte else."""

import random
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfroute.memory.pages import writing
from selfroute.memory.pages.base import MissingPages
from selfroute.memory.pages.made import is_made, made_hash, made_layout, made_page
from selfroute.memory.pages.segments import Segments
from selfroute.memory.pages.store import PageStore

LAYOUTS = {name: made_layout(name) for name in ("00", "01")}
HASHES = [made_hash(str(i)) for i in range(24)]
NAMES = [field.name for field in LAYOUTS["00"].fields]
PAGES = st.lists(st.sampled_from(range(len(HASHES))), max_size=12)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.sampled_from(["00", "01"]), PAGES),
        st.tuples(st.just("flush"), st.none(), st.none()),
        st.tuples(st.just("gather"), st.sampled_from(["00", "01"]), PAGES),
        st.tuples(st.just("touch"), st.sampled_from(["00", "01"]), PAGES),
        st.tuples(st.just("collect"), st.sampled_from(["00", "01", None]), PAGES),
        st.tuples(st.just("evict"), st.none(), st.integers(0, 200_000)),
        st.tuples(st.just("pin"), st.sampled_from(["00", "01"]), PAGES),
        st.tuples(st.just("unpin"), st.sampled_from(["00", "01"]), PAGES),
        st.tuples(st.just("reopen"), st.none(), st.none()),
        st.tuples(st.just("damage"), st.none(), st.integers(0, 1 << 20)),
        st.tuples(st.just("other process"), st.sampled_from(["00", "01"]), PAGES),
    ),
    max_size=25,
)


class Model:
    """The store, and what it must hold. damaged: pages that may be gone by now."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = PageStore.open(folder, word="w")
        self.held: set[tuple[str, str]] = set()
        self.pins: list[tuple[str, str]] = []
        self.hurt = False

    def put(self, model: str, pages: list[int], store: PageStore | None = None) -> None:
        layout = LAYOUTS[model]
        (store or self.store).put(layout, (made_page(layout, HASHES[i]) for i in pages))
        self.held |= {(model, HASHES[i]) for i in pages}

    def flush(self, *_: object) -> None:
        self.store.flush()

    def gather(self, model: str, pages: list[int]) -> None:
        layout, asked = LAYOUTS[model], [HASHES[i] for i in pages]
        names = random.Random(len(pages)).sample(NAMES, 1 + len(pages) % len(NAMES))
        try:
            found = self.store.gather(layout, asked, names)
        except MissingPages as error:
            assert set(error.hashes) <= set(asked)
            lacking = {(model, name) for name in error.hashes}
            assert lacking
            assert self.hurt or not lacking & self.held
            self.held -= lacking
        else:
            assert is_made(layout, asked, found.lengths.tolist(), found.arrays)
            assert self.hurt or {(model, name) for name in asked} <= self.held

    def touch(self, model: str, pages: list[int]) -> None:
        self.store.touch(model, [HASHES[i] for i in pages])

    def collect(self, model: str | None, pages: list[int]) -> None:
        live = {HASHES[i] for i in pages}
        self.store.collect(live, model)
        elsewhere = {page for page in self.held if model is not None and page[0] != model}
        self.held = elsewhere | {page for page in self.held if page[1] in live or self.pinned(page)}

    def evict(self, _: object, n_bytes: int) -> None:
        self.store.evict(n_bytes)
        there = self.there()
        assert there <= self.held
        assert self.hurt or {page for page in self.held if self.pinned(page)} <= there
        if not self.pins and not self.hurt:
            assert self.store.stats().disk_bytes <= n_bytes
        self.held = there

    def pin(self, model: str, pages: list[int]) -> None:
        self.store.pin(model, [HASHES[i] for i in pages])
        self.pins += [(model, HASHES[i]) for i in pages]

    def unpin(self, model: str, pages: list[int]) -> None:
        self.store.unpin(model, [HASHES[i] for i in pages])
        for i in pages:
            if (model, HASHES[i]) in self.pins:
                self.pins.remove((model, HASHES[i]))

    def reopen(self, *_: object) -> None:
        self.store.close()
        self.store, self.pins = PageStore.open(self.folder, word="w"), []

    def damage(self, _: object, at: int) -> None:
        """Flips a bit in a segment, for a process that has not read it yet."""
        self.reopen()
        files = sorted(Segments(self.folder).on_disk().items())
        files = [(segment, size) for segment, size in files if size]
        if files:
            segment, size = files[at % len(files)]
            with Segments(self.folder).path(segment).open("r+b") as file:
                file.seek(at % size)
                byte = file.read(1)[0]
                file.seek(at % size)
                file.write(bytes([byte ^ 4]))
            self.hurt = True

    def other_process(self, model: str, pages: list[int]) -> None:
        with PageStore.open(self.folder, word="w") as other:
            self.put(model, pages, other)
            other.flush()

    def pinned(self, page: tuple[str, str]) -> bool:
        return page in self.pins

    def there(self) -> set[tuple[str, str]]:
        return {(model, name) for model in LAYOUTS for name in self.store.have(model, HASHES)}


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_a_store_is_a_dictionary(steps: list[tuple[str, object, object]]) -> None:
    folder = Path(tempfile.mkdtemp())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writing, "MAX_BYTES", 40_000)
        model = Model(folder / "pages")
        try:
            for name, *arguments in steps:
                getattr(model, name.replace(" ", "_"))(*arguments)
                assert model.there() <= model.held if model.hurt else model.there() == model.held
            checked = model.store.check_integrity()
            assert model.hurt or (checked.ok and checked.verified["pages"] == len(model.there()))
            model.store.check_integrity(mend=True)
            assert model.store.check_integrity().problems == ()
            for own in LAYOUTS:
                model.gather(own, [HASHES.index(name) for at, name in sorted(model.there()) if at == own])
        finally:
            model.store.close()
            shutil.rmtree(folder)
