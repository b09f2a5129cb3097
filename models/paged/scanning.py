"""Products with packed rows, block by block, in threads: what a question's reading spends its time on.

The codes of a block are made float32 as they are, not less their middle and not times their scales: both are seen to
after the product, where there are fewer numbers. The upper four bits of a byte stay where they are, and the other side
of the product is divided by 16, which changes no bit. Rows of all heads are read in one pass.

A block is always computed by the same calls, whoever runs it, and what comes of blocks is added in their order: the
number of threads changes no bit. Products are cut to sizes that OpenBLAS computes in the calling thread.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from selfroute.models.paged.fields import SCALE, Arrays, Row
from selfroute.models.paged.packing import MIDDLE, PLAIN

BLOCK = 8192  # tokens
_PRODUCT, _WITH_VECTOR = 1 << 18, 1 << 13  # multiplications in one product, so that BLAS starts no threads for it
_ROOM = 4  # blocks that wait for each thread, at most

Floats = NDArray[np.float32]
Found = TypeVar("Found")


class Scratch:
    """Arrays of one thread that are used again for every block."""

    def __init__(self) -> None:
        self._buffers: dict[str, NDArray[np.uint8]] = {}

    def floats(self, name: str, shape: tuple[int, ...]) -> Floats:
        """What is in it is not set. It is valid until the name is asked for again."""
        return self._bytes(name, 4 * math.prod(shape)).view(np.float32).reshape(shape)

    def codes(self, name: str, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        """The same of bytes."""
        return self._bytes(name, math.prod(shape)).reshape(shape)

    def _bytes(self, name: str, n: int) -> NDArray[np.uint8]:
        if name not in self._buffers or len(self._buffers[name]) < n:
            self._buffers[name] = np.empty(n, np.uint8)
        return self._buffers[name][:n]


def blocks_of(n: int, width: int = BLOCK, slice_: int = 1) -> list[tuple[int, int]]:
    """Where blocks of `width` tokens begin and end; what is left over from whole slices is a block of its own."""
    whole = n - n % slice_
    width = max(slice_, width - width % slice_)
    found = [(first, min(first + width, whole)) for first in range(0, whole, width)]
    return [*found, (whole, n)] if whole < n else found


def in_order(
    work: Callable[[int, int, Scratch], Found], blocks: Sequence[tuple[int, int]], threads: int
) -> Iterator[Found]:
    """work(first, stop, scratch) of every block, in their order, by so many threads."""
    if threads <= 1 or len(blocks) <= 1:
        own = Scratch()
        for first, stop in blocks:
            yield work(first, stop, own)
        return
    free: SimpleQueue[Scratch] = SimpleQueue()
    for _ in range(threads):
        free.put(Scratch())

    def one(block: tuple[int, int]) -> Found:
        scratch = free.get()
        try:
            return work(*block, scratch)
        finally:
            free.put(scratch)

    with ThreadPoolExecutor(threads) as pool:
        at_once = threads * _ROOM
        for first in range(0, len(blocks), at_once):
            yield from pool.map(one, blocks[first : first + at_once])


@dataclass(frozen=True, slots=True)
class Plane:
    """One half of the rows as floats: codes times `factor`, less `middle`, times scale number `scale` is the value."""

    first: int
    stop: int
    middle: float
    factor: float
    scale: int


def planes_of(row: Row) -> tuple[Plane, ...]:
    """Where channels first to stop of a row come from."""
    width = row.shape[-1]
    if row.bits == PLAIN:
        return (Plane(0, width, 0.0, 1.0, -1),)
    half, middle = width // 2, MIDDLE[row.bits]
    return (Plane(0, half, middle, 1.0, 0), Plane(half, width, middle, 1 / 16 if row.bits == 4 else 1.0, 1))


def heads_of(row: Row) -> int:
    """Vectors of one token."""
    return row.shape[0] if len(row.shape) > 1 else 1


class Packed:
    """The rows of one block of n tokens, as floats that products are made with."""

    def __init__(self, row: Row, part: Arrays, scratch: Scratch) -> None:
        """part: the arrays of the row, of the block's tokens."""
        self.heads, self._planes = heads_of(row), planes_of(row)
        self._codes, self._bits, self._scratch = part[row.name], row.bits, scratch
        self.n = len(self._codes)
        self._codes = self._codes.reshape(self.n, self.heads, -1)
        if row.bits != PLAIN:
            steps = part[row.name + SCALE].reshape(self.n, self.heads, 2)
            self._steps = scratch.floats("steps", (self.heads, 2, self.n))
            np.copyto(self._steps, steps.transpose(1, 2, 0))

    def scores(self, asked: Asked) -> Floats:
        """(heads, slices, r, tokens of a slice): products of r queries a head with the rows of that head."""
        shape = (self.heads, self.n // asked.slice_of(self.n), asked.rows, asked.slice_of(self.n))
        found = self._scratch.floats("scores", shape)
        for i, plane in enumerate(self._planes):
            x = self._floats(i, shape[1], shape[3]).transpose(2, 0, 3, 1)
            made = found if i == 0 else self._scratch.floats("more", shape)
            np.matmul(asked.queries[i][:, None], x, out=made)
            if plane.scale >= 0:
                made -= asked.offsets[i][:, None, :, None]
                made *= self._steps[:, plane.scale].reshape(self.heads, shape[1], 1, shape[3])
            if i:
                found += made
        return found

    def weighed(self, p: Floats) -> Floats:
        """(heads, r, D): rows times weights (heads, slices, r, tokens of a slice), added up."""
        slices, tokens = p.shape[1], p.shape[3]
        made = []
        for i, plane in enumerate(self._planes):
            w = p
            if plane.scale >= 0:
                w = self._scratch.floats("more", p.shape)
                np.multiply(p, self._steps[:, plane.scale].reshape(self.heads, slices, 1, tokens), out=w)
            y = (w @ self._floats(i, slices, tokens).transpose(2, 0, 1, 3)).sum(1) * np.float32(plane.factor)
            if plane.scale >= 0:
                y -= np.float32(plane.middle) * w.sum((1, 3))[..., None]
            made.append(y)
        return np.concatenate(made, -1)

    def _floats(self, i: int, slices: int, tokens: int) -> Floats:
        """(slices, tokens, heads, channels) of one plane."""
        plane, codes = self._planes[i], self._codes
        width = plane.stop - plane.first
        if self._bits == 4:
            codes = self._scratch.codes("bits", codes.shape)
            np.bitwise_and(self._codes, np.uint8(15 if i == 0 else 240), out=codes)
        else:
            codes = codes[..., plane.first : plane.stop]
        found = self._scratch.floats("floats", (self.n, self.heads, width))
        np.copyto(found, codes)
        return found.reshape(slices, tokens, self.heads, width)


class Asked:
    """Queries as they are multiplied with the planes of a row."""

    def __init__(self, row: Row, q: Floats) -> None:
        """q: (heads, r, D)."""
        self.heads, self.rows = q.shape[:2]
        planes = planes_of(row)
        halves = [np.ascontiguousarray(q[..., plane.first : plane.stop]) for plane in planes]
        self.queries = [half * np.float32(plane.factor) for half, plane in zip(halves, planes, strict=True)]
        self.offsets = [half.sum(-1) * np.float32(plane.middle) for half, plane in zip(halves, planes, strict=True)]
        self.slice = slice_for(self.rows, halves[0].shape[-1])

    def slice_of(self, n: int) -> int:
        """Tokens of a slice in a block of n tokens: blocks_of() makes blocks of whole slices, or of less than one."""
        return min(self.slice, n)


def slice_for(rows: int, width: int) -> int:
    """Tokens that so many queries are multiplied with at once."""
    most = _PRODUCT // (rows * width) if rows > 1 else _WITH_VECTOR // width
    return max(64, min(1024, 1 << (most.bit_length() - 1)))


def part_of(row: Row, arrays: Arrays, first: int, stop: int) -> Mapping[str, NDArray[np.generic]]:
    """The arrays of a row, of tokens first to stop."""
    return {field.name: arrays[field.name][first:stop] for field in row.fields()}
