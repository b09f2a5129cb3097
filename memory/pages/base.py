"""What goes into the page store and what comes out of it, as nouns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from selfroute.errors import SelfRouteError
from selfroute.models.paged.layout import Arrays

DISK, HOST, DEVICE = TIERS = ("disk", "host", "device")


@dataclass(frozen=True, slots=True)
class NewPage:
    """A chunk that was just encoded. seconds: that it took, its share of a batch's."""

    content_hash: str
    n_tokens: int
    arrays: Arrays
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Record:
    """A page as its layout packs it."""

    n_tokens: int
    data: bytes
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Gathered:
    """Arrays of P pages in the order that was asked for.

    lengths: (P,) int32, tokens of each. arrays: by name, [sum(lengths), *shape] of a field of tokens, [P, *shape] of
    one of pages.
    """

    lengths: NDArray[np.int32]
    arrays: Mapping[str, NDArray[np.generic]]

    @property
    def n_bytes(self) -> int:
        """Bytes of all arrays."""
        return sum(array.nbytes for array in self.arrays.values())


class MissingPages(SelfRouteError):
    """Pages that the store does not hold, or held damaged and has dropped; they are to be encoded."""

    def __init__(self, hashes: Iterable[str]) -> None:
        self.hashes = tuple(hashes)
        super().__init__(f"{len(self.hashes):,} pages are not in the store", "selfroute index --pages")
