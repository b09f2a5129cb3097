"""Decode over selected pages of packed keys and values, and the selection itself.

A page is `page_tokens` tokens in a row. Two summaries of its keys choose pages: bounds, the smallest and largest key
of each channel, as in Quest (Tang et al., 2024, arXiv:2406.10774), whose score is no smaller than that of any key in
the page; and centroids, the mean key, whose score is that of an average key. The first and last pages are always
taken. The kernel is the dense one with other addresses: with all pages selected its output is the same bit for bit.
"""

from __future__ import annotations

from collections.abc import Iterator

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


def key_values(codes: torch.Tensor, scales: torch.Tensor, bits: int) -> torch.Tensor:
    """Packed keys [..., N, D * bits / 8] as float32 [..., N, D]."""
    if bits == 4:
        codes = torch.cat([codes & 15, codes >> 4], -1)
    middle: float = (2**bits - 1) / 2
    halves = (codes.float() - middle).view(*codes.shape[:-1], 2, codes.shape[-1] // 2)
    return (halves * scales.float()[..., None]).flatten(-2)


def page_bounds(
    codes: torch.Tensor, scales: torch.Tensor, bits: int, page_tokens: int, *, pages_at_once: int = 1024
) -> tuple[torch.Tensor, torch.Tensor]:
    """Smallest and largest packed key of every whole page: two float16 [B, H, pages, D].

    Made a block of pages at a time, so that the cache is never unpacked whole. The capacity should be a whole number of
    pages: tokens after the last whole page belong to none.
    """
    low, high = [], []
    for block in page_blocks(codes, scales, bits, page_tokens, pages_at_once):
        low.append(block.amin(-2).half())
        high.append(block.amax(-2).half())
    return torch.cat(low, 2), torch.cat(high, 2)


def page_centroids(
    codes: torch.Tensor, scales: torch.Tensor, bits: int, page_tokens: int, *, pages_at_once: int = 1024
) -> torch.Tensor:
    """Mean packed key of every whole page: float16 [B, H, pages, D]."""
    blocks = page_blocks(codes, scales, bits, page_tokens, pages_at_once)
    return torch.cat([block.mean(-2).half() for block in blocks], 2)


def page_blocks(
    codes: torch.Tensor, scales: torch.Tensor, bits: int, page_tokens: int, pages_at_once: int
) -> Iterator[torch.Tensor]:
    """Unpacked keys [B, H, some pages, page_tokens, D], one block after the other."""
    whole = codes.shape[2] // page_tokens * page_tokens
    step = pages_at_once * page_tokens
    for start in range(0, whole, step):
        part = slice(start, min(start + step, whole))
        block = key_values(codes[:, :, part], scales[:, :, part], bits)
        yield block.view(*block.shape[:2], -1, page_tokens, block.shape[-1])


def bound_scores(q: torch.Tensor, low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
    """[B, H, pages] float32: no key of the page has a larger product with any of the head's queries.

    The scores of each query are taken relative to its best page, and of the group's queries the largest counts.
    """
    grouped = q.reshape(len(q), low.shape[1], -1, q.shape[-1]).to(low.dtype)
    products = grouped.clamp(min=0) @ high.mT + grouped.clamp(max=0) @ low.mT
    return over_the_group(products)


def centroid_scores(q: torch.Tensor, centroids: torch.Tensor) -> torch.Tensor:
    """[B, H, pages] float32: products with the pages' mean keys, the group's queries joined as in bound_scores."""
    grouped = q.reshape(len(q), centroids.shape[1], -1, q.shape[-1]).to(centroids.dtype)
    return over_the_group(grouped @ centroids.mT)


def over_the_group(products: torch.Tensor) -> torch.Tensor:
    """[B, H, queries, pages] -> [B, H, pages] float32."""
    products = products.float()
    return (products - products.amax(-1, keepdim=True)).amax(2)


def select_pages(
    scores: torch.Tensor, lengths: torch.Tensor, page_tokens: int, count: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The `count` best pages of each head, the first and the last always among them: (pages, how many).

    `pages` int32 [B, H, count] rises and ends in -1 where a sequence has fewer pages; shapes do not depend on
    `lengths`, so a CUDA graph captures it. Raises ConfigError for a count below 2 or above the pages there are.
    """
    pages = scores.shape[-1]
    if not 2 <= count <= pages:
        raise ConfigError(f"{count} pages cannot be selected of {pages}", f"between 2 and {pages}")
    number = torch.arange(pages, device=scores.device)
    last = ((lengths.long() - 1) // page_tokens)[:, None, None]
    scores = scores.masked_fill((number == 0) | (number == last), float("inf"))
    scores = scores.masked_fill(number > last, float("-inf"))
    best = scores.topk(count, dim=-1, sorted=False)
    chosen = best.indices.masked_fill(best.values == float("-inf"), pages).sort(-1).values
    found = chosen < pages
    return chosen.masked_fill(~found, -1).int(), found.sum(-1, dtype=torch.int32)
