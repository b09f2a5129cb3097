"""What packing costs in fidelity, on keys of a model that is really trained, and on keys with outlier channels.

    python benchmarks/kv_fidelity.py --text FILE.xz [--device cuda] [--seconds 140] [--small] [--seed 0]

Trains a small causal hybrid (LFM2: seven short convolutions, three attention layers, head_dim 64, 26M parameters) on
the text for so many seconds, from nothing, with a tokenizer of its own; a fiftieth of the text is kept apart. On that:

attention: relative error of the attention output of the last 256 positions of 2,048, against float64 on unpacked keys
and values, mean over layers. hf-int4: groups of 64 channels of a token with scale and zero point, as transformers'
QuantizedCache has them by default, 4.5 bits like k4v4 here. outliers: the same error on synthetic keys: normal, four
channels of 64 ten times as wide, four others shifted by ten.
model: of all positions, how often the likeliest next token is that of the unpacked cache, the divergence (KL, nats) of
the distributions, and the perplexity. Packed caches are really used; hf-int4 packs and unpacks in the attention.
pages: share of the attention that lies in the selected pages of 16 tokens, first and last included.

    python benchmarks/kv_fidelity.py --reader FOLDER        a minute on a CPU

The error of the attention output alone, on queries, keys and values of the six layers of the shipped reader (12 heads
of 32 channels, an encoder with absolute positions), reading 64 pieces of 448 tokens of Python and Markdown.

A table, then one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import lzma
import math
import time
from pathlib import Path
from typing import Any

PRESETS = ("k8v8", "k4v8", "k4v4")
HF = "hf-int4"
VOCABULARY, TOKENS, BATCH = 8192, 2048, 32
LAST, PAGE = 256, 16
READ = 448  # tokens of a piece that the reader reads
HELD_OUT = 0.02


def tokenized(path: Path) -> tuple[Any, Any, Any]:
    """(tokenizer, training ids, held-out ids)."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    text = lzma.decompress(path.read_bytes()).decode("utf-8", "replace")
    cut = int(len(text) * (1 - HELD_OUT))
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, initial_alphabet=alphabet, show_progress=False)
    raw.train_from_iterator((text[i : i + 10_000] for i in range(0, min(cut, 8_000_000), 10_000)), trainer)

    def ids(part: str) -> torch.Tensor:
        pieces = [part[i : i + 50_000] for i in range(0, len(part), 50_000)]
        return torch.tensor([i for found in raw.encode_batch(pieces) for i in found.ids], dtype=torch.int16)

    return raw, ids(text[:cut]), ids(text[cut:])


def make_model(seed: int, small: bool) -> Any:
    import torch
    from transformers import AutoModelForCausalLM, Lfm2Config

    torch.manual_seed(seed)
    kinds = ["full_attention" if i % 3 == 2 else "conv" for i in range(7 if small else 10)]
    hidden = 192 if small else 384
    config = Lfm2Config(
        vocab_size=VOCABULARY, hidden_size=hidden, intermediate_size=4 * hidden, num_hidden_layers=len(kinds),
        num_attention_heads=hidden // 64, num_key_value_heads=1 if small else 2, max_position_embeddings=8192,
        layer_types=kinds, block_auto_adjust_ff_dim=False,
    )  # fmt: skip
    return AutoModelForCausalLM.from_config(config, attn_implementation="sdpa")


