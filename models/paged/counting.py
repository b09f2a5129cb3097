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

SAMPLE = 16_384  # beginnings of words that are compared with each other at first
CANDIDATES = 256  # of the words found so, at most, that are counted among all
ROWS = 1024  # compared at a time


@dataclass(frozen=True, slots=True)
class Counted:
    """A word: the token where one of its occurrences begins, and how many there are."""

    at: int
    count: int


def counted_spans(blocks: Iterable[Floats], offsets: Ints, least: float, n: int) -> list[PageSpan]:
    """The n most frequent words as spans of the first token of one of their occurrences: whoever looks at the page takes
    the whole word. blocks: the keys of all tokens of the pages, whose tokens are offsets[p] to offsets[p + 1].

    score: how often a word occurs. probability: its share of all words.
    """
    places, keys = beginnings(blocks, least)
    spans = []
    for word in most_frequent(places, keys, least, n):
        page = int(np.searchsorted(offsets, word.at, "right")) - 1
        first = word.at - int(offsets[page]) - 1
        spans.append(PageSpan(page, first, first, word.count / len(places), float(word.count)))
    return spans


def beginnings(blocks: Iterable[Floats], least: float) -> tuple[Ints, Floats]:
    """(n,) the tokens where words begin, and their keys (n, word), of all keys in blocks: those like themselves."""
    places, found, first = [], [], 0
    for block in blocks:
        here = np.flatnonzero((block * block).sum(1) > least)
        places.append(first + here)
        found.append(block[here])
        first += len(block)
    return np.concatenate(places), np.concatenate(found)


def most_frequent(places: Ints, keys: Floats, least: float, n: int) -> list[Counted]:
    """The n words that begin most often, the most frequent first. least: the product from which two keys are alike.

    Words are sought in a sample of the beginnings, evenly spread, and counted among all of them: exact unless a frequent
    word is rarer in the sample than CANDIDATES others.
    """
    if not len(places):
        return []
    step = -(-len(places) // SAMPLE)
    sample = keys[::step]
    often = _counts(sample, sample, least)
    taken: list[int] = []
    for i in np.argsort(-often, kind="stable").tolist():
        if len(taken) >= max(CANDIDATES, n):
            break
        if not taken or float((sample[taken] @ sample[i]).max()) <= least:
            taken.append(i)
    counts = _counts(sample[taken], keys, least)
    order = np.argsort(-counts, kind="stable")[:n]
    return [Counted(int(places[taken[i] * step]), int(counts[i])) for i in order]


def _counts(some: Floats, every: Floats, least: float) -> Ints:
    """(n,) how many of `every` (m, D) are like each of `some` (n, D)."""
    found = np.zeros(len(some), np.int64)
    for first in range(0, len(some), ROWS):
        part = some[first : first + ROWS]
        for begin in range(0, len(every), SAMPLE):
            found[first : first + ROWS] += ((part @ every[begin : begin + SAMPLE].T) > least).sum(1)
    return found
