"""Citations: every quote is looked for in its file as it is now."""

from __future__ import annotations

import random

from selfroute.backends.citations import NOWHERE, verify
from selfroute.types import Chunk, Citation, Generation, Span

INDEXED = "import os\n\n\ndef load(path):\n    return open(path)\n\n\ndef save(path):\n    return open(path, 'w')\n"
LOAD = Chunk("1", "h1", "a.py", 4, 5, "def load(path):\n    return open(path)\n", "load")
SAVE = Chunk("2", "h2", "a.py", 8, 9, "def save(path):\n    return open(path, 'w')\n", "save")


class Files:
    """An index by the texts of its files, now and when they were indexed; counts what is read."""

    def __init__(self, now: dict[str, str], indexed: dict[str, str] | None = None) -> None:
        self.now, self.indexed = now, indexed or {}
        self.n_read = 0

    def read(self, path: str) -> str | None:
        self.n_read += 1
        return self.now.get(path)

    def is_stale(self, path: str) -> bool:
        return self.now.get(path) != self.indexed.get(path, INDEXED)


def cite(quote: str, chunk: Chunk, now: str | None, indexed: str = INDEXED) -> Citation:
    start = chunk.text.index(quote)
    generation = Generation(quote, (Span(0, start, start + len(quote)),))
    files = Files({} if now is None else {chunk.path: now}, {chunk.path: indexed})
    (citation,) = verify(generation, [chunk], files)
    return citation


def test_a_quote_stands_where_it_was_indexed() -> None:
    citation = cite("    return open(path)", LOAD, INDEXED)

    assert citation == Citation("a.py", 5, 5, 28, 49, "    return open(path)", stale=False)
    assert INDEXED.encode()[28:49] == b"    return open(path)"
    assert citation.location == "a.py:5"


def test_a_quote_that_moved_is_cited_where_it_stands_now() -> None:
    citation = cite("    return open(path)", LOAD, "# one\n# two\n" + INDEXED)

    assert (citation.location, citation.start_byte, citation.stale) == ("a.py:7", 40, True)


def test_a_quote_in_place_in_a_file_that_changed_is_stale_but_stays_there() -> None:
    citation = cite("    return open(path)", LOAD, INDEXED + "# more\n")

    assert (citation.location, citation.stale) == ("a.py:5", True)


def test_a_quote_whose_surroundings_changed_is_found_by_itself() -> None:
    citation = cite("    return open(path)", LOAD, "def load(path, mode):\n    return open(path)\n")

    assert (citation.location, citation.stale) == ("a.py:2", True)


def test_of_several_places_the_nearest_is_cited_and_only_whole_lines_count() -> None:
    now = (
        "    return open(path)\n"
        + "# far\n" * 9
        + "    return open(path).read()\n"
        + "    return open(path)\n"
        + "x\n" * 40
    )
    now += "    return open(path)\n"

    assert cite("    return open(path)", LOAD, now).location == "a.py:1"
    assert cite("    return open(path)", LOAD, "# far\n" * 9 + "    return open(path).read()\n").start_byte == NOWHERE


def test_a_quote_that_is_gone_keeps_its_indexed_lines() -> None:
    citation = cite("def load(path):\n    return open(path)", LOAD, "nothing = 1\n")

    assert citation == Citation("a.py", 4, 5, NOWHERE, NOWHERE, "def load(path):\n    return open(path)", stale=True)


def test_a_file_that_is_gone_keeps_its_indexed_lines() -> None:
    assert cite("def load(path):", LOAD, None) == Citation(
        "a.py", 4, 4, NOWHERE, NOWHERE, "def load(path):", stale=True
    )


def test_bytes_count_in_utf_8() -> None:
    text = "# naïve 日本\nkey = 'ключ'\nend = 1\n"
    chunk = Chunk("1", "h", "u.py", 1, 3, text)
    citation = cite("key = 'ключ'", chunk, text, text)

    assert text.encode()[citation.start_byte : citation.end_byte].decode() == "key = 'ключ'"
    assert citation.start_line == 2


