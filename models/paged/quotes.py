"""The quotes that start and end logits of tokens come to: the best, and the next best that overlap none."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MAX_ANSWER = 60  # tokens
N_STARTS = 256  # best starts that spans are sought from

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class PageSpan:
    """A quote: tokens first to last of a page's text, the page by its place among those read.

    probability: of its start among all tokens and the null option. score: its start's logit less the null option's.
    """

    page: int
    first: int
    last: int
    probability: float
    score: float


def best_spans(
    starts: Floats,
    ends_of: Callable[[int], Floats],
    offsets: NDArray[np.int64],
    null: float,
    total: float,
    n_spans: int,
) -> list[PageSpan]:
    """The best span of the best start's page first, then those of the next best starts that overlap none.

    starts: (n,) logits of all tokens. ends_of: the end logits of a page's tokens. total: log of the sum of exp of all
    starts and the null option.
    """
    n = min(N_STARTS, len(starts))
    at = np.argpartition(-starts, n - 1)[:n]

    def starts_of(page: int) -> Floats:
        return starts[offsets[page] : offsets[page + 1]]

    return spans_among(at, starts[at], starts_of, ends_of, offsets, null, total, n_spans)


def spans_among(
    at: NDArray[np.int64],
    logits: Floats,
    starts_of: Callable[[int], Floats],
    ends_of: Callable[[int], Floats],
    offsets: NDArray[np.int64],
    null: float,
    total: float,
    n_spans: int,
) -> list[PageSpan]:
    """best_spans() of the best starts, in any order: their tokens `at`, and their logits."""
    order = np.lexsort((at, -logits))
    found: list[PageSpan] = []
    taken: list[tuple[int, int]] = []
    ends: dict[int, Floats] = {}
    for start, score in zip(at[order].tolist(), logits[order].tolist(), strict=True):
        if len(found) >= n_spans or not np.isfinite(score):
            break
        page = int(np.searchsorted(offsets, start, "right")) - 1
        begin = int(offsets[page])
        if page not in ends:
            ends[page] = ends_of(page)
            ends[page][0] = ends[page][-1] = -np.inf
        if not found:
            own = starts_of(page)
            start = begin + _best_start(own, ends[page])
            score = float(own[start - begin])
        last = start + int(ends[page][start - begin : start - begin + MAX_ANSWER].argmax())
        if any(start <= b and last >= a for a, b in taken):
            continue
        taken.append((start, last))
        found.append(PageSpan(page, start - begin - 1, last - begin - 1, math.exp(score - total), score - null))
    return found


def _best_start(start: Floats, end: Floats) -> int:
    """The first token of the best span of one page."""
    T = len(start)
    both = np.full((T, MAX_ANSWER), -np.inf, np.float32)
    for n in range(min(MAX_ANSWER, T)):
        both[: T - n, n] = start[: T - n] + end[n:]
    return int(both.max(1).argmax())
