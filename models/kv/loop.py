"""Greedy decoding over a packed cache, the step held as a CUDA graph where that can be.

At batch 1 the kernels of a step are done long before Python has launched them: only a graph shows what they gain.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
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


class Steps:
    """Iterates over the n_tokens likeliest tokens [B, 1] behind first_token, which the cache does not hold yet.

    cache: of cache.quantized_cache, with tokens of sequences without padding; it holds all tokens but the last found,
    also where the iteration is left early and closed. Steps run one by one until keys and values are packed. A token is
    overwritten by the next. reason: why no graph is replayed, known once iteration has begun; empty when one is.
    """

    def __init__(self, model: Any, cache: Any, first_token: torch.Tensor, n_tokens: int) -> None:
        self.model, self.cache, self.n_tokens = model, cache, n_tokens
        self.token = first_token.reshape(-1, 1).to(model.device)
        self.reason = "no CUDA graph: too few tokens were there before"

    def __iter__(self) -> Iterator[torch.Tensor]:
        left, token = self.n_tokens, self.token
        while left and _waits(self.cache):
            token = self._plain(token)
            yield token
            left -= 1
        if left:
            self.reason = _why_not(self.model, self.cache)
            if not self.reason:
                yield from self.packed(token, left)
                return
        for _ in range(left):
            token = self._plain(token)
            yield token

    def _plain(self, token: torch.Tensor) -> torch.Tensor:
        """One step as the model does it with the cache itself."""
        with torch.inference_mode():
            logits = self.model(input_ids=token, past_key_values=self.cache, use_cache=True).logits
            found: torch.Tensor = logits[:, -1].argmax(-1, keepdim=True)
            return found

    def packed(self, token: torch.Tensor, n_tokens: int) -> Iterator[torch.Tensor]:
        """The steps by the kernels."""
        layers = [layer for layer in self.cache.layers if isinstance(layer, PackedLayer)]
        for layer in layers:
            layer._reserve(layer.length + n_tokens)
        count = Count.of(layers[0].length, token.shape[0], self.model.device)
        with torch.inference_mode(), stepping(self.model):
            step = captured_step(self.model, self.cache, count, token)
        self.reason, done = step.reason, 0
        try:
            while done < n_tokens:
                with torch.inference_mode(), nullcontext() if step.graph is not None else stepping(self.model):
                    token = step(token)
                done += 1
                yield token
        finally:
            with torch.inference_mode():
                for layer in layers:
                    layer.lengths.add_(done)
                    layer.position.add_(done)
                    layer.advance(done)


def decode_loop(model: Any, cache: Any, first_token: torch.Tensor, n_tokens: int) -> Decoded:
    """All tokens that Steps finds. Raises ConfigError for no tokens, ContextOverflowError when there is no room."""
    if n_tokens < 1:
        raise ConfigError(f"{n_tokens} tokens cannot be decoded", "one or more")
    steps = Steps(model, cache, first_token, n_tokens)
    found = torch.empty((steps.token.shape[0], n_tokens), dtype=torch.int64, device=model.device)
    for at, token in enumerate(steps):
        found[:, at : at + 1] = token
    return Decoded(found, steps.reason)


def _why_not(model: Any, cache: Any) -> str:
    """Why no step of this cache can be captured; empty when one can."""
    if model.device.type != "cuda":
        return "no CUDA graph: the model is not on a CUDA device"
    reason = unserved(cache)
    return reason and f"no CUDA graph: {reason}"


def _waits(cache: Any) -> bool:
    """Whether some layer will pack what comes, but has not begun."""
    layers = (layer for layer in cache.layers if isinstance(layer, PackedLayer) and not layer.bits.plain)
    return any(not layer.is_initialized or not layer.packed or layer.gain is None for layer in layers)


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
