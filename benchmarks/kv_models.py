"""Models of two shapes with random weights, caches filled without reading, and a step's time: for kv_end_to_end.py.

Weights are random bfloat16. A packed cache is filled with random codes and scales, a bf16 one with normal numbers; the
recurrent layers get the states of a short text. Such models say nothing sensible, but take the time that real ones do.
"""

from __future__ import annotations

import gc
import statistics
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from kv_kernels import free_bytes

from selfroute.models.kv.graph import CapturedStep
from selfroute.models.kv.layers import PackedLayer
from selfroute.models.kv.loop import captured_step
from selfroute.models.kv.presets import Bits
from selfroute.models.kv.sizing import Shape
from selfroute.models.kv.step import Count, SteppedLayer, stepping

SPARE = 512  # tokens of room behind those that are there, for the steps that are timed
GRANITE, LLAMA = "granite-4.0-h-350m", "Llama-3.1-8B"


def config_of(name: str, scale: int = 1) -> Any:
    """The shape of that model's published config; scale > 1 makes it narrower, for a try on a CPU."""
    import transformers

    if name == GRANITE:
        attention = (10, 13, 17, 27) if scale == 1 else (1, 3)
        layers = 32 if scale == 1 else 4
        heads = 12 // scale
        return transformers.GraniteMoeHybridConfig(
            vocab_size=100352 // scale, hidden_size=64 * heads, num_hidden_layers=layers, num_attention_heads=heads,
            num_key_value_heads=4 // scale, intermediate_size=2048 // scale, shared_intermediate_size=2048 // scale,
            num_local_experts=0, num_experts_per_tok=0, tie_word_embeddings=True, position_embedding_type="nope",
            layer_types=["full_attention" if i in attention else "linear_attention" for i in range(layers)],
            mamba_n_heads=4 * heads, mamba_d_head=32, mamba_d_state=128, mamba_n_groups=1, mamba_expand=2,
            mamba_d_conv=4, mamba_chunk_size=256, attention_multiplier=0.015625, embedding_multiplier=12.0,
            logits_scaling=3.0, residual_multiplier=0.246, rms_norm_eps=1e-5, max_position_embeddings=32768,
        )  # fmt: skip
    return transformers.LlamaConfig(
        vocab_size=128256 // scale, hidden_size=4096 // scale, intermediate_size=14336 // scale,
        num_hidden_layers=32 if scale == 1 else 2, num_attention_heads=32 // scale, num_key_value_heads=8 // scale,
        head_dim=128, max_position_embeddings=1 << 20, rms_norm_eps=1e-5, tie_word_embeddings=False,
        rope_parameters={"rope_type": "default", "rope_theta": 500000.0},
    )  # fmt: skip


def build(name: str, device: str = "cuda", scale: int = 1) -> Any:
    """The model, made where it will run."""
    import transformers

    config = config_of(name, scale)
    kind = transformers.GraniteMoeHybridForCausalLM if name == GRANITE else transformers.LlamaForCausalLM
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device(device):
            model = kind(config)
    finally:
        torch.set_default_dtype(before)
    model.config.dtype = torch.bfloat16
    return model.to(device=device, dtype=torch.bfloat16).eval().requires_grad_(False)


def short_text(model: Any) -> Any:
    """transformers' own cache after eight tokens: its recurrent layers have states."""
    from transformers import DynamicCache

    cache = DynamicCache(config=model.config)
    with torch.no_grad():  # not inference mode: its states could not be changed outside of it
        model(input_ids=torch.arange(8, device=model.device)[None], past_key_values=cache, use_cache=True)
    return cache


def packed_cache(model: Any, tokens: int, bits: Bits, spare: int = SPARE) -> Any:
    """A cache of random packed rows, with room for so many more."""
    cache, shape = short_text(model), Shape.of(model.config)
    like = torch.zeros((1, shape.heads, 0, shape.dim), dtype=model.dtype, device=model.device)
    for index in shape.layers:
        layer = PackedLayer(bits, tokens + spare)
        layer.lazy_initialization(like, like)
        for store in (layer.k, layer.v):
            store.codes.random_(0, 256)
            store.scales.uniform_(0.1, 0.3)
        layer.shift = torch.zeros((1, shape.heads, shape.dim), device=model.device)
        layer.gain = torch.ones((1, shape.heads, shape.dim), device=model.device)
        layer._set_length(tokens)
        cache.layers[index] = layer
    return cache


def plain_bytes(model: Any, tokens: int) -> int:
    """Of a bf16 cache of that many tokens, over all layers."""
    shape = Shape.of(model.config)
    return 4 * shape.heads * shape.dim * len(shape.layers) * tokens


