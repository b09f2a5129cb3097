"""Chunks of any text: whole lines, each once, within the limit; ids that do not move with the lines."""

from __future__ import annotations

import time

from hypothesis import given, settings
from hypothesis import strategies as st

from selfroute.memory.base import Document
from selfroute.memory.chunking import DEFAULT_POLICY, ChunkedDocument, Policy, chunk_document
from selfroute.memory.chunking.grammars import GRAMMARS
from selfroute.models.tokenizer import wordpiece

LANGUAGES = [*GRAMMARS, "markdown", "rst", "text", "toml", "ini", "yaml", "json", "html", ""]
SOURCES = [
    "def f(a):\n    return a\n",
    "class A:\n",
    "    x = 1\n",
    "function g() {\n",
    "}\n",
    "\n",
    "\n\n",
    "# Title\n",
    "=====\n",
    "```\n",
    "/** doc */\n",
    "// note\n",
    "@decorated\n",
    "#if X\n",
    "[section]\n",
    "key: value\n",
    '  "key": {\n',
    "- item\n",
    "(((" + "\n",
    "value, " * 60 + "\n",
    "<a><b>\n",
    "'\n",
    '"""\n',
    "\r\n",
    "\f\n",
    "\u2028é中\n",
    "x = [" + "1, " * 400 + "]\n",
]
fragments = st.lists(st.sampled_from(SOURCES), max_size=60).map("".join)
any_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=400)

# Fixed here, so that tuning the default changes no expectation.
FINE = Policy(limit=256, target=192, own=24, own_definition=24, own_constant=64, tiny=16, line_window=25)


def chunked(text: str, language: str = "", path: str = "a", policy: Policy = FINE) -> ChunkedDocument:
    return chunk_document(Document(path, text, language), policy)


def spans(text: str, language: str, policy: Policy = FINE) -> list[tuple[int, int, str, str]]:
    return [(c.start_line, c.end_line, c.kind, c.symbol) for c in chunked(text, language, policy=policy).chunks]


def check(text: str, language: str, policy: Policy = FINE) -> None:
    lines = text.split("\n")
    covered: list[int] = []
    seen: set[str] = set()
    for chunk in chunked(text, language, policy=policy).chunks:
        assert chunk.text == "\n".join(lines[chunk.start_line - 1 : chunk.end_line])
        assert lines[chunk.start_line - 1].strip() and lines[chunk.end_line - 1].strip()
        assert chunk.n_tokens == wordpiece().count(chunk.text)
        assert chunk.n_tokens <= 256 or chunk.start_line == chunk.end_line
        assert chunk.kind in {"function", "method", "class", "module", "section", "text", "config", "lines"}
        assert chunk.id not in seen
        seen.add(chunk.id)
        covered += range(chunk.start_line, chunk.end_line + 1)
    assert covered == sorted(set(covered))
    assert {n for n, line in enumerate(lines, 1) if line.strip()} <= set(covered)


@settings(max_examples=250, deadline=None)
@given(
    fragments | any_text,
    st.sampled_from(LANGUAGES),
    st.sampled_from([FINE, DEFAULT_POLICY, Policy(own=257, own_definition=257)]),
)
def test_every_line_that_is_not_blank_is_in_exactly_one_chunk(text: str, language: str, policy: Policy) -> None:
    check(text, language, policy)


@settings(max_examples=100, deadline=None)
@given(fragments, st.sampled_from(list(GRAMMARS)))
def test_definitions_lie_within_the_document_in_order(text: str, language: str) -> None:
    definitions = chunked(text, language).definitions
    n_lines = text.count("\n") + 1
    assert all(1 <= d.start_line <= d.end_line <= n_lines and d.name for d in definitions)
    assert [d.start_line for d in definitions] == sorted(d.start_line for d in definitions)


BODIES = st.lists(st.integers(14, 40), min_size=2, max_size=8)


@settings(max_examples=60, deadline=None)
@given(BODIES, st.data())
def test_editing_above_one_function_leaves_the_other_chunks_as_they_were(sizes: list[int], data: st.DataObject) -> None:
    functions = [
        f"def function_{n}(argument):\n" + "".join(f"    value_{n}_{i} = argument + {i}\n" for i in range(size))
        for n, size in enumerate(sizes)
    ]
    before = chunked("import os\n\n\n" + "\n\n".join(functions), "python").chunks
    edited = data.draw(st.integers(0, len(sizes) - 1))
    functions[edited] = data.draw(st.sampled_from(["\n", "\n\n\n", "# Why.\n", "# Why.\n# How.\n"])) + functions[edited]
    after = chunked("import os\n\n\n" + "\n\n".join(functions), "python").chunks
    others = [c.id for c in before if c.symbol != f"function_{edited}"]
    assert others == [c.id for c in after if c.symbol != f"function_{edited}"]


