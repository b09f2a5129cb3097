"""An embedder without weights, for tests and trials: exact, instant, and right about shared words only."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np

from selfroute.errors import ConfigError
from selfroute.models.lexing import terms

if TYPE_CHECKING:
    from numpy.typing import NDArray


class HashingEmbedder:
    """Adds +1 or -1 to one of D buckets for every term (selfroute.models.lexing), chosen by the term's blake2b hash."""

    def __init__(self, dim: int = 64) -> None:
        if dim < 1:
            raise ConfigError(f"a vector cannot have {dim} dimensions", "HashingEmbedder(dim=64)")
        self._dim = dim

    @property
    def dim(self) -> int:
        """D, the width of the vectors."""
        return self._dim

    @property
    def fingerprint(self) -> str:
        """Names the scheme and its width."""
        return f"hashing:{self._dim}"

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(n, D) float32, unit rows; zeros for a text without terms, or whose terms cancel out."""
        vectors = np.zeros((len(texts), self._dim), np.float32)
        for row, text in zip(vectors, texts, strict=True):
            for term in terms(text):
                number = _number(term)
                row[number // 2 % self._dim] += 1 if number % 2 else -1
            length = np.sqrt(np.dot(row, row))
            if length:
                row /= length
        return vectors


@lru_cache(maxsize=1 << 16)
def _number(term: str) -> int:
    return int.from_bytes(blake2b(term.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")