class PlainStep(SteppedLayer):
    """A bf16 layer in static room; SDPA reads the valid prefix, whose end is fixed when the graph is made.

    No mask is needed then, so the flash kernel serves: the strongest baseline. (A mask over all of the room, which a
    graph for changing lengths has to have, would rule it out.)
    """

    def __init__(self, keys: torch.Tensor, values: torch.Tensor, tokens: int, count: Count, flash: bool) -> None:
        super().__init__(tokens, count)
        self.keys, self.values, self.flash = keys, values, flash

    def store(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        self.keys.index_copy_(2, self.count.position, keys)
        self.values.index_copy_(2, self.count.position, values)

    def attend(self, query: torch.Tensor, sm_scale: float) -> torch.Tensor:
        from torch.nn.attention import SDPBackend, sdpa_kernel

        keys, values = self.keys[:, :, : self.tokens + 1], self.values[:, :, : self.tokens + 1]
        backends = [SDPBackend.FLASH_ATTENTION] if self.flash else [SDPBackend.FLASH_ATTENTION, SDPBackend.MATH]
        with sdpa_kernel(backends):
            out = F.scaled_dot_product_attention(query, keys, values, enable_gqa=True, scale=sm_scale)
        return out.transpose(1, 2)


class NothingStep(SteppedLayer):
    """Neither stores nor reads: what remains of a step is everything but attention."""

    def store(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        pass

    def attend(self, query: torch.Tensor, sm_scale: float) -> torch.Tensor:
        return query.transpose(1, 2)


def plain_cache(model: Any, tokens: int, count: Count) -> tuple[Any, int]:
    """(a cache of PlainStep layers, how many different layers' room it has).

    Where not all fit, layers share the room of others: each is still read whole, and is far larger than the L2 cache.
    """
    cache, shape = short_text(model), Shape.of(model.config)
    size = (1, shape.heads, tokens + SPARE, shape.dim)
    each = 2 * 2 * size[1] * size[2] * size[3]
    free = free_bytes() - (3 << 30) if model.device.type == "cuda" else 1 << 40
    rooms = min(len(shape.layers), free // each)
    if rooms < 1:
        raise MemoryError(f"one layer's {each / 1e9:.1f} GB do not fit")
    pairs = [
        tuple(torch.empty(size, dtype=torch.bfloat16, device=model.device).normal_() for _ in range(2))
        for _ in range(rooms)
    ]
    flash = model.device.type == "cuda"
    for i, index in enumerate(shape.layers):
        cache.layers[index] = PlainStep(*pairs[i % rooms], tokens, count, flash)
    return cache, rooms


def nothing_cache(model: Any, tokens: int, count: Count) -> Any:
    """A cache of NothingStep layers."""
    cache = short_text(model)
    for index in Shape.of(model.config).layers:
        cache.layers[index] = NothingStep(tokens, count)
    return cache


def dynamic_cache(model: Any, tokens: int) -> Any:
    """transformers' DynamicCache with that many random tokens."""
    cache, shape = short_text(model), Shape.of(model.config)
    size = (1, shape.heads, tokens, shape.dim)
    for index in shape.layers:
        layer = cache.layers[index]
        layer.keys, layer.values = (torch.empty(size, dtype=model.dtype, device=model.device).normal_() for _ in "kv")
    return cache


def graph_of(model: Any, cache: Any, count: Count, view: Any = None) -> CapturedStep:
    """The step of a cache as a graph. To be called within stepping(model)."""
    token = torch.full((1, 1), 17, device=model.device)
    return captured_step(model, cache, count, token, cache if view is None else view)


def step_milliseconds(step: Callable[[torch.Tensor], torch.Tensor], token: torch.Tensor, repeats: int = 7) -> Any:
    """(median, spread) of a step's time, over several steps each; at most SPARE / 2 steps in all."""

    def timed(rounds: int) -> float:
        first, last = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        first.record()
        found = token
        for _ in range(rounds):
            found = step(found)
        last.record()
        last.synchronize()
        return float(first.elapsed_time(last)) / rounds

    timed(2)
    rounds = max(1, min(SPARE // 2 // repeats - 1, int(40.0 / max(1e-3, timed(3)))))
    found = [timed(rounds) for _ in range(repeats)]
    return statistics.median(found), max(found) - min(found)


def timed_graph(model: Any, cache: Any, count: Count, view: Any = None) -> tuple[float, float, str]:
    """(median, spread, why there was no graph) of a step."""
    with torch.inference_mode(), stepping(model):
        step = graph_of(model, cache, count, view)
        ms, spread = step_milliseconds(step, torch.full((1, 1), 17, device=model.device))
    return ms, spread, step.reason


def clear() -> None:
    """Gives freed memory back."""
    gc.collect()
    torch.cuda.empty_cache()