def test_a_byte_order_mark_that_the_loader_keeps_counts() -> None:
    text = "\ufefffirst = 1\nsecond = 2\n"
    citation = cite("second = 2", Chunk("1", "h", "b.py", 1, 2, text), text, text)

    assert (citation.start_line, citation.start_byte) == (2, 13)


def test_a_quote_across_carriage_returns_keeps_them() -> None:
    text = "a = 1\r\nb = 2\r\nc = 3\r\n"
    citation = cite("b = 2\r\nc = 3", Chunk("1", "h", "w.py", 2, 3, "b = 2\r\nc = 3\r\n"), text, text)

    assert citation == Citation("w.py", 2, 3, 7, 19, "b = 2\r\nc = 3", stale=False)


def test_a_sentence_may_begin_within_a_line() -> None:
    text = "One thing. Another thing. A third.\n"
    chunk = Chunk("1", "h", "t.md", 1, 1, text, "", "text")
    moved = cite("Another thing.", chunk, "New line.\nOne thing! Another thing. A third.\n", text)

    assert (cite("Another thing.", chunk, text, text).start_byte, moved.location) == (11, "t.md:2")


def test_a_cell_of_a_notebook_is_cited_by_its_own_lines() -> None:
    text = "import os\nprint(os.sep)\n"
    citation = cite("print(os.sep)", Chunk("1", "h", "nb.ipynb#cell-3", 1, 2, text), text, text)

    assert citation.location == "nb.ipynb#cell-3:2"


def test_a_file_is_read_once_and_equal_places_are_cited_once() -> None:
    files = Files({"a.py": INDEXED})
    spans = (Span(1, 0, 15), Span(0, 0, 15), Span(1, 0, 15))
    citations = verify(Generation("", spans), [LOAD, SAVE], files)

    assert [citation.location for citation in citations] == ["a.py:8", "a.py:4"]
    assert files.n_read == 1


def test_no_spans_give_no_citations() -> None:
    assert verify(Generation(""), [], Files({})) == ()


def test_every_citation_that_has_bytes_is_exact_after_random_edits() -> None:
    rng = random.Random(3)
    lines = [f"{'    ' * (i % 3)}value_{i % 7} = {i % 5}  # ü{i % 4}" for i in range(60)]
    indexed = "\n".join(lines) + "\n"
    chunk = Chunk("1", "h", "r.py", 21, 30, "\n".join(lines[20:30]) + "\n")
    for _ in range(200):
        edited = list(lines)
        for _ in range(rng.randrange(6)):
            at = rng.randrange(len(edited))
            edited[at : at + rng.randrange(3)] = [f"new_{rng.randrange(9)}"] * rng.randrange(3)
        now = "\n".join(edited) + "\n"
        first = rng.randrange(20, 30)
        last = min(29, first + rng.randrange(3))
        citation = cite("\n".join(lines[first : last + 1]), chunk, now, indexed)

        if citation.start_byte == NOWHERE:
            assert f"\n{citation.text}\n" not in f"\n{now}"
        else:
            assert now.encode()[citation.start_byte : citation.end_byte].decode() == citation.text
            assert "\n".join(now.split("\n")[citation.start_line - 1 : citation.end_line]) == citation.text
        assert citation.stale == (now != indexed)


def test_a_word_is_cited_with_its_line_and_a_sentence_of_prose_as_a_whole() -> None:
    prose = Chunk("3", "h3", "b.txt", 1, 1, "One is here. Two is there. Three is gone.", kind="text")
    files = Files({"a.py": INDEXED, "b.txt": prose.text}, {"b.txt": prose.text})
    at, there = LOAD.text.index("path"), prose.text.index("there")
    generation = Generation("path\nthere", (Span(0, at, at + 4), Span(1, there, there + 5)))

    code, sentence = verify(generation, [LOAD, prose], files, whole=True)
    assert (code.text, code.start_byte, code.location) == ("def load(path):", 12, "a.py:4")
    assert (sentence.text, sentence.start_byte) == ("Two is there.", 13)
    assert verify(generation, [LOAD, prose], files)[0].text == "path"
