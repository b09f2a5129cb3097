"""The CUDA parts of kv_cache.py that run whole models: tokens a second, memory, and reloading a prefix."""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from kv_kernels import Report, free_bytes, guarded, milliseconds
from kv_models import (
    GRANITE,
    LLAMA,
    SPARE,
    build,
    clear,
    dynamic_cache,
    graph_of,
    nothing_cache,
    packed_cache,
    plain_bytes,
    plain_cache,
    step_milliseconds,
    timed_graph,
)

from selfroute.models.kv.presets import Bits
from selfroute.models.kv.step import Count, stepped, stepping

LENGTHS = {GRANITE: (131072, 524288, 1048576), LLAMA: (131072, 524288)}
FILLED = {GRANITE: 1 << 20, LLAMA: 1 << 17}  # tokens that lie there before the peak of the last block is taken
K4V4 = Bits(4, 4)
GRAPH = "in a CUDA graph"


def end_to_end(seconds: float) -> None:
    """Tokens a second of a whole model at batch 1: packed, bf16, and without attention for the bound."""
    import transformers

    report, end = Report("end_to_end"), time.monotonic() + seconds
    report.line(f"{torch.cuda.get_device_name(0)}, torch {torch.__version__}, transformers {transformers.__version__}")
    report.line(
        "(b): bf16 in static room, SDPA flash with enable_gqa on the valid prefix, CUDA graph; bound: (b) over the "
        "step without attention plus the packed attention alone"
    )
    for name, lengths in LENGTHS.items():
        clear()
        start = time.monotonic()
        model = guarded(f"build {name}", lambda name=name: build(name))
        if model is None:
            continue
        weights = sum(p.nbytes for p in model.parameters())
        report.line(f"{name}: {weights / 1e9:.2f} GB of weights, built in {time.monotonic() - start:.1f} s")
        rest = guarded(f"{name} without attention", lambda m=model, t=lengths[0]: _without(m, t))
        if rest:
            report.line(f"{name} step without attention: {rest[0]:.3f} ms (+-{rest[1]:.3f}) {rest[2] or GRAPH}")
        guarded(f"{name} same tokens", lambda m=model: _agree(m, report))
        model.set_attn_implementation("sdpa")
        for tokens in lengths:
            if time.monotonic() > end:
                report.line(f"no time for {name} at {tokens} and what follows")
                break
            guarded(f"{name} {tokens}", lambda m=model, n=name, t=tokens, r=rest: _row(m, n, t, r, report))
            if tokens == lengths[0]:
                guarded(f"{name} eager", lambda m=model, n=name, t=tokens: _eager(m, n, t, report))
                guarded(f"{name} StaticCache", lambda m=model, n=name, t=tokens: _static(m, n, t, report))
                if name == LLAMA:
                    guarded(f"{name} QuantizedCache", lambda m=model, n=name, t=tokens: _quantized(m, n, t, report))
            clear()
        del model


def _without(model: Any, tokens: int) -> tuple[float, float, str]:
    count = Count.of(tokens, 1, model.device)
    return timed_graph(model, nothing_cache(model, tokens, count), count)


