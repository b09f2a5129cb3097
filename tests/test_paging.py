"""Long context by pages: each text is encoded once, whoever asks, and what is read is what the pages' scores say."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from selfroute.backends.long_context import LongContextBackend
from selfroute.backends.paging import Pages
from selfroute.deadline import Deadline
from selfroute.memory.index import Index
from selfroute.models.hashing import HashingEmbedder
from selfroute.models.paged.hashing import HashingPageModel
from selfroute.models.paged.runtime import PagedRuntime
from selfroute.router.cli import main
from selfroute.types import Attempt, Chunk, Generation, Limits, Query, Span

WORDS = "anchor basil copper dune ember fjord garnet harbor iris jasper kelp lagoon maple nectar onyx pebble".split()
QUESTION = "Where is the maple kept?"


class Counting(HashingPageModel):
    """Remembers what it encoded."""

    def __init__(self) -> None:
        super().__init__()
        self.encoded: list[str] = []

    def encode(self, texts: Sequence[str]) -> list[dict[str, NDArray[np.generic]]]:
        self.encoded += texts
        return super().encode(texts)


class Reader:
    """Quotes the first given chunk whole, and scores nothing: it is to be given what the pages found."""

    fingerprint = "reader:1"

    def __init__(self) -> None:
        self.given: list[Chunk] = []

    def score(self, question: str, chunks: Sequence[Chunk]) -> NDArray[np.float32]:
        raise AssertionError("all chunks were to be found by their pages")

    def read(self, question: str, chunks: Sequence[Chunk]) -> Generation:
        self.given = list(chunks)
        return Generation(chunks[0].text, (Span(0, 0, len(chunks[0].text), 1.0),), 1.0)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "corpus"
    for word in WORDS:
        text = "".join(f"The {word} is kept in room {n} of the {word} house, number {n}.\n" for n in range(12))
        folder.mkdir(exist_ok=True)
        (folder / f"{word}.txt").write_text(text)
    shutil.copy(folder / "maple.txt", folder / "twin.txt")
    return folder


def ask(root: Path, model: Any, **limits: Any) -> tuple[Attempt, Reader]:
    """As a new process would: an index, a store and a reader of its own."""
    with Index.open(root, embedder=HashingEmbedder()) as index:
        pages, reader = Pages(index, model), Reader()
        try:
            backend = LongContextBackend(index, reader, pages=pages)
            return backend.answer(Query(QUESTION, 2000, Limits(**limits))), reader
        finally:
            pages.close()


def test_a_text_is_encoded_once_whoever_asks(root: Path) -> None:
    first, again = Counting(), Counting()
    attempt, reader = ask(root, first)
    assert "maple" in attempt.generation.text and attempt.citations
    assert {chunk.path for chunk in reader.given[:2]} == {"maple.txt", "twin.txt"}
    assert len(first.encoded) == len(set(first.encoded)) >= len(WORDS)
    assert attempt.usage.cached_tokens == 0
    second, reader_again = ask(root, again)
    assert not again.encoded
    assert second.generation == attempt.generation and reader_again.given == reader.given
    assert second.usage.cached_tokens == second.usage.prompt_tokens == attempt.usage.prompt_tokens


def test_an_edit_costs_its_own_pages(root: Path) -> None:
    ask(root, Counting())
    (root / "dune.txt").write_text("The dune moved to room 99.\n")
    (root / "kelp.txt").rename(root / "seaweed.txt")
    model = Counting()
    attempt, _ = ask(root, model)
    assert [text.strip() for text in model.encoded] == ["The dune moved to room 99."]
    assert 0 < attempt.usage.cached_tokens < attempt.usage.prompt_tokens


def test_what_the_time_does_not_suffice_for_is_said(root: Path) -> None:
    ask(root, Counting())
    (root / "late.txt").write_text("The walnut is kept in room 7.\n")

    class Late(Counting):
        def encode(self, texts: Sequence[str]) -> list[dict[str, NDArray[np.generic]]]:
            raise AssertionError("the time was up")

    with Index.open(root, embedder=HashingEmbedder()) as index:
        pages = Pages(index, Late())
        found = pages.score_all(QUESTION, lambda *_: None, deadline=Deadline.after(0.0))
        pages.close()
    assert found.n_left == 1 and found.left_tokens > 0
    assert "maple" in found.best()[0].text


def test_encoding_ahead_drops_what_is_gone(root: Path) -> None:
    model = Counting()
    with Index.open(root, embedder=HashingEmbedder()) as index:
        pages = Pages(index, model)
        n = len(pages.encode_all())
        assert n == len(set(model.encoded))
        pages.close()
    (root / "onyx.txt").unlink()
    with Index.open(root, embedder=HashingEmbedder()) as index:
        pages = Pages(index, model)
        left = pages.encode_all()
        assert len(left) < n and pages.pager.store.stats().pages == len(left)
        pages.close()


def test_what_is_encoded_already_is_forecast(root: Path) -> None:
    with Index.open(root, embedder=HashingEmbedder()) as index:
        pages = Pages(index, Counting())
        before = pages.forecast()
        pages.encode_all()
        after, n_chunks = pages.forecast(), index.stats.chunks
        pages.close()
    assert before.n_known == 0 and before.scoring > 0
    assert after.n_known == n_chunks and after.scoring == 0


def test_after_many_edits_the_pages_are_those_of_a_rebuild(tmp_path: Path) -> None:
    draw, root = random.Random(3), tmp_path / "corpus"
    for n in range(80):
        folder = root / f"part_{n % 4}"
        folder.mkdir(parents=True, exist_ok=True)
        lines = [f"line {k} of file {n} says {draw.choice(WORDS)}\n" for k in range(draw.randrange(5, 120))]
        (folder / f"file_{n}.txt").write_text("".join(lines))

    def encoded(model: Counting, directory: Path | None = None) -> tuple[dict[str, bytes], set[str]]:
        """Content hash -> its page's bytes, and the texts that there are."""
        with Index.open(root, directory=directory, embedder=HashingEmbedder()) as index:
            pages = Pages(index, model)
            resident = pages.encode_all()
            rows = resident.arrays()["terms"]
            texts = {chunk.text for chunk in index.chunks()}
            pages.close()
        return {name: row.tobytes() for name, row in zip(resident.hashes, rows, strict=True)}, texts

    _, before = encoded(Counting())
    files = sorted(root.glob("part_*/*.txt"))
    for path in draw.sample(files, 50):
        lines = path.read_text().splitlines(keepends=True)
        at = draw.randrange(len(lines))
        kind = draw.choice("edit insert delete move".split())
        if kind == "edit":
            lines[at] = f"edited: {draw.random()}\n"
        elif kind == "insert":
            lines.insert(at, f"new: {draw.random()}\n")
        elif kind == "delete":
            del lines[at]
        if kind == "move":
            path.rename(path.with_name(f"moved_{path.name}"))
        else:
            path.write_text("".join(lines))
    model, fresh = Counting(), Counting()
    after, texts = encoded(model)
    assert set(model.encoded) == texts - before
    assert 20 < len(model.encoded) < len(texts) / 2
    assert after == encoded(fresh, tmp_path / "elsewhere")[0]
    assert set(fresh.encoded) == texts


