"""A text that was read once into a packed cache: to go on from its end, or from any earlier token.

Packed rows are never touched again, so a cache cut to n tokens is the one that those n tokens made. A recurrent state
cannot be cut: it is kept at a few tokens, sparsely, since one may take as much as thousands of packed tokens; a branch
starts at the nearest at or before it, and reads the few tokens between again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from selfroute.errors import ConfigError
from selfroute.models.kv.cache import PackedCache
from selfroute.models.kv.states import States, put, take
from selfroute.models.kv.statistics import STATS_TOKENS

BLOCK = 1024  # tokens read at a time
EVERY = 8192  # tokens between kept states


@dataclass(frozen=True, slots=True)
class Prefix:
    """ids: the tokens that the cache holds, one sequence. checkpoints: states after the first so many of them."""

    ids: tuple[int, ...]
    cache: PackedCache
    checkpoints: Mapping[int, States] = field(default_factory=dict)

    def common(self, ids: Sequence[int]) -> int:
        """How many of the first tokens are the same."""
        same = 0
        for mine, other in zip(self.ids, ids, strict=False):
            if mine != other:
                break
            same += 1
        return same

    def nearest(self, tokens: int) -> int:
        """The latest token at or before that one from which a cache can be had without reading: 0 for none."""
        if tokens == len(self.ids):
            return tokens
        whole = [layer for layer in self.cache.packed_layers if not layer.bits.plain and layer.packed]
        least = STATS_TOKENS if whole else 0  # those before were not packed when so few had come
        if not self.cache.hybrid:
            return tokens if tokens >= least else 0
        return max((at for at in self.checkpoints if least <= at <= tokens), default=0)

    def branch(self, model: Any, tokens: int, *, max_tokens: int | None = None, block: int = BLOCK) -> PackedCache:
        """A cache of the first `tokens` tokens that goes its own way: what is missing behind `nearest` is read again.

        max_tokens: room of the new cache, this one's if not given. Raises ConfigError for tokens that are not there.
        """
        if not 0 <= tokens <= len(self.ids):
            raise ConfigError(f"there is no token {tokens} in a prefix of {len(self.ids)}", f"0 to {len(self.ids)}")
        start = self.nearest(tokens)
        cache = self.cache.fork(start, max_tokens=max_tokens)
        if cache.hybrid and start > 0:
            held = take(self.cache) if start == len(self.ids) else self.checkpoints[start]
            put(cache, dict(held), model.device)
        read(model, self.ids[start:tokens], cache, block=block)
        return cache


def read(
    model: Any, ids: Sequence[int], cache: PackedCache, *, block: int = BLOCK, every: int = 0
) -> dict[int, States]:
    """Reads tokens behind those of a cache, block by block; the states after every so many tokens (0: none).

    Tokens of blocks are counted from the start of the text, so that reading on from a checkpoint cuts it alike.
    """
    kept: dict[int, States] = {}
    at, end = cache.get_seq_length(), cache.get_seq_length() + len(ids)
    start = at
    with torch.no_grad():  # not inference mode: its states could not be changed outside of it
        while at < end:
            stop = min(end, (at // block + 1) * block)
            part = torch.tensor([list(ids[at - start : stop - start])], device=model.device)
            model(input_ids=part, past_key_values=cache, use_cache=True, logits_to_keep=1)
            if every and cache.hybrid and stop // every > at // every and stop < end:
                kept[stop] = take(cache)
            at = stop
    return kept


def read_prefix(
    model: Any, ids: Sequence[int], cache: PackedCache, *, block: int = BLOCK, every: int = EVERY
) -> Prefix:
    """Reads a text into an empty cache, and keeps the states of a hybrid after about every so many tokens."""
    if cache.get_seq_length():
        raise ConfigError("the cache holds tokens already", "make one: quantized_cache(model, preset)")
    checkpoints = read(model, ids, cache, block=block, every=every)
    return Prefix(tuple(ids), cache, checkpoints)
