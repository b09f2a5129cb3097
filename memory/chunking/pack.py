"""Pieces packed into chunks: whole lines, in order, each non-blank line once, under the limit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

from selfroute.memory.chunking.pieces import Piece, Policy, Source

_WEIGHT = 0.08  # what one step of border weight costs, against the squared relative distance from the wished size
_LINE_WEIGHT = 4  # a border inside a statement
_UNBLANKED = 2  # steps that the lack of a blank line above costs


@dataclass(slots=True)
class Span:
    """Rows [start, end) that become one chunk. continues: it holds no definition's first line."""

    start: int
    end: int
    symbol: str
    kind: str
    continues: bool


def pack(pieces: list[Piece], source: Source, policy: Policy, *, line_floor: int = 0) -> list[Span]:
    """The chunks' spans, blank lines at their ends removed.

    pieces: at most one per row, sorted by row. line_floor: tokens that a line counts for at least, when lines as well
    as tokens are to be limited.
    """
    if not pieces:
        return []
    pieces[0].row = 0
    before = source.before if not line_floor else _floored(source, line_floor)
    spans: list[Span] = []
    stop = [*(piece.row for piece in pieces[1:]), source.n_lines]
    sized = _within_limit(pieces, stop, before, source, policy.limit)
    for _, run in groupby(sized, key=lambda item: item[0].group):
        spans.extend(_cut(list(run), before, source, policy))
    return _tidied(spans, source, policy)


def _floored(source: Source, floor: int) -> list[int]:
    before, total = [0], 0
    for row in range(source.n_lines):
        total += max(floor, source.before[row + 1] - source.before[row])
        before.append(total)
    return before


def _within_limit(
    pieces: list[Piece], stops: list[int], before: list[int], source: Source, limit: int
) -> Iterator[tuple[Piece, int]]:
    """Pieces with their ends; one over the limit falls into its lines."""
    for piece, stop in zip(pieces, stops, strict=True):
        if before[stop] - before[piece.row] <= limit:
            yield piece, stop
            continue
        yield piece, piece.row + 1
        for row in range(piece.row + 1, stop):
            yield Piece(row, piece.group, piece.weight + _LINE_WEIGHT, piece.symbol, piece.kind), row + 1


def _cut(run: list[tuple[Piece, int]], before: list[int], source: Source, policy: Policy) -> Iterator[Span]:
    """One run of pieces that may share chunks, cut where the borders are light and the parts come out alike."""
    starts = [piece.row for piece, _ in run]
    starts.append(run[-1][1])
    end = before[starts[-1]]
    whole = policy.limit if run[0][0].defines else policy.target
    i = 0
    while i < len(run):
        left = end - before[starts[i]]
        j = len(run)
        if left > whole:
            # Near the end the rest is shared out evenly; far from it the end must not matter: an edit stays local.
            wish = policy.target if left > 4 * policy.target else left / -(-left // policy.target)
            j = _best_border(run, starts, before, source, i, wish, policy.limit)
        yield _labelled(run[i:j], starts[i], starts[j])
        i = j


def _best_border(
    run: list[tuple[Piece, int]],
    starts: list[int],
    before: list[int],
    source: Source,
    i: int,
    wish: float,
    limit: int,
) -> int:
    best, best_cost = i + 1, float("inf")
    base = before[starts[i]]
    for j in range(i + 1, len(run) + 1):
        size = before[starts[j]] - base
        if size > limit and j > i + 1:
            break
        cost = (size / wish - 1) ** 2
        if j < len(run):
            row = starts[j]
            cost += _WEIGHT * (run[j][0].weight + (_UNBLANKED if source.lines[row - 1].strip() else 0))
        if cost < best_cost:
            best, best_cost = j, cost
    return best


def _labelled(run: list[tuple[Piece, int]], start: int, end: int) -> Span:
    defining = next((piece for piece, _ in run if piece.defines), None)
    named = defining or run[0][0]
    return Span(start, end, named.symbol, named.kind, defining is None)


def _tidied(spans: list[Span], source: Source, policy: Policy) -> list[Span]:
    """Without blank ends and empty spans; a tiny leftover joins the span above it, a tiny head its first member."""
    kept: list[Span] = []
    lines = source.lines
    for span in spans:
        start, end = span.start, span.end
        while start < end and not lines[start].strip():
            start += 1
        while start < end and not lines[end - 1].strip():
            end -= 1
        if start == end:
            continue
        if kept and source.tokens(kept[-1].start, end) <= policy.limit:
            head = kept[-1]
            inner = bool(head.symbol) and span.symbol.startswith(head.symbol + ".")
            leftover = span.continues and source.tokens(start, end) < policy.tiny
            if leftover or (inner and source.tokens(head.start, head.end) < policy.tiny):
                head.end = end
                continue
        span.start, span.end = start, end
        kept.append(span)
    return kept
