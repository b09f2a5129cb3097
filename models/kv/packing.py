"""Packs rows of numbers into 4 or 8 bits a channel, and back: the exact reference that the kernels are held to.

A row of D channels has two float16 scales, one for channels 0..D/2-1 and one for the rest, each the largest magnitude
of its half over the middle code. A value is (code - middle) * scale; the middle is 7.5 of 0..15, or 127.5 of 0..255.
With 8 bits byte j holds channel j; with 4 bits byte j holds channel j in its low and channel j + D/2 in its high half.
"""

from __future__ import annotations

import torch

from selfroute.errors import ConfigError

MIDDLE = {4: 7.5, 8: 127.5}
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
    float16 left that out of reach; magnitudes over 65504 * middle are clipped, those under float16's smallest are 0.
    """
    dim = x.shape[-1]
    check(dim, bits)
    middle = MIDDLE[bits]
    halves = x.float().reshape(*x.shape[:-1], 2, dim // 2)
    scales = (halves.abs().amax(-1) / middle).clamp_(max=_LARGEST).half()
    step = scales.float().unsqueeze(-1)
    codes = torch.where(step > 0, halves / step, 0.0).add_(middle).round_().clamp_(0, 2 * middle).to(torch.uint8)
    if bits == 8:
        return codes.flatten(-2), scales
    return codes[..., 0, :] | (codes[..., 1, :] << 4), scales


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
