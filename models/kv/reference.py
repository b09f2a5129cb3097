"""Attention over what a layer holds, unpacked whole, in float64: slow, and what all else is compared with."""

from __future__ import annotations

import torch

from selfroute.models.kv.layers import PackedLayer
from selfroute.models.kv.packing import unpack
from selfroute.models.kv.storage import Store


def exact(
    query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, sm_scale: float, visible: torch.Tensor | None = None
) -> torch.Tensor:
    """Float64 [B, heads, queries, Dv] of query [B, heads, queries, D] over keys and values [B, H, N, D].

    The last query is the last key's token. visible: bool [B, N], keys that count.
    """
    group, n, count = query.shape[1] // keys.shape[1], query.shape[2], keys.shape[2]
    keys, values = keys.double().repeat_interleave(group, 1), values.double().repeat_interleave(group, 1)
    scores = query.double() @ keys.transpose(-1, -2) * sm_scale
    at = torch.arange(count - n, count, device=query.device)
    hidden = (torch.arange(count, device=query.device) > at[:, None])[None, None]
    if visible is not None:
        hidden = hidden | ~visible[:, None, None, :]
    return torch.softmax(scores.masked_fill(hidden, -1e300), -1) @ values


def contents(layer: PackedLayer) -> tuple[torch.Tensor, torch.Tensor]:
    """(keys, values) that a layer stands for, float64 [B, H, N, D]: unpacked, the keys' gain and shift put back."""
    layer.settle()
    if layer.staged is not None:
        return layer.staged[0].double(), layer.staged[1].double()
    keys, values = _read(layer.k, layer.length), _read(layer.v, layer.length)
    if layer.gain is not None and layer.shift is not None:
        keys = keys * layer.gain.double().unsqueeze(2) + layer.shift.double().unsqueeze(2)
    return keys, values


def _read(store: Store, length: int) -> torch.Tensor:
    parts = store.raw(0, length)
    return parts[0].double() if len(parts) == 1 else unpack(parts[0], parts[1], store.bits, torch.float64)
