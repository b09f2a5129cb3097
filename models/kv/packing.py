"""Packs rows of numbers into 4 or 8 bits a channel, and back: the exact reference that the kernels are held to.

A row of D channels has two float16 scales, one for channels 0..D/2-1 and one for the rest, each the largest magnitude
of its half over the middle code. A value is (code - middle) * scale; the middle is 7.5 of 0..15, or 127.5 of 0..255.
With 8 bits byte j holds channel j; with 4 bits byte j holds channel j in its low and channel j + D/2 in its high half.

With 4 bits the scale is that of FACTORS, times the one above, which leaves the least squared error: clipping the one
largest channel a little makes all others finer. Errors are counted in whole numbers, so that no order of adding them up
can choose another one.
"""

from __future__ import annotations

import torch

from selfroute.errors import ConfigError

MIDDLE = {4: 7.5, 8: 127.5}
FACTORS = {4: (1.0, 0.95, 0.9, 0.85, 0.8), 8: (1.0,)}
FINE, CLIPPED = 512.0, 2048.0  # parts of a step that errors are counted in, and the most of them: 512 squares fit int32
_LARGEST = 65504.0  # of float16


def row_bytes(dim: int, bits: int) -> int:
    """Bytes of one packed row: its codes and its two scales. Raises ConfigError for an odd number of channels."""
    check(dim, bits)
    return dim * bits // 8 + 4


def check(dim: int, bits: int) -> None:
    """Raises ConfigError for what the layout has no room for."""
    if bits not in MIDDLE:
        raise ConfigError(f"{bits} bits cannot be packed", "4 or 8")
    if dim < 2 or dim % 2:
        raise ConfigError(f"rows of {dim} channels cannot be packed: the number is to be even", "--kv bf16")


def pack(x: torch.Tensor, bits: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(codes uint8 [..., D * bits / 8], scales float16 [..., 2]) of x [..., D], any float dtype and leading shape.

    A value is off by at most half its scale, and by 0.05% of the largest of its half where rounding the scale to
    float16 left that out of reach; with 4 bits the largest, which may be clipped, by up to a fifth of itself.
    Magnitudes over 65504 * middle are clipped, those under float16's smallest are 0.
    """
    dim = x.shape[-1]
    check(dim, bits)
    middle = MIDDLE[bits]
    halves = x.float().reshape(*x.shape[:-1], 2, 1, dim // 2)
    factors = torch.tensor(FACTORS[bits], device=x.device)
    scales = (halves.abs().amax(-1) / middle).mul(factors).clamp_(max=_LARGEST).half()
    step = scales.float().unsqueeze(-1)
    exact = torch.where(step > 0, halves / step, 0.0).add_(middle)
    codes = exact.round().clamp_(0, 2 * middle)
    if len(factors) > 1:
        parts = exact.sub_(codes).abs_().mul_(FINE).round_().clamp_(max=CLIPPED).int()
        cost = parts.mul_(parts).sum(-1).float().mul_(step[..., 0]).mul_(step[..., 0])
        best = cost.argmin(-1, keepdim=True)
        scales = scales.gather(-1, best)
        codes = codes.gather(-2, best.unsqueeze(-1).expand(*best.shape, dim // 2))
    packed, scales = codes.to(torch.uint8).squeeze(-2), scales.squeeze(-1)
    if bits == 8:
        return packed.flatten(-2), scales
    return packed[..., 0, :] | (packed[..., 1, :] << 4), scales


def halves(codes: torch.Tensor, bits: int, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """The codes of each half as numbers, [..., D/2] and contiguous: 0..15 or 0..255, not yet less the middle."""
    if bits == 4:
        return (codes & 15).to(dtype), (codes >> 4).to(dtype)
    low, high = codes.tensor_split(2, -1)
    return low.to(dtype).contiguous(), high.to(dtype).contiguous()


def unpack(codes: torch.Tensor, scales: torch.Tensor, bits: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """The values [..., D] in `dtype`, computed in float32, or in float64 for dtype float64."""
    exact = torch.float64 if dtype == torch.float64 else torch.float32
    steps = scales.to(exact).tensor_split(2, -1)
    parts = [half.sub_(MIDDLE[bits]).mul_(step) for half, step in zip(halves(codes, bits, exact), steps, strict=True)]
    return torch.cat(parts, -1).to(dtype)