def test_an_id_is_made_of_path_text_and_occurrence() -> None:
    text = "<p>\n" * 60
    first, second = chunked(text, path="a").chunks[:2]
    assert first.content_hash == second.content_hash
    assert first.id != second.id
    assert chunked(text, path="b").chunks[0].id != first.id
    assert chunked(text, path="b").chunks[0].content_hash == first.content_hash
    assert len(first.id) == len(first.content_hash) == 32


def test_a_line_over_the_limit_is_a_chunk_of_its_own() -> None:
    document = chunked("a = 1\nb = '" + "word " * 1000 + "'\nc = 2\n", "python")
    assert [(c.start_line, c.end_line) for c in document.chunks] == [(1, 1), (2, 2), (3, 3)]
    assert document.chunks[1].n_tokens == 1004


def test_blank_documents_have_no_chunks() -> None:
    for text in ("", "\n", " \n\t\n", "\r\n"):
        for language in LANGUAGES:
            assert chunked(text, language) == ChunkedDocument((), ())


def test_carriage_returns_stay_in_the_text() -> None:
    (chunk,) = chunked("a = 1\r\nb = 2\r\n", "python").chunks
    assert (chunk.text, chunk.end_line) == ("a = 1\r\nb = 2\r", 2)


def test_a_function_over_the_limit_is_cut_between_statements_and_keeps_its_signature_and_docstring() -> None:
    body = "".join(f"    value_{i} = compute(argument, {i})\n" for i in range(60))
    text = f'def big(argument):\n    """Returns it."""\n{body}    return argument\n'
    parts = chunked(text, "python").chunks
    assert {(c.symbol, c.kind) for c in parts} == {("big", "function")}
    assert parts[0].text.startswith('def big(argument):\n    """Returns it."""\n    value_0')
    assert all(100 <= c.n_tokens <= 256 for c in parts)


def test_what_is_nested_in_a_long_function_has_chunks_of_its_own() -> None:
    filler = "".join(f"    value_{i} = compute(argument, {i})\n" for i in range(40))
    inner = "    def inner(given):\n" + "".join(f"        given += {i} * given\n" for i in range(6))
    document = chunked(f"def outer(argument):\n{filler}\n{inner}\n    return inner\n", "python")
    assert [c.symbol for c in document.chunks] == ["outer", "outer", "outer", "outer.inner"]
    assert [d.name for d in document.definitions] == ["outer", "outer.inner"]


def test_small_neighbours_share_a_chunk_and_larger_definitions_do_not() -> None:
    function = (
        "def {0}(first, second):\n    total = first + second\n    return total * {1} + first - second * 2 + third\n"
    )
    text = "import os\nimport sys\n\nA = 1\n\n\n" + function.format("one", 1) + "\n\n" + function.format("two", 2)
    assert spans(text, "python") == [(1, 4, "module", ""), (7, 9, "function", "one"), (12, 14, "function", "two")]
    together = chunk_document(Document("a", text, "python"), Policy(own_definition=100)).chunks
    assert [(c.start_line, c.end_line, c.symbol) for c in together] == [(1, 14, "one")]


def test_a_class_gives_a_head_and_its_methods() -> None:
    method = (
        "    def {0}(self, value):\n        self.count += value\n        return self.count * {1} + value - 1 + step\n"
    )
    text = (
        'class Counter:\n    """Counts, and says how far."""\n\n    STEP = 1\n\n'
        f"{method.format('add', 1)}\n    # Twice.\n    @cached\n{method.format('twice', 2)}"
    )
    assert spans(text, "python") == [
        (1, 4, "class", "Counter"),
        (6, 8, "method", "Counter.add"),
        (10, 14, "method", "Counter.twice"),
    ]


def test_a_tiny_head_stays_with_its_first_member() -> None:
    method = "    def {0}(self):\n" + "        call(self, self)\n" * 5
    text = "class A:\n" + method.format("one") + "\n" + method.format("two")
    assert spans(text, "python") == [(1, 7, "class", "A"), (9, 14, "method", "A.two")]


MARKDOWN = """---
title: x
---
# Guide

Welcome to the guide, which says in some words what there is to be known about all of this and more.

## Sessions

How a session is signed, and what signs it, and where the key of it is kept while it is being used.

```python
# not a heading
x = 1
```

Setext
------

A paragraph under a heading of the other kind, which is long enough to stand for itself in a chunk.
"""


def test_markdown_is_cut_by_heading() -> None:
    assert spans(MARKDOWN, "markdown") == [
        (1, 3, "section", ""),
        (4, 6, "section", "Guide"),
        (8, 15, "section", "Guide > Sessions"),
        (17, 20, "section", "Guide > Setext"),
    ]


def test_a_heading_without_a_body_joins_its_first_subsection() -> None:
    text = "# Guide\n\n## Sessions\n\n" + "Signed with a key that nobody else has.\n" * 5
    assert spans(text, "markdown") == [(1, 9, "section", "Guide > Sessions")]


