"""The figures of kv_cache.py that any CPU gives in about a minute, with float32 models of random weights.

`decode_ratio_vs_quantized_cache` is the time of a decode step with transformers' QuantizedCache (4 bits, groups of 64,
its own defaults) over that with ours, both through the same small Llama over the same number of tokens. Where neither
optimum-quanto nor hqq is installed, transformers' own QuantizedLayer is given a plain backend of the same layout: what
it does at a step, unpacking all and packing all anew every 128 tokens, is the library's code in either case.
"""

from __future__ import annotations

import json
import statistics
import time
from importlib.util import find_spec
from typing import Any

import torch

OUTLIERS, HEADS, GROUP, DIM = 4, 2, 4, 128


def run(tokens: int) -> dict[str, Any]:
    """All figures of `tokens` tokens; printed as JSON too."""
    import transformers

    transformers.logging.set_verbosity_error()
    torch.manual_seed(0)
    found: dict[str, Any] = {"tokens": tokens, **sizes_and_error(tokens), **times(tokens)}
    found |= {"token_identical": all(identical(family) for family in ("llama", "granite")), "threads": threads()}
    found |= {"torch": torch.__version__, "transformers": transformers.__version__}
    print(json.dumps(found))
    return found


def threads() -> int:
    return torch.get_num_threads()


def keys_and_values(tokens: int) -> tuple[torch.Tensor, torch.Tensor]:
    """[1, H, N, D]: keys with a few channels that are large and much the same for every token; normal values."""
    keys = torch.randn(1, HEADS, tokens, DIM)
    for head in range(HEADS):
        channels = torch.randperm(DIM)[:OUTLIERS]
        keys[0, head, :, channels] += torch.randn(OUTLIERS) * 8
    return keys, torch.randn(1, HEADS, tokens, DIM)


def sizes_and_error(tokens: int) -> dict[str, Any]:
    """K4V4: bytes really allocated over those of bf16, and the output's relative error against float64.

    The query is normal, as the keys are but for their outliers. Beside it the error of a QuantizedCache's layout, with
    exact attention over what it unpacks.
    """
    from selfroute.models.kv.attention import read
    from selfroute.models.kv.layers import PackedLayer
    from selfroute.models.kv.presets import Bits

    keys, values = keys_and_values(tokens)
    layer = PackedLayer(Bits(4, 4), tokens)
    layer.update(keys, values)
    size = layer.nbytes  # which packs what waits
    query = torch.randn(1, HEADS * GROUP, 1, DIM)
    got = read(layer, query, None, DIM**-0.5)[0, :, 0].double()
    grouped = query[0, :, 0].double().unflatten(0, (HEADS, GROUP))
    wanted = exact(grouped, keys, values)
    theirs = plain_layer()
    unpacked = [theirs._dequantize(theirs._quantize(x, 0)) for x in (keys, values)]
    other = exact(grouped, *unpacked)
    return {
        "bytes_ratio": round(size / (HEADS * tokens * DIM * 4), 4),
        "relative_error": round(float((got - wanted).norm() / wanted.norm()), 4),
        "relative_error_quantized_cache": round(float((other - wanted).norm() / wanted.norm()), 4),
    }


