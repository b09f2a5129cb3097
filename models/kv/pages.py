"""Which pages of a packed cache a decode step reads: summaries of the keys, scores, and the choice, in plain torch.

A page is `page_tokens` tokens in a row. Two summaries of its keys choose pages: bounds, the smallest and largest key
of each channel, as in Quest (Tang et al., 2024, arXiv:2406.10774), whose product with a query is no smaller than that
of any key in the page; and centroids, the mean key, whose product is that of an average key. Either is kept in
float16, or in 8 bits and a scale a page, half the bytes to read. Each query's products are taken relative to its best
page, of a group's queries the nearest to its best counts, and the first and the last page are always taken.

This is the reference, and what a CPU runs; on CUDA `choose_pages` hands over to the kernels of page_choice.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from selfroute.errors import ConfigError
from selfroute.models.kv.packing import unpack

STEPS = 126.5  # of a whole-number summary on either side of 0, and half a step for the scale's own rounding


@dataclass(frozen=True, slots=True)
class Summary:
    """What stands for the keys of every page: (centroids,) or (low, high), each [B, H, pages, D] float16 or int8.

    The int8 ones are multiplied by `scales` float16 [B, H, pages]; float16 ones have none.
    """

    parts: tuple[torch.Tensor, ...]
    scales: torch.Tensor | None = None

    def numbers(self) -> list[torch.Tensor]:
        """The parts as float32."""
        if self.scales is None:
            return [part.float() for part in self.parts]
        return [part.float() * self.scales.float()[..., None] for part in self.parts]


def page_bounds(
    codes: torch.Tensor, scales: torch.Tensor, bits: int, page_tokens: int, *, small: bool = False, at_once: int = 1024
) -> Summary:
    """Smallest and largest packed key of every whole page; in 8 bits with `small`, rounded outwards.

    Made `at_once` pages at a time, so that the cache is never unpacked whole. The capacity should be a whole number of
    pages: tokens after the last whole page belong to none.
    """
    blocks = page_blocks(codes, scales, bits, page_tokens, at_once)
    return joined([summary((block.amin(-2), block.amax(-2)), small) for block in blocks])


def page_centroids(
    codes: torch.Tensor, scales: torch.Tensor, bits: int, page_tokens: int, *, small: bool = False, at_once: int = 1024
) -> Summary:
    """Mean packed key of every whole page, made as page_bounds is."""
    blocks = page_blocks(codes, scales, bits, page_tokens, at_once)
    return joined([summary((block.mean(-2),), small) for block in blocks])


def page_blocks(
    codes: torch.Tensor, scales: torch.Tensor, bits: int, page_tokens: int, at_once: int
) -> Iterator[torch.Tensor]:
    """Unpacked keys [B, H, some pages, page_tokens, D], one block after the other."""
    whole = codes.shape[2] // page_tokens * page_tokens
    if not whole:
        raise ConfigError(f"{codes.shape[2]} tokens are no page of {page_tokens}")
    step = at_once * page_tokens
    for start in range(0, whole, step):
        part = slice(start, min(start + step, whole))
        block = unpack(codes[:, :, part], scales[:, :, part], bits)
        yield block.view(*block.shape[:2], -1, page_tokens, block.shape[-1])


def summary(parts: tuple[torch.Tensor, ...], small: bool) -> Summary:
    """One block's Summary of float32 parts: a mean (one part), or a smallest and a largest key (two)."""
    if not small:
        return Summary(tuple(part.half() for part in parts))
    largest = torch.stack([part.abs().amax(-1) for part in parts]).amax(0)
    scales = (largest / STEPS).half()
    step = scales.float()[..., None]
    steps = [torch.where(step > 0, part / step, 0.0) for part in parts]
    if len(parts) == 1:
        steps[0].round_()
    else:
        steps[0].floor_()
        steps[1].ceil_()
    return Summary(tuple(part.clamp_(-127, 127).to(torch.int8) for part in steps), scales)


def joined(blocks: list[Summary]) -> Summary:
    """One Summary of all blocks."""
    parts = tuple(torch.cat(part, 2) for part in zip(*(block.parts for block in blocks), strict=True))
    scales = [block.scales for block in blocks if block.scales is not None]
    return Summary(parts, torch.cat(scales, 2) if scales else None)


def page_products(q: torch.Tensor, pages: Summary, gain: torch.Tensor | None = None) -> torch.Tensor:
    """Products of the queries [B, Hq, D] with every page: float32 [B, H, queries a head, pages].

    With bounds no key of the page has a larger product with the query. `gain` float32 [B, H, D] is that of the keys,
    where `q` is not yet multiplied by it.
    """
    numbers = pages.numbers()
    grouped = q.reshape(len(q), numbers[0].shape[1], -1, q.shape[-1]).float()
    if gain is not None:
        grouped = grouped * gain[:, :, None]
    if len(numbers) == 1:
        return grouped @ numbers[0].mT
    return grouped.clamp(max=0) @ numbers[0].mT + grouped.clamp(min=0) @ numbers[1].mT


def select_pages(
    products: torch.Tensor, lengths: torch.Tensor, page_tokens: int, count: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The `count` best pages of each head, the first and the last always among them: (pages, how many).

    A page's distance is that of its product to the best product of the same query with any page of the sequence, the
    least over the group's queries; the smallest distances win, and of equal ones the earlier page. `pages` int32
    [B, H, count] rises and ends in -1 where a sequence has fewer pages, `how many` is int32 [B, H]. Raises ConfigError
    for a count below 2 or above the pages there are.
    """
    pages = products.shape[-1]
    check_count(count, pages)
    number = torch.arange(pages, device=products.device)
    last = ((lengths.long() - 1) // page_tokens)[:, None, None]
    past = number > last
    products = products.masked_fill(past[:, :, None], float("-inf"))
    distance = (products.amax(-1, keepdim=True) - products).amin(2)
    distance = distance.masked_fill((number == 0) | (number == last), -1.0).masked_fill(past, float("inf"))
    chosen = distance.sort(dim=-1, stable=True).indices[..., :count]
    chosen = chosen.masked_fill(chosen > last, pages).sort(-1).values
    found = chosen < pages
    return chosen.masked_fill(~found, -1).int(), found.sum(-1, dtype=torch.int32)


def check_count(count: int, pages: int) -> None:
    """Raises ConfigError for a count below 2 or above the pages there are."""
    if not 2 <= count <= pages:
        raise ConfigError(f"{count} pages cannot be selected of {pages}", f"between 2 and {pages}")


def choose_pages(
    q: torch.Tensor,
    pages: Summary,
    lengths: torch.Tensor,
    *,
    page_tokens: int,
    count: int,
    gain: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """page_products and select_pages: (pages, how many), what paged_decode takes as `pages` and `counts`.

    On CUDA by two kernels whose shapes do not depend on `lengths`, so that a CUDA graph captures them.
    """
    if q.is_cuda:
        from selfroute.models.kv.page_choice import choose

        return choose(q, pages, lengths, page_tokens=page_tokens, count=count, gain=gain)
    return select_pages(page_products(q, pages, gain), lengths, page_tokens, count)
