"""Greedy decoding over a packed cache, the step held as a CUDA graph where that can be.

At batch 1 the kernels of a step are done long before Python has launched them: only a graph shows what they gain.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from transformers.cache_utils import LinearAttentionCacheLayerMixin

from selfroute.errors import ConfigError
from selfroute.models.kv.graph import CapturedStep, capture
from selfroute.models.kv.layers import PackedLayer
from selfroute.models.kv.step import Count, step_of, stepped, stepping, unserved


@dataclass(frozen=True, slots=True)
class Decoded:
    """tokens: int64 [B, n]. reason: why no graph was replayed; empty when one was."""

    tokens: torch.Tensor
    reason: str = ""


def decode_loop(model: Any, cache: Any, first_token: torch.Tensor, n_tokens: int) -> Decoded:
    """The n_tokens likeliest tokens behind first_token [B] or [B, 1], which the cache does not hold yet.

    cache: of cache.quantized_cache, with tokens of sequences without padding; afterwards it holds first_token and all
    but the last of those found. Steps run one by one until keys and values are packed. Raises ConfigError for no tokens
    and ContextOverflowError when the cache has no room for them.
    """
    if n_tokens < 1:
        raise ConfigError(f"{n_tokens} tokens cannot be decoded", "one or more")
    token = first_token.reshape(-1, 1).to(model.device)
    found = torch.empty((token.shape[0], n_tokens), dtype=torch.int64, device=model.device)
    with torch.inference_mode():
        at, reason = 0, ""
        while at < n_tokens and _waits(cache):
            token, at = _plain(model, cache, token, found, at)
        if at == n_tokens:
            return Decoded(found, "no CUDA graph: too few tokens were there before")
        if model.device.type != "cuda":
            reason = "no CUDA graph: the model is not on a CUDA device"
        else:
            reason = unserved(cache)
            reason = reason and f"no CUDA graph: {reason}"
        if not reason:
            return Decoded(found, packed_steps(model, cache, token, found, at))
        while at < n_tokens:
            token, at = _plain(model, cache, token, found, at)
    return Decoded(found, reason)


def _waits(cache: Any) -> bool:
    """Whether some layer will pack what comes, but has not begun."""
    layers = (layer for layer in cache.layers if isinstance(layer, PackedLayer) and not layer.bits.plain)
    return any(not layer.is_initialized or not layer.packed or layer.gain is None for layer in layers)


def _plain(model: Any, cache: Any, token: torch.Tensor, found: torch.Tensor, at: int) -> tuple[torch.Tensor, int]:
    """One step as the model does it with the cache itself."""
    logits = model(input_ids=token, past_key_values=cache, use_cache=True).logits
    token = logits[:, -1].argmax(-1, keepdim=True)
    found[:, at : at + 1] = token
    return token, at + 1


def packed_steps(model: Any, cache: Any, token: torch.Tensor, found: torch.Tensor, at: int) -> str:
    """The rest of the steps by the kernels, into `found`; returns why they were not replayed, or nothing."""
    left = found.shape[1] - at
    packed = [layer for layer in cache.layers if isinstance(layer, PackedLayer)]
    for layer in packed:
        layer._reserve(layer.length + left)
    tokens = packed[0].length
    count = Count.of(tokens, token.shape[0], model.device)
    with stepping(model):
        captured = captured_step(model, cache, count, token)
        while at < found.shape[1]:
            token = captured(token)
            found[:, at : at + 1] = token
            at += 1
    for layer in packed:
        layer.lengths.add_(left)
        layer.position.add_(left)
        layer.advance(left)
    return captured.reason


def captured_step(model: Any, cache: Any, count: Count, token: torch.Tensor, view: Any = None) -> CapturedStep:
    """The step of `view` (stepped(cache) unless given) as a graph, within `stepping`; states and count are put back.

    A recurrent layer that puts another tensor in the place of its state, rather than changing it, would leave the
    graph with the old one: then the step is called as it is, with the reason.
    """
    step = step_of(model, stepped(cache, count) if view is None else view, count)
    tokens, kept = int(count.position), Kept(cache)
    moved: list[str] = []

    def restore() -> None:
        moved.extend(kept.moved())
        kept.restore()
        count.set(tokens)

    captured = capture(step, token, restore=restore, warm_ups=1)
    if captured.graph is not None:
        moved.extend(kept.moved())
    if moved and captured.graph is not None:
        restore()
        return CapturedStep(step, (token,), reason=f"no CUDA graph: layer {moved[0]} replaces its state")
    return captured


class Kept:
    """The recurrent and convolution states of a cache as they are now, to be put back into the same memory."""

    def __init__(self, cache: Any) -> None:
        self.states: list[tuple[str, dict[int, Any], int, torch.Tensor, torch.Tensor]] = []
        for index, layer in enumerate(cache.layers):
            if isinstance(layer, LinearAttentionCacheLayerMixin):
                for kind in ("conv", "recurrent"):
                    held = getattr(layer, f"{kind}_states")
                    for number, state in held.items():
                        if state is not None:
                            self.states.append((f"{index}.{kind}.{number}", held, number, state, state.clone()))

    def moved(self) -> list[str]:
        """Which of them lie elsewhere now: "LAYER.KIND.NUMBER"."""
        return [name for name, held, n, state, _ in self.states if held[n].data_ptr() != state.data_ptr()]

    def restore(self) -> None:
        """Puts them back, as often as wanted."""
        with torch.inference_mode():
            for _, held, number, state, copy in self.states:
                held[number] = state
                state.copy_(copy)
