"""Dense reading: the same bits by any number of threads, and right. Selecting: the pages that matter, the same bits."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from selfroute.memory.pages.pager import Pager
from selfroute.memory.pages.store import PageStore
from selfroute.memory.pages.streamed import Streamed
from selfroute.models.paged.config import PagedConfig
from selfroute.models.paged.fields import PAGE, Row, layout_of, rows_of
from selfroute.models.paged.keeping import kept_of
from selfroute.models.paged.model import PagedReader
from selfroute.models.paged.reading import GlobalRead, Reading
from selfroute.models.paged.scanning import Asked, Packed, Scratch, blocks_of, in_order, part_of, slice_for
from selfroute.models.paged.selecting import best_starts, choose
from selfroute.types import Chunk

TINY = PagedConfig(
    width=48, layers=1, heads=2, inner=32, conv_layers=1, head_dim=16, global_inner=32, pointer=16, page=24
)
Kept = tuple[NDArray[np.int32], dict[str, NDArray[Any]]]


def weights(seed: int = 0) -> dict[str, NDArray[np.float32]]:
    torch.manual_seed(seed)
    model = PagedReader(TINY, torch.zeros(8, TINY.width))
    found = {
        name: (p + torch.randn_like(p) * 0.1).detach().numpy()
        for name, p in model.named_parameters()
        if name.startswith(("reads", "pointer", "word"))
    }
    found["word.asks.bias"] -= 100  # no question asks for counting
    return found


def reader(threads: int, kv: str = "k4v4") -> GlobalRead:
    return GlobalRead(TINY, weights(), rows_of(TINY, kv), threads)


def pages(n: int, kv: str = "k4v4", seed: int = 0) -> list[dict[str, NDArray[Any]]]:
    """Pages of 3 to 90 tokens with random states."""
    rng = np.random.default_rng(seed)
    own, rows = weights(), rows_of(TINY, kv)
    sizes = rng.integers(3, 90, n)
    return [kept_of(TINY, own, rows, rng.standard_normal((int(T), TINY.width)).astype(np.float32)) for T in sizes]


def together(made: list[dict[str, NDArray[Any]]]) -> Kept:
    lengths = np.array([len(page["start" if "start" in page else "k0"]) for page in made], np.int32)
    return lengths, {
        name: np.stack([p[name] for p in made]) if name == PAGE else np.concatenate([p[name] for p in made])
        for name in made[0]
    }


def states(seed: int = 1) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((TINY.readers, TINY.width)).astype(np.float32)


def same(one: Reading, other: Reading) -> bool:
    return _fields(one) == _fields(other)


def _fields(reading: Reading) -> tuple[Any, ...]:
    return (
        reading.pages.tobytes(), reading.spans, reading.null, reading.mass, reading.entropy, reading.attended,
        reading.n_read,
    )  # fmt: skip


@settings(max_examples=30, deadline=None)
@given(
    bits=st.sampled_from((4, 8, 16)),
    heads=st.sampled_from((0, 1, 2)),
    n=st.integers(1, 2500),
    queries=st.sampled_from((1, 2, 8)),
    seed=st.integers(0, 99),
)
def test_products_are_those_of_unpacked_rows(bits: int, heads: int, n: int, queries: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    row = Row("x", (heads, 16) if heads else (16,), bits)
    arrays = row.packed(rng.standard_normal((n, *row.shape)).astype(np.float32))
    q = rng.standard_normal((max(1, heads), queries, 16)).astype(np.float32)
    x = row.unpacked(arrays).reshape(n, max(1, heads), 16).astype(np.float64)
    asked = Asked(row, q)
    scores, weighed = [], np.zeros((max(1, heads), queries, 16))
    for first, stop in blocks_of(n, 2048, asked.slice):
        packed = Packed(row, part_of(row, arrays, first, stop), Scratch())
        found = packed.scores(asked)
        scores.append(found.transpose(0, 2, 1, 3).reshape(max(1, heads), queries, -1).copy())
        weighed += packed.weighed(found.copy())
    exact = np.einsum("hrd,nhd->hrn", q, x)
    assert np.allclose(np.concatenate(scores, -1), exact, atol=2e-5)
    assert np.allclose(weighed, np.einsum("hrn,nhd->hrd", exact, x), atol=2e-3)


@given(n=st.integers(0, 40_000), width=st.integers(1, 9000), slice_=st.sampled_from((1, 64, 256, 1024)))
def test_blocks_cover_all_tokens_in_whole_slices(n: int, width: int, slice_: int) -> None:
    blocks = blocks_of(n, width, slice_)
    assert [token for first, stop in blocks for token in (first, stop)][1:-1:2] == [b[0] for b in blocks][1:]
    assert sum(stop - first for first, stop in blocks) == n
    assert all((stop - first) % slice_ == 0 for first, stop in blocks[:-1])
    assert not blocks or blocks[-1][1] - blocks[-1][0] < slice_ or (blocks[-1][1] - blocks[-1][0]) % slice_ == 0


def test_products_are_small_enough_for_one_thread_of_blas() -> None:
    for rows, width in ((8, 32), (8, 64), (2, 32), (64, 64)):
        assert rows * width * slice_for(rows, width) <= 1 << 18
    assert slice_for(1, 32) * 32 <= 9216


def test_what_blocks_raise_is_raised_and_order_is_kept() -> None:
    def work(first: int, stop: int, scratch: Scratch) -> int:
        if first == 30:
            raise KeyError(first)
        return first

    blocks = [(i, i + 1) for i in range(30)]
    assert list(in_order(work, blocks, 3)) == list(range(30))
    with pytest.raises(KeyError):
        list(in_order(work, [*blocks, (30, 31)], 3))


@pytest.mark.parametrize("kv", ["bf16", "k8v8", "k4v4"])
@pytest.mark.parametrize("select", [0, 40])
def test_threads_change_no_bit(kv: str, select: int) -> None:
    lengths, arrays = together(pages(600, kv))
    assert int(lengths.sum()) > 2 * 8192
    first = reader(1, kv).read(states(), lengths, arrays, select=select)
    for threads in (2, 3, 5):
        assert same(first, reader(threads, kv).read(states(), lengths, arrays, select=select))
    assert first.n_read == (select or 600)


def test_a_layer_is_exact() -> None:
    lengths, arrays = together(pages(300))
    own, x = reader(2), states()
    n = int(lengths.sum())
    size = own.size_of(n)
    found, _ = own.attend(0, x, size, arrays, n)
    w = {name: array.astype(np.float64) for name, array in weights().items()}

    def linear(name: str, y: NDArray[np.float64]) -> NDArray[np.float64]:
        return y @ w[name + ".weight"].T + w[name + ".bias"]

    def norm(name: str, y: NDArray[np.float64]) -> NDArray[np.float64]:
        c = y - y.mean(-1, keepdims=True)
        return c / np.sqrt((c**2).mean(-1, keepdims=True) + 1e-5) * w[name + ".weight"] + w[name + ".bias"]

    k, v = (own.rows[name].unpacked(arrays).astype(np.float64) for name in ("k0", "v0"))
    q = linear("reads.0.query", norm("reads.0.norm", x.astype(np.float64))).reshape(len(x), 4, 16)
    q *= (np.exp(w["reads.0.sharpness"]) * size)[:, None] / np.linalg.norm(q, axis=-1, keepdims=True)
    read = np.empty_like(q)
    for head in range(4):
        p = np.exp(q[:, head] @ k[:, head // 2].T)
        read[:, head] = p @ v[:, head // 2] / p.sum(1, keepdims=True)
    y = x + linear("reads.0.out", read.reshape(len(x), -1))
    inner = linear("reads.0.inner", norm("reads.0.inner_norm", y))
    y += linear("reads.0.outer", inner * 0.5 * (1 + np.vectorize(math.erf)(inner / math.sqrt(2))))
    assert np.allclose(found, y, atol=1e-5)


def test_the_page_that_is_pointed_at_is_chosen() -> None:
    own, x = reader(2), states()
    made = pages(200)
    lengths, arrays = together(made)
    query = own._asked_of(own._norm("pointer.norm", x), own.size_of(int(lengths.sum())), "start")
    packed = own.rows["start"].packed((query / np.linalg.norm(query))[None])  # what a token of page 77 answers
    made[77] = {**made[77], **{name: np.concatenate([packed[name], made[77][name][1:]]) for name in packed}}
    lengths, arrays = together(made)
    offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    starts = own.rows["start"].unpacked(arrays) @ query
    best = best_starts(own.rows["start"], query, arrays, offsets, 3)
    assert np.allclose(best, np.maximum.reduceat(starts, offsets[:-1]), atol=1e-4) and best.argmax() == 77
    chosen = own.chosen(x, offsets, arrays, 16)
    assert len(chosen) == 16 and 77 in chosen and (np.diff(chosen) > 0).all()
    found = own.read(x, lengths, arrays, select=16)
    assert set(np.flatnonzero(np.isfinite(found.pages)).tolist()) == set(chosen.tolist())
    assert {span.page for span in found.spans} <= set(chosen.tolist())
    everything = own.read(x, lengths, arrays)
    assert same(everything, own.read(x, lengths, arrays, select=200)) and everything.n_read == 200


@given(seed=st.integers(0, 999), P=st.integers(1, 60), n=st.integers(1, 70), ties=st.booleans())
def test_choosing_takes_the_best_by_start_and_by_key(seed: int, P: int, n: int, ties: bool) -> None:
    rng = np.random.default_rng(seed)
    by_start = rng.standard_normal(P).astype(np.float32)
    if ties:
        by_start = np.round(by_start)
    by_key = rng.standard_normal(P).astype(np.float32)
    chosen = choose(by_start, by_key, n).tolist()
    assert len(set(chosen)) == len(chosen) == min(n, P) and chosen == sorted(chosen)
    assert int(by_start.argmax()) in chosen
    if n >= 2:  # half of them by key
        assert int(by_key.argmax()) in chosen


@pytest.mark.parametrize("select", [0, 30])
def test_what_memory_does_not_hold_is_read_to_the_same_bits(tmp_path: Path, select: int) -> None:
    made = pages(400)
    by_hash = {f"{n * 7919 % 400:032x}": page for n, page in enumerate(made)}
    chunks = [Chunk(name, name, "a.txt", 1, 1, name, "", "text", 1) for name in by_hash]
    layout = layout_of(TINY, "k4v4", "00")
    with PageStore.open(tmp_path / "pages") as store:
        pager = Pager(store, layout, lambda new: [by_hash[chunk.content_hash] for chunk in new], host_bytes=1 << 20)
        resident = pager.page_in(chunks)
        whole = {name: np.array(array) for name, array in resident.arrays().items()}
        first = reader(1).read(states(), resident.lengths, whole, select=select)
        other = pager.page_in(chunks[::-1])
        assert same(first, reader(3).read(states(), other.lengths, Streamed(other), select=select))
