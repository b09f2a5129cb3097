"""Which pages of very many a question reads wholly: those that its first global layer would look at, and some by key.

Every token's key of the first global layer is compared with every query of that layer: no page goes unseen. A page
stands where its best token stands among the best tokens of all pages, in the order of the query that likes it most:
scores of different heads are not compared, for their sizes differ. What is chosen does not depend on the order in which
blocks end, for the largest of some numbers does not.
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


def best_scores(row: Row, asked: Asked, arrays: Arrays, offsets: Places, threads: int) -> Floats:
    """(queries, P): the best score that a token of each page has with each query."""

    def block(first: int, stop: int, scratch: Scratch) -> tuple[int, Floats]:
        scores = Packed(row, part_of(row, arrays, first, stop), scratch).scores(asked)
        flat = scratch.floats("flat", (scores.shape[0], scores.shape[2], scores.shape[1], scores.shape[3]))
        np.copyto(flat, scores.transpose(0, 2, 1, 3))
        page = int(np.searchsorted(offsets, first, "right")) - 1
        last = int(np.searchsorted(offsets, stop, "left"))
        begins = np.maximum(offsets[page:last] - first, 0)
        return page, np.maximum.reduceat(flat.reshape(-1, stop - first), begins, axis=1)

    found = np.full((asked.heads * asked.rows, len(offsets) - 1), -np.inf, np.float32)
    for page, scores in in_order(block, blocks_of(int(offsets[-1]), BLOCK, asked.slice), threads):
        part = found[:, page : page + scores.shape[1]]
        np.maximum(part, scores, out=part)
    return found


def choose(scores: Floats, by_key: Floats, n: int) -> Places:
    """At most n pages' places, rising. scores: (queries, P). by_key: (P,) products with pages' keys."""
    P = len(by_key)
    if n >= P:
        return np.arange(P)
    stands = np.full(P, P, np.int64)
    for row in scores:
        best = _best(row, n)
        stands[best] = np.minimum(stands[best], np.arange(len(best)))
    of_keys = _best(by_key, n // BY_KEY)
    stands[of_keys] = -1
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
