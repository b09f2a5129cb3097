"""The page store gives back what was put, in any order, to any process, for one model and not for another."""

import multiprocessing
import random
from pathlib import Path

import numpy as np
import pytest

from selfroute.errors import SelfRouteError
from selfroute.memory.pages import writing
from selfroute.memory.pages.base import MissingPages
from selfroute.memory.pages.made import is_made, made_arrays, made_hash, made_layout, made_page, made_tokens
from selfroute.memory.pages.store import PageStore
from selfroute.models.paged.layout import Field, Layout

LAYOUT = made_layout()
NAMES = [field.name for field in LAYOUT.fields]
HASHES = [made_hash(str(i)) for i in range(200)]


@pytest.fixture
def small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Segments of few pages, so that there are many."""
    monkeypatch.setattr(writing, "MAX_BYTES", 100_000)


def put(store: PageStore, hashes: list[str], layout: Layout = LAYOUT) -> None:
    store.put(layout, (made_page(layout, name) for name in hashes))


def right(store: PageStore, hashes: list[str], names: list[str] | None = None, layout: Layout = LAYOUT) -> bool:
    found = store.gather(layout, hashes, names)
    return list(found.arrays) == (names or NAMES) and is_made(layout, hashes, found.lengths.tolist(), found.arrays)


@pytest.mark.usefixtures("small_segments")
def test_pages_come_back_in_any_order_before_and_after_they_are_written(tmp_path: Path) -> None:
    shuffled = random.Random(1).sample(HASHES, len(HASHES))
    with PageStore.open(tmp_path / "pages") as store:
        put(store, HASHES)
        assert right(store, shuffled)
        store.flush()
        assert right(store, shuffled)
        assert store.stats().segments > 5
    with PageStore.open(tmp_path / "pages") as store:
        assert store.have("00", [*HASHES, "nothing"]) == set(HASHES)
        assert right(store, shuffled, ["vector"])
        assert right(store, shuffled, ["keys", "vector"])
        assert right(store, shuffled)
        assert right(store, [*HASHES[:3], *HASHES[:3]])
        assert right(store, [])
        assert store.lengths("00", [*HASHES[:2], "nothing"]).tolist() == [*map(made_tokens, HASHES[:2]), -1]
        assert store.check_integrity().ok


def test_the_same_pages_in_another_order_are_the_same_bytes(tmp_path: Path) -> None:
    with PageStore.open(tmp_path / "a") as store, PageStore.open(tmp_path / "b") as other:
        put(store, HASHES)
        for name in reversed(HASHES):  # one at a time, others first
            put(other, [name])
        store.flush()
        first, second = store.gather(LAYOUT, HASHES), other.gather(LAYOUT, HASHES)
        for name in NAMES:
            assert first.arrays[name].tobytes() == second.arrays[name].tobytes()


def test_missing_pages_are_named(tmp_path: Path) -> None:
    with PageStore.open(tmp_path / "pages") as store:
        put(store, HASHES[:5])
        with pytest.raises(MissingPages) as caught:
            store.gather(LAYOUT, [*HASHES[:7], HASHES[6]])
        assert caught.value.hashes == tuple(HASHES[5:7])
        assert right(store, HASHES[:5])


def test_a_page_that_is_there_is_not_written_again(tmp_path: Path) -> None:
    with PageStore.open(tmp_path / "pages") as store:
        put(store, HASHES)
        store.flush()
        before = store.stats().disk_bytes
        put(store, HASHES)
        store.flush()
        assert store.stats().disk_bytes == before


def test_models_lie_side_by_side_and_never_answer_for_each_other(tmp_path: Path) -> None:
    other = made_layout("01")
    with PageStore.open(tmp_path / "pages") as store:
        put(store, HASHES[:20])
        assert store.have("01", HASHES) == set()
        with pytest.raises(MissingPages):
            store.gather(other, HASHES[:1])
        put(store, HASHES[10:30], other)
        store.flush()
        assert right(store, HASHES[:20])
        assert right(store, HASHES[10:30], layout=other)
        assert [model.pages for model in store.stats().models] == [20, 20]


def test_pages_of_the_same_fingerprint_and_other_fields_are_missing(tmp_path: Path) -> None:
    other = Layout("00", (*LAYOUT.fields[:2], Field("more", "uint8")))
    with PageStore.open(tmp_path / "pages") as store:
        put(store, HASHES[:20])
        store.flush()
        with pytest.raises(MissingPages):
            store.gather(other, HASHES[:20])
        put(store, [HASHES[20]], other)
        store.flush()
        assert store.have("00", HASHES) == {HASHES[20]}
        assert store.check_integrity().ok


def test_pages_of_others_are_not_believed(tmp_path: Path) -> None:
    with PageStore.open(tmp_path / "pages", word="theirs") as store:
        put(store, HASHES[:20])
    with PageStore.open(tmp_path / "pages", word="ours") as store:
        assert store.have("00", HASHES) == set()
        put(store, HASHES[:5])
        store.flush()
        assert store.have("00", HASHES) == set(HASHES[:5])
        assert store.check_integrity().ok
    with PageStore.open(tmp_path / "pages", word="theirs") as store:
        assert right(store, HASHES[:20])


def test_arrays_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with PageStore.open(tmp_path / "pages") as store:
        page = made_page(made_layout(), HASHES[0])
        with pytest.raises(ValueError, match="ids"):
            store.put(Layout("02", (Field("ids", "int64"), *LAYOUT.fields[1:])), [page])
        assert store.have("02", HASHES) == set()


def test_pages_without_tokens_and_fields_without_bytes(tmp_path: Path) -> None:
    layout = Layout("03", (Field("k", "uint8", (0,)), Field("v", "float32", (2,)), Field("s", "int8", (3,), False)))
    empty = {"k": np.empty((0, 0), np.uint8), "v": np.empty((0, 2), np.float32), "s": np.arange(3, dtype=np.int8)}
    full = {"k": np.empty((2, 0), np.uint8), "v": np.ones((2, 2), np.float32), "s": np.zeros(3, np.int8)}
    only_tokens = Layout("04", (Field("v", "float32"),))
    from selfroute.memory.pages.base import NewPage

    with PageStore.open(tmp_path / "pages") as store:
        store.put(layout, [NewPage("e", 0, empty), NewPage("f", 2, full)])
        store.put(only_tokens, [NewPage("e", 0, {"v": np.empty(0, np.float32)})])
        store.flush()
        found = store.gather(layout, ["e", "f", "e"])
        assert found.lengths.tolist() == [0, 2, 0]
        assert found.arrays["v"].tolist() == [[1, 1], [1, 1]]
        assert found.arrays["s"].tolist() == [[0, 1, 2], [0, 0, 0], [0, 1, 2]]
        assert store.gather(only_tokens, ["e"]).arrays["v"].shape == (0,)
        assert store.check_integrity().ok


def write_some(folder: Path, first: int, word: str) -> None:
    with PageStore.open(folder, word=word) as store:
        for i in range(first, first + 120, 10):
            put(store, HASHES[i : i + 10])
            store.flush()
            assert right(store, HASHES[first : i + 10])


def test_two_processes_share_a_store(tmp_path: Path) -> None:
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["pytest", "selfroute.memory.pages.made", "selfroute.memory.pages.store"])
    folder = tmp_path / "pages"
    with PageStore.open(folder, word="w") as store:  # reads while they write, and writes a little itself
        running = [processes.Process(target=write_some, args=(folder, first, "w")) for first in (0, 80)]
        for process in running:
            process.start()
        n_seen = 0
        while any(process.is_alive() for process in running):
            found = [name for name in HASHES if name in store.have("00", HASHES)]
            assert right(store, found)
            assert len(found) >= n_seen
            n_seen = len(found)
        for process in running:
            process.join()
            assert process.exitcode == 0
        assert store.have("00", HASHES) == set(HASHES)
        assert right(store, HASHES)
        assert store.check_integrity().ok
        assert store.stats().pages == len(HASHES)
        assert store.notes == ()


def test_a_reader_goes_on_while_another_process_drops_and_moves_pages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "MAX_BYTES", 100_000)
    folder = tmp_path / "pages"
    with PageStore.open(folder) as reader, PageStore.open(folder) as writer:
        put(writer, HASHES)
        writer.flush()
        assert right(reader, HASHES)
        live = HASHES[::3]
        assert writer.collect(live) == len(HASHES) - len(live)
        assert right(reader, live)
        assert reader.have("00", HASHES) == set(live)
        put(writer, HASHES)
        writer.flush()
        assert right(reader, HASHES)
        assert reader.check_integrity().ok


def test_a_folder_that_cannot_be_written_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "pages"
    with PageStore.open(folder) as store:
        put(store, HASHES[:20])
    from selfroute.memory.pages import opening

    monkeypatch.setattr(opening, "can_write", lambda path: False)
    with PageStore.open(folder) as store:
        assert not store.writable
        assert right(store, HASHES[:20])
        store.touch("00", HASHES[:20])
        put(store, HASHES[:25])
        with pytest.raises(SelfRouteError, match="cannot be kept"):
            store.flush()
        assert store.have("00", HASHES) == set(HASHES[:20])


def test_a_closed_store_knows_nothing_and_takes_nothing(tmp_path: Path) -> None:
    store = PageStore.open(tmp_path / "pages")
    put(store, HASHES[:5])
    store.close()
    store.close()
    assert store.have("00", HASHES) == set()
    put(store, HASHES[:5])
    with pytest.raises(SelfRouteError, match="closed"):
        store.flush()
    with PageStore.open(tmp_path / "pages") as again:
        assert right(again, HASHES[:5])


def test_a_folder_without_a_store_that_cannot_be_written_holds_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from selfroute.memory.pages import opening

    monkeypatch.setattr(opening, "can_write", lambda path: False)
    with PageStore.open(tmp_path / "pages") as store:
        assert store.have("00", HASHES) == set()
        assert store.stats().pages == 0
        assert store.notes == ()


def test_arrays_outlive_the_store(tmp_path: Path) -> None:
    with PageStore.open(tmp_path / "pages") as store:
        put(store, HASHES[:20])
        found = store.gather(LAYOUT, HASHES[:20])
    assert found.arrays["keys"][: made_tokens(HASHES[0])].tobytes() == made_arrays(LAYOUT, HASHES[0])["keys"].tobytes()
