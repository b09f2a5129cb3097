# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator"
"""Packs the newest tokens of a decode step into the room of a layer, at a position that lies on the device.

The numbers are those of statistics.normalise and packing.pack, bit for bit: one program packs the key and the value of
one token and head. Nothing is counted on: that is the step's to do, once for all layers.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from selfroute.errors import ConfigError
from selfroute.models.kv import packing

FINE, CLIPPED = tl.constexpr(packing.FINE), tl.constexpr(packing.CLIPPED)
MAX_TOKENS = 16  # of one call: a step, or a few tokens of a draft; a longer block is packed by packing.pack


@triton.jit
def _scale(halves, factor, MIDDLE: tl.constexpr):
    """float16: the largest magnitude over the middle code, times the factor."""
    return tl.minimum(tl.div_rn(tl.max(tl.abs(halves), axis=0), MIDDLE) * factor, 65504.0).to(tl.float16)


@triton.jit
def _nearest(x):
    """round(x), half to even, of x that is not negative; as int32."""
    floor = tl.floor(x)
    whole = floor.to(tl.int32)
    rest = x - floor  # exact
    up = (rest > 0.5) | ((rest == 0.5) & (whole % 2 == 1))
    return whole + up.to(tl.int32)


@triton.jit
def _exact(x, scale, MIDDLE: tl.constexpr):
    """x / scale + middle; of a zero scale the middle."""
    step = scale.to(tl.float32)
    return tl.where(step > 0.0, tl.div_rn(x, tl.where(step > 0.0, step, 1.0)), 0.0) + MIDDLE


@triton.jit
def _code(exact, MIDDLE: tl.constexpr):
    """The nearest code, 0 .. 2 * middle, as int32: bounds are whole numbers, so clamping may come first."""
    return _nearest(tl.minimum(tl.maximum(exact, 0.0), 2.0 * MIDDLE))


@triton.jit
def _cost(x, scale, inside, MIDDLE: tl.constexpr):
    """float32: the squared error that a scale leaves, counted in whole parts of a step."""
    exact = _exact(x, scale, MIDDLE)
    parts = tl.abs(exact - _code(exact, MIDDLE).to(tl.float32)) * FINE
    parts = _nearest(tl.minimum(parts, CLIPPED))
    parts = tl.where(inside, parts, 0)  # those past the row's end lie in the middle of two codes
    step = scale.to(tl.float32)
    return tl.sum(parts * parts, axis=0).to(tl.float32) * step * step


@triton.jit
def _best(x, inside, BITS: tl.constexpr, MIDDLE: tl.constexpr):
    """The scale of a half: packing.FACTORS, of equal ones the first."""
    scale = _scale(x, 1.0, MIDDLE)
    if BITS == 4:
        least = _cost(x, scale, inside, MIDDLE)
        for factor in tl.static_range(4):
            other = _scale(x, 0.95 if factor == 0 else 0.9 if factor == 1 else 0.85 if factor == 2 else 0.8, MIDDLE)
            cost = _cost(x, other, inside, MIDDLE)
            scale = tl.where(cost < least, other, scale)
            least = tl.minimum(cost, least)
    return scale


@triton.jit
def _pack(low, high, codes, scales, channels, inside, HALF: tl.constexpr, BITS: tl.constexpr):
    """Writes one row: codes from `codes` on, two scales from `scales` on."""
    MIDDLE: tl.constexpr = 7.5 if BITS == 4 else 127.5
    scale_low, scale_high = _best(low, inside, BITS, MIDDLE), _best(high, inside, BITS, MIDDLE)
    code_low, code_high = _code(_exact(low, scale_low, MIDDLE), MIDDLE), _code(_exact(high, scale_high, MIDDLE), MIDDLE)
    if BITS == 4:
        tl.store(codes + channels, (code_low | (code_high << 4)).to(tl.uint8), mask=inside)
    else:
        tl.store(codes + channels, code_low.to(tl.uint8), mask=inside)
        tl.store(codes + HALF + channels, code_high.to(tl.uint8), mask=inside)
    tl.store(scales, scale_low)
    tl.store(scales + 1, scale_high)


@triton.jit
def _append(
    keys,
    values,
    shift,
    gain,
    k_codes,
    k_scales,
    v_codes,
    v_scales,
    position,
    capacity,
    keys_batch,
    keys_head,
    keys_token,
    values_batch,
    values_head,
    values_token,
    position_batch,
    HEADS: tl.constexpr,
    HALF: tl.constexpr,
    HALF_PAD: tl.constexpr,
    K_BITS: tl.constexpr,
    V_BITS: tl.constexpr,
):
    """Program (token, head, batch). A token past the capacity is left out, so that nothing else is overwritten."""
    token, head, batch = tl.program_id(0), tl.program_id(1).to(tl.int64), tl.program_id(2).to(tl.int64)
    at = tl.load(position + batch * position_batch).to(tl.int64) + token
    if (at >= 0) & (at < capacity):
        channels = tl.arange(0, HALF_PAD)
        inside = channels < HALF
        row = batch * HEADS + head
        slot = row * capacity + at
        keys += batch * keys_batch + head * keys_head + token * keys_token
        values += batch * values_batch + head * values_head + token * values_token
        shift += row * 2 * HALF
        gain += row * 2 * HALF
        low = tl.load(keys + channels, mask=inside, other=0.0).to(tl.float32)
        high = tl.load(keys + HALF + channels, mask=inside, other=0.0).to(tl.float32)
        low -= tl.load(shift + channels, mask=inside, other=0.0)
        high -= tl.load(shift + HALF + channels, mask=inside, other=0.0)
        low = tl.div_rn(low, tl.load(gain + channels, mask=inside, other=1.0))
        high = tl.div_rn(high, tl.load(gain + HALF + channels, mask=inside, other=1.0))
        _pack(low, high, k_codes + slot * (HALF * K_BITS // 4), k_scales + slot * 2, channels, inside, HALF, K_BITS)
        low = tl.load(values + channels, mask=inside, other=0.0).to(tl.float32)
        high = tl.load(values + HALF + channels, mask=inside, other=0.0).to(tl.float32)
        _pack(low, high, v_codes + slot * (HALF * V_BITS // 4), v_scales + slot * 2, channels, inside, HALF, V_BITS)


def append(
    keys: torch.Tensor,
    values: torch.Tensor,
    shift: torch.Tensor,
    gain: torch.Tensor,
    k_codes: torch.Tensor,
    k_scales: torch.Tensor,
    v_codes: torch.Tensor,
    v_scales: torch.Tensor,
    position: torch.Tensor,
    *,
    bits: tuple[int, int] = (4, 4),
) -> None:
    """Packs keys and values [B, H, n, D], as the model made them, at `position` on: codes and scales in place.

    shift, gain: float32 [B, H, D]. position: int32 or int64 [1], or [B] with one for each sequence, on the device.
    Raises ConfigError for shapes that it would write wrongly.
    """
    batch, heads, tokens, dim = keys.shape
    capacity = k_codes.shape[2]
    if values.shape != keys.shape or dim % 2 or not 1 <= tokens <= MAX_TOKENS:
        raise ConfigError(
            f"keys {tuple(keys.shape)} and values {tuple(values.shape)} cannot be appended at once",
            f"1 to {MAX_TOKENS} tokens of the same even head_dim",
        )
    wanted = [(k_codes, dim * bits[0] // 8), (v_codes, dim * bits[1] // 8), (k_scales, 2), (v_scales, 2)]
    for tensor, last in wanted:
        if tensor.shape != (batch, heads, capacity, last) or not tensor.is_contiguous():
            raise ConfigError(f"a packed tensor is {tuple(tensor.shape)}, not {(batch, heads, capacity, last)} whole")
    for tensor in (shift, gain):
        if tensor.shape != (batch, heads, dim) or tensor.dtype != torch.float32:
            raise ConfigError(f"shift or gain is {tensor.dtype} {tuple(tensor.shape)}, not float32 [batch, heads, dim]")
    if position.shape not in ((1,), (batch,)) or position.dtype not in (torch.int32, torch.int64):
        raise ConfigError(f"position is {position.dtype} {tuple(position.shape)}, not whole numbers [1] or [batch]")
    keys, values = (x if x.stride(-1) == 1 else x.contiguous() for x in (keys, values))
    _append[(tokens, heads, batch)](
        keys,
        values,
        shift.contiguous(),
        gain.contiguous(),
        k_codes,
        k_scales,
        v_codes,
        v_scales,
        position,
        capacity,
        *keys.stride()[:3],
        *values.stride()[:3],
        position.stride(0) if position.shape[0] > 1 else 0,
        HEADS=heads,
        HALF=dim // 2,
        HALF_PAD=triton.next_power_of_2(dim // 2),
        K_BITS=bits[0],
        V_BITS=bits[1],
        num_warps=1,
    )
