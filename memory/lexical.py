"""Postings of terms over rows, and BM25 over them (Robertson and Zaragoza 2009).

One structure serves several fields: chunks by their text, chunks by the names they define, files by their paths. It is
immutable; `merged` makes the next one from it, and the result does not depend on the way there: the vocabulary is
sorted, postings are in row order, so an incremental update and a full rebuild give equal arrays.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from selfroute.models.lexing import WORD, terms_of

BM25_K1 = 1.2  # the usual value (Robertson and Zaragoza 2009, section 3.5)
BM25_B = 0.75

Field = tuple[str, int]
"""A text and how many times each of its terms counts."""


class _Interner(dict[str, int]):
    """Numbers new keys in the order of their first use."""

    def __missing__(self, key: str) -> int:
        self[key] = number = len(self)
        return number


class Postings:
    """term -> rows and weighted term frequencies.

    vocabulary: V terms, sorted. starts: (V + 1,) int64 into rows and counts. rows: (P,) int32, ascending within a term.
    counts: (P,) uint16. lengths: (N,) int32, the sum of a row's counts.
    """

    def __init__(
        self,
        vocabulary: Sequence[str],
        starts: NDArray[np.int64],
        rows: NDArray[np.int32],
        counts: NDArray[np.uint16],
        lengths: NDArray[np.int32],
    ) -> None:
        self.vocabulary = list(vocabulary)
        self.starts, self.rows, self.counts, self.lengths = starts, rows, counts, lengths

    @classmethod
    def empty(cls) -> Postings:
        """No terms, no rows."""
        return cls([], np.zeros(1, np.int64), np.empty(0, np.int32), np.empty(0, np.uint16), np.empty(0, np.int32))

    def __len__(self) -> int:
        return len(self.lengths)

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {term: i for i, term in enumerate(self.vocabulary)}

    @cached_property
    def _bm25_norm(self) -> NDArray[np.float32]:
        mean = float(self.lengths.mean()) if len(self.lengths) else 1.0
        return (BM25_K1 * (1 - BM25_B + BM25_B * self.lengths / max(mean, 1.0))).astype(np.float32)

    def n_rows_with(self, term: str) -> int:
        """Rows that hold the term."""
        i = self._ids.get(term)
        return 0 if i is None else int(self.starts[i + 1] - self.starts[i])

    def idf(self, term: str) -> float:
        """log(1 + (N - n + 0.5) / (n + 0.5)), never negative; the largest value for a term that is nowhere."""
        n = self.n_rows_with(term)
        return float(np.log1p((len(self) - n + 0.5) / (n + 0.5)))

    def of(self, term: str) -> tuple[NDArray[np.int32], NDArray[np.uint16]]:
        """Rows and counts of a term, empty when it is nowhere."""
        i = self._ids.get(term)
        if i is None:
            return self.rows[:0], self.counts[:0]
        span = slice(self.starts[i], self.starts[i + 1])
        return self.rows[span], self.counts[span]

    def bm25(self, weights: Mapping[str, float]) -> NDArray[np.float32]:
        """(N,) float32 BM25 of every row. weights: query term -> its weight; terms are added in the order given."""
        scores = np.zeros(len(self), np.float32)
        for term, weight in weights.items():
            rows, counts = self.of(term)
            if len(rows):
                gain = counts * np.float32(weight * self.idf(term) * (BM25_K1 + 1))
                scores[rows] += gain / (counts + self._bm25_norm[rows])
        return scores

    def matched(self, weights: Mapping[str, float]) -> NDArray[np.float32]:
        """(N,) float32: for every row the sum of the weights of the query terms that it holds."""
        scores = np.zeros(len(self), np.float32)
        for term, weight in weights.items():
            scores[self.of(term)[0]] += np.float32(weight)
        return scores

    def merged(self, origin: NDArray[np.int64], added: Sequence[Sequence[Field]]) -> Postings:
        """Postings whose row i is old row origin[i], or added[-origin[i] - 1] where origin[i] is negative.

        Does not change this one.
        """
        kept, new = _renumbered(self, origin), _counted(added, origin)
        vocabulary, old_ids, new_ids = _union(self.vocabulary, kept[0], new[3], new[0])
        order_terms = np.concatenate([old_ids[kept[0]], new_ids[new[0]]])
        rows = np.concatenate([kept[1], new[1]])
        counts = np.concatenate([kept[2], new[2]])
        by_term_and_row = _stable_order(order_terms, rows)
        terms, rows, counts = order_terms[by_term_and_row], rows[by_term_and_row], counts[by_term_and_row]
        starts = np.zeros(len(vocabulary) + 1, np.int64)
        np.cumsum(np.bincount(terms, minlength=len(vocabulary)), out=starts[1:])
        lengths = np.bincount(rows, weights=counts, minlength=len(origin)).astype(np.int32)
        return Postings(vocabulary, starts, rows, counts, lengths)

    def to_arrays(self, prefix: str) -> dict[str, NDArray[np.generic]]:
        """The arrays to store, named with the prefix."""
        return {
            f"{prefix}.vocabulary": np.frombuffer("\n".join(self.vocabulary).encode(), np.uint8),
            f"{prefix}.starts": self.starts,
            f"{prefix}.rows": self.rows,
            f"{prefix}.counts": self.counts,
            f"{prefix}.lengths": self.lengths,
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[np.generic]], prefix: str) -> Postings:
        """The inverse of to_arrays."""
        text = arrays[f"{prefix}.vocabulary"].tobytes().decode()
        parts = [arrays[f"{prefix}.{name}"] for name in ("starts", "rows", "counts", "lengths")]
        return cls(text.split("\n") if text else [], *parts)  # type: ignore[arg-type]


def _renumbered(
    old: Postings, origin: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.uint16]]:
    """(old term ids, new rows, counts) of the postings whose rows stay."""
    term_ids = np.repeat(np.arange(len(old.vocabulary)), np.diff(old.starts))
    new_row = np.full(len(old), -1, np.int32)
    stays = np.flatnonzero(origin >= 0)
    new_row[origin[stays]] = stays
    rows = new_row[old.rows]
    keep = rows >= 0
    return term_ids[keep], rows[keep], old.counts[keep]


def _counted(
    added: Sequence[Sequence[Field]], origin: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.uint16], list[str]]:
    """(term ids, rows, counts, terms) of the added rows; duplicates of a term in a row are summed."""
    words = _Interner()
    word_ids: list[NDArray[np.int64]] = []
    sizes: list[int] = []
    weights: list[int] = []
    for fields in added:
        for text, weight in fields:
            found = WORD.findall(text)
            word_ids.append(np.fromiter(map(words.__getitem__, found), np.int64, len(found)))
            sizes.append(len(found))
            weights.append(weight)
    new_row = np.zeros(len(added), np.int64)
    fresh = np.flatnonzero(origin < 0)
    new_row[-origin[fresh] - 1] = fresh
    field_row = np.repeat(new_row, [len(fields) for fields in added]) if added else new_row
    rows = np.repeat(field_row, sizes) if sizes else np.empty(0, np.int64)
    repeats = np.repeat(np.array(weights, np.int64), sizes) if sizes else np.empty(0, np.int64)
    rows, ids, counts = _summed(rows, np.concatenate(word_ids) if word_ids else rows, repeats, len(words))

    terms = _Interner()
    of_word = [[terms[term] for term in terms_of(word)] for word in words]
    n_terms = np.fromiter(map(len, of_word), np.int64, len(of_word))
    flat = np.fromiter(chain.from_iterable(of_word), np.int64, int(n_terms.sum()))
    first = np.concatenate([[0], np.cumsum(n_terms)])
    repeats = n_terms[ids]
    offsets = np.arange(int(repeats.sum())) - np.repeat(np.cumsum(repeats) - repeats, repeats)
    term_ids = flat[np.repeat(first[ids], repeats) + offsets]
    rows, term_ids, counts = _summed(np.repeat(rows, repeats), term_ids, np.repeat(counts, repeats), len(terms))
    return term_ids, rows.astype(np.int32), np.minimum(counts, 65_535).astype(np.uint16), list(terms)


def _summed(
    rows: NDArray[np.int64], ids: NDArray[np.int64], counts: NDArray[np.int64], n_ids: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """(rows, ids, counts) with equal (row, id) pairs summed, sorted by row, then id."""
    if not len(rows):
        return rows, ids, counts
    keys = rows * max(n_ids, 1) + ids
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    first = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))
    return keys[first] // max(n_ids, 1), keys[first] % max(n_ids, 1), np.add.reduceat(counts[order], first)


def _union(
    old: Sequence[str], kept_ids: NDArray[np.int64], new: Sequence[str], new_ids: NDArray[np.int64]
) -> tuple[list[str], NDArray[np.int64], NDArray[np.int64]]:
    """The sorted vocabulary in use, and the number in it of each old and each new term (unused ones: any number)."""
    used_old = np.flatnonzero(np.bincount(kept_ids, minlength=len(old))) if len(old) else np.empty(0, np.int64)
    used_new = np.flatnonzero(np.bincount(new_ids, minlength=len(new))) if len(new) else np.empty(0, np.int64)
    in_use: Iterable[str] = chain((old[i] for i in used_old.tolist()), (new[i] for i in used_new.tolist()))
    vocabulary = sorted(set(in_use))
    number = {term: i for i, term in enumerate(vocabulary)}
    old_number = np.fromiter((number.get(term, 0) for term in old), np.int64, len(old))
    new_number = np.fromiter((number.get(term, 0) for term in new), np.int64, len(new))
    return vocabulary, old_number, new_number


def _stable_order(terms: NDArray[np.int64], rows: NDArray[np.int32]) -> NDArray[np.int64]:
    """The order by term, then row, by radix sorts on 16-bit halves (numpy sorts those in linear time)."""
    order = np.arange(len(terms))
    for key in (rows, rows >> 16, terms, terms >> 16):
        if len(key) and key.max() > 0:
            order = order[np.argsort((key[order] & 0xFFFF).astype(np.uint16), kind="stable")]
    return order
