"""Reading two chunks as one: which are linked, what is read below what, and whose answer stands."""

from __future__ import annotations

from dataclasses import replace

import pytest

from selfroute.backends import linked
from selfroute.models.base import JoinedReader
from selfroute.models.span_choice import Scored
from selfroute.models.span_joined import Joined, best_of
from selfroute.models.span_reader import SpanReader
from selfroute.types import Chunk, Generation

FILM = "# Kiss and Tell\n\nIt is a comedy of 1945. Shirley Temple plays Corliss Archer in it."
WOMAN = "# Shirley Temple\n\nShe was an actress, and Chief of Protocol of the United States."
OTHER = "# Corn\n\nCorn is a cereal grain."
QUESTION = "What office was held by the woman who played Corliss Archer in the film of 1945?"


def chunk(text: str, kind: str = "section") -> Chunk:
    """A page of one section."""
    title = text.split("\n")[0].removeprefix("# ")
    return Chunk(title, title, f"{title.replace(' ', '_')}.md", 1, 3, text, title, kind)


CHUNKS = [chunk(FILM), chunk(OTHER), chunk(WOMAN)]


def test_a_chunk_is_linked_to_the_one_whose_title_it_names() -> None:
    assert linked.links(CHUNKS) == [(0, 2, frozenset({"shirley temple"}))]


def test_code_is_not_linked() -> None:
    assert linked.links([replace(one, kind="function") for one in CHUNKS]) == []


def test_two_parts_of_one_text_are_not_linked() -> None:
    assert linked.links([chunk(WOMAN), replace(chunk(WOMAN), id="b", start_line=9, end_line=12)]) == []


def test_the_second_is_read_below_the_sentence_that_names_it() -> None:
    [joined] = linked.joined_of(QUESTION, CHUNKS)
    assert joined.before == "Kiss and Tell: Shirley Temple plays Corliss Archer in it.\n\n"
    assert joined.chunk == 2
    assert 0 < joined.bonus < linked.BONUS


def test_no_more_pairs_than_the_most() -> None:
    named = [f"Person Number{chr(65 + n)}" for n in range(20)]
    first = chunk("# Index\n\n" + " ".join(f"{name} is here." for name in named))
    found = linked.joined_of("Who is where?", [first, *(chunk(f"# {name}\n\nLives here.") for name in named)])
    assert len(found) == linked.MAX_PAIRS


class _Apart:
    def read(self, question: str, chunks: list[Chunk]) -> Generation:
        return Generation("apart")


class _Together(_Apart):
    def read_joined(self, question: str, chunks: list[Chunk], joined: list[Joined]) -> Generation:
        return Generation(f"{len(joined)} together")


def test_only_a_reader_that_can_is_given_joined_texts() -> None:
    assert linked.read(_Apart(), QUESTION, CHUNKS).text == "apart"  # type: ignore[arg-type]
    assert linked.read(_Together(), QUESTION, CHUNKS).text == "1 together"  # type: ignore[arg-type]
    assert linked.read(_Together(), QUESTION, CHUNKS[1:]).text == "apart"  # type: ignore[arg-type]


def scored(text: str, word: str, score: float, chunk: int = 0) -> Scored:
    """A window of one token a word, whose best span is a word."""
    import numpy as np

    words = text.split()
    starts = [text.index(one) for one in words]
    at = np.array([score / 2 if one == word else -50.0 for one in words], np.float32)
    return Scored(chunk, at, at, starts, [start + len(one) for start, one in zip(starts, words, strict=True)])


@pytest.mark.parametrize(("word", "found"), [("Rome", "Rome"), ("Ann", None)])
def test_an_answer_is_of_the_chunk(word: str, found: str | None) -> None:
    joined = Joined(4, "Ann she says. ", 3.0)
    best = best_of([joined], [scored(f"{joined.before}Rome is old", word, 2.0)])
    if found is None:
        assert best is None or best.score < 0
    else:
        assert best is not None
        assert (best.chunk, best.start, best.end, best.score) == (4, 0, 4, 5.0)


def test_the_shipped_reader_goes_from_one_text_to_the_next() -> None:
    reader, question = SpanReader(), "Where was the woman who wrote the opera Kiss and Tell born?"
    assert isinstance(reader, JoinedReader)
    opera = chunk("# Kiss and Tell\n\nKiss and Tell is an opera written by Ann Lind.")
    chunks = [opera, chunk("# Ann Lind\n\nLind was born in Oslo in 1901.")]
    assert not reader.read(question, chunks).answerable
    found = linked.read(reader, question, chunks)
    assert found.text == "Oslo"
    [span] = found.spans
    assert chunks[span.chunk].text[span.start : span.end] == found.text
    assert linked.read(reader, question, chunks[:1]) == reader.read(question, chunks[:1])
