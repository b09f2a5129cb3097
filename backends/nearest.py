"""What comes nearest to a question without an answer: lines to look at by hand, not an answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from selfroute.backends.citations import verify
from selfroute.models.evidence import Reading
from selfroute.models.question import parse
from selfroute.types import Chunk, Citation, Generation, Span

if TYPE_CHECKING:
    from selfroute.memory.index import Index

N_NEAREST = 3


def nearest(question: str, chunks: Sequence[Chunk], index: Index, n: int = N_NEAREST) -> tuple[Citation, ...]:
    """The n lines (of prose, sentences) that hold most of the question, one a chunk, best first, checked as any quote.

    chunks: what was read, best first.
    """
    spans: dict[int, Span] = {}
    for line in Reading(parse(question), chunks, index.term_weight).best_lines():
        unit = line.units[line.unit]
        spans.setdefault(line.chunk, Span(line.chunk, unit.start, unit.end, line.score))
        if len(spans) == n:
            break
    return verify(Generation("", tuple(spans.values())), chunks, index)
