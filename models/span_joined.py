"""Spans found in chunks that were read below a text from elsewhere, told in the chunks' own characters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from selfroute.models.span_choice import Candidate, Scored, choose

N_TRIED = 10  # best spans of a joined text, of which some are of what stands before the chunk


@dataclass(frozen=True, slots=True)
class Joined:
    """A chunk, by its number among those read, and what is read before it. bonus: added to its spans' scores."""

    chunk: int
    before: str
    bonus: float


def best_of(joined: Sequence[Joined], windows: Sequence[Scored]) -> Candidate | None:
    """The best span of the chunks, not of what stands before them; its score has the bonus.

    windows: of all joined texts, Scored.chunk being the number of the text.
    """
    best: Candidate | None = None
    for n, one in enumerate(joined):
        at = len(one.before)
        for span in choose([window for window in windows if window.chunk == n], N_TRIED).spans:
            if span.start >= at and (best is None or span.score + one.bonus > best.score):
                score = span.score + one.bonus
                best = replace(span, chunk=one.chunk, start=span.start - at, end=span.end - at, score=score)
    return best
