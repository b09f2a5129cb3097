"""From the best lines to quotes: whole statements, whole sentences, definitions with what is said of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import dedent

from selfroute.models.sentences import Role, Unit
from selfroute.types import Chunk, Span

MAX_LINES = 6  # of an answer, all quotes together
MAX_SPANS = 3
GAP = 1  # lines between two quotes of a chunk that become one
SECOND_BEST = 0.8  # of the best line's rank, for a further quote

_OPEN, _CLOSE = "([{", ")]}"
_WITH_SUMMARY = (
    "purpose",
    "place",
    "way",
    "definition",
    "",
)  # kinds whose definitions are quoted with their first sentence


@dataclass(frozen=True, slots=True)
class Line:
    """A line that may answer. score: without the place of its chunk in the list; rank: with it.

    cover: share in [0, 1] of the question's weight that stands on the line and around it. unit: its number in units.
    """

    score: float
    rank: float
    cover: float
    chunk: int
    unit: int
    units: Sequence[Unit]


def quote(lines: Sequence[Line], chunks: Sequence[Chunk], kind: str) -> tuple[tuple[Span, ...], str]:
    """Spans, best first, and their text with common indentation removed. lines: best first, at least one."""
    spans: list[Span] = []
    n_left = MAX_LINES
    for line in lines:
        if line.rank < SECOND_BEST * lines[0].rank:
            break
        text = chunks[line.chunk].text
        first, last = completed(line, text, kind, max(1, n_left))
        start, end = line.units[first].start, line.units[last].end
        near = next(
            (n for n, span in enumerate(spans) if span.chunk == line.chunk and _gap(span, start, end, text) <= GAP), -1
        )
        if near >= 0:  # one quote rather than two that touch
            old = spans[near]
            start, end = min(start, old.start), max(end, old.end)
        more = _n_lines(text, start, end) - (_n_lines(text, old.start, old.end) if near >= 0 else 0)
        if spans and more > n_left:
            continue
        if near >= 0:
            spans[near] = Span(line.chunk, start, end, old.score)
        elif len(spans) < MAX_SPANS:
            spans.append(Span(line.chunk, start, end, line.score))
        else:
            continue
        n_left -= more
    text = "\n".join(dedent(chunks[span.chunk].text[span.start : span.end]) for span in spans)
    return tuple(spans), text


def _n_lines(text: str, start: int, end: int) -> int:
    return text.count("\n", start, end) + 1


def _gap(span: Span, start: int, end: int, text: str) -> int:
    """Lines between the span and [start, end); 0 when they touch or overlap."""
    if start < span.end and span.start < end:
        return 0
    return max(0, text.count("\n", *((span.end, start) if span.end <= start else (end, span.start))) - 1)


def completed(line: Line, text: str, kind: str, n_left: int) -> tuple[int, int]:
    """(first, last) unit of what the line belongs to, within n_left units."""
    units, at = line.units, line.unit
    role = units[at].role
    if role & Role.COMMENT:
        first, last = _sentence(units, at, text, n_left)
        above = first - 1
        if above > 0 and units[above].role & Role.EMPTY and text[units[above].start : units[above].end].strip():
            above -= 1  # the quotes stand on a line of their own
        if kind == "purpose" and role & Role.SUMMARY and above >= 0 and units[above].role & Role.DEFINITION:
            first = above if last - above < n_left else first
        return first, last
    last = _statement_end(units, at, text, n_left)
    below = last + 1
    if role & Role.DEFINITION and kind in _WITH_SUMMARY and below < len(units) and units[below].role & Role.SUMMARY:
        _, end = _sentence(units, below, text, n_left)
        last = end if end - at < n_left else last
    return at, last


def _statement_end(units: Sequence[Unit], at: int, text: str, n_left: int) -> int:
    """The unit that closes the brackets opened on this one, when it is near; else the unit itself."""
    depth = 0
    for n in range(at, min(len(units), at + n_left)):
        body = text[units[n].start : units[n].end]
        depth += sum(body.count(c) for c in _OPEN) - sum(body.count(c) for c in _CLOSE)
        if depth <= 0:
            return n
    return at


def _sentence(units: Sequence[Unit], at: int, text: str, n_left: int) -> tuple[int, int]:
    """(first, last) line of the comment's sentence that stands on line `at`."""

    def ends(n: int) -> bool:
        body = (
            text[units[n].start : units[n].end]
            .rstrip()
            .removesuffix('"""')
            .removesuffix("'''")
            .removesuffix("*/")
            .rstrip()
        )
        return body.endswith((".", "!", "?", ":", ";"))

    def belongs(n: int) -> bool:
        return 0 <= n < len(units) and bool(units[n].role & Role.COMMENT) and not units[n].role & Role.EMPTY

    first = last = at
    while not ends(last) and belongs(last + 1) and last + 1 - at < n_left:
        last += 1
    while (
        not units[first].role & Role.SUMMARY
        and belongs(first - 1)
        and not ends(first - 1)
        and last - first + 1 < n_left
    ):
        first -= 1
    return first, last
