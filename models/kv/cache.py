"""A cache for transformers in which the attention layers keep packed keys and values, and the others what they keep.

`quantized_cache(model, "k4v8", max_tokens=...)` is passed as past_key_values to the model or to generate().
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import DynamicCache
from transformers.cache_utils import (
    LinearAttentionCacheLayerMixin,
    LinearAttentionLayer,
    get_layer_types_and_kwargs,
)

from selfroute.errors import ConfigError
from selfroute.models.kv.layers import PackedHybridLayer, PackedLayer, refuse_crop, select_states
from selfroute.models.kv.packing import check
from selfroute.models.kv.presets import Preset, preset_of
from selfroute.models.kv.sizing import Shape
from selfroute.models.kv.states import put, take

_STATES = frozenset({"linear_attention", "conv"})
_SERVED = frozenset({"full_attention", "hybrid", "dummy"}) | _STATES
_WHY = {
    "sliding_attention": "its layers with a sliding window keep a short window only, which is not packed",
    "hybrid_sliding": "its layers with a sliding window keep a short window only, which is not packed",
    "chunked_attention": "its layers that attend within a chunk keep that chunk only, which is not packed",
    "indexed_attention": "its layers choose keys by an index of their own, which reads them unpacked",
}


class PackedCache(DynamicCache):  # type: ignore[misc]
    """Keys and values packed by `preset`; a layer that is no attention layer is transformers' own."""

    def __init__(self, config: Any, preset: Preset, max_tokens: int | None) -> None:
        """Raises ConfigError, by name and with the reason, for a model that it cannot serve."""
        refuse(config, preset)
        super().__init__(config=config)
        self.config, self.preset, self.max_tokens = config, preset, max_tokens
        text = config.get_text_config(decoder=True)
        kinds, options = get_layer_types_and_kwargs(text)
        if isinstance(options, dict):  # up to transformers 5.17: those of every layer
            options = [options] * len(kinds)
        rotary = rotary_channels(text)
        for index, (kind, kwargs) in enumerate(zip(kinds, options, strict=True)):
            if kind == "full_attention":
                self.layers[index] = PackedLayer(preset.at(index), max_tokens, rotary)
            elif kind == "hybrid":
                self.layers[index] = PackedHybridLayer(preset.at(index), max_tokens, rotary, **kwargs)
        self.hybrid = any(isinstance(layer, LinearAttentionCacheLayerMixin) for layer in self.layers)

    @property
    def packed_layers(self) -> tuple[PackedLayer, ...]:
        """The layers that hold keys and values, in order."""
        return tuple(layer for layer in self.layers if isinstance(layer, PackedLayer))

    @property
    def nbytes(self) -> int:
        """Bytes that keys and values really take, whatever of them is used."""
        return sum(layer.nbytes for layer in self.packed_layers)

    @property
    def state_bytes(self) -> int:
        """Bytes of recurrent and convolution states."""
        layers = [layer for layer in self.layers if isinstance(layer, LinearAttentionCacheLayerMixin)]
        states = (s for layer in layers for s in (*layer.conv_states.values(), *layer.recurrent_states.values()))
        return sum(state.nbytes for state in states if state is not None)

    @property
    def is_croppable(self) -> bool:
        """Only where no layer has a recurrent state."""
        return not self.hybrid

    def crop(self, tokens_to_remove: int) -> None:
        """crop(-n) forgets the last n tokens. Raises ConfigError for a hybrid: restore a checkpoint instead."""
        if self.hybrid:
            refuse_crop(tokens_to_remove)
            return
        super().crop(tokens_to_remove)

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keeps those sequences, in that order."""
        for layer in self.layers:
            if isinstance(layer, PackedLayer):
                layer.batch_select_indices(indices)
            elif isinstance(layer, LinearAttentionLayer):
                select_states(layer, indices)

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Every sequence that many times, beside itself."""
        rows = self.batch_size
        if rows > 0:
            self.batch_select_indices(torch.arange(rows).repeat_interleave(repeats))

    def to_host(self, tokens: int | None = None) -> None:
        """Moves keys and values of the first tokens (all, unless told how many) to main memory."""
        for layer in self.packed_layers:
            layer.offload(tokens)

    def to_device(self) -> None:
        """Brings them back."""
        for layer in self.packed_layers:
            layer.prefetch()

    def fork(self, tokens: int | None = None, *, max_tokens: int | None = None) -> PackedCache:
        """A copy that goes its own way, of what is used only: with the states, or without them of the first tokens.

        tokens: how many to copy (all). max_tokens: its room, this one's if not given. For fewer tokens than there are
        the states of a hybrid are left out, since they are not those of that token: see prefix.Prefix.branch.
        """
        length = self.get_seq_length()
        count = length if tokens is None else tokens
        other = PackedCache(self.config, self.preset, max_tokens or self.max_tokens)
        for mine, its in zip(self.layers, other.layers, strict=True):
            if isinstance(mine, PackedLayer) and mine.is_initialized and count:
                its.fill(mine.tensors(count), count, mine.like())
        if count == length and length and self.hybrid:
            put(other, take(self), self.packed_layers[0].device)
        return other


