"""The states of recurrent and convolution layers of a cache: taken out as tensors, and put back."""

from __future__ import annotations

from typing import Any

import torch
from transformers.cache_utils import LinearAttentionCacheLayerMixin

States = dict[str, torch.Tensor]  # "LAYER.conv.NUMBER" and "LAYER.recurrent.NUMBER"
_KINDS = ("conv", "recurrent")


def places(cache: Any) -> set[str]:
    """The layers that have states, by their index as text."""
    return {str(i) for i, layer in enumerate(cache.layers) if isinstance(layer, LinearAttentionCacheLayerMixin)}


@torch.inference_mode(False)
def take(cache: Any) -> States:
    """Copies of all that are there; empty for a model of attention layers only."""
    found: States = {}
    for index, layer in enumerate(cache.layers):
        if isinstance(layer, LinearAttentionCacheLayerMixin):
            for kind in _KINDS:
                for number, state in _states(layer, kind).items():
                    if state is not None:
                        found[f"{index}.{kind}.{number}"] = state.detach().clone()
    return found


@torch.inference_mode(False)  # else what is put there could not be changed outside of it
def put(cache: Any, states: States, device: torch.device) -> None:
    """Puts them into a cache of the same model. Raises KeyError, ValueError or IndexError for what has no place."""
    for name, given in states.items():
        index, kind, number = name.split(".")
        layer, at = cache.layers[int(index)], int(number)
        if kind not in _KINDS or not isinstance(layer, LinearAttentionCacheLayerMixin):
            raise ValueError(f"the cache has no place for {name}")
        held = _states(layer, kind)
        state = given.to(device, copy=True)
        old = held[at]
        if old is not None and old.shape == state.shape:
            old.copy_(state)  # a captured graph goes on reading the same memory
        else:
            held[at] = state
        if kind == "conv":
            layer.conv_kernel_size[at] = state.shape[-1]
            layer.is_conv_states_initialized[at] = True
            if layer.device is None:
                layer.device, layer.dtype = state.device, state.dtype
        else:
            layer.is_recurrent_states_initialized[at] = True
        layer.has_previous_state[at] = True


def _states(layer: Any, kind: str) -> dict[int, torch.Tensor | None]:
    held: dict[int, torch.Tensor | None] = layer.conv_states if kind == "conv" else layer.recurrent_states
    return held
