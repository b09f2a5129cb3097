"""Decode over selected pages of packed keys and values; pages.py selects them.

The kernel is the dense one with other addresses: with all pages selected its output is the same bit for bit.
"""

from __future__ import annotations

import torch

from selfroute.errors import ConfigError
from selfroute.models.kv.decode import Plan, launch

PAGE_SIZES = (64, 128)


def paged_decode(
    q: torch.Tensor,
    k_codes: torch.Tensor,
    k_scales: torch.Tensor,
    v_codes: torch.Tensor,
    v_scales: torch.Tensor,
    lengths: torch.Tensor,
    pages: torch.Tensor,
    *,
    page_tokens: int,
    counts: torch.Tensor | None = None,
    bits: tuple[int, int] = (4, 4),
    sm_scale: float,
    n_splits: int | None = None,
    out: torch.Tensor | None = None,
    plan: Plan | None = None,
    gain: torch.Tensor | None = None,
) -> torch.Tensor:
    """`decode` over the pages in `pages` int32 [B, H, P]: rising page numbers, then -1 to the end; [B, Hq, D].

    No page may lie wholly past its sequence's length. `counts` int32 [B, H], the pages before the first -1, is counted
    here when it is not given. The split boundaries are those of `decode` when all pages are selected and `n_splits` is
    the same.
    """
    if page_tokens not in PAGE_SIZES:
        raise ConfigError(f"pages of {page_tokens} tokens are not served", f"one of {PAGE_SIZES}")
    plan = plan or Plan.of(q.shape[1] // k_codes.shape[1])
    if page_tokens % plan.block_n:
        raise ConfigError(f"a page of {page_tokens} tokens is no whole number of tiles of {plan.block_n}")
    if pages.dtype != torch.int32 or pages.dim() != 3 or pages.shape[:2] != k_codes.shape[:2]:
        raise ConfigError(f"pages is {pages.dtype} {tuple(pages.shape)}, not int32 [batch, heads, pages]")
    pages = pages.contiguous()
    if counts is None:
        counts = (pages >= 0).sum(-1, dtype=torch.int32)
    return launch(
        q, k_codes, k_scales, v_codes, v_scales, lengths, bits=bits, sm_scale=sm_scale, n_splits=n_splits, out=out,
        plan=plan, pages=pages, counts=counts.contiguous(), page_tokens=page_tokens, gain=gain,
    )  # fmt: skip