def test_where_no_pages_can_be_kept_it_is_said_and_answered(root: Path, tmp_path: Path) -> None:
    ask(root, Counting())
    store = root / ".selfroute" / "pages"
    shutil.rmtree(store)
    store.symlink_to(tmp_path)
    model = Counting()
    attempt, _ = ask(root, model)
    assert "maple" in attempt.generation.text and model.encoded
    assert any("pages are not kept" in note for note in attempt.notes)


def test_a_corpus_larger_than_memory_is_read_in_parts(root: Path) -> None:
    with Index.open(root, embedder=HashingEmbedder()) as index:
        found = []
        for host_bytes in (1 << 30, 0):
            pages = Pages(index, HashingPageModel(), host_bytes=host_bytes)
            found.append([chunk.id for chunk in pages.score_all(QUESTION, lambda *_: None).best()])
            pages.close()
    assert found[0] == found[1]


def test_index_encodes_ahead(root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELFROUTE_PAGES", "hashing")
    assert main(["index", str(root), "--pages", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["pages"] == told["pages_encoded"] >= len(WORDS)
    assert main(["index", str(root), "--pages"]) == 0
    assert f"{told['pages']} pages, 0 of them encoded now" in capsys.readouterr().out
    assert main(["ask", QUESTION, "--path", str(root), "--route", "long-context", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["citations"][0]["path"] in ("maple.txt", "twin.txt")
    assert main(["pages", "--path", str(root), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["pages"] == told["pages"]


def test_the_first_question_encodes_and_later_ones_only_what_changed(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def read() -> dict[str, int]:
        assert main(["ask", QUESTION, "--path", str(root), "--route", "long-context", "--json"]) == 0
        usage: dict[str, int] = json.loads(capsys.readouterr().out)["usage"]
        return usage

    def pages() -> int:
        assert main(["pages", "--path", str(root), "--json"]) == 0
        return int(json.loads(capsys.readouterr().out)["pages"])

    assert read()["cached_tokens"] == 0
    n = pages()
    assert n >= len(WORDS)
    again = read()
    assert again["cached_tokens"] == again["prompt_tokens"] and pages() == n
    (root / "dune.txt").write_text("The dune moved to room 99.\n")
    usage = read()
    assert pages() == n + 1 and 0 < usage["prompt_tokens"] - usage["cached_tokens"] < 30
    monkeypatch.setenv("SELFROUTE_PAGES", "off")
    (root / "fjord.txt").write_text("The fjord moved to room 98.\n")
    read()
    assert pages() == n + 1
    monkeypatch.setenv("SELFROUTE_PAGES", "paegd")
    assert main(["ask", QUESTION, "--path", str(root)]) == 2
    assert "paged" in capsys.readouterr().err


def test_the_shipped_reader_finds_a_value_by_its_key(tmp_path: Path) -> None:
    draw, root = random.Random(8), tmp_path / "keys"
    root.mkdir()
    pairs = {draw.randbytes(5).hex(): draw.randbytes(4).hex() for _ in range(600)}
    (root / "keys.txt").write_text("".join(f"{key}: {value}\n" for key, value in pairs.items()))
    with Index.open(root, embedder=HashingEmbedder()) as index:
        model = PagedRuntime()
        pages = Pages(index, model)
        resident = pages.encode_all()
        right = 0
        for key in draw.sample(sorted(pairs), 20):
            reading = model.ask(f"What is the value of {key}?", resident.lengths, resident.arrays())
            best = reading.spans[0]
            text = resident.chunks[best.page].text
            start, end = model.quote(text, best.first, best.last)
            right += text[start:end] == pairs[key]
        pages.close()
    assert right >= 19
