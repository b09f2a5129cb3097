"""Attention over packed keys and values, block by block: the whole cache is never unpacked at once.

Few queries: scales are folded into scores and weights, codes are multiplied as they are, under one online softmax
(Milakov and Gimelshein 2018). Many queries: a block is unpacked and handed to the dense kernel, and the blocks' results
are merged by their log-sum-exp. All sums are in float32; on a GPU the dense kernel works in the model's dtype.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F

from selfroute.models.kv.layers import PackedLayer
from selfroute.models.kv.packing import MIDDLE, halves

FEW = 8  # queries up to which scales are folded
QUERIES = 1024  # a long block of queries is served in parts of this many
KEYS = 2048  # tokens unpacked at a time beside many queries
ELEMENTS = 1 << 19  # of codes that are multiplied at a time beside few queries
GPU = 8  # times as much there, where a block costs its launches
HIDDEN = -1e30  # added to a score that does not count: finite, so that a row with nothing to see is no NaN

Part = tuple[torch.Tensor, torch.Tensor]  # output [B, H, rows, D] and log-sum-exp [B, H, rows], float32


def attend(layer: PackedLayer, query: torch.Tensor, visible: torch.Tensor | None, sm_scale: float) -> torch.Tensor:
    """Attention of the newest tokens, query [B, heads, queries, D], over all that a layer holds: shape [.., Dv].

    visible: None (causal), bool [B, keys] beside causality, or [B, 1 or heads, queries, keys] that says all: bool, or
    to be added to the scores.
    """
    n = query.shape[2]
    layer.settle(_no_padding(visible))
    if layer.staged is not None or layer.bits.plain:
        return _plain(layer, query, visible, sm_scale)
    assert layer.gain is not None
    heads = layer.k.codes.shape[1]
    scaled = (
        query.float().reshape(query.shape[0], heads, -1, n, query.shape[3]) * layer.gain[:, :, None, None, :]
    )  # [B, H, group, queries, D]
    if n <= FEW:
        out = _few(layer, scaled, visible, sm_scale)
    else:
        starts = range(0, n, QUERIES)
        out = torch.cat([_many(layer, scaled, s, min(n, s + QUERIES), visible, sm_scale, query) for s in starts], 3)
    return out.flatten(1, 2).to(query.dtype)


def _no_padding(visible: torch.Tensor | None) -> torch.Tensor | None:
    """bool [B, keys] of what the last query sees."""
    if visible is None or visible.dim() == 2:
        return visible
    last = visible[:, 0, -1]
    return last > HIDDEN / 2 if last.is_floating_point() else last


def _plain(layer: PackedLayer, query: torch.Tensor, visible: torch.Tensor | None, sm_scale: float) -> torch.Tensor:
    """Over keys and values as the model made them: PyTorch's own attention."""
    if layer.staged is not None:
        keys, values = layer.staged
    else:
        keys, values = (store.read(0, layer.length, query.dtype) for store in (layer.k, layer.v))
    n, length, group = query.shape[2], layer.length, query.shape[1] // keys.shape[1]
    if n == 1:
        bias = _bias(visible, query, 0, 1, 0, length, length - 1)
        folded = query.reshape(query.shape[0], -1, group, query.shape[3])
        bias = None if bias is None else bias.to(query.dtype)
        out = F.scaled_dot_product_attention(folded, keys, values, attn_mask=_fold(bias, group), scale=sm_scale)
        return out.reshape(*query.shape[:3], -1)
    keys, values = keys.repeat_interleave(group, 1), values.repeat_interleave(group, 1)
    if visible is None and n == length:
        return F.scaled_dot_product_attention(query, keys, values, is_causal=True, scale=sm_scale)
    parts = []
    for first in range(0, n, QUERIES):
        last = min(n, first + QUERIES)
        end = length - n + last if visible is None or visible.dim() == 2 else length
        bias = _bias(visible, query, first, last, 0, end, length - n + first)
        parts.append(
            F.scaled_dot_product_attention(
                query[:, :, first:last], keys[:, :, :end], values[:, :, :end],
                attn_mask=None if bias is None else bias.to(query.dtype), scale=sm_scale,
            )
        )  # fmt: skip
    return torch.cat(parts, 2)


