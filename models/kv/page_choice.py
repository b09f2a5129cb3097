# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator"
"""The choice of pages on the device: pages.page_products and pages.select_pages as two Triton kernels.

The first reads the summaries once, and only those of pages that the sequence has. The second is one program a head. It
keeps all distances of the head in registers and narrows down a threshold between two of them: distances are not
negative, so that the bits of the float are a whole number of the same order. Guesses are interpolated from how many
pages lie below; after GUESSES of them intervals are halved, as floats and in the end as bits, so that it always ends.
A prefix sum then gives every chosen page its place. Of the same products it chooses what the reference chooses.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from selfroute.errors import ConfigError
from selfroute.models.kv.pages import Summary, check_count

BLOCK = 64  # pages a program of the first kernel
TILE = 16384  # pages that the second holds in registers; more are kept in memory and read again at every guess
MAX_GROUP = 16
NEVER = tl.constexpr(0x7FFFFFFF)  # the key of a page that the sequence does not have
GUESSES = tl.constexpr(12)
HALVINGS = tl.constexpr(12)


@triton.jit
def _products(
    q,
    gain,
    low,
    high,
    scales,
    lengths,
    products,
    tops,
    n_pages,
    HEADS: tl.constexpr,
    GROUP: tl.constexpr,
    GROUP_PAD: tl.constexpr,
    D: tl.constexpr,
    D_PAD: tl.constexpr,
    BLOCK: tl.constexpr,
    PAGE_TOKENS: tl.constexpr,
    GAIN: tl.constexpr,
    BOUNDS: tl.constexpr,
    SCALED: tl.constexpr,
):
    """Products of one block of pages with the queries of one head, and the largest of each query.

    `products` [B, Hq, pages] and `tops` [B, H, blocks, queries a head] are float32.
    """
    block, head, batch = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    row = batch.to(tl.int64) * HEADS + head
    queries, channels = tl.arange(0, GROUP_PAD), tl.arange(0, D_PAD)
    real, inside = queries < GROUP, channels < D
    at = q + (row * GROUP + queries)[None, :] * D + channels[:, None]
    ask = tl.load(at, mask=real[None, :] & inside[:, None], other=0.0).to(tl.float32)
    if GAIN:
        ask *= tl.load(gain + row * D + channels, mask=inside, other=0.0)[:, None]
    largest = tl.max(tl.abs(ask), axis=0)
    unit = tl.where(largest > 0.0, largest, 1.0)
    ask = ask / unit[None, :]

    there = tl.minimum(tl.cdiv(tl.load(lengths + batch), PAGE_TOKENS), n_pages)
    pages = block * BLOCK + tl.arange(0, BLOCK)
    kept = pages < there
    at = (row * n_pages + pages)[:, None] * D + channels[None, :]
    mask = kept[:, None] & inside[None, :]
    codes = tl.load(low + at, mask=mask, other=0.0)
    if BOUNDS:
        more = tl.load(high + at, mask=mask, other=0.0)
        found = tl.dot(codes.to(tl.float16), tl.minimum(ask, 0.0).to(tl.float16))
        found = tl.dot(more.to(tl.float16), tl.maximum(ask, 0.0).to(tl.float16), found)
    else:
        found = tl.dot(codes.to(tl.float16), ask.to(tl.float16))
    found *= unit[None, :]
    if SCALED:
        found *= tl.load(scales + row * n_pages + pages, mask=kept, other=0.0).to(tl.float32)[:, None]
    at = (row * GROUP + queries)[None, :] * n_pages + pages[:, None]
    tl.store(products + at, found, mask=kept[:, None] & real[None, :])
    found = tl.where(kept[:, None], found, float("-inf"))
    at = (row * tl.num_programs(0) + block) * GROUP + queries
    tl.store(tops + at, tl.max(found, axis=0), mask=real)


@triton.jit
def _keys(products, best, queries, row, tile, there, n_pages, GROUP: tl.constexpr, TILE: tl.constexpr):
    """int32 [TILE]: the bits of the distances; -1 of the first and the last page, NEVER of those past the last."""
    pages = tile * TILE + tl.arange(0, TILE)
    distance = tl.full([TILE], float("inf"), tl.float32)
    for query in range(GROUP):
        found = tl.load(products + (row * GROUP + query) * n_pages + pages, mask=pages < there, other=0.0)
        top = tl.max(tl.where(queries == query, best, float("-inf")), axis=0)
        distance = tl.minimum(distance, top - found)
    keys = distance.to(tl.int32, bitcast=True) & NEVER  # no -0.0
    keys = tl.where((pages == 0) | (pages == there - 1), -1, keys)
    return tl.where(pages < there, keys, NEVER)


@triton.jit
def _guess(low, high, low_count, high_count, wanted, step):
    """A key between `low` and `high`, neither of them, where about `wanted` keys may lie below."""
    share = (wanted - low_count).to(tl.float32) / (high_count - low_count).to(tl.float32)
    share = tl.where(step < 3, tl.sqrt(share), share)  # the best pages are few, at first much fewer than linear
    share = tl.where(step < GUESSES, tl.minimum(tl.maximum(share, 0.06), 0.94), 0.5)
    low_float, high_float = low.to(tl.float32, bitcast=True), high.to(tl.float32, bitcast=True)
    guess = (low_float + (high_float - low_float) * share).to(tl.int32, bitcast=True)
    guess = tl.where(step < GUESSES + HALVINGS, guess, low + (high - low) // 2)
    return tl.minimum(tl.maximum(guess, low + 1), high - 1)


@triton.jit
def _choose(
    products,
    tops,
    lengths,
    scratch,
    pages_out,
    counts,
    n_pages,
    n_blocks,
    count,
    HEADS: tl.constexpr,
    GROUP: tl.constexpr,
    GROUP_PAD: tl.constexpr,
    PAGE_TOKENS: tl.constexpr,
    TILE: tl.constexpr,
    TILES: tl.constexpr,
    BLOCKS_PAD: tl.constexpr,
):
    """The `count` pages of one head: `pages_out` [B, H, count] and `counts` [B, H], int32."""
    row = tl.program_id(0).to(tl.int64)
    there = tl.minimum(tl.cdiv(tl.load(lengths + row // HEADS), PAGE_TOKENS), n_pages)
    wanted = tl.minimum(there, count)
    in_tile = tl.arange(0, TILE)
    scratch += row * (TILES * TILE)
    pages_out += row * count
    queries, blocks = tl.arange(0, GROUP_PAD), tl.arange(0, BLOCKS_PAD)
    at = tops + (row * n_blocks + blocks)[:, None] * GROUP + queries[None, :]
    mask = (blocks < n_blocks)[:, None] & (queries < GROUP)[None, :]
    best = tl.max(tl.load(at, mask=mask, other=float("-inf")), axis=0)  # of each query, over all pages there are
    if TILES == 1:
        keys = _keys(products, best, queries, row, 0, there, n_pages, GROUP, TILE)
        largest = tl.max(tl.where(keys < NEVER, keys, 0), axis=0)
    else:
        largest = tl.full([], 0, tl.int32)
        for tile in range(TILES):
            keys = _keys(products, best, queries, row, tile, there, n_pages, GROUP, TILE)
            tl.store(scratch + tile * TILE + in_tile, keys)
            largest = tl.maximum(largest, tl.max(tl.where(keys < NEVER, keys, 0), axis=0))
        tl.debug_barrier()

    # Below `low` lie `low_count` keys, no more than wanted; below `high` `high_count`, no fewer.
    low = tl.full([], 0, tl.int32)
    high = largest + 1
    low_count = tl.minimum(there, 2)
    high_count = there
    step = tl.full([], 0, tl.int32)
    while (high - low > 1) & (low_count < wanted) & (high_count > wanted):
        guess = _guess(low, high, low_count, high_count, wanted, step)
        if TILES == 1:
            below = tl.sum((keys < guess).to(tl.int32), axis=0)
        else:
            below = tl.full([], 0, tl.int32)
            for tile in range(TILES):
                below += tl.sum((tl.load(scratch + tile * TILE + in_tile) < guess).to(tl.int32), axis=0)
        too_few = below <= wanted
        low = tl.where(too_few, guess, low)
        low_count = tl.where(too_few, below, low_count)
        high = tl.where(too_few, high, guess)
        high_count = tl.where(too_few, high_count, below)
        step += 1

    # All keys below `low`, and of those from there to `high`, all equal or all wanted or none, the first `room`.
    room = wanted - low_count
    sure_before = tl.full([], 0, tl.int32)
    border_before = tl.full([], 0, tl.int32)
    for tile in range(TILES):
        if TILES > 1:
            keys = tl.load(scratch + tile * TILE + in_tile)
        sure = (keys < low).to(tl.int32)
        border = ((keys >= low) & (keys < high)).to(tl.int32)
        both = sure | (border << 16)
        sums = tl.cumsum(both, axis=0) - both
        sures, borders = sure_before + (sums & 0xFFFF), border_before + (sums >> 16)
        chosen = (sure > 0) | ((border > 0) & (borders < room))
        pages = tile * TILE + in_tile
        tl.store(pages_out + sures + tl.minimum(borders, room), pages, mask=chosen)
        tl.store(pages_out + pages, -1, mask=(pages >= wanted) & (pages < count))
        if TILES > 1:
            total = tl.sum(both, axis=0)
            sure_before += total & 0xFFFF
            border_before += total >> 16
    tl.store(counts + row, wanted)


def choose(
    q: torch.Tensor,
    pages: Summary,
    lengths: torch.Tensor,
    *,
    page_tokens: int,
    count: int,
    gain: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """pages.choose_pages by the kernels. Queries are rounded to float16, each relative to its largest channel."""
    products, tops = device_products(q, pages, lengths, page_tokens=page_tokens, gain=gain)
    return device_select(products, tops, lengths, page_tokens=page_tokens, count=count)


def device_products(
    q: torch.Tensor, pages: Summary, lengths: torch.Tensor, *, page_tokens: int, gain: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """pages.page_products float32 [B, H, queries a head, pages], and the largest of each block [B, H, blocks, queries].

    Those of pages past a sequence's last are not written. Raises ConfigError for what the kernel would read wrongly.
    """
    first = pages.parts[0]
    batch, heads, n_pages, dim = first.shape
    group = q.shape[1] // heads
    if q.shape != (batch, heads * group, dim) or not 1 <= group <= MAX_GROUP:
        raise ConfigError(f"queries {tuple(q.shape)} do not group over pages {tuple(first.shape)}", "1 to 16 a head")
    if any(not part.is_contiguous() or part.shape != first.shape for part in pages.parts):
        raise ConfigError("a summary of pages has gaps, or its parts are not alike", "make it contiguous")
    if first.dtype != (torch.float16 if pages.scales is None else torch.int8):
        raise ConfigError(f"a summary of pages is {first.dtype}", "float16, or int8 with scales")
    if pages.scales is not None and (pages.scales.shape != first.shape[:3] or not pages.scales.is_contiguous()):
        raise ConfigError(f"scales of pages are {tuple(pages.scales.shape)}, not {tuple(first.shape[:3])}")
    if lengths.shape != (batch,) or lengths.dtype != torch.int32:
        raise ConfigError(f"lengths is {lengths.dtype} {tuple(lengths.shape)}, not int32 {(batch,)}")
    if gain is not None and (
        gain.shape != (batch, heads, dim) or gain.dtype != torch.float32 or not gain.is_contiguous()
    ):
        raise ConfigError(f"gain is {gain.dtype} {tuple(gain.shape)}, not float32 {(batch, heads, dim)}")
    blocks = -(-n_pages // BLOCK)
    products = torch.empty((batch, heads, group, n_pages), dtype=torch.float32, device=q.device)
    tops = torch.empty((batch, heads, blocks, group), dtype=torch.float32, device=q.device)
    _products[(blocks, heads, batch)](
        q.contiguous(),
        q if gain is None else gain,
        first,
        pages.parts[-1],
        first if pages.scales is None else pages.scales,
        lengths,
        products,
        tops,
        n_pages,
        HEADS=heads,
        GROUP=group,
        GROUP_PAD=max(8, triton.next_power_of_2(group)),
        D=dim,
        D_PAD=max(16, triton.next_power_of_2(dim)),
        BLOCK=BLOCK,
        PAGE_TOKENS=page_tokens,
        GAIN=gain is not None,
        BOUNDS=len(pages.parts) == 2,
        SCALED=pages.scales is not None,
        num_warps=4,
    )
    return products, tops


def device_select(
    products: torch.Tensor, tops: torch.Tensor, lengths: torch.Tensor, *, page_tokens: int, count: int, tile: int = TILE
) -> tuple[torch.Tensor, torch.Tensor]:
    """pages.select_pages of what device_products gives; `tile` is a power of two, at most TILE."""
    batch, heads, group, n_pages = products.shape
    check_count(count, n_pages)
    tile = min(tile, max(64, triton.next_power_of_2(n_pages)))
    if tile < n_pages:
        tile = min(tile, TILE // 2)  # the loops over tiles take registers too
    tiles = -(-n_pages // tile)
    chosen = torch.empty((batch, heads, count), dtype=torch.int32, device=products.device)
    counts = torch.empty((batch, heads), dtype=torch.int32, device=products.device)
    scratch = (
        chosen if tiles == 1 else torch.empty((batch, heads, tiles * tile), dtype=torch.int32, device=chosen.device)
    )
    _choose[(batch * heads,)](
        products,
        tops,
        lengths,
        scratch,
        chosen,
        counts,
        n_pages,
        tops.shape[2],
        count,
        HEADS=heads,
        GROUP=group,
        GROUP_PAD=triton.next_power_of_2(group),
        PAGE_TOKENS=page_tokens,
        TILE=tile,
        TILES=tiles,
        BLOCKS_PAD=triton.next_power_of_2(tops.shape[2]),
        num_warps=max(4, min(16, tile // 512)),
    )
    return chosen, counts