def test_fenced_code_that_fits_is_not_cut() -> None:
    fence = "```\n" + "call(argument, other)\n\n" * 25 + "```\n"
    text = "# A\n\n" + "Some words about it.\n\n" * 30 + fence
    parts = chunked(text, "markdown").chunks
    assert parts[-1].text == fence.rstrip("\n")


def test_badges_and_links_are_no_part_of_a_title() -> None:
    text = "# [Flask](https://a.b) `core` [![ci](https://c.d)](https://e.f)\n\n" + "Words about it.\n" * 10
    assert spans(text, "markdown")[0][3] == "Flask core"


def test_restructured_text_is_cut_by_heading() -> None:
    words = "Words enough to be a section of its own, and then some more words so that it is surely one.\n"
    text = f"=====\nGuide\n=====\n\n{words}\nSessions\n--------\n\n{words}\nKeys\n~~~~\n\n{words}\nEnd\n---\n\n{words}"
    assert spans(text, "rst") == [
        (1, 5, "section", "Guide"),
        (7, 10, "section", "Guide > Sessions"),
        (12, 15, "section", "Guide > Sessions > Keys"),
        (17, 20, "section", "Guide > End"),
    ]


def test_plain_text_is_cut_between_paragraphs() -> None:
    paragraph = "It was a dark night.\nIt rained a great deal, and the wind blew.\n" * 8
    document = chunked(f"{paragraph}\n{paragraph}\n{paragraph}", "text")
    assert [(c.start_line, c.end_line, c.kind) for c in document.chunks] == [
        (1, 16, "text"),
        (18, 33, "text"),
        (35, 50, "text"),
    ]


def test_toml_is_cut_by_table() -> None:
    table = "".join(f'option_{i} = "value {i}"\n' for i in range(8))
    text = f'title = "x"\n\n[tool.ruff]\n{table}\n# Why.\n[tool.ruff.lint]\n{table}'
    assert spans(text, "toml") == [
        (1, 1, "config", ""),
        (3, 11, "config", "tool.ruff"),
        (13, 22, "config", "tool.ruff.lint"),
    ]


def test_yaml_and_json_are_cut_by_key_and_by_second_key_where_the_first_is_large() -> None:
    steps = "".join(f"      - run: make step-{i} with some words\n" for i in range(16))
    text = f"name: ci\non: push\njobs:\n  build:\n    steps:\n{steps}  test:\n    steps:\n{steps}"
    assert spans(text, "yaml") == [
        (1, 2, "config", "name"),
        (3, 21, "config", "jobs"),
        (22, 39, "config", "jobs.test"),
    ]
    values = "".join(f'      "option {i}": "a value with some words",\n' for i in range(12))
    text = f'{{\n  "name": "x",\n  "a": {{\n    "b": {{\n{values}    }},\n    "c": {{\n{values}    }}\n  }}\n}}\n'
    assert spans(text, "json") == [(1, 2, "config", "name"), (3, 17, "config", "a"), (18, 33, "config", "a.c")]


def test_unknown_text_is_cut_into_windows_that_end_at_blank_lines() -> None:
    text = ("body {\n  color: red;\n}\n" * 5 + "\n") * 6
    parts = chunked(text, "css").chunks
    assert all(c.kind == "lines" and c.end_line - c.start_line < 25 for c in parts)
    assert all(c.text.startswith("body {") and c.text.endswith("}") for c in parts)


def test_json_lines_are_cut_into_windows() -> None:
    assert {c.kind for c in chunked('{"a": 1}\n' * 200, "json").chunks} == {"lines"}


def test_deep_nesting_reaches_no_recursion_limit() -> None:
    for text in ("(" * 10_000, "(\n" * 10_000, "x = (" * 3_000 + ")" * 3_000, "class A {\n" * 3_000):
        for language in GRAMMARS:
            check(text, language)


def test_code_that_a_parser_chokes_on_falls_back_to_windows() -> None:
    start = time.process_time()
    for language, text in (("java", "a<" * 200_000), ("csharp", "a<\n" * 100_000)):
        document = chunked(text, language)
        assert document.chunks[0].kind == "lines" and not document.definitions
    assert time.process_time() - start < 5


def test_broken_code_is_cut_where_it_can_be() -> None:
    text = "def good(first, second):\n    return (first + second) * first + second * 12 + first\n\n\ndef bad(:\n  ][\n"
    assert chunked(text, "python").definitions[0].name == "good"
    check(text, "python")


def test_a_header_with_classes_is_read_as_cpp() -> None:
    text = "namespace a {\nclass B {\n  int c() { return 1; }\n};\n}\n"
    document = chunk_document(Document("b.h", text, "c"))
    assert [d.name for d in document.definitions] == ["B", "B.c"]
