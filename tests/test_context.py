"""Packing hits into a budget: what is taken, in which order it stands, and that the budget is never exceeded."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from selfroute.backends.context import arrange, choose, pack
from selfroute.models.tokenizer import wordpiece
from selfroute.types import Chunk, Hit


class Documents:
    """An index by its chunks alone: they are one document each path, in the order given."""

    def __init__(self, chunks: list[Chunk]) -> None:
        self.chunks = chunks

    def neighbours(self, chunk: Chunk, *, before: int = 1, after: int = 1) -> list[Chunk]:
        of_file = [other for other in self.chunks if other.path == chunk.path]
        at = next((i for i, other in enumerate(of_file) if other.id == chunk.id), None)
        return [] if at is None else of_file[max(0, at - before) : at + after + 1]


def chunk(path: str, line: int, text: str, symbol: str = "") -> Chunk:
    n_lines = len(text.splitlines())
    return Chunk(f"{path}:{line}", text, path, line, line + n_lines - 1, text, symbol, "lines", wordpiece().count(text))


def hits(*chunks: Chunk) -> list[Hit]:
    return [Hit(found, 1.0 / (i + 1)) for i, found in enumerate(chunks)]


A1, A2, A3 = chunk("a.py", 1, "one\n", "f"), chunk("a.py", 2, "two\n", "f"), chunk("a.py", 3, "three\n", "f")
A9 = chunk("a.py", 9, "nine\n", "g")
B, C, D = chunk("b.py", 1, "bee\n"), chunk("c.py", 1, "sea\n"), chunk("d.py", 1, "dee\n")


def test_the_best_files_stand_at_the_two_ends() -> None:
    context = pack(hits(A1, B, C, D), 1_000, Documents([A1, B, C, D]))

    assert [found.path for found in context.chunks] == ["a.py", "c.py", "d.py", "b.py"]


def test_chunks_of_one_file_stay_together_in_reading_order() -> None:
    context = pack(hits(A9, B, A1), 1_000, Documents([A1, A9, B]))

    assert [(found.path, found.start_line) for found in context.chunks] == [("a.py", 1), ("a.py", 9), ("b.py", 1)]


def test_each_run_of_lines_stands_under_its_location() -> None:
    context = pack(hits(A1, A9, A2), 1_000, Documents([A1, A2, A9]))

    assert context.text == "=== a.py:1-2 ===\none\ntwo\n=== a.py:9 ===\nnine\n"


def test_a_text_without_a_last_newline_gets_one_in_the_context_only() -> None:
    context = pack(hits(chunk("x.py", 1, "last"), B), 1_000, Documents([]))

    assert context.text == "=== x.py:1 ===\nlast\n=== b.py:1 ===\nbee\n"
    assert context.chunks[0].text == "last"


def test_a_hit_brings_the_rest_of_its_definition() -> None:
    assert choose(hits(A2, B), 1_000, Documents([A1, A2, A3, A9, B])) == [A2, A3, A1, B]


def test_a_hit_without_a_symbol_brings_nothing() -> None:
    plain = [chunk("p.txt", 1, "a\n"), chunk("p.txt", 2, "b\n")]

    assert choose(hits(plain[0]), 1_000, Documents(plain)) == [plain[0]]


def test_a_long_definition_is_completed_by_at_most_an_eighth_of_the_budget() -> None:
    body = [chunk("long.py", 1 + i, f"line {i} " + "word " * 48 + "\n", "f") for i in range(5)]

    assert choose(hits(body[0]), 800, Documents(body)) == body[:3]


def test_equal_texts_are_taken_once() -> None:
    copy = chunk("copy.py", 4, "bee\n")

    assert choose(hits(B, copy, B, C), 1_000, Documents([])) == [B, C]


def test_a_chunk_that_does_not_fit_gives_way_to_a_smaller_one_and_is_not_cut() -> None:
    big = chunk("big.py", 1, "word " * 200)

    assert choose(hits(big, B), 50, Documents([])) == [B]


def test_a_budget_of_nothing_gives_an_empty_context() -> None:
    context = pack(hits(A1, B), 0, Documents([A1, B]))

    assert (context.chunks, context.text, context.n_tokens) == ((), "", 0)


def test_no_hits_give_an_empty_context() -> None:
    assert pack([], 1_000, Documents([])).text == ""
    assert arrange([], 1_000).n_tokens == 0


@st.composite
def corpora(draw: st.DrawFn) -> tuple[list[Chunk], list[Hit]]:
    words = st.sampled_from(
        ["getHTTPResponse", "x", "naïve", "日本語", "[PAD]", "a_b-c", "1234567890", "\t", "=== a ==="]
    )
    lines = st.lists(words, max_size=12).map(" ".join)
    chunks: list[Chunk] = []
    for n_file in range(draw(st.integers(1, 4))):
        line = 1
        for _ in range(draw(st.integers(1, 6))):
            text = "\n".join(draw(st.lists(lines, min_size=1, max_size=4))) + draw(st.sampled_from(["", "\n", "\r\n"]))
            text = text if text.strip() else f"{n_file} {line}\n"
            found = chunk(f"dir/файл_{n_file}.py", line, text, draw(st.sampled_from(["", "f", "Class.method"])))
            chunks.append(found)
            line = found.end_line + draw(st.integers(1, 2))
    return chunks, hits(*draw(st.lists(st.sampled_from(chunks), max_size=12)))


@settings(max_examples=200, deadline=None)
@given(corpora(), st.integers(0, 400))
def test_the_budget_is_never_exceeded_and_the_count_is_exact(
    corpus: tuple[list[Chunk], list[Hit]], budget: int
) -> None:
    chunks, found = corpus
    context = pack(found, budget, Documents(chunks))

    assert context.n_tokens == wordpiece().count(context.text) <= budget
    assert len({taken.content_hash for taken in context.chunks}) == len(context.chunks)
    for path in {taken.path for taken in context.chunks}:
        places = [i for i, taken in enumerate(context.chunks) if taken.path == path]
        assert places == list(range(places[0], places[0] + len(places)))
        lines = [context.chunks[i].start_line for i in places]
        assert lines == sorted(lines)
    for taken in context.chunks:
        assert taken.text in context.text
