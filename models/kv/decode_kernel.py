# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator"
"""One decode step of attention over packed keys and values, without unpacking the cache: a Triton split-KV kernel.

A program is one warp. It takes one key-value head and one range of tokens (a split), keeps all queries of the head
together and runs an online softmax over tiles of BLOCK_N tokens; `_merge` joins the splits. Everything is shaped by
the capacity and read by `lengths` on the device, so that a CUDA graph captures it.

What keeps it bound by bytes and not by instructions:
- Keys: a code is an 8-bit integer after one logical operation on four of them (the low nibbles by a mask, the high
  ones by a mask and a flipped top bit: 16 * (code - 8)). The query is rounded to 16 bits as two 8-bit parts, which
  stand in neighbouring columns of the same product; the sums are exact integers.
- Values: a nibble in the low bits of a half-precision number is the denormal code * 2**-24, and tensor cores take
  denormals. Two tokens' words make pairs by one byte permutation, and a mask gives the operand: no conversion.
- Scales are folded: the keys' into the scores, the values' into the weights; `middle` into sums (see packing.py).
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _key_codes(pointers, mask, BITS: tl.constexpr, HIGH_OFFSET: tl.constexpr, ASM: tl.constexpr):
    """Two [BLOCK_N, D / 2] int8 tensors for the two halves of the channels: what `_key_terms` says of them."""
    if BITS == 4:
        raw = tl.load(pointers, mask=mask)
        if ASM:
            low, high = tl.inline_asm_elementwise(
                """
                {
                .reg .b32 all;
                mov.b32 all, $2;
                and.b32 $0, all, 0x0F0F0F0F;
                lop3.b32 $1, all, 0xF0F0F0F0, 0x80808080, 0x6A;
                }
                """,
                "=r,=r,r",
                [raw],
                dtype=(tl.int8, tl.int8),
                is_pure=True,
                pack=4,
            )
        else:
            low = (raw & 0x0F).to(tl.int8)
            high = ((raw & 0xF0) ^ 0x80).to(tl.int8, bitcast=True)
    else:
        low = (tl.load(pointers, mask=mask) ^ 0x80).to(tl.int8, bitcast=True)
        high = (tl.load(pointers + HIGH_OFFSET, mask=mask) ^ 0x80).to(tl.int8, bitcast=True)
    return low, high


@triton.jit
def _bits_as_half(bits):
    return bits.to(tl.int16).to(tl.float16, bitcast=True)


@triton.jit
def _nibbles(words, ASM: tl.constexpr):
    """Eight float16 tensors of the shape of `words`: low nibbles of bytes 0-3 by 2**-24, high ones by 2**-20."""
    if ASM:
        l0, l1, l2, l3, h0, h1, h2, h3 = tl.inline_asm_elementwise(
            """
            {
            .reg .b32 e0, e1, e2, e3;
            prmt.b32 e0, $8, $9, 0x5410;
            prmt.b32 e2, $8, $9, 0x7632;
            shr.u32 e1, e0, 8;
            shr.u32 e3, e2, 8;
            and.b32 $0, e0, 0x000F000F;
            and.b32 $1, e1, 0x000F000F;
            and.b32 $2, e2, 0x000F000F;
            and.b32 $3, e3, 0x000F000F;
            and.b32 $4, e0, 0x00F000F0;
            and.b32 $5, e1, 0x00F000F0;
            and.b32 $6, e2, 0x00F000F0;
            and.b32 $7, e3, 0x00F000F0;
            }
            """,
            "=r,=r,=r,=r,=r,=r,=r,=r,r,r",
            [words],
            dtype=(tl.float16, tl.float16, tl.float16, tl.float16, tl.float16, tl.float16, tl.float16, tl.float16),
            is_pure=True,
            pack=2,
        )
    else:
        l0, h0 = _bits_as_half(words & 0xF), _bits_as_half(words & 0xF0)
        l1, h1 = _bits_as_half((words >> 8) & 0xF), _bits_as_half((words >> 8) & 0xF0)
        l2, h2 = _bits_as_half((words >> 16) & 0xF), _bits_as_half((words >> 16) & 0xF0)
        l3, h3 = _bits_as_half((words >> 24) & 0xF), _bits_as_half((words >> 24) & 0xF0)
    return l0, l1, l2, l3, h0, h1, h2, h3


@triton.jit
def _bytes(words, ASM: tl.constexpr):
    """Four float16 tensors of the shape of `words`: bytes 0-3 by 2**-24."""
    if ASM:
        b0, b1, b2, b3 = tl.inline_asm_elementwise(
            """
            {
            .reg .b32 e0, e2;
            prmt.b32 e0, $4, $5, 0x5410;
            prmt.b32 e2, $4, $5, 0x7632;
            prmt.b32 $0, e0, 0, 0x4240;
            prmt.b32 $1, e0, 0, 0x4341;
            prmt.b32 $2, e2, 0, 0x4240;
            prmt.b32 $3, e2, 0, 0x4341;
            }
            """,
            "=r,=r,=r,=r,r,r",
            [words],
            dtype=(tl.float16, tl.float16, tl.float16, tl.float16),
            is_pure=True,
            pack=2,
        )
    else:
        b0, b1 = _bits_as_half(words & 0xFF), _bits_as_half((words >> 8) & 0xFF)
        b2, b3 = _bits_as_half((words >> 16) & 0xFF), _bits_as_half((words >> 24) & 0xFF)
    return b0, b1, b2, b3


@triton.jit
def _scale_pair(pointers, mask):
    """The two float16 scales of each token, read as one 32-bit word each, as float32."""
    pair = tl.load(pointers, mask=mask)
    return _bits_as_half(pair).to(tl.float32), _bits_as_half(pair >> 16).to(tl.float32)


@triton.jit
def _query_columns(q, step, columns):
    """The int8 operand [D / 2, 2 * groups] of one half of a query: even columns the high byte, odd ones the low."""
    whole = tl.floor(q / step[None, :] + 0.5).to(tl.int32)
    high = (whole + 128) >> 8
    return tl.where((columns % 2 == 0)[None, :], high, whole - (high << 8)).to(tl.int8)


@triton.jit
def _whole_scores(codes, columns, BLOCK_N: tl.constexpr, GROUP_PAD: tl.constexpr):
    """[BLOCK_N, GROUP_PAD] float32: the exact integer products of the codes with the 16-bit query."""
    both = tl.dot(codes, columns, out_dtype=tl.int32)
    high, low = tl.split(tl.reshape(both, [BLOCK_N, GROUP_PAD, 2]))
    return (high * 256 + low).to(tl.float32)


@triton.jit
def _store(target, accumulated, weight, unit, MIDDLE: tl.constexpr, kept):
    """Writes one accumulator [D / 8, columns], with the middle taken off."""
    tl.store(target, accumulated * unit - (weight * MIDDLE)[None, :], mask=kept)


@triton.jit
def splits(
    q,
    k_codes,
    k_scales,
    v_words,
    v_scales,
    lengths,
    pages,
    counts,
    gain,
    partial,
    stats,
    sm_scale,
    k_codes_batch,
    k_codes_head,
    k_scales_batch,
    k_scales_head,
    v_words_batch,
    v_words_head,
    v_scales_batch,
    v_scales_head,
    n_pages,
    HEADS: tl.constexpr,
    GROUP: tl.constexpr,
    GROUP_PAD: tl.constexpr,
    D: tl.constexpr,
    K_BITS: tl.constexpr,
    V_BITS: tl.constexpr,
    BLOCK_N: tl.constexpr,
    PAGE_TOKENS: tl.constexpr,
    EVEN: tl.constexpr,
    ASM: tl.constexpr,
    STAGES: tl.constexpr,
    GAIN: tl.constexpr,
):
    """One split of one key-value head: sums of weighted values to `partial`, maximum and total to `stats`.

    `partial` [B, Hq, S, D] and `stats` [B, Hq, S, 2] are float32. With PAGE_TOKENS the tiles are those of the pages
    in `pages` [B, H, P], of which `counts` [B, H] count; without, those of the first `lengths` tokens. With GAIN the
    queries are first multiplied by `gain` [B, H, D], float32.
    """
    split, head, batch = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    n_splits = tl.num_programs(0)
    HALF: tl.constexpr = D // 2
    WORDS: tl.constexpr = D // 8
    K_ROW: tl.constexpr = D * K_BITS // 8
    V_ROW: tl.constexpr = D * V_BITS // 32
    JOINED: tl.constexpr = GROUP_PAD == 4  # both halves' weights stand in the eight columns of one operand
    COLUMNS: tl.constexpr = 8 if JOINED else GROUP_PAD
    K_MULTIPLY: tl.constexpr = 0.0625 if K_BITS == 4 else 1.0  # of the high half; see _key_codes
    K_LOW: tl.constexpr = -7.5 if K_BITS == 4 else 0.5
    K_HIGH: tl.constexpr = 8.0 if K_BITS == 4 else 0.5
    V_MIDDLE: tl.constexpr = 7.5 if V_BITS == 4 else 127.5

    batch_long = batch.to(tl.int64)
    k_codes += batch_long * k_codes_batch + head.to(tl.int64) * k_codes_head
    k_scales += batch_long * k_scales_batch + head.to(tl.int64) * k_scales_head
    v_words += batch_long * v_words_batch + head.to(tl.int64) * v_words_head
    v_scales += batch_long * v_scales_batch + head.to(tl.int64) * v_scales_head
    first_query = (batch_long * HEADS + head) * GROUP
    q += first_query * D

    # The query, rounded to 16 bits a channel: `step` is the unit, `ask_low` and `ask_high` the sums of the codes.
    channels = tl.arange(0, HALF)
    gain += (batch_long * HEADS + head) * D
    columns = tl.arange(0, 2 * GROUP_PAD)
    at = q + (columns // 2)[None, :] * D + channels[:, None]
    real = (columns < 2 * GROUP)[None, :]
    q_low = tl.load(at, mask=real, other=0.0).to(tl.float32)
    q_high = tl.load(at + HALF, mask=real, other=0.0).to(tl.float32)
    if GAIN:
        q_low *= tl.load(gain + channels)[:, None]
        q_high *= tl.load(gain + HALF + channels)[:, None]
    largest = tl.maximum(tl.max(tl.abs(q_low), axis=0), tl.max(tl.abs(q_high), axis=0))
    step = tl.where(largest > 0.0, largest * (1.0 / 32512.0), 1.0)
    columns_low = _query_columns(q_low, step, columns)
    columns_high = _query_columns(q_high, step, columns)

    queries = tl.arange(0, GROUP_PAD)
    at = q + queries[None, :] * D + channels[:, None]
    real = (queries < GROUP)[None, :]
    q_low = tl.load(at, mask=real, other=0.0).to(tl.float32)
    q_high = tl.load(at + HALF, mask=real, other=0.0).to(tl.float32)
    if GAIN:
        q_low *= tl.load(gain + channels)[:, None]
        q_high *= tl.load(gain + HALF + channels)[:, None]
    largest = tl.maximum(tl.max(tl.abs(q_low), axis=0), tl.max(tl.abs(q_high), axis=0))
    step = tl.where(largest > 0.0, largest * (1.0 / 32512.0), 1.0)
    ask_low = tl.sum(tl.floor(q_low / step[None, :] + 0.5), axis=0)
    ask_high = tl.sum(tl.floor(q_high / step[None, :] + 0.5), axis=0)
    unit = step * sm_scale * 1.4426950408889634  # exp2 takes the place of exp
    unit_low, unit_high = unit, unit * K_MULTIPLY
    ask_low, ask_high = ask_low * unit_low * K_LOW, ask_high * unit_high * K_HIGH

    length = tl.load(lengths + batch)
    if PAGE_TOKENS > 0:
        pages += (batch_long * HEADS + head) * n_pages
        count = tl.load(counts + batch * HEADS + head)
        final = tl.load(pages + tl.maximum(count - 1, 0))
        rest = tl.minimum(length - final * PAGE_TOKENS, PAGE_TOKENS)
        tiles = tl.where(count > 0, (count - 1) * (PAGE_TOKENS // BLOCK_N) + tl.cdiv(rest, BLOCK_N), 0)
    else:
        tiles = tl.cdiv(length, BLOCK_N)
    per_split = tl.cdiv(tiles, n_splits)
    start = split * per_split
    stop = tl.minimum(start + per_split, tiles)

    tokens_in = tl.arange(0, BLOCK_N)
    words = tl.arange(0, WORDS)
    top = tl.full([GROUP_PAD], float("-inf"), tl.float32)
    reference = tl.full([], 5.9604644775390625e-08, tl.float32)  # of the values' scales; the smallest float16
    total = tl.zeros([BLOCK_N, GROUP_PAD], tl.float32)  # kept by tokens: summed once, after the loop
    weight_low = tl.zeros([BLOCK_N, GROUP_PAD], tl.float32)
    weight_high = tl.zeros([BLOCK_N, GROUP_PAD], tl.float32)
    l0 = tl.zeros([WORDS, COLUMNS], tl.float32)
    l1 = tl.zeros([WORDS, COLUMNS], tl.float32)
    l2 = tl.zeros([WORDS, COLUMNS], tl.float32)
    l3 = tl.zeros([WORDS, COLUMNS], tl.float32)
    h0 = tl.zeros([WORDS, COLUMNS], tl.float32)
    h1 = tl.zeros([WORDS, COLUMNS], tl.float32)
    h2 = tl.zeros([WORDS, COLUMNS], tl.float32)
    h3 = tl.zeros([WORDS, COLUMNS], tl.float32)

    for tile in tl.range(start, stop, num_stages=STAGES):
        if PAGE_TOKENS > 0:
            PER_PAGE: tl.constexpr = PAGE_TOKENS // BLOCK_N
            page = tl.load(pages + tile // PER_PAGE)
            tokens = page * PAGE_TOKENS + (tile % PER_PAGE) * BLOCK_N + tokens_in
        else:
            tokens = tile * BLOCK_N + tokens_in
        valid = tokens < length
        row_mask = None if EVEN else valid
        key_mask = None if EVEN else valid[:, None]
        value_mask = None if EVEN else valid[None, :]

        keys = k_codes + tokens[:, None] * K_ROW + channels[None, :]
        codes_low, codes_high = _key_codes(keys, key_mask, K_BITS, HALF, ASM)
        scale_low, scale_high = _scale_pair(k_scales + tokens, row_mask)
        scores = scale_low[:, None] * (
            _whole_scores(codes_low, columns_low, BLOCK_N, GROUP_PAD) * unit_low[None, :] + ask_low[None, :]
        )
        scores += scale_high[:, None] * (
            _whole_scores(codes_high, columns_high, BLOCK_N, GROUP_PAD) * unit_high[None, :] + ask_high[None, :]
        )
        scores = tl.where(valid[:, None], scores, float("-inf"))  # every tile has a valid token: the maximum is finite
        new_top = tl.maximum(top, tl.max(scores, axis=0))
        p = tl.exp2(scores - new_top[None, :])
        shrink = tl.exp2(top - new_top)
        top = new_top
        total = total * shrink[None, :] + p

        scale_low, scale_high = _scale_pair(v_scales + tokens, row_mask)
        scale_low = tl.where(valid, scale_low, 0.0)
        scale_high = tl.where(valid, scale_high, 0.0)
        # Weights are at most 2**14: half precision then keeps its 11 bits over 28 powers of two.
        new_reference = tl.maximum(reference, tl.max(tl.maximum(scale_low, scale_high), axis=0))
        shrink *= reference / new_reference
        reference = new_reference
        per_weight = 16384.0 / reference
        p_low = p * (scale_low * per_weight)[:, None]
        p_high = p * (scale_high * per_weight)[:, None]
        weight_low = weight_low * shrink[None, :] + p_low
        weight_high = weight_high * shrink[None, :] + p_high
        if JOINED:
            low = tl.reshape(tl.join(p_low, p_high), [BLOCK_N, COLUMNS]).to(tl.float16)
            high = low
            by = tl.reshape(tl.join(shrink, shrink), [COLUMNS])[None, :]
        else:
            low = p_low.to(tl.float16)
            high = p_high.to(tl.float16)
            by = shrink[None, :]

        values = v_words + tokens[None, :] * V_ROW + words[:, None]
        packed = tl.load(values, mask=value_mask)
        if V_BITS == 4:
            n0, n1, n2, n3, n4, n5, n6, n7 = _nibbles(packed, ASM)
        else:
            n0, n1, n2, n3 = _bytes(packed, ASM)
            n4, n5, n6, n7 = _bytes(tl.load(values + WORDS, mask=value_mask), ASM)
        l0 = tl.dot(n0, low, l0 * by)
        l1 = tl.dot(n1, low, l1 * by)
        l2 = tl.dot(n2, low, l2 * by)
        l3 = tl.dot(n3, low, l3 * by)
        h0 = tl.dot(n4, high, h0 * by)
        h1 = tl.dot(n5, high, h1 * by)
        h2 = tl.dot(n6, high, h2 * by)
        h3 = tl.dot(n7, high, h3 * by)

    V_LOW: tl.constexpr = 16777216.0  # a code is the half-precision number 2**-24 ...
    V_HIGH: tl.constexpr = 1048576.0 if V_BITS == 4 else 16777216.0  # ... or, in a high nibble, 2**-20
    back = reference * (1.0 / 16384.0)
    sum_low = tl.sum(weight_low, axis=0) * back
    sum_high = tl.sum(weight_high, axis=0) * back
    column = tl.arange(0, COLUMNS)
    if JOINED:
        query = column // 2
        kept_low = (column % 2 == 0) & (query < GROUP)
        kept_high = (column % 2 == 1) & (query < GROUP)
        sum_low = tl.reshape(tl.join(sum_low, sum_low), [COLUMNS])
        sum_high = tl.reshape(tl.join(sum_high, sum_high), [COLUMNS])
    else:
        query = column
        kept_low = query < GROUP
        kept_high = query < GROUP
    target = partial + ((first_query + query) * n_splits + split)[None, :] * D + (words * 4)[:, None]
    every = words[:, None] >= 0
    kept_low = kept_low[None, :] & every
    kept_high = kept_high[None, :] & every
    _store(target, l0, sum_low, back * V_LOW, V_MIDDLE, kept_low)
    _store(target + 1, l1, sum_low, back * V_LOW, V_MIDDLE, kept_low)
    _store(target + 2, l2, sum_low, back * V_LOW, V_MIDDLE, kept_low)
    _store(target + 3, l3, sum_low, back * V_LOW, V_MIDDLE, kept_low)
    target += HALF
    _store(target, h0, sum_high, back * V_HIGH, V_MIDDLE, kept_high)
    _store(target + 1, h1, sum_high, back * V_HIGH, V_MIDDLE, kept_high)
    _store(target + 2, h2, sum_high, back * V_HIGH, V_MIDDLE, kept_high)
    _store(target + 3, h3, sum_high, back * V_HIGH, V_MIDDLE, kept_high)
    place = stats + ((first_query + queries) * n_splits + split) * 2
    tl.store(place, top, mask=queries < GROUP)
    tl.store(place + 1, tl.sum(total, axis=0), mask=queries < GROUP)


@triton.jit
def merge(partial, stats, out, n_splits, D: tl.constexpr, SPLITS_PAD: tl.constexpr, BLOCK_D: tl.constexpr):
    """Joins the splits of one query: out [B, Hq, D]; a query that saw no token gets 0."""
    row = tl.program_id(0).to(tl.int64)
    channels = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)
    split = tl.arange(0, SPLITS_PAD)
    there = split < n_splits
    place = stats + (row * n_splits + split) * 2
    top = tl.load(place, mask=there, other=float("-inf"))
    total = tl.load(place + 1, mask=there, other=0.0)
    highest = tl.max(top, axis=0)
    seen = top > float("-inf")
    by = tl.where(seen, tl.exp2(top - highest), 0.0)
    values = tl.load(
        partial + (row * n_splits + split)[:, None] * D + channels[None, :], mask=there[:, None], other=0.0
    )
    whole = tl.sum(total * by, axis=0)
    mixed = tl.sum(values * by[:, None], axis=0) / tl.where(whole > 0.0, whole, 1.0)
    tl.store(out + row * D + channels, mixed.to(out.dtype.element_ty))
