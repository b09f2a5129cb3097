"""The arrays of pages that memory need not hold all at once: read from the store where they are asked for.

What is asked for is a run of tokens, or tokens here and there; either is answered by the pages that hold them. So a
read that goes through the tokens block by block does so whatever their number is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selfroute.memory.pages.resident import Resident


class Streamed(Mapping[str, "TokenArray | NDArray[np.generic]"]):
    """Resident.arrays() without holding it: arrays of tokens as TokenArray, those of pages as they are."""

    def __init__(self, resident: Resident) -> None:
        self._resident = resident
        self._fields = {field.name: field for field in resident.pager.layout.fields}
        self._by_hash = resident.by_hash()
        self._offsets = np.concatenate([[0], np.cumsum(resident.lengths, dtype=np.int64)])

    def __getitem__(self, name: str) -> TokenArray | NDArray[np.generic]:
        if self._fields[name].per_token:
            return TokenArray(self, name)
        return self._resident.arrays([name])[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    @property
    def n_tokens(self) -> int:
        """Of all pages."""
        return int(self._offsets[-1])

    def rows(self, name: str, start: int, stop: int) -> NDArray[np.generic]:
        """Tokens start to stop, start < stop."""
        first = int(np.searchsorted(self._offsets, start, "right")) - 1
        last = int(np.searchsorted(self._offsets, stop, "left"))
        found = self._resident.pager.arrays(self._resident.hashes[first:last], self._by_hash, [name])[name]
        return found[start - int(self._offsets[first]) : stop - int(self._offsets[first])]

    def chosen(self, name: str, at: NDArray[np.int64]) -> NDArray[np.generic]:
        """These tokens, in this order."""
        page = np.searchsorted(self._offsets, at, "right") - 1
        pages, which = np.unique(page, return_inverse=True)
        starts = np.concatenate([[0], np.cumsum(self._resident.lengths[pages], dtype=np.int64)])[:-1]
        hashes = [self._resident.hashes[i] for i in pages.tolist()]
        found = self._resident.pager.gathered(hashes, self._by_hash, [name])[name]
        rows: NDArray[np.generic] = found[starts[which] + at - self._offsets[page]]
        return rows

    def nothing(self, name: str) -> NDArray[np.generic]:
        """The array of no tokens."""
        field = self._fields[name]
        return np.empty((0, *field.shape), field.dtype)


class TokenArray:
    """One array with a row a token, of which parts can be taken: [a:b], [numbers], and either with more behind it."""

    def __init__(self, streamed: Streamed, name: str) -> None:
        self._streamed, self._name = streamed, name

    def __len__(self) -> int:
        return self._streamed.n_tokens

    def __getitem__(self, key: Any) -> NDArray[np.generic]:
        rows, *rest = key if isinstance(key, tuple) else (key,)
        if isinstance(rows, slice):
            start, stop, step = rows.indices(len(self))
            if step != 1:
                raise IndexError("only runs of tokens can be taken")
            empty = start >= stop
            found = self._streamed.nothing(self._name) if empty else self._streamed.rows(self._name, start, stop)
        else:
            at = np.asarray(rows, np.int64)
            found = self._streamed.chosen(self._name, at) if at.size else self._streamed.nothing(self._name)
        return found[(slice(None), *rest)] if rest else found
