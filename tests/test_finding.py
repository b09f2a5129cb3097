"""Which way long context finds what it reads: pages where they pay, the reader's scores where they do not."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from selfroute.backends import paging
from selfroute.backends.long_context import LongContextBackend
from selfroute.backends.paging import Pages
from selfroute.deadline import Deadline
from selfroute.memory.index import Index
from selfroute.memory.pages.table import FILE
from selfroute.memory.rates import Rates
from selfroute.models.hashing import HashingEmbedder
from selfroute.models.paged.hashing import HashingPageModel
from selfroute.router.cli import main
from selfroute.types import LONG_CONTEXT, RETRIEVAL, SPEED, Attempt, Chunk, Generation, Limits, Query, Span, Usage

WORDS = "anchor basil copper dune ember fjord garnet harbor iris jasper kelp lagoon maple nectar onyx pebble".split()
QUESTION = "Where is the maple kept?"


class Reader:
    """Scores a chunk by whether it speaks of a maple; quotes the first chunk that does."""

    fingerprint = "reader:1"

    def __init__(self) -> None:
        self.scored: list[Chunk] = []
        self.given: list[Chunk] = []

    def score(self, question: str, chunks: Sequence[Chunk]) -> NDArray[np.float32]:
        self.scored += chunks
        return np.array(["maple" in chunk.text for chunk in chunks], np.float32)

    def read(self, question: str, chunks: Sequence[Chunk]) -> Generation:
        self.given = list(chunks)
        best = next((n for n, chunk in enumerate(chunks) if "maple" in chunk.text), 0)
        return Generation(chunks[best].text, (Span(best, 0, len(chunks[best].text), 1.0),), 1.0)


class Model(HashingPageModel):
    """Remembers what it encoded."""

    def __init__(self) -> None:
        super().__init__()
        self.encoded: list[str] = []

    def encode(self, texts: Sequence[str]) -> list[dict[str, NDArray[np.generic]]]:
        self.encoded += texts
        return super().encode(texts)


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    folder = tmp_path / "corpus"
    folder.mkdir()
    for word in WORDS:
        text = "".join(f"The {word} is kept in room {n} of the {word} house, number {n}.\n" for n in range(12))
        (folder / f"{word}.txt").write_text(text)
    with Index.open(folder, embedder=HashingEmbedder()) as opened:
        yield opened


def wired(index: Index, *, insists: bool = False) -> tuple[LongContextBackend, Reader, Model]:
    reader, model = Reader(), Model()
    pages = Pages(index, model, insists=insists)
    return LongContextBackend(index, reader, pages=pages, rates=Rates(learns=False)), reader, model


def slow(monkeypatch: pytest.MonkeyPatch, index: Index, seconds: float) -> None:
    """Encoding the index is expected to take so long."""
    monkeypatch.setattr(paging, "ENCODED_PER_SECOND", index.stats.tokens / seconds)


def within(seconds: float) -> Query:
    return Query(QUESTION, limits=Limits(max_seconds=seconds, deadline=Deadline.after(seconds)), asked_for=LONG_CONTEXT)


def test_a_question_that_names_the_route_encodes_first(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    slow(monkeypatch, index, 40)
    backend, reader, model = wired(index)
    query, tokens = Query(QUESTION, asked_for=LONG_CONTEXT), index.stats.tokens
    estimate, told = backend.estimate(query), backend.announce(query)
    assert estimate.once_tokens == tokens and 30 < estimate.seconds < 60
    assert estimate.later_seconds is not None and estimate.later_seconds < 1
    assert f"once ({tokens:,} tokens" in told and "about 40 s; later questions about 0." in told
    attempt = backend.answer(query)
    assert model.encoded and not reader.scored and "maple" in attempt.generation.text
    assert backend.estimate(query).once_tokens == 0 and backend.announce(query) == ""
    backend.answer(query)
    assert len(model.encoded) == len(set(model.encoded))


@pytest.mark.parametrize(
    ("seconds", "prefer", "encodes"), [(1, "balanced", True), (40, "balanced", False), (1, SPEED, False)]
)
def test_where_a_policy_chose_what_is_scored_sooner_is_scored(
    index: Index, monkeypatch: pytest.MonkeyPatch, seconds: float, prefer: str, encodes: bool
) -> None:
    slow(monkeypatch, index, seconds)
    backend, reader, model = wired(index)
    query = Query(QUESTION, prefer=prefer)
    attempt = backend.answer(query)
    assert bool(model.encoded) == encodes and bool(reader.scored) != encodes
    assert any("selfroute index --pages" in note for note in attempt.notes) != encodes
    assert (index.directory / "pages").exists() == encodes
    assert backend.estimate(query).once_tokens == 0


def test_what_scoring_takes_long_for_is_encoded_whoever_chose(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    slow(monkeypatch, index, 40)
    monkeypatch.setattr("selfroute.backends.scoring.TOKENS_PER_SECOND", index.stats.tokens / 10)
    backend, reader, model = wired(index)
    backend.answer(Query(QUESTION))
    assert model.encoded and not reader.scored


def test_a_deadline_that_encoding_breaks_has_the_reader_score(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    slow(monkeypatch, index, 100)
    backend, reader, model = wired(index, insists=True)
    query = within(10)
    assert backend.estimate(query).most_seconds < 10 < backend.estimate(Query(QUESTION)).most_seconds
    attempt = backend.answer(query)
    assert not model.encoded and len(reader.scored) == index.stats.chunks
    assert any("the time is too short" in note for note in attempt.notes)
    assert attempt.usage.prompt_tokens == index.stats.tokens and not attempt.degraded
    slow(monkeypatch, index, 1)
    backend.answer(within(30))
    assert model.encoded


def test_where_neither_is_in_time_the_faster_is_done(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    slow(monkeypatch, index, 1000)
    monkeypatch.setattr("selfroute.backends.scoring.TOKENS_PER_SECOND", index.stats.tokens / 100)
    backend, reader, model = wired(index)
    backend.answer(within(5))
    assert reader.scored and not model.encoded


def test_what_is_encoded_is_read_by_pages_while_the_rest_is_scored(index: Index) -> None:
    backend, _, model = wired(index)
    backend.answer(Query(QUESTION, asked_for=LONG_CONTEXT))
    n = len(model.encoded)
    (index.root / "new.txt").write_text("The maple moved to the attic.\n")
    index.update()
    backend, reader, model = wired(index)
    assert backend._finder is not None and backend._pages is not None
    state = backend._pages.state()
    assert (state.n_missing, state.n_known) == (1, index.stats.chunks - 1)
    pace = state.missing_tokens / 40
    backend._pages._state = index.stats.generation, replace(state, pace=pace)
    attempt = backend.answer(Query(QUESTION))
    assert [chunk.path for chunk in reader.scored] == ["new.txt"] and not model.encoded and n
    assert {"new.txt", "maple.txt"} <= {chunk.path for chunk in reader.given}
    assert attempt.usage.prompt_tokens == index.stats.tokens and not attempt.degraded
    assert attempt.usage.cached_tokens == index.stats.tokens - state.missing_tokens


def test_an_interrupted_encoding_is_gone_on_with(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    backend, _, model = wired(index)
    encode = model.encode

    def until(texts: Sequence[str]) -> list[dict[str, NDArray[np.generic]]]:
        if len(model.encoded) >= 2 * paging.BATCH_PAGES + paging.STEP:
            raise KeyboardInterrupt
        return encode(texts)

    monkeypatch.setattr(model, "encode", until)
    query = Query(QUESTION, asked_for=LONG_CONTEXT)
    with pytest.raises(KeyboardInterrupt):
        backend.answer(query)
    again, _, other = wired(index)
    assert again._pages is not None and again._pages.state().n_known == 2 * paging.BATCH_PAGES
    again.answer(query)
    assert len(set(other.encoded)) == len(other.encoded) and not set(other.encoded) & set(model.encoded[:16])


@pytest.mark.parametrize("insists", [False, True])
def test_pages_that_cannot_be_kept_are_made_only_on_demand(index: Index, tmp_path: Path, insists: bool) -> None:
    (index.directory / "pages").symlink_to(tmp_path)
    backend, reader, model = wired(index, insists=insists)
    attempt = backend.answer(Query(QUESTION, asked_for=LONG_CONTEXT))
    assert bool(model.encoded) == insists and bool(reader.scored) != insists
    assert any("--index-dir" in note or "not kept" in note for note in attempt.notes)


def test_pages_of_a_newer_version_are_left_alone(index: Index) -> None:
    backend, _, _ = wired(index)
    backend.answer(Query(QUESTION, asked_for=LONG_CONTEXT))
    assert backend._pages is not None
    backend._pages.close()
    with closing(sqlite3.connect(index.directory / "pages" / FILE)) as table:
        table.execute("PRAGMA user_version = 99")
    backend, reader, model = wired(index)
    attempt = backend.answer(Query(QUESTION, asked_for=LONG_CONTEXT))
    assert reader.scored and not model.encoded
    assert any("not encoded as pages" in note and "version" in note for note in attempt.notes)


def test_pages_beyond_the_disk_are_not_begun(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paging, "SPARE_BYTES", 1 << 60)
    backend, reader, model = wired(index)
    attempt = backend.answer(Query(QUESTION, asked_for=LONG_CONTEXT))
    assert reader.scored and not model.encoded and any("too much for a disk" in note for note in attempt.notes)


def test_what_retrieval_read_is_not_searched_for_again(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    backend, reader, _ = wired(index, insists=True)
    alone = backend.answer(Query(QUESTION))
    read = tuple(chunk for chunk in index.chunks() if chunk.path in ("onyx.txt", "kelp.txt"))
    n_tokens = sum(chunk.n_tokens for chunk in read)
    after = Attempt(RETRIEVAL, Generation("", answerable=False), (), Usage(n_tokens), read)

    def no_search(*_: object, **__: object) -> list[object]:
        raise AssertionError("it was searched before")

    monkeypatch.setattr(Index, "search", no_search)
    (index.root / "new.txt").write_text("Nothing of it.\n")
    index.update()
    attempt = backend.answer(Query(QUESTION), after=after)
    assert {chunk.id for chunk in read} <= {chunk.id for chunk in reader.given}
    assert attempt.generation.text == alone.generation.text
    new = next(chunk for chunk in index.chunks() if chunk.path == "new.txt")
    assert attempt.usage.cached_tokens == index.stats.tokens - new.n_tokens


def test_what_retrieval_read_counts_as_cached_by_the_first_question(index: Index) -> None:
    backend, _, _ = wired(index, insists=True)
    read = tuple(index.chunks())[:3]
    n_tokens = sum(chunk.n_tokens for chunk in read)
    after = Attempt(RETRIEVAL, Generation("", answerable=False), (), Usage(n_tokens), read)
    assert backend.answer(Query(QUESTION), after=after).usage.cached_tokens == n_tokens


def test_explain_tells_what_is_encoded_once(index: Index, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["explain", QUESTION, "--path", str(index.root), "--route", "long-context"]
    assert main(command) == 0
    assert f"encodes {index.stats.tokens:,} tokens once; later questions about" in capsys.readouterr().out
    assert main([*command, "--json"]) == 0
    estimate = json.loads(capsys.readouterr().out)["estimates"]["long-context"]
    assert estimate["once_tokens"] == index.stats.tokens and estimate["later_seconds"] > 0
    assert not (index.directory / "pages").exists()
