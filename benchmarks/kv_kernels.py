"""What the CUDA parts of kv_cache.py share: random packed caches, a reference, timing, and the bf16 baseline.

Needs torch and triton, and nothing else of selfroute's dependencies.
"""

from __future__ import annotations

import json
import os
import statistics
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

CACHED = 400_000_000  # bytes of input that repeated calls go through, so that the L2 cache (50 or 60 MB) helps nobody


@dataclass(frozen=True, slots=True)
class Shape:
    """One decode step: sequences, key-value heads, queries a head, head_dim, tokens in the cache."""

    batch: int
    heads: int
    group: int
    dim: int
    tokens: int

    def packed_bytes(self, bits: tuple[int, int]) -> int:
        """Bytes that one step reads of codes and scales."""
        return self.batch * self.heads * self.tokens * (self.dim * (bits[0] + bits[1]) // 8 + 8)

    def plain_bytes(self) -> int:
        """Bytes that one step reads of a bf16 cache."""
        return self.batch * self.heads * self.tokens * self.dim * 4

    def __str__(self) -> str:
        return f"B{self.batch} H{self.heads} G{self.group} D{self.dim} N{self.tokens}"


class Report:
    """Prints lines and, where $OUT is set, writes JSON lines beside."""

    def __init__(self, part: str) -> None:
        folder = os.environ.get("OUT")
        self.path = Path(folder) / f"kv_{part}.jsonl" if folder else None
        self.part = part

    def row(self, **fields: Any) -> None:
        text = json.dumps({"part": self.part, **fields})
        if self.path:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(text + "\n")

    def line(self, text: str) -> None:
        print(text, flush=True)


def packed(shape: Shape, bits: tuple[int, int]) -> tuple[torch.Tensor, ...]:
    """Random codes and scales of keys and values on the device."""
    found: list[torch.Tensor] = []
    for b in bits:
        size = (shape.batch, shape.heads, shape.tokens)
        codes = torch.randint(0, 256, (*size, shape.dim * b // 8), dtype=torch.uint8, device="cuda")
        scales = torch.empty((*size, 2), dtype=torch.float16, device="cuda").uniform_(0.1, 0.3)
        found += [codes, scales * (0.06 if b == 8 else 1.0)]
    return tuple(found)


def unpacked(codes: torch.Tensor, scales: torch.Tensor, bits: int) -> torch.Tensor:
    """The float64 values of packed codes."""
    if bits == 4:
        codes = torch.cat([codes & 15, codes >> 4], -1)
    middle = (2**bits - 1) / 2
    return ((codes.double() - middle).unflatten(-1, (2, -1)) * scales.double()[..., None]).flatten(-2)


def reference(
    q: torch.Tensor, cache: tuple[torch.Tensor, ...], lengths: list[int], bits: tuple[int, int], sm_scale: float
) -> torch.Tensor:
    """Attention in float64 over the values that the codes stand for."""
    out = torch.zeros(q.shape, dtype=torch.float64, device=q.device)
    group = q.shape[1] // cache[0].shape[1]
    for b, length in enumerate(lengths):
        keys = unpacked(cache[0][b, :, :length], cache[1][b, :, :length], bits[0])
        values = unpacked(cache[2][b, :, :length], cache[3][b, :, :length], bits[1])
        scores = torch.einsum("hgd,hnd->hgn", q[b].double().unflatten(0, (-1, group)), keys) * sm_scale
        out[b] = torch.einsum("hgn,hnd->hgd", scores.softmax(-1), values).flatten(0, 1)
    return out


def error_of(decode: Callable[..., torch.Tensor], heads: int, group: int, dim: int, bits: tuple[int, int]) -> float:
    """Relative error of `decode(q, *cache, lengths)` at two lengths, one not a multiple of any tile."""
    shape = Shape(2, heads, group, dim, 4224)
    cache, lengths = packed(shape, bits), [4101, 70]
    q = torch.randn((2, heads * group, dim), dtype=torch.bfloat16, device="cuda")
    out = torch.full((2, heads * group, dim), float("nan"), dtype=torch.float32, device="cuda")
    device = torch.tensor(lengths, dtype=torch.int32, device="cuda")
    decode(q, *cache, device, bits=bits, sm_scale=dim**-0.5, out=out)
    wanted = reference(q, cache, lengths, bits, dim**-0.5)
    return float((out.double() - wanted).norm() / wanted.norm())


def milliseconds(calls: list[Callable[[], Any]], repeats: int = 7, least: float = 4.0) -> tuple[float, float]:
    """(median, spread) of one call: a CUDA graph goes through all `calls`, which read different inputs, in turn.

    Each of `repeats` measurements replays the graph until about `least` milliseconds have gone by.
    """
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for call in calls:
            call()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        kept = [call() for call in calls]
    graph.replay()
    torch.cuda.synchronize()

    def timed(rounds: int) -> float:
        first, last = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        first.record()
        for _ in range(rounds):
            graph.replay()
        last.record()
        last.synchronize()
        return float(first.elapsed_time(last)) / rounds / len(calls)

    rounds = max(1, int(least / max(1e-3, timed(2) * len(calls))))
    found = [timed(rounds) for _ in range(repeats)]
    del kept
    return statistics.median(found), max(found) - min(found)


def copies(size: int) -> int:
    """How many different inputs of `size` bytes make CACHED bytes: 1 to 24."""
    return max(1, min(24, -(-CACHED // max(1, size))))


def queries(shape: Shape) -> torch.Tensor:
    return torch.randn((shape.batch, shape.heads * shape.group, shape.dim), dtype=torch.bfloat16, device="cuda")


def plain_calls(shape: Shape) -> list[Callable[[], torch.Tensor]]:
    """The baseline: SDPA with enable_gqa over a bf16 cache, as StaticCache holds it."""
    q = queries(shape)[:, :, None]
    size = (shape.batch, shape.heads, shape.tokens, shape.dim)

    def one() -> Callable[[], torch.Tensor]:
        k = torch.empty(size, dtype=torch.bfloat16, device="cuda").normal_()
        v = torch.empty(size, dtype=torch.bfloat16, device="cuda").normal_()
        return lambda: torch.nn.functional.scaled_dot_product_attention(q, k, v, enable_gqa=True)

    return [one() for _ in range(copies(shape.plain_bytes()))]


def plain_milliseconds(shape: Shape) -> tuple[float, str]:
    """(median, backend) of the baseline, with the flash backend where it serves; nan where it does not fit."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    if shape.plain_bytes() > 0.9 * free_bytes():
        return float("nan"), f"does not fit: {shape.plain_bytes() / 1e9:.0f} GB"
    calls = plain_calls(shape)
    try:
        with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
            return milliseconds(calls)[0], "flash"
    except RuntimeError as error:
        print(f"flash refused {shape}: {str(error)[:120]}", flush=True)
        return milliseconds(calls)[0], "default"
    finally:
        del calls
        torch.cuda.empty_cache()


def free_bytes() -> int:
    torch.cuda.empty_cache()
    return int(torch.cuda.mem_get_info()[0])


def packed_calls(
    shape: Shape, bits: tuple[int, int], decode: Callable[..., torch.Tensor]
) -> list[Callable[[], torch.Tensor]]:
    """Calls of `decode` over different packed caches of one shape, all full."""
    q = queries(shape)
    lengths = torch.full((shape.batch,), shape.tokens, dtype=torch.int32, device="cuda")

    def one() -> Callable[[], torch.Tensor]:
        cache, out = packed(shape, bits), torch.empty_like(q)
        return lambda: decode(q, *cache, lengths, bits=bits, sm_scale=shape.dim**-0.5, out=out)

    return [one() for _ in range(copies(shape.packed_bytes(bits)))]


def guarded(name: str, work: Callable[[], Any]) -> Any:
    """What `work` returns; an error is printed with its name, and gives None."""
    try:
        return work()
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)[-6:]
        where = " > ".join(f"{frame.name}:{frame.lineno}" for frame in frames)
        print(f"FAILED {name}: {type(error).__name__}: {str(error)[:400]} ({where})", flush=True)
        return None


def copy_rate() -> float:
    """Bytes a second of a large device-to-device copy, read and written."""
    source = torch.empty(2**31, dtype=torch.uint8, device="cuda").random_()
    target = torch.empty_like(source)
    rate = 2 * source.numel() / (milliseconds([lambda: target.copy_(source)])[0] * 1e-3)
    return rate
