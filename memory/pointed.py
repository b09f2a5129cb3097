"""Rows that a question points to by how it is put: where an option of a command line is spelled as the question spells
it, and where a project's own files state what they are asked for. Search by words splits `--dry-run` into two common
words, and a file of dependencies holds hardly any word of "which Python do I need"."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np

from selfroute.memory import catalog as kinds
from selfroute.memory.snapshot import Ranked, Snapshot
from selfroute.models.lexing import WORD, terms_of
from selfroute.types import Chunk

POINTED = "spelling"  # in Hit.via
N_BEFORE = 2  # hits of the words that stand before
N_OF_EACH = 3  # rows for an option or a statement
MAX_LOOKED_AT = 500  # rows whose text is searched
MAX_CHARACTERS = 2_000  # of a question

_OPTION = re.compile(r"(?<![\w-])--[A-Za-z][\w-]*\w")
_PROJECT_FILE = re.compile(
    r"(?:^|/)(?:pyproject\.toml|setup\.(?:cfg|py)|METADATA|PKG-INFO|entry_points\.txt|package\.json|Cargo\.toml|go\.mod"
    r"|requirements[^/]*\.txt|Pipfile|environment\.ya?ml|composer\.json|pom\.xml|build\.gradle(?:\.kts)?|Gemfile"
    r"|[^/]+\.gemspec|[^/]+\.csproj)$"
)
_LANGUAGE = re.compile(r"\b(?:python|interpreter|pythons|node|nodejs|rust|rustc|golang|jdk|java|ruby|php)\b", re.I)
_NEEDED = re.compile(
    r"\b(?:versions?|require[sd]?|requirements?|needs?|needed|supports?|supported|runs?|minimum|oldest|compatible|works?)\b",
    re.I,
)
_DEPENDS = re.compile(
    r"\b(?:depend(?:s|ency|encies|ed)?|require[sd]?|requirements?|needs?|pin(?:s|ned)?|constraints?|constrain(?:s|ed)"
    r"|versions?|specifiers?|releases?)\b",
    re.I,
)
_STARTS = re.compile(
    r"\b(?:entry[ -]?points?|console|commands?|executables?|scripts?|plugins?|typ(?:e|es|ed|ing)|runs?|launch(?:es|ed)?"
    r"|invoke[sd]?|called|starts?|executed?|behind)\b",
    re.I,
)
_STATES_LANGUAGE = re.compile(
    r'requires-python|python_requires|"engines"|rust-version|^go \d|<maven\.compiler', re.I | re.M
)
# What a project says of itself: the words that ask for it, and the key that it stands behind.
_FIELDS = (
    (re.compile(r"\blicen[cs]e[sd]?\b", re.I), r"licen[cs]e(?:-expression)?"),
    (re.compile(r"\b(?:authors?|wrote|written by|who made)\b", re.I), r"authors?(?:-email)?"),
    (re.compile(r"\bmaintain(?:ers?|ed|s)\b", re.I), r"maintainers?(?:-email)?"),
    (re.compile(r"\b(?:home ?page|web ?site|repository|source code|documentation url|project urls?)\b", re.I),
     r"(?:home-?page|homepage|repository|project-url|documentation)"),
    (re.compile(r"\b(?:summary|description|describe[sd]?|tagline)\b", re.I), r"(?:summary|description)"),
    (re.compile(r"\bkeywords?\b", re.I), r"keywords"),
    (re.compile(r"\b(?:version|release)\b", re.I), r"version"),
    (re.compile(r"\b(?:build (?:backend|system)|built with)\b", re.I), r"build-backend"),
    (re.compile(r"\b(?:package|project)(?:'s)? name\b|\bname of (?:the |this )?(?:package|project)\b", re.I),
     r"name"),
)  # fmt: skip
_NAMED = re.compile(r"[A-Za-z][\w.-]*\w")

ChunksAt = Callable[[list[int]], Sequence[Chunk] | None]


def pointed_at(question: str, snapshot: Snapshot, chunks_at: ChunksAt) -> list[int]:
    """Rows of the snapshot, best first; none for a question that points nowhere. chunks_at: the chunks of rows."""
    question = question[:MAX_CHARACTERS]
    found: list[int] = []
    for option in dict.fromkeys(_OPTION.findall(question)):
        found += _spelling(option, snapshot, chunks_at)
    found += _stating(question, snapshot, chunks_at)
    return list(dict.fromkeys(found))


def ahead(ranked: Ranked, rows: Sequence[int], top_k: int) -> Ranked:
    """The ranking with these rows behind its first N_BEFORE. Scores given never rise."""
    if not rows:
        return ranked.first(top_k)
    scores = dict(zip(ranked.rows, ranked.scores, strict=True))
    via = dict(zip(ranked.rows, ranked.via, strict=True))
    order = list(dict.fromkeys([*ranked.rows[:N_BEFORE], *rows, *ranked.rows]))[:top_k]
    falling: list[float] = []
    for row in order:
        before = falling[-1] if falling else max(ranked.scores, default=1.0)
        falling.append(before if row in rows else min(before, scores[row]))
    pointed = set(rows)
    return replace(
        ranked,
        rows=order,
        scores=falling,
        via=[((POINTED,) if row in pointed else ()) + via.get(row, ()) for row in order],
    )


def _spelling(option: str, snapshot: Snapshot, chunks_at: ChunksAt) -> list[int]:
    """Rows that hold an option letter for letter: where it is declared first, as a quoted word, tests last."""
    rows = _holding(option, snapshot)
    chunks = chunks_at(rows) if rows else None
    if not chunks:
        return []
    whole = re.compile(rf"(?<![\w-]){re.escape(option)}(?![\w-])")
    declared = re.compile(rf"""["']{re.escape(option)}(?:/--[\w-]+)?["']\s*[,)\]]""")
    ranks = []
    for row, chunk in zip(rows, chunks, strict=True):
        if whole.search(chunk.text):
            kind = snapshot.catalog.kinds[snapshot.catalog.file_of_row[row]]
            ranks.append((kind in (kinds.TEST, kinds.EXAMPLE), not declared.search(chunk.text), row))
    return [row for *_, row in sorted(ranks)[:N_OF_EACH]]


def _stating(question: str, snapshot: Snapshot, chunks_at: ChunksAt) -> list[int]:
    """Rows of the project's own files that state what is asked."""
    statements = list(_statements(question))
    if not statements:
        return []
    catalog = snapshot.catalog
    files = [n for n, path in enumerate(catalog.paths) if _PROJECT_FILE.search(path)]
    rows = np.flatnonzero(np.isin(catalog.file_of_row, files))[:MAX_LOOKED_AT].tolist()
    chunks = chunks_at(rows) if rows else None
    if not chunks:
        return []
    found: list[int] = []
    for statement in statements:
        found += [row for row, chunk in zip(rows, chunks, strict=True) if statement.search(chunk.text)][:N_OF_EACH]
    return found


def _statements(question: str) -> Iterable[re.Pattern[str]]:
    if _LANGUAGE.search(question) and _NEEDED.search(question):
        yield _STATES_LANGUAGE
    names = [re.escape(name) for name in dict.fromkeys(_NAMED.findall(question)) if len(name) > 2]
    if names and _STARTS.search(question):
        yield re.compile(rf"""^\s*["']?(?:{"|".join(names)})["']?\s*=\s*["']?[\w.]+:[\w.]+""", re.M)
    if names and _DEPENDS.search(question):
        yield re.compile(
            rf"""(?:^|[\s"':])(?:{"|".join(names)})(?:\[[^\]]*\])?["']?\s*(?:\(|:\s*["'\^~\d]|[<>=~!^]+\s*["']?[\dv])""",
            re.I | re.M,
        )
    for asks, key in _FIELDS:
        if asks.search(question):
            yield re.compile(rf"""^\s*["']?{key}["']?\s*[:=]""", re.I | re.M)


def _holding(text: str, snapshot: Snapshot) -> list[int]:
    """Rows that hold all words of a text, ascending, at most MAX_LOOKED_AT."""
    rows: np.ndarray[tuple[int, ...], np.dtype[np.int32]] | None = None
    for word in WORD.findall(text.replace("-", " ")):
        held = snapshot.content.of(terms_of(word)[0])[0] if terms_of(word) else None
        if held is not None:
            rows = held if rows is None else np.intersect1d(rows, held)
    return [] if rows is None else rows[:MAX_LOOKED_AT].tolist()
