"""The quantized KV cache: decode kernels on CUDA, and figures that run anywhere on a CPU.

    python benchmarks/kv_cache.py --device cuda --part tune          # under 90 s: which variant is best
    python benchmarks/kv_cache.py --device cuda --part kernel        # kernel time over lengths, batches, shapes
    python benchmarks/kv_cache.py --device cuda --part pages         # selected pages against the dense kernel
    python benchmarks/kv_cache.py --device cuda --part end_to_end    # whole models, tokens a second (kv_end_to_end.py)
    python benchmarks/kv_cache.py --device cuda --part memory        # peak of a prefill and decode; 4M tokens held
    python benchmarks/kv_cache.py --device cuda --part snapshot      # a stored prefix of 128K tokens against reading it
    python benchmarks/kv_cache.py --device cpu --tokens 4096         # one JSON object (kv_cpu.py)

Times are medians of 7 measurements with CUDA events around replays of a CUDA graph that goes through different
caches (400 MB of them at least, or one), so that the L2 cache does not help; merging the splits is counted in. The
baseline, SDPA over a bf16 cache with enable_gqa, is timed in the same way in the same run. With $OUT set, JSON lines
go to $OUT/kv_PART.jsonl.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from typing import Any

PARTS = ("tune", "kernel", "pages", "end_to_end", "memory", "snapshot")
SECONDS = {"tune": 80.0, "kernel": 130.0}  # after which a part begins nothing new; 120 for the others


def tune(seconds: float) -> None:
    """Every variant is checked against float64 first; then timed at four shapes, with all numbers of splits."""
    import torch
    from kv_kernels import Report, Shape, copy_rate, error_of, guarded, milliseconds, packed_calls, plain_milliseconds

    from selfroute.models.kv.decode import Plan, decode

    report = Report("tune")
    processors = torch.cuda.get_device_properties(0).multi_processor_count
    report.line(f"{torch.cuda.get_device_name(0)}, {processors} multiprocessors, torch {torch.__version__}")
    report.line(f"copy {guarded('copy', copy_rate) or 0:.3g} B/s read and written")
    shapes = [Shape(1, 8, 4, 128, 131072), Shape(8, 8, 4, 128, 32768), Shape(1, 8, 4, 128, 1048576)]
    variants = [(64, 3, True), (32, 3, True), (32, 4, True), (64, 2, True), (64, 4, True), (128, 2, True),
                (32, 2, True), (16, 4, True), (128, 3, True), (64, 3, False)]  # fmt: skip
    good = []
    end = time.monotonic() + seconds
    for block_n, stages, assembly in variants:
        if time.monotonic() > end - 0.5 * seconds:
            report.line("no time for the other variants")
            break
        run = partial(decode, plan=Plan(block_n=block_n, stages=stages, assembly=assembly))
        error = guarded(f"{block_n} {stages} {assembly}", lambda run=run: error_of(run, 8, 4, 128, (4, 4)))
        report.line(f"tile {block_n} stages {stages} assembly {assembly}: error {error}")
        if error is not None and error < 2e-3:
            good.append((block_n, stages, assembly))
    others = other_designs(processors)
    for name, run in list(others.items()):
        error = guarded(name, lambda run=run: error_of(run, 8, 4, 128, (4, 4)))
        report.line(f"{name}: error {error}")
        if error is None or error > 1e-2:  # half precision throughout: less exact than ours
            del others[name]
    for shape in shapes:
        bf16, backend = guarded(f"sdpa {shape}", lambda shape=shape: plain_milliseconds(shape)) or (float("nan"), "-")
        report.line(f"{shape}: bf16 {bf16:.4f} ms ({backend}), {shape.plain_bytes() / bf16 / 1e9:.2f} TB/s")
        found = []
        for name, run in others.items():
            calls = packed_calls(shape, (4, 4), run)
            got = guarded(name, lambda calls=calls: milliseconds(calls, repeats=5, least=2.0))
            if got:
                report.line(f"  {name}: {got[0]:.4f} ms (+-{got[1]:.4f}) x{bf16 / got[0]:.2f}")
                report.row(shape=str(shape), variant=name, ms=got[0], spread=got[1], bf16_ms=bf16)
        for block_n, stages, assembly in good:
            for each in (4, 6, 8, 10, 12, 16, 24):
                if time.monotonic() > end:
                    break
                plan = Plan(block_n=block_n, stages=stages, assembly=assembly, programs=each * processors)
                calls = packed_calls(shape, (4, 4), partial(decode, plan=plan))
                name = f"tile {block_n} stages {stages} a multiprocessor {each} assembly {assembly}"
                got = guarded(name, lambda calls=calls: milliseconds(calls, repeats=5, least=2.0))
                if got:
                    found.append((got[0], name, got[1]))
                    report.row(shape=str(shape), variant=name, ms=got[0], spread=got[1], bf16_ms=bf16)
        for ms, name, spread in sorted(found)[:8]:
            rate = shape.packed_bytes((4, 4)) / ms / 1e9
            report.line(f"  {ms:.4f} ms (+-{spread:.4f}) {rate:.2f} TB/s x{bf16 / ms:.2f}  {name}")
        for ms, name, _ in sorted(found)[-2:]:
            report.line(f"  worst {ms:.4f} ms  {name}")


def other_designs(processors: int) -> dict[str, Callable[..., Any]]:
    """Name -> decode: the textbook kernel with 2 or 4 programs a multiprocessor, and ours with more warps a tile."""
    from kv_variants import textbook

    from selfroute.models.kv.decode import Plan, decode

    found: dict[str, Callable[..., Any]] = {
        f"textbook, tile {block_n}, {each} a multiprocessor": partial(
            textbook, block_n=block_n, programs=each * processors
        )
        for block_n in (64, 128)
        for each in (2, 4)
    }
    for warps, block_n, each in ((2, 128, 4), (4, 128, 2)):
        plan = Plan(block_n=block_n, stages=3, programs=each * processors, warps=warps)
        found[f"ours, {warps} warps over a tile of {block_n}"] = partial(decode, plan=plan)
    return found


def kernel(seconds: float) -> None:
    """Kernel time against the bf16 baseline: tokens, batches, head_dim, group sizes, bits."""
    import torch
    from kv_kernels import Report, Shape, copy_rate, error_of, free_bytes, guarded, milliseconds, packed_calls
    from kv_kernels import plain_milliseconds as plain

    from selfroute.models.kv.decode import decode

    report = Report("kernel")
    end = time.monotonic() + seconds
    report.line(f"{torch.cuda.get_device_name(0)}, torch {torch.__version__}")
    report.line(f"copy {guarded('copy', copy_rate) or 0:.3g} B/s read and written")
    lengths = (8192, 32768, 131072, 524288, 1048576)
    settings = [(dim, group) for dim in (128, 64) for group in (4, 8)]
    todo = [(Shape(batch, 32 // group, group, dim, n)) for dim, group in settings for batch in (1, 8) for n in lengths]
    for dim, group in settings:
        for bits in ((4, 4), (4, 8), (8, 8)):
            name = f"D{dim} G{group} bits {bits}"
            error = guarded(name, lambda d=dim, g=group, b=bits: error_of(decode, 32 // g, g, d, b))
            report.line(f"{name}: error {error}")
            report.row(check=name, error=error)
    for shape in todo:
        if time.monotonic() > end:
            report.line(f"no time for {shape} and what follows")
            break
        bf16, backend = guarded(f"sdpa {shape}", lambda s=shape: plain(s)) or (float("nan"), "failed")
        presets = ((4, 4), (4, 8), (8, 8)) if (shape.dim, shape.group) == (128, 4) else ((4, 4),)
        for bits in presets:
            size = shape.packed_bytes(bits)
            if size > 0.9 * free_bytes():
                report.line(f"{shape} {bits}: does not fit, {size / 1e9:.0f} GB")
                continue
            got = guarded(f"{shape} {bits}", lambda s=shape, b=bits: milliseconds(packed_calls(s, b, decode)))
            if not got:
                continue
            rate, speed_up = size / got[0] * 1e3, bf16 / got[0]
            report.line(
                f"{shape} k{bits[0]}v{bits[1]}: {got[0]:.4f} ms (+-{got[1]:.4f}) {rate / 1e12:.2f} TB/s, "
                f"bf16 {bf16:.4f} ms ({backend}) {shape.plain_bytes() / bf16 / 1e9:.2f} TB/s, x{speed_up:.2f}"
            )
            report.row(
                shape=str(shape), bits=bits, ms=got[0], spread=got[1], bytes=size, bytes_per_second=rate,
                bf16_ms=bf16, bf16_bytes=shape.plain_bytes(), backend=backend, speed_up=speed_up,
            )  # fmt: skip


def pages(seconds: float) -> None:
    """Selected pages against the dense int4 kernel at 1M tokens: the kernel alone, the choice alone, and both."""
    import torch
    from kv_kernels import Report, Shape, guarded, milliseconds, packed, queries

    from selfroute.models.kv.decode import decode
    from selfroute.models.kv.paged_decode import (
        bound_scores,
        centroid_scores,
        page_bounds,
        page_centroids,
        paged_decode,
        select_pages,
    )

    report = Report("pages")
    shape, page_tokens, scale = Shape(1, 8, 4, 128, 1048576), 64, 128**-0.5
    report.line(f"{torch.cuda.get_device_name(0)}, torch {torch.__version__}, {shape}, pages of {page_tokens} tokens")
    end = time.monotonic() + seconds
    cache = packed(shape, (4, 4))
    lengths = torch.full((1,), shape.tokens, dtype=torch.int32, device="cuda")
    asked = [queries(shape) for _ in range(4)]
    dense = guarded("dense", lambda: milliseconds([lambda: decode(asked[0], *cache, lengths, sm_scale=scale)])[0])
    report.line(f"dense {dense} ms")
    everything = torch.arange(shape.tokens // page_tokens, dtype=torch.int32, device="cuda").expand(1, 8, -1)
    whole = decode(asked[0], *cache, lengths, sm_scale=scale)
    same = guarded(
        "all pages",
        lambda: torch.equal(
            whole, paged_decode(asked[0], *cache, lengths, everything, page_tokens=page_tokens, sm_scale=scale)
        ),
    )
    report.line(f"all pages bit-identical to dense: {same}")
    low, high = page_bounds(*cache[:2], 4, page_tokens)
    bounds = [(low.clone(), high.clone()) for _ in range(4)]
    means = page_centroids(*cache[:2], 4, page_tokens)
    centroids = [means.clone() for _ in range(4)]
    for share in (0.04, 0.05, 0.08):
        if time.monotonic() > end:
            report.line("no time for more shares")
            break
        count = int(shape.tokens // page_tokens * share)
        random = [select_pages(torch.rand_like(low[..., 0].float()), lengths, page_tokens, count) for _ in range(8)]

        def read(i: int, chosen: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
            return paged_decode(
                asked[i % 4], *cache, lengths, chosen[0], counts=chosen[1], page_tokens=page_tokens, sm_scale=scale
            )

        def by_bounds(i: int, count: int = count) -> tuple[torch.Tensor, torch.Tensor]:
            return select_pages(bound_scores(asked[i], *bounds[i]), lengths, page_tokens, count)

        def by_centroids(i: int, count: int = count) -> tuple[torch.Tensor, torch.Tensor]:
            return select_pages(centroid_scores(asked[i], centroids[i]), lengths, page_tokens, count)

        calls = {
            "read": [partial(read, i, chosen) for i, chosen in enumerate(random)],
            "choose by bounds": [partial(by_bounds, i) for i in range(4)],
            "choose by centroids": [partial(by_centroids, i) for i in range(4)],
            "bounds and read": [lambda i=i, read=read, by=by_bounds: read(i, by(i)) for i in range(4)],
            "centroids and read": [lambda i=i, read=read, by=by_centroids: read(i, by(i)) for i in range(4)],
        }
        for name, each in calls.items():
            got = guarded(name, lambda each=each: milliseconds(each))
            if got and dense:
                report.line(f"{share:.0%} of the pages, {name}: {got[0]:.4f} ms, dense / this {dense / got[0]:.2f}")
                report.row(share=share, what=name, ms=got[0], spread=got[1], dense_ms=dense, identical=same)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cpu")
    parser.add_argument("--part", choices=PARTS, help="one part of the CUDA run; without it, all of them")
    parser.add_argument("--tokens", type=int, default=4096)
    parser.add_argument(
        "--seconds", type=float, help="stop a part after about so long (default: 80 tune, 130 kernel, 120 others)"
    )
    options = parser.parse_args()
    if options.device == "cpu":
        if options.part:
            parser.error("--part is of the CUDA run: add --device cuda")
        import kv_cpu

        kv_cpu.run(options.tokens)
        return
    from kv_kernels import guarded

    work: dict[str, Callable[[float], None]] = {"tune": tune, "kernel": kernel, "pages": pages}
    for part in [options.part] if options.part else PARTS:
        start = time.monotonic()
        if part not in work:  # these need transformers too
            import kv_end_to_end

            work[part] = getattr(kv_end_to_end, part)
        run = partial(work[part], options.seconds or SECONDS.get(part, 120.0))
        guarded(part, run)
        print(f"{part}: {time.monotonic() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main()