def quantized_cache(
    model: Any, preset: str | Preset = "k4v8", *, max_tokens: int | None = None, batch: int | None = None
) -> PackedCache:
    """A cache for a model, or for its config, with room for max_tokens (None: doubled when full).

    A model is also told to read it (attention.attach); with a config that is the caller's to do. batch: sequences to
    make room for now rather than at the first token; needs max_tokens and a model. Raises UnknownNameError, and
    ConfigError for a model that it cannot serve: by name, with the reason.
    """
    from selfroute.models.kv.attention import attach

    preset = preset_of(preset)
    config = getattr(model, "config", model)
    if max_tokens is not None and max_tokens < 1:
        raise ConfigError(f"a cache of {max_tokens} tokens holds nothing", "max_tokens of 1 or more")
    cache = PackedCache(config, preset, max_tokens)
    if config is not model:
        attach(model)
    if batch is not None:
        if config is model or max_tokens is None:
            raise ConfigError("room can be made early only for a model and max_tokens", "leave batch out")
        shape = Shape.of(config)
        empty = torch.zeros((batch, shape.heads, 0, shape.dim), dtype=model.dtype, device=model.device)
        for layer in cache.packed_layers:
            layer.lazy_initialization(empty, empty)
    return cache


def rotary_channels(text: Any) -> int:
    """How many channels of a key are turned by its position; 0 for a model without rotary positions."""
    turned = getattr(text, "rope_parameters", None)
    if not turned or getattr(text, "position_embedding_type", "rope") != "rope":
        return 0
    share = turned.get("partial_rotary_factor") if isinstance(turned, dict) else None
    share = share or getattr(text, "partial_rotary_factor", None) or 1.0
    return int(min(1.0, float(share)) * Shape.of(text).dim) // 2 * 2


def refuse(config: Any, preset: Preset) -> None:
    """Raises ConfigError for a model that a packed cache cannot serve, naming it and the reason."""
    text = config.get_text_config(decoder=True)
    name = str(getattr(config, "model_type", "this model"))
    reason = _reason(config, text)
    if not reason:
        shape = Shape.of(config)
        count = len(shape.kinds)
        bad = [layer for layer, _ in preset.layers if layer not in shape.layers]
        if bad:
            raise ConfigError(
                f"{name} has no attention layer {bad[0]}",
                f"of {count} layers, these: {', '.join(map(str, shape.layers))}",
            )
        if not all(preset.at(layer).plain for layer in shape.layers):
            check(shape.dim, 4)
        return
    raise ConfigError(
        f"a packed cache cannot serve {name}: {reason}", "leave --kv out: the library's own cache serves it"
    )


def _reason(config: Any, text: Any) -> str:
    if getattr(config, "is_encoder_decoder", False):
        return "it has an encoder, whose keys are read by cross-attention"
    if getattr(text, "kv_lora_rank", None):
        return "its latent attention (MLA) keeps a compressed row of its own instead of keys and values"
    if getattr(text, "kv_sharing_modes", None) or getattr(text, "num_kv_shared_layers", 0):
        return "some of its layers read another layer's keys and values"
    if not getattr(text, "is_causal", True):
        return "it attends to later tokens too"
    if getattr(text, "attn_logit_softcapping", None):
        return "it caps attention scores, which the packed attention does not compute"
    if getattr(text, "alibi", False) or getattr(text, "model_type", "") in {"bloom", "mpt"}:
        return "it adds a bias of its own to attention scores (ALiBi)"
    if getattr(text, "model_type", "") == "minimax":
        return "it makes a cache of its own and takes no other"
    kinds = get_layer_types_and_kwargs(text)[0]
    for kind in kinds:
        if kind not in _SERVED:
            return _WHY.get(kind, f"it has layers of the kind {kind}, which this cache does not know")
    if not {"full_attention", "hybrid"} & set(kinds):
        return "it has no attention layer that keeps keys and values"
    return ""
