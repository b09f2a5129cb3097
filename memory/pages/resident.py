"""The pages that a question is read over: which ones, and their arrays, whole or in pieces that memory holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from selfroute.types import Chunk

if TYPE_CHECKING:
    from selfroute.memory.pages.pager import Pager

Arrays = Mapping[str, NDArray[np.generic]]


@dataclass(frozen=True, slots=True)
class Block:
    """Pages first to first + len(hashes) of a Resident. lengths: (p,) int32. arrays: of these pages, as Gathered has
    them."""

    first: int
    hashes: tuple[str, ...]
    lengths: NDArray[np.int32]
    arrays: Arrays


@dataclass(frozen=True, slots=True, eq=False)
class Resident:
    """P different pages, in the order of their keys, which for one model is that of their content hashes.

    So the same set of pages is the same whatever order it came in. lengths: (P,) int32 tokens. chunks: one of each
    page's, in the same order. n_encoded: pages that had to be encoded for it.
    """

    hashes: tuple[str, ...]
    lengths: NDArray[np.int32]
    chunks: tuple[Chunk, ...]
    n_encoded: int
    pager: Pager

    def __len__(self) -> int:
        return len(self.hashes)

    @property
    def n_tokens(self) -> int:
        """Of all pages."""
        return int(self.lengths.sum())

    def arrays(self, names: Sequence[str] | None = None) -> Arrays:
        """The arrays of all pages at once; see Gathered. They are shared, and not to be written to.

        A page that is gone or damaged by now is encoded again. Raises what encoding raises.
        """
        return self.pager.arrays(self.hashes, self.by_hash(), names)

    def on_device(self, names: Sequence[str] | None = None) -> Any:
        """What the pager's hook made of arrays(names), kept within the device's budget."""
        return self.pager.on_device(self.hashes, self.by_hash(), names)

    def blocks(self, max_tokens: int, names: Sequence[str] | None = None) -> Iterator[Block]:
        """The same in pieces of at most max_tokens, or of one page; the next is read ahead while one is used."""
        ranges = list(self.ranges(max_tokens))
        by_hash = self.by_hash()
        for i, (first, stop) in enumerate(ranges):
            if i + 1 < len(ranges):
                self.pager.prefetch(self.hashes[slice(*ranges[i + 1])])
            hashes = self.hashes[first:stop]
            yield Block(first, hashes, self.lengths[first:stop], self.pager.arrays(hashes, by_hash, names))

    def ranges(self, max_tokens: int) -> Iterator[tuple[int, int]]:
        """Where blocks() begins and ends each piece."""
        first = n_tokens = 0
        for i, length in enumerate(self.lengths.tolist()):
            if i > first and n_tokens + length > max_tokens:
                yield first, i
                first, n_tokens = i, 0
            n_tokens += length
        if first < len(self.hashes):
            yield first, len(self.hashes)

    def by_hash(self) -> dict[str, Chunk]:
        """Content hash -> chunk."""
        return dict(zip(self.hashes, self.chunks, strict=True))
