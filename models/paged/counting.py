"""The most frequent words of all pages, by the keys that tokens share where the same word begins.

Nothing is compared but these keys, so pages count together that were never read together.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from selfroute.models.paged.quotes import PageSpan

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

SAMPLE = 16_384  # beginnings of words, at most, that are compared with each other; two samples are
CANDIDATES = 512  # words of each sample, at most, that are counted among all
ROWS = 1024  # compared at a time
# Cosines of two keys, and of a key with the middle of a word's keys. Of twins in training's prose 70% are above the
# first; in a list of words nearly all twins are above the third, and hardly any others.
ALIKE, NEARER, OF_MIDDLE, SAME_MIDDLE = 0.92, 0.95, 0.94, 0.96
# A piece that a frequent word goes on with may be taken for a beginning. Its keys are short for one, on average less
# than this above the least, and nearly all stand equally far behind the beginning before them.
SURER, SAME_GAP, FAR = 0.05, 0.97, 64


@dataclass(frozen=True, slots=True)
class Counted:
    """A word: the token where its most typical occurrence begins, and how many there are."""

    at: int
    count: int


def counted_spans(blocks: Iterable[Floats], offsets: Ints, least: float, n: int) -> list[PageSpan]:
    """The n most frequent words as spans of the first token of one of their occurrences: whoever looks at the page
    takes the whole word. blocks: the keys of all tokens of the pages, whose tokens are offsets[p] to offsets[p + 1].

    score: how often a word occurs. probability: its share of all words.
    """
    found = beginnings(blocks, least)
    spans = []
    for word in most_frequent(found, least, n):
        page = int(np.searchsorted(offsets, word.at, "right")) - 1
        first = word.at - int(offsets[page]) - 1
        spans.append(PageSpan(page, first, first, word.count / len(found.places), float(word.count)))
    return spans


@dataclass(frozen=True, slots=True)
class Beginnings:
    """Where words begin: (n,) tokens, their keys (n, word) made as long as 1, and the products with themselves (n,)."""

    places: Ints
    keys: Floats
    sizes: Floats


def beginnings(blocks: Iterable[Floats], least: float) -> Beginnings:
    """Of all keys in blocks. least: a word begins where a key's product with itself is more."""
    places, keys, sizes, first = [], [], [], 0
    for block in blocks:
        size = (block * block).sum(1)
        here = np.flatnonzero(size > least)
        places.append(first + here)
        keys.append(block[here] / np.sqrt(size[here, None]))
        sizes.append(size[here])
        first += len(block)
    return Beginnings(np.concatenate(places), np.concatenate(keys), np.concatenate(sizes))


def most_frequent(found: Beginnings, least: float, n: int) -> list[Counted]:
    """The n words that begin most often, the most frequent first.

    Words are sought in two samples of the beginnings, evenly spread, and counted among all of them: exact unless a
    frequent word is rarer in both than CANDIDATES others.
    """
    places, keys = found.places, found.keys
    if not len(places):
        return []
    step = -(-len(places) // SAMPLE)
    samples = [keys[first::step] for first in sorted({0, step // 2})]
    chosen = [x[_distinct(x, np.argsort(-_counts(x, x, ALIKE), kind="stable"), NEARER, CANDIDATES)] for x in samples]
    middles, sample = np.concatenate(chosen), np.concatenate(samples)
    for near in (ALIKE, NEARER):
        middles = _middles(middles, sample, near)
    order = np.argsort(-_counts(middles, keys, OF_MIDDLE), kind="stable")
    words: list[Counted] = []
    for i in _distinct(middles, order, SAME_MIDDLE, len(middles)):
        near_it = keys @ middles[i]
        members = near_it > OF_MIDDLE
        if members.any() and not _goes_on(found, members, least):
            words.append(Counted(int(places[near_it.argmax()]), int(members.sum())))
        if len(words) >= n:
            break
    return words


def _goes_on(found: Beginnings, members: NDArray[np.bool_], least: float) -> bool:
    """Whether a word does not begin at these of the beginnings, but goes on."""
    if float(found.sizes[members].mean()) > least + SURER:
        return False
    gaps = np.minimum(np.diff(found.places, prepend=-FAR)[members], FAR)
    return int(np.bincount(gaps).max()) > SAME_GAP * len(gaps)


def _distinct(keys: Floats, order: Ints, most: float, n: int) -> list[int]:
    """The first n in an order whose cosine with each of those before is at most so much."""
    taken: list[int] = []
    for i in order.tolist():
        if len(taken) >= n:
            break
        if not taken or float((keys[taken] @ keys[i]).max()) <= most:
            taken.append(i)
    return taken


def _middles(some: Floats, every: Floats, near: float) -> Floats:
    """Of the keys near to each one, the mean (Fukunaga and Hostetler 1975, mean shift), as long as 1."""
    found = ((some @ every.T) > near).astype(np.float32) @ every
    size = np.sqrt((found * found).sum(1, keepdims=True))
    return np.where(size > 0, found / np.maximum(size, 1e-12), some).astype(np.float32)


def _counts(some: Floats, every: Floats, least: float) -> Ints:
    """(n,) of how many of `every` (m, D) the cosine with each of `some` (n, D) is more than `least`."""
    found = np.zeros(len(some), np.int64)
    for first in range(0, len(some), ROWS):
        part = some[first : first + ROWS]
        for begin in range(0, len(every), SAMPLE):
            found[first : first + ROWS] += ((part @ every[begin : begin + SAMPLE].T) > least).sum(1)
    return found
