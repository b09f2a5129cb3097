"""Two other designs of the decode kernel for K4V4, beside decode_kernel.py's, for the record of `--part tune`.

`textbook`: codes become half-precision numbers by a conversion each, keys are the second operand of a product whose
rows are the group's queries padded to 16, and four warps share a tile: what one writes first. `warps`: the kernel of
decode_kernel.py itself with the tile shared by two or four warps (Plan.warps).
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl

from selfroute.models.kv import decode_kernel


@triton.jit
def _textbook(
    q, k_codes, k_scales, v_codes, v_scales, lengths, partial, stats, sm_scale, capacity,
    HEADS: tl.constexpr, GROUP: tl.constexpr, ROWS: tl.constexpr, HALF: tl.constexpr, BLOCK_N: tl.constexpr,
    STAGES: tl.constexpr,
):  # fmt: skip
    split, head, batch = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    n_splits = tl.num_programs(0)
    row = (batch * HEADS + head).to(tl.int64)
    k_codes += row * capacity * HALF
    v_codes += row * capacity * HALF
    k_scales += row * capacity * 2
    v_scales += row * capacity * 2
    queries, channels, tokens_in = tl.arange(0, ROWS), tl.arange(0, HALF), tl.arange(0, BLOCK_N)
    real = (queries < GROUP)[:, None]
    at = q + (row * GROUP + queries)[:, None] * (2 * HALF) + channels[None, :]
    low = tl.load(at, mask=real, other=0.0).to(tl.float16)
    high = tl.load(at + HALF, mask=real, other=0.0).to(tl.float16)
    ask_low, ask_high = tl.sum(low.to(tl.float32), 1) * 7.5, tl.sum(high.to(tl.float32), 1) * 7.5
    length = tl.load(lengths + batch)
    tiles = tl.cdiv(length, BLOCK_N)
    each = tl.cdiv(tiles, n_splits)
    top = tl.full([ROWS], float("-inf"), tl.float32)
    total = tl.zeros([ROWS], tl.float32)
    out_low = tl.zeros([ROWS, HALF], tl.float32)
    out_high = tl.zeros([ROWS, HALF], tl.float32)
    for tile in tl.range(split * each, tl.minimum(split * each + each, tiles), num_stages=STAGES):
        tokens = tile * BLOCK_N + tokens_in
        valid = tokens < length
        codes = tl.load(k_codes + tokens[None, :] * HALF + channels[:, None], mask=valid[None, :], other=0)
        scale_low = tl.load(k_scales + tokens * 2, mask=valid, other=0.0).to(tl.float32)
        scale_high = tl.load(k_scales + tokens * 2 + 1, mask=valid, other=0.0).to(tl.float32)
        scores = (tl.dot(low, (codes & 15).to(tl.float16)) - ask_low[:, None]) * scale_low[None, :]
        scores += (tl.dot(high, (codes >> 4).to(tl.float16)) - ask_high[:, None]) * scale_high[None, :]
        scores = tl.where(valid[None, :], scores * (sm_scale * 1.4426950408889634), float("-inf"))
        above = tl.maximum(top, tl.max(scores, 1))
        p, fade = tl.exp2(scores - above[:, None]), tl.exp2(top - above)
        top, total = above, total * fade + tl.sum(p, 1)
        codes = tl.load(v_codes + tokens[:, None] * HALF + channels[None, :], mask=valid[:, None], other=0)
        scale_low = tl.load(v_scales + tokens * 2, mask=valid, other=0.0)
        scale_high = tl.load(v_scales + tokens * 2 + 1, mask=valid, other=0.0)
        v_low = ((codes & 15).to(tl.float16) - 7.5) * scale_low[:, None]
        v_high = ((codes >> 4).to(tl.float16) - 7.5) * scale_high[:, None]
        weights = p.to(tl.float16)
        out_low = tl.dot(weights, v_low.to(tl.float16), out_low * fade[:, None])
        out_high = tl.dot(weights, v_high.to(tl.float16), out_high * fade[:, None])
    place = (row * GROUP + queries) * n_splits + split
    at = partial + place[:, None] * (2 * HALF) + channels[None, :]
    tl.store(at, out_low, mask=real)
    tl.store(at + HALF, out_high, mask=real)
    tl.store(stats + place * 2, top, mask=queries < GROUP)
    tl.store(stats + place * 2 + 1, total, mask=queries < GROUP)


def textbook(
    q: torch.Tensor, k_codes: torch.Tensor, k_scales: torch.Tensor, v_codes: torch.Tensor, v_scales: torch.Tensor,
    lengths: torch.Tensor, *, bits: tuple[int, int] = (4, 4), sm_scale: float, out: torch.Tensor | None = None,
    block_n: int = 64, stages: int = 3, programs: int = 528, warps: int = 4, **_: Any,
) -> torch.Tensor:  # fmt: skip
    """decode() by that kernel, for contiguous caches of 4 bits."""
    batch, count, dim = q.shape
    heads, capacity = k_codes.shape[1:3]
    group = count // heads
    splits = max(1, min(programs // (batch * heads), -(-capacity // block_n)))
    partial = torch.empty((batch, count, splits, dim), dtype=torch.float32, device=q.device)
    stats = torch.empty((batch, count, splits, 2), dtype=torch.float32, device=q.device)
    out = torch.empty_like(q) if out is None else out
    _textbook[(splits, heads, batch)](
        q, k_codes, k_scales, v_codes, v_scales, lengths, partial, stats, sm_scale, capacity,
        HEADS=heads, GROUP=group, ROWS=16, HALF=dim // 2, BLOCK_N=block_n, STAGES=stages, num_warps=warps,
    )  # fmt: skip
    padded = triton.next_power_of_2(splits)
    decode_kernel.merge[(batch * count, dim // 32)](
        partial, stats, out, splits, D=dim, SPLITS_PAD=padded, BLOCK_D=32, num_warps=4 if padded <= 256 else 8
    )
    return out