def _few(layer: PackedLayer, scaled: torch.Tensor, visible: torch.Tensor | None, sm_scale: float) -> torch.Tensor:
    """[B, H, group, queries, Dv]: codes times queries, scales on the scores; weights times scales, on the codes."""
    batch, heads, group, n, dim = scaled.shape
    rows, device = group * n, scaled.device
    q = [half.contiguous() for half in (scaled.reshape(batch, heads, rows, dim) * sm_scale).tensor_split(2, -1)]
    offsets = [half.sum(-1, keepdim=True) * MIDDLE[layer.bits.keys] for half in q]
    highest = torch.full((batch, heads, rows, 1), -torch.inf, device=device)
    total = torch.zeros((batch, heads, rows, 1), device=device)
    out = torch.zeros((batch, heads, rows, layer.v.dim), device=device)
    block = max(64, (GPU if device.type == "cuda" else 1) * ELEMENTS // (batch * heads * dim))
    for start, end in _blocks(layer.length, block):
        codes, scales = layer.k.raw(start, end)
        low, high = halves(codes, layer.bits.keys, torch.float32)
        step = scales.float().unsqueeze(2)  # [B, H, 1, T, 2]
        scores = (q[0] @ low.transpose(-1, -2)).sub_(offsets[0]).mul_(step[..., 0])
        scores += (q[1] @ high.transpose(-1, -2)).sub_(offsets[1]).mul_(step[..., 1])
        bias = _fold(_bias(visible, scaled, 0, n, start, end, layer.length - n), group)
        if bias is not None:
            scores = scores + bias
        above = torch.maximum(highest, scores.amax(-1, keepdim=True))
        weights, fade = torch.exp(scores - above), torch.exp(highest - above)
        codes, scales = layer.v.raw(start, end)
        step = scales.float().unsqueeze(2)
        here = []
        for half, numbers in enumerate(halves(codes, layer.bits.values, torch.float32)):
            folded = weights * step[..., half]
            here.append((folded @ numbers).sub_(folded.sum(-1, keepdim=True), alpha=MIDDLE[layer.bits.values]))
        out = out * fade + torch.cat(here, -1)
        total = total * fade + weights.sum(-1, keepdim=True)
        highest = above
    return (out / total).reshape(batch, heads, group, n, layer.v.dim)


def _many(
    layer: PackedLayer,
    scaled: torch.Tensor,
    first: int,
    last: int,
    visible: torch.Tensor | None,
    sm_scale: float,
    like: torch.Tensor,
) -> torch.Tensor:
    """[B, H, group, last - first, Dv] of those queries: earlier tokens in blocks, their own under a causal mask."""
    batch, heads, group, n, dim = scaled.shape
    dtype = like.dtype if like.device.type == "cuda" else torch.float32
    q = scaled[:, :, :, first:last].to(dtype)
    own = layer.length - n + first
    whole = visible is not None and visible.dim() == 4
    rows = q.reshape(batch, heads, group * (last - first), dim)
    merged: Part | None = None
    for start, end in _blocks(layer.length if whole else own, KEYS * (GPU if q.device.type == "cuda" else 1)):
        keys, values = layer.k.read(start, end, dtype), layer.v.read(start, end, dtype)
        bias = _bias(visible, scaled, first, last, start, end, own) if visible is not None else None
        merged = _merge(merged, dense(rows, keys, values, _fold(bias, group), False, sm_scale))
    if not whole:
        start, end = own, own + last - first
        keys, values = layer.k.read(start, end, dtype), layer.v.read(start, end, dtype)
        keys, values = keys.repeat_interleave(group, 1), values.repeat_interleave(group, 1)
        bias = None if visible is None else _bias(visible, scaled, first, last, start, end, own)
        out, lse = dense(q.flatten(1, 2), keys, values, bias, bias is None, sm_scale)
        shape = (batch, heads, group * (last - first))
        merged = _merge(merged, (out.reshape(*shape, -1), lse.reshape(shape)))
    assert merged is not None
    return merged[0].reshape(batch, heads, group, last - first, -1)


def dense(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, bias: torch.Tensor | None, causal: bool, sm_scale: float
) -> Part:
    """One block by the device's own kernel where it gives the log-sum-exp too, else written out."""
    if q.device.type == "cpu" and q.shape[-1] == v.shape[-1]:
        shaped = None if bias is None else bias.expand(q.shape[0], q.shape[1] if bias.shape[1] > 1 else 1, -1, -1)
        out, lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            q, k, v, 0.0, causal, attn_mask=shaped, scale=sm_scale
        )
        return out, lse
    if q.device.type == "cuda" and bias is None and q.dtype in (torch.float16, torch.bfloat16) and _flash(q, v):
        found = torch.ops.aten._scaled_dot_product_flash_attention(q, k, v, 0.0, causal, False, scale=sm_scale)
        return found[0].float(), found[1]
    scores = (q @ k.transpose(-1, -2)).float() * sm_scale
    if causal:
        hidden = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).triu(1)
        scores = scores.masked_fill(hidden, HIDDEN)
    if bias is not None:
        scores = scores + bias
    lse = scores.logsumexp(-1)
    return (torch.exp(scores - lse.unsqueeze(-1)).to(v.dtype) @ v).float(), lse


