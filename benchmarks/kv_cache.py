"""The quantized KV cache: decode kernels on CUDA, and figures that run anywhere on a CPU.

    python benchmarks/kv_cache.py --device cuda --part tune          # under 90 s: which variant is best
    python benchmarks/kv_cache.py --device cuda --part kernel        # kernel time over lengths, batches, shapes
    python benchmarks/kv_cache.py --device cuda --part pages         # under 40 s: choosing and reading pages
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
    from selfroute.models.kv.paged_decode import paged_decode
    from selfroute.models.kv.pages import Summary, choose_pages, page_bounds, page_centroids

    report = Report("pages")
    shape, page_tokens, scale = Shape(1, 8, 4, 128, 1048576), 64, 128**-0.5
    report.line(f"{torch.cuda.get_device_name(0)}, torch {torch.__version__}, {shape}, pages of {page_tokens} tokens")
    end = time.monotonic() + seconds
    cache = packed(shape, (4, 4))
    lengths = torch.full((1,), shape.tokens, dtype=torch.int32, device="cuda")
    asked = [queries(shape) for _ in range(8)]
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
    summaries = {
        "centroids": page_centroids(*cache[:2], 4, page_tokens),
        "bounds": page_bounds(*cache[:2], 4, page_tokens),
        "8-bit centroids": page_centroids(*cache[:2], 4, page_tokens, small=True),
        "8-bit bounds": page_bounds(*cache[:2], 4, page_tokens, small=True),
    }
    first = report_choice(report, asked[0], summaries, lengths, page_tokens)
    several = {name: [each, *(copied(each) for _ in asked[1:])] for name, each in summaries.items()}
    for share in (0.04, 0.05, 0.08):
        if time.monotonic() > end:
            report.line("no time for more shares")
            break
        count = int(shape.tokens // page_tokens * share)

        def read(i: int, chosen: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
            return paged_decode(
                asked[i], *cache, lengths, chosen[0], counts=chosen[1], page_tokens=page_tokens, sm_scale=scale
            )

        def choose(i: int, held: list[Summary], count: int = count) -> tuple[torch.Tensor, torch.Tensor]:
            return choose_pages(asked[i], held[i], lengths, page_tokens=page_tokens, count=count)

        def both(i: int, held: list[Summary], read: Any = read, choose: Any = choose) -> torch.Tensor:
            return read(i, choose(i, held))

        def old(i: int, count: int = count) -> tuple[torch.Tensor, torch.Tensor]:
            return by_topk(asked[i], several["centroids"][i].parts[0], count)

        every = range(len(asked))
        chosen = [old(i) for i in every]
        calls: dict[str, list[Callable[[], Any]]] = {"read": [partial(read, i, chosen[i]) for i in every]}
        if first:
            for name, held in several.items():
                calls[f"choose by {name}"] = [partial(choose, i, held) for i in every]
                calls[f"choose by {name} and read"] = [partial(both, i, held) for i in every]
        if share == 0.04:
            calls["choose by centroids, torch operations"] = [partial(old, i) for i in every]
        for name, each in calls.items():
            got = guarded(name, lambda each=each: milliseconds(each, repeats=5))
            if got and dense:
                report.line(f"{share:.0%} of the pages, {name}: {got[0]:.4f} ms, dense / this {dense / got[0]:.2f}")
                report.row(share=share, what=name, ms=got[0], spread=got[1], dense_ms=dense, identical=same)


def report_choice(report: Any, q: Any, summaries: dict[str, Any], lengths: Any, page_tokens: int) -> bool:
    """Whether the kernels run; says how far they are from the reference, on the device, by every summary."""
    import torch
    from kv_kernels import guarded, milliseconds

    from selfroute.models.kv.page_choice import device_products, device_select
    from selfroute.models.kv.pages import page_products, select_pages

    def checked(each: Any) -> str:
        products, tops = device_products(q, each, lengths, page_tokens=page_tokens)
        wanted = page_products(q, each)
        error = float((products - wanted).norm() / wanted.norm())
        count = products.shape[-1] // 20
        got = device_select(products, tops, lengths, page_tokens=page_tokens, count=count)
        same = all(map(torch.equal, got, select_pages(products, lengths, page_tokens, count)))
        coarse = (products * 4).round() / 4  # of few different numbers
        heights = coarse.unflatten(-1, (-1, 64)).amax(-1).mT.contiguous()
        got = device_select(coarse, heights, lengths, page_tokens=page_tokens, count=count)
        ties = all(map(torch.equal, got, select_pages(coarse, lengths, page_tokens, count)))
        times = [
            milliseconds([call], repeats=3, least=1.0)[0]
            for call in (
                lambda: device_products(q, each, lengths, page_tokens=page_tokens),
                lambda: device_select(products, tops, lengths, page_tokens=page_tokens, count=count),
            )
        ]
        return f"error {error:.1e}, choice as the reference {same}, ties {ties}, ms a kernel (warm) {times}"

    found = [(name, guarded(name, partial(checked, each))) for name, each in summaries.items()]
    for name, line in found:
        report.line(f"{name}: {line}")
    return all(line for _, line in found)


def copied(summary: Any) -> Any:
    """The same Summary at other addresses."""
    scales = summary.scales
    return type(summary)(tuple(x.clone() for x in summary.parts), None if scales is None else scales.clone())


def by_topk(q: Any, centroids: Any, count: int) -> tuple[Any, Any]:
    """The choice of a full cache by ordinary torch operations, for comparison: ties as topk leaves them."""
    import torch

    grouped = q.reshape(len(q), centroids.shape[1], -1, q.shape[-1]).to(centroids.dtype)
    products = (grouped @ centroids.mT).float()
    scores = (products - products.amax(-1, keepdim=True)).amax(2)
    scores[..., 0] = scores[..., -1] = float("inf")
    chosen = scores.topk(count, dim=-1, sorted=False).indices.sort(-1).values.int()
    return chosen, torch.full(chosen.shape[:2], count, dtype=torch.int32, device=q.device)


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
        if options.part == "snapshot":
            import kv_end_to_end

            kv_end_to_end.snapshot(options.seconds or 600.0, "cpu")
            return
        if options.part:
            parser.error("--part is of the CUDA run, but for snapshot: add --device cuda")
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
