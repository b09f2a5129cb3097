"""Search over one generation: what ranks first and why, odd questions, and updates that equal a rebuild."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfroute.memory.catalog import COMPAT, DECLARATIONS, DOCS, EXAMPLE, LOG, SOURCE, TEST, path_kind, stem_text
from selfroute.memory.query import MAX_TERMS, parse
from selfroute.memory.snapshot import Snapshot
from selfroute.models.hashing import HashingEmbedder
from selfroute.types import Chunk

EMBEDDER = HashingEmbedder(16)


def chunk(path: str, text: str, symbol: str = "", line: int = 1) -> Chunk:
    return Chunk(
        f"{path}{line}", text, path, line, line + text.count("\n"), text, symbol, "function", len(text.split())
    )


def snapshot(chunks: list[tuple[Chunk, list[str]]]) -> Snapshot:
    texts = [c.text for c, _ in chunks]
    n = len(chunks)
    vectors = EMBEDDER.encode(texts) if n else np.empty((0, 16), np.float32)
    return Snapshot.empty(16).merged(
        -1 - np.arange(n), [c for c, _ in chunks], [d for _, d in chunks], vectors, np.arange(n), 1
    )


CORPUS = [
    (chunk("app/server.py", "def serve(port):\n    listen(port)\n    run_forever()", "serve"), ["serve"]),
    (chunk("app/sessions.py", "class Session:\n    cookie = None", "Session"), ["Session"]),
    (
        chunk("app/sessions.py", "def open_session(request):\n    return Session(request.cookie)", "open_session", 9),
        ["open_session"],
    ),
    (chunk("app/views.py", "from app.sessions import Session\nuse(Session, Session, Session)"), []),
    (
        chunk("tests/test_sessions.py", "def test_session():\n    assert Session().cookie is None", "test_session"),
        ["test_session"],
    ),
]


def found(question: str, top_k: int = 5) -> list[str]:
    made = snapshot(CORPUS)
    ranked = made.search(question, EMBEDDER.encode([question])[0], top_k=top_k)
    return [made.catalog.symbol(row) for row in ranked.rows]


def test_a_symbol_is_found_where_it_is_defined_not_where_it_is_used_most() -> None:
    assert found("Session")[0] == "Session"
    assert found("app.sessions.open_session()")[0] == "open_session"


def test_a_test_ranks_below_the_code_unless_it_is_asked_for() -> None:
    assert found("session cookie")[0] != "test_session"
    assert found("test of session cookie")[0] == "test_session"


def test_a_camel_case_question_finds_a_snake_case_name() -> None:
    assert found("openSession")[0] == "open_session"


@pytest.mark.parametrize("question", ["", "   ", "?!", "\x00", "の中", "x" * 100_000, "session " * 20_000, "​"])
def test_any_question_gives_a_list(question: str) -> None:
    assert len(found(question)) <= 5


def test_a_word_that_is_nowhere_lowers_the_coverage() -> None:
    ranked = snapshot(CORPUS).search("session kubernetes", None, top_k=3)
    assert 0 < ranked.coverage < 1


def test_an_empty_snapshot_finds_nothing() -> None:
    assert Snapshot.empty(16).search("session", EMBEDDER.encode(["session"])[0], top_k=5).rows == []


def test_a_long_question_keeps_its_first_terms() -> None:
    assert len(parse(" ".join(f"word{i}x" for i in range(1_000))).core) <= MAX_TERMS + 3


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("src/app.py", SOURCE),
        ("tests/app.py", TEST),
        ("src/app_test.go", TEST),
        ("web/app.spec.ts", TEST),
        ("src/testing.py", SOURCE),
        ("examples/app.py", EXAMPLE),
        ("docs/app.py", DOCS),
        ("README.md", DOCS),
        ("CHANGES.rst", LOG),
        ("types/app.d.ts", DECLARATIONS),
        ("pkg/_compat.py", COMPAT),
        ("src/contest/latest.py", SOURCE),
    ],
)
def test_the_kind_of_a_file_is_read_from_its_path(path: str, kind: int) -> None:
    assert path_kind(path) == kind


def test_a_file_named_for_nothing_has_the_name_of_its_folder() -> None:
    assert stem_text("pkg/json/__init__.py") == "json"
    assert stem_text("pkg/json/tag.py") == "tag"


@given(st.integers(0, 2**32), st.integers(0, 12), st.integers(0, 5))
@settings(max_examples=40)
def test_an_update_equals_a_rebuild_array_for_array(seed: int, n_old: int, n_new: int) -> None:
    pick = random.Random(seed)
    words = ["cookie", "Session", "open_session", "getHTTP", "port", "の中", "x1"]

    def some(prefix: str, n: int) -> list[tuple[Chunk, list[str]]]:
        return [
            (chunk(f"{prefix}/{i}.py", " ".join(pick.choices(words, k=6)), pick.choice(words)), pick.sample(words, 2))
            for i in range(n)
        ]

    old, new = some("old", n_old), some("new", n_new)
    rows = [(i, old[i]) for i in range(n_old) if pick.random() < 0.7] + [(-1 - i, c) for i, c in enumerate(new)]
    pick.shuffle(rows)
    origin = np.array([row for row, _ in rows], np.int64)
    vectors = EMBEDDER.encode([c.text for c, _ in new]) if new else np.empty((0, 16), np.float32)
    updated = snapshot(old).merged(origin, [c for c, _ in new], [d for _, d in new], vectors, np.arange(len(rows)), 1)
    rebuilt = snapshot([c for _, c in rows])
    restored = Snapshot.from_arrays(updated.to_arrays())
    for name, array in rebuilt.to_arrays().items():
        assert np.array_equal(updated.to_arrays()[name], array), name
        assert np.array_equal(restored.to_arrays()[name], array), name


def test_the_order_of_the_terms_does_not_depend_on_the_process() -> None:
    assert list(parse("error handlers of getHTTP").weights.items())[:7] == [
        ("error", 1.0),
        ("handler", 1.0),
        ("get_http", 1.0),
        ("get", 0.6),
        ("http", 0.6),
        ("error_handler", 0.5),
        ("errorhandl", 0.5),
    ]