def _row(model: Any, name: str, tokens: int, rest: Any, report: Report) -> None:
    """One length: ours, the attention and the append alone, and bf16."""
    from selfroute.models.kv.append import append
    from selfroute.models.kv.decode import decode

    cache = packed_cache(model, tokens, K4V4)
    count = Count.of(tokens, 1, model.device)
    ours = timed_graph(model, cache, count, stepped(cache, count))
    layers = [layer for layer in cache.layers if hasattr(layer, "k")]
    heads, dim = layers[0].k.codes.shape[1], layers[0].k.dim
    q = torch.randn((1, model.config.num_attention_heads, dim), dtype=torch.bfloat16, device=model.device)
    new = torch.randn((1, heads, 1, dim), dtype=torch.bfloat16, device=model.device)
    count.set(tokens)
    parts = [(x.k.codes, x.k.scales, x.v.codes, x.v.scales, x.gain, x.shift) for x in layers]
    read = [
        lambda p=p: decode(q, *p[:4], count.lengths, sm_scale=dim**-0.5, gain=p[4])  # type: ignore[misc]
        for p in parts
    ]
    write = [lambda p=p: append(new, new, p[5], p[4], *p[:4], count.position) for p in parts]  # type: ignore[misc]
    attention = milliseconds(read)[0] * len(layers)
    appending = milliseconds(write)[0] * len(layers)
    packed_bytes = sum(layer.nbytes for layer in layers)
    del cache, layers, parts, read, write
    clear()
    plain = guarded(f"bf16 {name} {tokens}", lambda: _plain(model, tokens))
    line = (
        f"{name} {tokens}: K4V4 {ours[0]:.3f} ms (+-{ours[1]:.3f}) {1e3 / ours[0]:.1f} tokens/s {ours[2] or GRAPH} "
        f"[attention alone {attention:.3f} ms, append alone {appending:.3f} ms, {packed_bytes / 1e9:.2f} GB]"
    )
    row = {
        "model": name, "tokens": tokens, "ms": ours[0], "spread": ours[1], "tokens_per_second": 1e3 / ours[0],
        "reason": ours[2], "attention_ms": attention, "append_ms": appending, "packed_bytes": packed_bytes,
        "without_attention_ms": rest[0] if rest else None,
    }  # fmt: skip
    if plain:
        ms, spread, reason, rooms, of = plain
        line += f"; (b) bf16 {ms:.3f} ms (+-{spread:.3f}) {1e3 / ms:.1f} tokens/s {reason or GRAPH}"
        if rooms < of:
            line += f" [does not fit: {of} layers timed over the room of {rooms}]"
        row |= {"bf16_ms": ms, "bf16_spread": spread, "bf16_reason": reason, "bf16_rooms": rooms, "layers": of}
        if rest:
            bound, gain = ms / (rest[0] + attention), ms / ours[0]
            line += f"; gain x{gain:.3f}, bound x{bound:.3f}, share {gain / bound:.1%}"
            row |= {"gain": gain, "bound": bound, "share": gain / bound}
    report.line(line)
    report.row(**row)


def _plain(model: Any, tokens: int) -> tuple[float, float, str, int, int]:
    from selfroute.models.kv.sizing import Shape

    count = Count.of(tokens, 1, model.device)
    cache, rooms = plain_cache(model, tokens, count)
    ms, spread, reason = timed_graph(model, cache, count)
    del cache
    clear()
    return ms, spread, reason, rooms, len(Shape.of(model.config).layers)


def _eager(model: Any, name: str, tokens: int, report: Report) -> None:
    """(a): transformers' DynamicCache, step by step from Python."""
    if 1.3 * plain_bytes(model, tokens) > free_bytes():
        report.line(f"{name} {tokens}: (a) DynamicCache does not fit")
        return
    cache = dynamic_cache(model, tokens)
    ms = _from_python(model, cache)
    how = model.config._attn_implementation
    report.line(f"{name} {tokens}: (a) DynamicCache eager, {how}: {ms:.2f} ms, {1e3 / ms:.1f} tokens/s")
    report.row(model=name, tokens=tokens, dynamic_cache_ms=ms, attention=how)


def _from_python(model: Any, cache: Any) -> float:
    """Milliseconds of a step that Python launches: median of 7 after 2."""
    token, found = torch.full((1, 1), 17, device=model.device), []
    with torch.inference_mode():
        for _ in range(9):
            torch.cuda.synchronize()
            start = time.perf_counter()
            model(input_ids=token, past_key_values=cache, use_cache=True).logits[:, -1].argmax(-1)
            torch.cuda.synchronize()
            found.append((time.perf_counter() - start) * 1e3)
    return statistics.median(found[2:])


