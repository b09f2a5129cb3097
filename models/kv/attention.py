"""The attention function that reads a packed cache, and how a model is told to use it.

Every query attends to what is stored, its own token included: packed keys and values once STATS_TOKENS have come, the
waiting ones before. So a text that is read in one block and one that is written token by token are served by the same
numbers, and the cuts between blocks change nothing but rounding.
"""

from __future__ import annotations

from typing import Any

import torch

from selfroute.errors import ConfigError
from selfroute.models.kv.blockwise import attend
from selfroute.models.kv.layers import PackedLayer, Stored

NAME = "selfroute_kv"
_UNSERVED = ("softcap", "s_aux", "position_bias", "sliding_window")


def attach(model: Any) -> None:
    """Makes a model use this attention; without a packed cache it then computes what SDPA does.

    Raises ConfigError for a model whose attention is not made to be replaced.
    """
    register()
    if model.config._attn_implementation == NAME:
        return
    try:
        model.set_attn_implementation(NAME)
    except (ValueError, KeyError, ImportError) as error:
        raise ConfigError(_unfit(model), "leave --kv out: the library's own cache serves it") from error
    if model.config._attn_implementation != NAME:
        raise ConfigError(_unfit(model), "leave --kv out: the library's own cache serves it")


def register() -> None:
    """Makes the name known to transformers: for configs that ask for it, and for attach."""
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(NAME, forward)
    AttentionMaskInterface.register(NAME, mask)


def mask(
    batch_size: int,
    q_length: int,
    kv_length: int,
    q_offset: int = 0,
    kv_offset: int = 0,
    mask_function: Any = None,
    attention_mask: torch.Tensor | None = None,
    **kwargs: Any,
) -> torch.Tensor | None:
    """None for causal attention without padding, else bool: [B, keys] that may be seen, or [B, 1, queries, keys].

    A causal mask is never written out: at 128K tokens one block's would take more than the packed keys.
    """
    from transformers.masking_utils import causal_mask_function, sdpa_mask

    if mask_function is not causal_mask_function and mask_function is not None:
        kwargs["allow_is_causal_skip"] = False
        written: torch.Tensor = sdpa_mask(
            batch_size=batch_size, q_length=q_length, kv_length=kv_length, q_offset=q_offset, kv_offset=kv_offset,
            mask_function=mask_function, attention_mask=attention_mask, **kwargs,
        )  # fmt: skip
        return written
    if attention_mask is None:
        return None
    visible = attention_mask[:, :kv_length].bool()
    if visible.shape[1] < kv_length:
        visible = torch.nn.functional.pad(visible, (0, kv_length - visible.shape[1]))
    return None if bool(visible.all()) else visible


def forward(
    module: Any,
    query: torch.Tensor,
    key: Any,
    value: Any,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """[B, queries, heads, D] of query [B, heads, queries, D] over what `key` stands for; plain tensors go to SDPA."""
    for name in _UNSERVED:
        if kwargs.get(name) is not None:
            raise ConfigError(
                f"the packed attention does not compute {name}", "leave --kv out: the library's own cache serves it"
            )
    sm_scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    if isinstance(key, Stored):
        return read(key.layer, query, attention_mask, sm_scale).transpose(1, 2).contiguous(), None
    return _dense(module, query, key, value, attention_mask, sm_scale, dropout, **kwargs)


def read(layer: PackedLayer, query: torch.Tensor, visible: torch.Tensor | None, sm_scale: float) -> torch.Tensor:
    """Attention of the newest tokens, query [B, heads, queries, D], over a layer: the same shape and dtype.

    visible: as `mask` gives it, or a mask to add. One token on a GPU is served by the kernel of selfroute.models.kv
    .decode where that knows the shapes; all else blockwise.
    """
    if query.shape[2] == 1 and visible is None and _kernel_serves(layer, query):
        from selfroute.models.kv.decode import decode

        out = decode(
            query[:, :, 0], layer.k.codes, layer.k.scales, layer.v.codes, layer.v.scales, layer.lengths,
            bits=(layer.bits.keys, layer.bits.values), sm_scale=sm_scale, gain=layer.gain,
        )  # fmt: skip
        return out.unsqueeze(2)
    return attend(layer, query, visible, sm_scale)


def _kernel_serves(layer: PackedLayer, query: torch.Tensor) -> bool:
    if query.device.type != "cuda" or layer.bits.plain or not layer.packed or layer.k.on_host:
        return False
    try:
        from selfroute.models.kv.decode import HEAD_DIMS, MAX_GROUP
    except ImportError:
        return False
    group, addressed = query.shape[1] // layer.k.codes.shape[1], layer.k.room * layer.k.dim
    return layer.k.dim == layer.v.dim in HEAD_DIMS and group <= MAX_GROUP and addressed < 1 << 31


def _dense(
    module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, visible: torch.Tensor | None,
    sm_scale: float, dropout: float, **kwargs: Any,
) -> tuple[torch.Tensor, None]:  # fmt: skip
    """Without a packed cache: transformers' SDPA; a causal mask is written out for padding and behind a past."""
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    queries, keys = query.shape[2], key.shape[2]
    if visible is None and 1 < queries < keys:  # SDPA's own causal mask has the first query see the first key
        visible = causal(queries, keys, query.device)
    elif visible is not None and visible.dim() == 2:
        visible = causal(queries, keys, query.device) & visible[:, None, None, :]
    out, _ = sdpa_attention_forward(module, query, key, value, visible, dropout=dropout, scaling=sm_scale, **kwargs)
    return out, None


def causal(queries: int, keys: int, device: torch.device) -> torch.Tensor:
    """bool [1, 1, queries, keys]: the last query is the last key's."""
    at = torch.arange(keys - queries, keys, device=device)
    return (torch.arange(keys, device=device) <= at[:, None])[None, None]


def _unfit(model: Any) -> str:
    name = getattr(model.config, "model_type", "this model")
    return f"a packed cache cannot serve {name}: its attention cannot be replaced"
