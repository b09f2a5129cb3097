"""One decode step over packed layers with static shapes: what a CUDA graph can hold.

Every number that changes from token to token lies on the device: one count of tokens and one position serve all
layers, and are counted on once a step. A layer packs its new token by append.append and reads all by decode.decode;
nothing asks the host, and no mask is made, so a batch must not be padded.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from transformers.cache_utils import Cache, CacheLayerMixin, LinearAttentionAndFullAttentionLayer

from selfroute.errors import ConfigError
from selfroute.models.kv.layers import PackedHybridLayer, PackedLayer

NAME = "selfroute_kv_step"
_SHARED = (
    "conv_states",
    "recurrent_states",
    "is_conv_states_initialized",
    "is_recurrent_states_initialized",
    "has_previous_state",
    "conv_kernel_size",
    "record_past",
)


@dataclass(frozen=True, slots=True)
class Count:
    """Tokens stored, int32 [B], and where the next one goes, int64 [1]; within a step the first is one ahead."""

    lengths: torch.Tensor
    position: torch.Tensor

    @classmethod
    def of(cls, tokens: int, batch: int, device: torch.device) -> Count:
        """For sequences that hold so many tokens."""
        return cls(
            torch.full((batch,), tokens, dtype=torch.int32, device=device),
            torch.full((1,), tokens, dtype=torch.int64, device=device),
        )

    def set(self, tokens: int) -> None:
        """Takes it to so many tokens, in place."""
        self.lengths.fill_(tokens)
        self.position.fill_(tokens)


class SteppedLayer(CacheLayerMixin):  # type: ignore[misc]
    """A layer in a step: `update` stores one token and returns the layer itself, and `attend` reads it."""

    is_compileable = False
    is_sliding = False
    is_croppable = False

    def __init__(self, tokens: int, count: Count) -> None:
        super().__init__()
        self.tokens, self.count, self.is_initialized = tokens, count, True

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """There is nothing to do."""

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        """Stores the token [B, H, 1, D] at the position on the device."""
        self.store(key_states, value_states)
        return self, self

    @abstractmethod
    def store(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Writes keys and values [B, H, 1, D] where the count on the device says."""

    @abstractmethod
    def attend(self, query: torch.Tensor, sm_scale: float) -> torch.Tensor:
        """[B, 1, heads, D] of the query [B, heads, 1, D] over all tokens, the one just stored included."""

    def get_seq_length(self) -> int:
        """Tokens there were when the step was made; those since are counted on the device only."""
        return self.tokens

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.tokens + query_length, 0

    def get_max_length(self) -> int:
        return -1


class PackedStep(SteppedLayer):
    """A packed layer, read and written by the kernels."""

    def __init__(self, layer: PackedLayer, count: Count) -> None:
        SteppedLayer.__init__(self, layer.length, count)
        assert layer.shift is not None
        assert layer.gain is not None
        self.layer, self.shift, self.gain = layer, layer.shift.contiguous(), layer.gain.contiguous()

    def store(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        from selfroute.models.kv.append import append

        k, v, bits = self.layer.k, self.layer.v, self.layer.bits
        append(
            keys, values, self.shift, self.gain, k.codes, k.scales, v.codes, v.scales, self.count.position,
            bits=(bits.keys, bits.values),
        )  # fmt: skip

    def attend(self, query: torch.Tensor, sm_scale: float) -> torch.Tensor:
        from selfroute.models.kv.decode import decode

        k, v, bits = self.layer.k, self.layer.v, self.layer.bits
        out = decode(
            query[:, :, 0], k.codes, k.scales, v.codes, v.scales, self.count.lengths,
            bits=(bits.keys, bits.values), sm_scale=sm_scale, gain=self.gain,
        )  # fmt: skip
        return out.unsqueeze(1)


class PackedHybridStep(PackedStep, LinearAttentionAndFullAttentionLayer):  # type: ignore[misc]
    """The same beside a recurrent state, which it shares with the cache's layer."""

    is_croppable = False

    def __init__(self, layer: PackedHybridLayer, count: Count) -> None:
        LinearAttentionAndFullAttentionLayer.__init__(self, number_of_states=layer.number_of_states)
        PackedStep.__init__(self, layer, count)
        for name in _SHARED:
            setattr(self, name, getattr(layer, name))


def unserved(cache: Any) -> str:
    """Why the kernels cannot serve a cache's layers; empty when they can."""
    try:
        from selfroute.models.kv.decode import HEAD_DIMS
    except ImportError:
        return "triton is not installed"
    for index, layer in enumerate(cache.layers):
        if isinstance(layer, PackedLayer):
            if not layer.is_initialized or not layer.packed:
                return f"layer {index} has too few tokens to be packed"
            if layer.bits.plain or layer.gain is None:
                return f"layer {index} is not packed"
            if layer.k.on_host or layer.v.on_host:
                return f"layer {index} lies in main memory in part"
            if layer.k.dim != layer.v.dim or layer.k.dim not in HEAD_DIMS:
                return f"layer {index} has head_dim {layer.k.dim}, the kernels serve {HEAD_DIMS}"
        elif isinstance(layer, CacheLayerMixin):
            return f"layer {index} keeps keys and values in the library's own way ({type(layer).__name__})"
    return ""


def stepped(cache: Any, count: Count) -> Cache:
    """The cache as a step sees it: the same memory, read and written by the kernels. See `unserved`."""
    layers: list[Any] = []
    for layer in cache.layers:
        if isinstance(layer, PackedHybridLayer):
            layers.append(PackedHybridStep(layer, count))
        else:
            layers.append(PackedStep(layer, count) if isinstance(layer, PackedLayer) else layer)
    return Cache(layers=layers)


def step_of(model: Any, cache: Cache, count: Count) -> Callable[[torch.Tensor], torch.Tensor]:
    """The step: tokens int64 [B, 1] in, the likeliest next ones [B, 1] out. To be called within `stepping`."""

    def step(token: torch.Tensor) -> torch.Tensor:
        count.lengths.add_(1)
        position = count.position.view(1, 1).expand(token.shape[0], 1)
        logits = model(input_ids=token, position_ids=position, past_key_values=cache, use_cache=True).logits
        count.position.add_(1)
        found: torch.Tensor = logits[:, -1].argmax(-1, keepdim=True)
        return found

    return step


@contextmanager
def stepping(model: Any) -> Iterator[None]:
    """Makes the model's attention ask the stepped layers, and puts back what was there."""
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(NAME, forward)
    AttentionMaskInterface.register(NAME, no_mask)
    before = model.config._attn_implementation
    model.set_attn_implementation(NAME)
    try:
        yield
    finally:
        model.set_attn_implementation(before)


def forward(
    module: Any, query: torch.Tensor, key: Any, value: Any, mask: Any, scaling: float | None = None, **kwargs: Any
) -> tuple[torch.Tensor, None]:
    """The attention function of a step."""
    for name in ("softcap", "s_aux", "position_bias", "sliding_window"):
        if kwargs.get(name) is not None:
            raise ConfigError(f"the packed attention does not compute {name}", "leave --kv out")
    sm_scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    return key.attend(query, sm_scale), None


def no_mask(*args: Any, **kwargs: Any) -> None:
    """One token sees all that is stored."""
