"""Spans found in texts that were joined from several chunks, told in the chunks' own characters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from selfroute.models.span_choice import Candidate, Scored, choose
from selfroute.models.squeezed import squeezed

N_TRIED = 10  # best spans of a joined text, of which some are none of its parts'
KNOWN = 6.0  # taken from the score of what leads from one chunk to the next, which is seldom what is asked for; tuned


@dataclass(frozen=True, slots=True)
class Part:
    """Characters [start, end) of a joined text that are a whole chunk's text. chunk: its number among those read."""

    chunk: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Joined:
    """A text to be read as one, where it was joined from chunks; answers lie within a part.

    path, symbol: what it is shown under. bonus: added to the scores of its spans, which are otherwise absolute.
    known: the names that lead from one chunk to the next, squeezed.
    """

    text: str
    parts: tuple[Part, ...]
    path: str = ""
    symbol: str = ""
    bonus: float = 0.0
    known: frozenset[str] = frozenset()


def best_of(joined: Sequence[Joined], windows: Sequence[Scored]) -> Candidate | None:
    """The best span of all, in the characters of its chunk; its score has the text's bonus.

    windows: of all joined texts, Scored.chunk being the number of the text.
    """
    best: Candidate | None = None
    for n, one in enumerate(joined):
        for span in choose([window for window in windows if window.chunk == n], N_TRIED).spans:
            part = next((p for p in one.parts if p.start <= span.start and span.end <= p.end), None)
            if part is None:
                continue
            known = squeezed(one.text[span.start : span.end]) in one.known
            score = span.score + one.bonus - KNOWN * known
            if best is None or score > best.score:
                best = Candidate(part.chunk, span.start - part.start, span.end - part.start, score, span.p)
    return best