def _flash(q: torch.Tensor, v: torch.Tensor) -> bool:
    return q.shape[-1] == v.shape[-1] and q.shape[-1] % 8 == 0 and q.shape[-1] <= 256


def _merge(one: Part | None, other: Part) -> Part:
    if one is None:
        return other
    lse = torch.logaddexp(one[1], other[1])
    weights = ((part[1] - lse).exp().unsqueeze(-1) for part in (one, other))
    return sum((part[0] * weight for part, weight in zip((one, other), weights, strict=True)), torch.zeros(())), lse


def _blocks(length: int, block: int) -> Iterator[tuple[int, int]]:
    return ((start, min(length, start + block)) for start in range(0, length, block))


def _bias(
    visible: torch.Tensor | None, query: torch.Tensor, first: int, last: int, start: int, end: int, own: int
) -> torch.Tensor | None:
    """What is added to the scores of queries first..last, of which the first is token `own`, and keys start..end.

    None, or float32 [B or 1, 1 or heads, 1 or queries, keys].
    """
    if visible is not None and visible.dim() == 4:
        part = visible[:, :, first:last, start:end]
        return part.float().clamp(min=HIDDEN) if part.is_floating_point() else _added(part)
    seen = None if visible is None else visible[:, None, None, start:end]
    if end > own + 1:  # some key is later than some query
        at = torch.arange(own, own + last - first, device=query.device)
        past = (torch.arange(start, end, device=query.device) <= at[:, None])[None, None]
        seen = past if seen is None else seen & past
    return None if seen is None else _added(seen)


def _added(seen: torch.Tensor) -> torch.Tensor:
    return torch.zeros(seen.shape, device=seen.device).masked_fill_(~seen, HIDDEN)


def _fold(bias: torch.Tensor | None, group: int) -> torch.Tensor | None:
    """The same for rows that are a group's heads by queries: [.., queries, keys] to [.., group * queries, keys]."""
    if bias is None or (bias.shape[1] == 1 and bias.shape[2] == 1):
        return bias
    if bias.shape[1] == 1:
        return bias.repeat(1, 1, group, 1)
    return bias.reshape(bias.shape[0], -1, group * bias.shape[2], bias.shape[3])
