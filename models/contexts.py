"""How a context that was read is kept, so that each question is answered on a copy of it: as the library keeps it.

selfroute.models.kv.contexts keeps it packed instead, and in a file if it is told to.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, Protocol

Read = Callable[[Sequence[int], Any], object]
"""Reads tokens behind those of a cache."""


@dataclass(frozen=True, slots=True)
class Context:
    """cache: what was read. n_kept: of its tokens, those that did not have to be read. n_bytes: of keys and values.

    notes: for the user.
    """

    cache: Any
    n_kept: int = 0
    n_bytes: int = 0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Place:
    """folder: where contexts are kept. secret: what only this user's processes know."""

    folder: Path
    secret: str

    def word(self, of: str) -> str:
        """A name for something that nobody else can make."""
        return blake2b(of.encode("utf-8", "surrogatepass"), key=self.secret.encode()[:64], digest_size=24).hexdigest()


class Contexts(Protocol):
    """Makes and copies caches of one model."""

    def read(self, ids: Sequence[int], read: Read, place: Place | None) -> Context:
        """A context of these tokens, kept there for other processes by those that can."""
        ...

    def copy(self, context: Context, n_tokens: int) -> Any:
        """A cache with room for n_tokens that begins as the context's and goes its own way."""
        ...


class PlainContexts:
    """In the model's own dtype, by transformers' DynamicCache."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def read(self, ids: Sequence[int], read: Read, place: Place | None) -> Context:
        from transformers import DynamicCache

        cache = DynamicCache(config=self._model.config)
        read(ids, cache)
        keys = (getattr(layer, name, None) for layer in cache.layers for name in ("keys", "values"))
        return Context(cache, n_bytes=sum(tensor.nbytes for tensor in keys if tensor is not None))

    def copy(self, context: Context, n_tokens: int) -> Any:
        return copy.deepcopy(context.cache)
