"""Launches the split-KV decode kernels of decode_kernel.py: shapes, the number of splits, the merge."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton

from selfroute.errors import ConfigError
from selfroute.models.kv import decode_kernel

MAX_GROUP = 16
HEAD_DIMS = (64, 128, 256)
PROGRAMS = 1056  # of one warp each that an H100 or H200 holds at once: 8 on each of 132 multiprocessors


@dataclass(frozen=True, slots=True)
class Plan:
    """How a decode step is cut up: tokens a tile, tiles in flight, and whether to use PTX (never on a CPU)."""

    block_n: int = 64
    stages: int = 3
    assembly: bool = True
    programs: int = PROGRAMS
    warps: int = 1  # that share a tile

    @classmethod
    def of(cls, group: int) -> Plan:
        """The one that was measured best; half a tile for groups over 8, whose sums would not fit the registers."""
        return cls() if group <= 8 else cls(block_n=32)


def splits_for(plan: Plan, heads: int, tokens: int) -> int:
    """Splits that fill the device once: at least 1, at most one a tile of the capacity."""
    return max(1, min(plan.programs // heads, -(-tokens // plan.block_n)))


def decode(
    q: torch.Tensor,
    k_codes: torch.Tensor,
    k_scales: torch.Tensor,
    v_codes: torch.Tensor,
    v_scales: torch.Tensor,
    lengths: torch.Tensor,
    *,
    bits: tuple[int, int] = (4, 4),
    sm_scale: float,
    n_splits: int | None = None,
    out: torch.Tensor | None = None,
    plan: Plan | None = None,
    gain: torch.Tensor | None = None,
) -> torch.Tensor:
    """Attention of one new token per sequence over packed keys and values (layout: packing.py): [B, Hq, D].

    `q` [B, Hq, D] is already multiplied by the keys' gain, or `gain` float32 [B, H, D] is given and that is done here;
    `lengths` int32 [B] lies on the device, so that a CUDA graph captures the call. Raises ConfigError for shapes that
    the kernel does not serve.
    """
    return launch(
        q, k_codes, k_scales, v_codes, v_scales, lengths, bits=bits, sm_scale=sm_scale, n_splits=n_splits, out=out,
        plan=plan, pages=None, counts=None, page_tokens=0, gain=gain,
    )  # fmt: skip


def launch(
    q: torch.Tensor,
    k_codes: torch.Tensor,
    k_scales: torch.Tensor,
    v_codes: torch.Tensor,
    v_scales: torch.Tensor,
    lengths: torch.Tensor,
    *,
    bits: tuple[int, int],
    sm_scale: float,
    n_splits: int | None,
    out: torch.Tensor | None,
    plan: Plan | None,
    pages: torch.Tensor | None,
    counts: torch.Tensor | None,
    page_tokens: int,
    gain: torch.Tensor | None,
) -> torch.Tensor:
    """Both kernels, dense (`pages` None) or over selected pages."""
    check(q, k_codes, k_scales, v_codes, v_scales, lengths, bits, gain)
    batch, queries, dim = q.shape
    heads, capacity = k_codes.shape[1], k_codes.shape[2]
    group = queries // heads
    plan = plan or Plan.of(group)
    k_words, v_words = k_scales.view(torch.int32), v_scales.view(torch.int32)
    v_codes = v_codes.view(torch.int32)
    reach = capacity if pages is None else pages.shape[2] * page_tokens
    count = n_splits or splits_for(plan, batch * heads, reach)
    partial = torch.empty((batch, queries, count, dim), dtype=torch.float32, device=q.device)
    stats = torch.empty((batch, queries, count, 2), dtype=torch.float32, device=q.device)
    out = torch.empty_like(q) if out is None else out
    decode_kernel.splits[(count, heads, batch)](
        q.contiguous(),
        k_codes,
        k_words,
        v_codes,
        v_words,
        lengths,
        lengths if pages is None else pages,
        lengths if counts is None else counts,
        q if gain is None else gain,
        partial,
        stats,
        sm_scale,
        *k_codes.stride()[:2],
        *k_words.stride()[:2],
        *v_codes.stride()[:2],
        *v_words.stride()[:2],
        0 if pages is None else pages.shape[2],
        HEADS=heads,
        GROUP=group,
        GROUP_PAD=max(4, triton.next_power_of_2(group)),
        D=dim,
        K_BITS=bits[0],
        V_BITS=bits[1],
        BLOCK_N=plan.block_n,
        PAGE_TOKENS=page_tokens,
        EVEN=capacity % plan.block_n == 0,
        ASM=plan.assembly and q.is_cuda,
        STAGES=plan.stages if pages is None else 2 * plan.stages - 1,  # half of them go to the page numbers
        GAIN=gain is not None,
        num_warps=plan.warps,
    )
    padded = triton.next_power_of_2(count)
    block_d = 32 if padded <= 512 else 16
    decode_kernel.merge[(batch * queries, dim // block_d)](
        partial, stats, out, count, D=dim, SPLITS_PAD=padded, BLOCK_D=block_d, num_warps=4 if padded <= 256 else 8
    )
    return out


def check(
    q: torch.Tensor,
    k_codes: torch.Tensor,
    k_scales: torch.Tensor,
    v_codes: torch.Tensor,
    v_scales: torch.Tensor,
    lengths: torch.Tensor,
    bits: tuple[int, int],
    gain: torch.Tensor | None = None,
) -> None:
    """Raises ConfigError for what the kernel would read wrongly."""
    batch, queries, dim = q.shape
    heads, capacity = k_codes.shape[1], k_codes.shape[2]
    if dim not in HEAD_DIMS:
        raise ConfigError(f"the decode kernel serves head_dim {HEAD_DIMS}, not {dim}", "use the CPU attention")
    if any(b not in (4, 8) for b in bits):
        raise ConfigError(f"the decode kernel reads 4 or 8 bits, not {bits}", "choose k8v8, k4v8 or k4v4")
    if queries % heads or not 1 <= queries // heads <= MAX_GROUP:
        raise ConfigError(f"{queries} query heads do not group over {heads} key-value heads", "1 to 16 a group")
    if capacity * dim >= 2**31:
        raise ConfigError(f"{capacity} tokens of head_dim {dim} are more than the decode kernel addresses")
    wanted = [(k_codes, dim * bits[0] // 8), (v_codes, dim * bits[1] // 8), (k_scales, 2), (v_scales, 2)]
    for tensor, last in wanted:
        if tensor.shape != (batch, heads, capacity, last):
            raise ConfigError(f"a packed tensor is {tuple(tensor.shape)}, not {(batch, heads, capacity, last)}")
        if tensor.stride()[2:] != (last, 1):
            raise ConfigError("a packed tensor has gaps between its tokens", "keep its last two axes contiguous")
    if lengths.shape != (batch,) or lengths.dtype != torch.int32:
        raise ConfigError(f"lengths is {lengths.dtype} {tuple(lengths.shape)}, not int32 {(batch,)}")
    if gain is not None and (
        gain.shape != (batch, heads, dim) or gain.dtype != torch.float32 or not gain.is_contiguous()
    ):
        raise ConfigError(f"gain is {gain.dtype} {tuple(gain.shape)}, not float32 {(batch, heads, dim)}")
