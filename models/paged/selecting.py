"""Which pages of very many a question reads wholly: those where the pointer would begin before it has read anything.

Every token's start key is compared with what the question points at at first: no page goes unseen. A page stands where
its best token stands; half of the pages are chosen so, half by their own keys. What is chosen does not depend on the
order in which blocks end, for the largest of some numbers does not.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from selfroute.models.paged.fields import Arrays, Row
from selfroute.models.paged.scanning import BLOCK, Asked, Packed, Scratch, blocks_of, in_order, part_of

BY_KEY = 2  # one page in so many is chosen by its key: for prose it says more, for random keys it says nothing

Floats = NDArray[np.float32]
Places = NDArray[np.int64]


def best_starts(row: Row, query: Floats, arrays: Arrays, offsets: Places, threads: int) -> Floats:
    """(P,): the largest product of the query (D,) with the row of a token of each page."""
    asked = Asked(row, query[None, None])

    def block(first: int, stop: int, scratch: Scratch) -> tuple[int, Floats]:
        scores = Packed(row, part_of(row, arrays, first, stop), scratch).scores(asked).reshape(-1)
        page = int(np.searchsorted(offsets, first, "right")) - 1
        last = int(np.searchsorted(offsets, stop, "left"))
        return page, np.maximum.reduceat(scores, np.maximum(offsets[page:last] - first, 0))

    found = np.full(len(offsets) - 1, -np.inf, np.float32)
    for page, scores in in_order(block, blocks_of(int(offsets[-1]), BLOCK, asked.slice), threads):
        part = found[page : page + len(scores)]
        np.maximum(part, scores, out=part)
    return found


def choose(by_start: Floats, by_key: Floats, n: int) -> Places:
    """At most n pages' places, rising. by_start, by_key: (P,), the best of each page's tokens, and the page's own."""
    P = len(by_key)
    if n >= P:
        return np.arange(P)
    stands = np.full(P, P, np.int64)
    best = _best(by_start, n)
    stands[best] = np.arange(len(best))
    stands[_best(by_key, n // BY_KEY)] = -1
    return np.sort(np.lexsort((np.arange(P), stands))[:n])


def only(
    arrays: Arrays, lengths: NDArray[np.int32], chosen: Places, of_pages: str
) -> Mapping[str, NDArray[np.generic]]:
    """The arrays of the chosen pages alone. of_pages: the array that has a row for each page, not for each token."""
    offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    n = lengths[chosen].astype(np.int64)
    tokens = np.repeat(offsets[chosen] - (np.cumsum(n) - n), n) + np.arange(int(n.sum()))
    return {name: arrays[name][chosen if name == of_pages else tokens] for name in arrays}


def _best(x: Floats, n: int) -> Places:
    """The places of the n largest, largest first; of equal ones the first is first."""
    if n <= 0:
        return np.zeros(0, np.int64)
    least = np.partition(x, len(x) - n)[len(x) - n]
    places = np.flatnonzero(x >= least)
    found: Places = places[np.lexsort((places, -x[places]))][:n]
    return found
