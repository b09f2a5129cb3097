"""selfroute.models.kv.packing in numpy, bit for bit: what is kept of pages is packed and read without torch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from selfroute.errors import ConfigError

MIDDLE = {4: 7.5, 8: 127.5}
FACTORS = {4: (1.0, 0.95, 0.9, 0.85, 0.8), 8: (1.0,)}
FINE, CLIPPED = np.float32(512.0), np.float32(2048.0)
PLAIN = 16  # bits of a float16, which stands for itself
_LARGEST = 65504.0

Floats = NDArray[np.float32]


def check(dim: int, bits: int) -> None:
    """Raises ConfigError for what the layout has no room for."""
    if bits not in MIDDLE:
        raise ConfigError(f"{bits} bits cannot be packed", "4 or 8")
    if dim < 2 or dim % 2:
        raise ConfigError(f"rows of {dim} channels cannot be packed: the number is to be even", "--kv bf16")


def pack(x: NDArray[np.floating], bits: int) -> tuple[NDArray[np.uint8], NDArray[np.float16]]:
    """(codes uint8 [..., D * bits / 8], scales float16 [..., 2]) of x [..., D]. Raises ConfigError."""
    check(x.shape[-1], bits)
    middle = np.float32(MIDDLE[bits])
    halves = x.astype(np.float32).reshape(*x.shape[:-1], 2, x.shape[-1] // 2)
    largest = np.abs(halves).max(-1) / middle
    best: tuple[NDArray[np.uint8], NDArray[np.float16]] | None = None
    least = np.zeros(0, np.float32)
    for factor in FACTORS[bits]:
        scales = np.minimum(largest * np.float32(factor), np.float32(_LARGEST)).astype(np.float16)
        step = scales.astype(np.float32)
        exact = np.divide(halves, step[..., None], out=np.zeros_like(halves), where=step[..., None] > 0) + middle
        whole = np.clip(np.rint(exact), 0, 2 * middle)
        if len(FACTORS[bits]) == 1:
            best = whole.astype(np.uint8), scales
            break
        parts = np.minimum(np.rint(np.abs(exact - whole) * FINE), CLIPPED).astype(np.int32)
        cost = (parts * parts).sum(-1).astype(np.float32) * step * step
        if best is None:
            best, least = (whole.astype(np.uint8), scales), cost
            continue
        better = cost < least
        np.copyto(best[0], whole.astype(np.uint8), where=better[..., None])
        np.copyto(best[1], scales, where=better)
        np.copyto(least, cost, where=better)
    assert best is not None
    codes, scales = best
    if bits == 8:
        return codes.reshape(*x.shape[:-1], -1), scales
    return codes[..., 0, :] | (codes[..., 1, :] << np.uint8(4)), scales


def centred(codes: NDArray[np.uint8], bits: int) -> tuple[Floats, Floats]:
    """The codes of each half less the middle, float32 [..., D / 2]: what the scales are multiplied with."""
    if bits == 4:
        low, high = codes & np.uint8(15), codes >> np.uint8(4)
    else:
        low, high = np.split(codes, 2, -1)
    middle = np.float32(MIDDLE[bits])
    return low.astype(np.float32) - middle, high.astype(np.float32) - middle


def unpack(codes: NDArray[np.uint8], scales: NDArray[np.float16], bits: int) -> Floats:
    """The values float32 [..., D]."""
    steps = scales.astype(np.float32)
    low, high = centred(codes, bits)
    return np.concatenate([low * steps[..., :1], high * steps[..., 1:]], -1)