def _static(model: Any, name: str, tokens: int, report: Report) -> None:
    """transformers' own StaticCache as a graph, beside (b): its mask over the room rules the flash kernel out."""
    from transformers import StaticCache

    from selfroute.models.kv.graph import capture
    from selfroute.models.kv.loop import Kept

    if 1.3 * plain_bytes(model, tokens) > free_bytes():
        report.line(f"{name} {tokens}: StaticCache does not fit")
        return
    cache = StaticCache(config=model.config, max_cache_len=tokens + SPARE)
    token = torch.full((1, 1), 17, device=model.device)
    position = torch.full((1, 1), tokens, device=model.device)
    with torch.inference_mode():
        model(input_ids=torch.arange(8, device=model.device)[None], past_key_values=cache, use_cache=True)
        held = [layer for layer in cache.layers if hasattr(layer, "keys")]
        for layer in held:
            layer.keys.normal_()
            layer.values.normal_()
            layer.cumulative_length.fill_(tokens)
        kept = Kept(cache)

        def restore() -> None:
            kept.restore()
            position.fill_(tokens)
            for layer in held:
                layer.cumulative_length.fill_(tokens)

        def step(token: torch.Tensor) -> torch.Tensor:
            logits = model(input_ids=token, position_ids=position, past_key_values=cache, use_cache=True).logits
            position.add_(1)
            return logits[:, -1].argmax(-1, keepdim=True)

        captured = capture(step, token, restore=restore, warm_ups=1)
        ms, spread = step_milliseconds(captured, token, repeats=5)
    report.line(
        f"{name} {tokens}: transformers' StaticCache {ms:.3f} ms (+-{spread:.3f}) {1e3 / ms:.1f} tokens/s "
        f"{captured.reason or GRAPH}"
    )
    report.row(model=name, tokens=tokens, static_cache_ms=ms, spread=spread, reason=captured.reason)


def _quantized(model: Any, name: str, tokens: int, report: Report) -> None:
    """(c): transformers' QuantizedCache at 4 bits, step by step from Python, of layers that are really packed."""
    from kv_cpu import library_cache

    from selfroute.models.kv.sizing import Shape

    cache, backend = library_cache(model)
    shape = Shape.of(model.config)
    size = (1, shape.heads, tokens, shape.dim)
    for index in shape.layers:
        keys, values = (torch.empty(size, dtype=model.dtype, device=model.device).normal_() for _ in "kv")
        cache.update(keys, values, index)
    ms = _from_python(model, cache)
    report.line(f"{name} {tokens}: (c) QuantizedCache int4 ({backend}): {ms:.2f} ms, {1e3 / ms:.1f} tokens/s")
    report.row(model=name, tokens=tokens, quantized_cache_ms=ms, backend=backend)


def _agree(model: Any, report: Report) -> None:
    """Eight tokens by the graph, by the kernels called one by one, and by the cache's own way: the same ones?"""
    from selfroute.models.kv.attention import attach
    from selfroute.models.kv.loop import Kept, decode_loop

    cache = packed_cache(model, 8192, K4V4)
    held = [layer for layer in cache.layers if hasattr(layer, "k")]
    kept, first = Kept(cache), torch.full((1, 1), 17, device=model.device)

    def rewind() -> None:
        kept.restore()
        for layer in held:
            layer._set_length(8192)

    attach(model)
    loop = decode_loop(model, cache, first, 8)
    rows = [layer.k.codes[:, :, 8192:8200].clone() for layer in held]
    rewind()
    with torch.inference_mode(), stepping(model):
        count = Count.of(8192, 1, model.device)
        step = graph_of(model, cache, count, stepped(cache, count)).step
        token, single = first, []
        for _ in range(8):
            token = step(token)
            single.append(token)
    rewind()
    own, token = [], first
    with torch.inference_mode():
        for _ in range(8):
            logits = model(input_ids=token, past_key_values=cache, use_cache=True).logits
            token = logits[:, -1].argmax(-1, keepdim=True)
            own.append(token)
    same = [float((a == b.k.codes[:, :, 8192:8200]).float().mean()) for a, b in zip(rows, held, strict=True)]
    found = {
        "graph": loop.tokens.tolist()[0], "one by one": torch.cat(single, 1).tolist()[0],
        "cache": torch.cat(own, 1).tolist()[0],
    }  # fmt: skip
    report.line(f"tokens at 8192: {found}; {loop.reason or GRAPH}; equal key bytes at least {min(same):.1%}")
    report.row(check="tokens", found=found, reason=loop.reason, equal_codes=min(same))


