"""Which spans answer, given every token's scores: one softmax over all windows of a question and the null option.

The null option, "no chunk answers", has the score 0. A span's score is its first token's start score and its last
token's end score together; its probability is the product of both tokens' shares.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

MAX_ANSWER = 60  # tokens
MAX_LISTED = 12
# Of the best token's probability, what a further answer of a list has at both ends.
LISTED_SHARE = 0.3  # when a list is asked for
UNASKED_SHARE = 0.5  # when the question does not say so: "what setting does X look up" may be three
NEVER = np.float32(-1e4)

_COUNT = re.compile(r"\bhow many\b|\bnumber of\b", re.I)
_NUMBER = re.compile(
    r"\d|\b(?:no|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|dozens?|hundreds?|thousands?|millions?)\b",
    re.I,
)
_NOT_PLURAL = (
    r"(?:is|was|has|does|this|class|process|address|access|alias|basis|analysis|business|status|series|species|bus)"
)
_LIST = re.compile(
    r"^\W*(?:(?:please )?(?:list|enumerate|name (?:all|the|every|each)|give (?:me )?(?:all|every))\b"
    rf"|(?:(?:in|on|by|to|of|for|from|with) )?(?:which|what) (?:\w+ ){{0,2}}(?!{_NOT_PLURAL}\b)\w+s"
    r" (?:are|were|do|did|does|can|could|may|might|must|should|will|would|have|has|had)\b"
    r"|(?:which|what) (?:are|were) (?:all )?(?:the|its|his|her|their) (?:\w+ ){0,3}\w+s\b)",
    re.I,
)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A span of a chunk, in characters. score: absolute, 0 is the null option's. p: its share of the softmax."""

    chunk: int
    start: int
    end: int
    score: float
    p: float


@dataclass(frozen=True, slots=True)
class Scored:
    """One window's scores where an answer may begin or end, NEVER elsewhere, and the characters of its tokens."""

    chunk: int
    start: NDArray[np.float32]
    end: NDArray[np.float32]
    starts: Sequence[int]
    ends: Sequence[int]


@dataclass(frozen=True, slots=True)
class Choice:
    """What a question's windows hold. odds: log-odds that one of them answers, before calibration.

    spans: best first, none overlapping a better one of its chunk.
    """

    odds: float
    spans: tuple[Candidate, ...]


def asks_for_several(question: str) -> bool:
    """Whether the question's form asks for a list: "list ...", "which ...s", "what are the ...s"."""
    return bool(_LIST.search(question))


def asks_to_count(question: str) -> bool:
    """Whether the question asks how many there are of something."""
    return bool(_COUNT.search(question))


def is_number(text: str) -> bool:
    """Whether a text says a number."""
    return bool(_NUMBER.search(text))


def choose(windows: Sequence[Scored], n_best: int = 5) -> Choice:
    """The best spans, one softmax for the starts and one for the ends of all windows. Odds are -inf without windows.

    Of equal ones that of the earlier window is better.
    """
    windows = [window for window in windows if len(window.start)]
    if not windows:
        return Choice(-np.inf, ())
    all_starts, all_ends = _log_sum([w.start for w in windows]), _log_sum([w.end for w in windows])
    found: dict[tuple[int, int, int], float] = {}
    for window in windows:
        best, last = _best_ends(window)
        for first in np.argsort(-best, kind="stable")[: 4 * n_best].tolist():
            score = float(best[first])
            if score > NEVER:
                key = window.chunk, window.starts[first], window.ends[int(last[first])]
                found[key] = max(score, found.get(key, score))
    ranked = sorted(found.items(), key=lambda item: -item[1])
    total = all_starts + all_ends
    spans: list[Candidate] = []
    for (chunk, start, end), score in ranked:
        if len(spans) == n_best:
            break
        if not any(s.chunk == chunk and start < s.end and s.start < end for s in spans):
            spans.append(Candidate(chunk, start, end, score, float(np.exp(score - total))))
    return Choice(spans[0].score if spans else -np.inf, tuple(spans))


def best_score(window: Scored) -> float:
    """The score of a window's best span; -inf for a window without tokens."""
    return float(_best_ends(window)[0].max()) if len(window.start) else -np.inf


def choose_listed(windows: Sequence[Scored], share: float = LISTED_SHARE) -> tuple[Candidate, ...]:
    """The answers of a list, best first: every likely start with the likeliest end before the next start."""
    windows = [window for window in windows if len(window.start)]
    if not windows:
        return ()
    total_starts, total_ends = _log_sum([w.start for w in windows]), _log_sum([w.end for w in windows])
    floor_start = max(float(w.start.max()) for w in windows) + np.log(share)
    floor_end = max(float(w.end.max()) for w in windows) + np.log(share)
    found: dict[tuple[int, int, int], float] = {}
    for window in windows:
        likely = [i for i in np.flatnonzero(window.start >= floor_start).tolist() if window.start[i] > NEVER / 2]
        for first, following in pairwise([*likely, len(window.start)]):
            last = first + int(window.end[first : min(following, first + MAX_ANSWER)].argmax())
            if window.end[last] >= floor_end:
                key = window.chunk, window.starts[first], window.ends[last]
                score = float(window.start[first] + window.end[last])
                found[key] = max(score, found.get(key, score))
    ranked = sorted(found.items(), key=lambda item: -item[1])
    spans: list[Candidate] = []
    for (chunk, start, end), score in ranked:
        if not any(s.chunk == chunk and start < s.end and s.start < end for s in spans):
            spans.append(Candidate(chunk, start, end, score, float(np.exp(score - total_starts - total_ends))))
    return tuple(spans[:MAX_LISTED])


def _best_ends(window: Scored) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """For every first token the score of its best span and that span's last token."""
    padded = np.concatenate([window.end, np.full(MAX_ANSWER - 1, 2 * NEVER, np.float32)])
    ends = np.lib.stride_tricks.sliding_window_view(padded, MAX_ANSWER)
    length = ends.argmax(1)
    at = np.arange(len(length))
    return window.start + ends[at, length], at + length


def _log_sum(scores: Sequence[NDArray[np.float32]]) -> float:
    """log of the null option's 1 and of all exp(score)."""
    joined = np.concatenate([np.zeros(1), *scores]).astype(np.float64)
    top = joined.max()
    # Sorted, so that the sum does not depend on the order of the windows.
    return float(top + np.log(np.sort(np.exp(joined - top)).sum()))
