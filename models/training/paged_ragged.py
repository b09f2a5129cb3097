"""Rows of tokens of different lengths in one flat array, and what tasks are made with: taking, joining, packing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Tokens = NDArray[np.uint16]


@dataclass(frozen=True, slots=True)
class Ragged:
    """Row i is flat[offsets[i]:offsets[i + 1]]."""

    flat: Tokens
    offsets: Ints

    @classmethod
    def of(cls, rows: Sequence[Sequence[int] | Tokens]) -> Ragged:
        """The rows one after another."""
        lengths = np.fromiter((len(row) for row in rows), np.int64, len(rows))
        flat = np.concatenate([np.asarray(row, np.uint16) for row in rows]) if len(rows) else np.zeros(0, np.uint16)
        return cls(flat, offsets_of(lengths))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, i: int) -> Tokens:
        return self.flat[self.offsets[i] : self.offsets[i + 1]]

    @property
    def lengths(self) -> Ints:
        """(n,) tokens of each row."""
        return np.diff(self.offsets)

    def take(self, rows: Ints) -> Ragged:
        """Some rows, in that order, again where they are named again."""
        lengths = self.lengths[rows]
        offsets = offsets_of(lengths)
        at = np.repeat(self.offsets[:-1][rows] - offsets[:-1], lengths) + np.arange(offsets[-1])
        return Ragged(self.flat[at], offsets)


def offsets_of(lengths: Ints) -> Ints:
    """0, and the sums of the first 1, 2, ... lengths."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])


def repeated(row: Sequence[int], n: int) -> Ragged:
    """The same row n times."""
    return Ragged(np.tile(np.array(row, np.uint16), n), np.arange(n + 1) * len(row))


def join(parts: Sequence[Ragged]) -> tuple[Ragged, Ints]:
    """Row by row the parts one after another, and (parts, n) where each begins in its row."""
    lengths = np.stack([part.lengths for part in parts])
    ends = np.cumsum(lengths, 0)
    begins = ends - lengths
    offsets = offsets_of(ends[-1])
    flat = np.empty(offsets[-1], np.uint16)
    for part, begin, length in zip(parts, begins, lengths, strict=True):
        flat[np.repeat(offsets[:-1] + begin - part.offsets[:-1], length) + np.arange(len(part.flat))] = part.flat
    return Ragged(flat, offsets), begins


def stacked(parts: Sequence[Ragged]) -> Ragged:
    """All rows of the first part, then all of the next."""
    return Ragged(
        np.concatenate([part.flat for part in parts]), offsets_of(np.concatenate([part.lengths for part in parts]))
    )


def pack(units: Ragged, most: int, between: Sequence[int]) -> tuple[Ragged, Ints, Ints]:
    """Units into pages of at most `most` tokens (or of one unit), in order, with `between` between two of one page.

    Returns the pages, and (n,) the page of each unit and where it begins there.
    """
    lengths = units.lengths
    gap = len(between)
    page = np.zeros(len(lengths), np.int64)
    place = np.zeros(len(lengths), np.int64)
    current, filled = 0, 0
    for i, length in enumerate(lengths.tolist()):
        if filled and filled + gap + length > most:
            current, filled = current + 1, 0
        start = filled + gap if filled else 0
        page[i], place[i] = current, start
        filled = start + length
    n_pages = current + 1 if len(lengths) else 0
    sizes = np.zeros(n_pages, np.int64)
    np.maximum.at(sizes, page, place + lengths)
    offsets = offsets_of(sizes)
    flat = np.empty(offsets[-1], np.uint16)
    begin = offsets[page] + place
    flat[np.repeat(begin - units.offsets[:-1], lengths) + np.arange(len(units.flat))] = units.flat
    for n, token in enumerate(between):
        flat[begin[place > 0] - gap + n] = token
    return Ragged(flat, offsets), page, place