def memory(seconds: float) -> None:
    """Bytes a token, the peak of reading and decoding beside DynamicCache's, and 4M tokens really held."""
    from selfroute.models.kv.sizing import kv_bytes

    report, end = Report("memory"), time.monotonic() + seconds
    for name, tokens, block in ((LLAMA, 32768, 512), (GRANITE, 16384, 256)):
        clear()
        model = build(name)
        for preset in ("k8v8", "k4v8", "k4v4"):
            ratio = kv_bytes(model.config, tokens, preset) / kv_bytes(model.config, tokens, "bf16", itemsize=2)
            report.line(f"{name} {preset}: {ratio:.4f} of bf16's bytes")
            report.row(model=name, preset=preset, bytes_ratio=ratio)
        if name == GRANITE:
            guarded("4M tokens", lambda m=model: _four_million(m, report))
        for before, new in ((0, tokens), (FILLED[name], 1024)):
            if time.monotonic() < end:
                _peaks(model, name, before, new, block, report)
        del model


def _peaks(model: Any, name: str, before: int, tokens: int, block: int, report: Report) -> None:
    """Of reading so many tokens in blocks, behind so many that are there, and writing 16: over the weights."""
    found = {
        kind: guarded(kind, lambda kind=kind: _peak(model, kind, before, tokens, block))  # type: ignore[misc]
        for kind in ("DynamicCache bf16", "k4v4")
    }
    for kind, of in found.items():
        if of:
            report.line(
                f"{name} {kind}: peak {of[0] / 1e6:.0f} MB over the weights, {tokens} tokens read in blocks of {block} "
                f"behind {before} filled in, and 16 decoded, {of[1]:.1f} s {of[2]}"
            )
    plain, ours = found.values()
    if ours and plain:
        ratio = ours[0] / plain[0]
        report.line(f"{name}: peak ratio {ratio:.3f}")
        report.row(
            model=name, before=before, tokens=tokens, block=block, peak=ours[0], dynamic_cache_peak=plain[0],
            ratio=ratio, seconds=ours[1], dynamic_cache_seconds=plain[1],
        )  # fmt: skip


def _peak(model: Any, kind: str, before: int, tokens: int, block: int) -> tuple[int, float, str]:
    from transformers import DynamicCache

    from selfroute.models.kv.attention import attach
    from selfroute.models.kv.cache import quantized_cache
    from selfroute.models.kv.loop import decode_loop
    from selfroute.models.kv.prefix import read

    clear()
    model.set_attn_implementation("sdpa")
    torch.cuda.reset_peak_memory_stats()
    base, start = torch.cuda.memory_allocated(), time.monotonic()
    ids, reason = torch.randint(0, 1000, (tokens,)).tolist(), ""
    if kind == "k4v4":
        if before:
            cache = packed_cache(model, before, K4V4, spare=tokens + 64)
            attach(model)
        else:
            cache = quantized_cache(model, kind, max_tokens=tokens + 64)
        read(model, ids, cache, block=block)
        reason = decode_loop(model, cache, torch.tensor([17]), 16).reason
    else:
        cache = dynamic_cache(model, before) if before else DynamicCache(config=model.config)
        read(model, ids, cache, block=block)
        token = torch.full((1, 1), 17, device=model.device)
        with torch.inference_mode():
            for _ in range(16):
                logits = model(input_ids=token, past_key_values=cache, use_cache=True).logits
                token = logits[:, -1].argmax(-1, keepdim=True)
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - base, time.monotonic() - start, reason