def train(model: Any, ids: Any, device: str, seconds: float, batch: int) -> dict[str, float]:
    """Adam, cosine over the time that there is."""
    import torch

    ids = ids.to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, betas=(0.9, 0.95), weight_decay=0.1)
    drawing = torch.Generator().manual_seed(0)
    began, steps, loss = time.monotonic(), 0, torch.zeros(())
    model.train()
    while (share := (time.monotonic() - began) / seconds) < 1:
        rate = 2e-3 * min(1.0, (steps + 1) / 50) * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * share)))
        for group in optimizer.param_groups:
            group["lr"] = rate
        starts = torch.randint(0, len(ids) - TOKENS - 1, (batch,), generator=drawing).tolist()
        block = torch.stack([ids[s : s + TOKENS] for s in starts]).long()
        with torch.autocast(device.split(":")[0], torch.bfloat16):
            loss = model(input_ids=block, labels=block, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        steps += 1
        if steps % 100 == 0:
            print(f"step {steps}: loss {loss.item():.3f}, {time.monotonic() - began:.0f} s", flush=True)
    model.eval()
    return {"steps": steps, "tokens": steps * batch * TOKENS, "loss": round(loss.item(), 4)}


def as_hf(x: Any, bits: int = 4, group: int = 64) -> Any:
    """Packed and unpacked as transformers' QuantizedCache does by default: scale and zero point for each group."""
    shaped = x.float().reshape(*x.shape[:-1], -1, min(group, x.shape[-1]))
    low, high = shaped.amin(-1, keepdim=True), shaped.amax(-1, keepdim=True)
    scale = ((high - low) / (2**bits - 1)).clamp(min=1e-8)
    codes = ((shaped - low) / scale).round().clamp(0, 2**bits - 1)
    return (codes * scale + low).reshape(x.shape).to(x.dtype)


def packed(k: Any, v: Any, preset: str, rotary: int) -> tuple[Any, Any]:
    """Keys and values [B, H, N, D] as numbers, after packing. rotary: channels that positions turn."""
    if preset == HF:
        return as_hf(k), as_hf(v)
    from selfroute.models.kv.layers import PackedLayer
    from selfroute.models.kv.presets import preset_of

    layer = PackedLayer(preset_of(preset).bits, k.shape[2], rotary)
    layer.update(k.float(), v.float())
    layer.settle()
    keys = layer.k.read(0, k.shape[2], k.float().dtype)
    if layer.shift is not None:
        keys = keys * layer.gain.unsqueeze(2) + layer.shift.unsqueeze(2)
    return keys, layer.v.read(0, k.shape[2], v.float().dtype)


def attended(q: Any, k: Any, v: Any) -> Any:
    """Float64 output of the last queries [B, heads, n, D], which see all keys up to their own, or all."""
    import torch

    group, n, total = q.shape[1] // k.shape[1], q.shape[2], k.shape[2]
    whole = n == total
    q, k, v = q.double(), k.double().repeat_interleave(group, 1), v.double().repeat_interleave(group, 1)
    scores = q @ k.mT * q.shape[-1] ** -0.5
    seen = torch.arange(total, device=q.device) <= torch.arange(total - n, total, device=q.device)[:, None]
    return (scores if whole else scores.masked_fill(~seen, -math.inf)).softmax(-1) @ v


def error(q: Any, k: Any, v: Any, preset: str, rotary: int) -> float:
    """Relative error of the attention output."""
    exact = attended(q, k, v)
    return float((attended(q, *packed(k, v, preset, rotary)) - exact).norm() / exact.norm())


def outlier_error(preset: str, seed: int) -> float:
    """On synthetic keys."""
    import torch

    drawing = torch.Generator().manual_seed(seed)
    shape = (2, 4, TOKENS, 64)
    k, v, q = (torch.randn(shape, generator=drawing) for _ in range(3))
    k[..., 3::16] *= 10
    k[..., 7::16] += 10
    return error(q[:, :, -LAST:] * 0.3, k, v, preset, 0)


def of_reader(folder: Path) -> dict[str, list[float]]:
    """preset -> the error of each layer of the shipped reader, on text of a folder; every query sees every key."""
    import numpy as np
    import onnx
    import onnxruntime
    import torch

    from selfroute.models import weights
    from selfroute.models.span_scores import GRAPH
    from selfroute.models.tokenizer import wordpiece

    files = sorted(path for ending in ("py", "md") for path in folder.rglob(f"*.{ending}"))
    text = "\n".join(path.read_text(encoding="utf-8", errors="replace")[:20_000] for path in files[:200])
    ids = np.array(wordpiece().ids(text[:600_000]), np.int64)
    pieces = ids[: len(ids) // READ * READ].reshape(-1, READ)
    pieces = pieces[np.linspace(0, len(pieces) - 1, 64).astype(int)]
    graph = onnx.load_from_string(weights.read(GRAPH))
    names = [f"layers.{layer}.{part}" for layer in range(6) for part in "qkv"]
    graph.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    kinds = {node.name: np.int32 if "int32" in node.type else np.int64 for node in session.get_inputs()}
    fed = {"ids": pieces.astype(kinds["ids"]), "segment": np.zeros_like(pieces, kinds["segment"])}
    found = [torch.from_numpy(x).view(*x.shape[:2], 12, -1).transpose(1, 2) for x in session.run(names, fed)]
    return {
        preset: [error(*found[3 * layer : 3 * layer + 3], preset, 0) for layer in range(6)] for preset in (*PRESETS, HF)
    }


def catch(model: Any, ids: Any) -> list[tuple[Any, Any, Any]]:
    """Queries of the last positions, keys and values of every attention layer."""
    import torch
    from transformers import AttentionInterface
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    found: list[tuple[Any, Any, Any]] = []

    def catching(module: Any, query: Any, key: Any, value: Any, mask: Any, **options: Any) -> Any:
        found.append((query[:, :, -LAST:].float(), key.float(), value.float()))
        return sdpa_attention_forward(module, query, key, value, None, **options)

    AttentionInterface.register("catching", catching)
    model.set_attn_implementation("catching")
    with torch.inference_mode():
        model(input_ids=ids, use_cache=False)
    model.set_attn_implementation("sdpa")
    return found


def logits(model: Any, ids: Any, preset: str) -> Any:
    """(B, N, vocabulary) of a text that is read in one block, by the packed cache or the library's own."""
    import torch
    from transformers import AttentionInterface
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    from selfroute.models.kv.cache import quantized_cache

    def unpacked(module: Any, query: Any, key: Any, value: Any, mask: Any, **options: Any) -> Any:
        return sdpa_attention_forward(module, query, as_hf(key), as_hf(value), None, **options)

    AttentionInterface.register("unpacked", unpacked)
    cache = None
    if preset == HF:
        model.set_attn_implementation("unpacked")
    elif preset:
        cache = quantized_cache(model, preset, max_tokens=ids.shape[1])
    with torch.inference_mode():
        found = model(input_ids=ids, past_key_values=cache, use_cache=cache is not None).logits.float()
    model.set_attn_implementation("sdpa")
    return found


def compare(model: Any, held_out: Any, presets: tuple[str, ...]) -> dict[str, dict[str, float]]:
    """preset -> agreement, KL, perplexity."""
    import torch

    sums = {preset: torch.zeros(3, dtype=torch.float64) for preset in ("", *presets)}
    n = 0
    for ids in held_out.split(2):
        plain = logits(model, ids, "")
        log_p, wanted = plain.log_softmax(-1)[:, :-1], ids[:, 1:]
        n += wanted.numel()
        for preset, of in sums.items():
            log_q = logits(model, ids, preset).log_softmax(-1)[:, :-1]
            of[0] += float((log_p.argmax(-1) == log_q.argmax(-1)).sum())
            of[1] += float((log_p.exp() * (log_p - log_q)).sum())
            of[2] -= float(log_q.gather(-1, wanted[..., None]).sum())
    return {
        preset or "bf16": {
            "agreement": round(float(of[0]) / n, 4),
            "kl": round(float(of[1]) / n, 6),
            "perplexity": round(math.exp(float(of[2]) / n), 4),
        }
        for preset, of in sums.items()
    }


def mass(q: Any, k: Any, share: float, how: str) -> float:
    """Share of the attention in the selected pages; of each query position by itself, mean."""
    import torch

    from selfroute.models.kv.pages import Summary, page_products, select_pages

    batch, heads, total, dim = k.shape
    pages = k.view(batch, heads, total // PAGE, PAGE, dim)
    count, kept = max(2, round(share * pages.shape[2])), []
    parts = (pages.amin(-2), pages.amax(-2)) if how == "bounds" else (pages.mean(-2),)
    for at in range(0, q.shape[2], 8):
        query, length = q[:, :, at], total - q.shape[2] + at + 1
        lengths = torch.full((batch,), length, dtype=torch.int32, device=q.device)
        products = page_products(query, Summary(parts))
        if how == "random":
            products = torch.rand_like(products[:, :, :1])
        chosen, _ = select_pages(products, lengths, PAGE, count)
        inside = torch.zeros(batch, heads, pages.shape[2] + 1, dtype=torch.bool, device=q.device)
        inside.scatter_(2, chosen.long().masked_fill(chosen < 0, pages.shape[2]), True)
        tokens = inside[..., :-1].repeat_interleave(PAGE, -1)
        group = query.shape[1] // heads
        weights = (query.reshape(batch, heads, group, dim) @ k.mT * dim**-0.5)[..., :length].softmax(-1)
        kept.append((weights * tokens[:, :, None, :length]).sum(-1).mean())
    return float(torch.stack(kept).mean())


def main() -> int:
    """Trains, measures, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=Path, help="xz; a few tens of MB of text")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seconds", type=float, default=140.0)
    parser.add_argument("--batch", type=int, default=BATCH)
    parser.add_argument("--sequences", type=int, default=16, help="held-out texts of 2,048 tokens")
    parser.add_argument("--small", action="store_true", help="5M parameters, two attention layers: for a CPU")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--reader", type=Path, metavar="FOLDER", help="the shipped reader's layers on this text")
    args = parser.parse_args()
    if args.reader is not None:
        told = {name: [round(value, 4) for value in errors] for name, errors in of_reader(args.reader).items()}
        print(json.dumps({name: {"mean": round(sum(of) / 6, 4), "layers": of} for name, of in told.items()}))
        return 0
    if args.text is None or not args.text.is_file():
        print(json.dumps({"skipped": f"no text at {args.text}: --text FILE.xz"}))
        return 0
    import torch
    import transformers

    from selfroute.models.kv.cache import rotary_channels

    torch.backends.cuda.matmul.allow_tf32 = True
    _, ids, held_out = tokenized(args.text)
    model = make_model(args.seed, args.small).to(args.device)
    trained = train(model, ids, args.device, args.seconds, args.batch)
    model = model.to(torch.bfloat16)
    held = held_out[: args.sequences * TOKENS].long().view(-1, TOKENS).to(args.device)
    every = (*PRESETS, HF)
    told = compare(model, held, every)
    layers, rotary = catch(model, held[:4]), rotary_channels(model.config)
    found: dict[str, Any] = {}
    for preset in every:
        errors = [error(*layer, preset, rotary) for layer in layers]
        outliers = sum(outlier_error(preset, seed) for seed in range(3)) / 3
        found[preset] = {"attention": sum(errors) / len(errors), "outliers": outliers, **told[preset]}
    pages = {
        f"{share:.0%} {how}": sum(mass(q, k, share, how) for q, k, _ in layers) / len(layers)
        for share in (0.04, 0.08)
        for how in ("bounds", "centroids", "random")
    }
    print(f"{'preset':8} {'attention':>9} {'outliers':>9} {'agreement':>9} {'KL':>9} {'perplexity':>10}")
    print(f"{'bf16':8} {'':9} {'':9} {'':9} {'':9} {told['bf16']['perplexity']:10.4f}")
    for preset, f in found.items():
        print(
            f"{preset:8} {f['attention']:9.4f} {f['outliers']:9.4f} {f['agreement']:9.4f} {f['kl']:9.6f}"
            f" {f['perplexity']:10.4f}"
        )
    where = torch.cuda.get_device_name(0) if args.device.startswith("cuda") else "cpu"
    print(
        json.dumps(
            {
                "device": where,
                "torch": torch.__version__,
                "transformers": transformers.__version__,
                "parameters": sum(p.numel() for p in model.parameters()),
                "training_tokens": len(ids),
                **trained,
                "bf16_perplexity": told["bf16"]["perplexity"],
                "presets": {name: {k: round(v, 6) for k, v in f.items()} for name, f in found.items()},
                "pages": {name: round(value, 4) for name, value in pages.items()},
            }
        )
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