def exact(query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Attention in float64: queries [H, group, D], keys and values [1, H, N, D]; [H * group, D]."""
    scores = torch.einsum("hgd,hnd->hgn", query, keys[0].double()) * DIM**-0.5
    return torch.einsum("hgn,hnd->hgd", scores.softmax(-1), values[0].double()).flatten(0, 1)


def small_llama() -> Any:
    """Two layers, 8 query and 2 key-value heads of 128 channels."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=512, hidden_size=256, intermediate_size=512, num_hidden_layers=2,
        num_attention_heads=HEADS * GROUP, num_key_value_heads=HEADS, head_dim=DIM, max_position_embeddings=1 << 20,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


def times(tokens: int) -> dict[str, Any]:
    """Milliseconds of a decode step: ours (median of 40), QuantizedCache (mean of 128, one re-packing among them)."""
    from selfroute.models.kv.cache import quantized_cache

    model, name = small_llama(), ""
    theirs, name = library_cache(model)
    pairs = [keys_and_values(tokens) for _ in range(model.config.num_hidden_layers)]
    with torch.inference_mode():
        for index, pair in enumerate(pairs):
            theirs.update(*pair, index)
        slow = step_times(model, theirs, 128)
        ours = quantized_cache(model, "k4v4", max_tokens=tokens + 64)
        for index, pair in enumerate(pairs):
            ours.update(*pair, index)
        fast = step_times(model, ours, 43)[3:]
    mine = statistics.median(fast)
    return {
        "decode_ratio_vs_quantized_cache": round(statistics.mean(slow) / mine, 2),
        "decode_ratio_without_repacking": round(statistics.median(slow) / mine, 2),
        "decode_ms": round(mine, 3),
        "quantized_cache_ms": round(statistics.mean(slow), 3),
        "quantized_cache": name,
    }


def step_times(model: Any, cache: Any, steps: int) -> list[float]:
    token, found = torch.tensor([[7]]), []
    for _ in range(steps):
        start = time.perf_counter()
        token = model(input_ids=token, past_key_values=cache, use_cache=True).logits[:, -1].argmax(-1, keepdim=True)
        found.append((time.perf_counter() - start) * 1e3)
    return found


def library_cache(model: Any) -> tuple[Any, str]:
    """transformers' QuantizedCache at 4 bits, and which backend packs for it."""
    from transformers import QuantizedCache

    for backend, module in (("quanto", "optimum.quanto"), ("hqq", "hqq")):
        if _installed(module):
            return QuantizedCache(backend, model.config, nbits=4), backend
    return plain_backend(model), "neither optimum-quanto nor hqq is installed: its QuantizedLayer with a plain backend"


def _installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def plain_layer() -> Any:
    """QuantizedLayer, whose update() is transformers', packing by groups of 64 in a row with a scale and a zero."""
    from transformers.cache_utils import QuantizedLayer

    class PlainLayer(QuantizedLayer):  # type: ignore[misc]
        def _quantize(self, tensor: torch.Tensor, axis: int) -> tuple[Any, ...]:
            groups = tensor.reshape(-1, self.q_group_size)
            low, high = groups.amin(1, keepdim=True), groups.amax(1, keepdim=True)
            scale = ((high - low) / 15).clamp(min=1e-8)
            codes = ((groups - low) / scale).round_().to(torch.uint8)
            return codes[:, ::2] | (codes[:, 1::2] << 4), scale, low, tensor.shape

        def _dequantize(self, packed: tuple[Any, ...]) -> torch.Tensor:
            codes, scale, low, shape = packed
            values = torch.stack((codes & 15, codes >> 4), -1).flatten(1).to(scale.dtype)
            return values.mul_(scale).add_(low).view(shape)

    return PlainLayer()


def plain_backend(model: Any) -> Any:
    """A cache of such layers."""
    from transformers import DynamicCache

    cache = DynamicCache(config=model.config)
    cache.layers = [plain_layer() for _ in cache.layers]
    return cache


def identical(family: str, tokens: int = 200) -> bool:
    """Whether the unquantized preset and transformers' StaticCache choose the same 200 tokens, greedily, in float32."""
    from transformers import GraniteMoeHybridConfig, GraniteMoeHybridForCausalLM, StaticCache

    from selfroute.models.kv.cache import quantized_cache

    torch.manual_seed(1)
    if family == "llama":
        model = small_llama()
    else:
        config = GraniteMoeHybridConfig(
            vocab_size=512, hidden_size=128, intermediate_size=128, shared_intermediate_size=128, num_hidden_layers=4,
            num_attention_heads=2, num_key_value_heads=1, num_local_experts=0, mamba_n_heads=8, mamba_d_head=32,
            mamba_d_state=16, position_embedding_type="nope", attention_multiplier=0.125,
            layer_types=["linear_attention", "full_attention"] * 2,
        )  # fmt: skip
        model = GraniteMoeHybridForCausalLM(config).eval()
    with torch.no_grad():
        model.get_input_embeddings().weight.normal_()
    prompt, rows = torch.randint(0, 512, (1, 24)), []
    for kind in ("static", "ours"):
        # the library's first: ours sets the model's attention
        static = kind == "static"
        cache = StaticCache(config=model.config, max_cache_len=256) if static else quantized_cache(model, "bf16")
        token, chosen = prompt, []
        with torch.inference_mode():
            for _ in range(tokens):
                logits = model(input_ids=token, past_key_values=cache, use_cache=True).logits
                token = logits[:, -1].argmax(-1, keepdim=True)
                chosen.append(int(token))
        rows.append(chosen)
    return rows[0] == rows[1]