def _four_million(model: Any, report: Report) -> None:
    from selfroute.models.kv.attention import attach
    from selfroute.models.kv.loop import decode_loop

    clear()
    attach(model)
    before = torch.cuda.memory_allocated()
    cache = packed_cache(model, 1 << 22, K4V4)
    held = [layer for layer in cache.layers if hasattr(layer, "k")]
    size, taken = sum(layer.nbytes for layer in held), torch.cuda.memory_allocated() - before
    loop = decode_loop(model, cache, torch.tensor([17]), 2)
    torch.cuda.synchronize()
    report.line(
        f"{GRANITE}: {1 << 22} tokens in {size / 1e9:.3f} GB of keys and values ({taken / 1e9:.3f} GB allocated with "
        f"the states), decoded on: {loop.tokens.tolist()[0]} {loop.reason or GRAPH}"
    )
    report.row(tokens=1 << 22, kv_bytes=size, allocated=taken, reason=loop.reason)


def snapshot(seconds: float, device: str = "cuda") -> None:
    """A prefix of 128K tokens: read, saved, loaded, and gone on from as if it had never been left.

    On a CPU by a model of that shape that is a quarter as wide, with four layers, in float32.
    """
    from selfroute.models.kv.cache import quantized_cache
    from selfroute.models.kv.fingerprint import fingerprint
    from selfroute.models.kv.loop import decode_loop
    from selfroute.models.kv.prefix import read_prefix
    from selfroute.models.kv.sizing import kv_bytes
    from selfroute.models.kv.snapshot import load, save

    report, tokens = Report("snapshot"), 131072
    end = time.monotonic() + seconds
    model = build(GRANITE) if device == "cuda" else build(GRANITE, device, 4).float()
    model.config.dtype = model.dtype
    synchronize = torch.cuda.synchronize if device == "cuda" else (lambda: None)
    ids = torch.randint(0, 1000, (tokens,)).tolist()
    cache = quantized_cache(model, "k4v4", max_tokens=tokens + SPARE)
    read_prefix(model, ids[:2048], quantized_cache(model, "k4v4", max_tokens=4096))  # warm
    synchronize()
    start = time.monotonic()
    prefix = read_prefix(model, ids, cache, block=1024, every=32768)
    synchronize()
    reading = time.monotonic() - start
    mark = fingerprint(model, "k4v4")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "prefix.safetensors"
        start = time.monotonic()
        size = save(path, prefix, mark)
        saving = time.monotonic() - start
        loading = []
        for _ in range(3):
            if loading and time.monotonic() > end:
                break
            start = time.monotonic()
            found = load(path, model, "k4v4", mark, ids=ids, max_tokens=tokens + SPARE)
            synchronize()
            loading.append(time.monotonic() - start)
            if found.prefix is None:
                report.line(f"not loaded: {found.reason}")
                return
    states = cache.state_bytes
    plain = kv_bytes(model.config, tokens, "bf16", itemsize=2) + states
    again = decode_loop(model, found.prefix.cache, torch.tensor([17]), 32)
    went_on = decode_loop(model, cache, torch.tensor([17]), 32)
    same = bool(torch.equal(again.tokens, went_on.tokens))
    ratio = reading / statistics.median(loading)
    report.line(
        f"{tokens} tokens read in {reading:.2f} s, saved in {saving:.2f} s, loaded in "
        f"{statistics.median(loading):.3f} s (checksum included, file in the page cache): x{ratio:.1f}"
    )
    report.line(
        f"file {size / 1e6:.1f} MB with {len(prefix.checkpoints)} checkpoints of {states / 1e6:.1f} MB; bf16 keys, "
        f"values and one state would be {plain / 1e6:.1f} MB (computed): {size / plain:.3f}"
    )
    report.line(f"32 tokens after loading the same as without leaving: {same} {again.reason or GRAPH}")
    report.row(
        tokens=tokens, read_s=reading, save_s=saving, load_s=loading, ratio=ratio, file_bytes=size,
        checkpoints=len(prefix.checkpoints), state_bytes=states, bf16_bytes=plain, same=same, reason=again.reason,
    )  # fmt: skip
