"""The Triton decode kernels in Triton's interpreter, against plain torch in float64 on the same codes.

The interpreter has to be chosen before triton is first imported, so this file is run once as a program of its own:
it prints one JSON object, name of a case -> figures, and the tests below look at them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import partial
from importlib.util import find_spec
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(find_spec("triton") is None, reason="triton is not installed: no kernels to interpret")

# name -> head_dim, heads, queries a head, capacity, lengths, bits, splits
DENSE = {
    "k4v4": (64, 2, 4, 128, (100, 128), (4, 4), 2),
    "k8v8": (64, 2, 4, 128, (1, 77), (8, 8), 2),
    "k4v8": (128, 1, 4, 96, (96,), (4, 8), 1),
    "group 1": (64, 3, 1, 64, (40,), (4, 4), None),
    "group 3": (64, 1, 3, 64, (64,), (4, 4), 1),
    "group 8": (64, 2, 8, 192, (130,), (4, 4), 3),
    "group 16": (64, 1, 16, 70, (70,), (8, 4), 2),
    "odd capacity": (64, 2, 4, 101, (101, 50), (4, 4), 2),
    "more splits than tiles": (64, 1, 4, 128, (30, 128), (4, 4), 5),
    "no tokens": (64, 1, 4, 64, (0, 5), (4, 4), 1),
    "head_dim 256": (256, 1, 4, 64, (64,), (4, 4), 1),
}


@pytest.fixture(scope="module")
def figures() -> dict[str, Any]:
    environment = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    run = subprocess.run([sys.executable, __file__], env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-2000:]
    found: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("name", DENSE)
def test_dense_is_the_float64_attention_of_the_codes(figures: dict[str, Any], name: str) -> None:
    assert figures[name]["error"] < 1e-3


def test_a_sequence_without_tokens_gets_zeros(figures: dict[str, Any]) -> None:
    assert figures["no tokens"]["zeros"] is True


def test_values_past_the_length_are_never_read(figures: dict[str, Any]) -> None:
    assert figures["poison"]["error"] < 1e-3


def test_tiny_and_huge_scales_keep_their_digits(figures: dict[str, Any]) -> None:
    assert figures["tiny values"]["error"] < 1e-3
    assert figures["growing values"]["error"] < 1e-3


def test_all_pages_are_bit_identical_to_dense(figures: dict[str, Any]) -> None:
    assert figures["paged"]["identical"] == [True, True, True]


def test_some_pages_are_the_attention_of_their_tokens(figures: dict[str, Any]) -> None:
    assert figures["paged"]["error"] < 1e-3


def test_queries_are_multiplied_by_the_gain_in_the_kernel(figures: dict[str, Any]) -> None:
    assert figures["paged"]["gain"] is True


@pytest.mark.parametrize("name", ["one token", "three tokens", "odd head_dim", "many rows", "a position a sequence"])
def test_append_packs_as_packing_does_bit_for_bit(figures: dict[str, Any], name: str) -> None:
    assert figures["append"][name] == {"same": True, "past the end": "left out"}


@pytest.mark.parametrize("name", ["llama", "granite", "falcon_h1"])
def test_steps_of_the_kernels_choose_and_store_what_the_cache_does(figures: dict[str, Any], name: str) -> None:
    found = figures["steps"][name]
    assert found["tokens"] == found["wanted"]
    assert found["lengths"] == [[68, 68, 68]]
    assert found["codes that differ"] < 0.01
    assert found["reason"].startswith("no CUDA graph: ")
    assert found["attention"] == "selfroute_kv"


def test_the_loop_runs_without_a_graph_and_says_why() -> None:
    import torch

    from selfroute.errors import ConfigError
    from selfroute.models.kv.cache import quantized_cache
    from selfroute.models.kv.loop import decode_loop

    model = tiny("llama")
    ids = torch.arange(60)[None] % 50
    with torch.inference_mode():
        cache, plain = quantized_cache(model, "k8v8"), quantized_cache(model, "bf16")
        first = model(input_ids=ids, past_key_values=cache, use_cache=True).logits[:, -1].argmax(-1)
        model(input_ids=ids, past_key_values=plain, use_cache=True)
    begun = decode_loop(model, cache, first, 3)
    assert begun.reason == "no CUDA graph: too few tokens were there before"
    rest = decode_loop(model, cache, begun.tokens[:, -1], 5)
    assert rest.reason == "no CUDA graph: the model is not on a CUDA device"
    assert cache.get_seq_length() == 68
    wanted = decode_loop(model, plain, first, 8).tokens
    assert torch.equal(torch.cat([begun.tokens, rest.tokens], 1), wanted)
    with pytest.raises(ConfigError, match="0 tokens cannot be decoded"):
        decode_loop(model, cache, first, 0)


def test_a_state_that_is_replaced_is_noticed() -> None:
    import torch
    from transformers import DynamicCache

    from selfroute.models.kv.loop import Kept

    model = tiny("granite")
    cache = DynamicCache(config=model.config)
    with torch.inference_mode():
        model(input_ids=torch.arange(9)[None], past_key_values=cache, use_cache=True)
        kept = Kept(cache)
        model(input_ids=torch.tensor([[9]]), past_key_values=cache, use_cache=True)
    assert [name for name, *_ in kept.states] == ["0.conv.0", "0.recurrent.0"]
    assert kept.moved() == []
    state = cache.layers[0].recurrent_states[0]
    cache.layers[0].recurrent_states[0] = state + 1
    assert kept.moved() == ["0.recurrent.0"]
    kept.restore()
    assert cache.layers[0].recurrent_states[0] is state
    assert torch.equal(state, kept.states[1][4])


def tiny(family: str) -> Any:
    """A random model of that family with head_dim 64, the same every time."""
    import torch
    import transformers

    sizes: dict[str, Any] = {
        "vocab_size": 61, "hidden_size": 64, "intermediate_size": 64, "num_attention_heads": 2,
        "num_key_value_heads": 1, "head_dim": 64, "num_hidden_layers": 1,
    }  # fmt: skip
    mamba = {"mamba_d_state": 8, "mamba_chunk_size": 16, "mamba_n_groups": 1}
    torch.manual_seed(7)
    model: Any
    if family == "llama":
        model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**sizes))
    elif family == "granite":
        more = {"shared_intermediate_size": 64, "num_local_experts": 0, "attention_multiplier": 0.1}
        kinds = {"layer_types": ["linear_attention", "full_attention"], "position_embedding_type": "nope"}
        sizes |= {"num_hidden_layers": 2, "hidden_size": 128} | more | kinds
        config = transformers.GraniteMoeHybridConfig(**sizes, **mamba, mamba_n_heads=8, mamba_d_head=32)
        model = transformers.GraniteMoeHybridForCausalLM(config)
    else:
        config = transformers.FalconH1Config(**sizes, **mamba, mamba_d_ssm=64, mamba_n_heads=4, mamba_d_head=16)
        model = transformers.FalconH1ForCausalLM(config)
    embedding = model.get_input_embeddings().weight
    with torch.no_grad():
        embedding.copy_(torch.randn(embedding.shape) * 2)
    return model.eval()


def steps_case(family: str) -> dict[str, Any]:
    """Three tokens behind 65 by the kernels, and by the cache's own way."""
    import torch

    from selfroute.models.kv.cache import quantized_cache
    from selfroute.models.kv.loop import Steps, decode_loop

    model, ids = tiny(family), torch.arange(65)[None] * 7 % 61
    caches = [quantized_cache(model, "k4v8", max_tokens=100) for _ in range(2)]
    first = torch.tensor([[5]])
    steps = Steps(model, caches[0], first, 9)
    with torch.inference_mode():
        for cache in caches:
            model(input_ids=ids, past_key_values=cache, use_cache=True)
    walk = steps.packed(first, 9)
    found = [int(next(walk)) for _ in range(3)]
    walk.close()
    wanted = decode_loop(model, caches[1], first, 3).tokens
    pairs = list(zip(*(cache.packed_layers for cache in caches), strict=True))
    differ = [(a.k.codes != b.k.codes).float().mean() + (a.v.codes != b.v.codes).float().mean() for a, b in pairs]
    return {
        "tokens": [found],
        "wanted": wanted.tolist(),
        "codes that differ": float(max(differ)),
        "lengths": [[a.length, int(a.lengths[0]), int(a.position)] for a, _ in pairs],
        "reason": steps.reason,
        "attention": model.config._attn_implementation,
    }


def append_case() -> dict[str, Any]:
    """Against packing.pack of normalised keys, over rows, types and widths; values with a zero half and a huge one."""
    import torch

    from selfroute.models.kv.append import append
    from selfroute.models.kv.packing import pack
    from selfroute.models.kv.statistics import normalise

    generator = torch.Generator().manual_seed(11)
    cases = {
        "one token": (2, 3, 1, 64, (4, 4), torch.float32, [7]),
        "three tokens": (1, 2, 3, 128, (8, 8), torch.bfloat16, [7]),
        "odd head_dim": (1, 2, 2, 6, (8, 4), torch.float16, [7]),
        "many rows": (4, 8, 16, 128, (4, 4), torch.bfloat16, [0]),
        "a position a sequence": (3, 1, 2, 80, (4, 8), torch.float32, [7, 0, 17]),
    }
    found: dict[str, Any] = {}
    for name, (batch, heads, tokens, dim, bits, dtype, starts) in cases.items():
        made = [torch.randn(batch, tokens, heads, dim, generator=generator).to(dtype).transpose(1, 2) for _ in "kv"]
        keys, values = made[0] * 3, made[1] ** 3
        values[0, 0, 0, : dim // 2] = 0
        values[-1, -1, -1, -1] = 6e4
        shift = torch.randn(batch, heads, dim, generator=generator)
        gain = torch.rand(batch, heads, dim, generator=generator) + 0.01
        new = (*pack(normalise(keys, shift, gain), bits[0]), *pack(values, bits[1]))
        room = [torch.full((batch, heads, 19, x.shape[-1]), 9, dtype=x.dtype) for x in new]
        wanted = [x.clone() for x in room]
        for target, x in zip(wanted, new, strict=True):
            for b in range(batch):
                start = starts[b % len(starts)]
                target[b, :, start : start + tokens] = x[b]
        append(keys, values, shift, gain, *room, torch.tensor(starts), bits=bits)
        same = all(map(torch.equal, room, wanted))
        append(keys, values, shift, gain, *room, torch.tensor([19], dtype=torch.int32), bits=bits)
        out = "left out" if all(map(torch.equal, room, wanted)) else "written"
        found[name] = {"same": same, "past the end": out}
    return found


def case(
    dim: int, heads: int, group: int, capacity: int, lengths: tuple[int, ...], bits: tuple[int, int],
    splits: int | None, *, poison: bool = False, value: float = 1.0, growth: float = 0.0,
) -> dict[str, Any]:  # fmt: skip
    """The relative error of one call, and whether a sequence of length 0 got zeros."""
    import torch

    from selfroute.models.kv.decode import Plan, decode

    generator = torch.Generator().manual_seed(dim + capacity + group)
    batch = len(lengths)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    queries = (random(batch, heads * group, dim) * 2).float()
    keys = pack(random(batch, heads, capacity, dim), bits[0])
    ramp = torch.exp(growth * torch.arange(capacity, dtype=torch.float64) / capacity)[:, None]
    values = pack(random(batch, heads, capacity, dim) * value * ramp, bits[1])
    wanted = reference(queries, keys, values, lengths, bits, dim**-0.5)
    if poison:
        for b, length in enumerate(lengths):
            for codes, scales in (keys, values):
                codes[b, :, length:] = 255
                scales[b, :, length:] = float("nan")
    got = decode(
        queries, *keys, *values, torch.tensor(lengths, dtype=torch.int32), bits=bits, sm_scale=dim**-0.5,
        n_splits=splits, plan=Plan(block_n=32, assembly=False),
    )  # fmt: skip
    error = (got.double() - wanted).norm() / wanted.norm().clamp(min=1e-300)
    zeros = all(bool((got[b] == 0).all()) for b, length in enumerate(lengths) if length == 0)
    return {"error": float(error), "zeros": zeros}


def paged_case() -> dict[str, Any]:
    """All pages against dense, of 64 and of 128 tokens; then pages 0 and 2 of 64 tokens, the last one half full."""
    import torch

    from selfroute.models.kv.decode import Plan, decode
    from selfroute.models.kv.paged_decode import paged_decode

    generator = torch.Generator().manual_seed(3)
    keys, values = (pack(torch.randn(2, 2, 256, 64, generator=generator).double(), 4) for _ in range(2))
    queries, lengths = torch.randn(2, 8, 64, generator=generator), torch.tensor([161, 256], dtype=torch.int32)
    plan, identical = Plan(block_n=32, assembly=False), []
    for page_tokens, block_n, splits in ((64, 32, 3), (128, 32, 2), (64, 64, 2)):
        plan = Plan(block_n=block_n, assembly=False)
        pages = torch.full((2, 2, 256 // page_tokens), -1, dtype=torch.int32)
        for b, length in enumerate(lengths.tolist()):
            there = -(-length // page_tokens)
            pages[b, :, :there] = torch.arange(there)
        common = {"sm_scale": 0.1, "n_splits": splits, "plan": plan}
        dense = decode(queries, *keys, *values, lengths, **common)
        paged = paged_decode(queries, *keys, *values, lengths, pages, page_tokens=page_tokens, **common)
        identical.append(bool(torch.equal(dense, paged)))
    some = torch.tensor([0, 2, -1], dtype=torch.int32).expand(2, 2, 3)
    got = paged_decode(queries, *keys, *values, lengths, some, page_tokens=64, sm_scale=0.1, n_splits=2, plan=plan)
    gain = torch.rand(2, 2, 64, generator=generator) + 0.5
    same = [
        torch.equal(
            call(queries, *keys, *values, lengths, *more, sm_scale=0.1, plan=plan, gain=gain),
            call(queries * gain.repeat_interleave(4, 1), *keys, *values, lengths, *more, sm_scale=0.1, plan=plan),
        )
        for call, more in ((decode, ()), (partial(paged_decode, page_tokens=64), (some,)))
    ]
    kept = [[*range(64), *range(128, 161)], [*range(64), *range(128, 192)]]
    errors = []
    for b, tokens in enumerate(kept):
        parts = [tuple(x[b : b + 1, :, tokens] for x in pair) for pair in (keys, values)]
        wanted = reference(queries[b : b + 1], *parts, (len(tokens),), (4, 4), 0.1)
        errors.append(float((got[b : b + 1].double() - wanted).norm() / wanted.norm()))
    return {"identical": identical, "error": max(errors), "gain": all(same)}


def pack(x: Any, bits: int) -> tuple[Any, Any]:
    """The layout of packing.py, written again: codes uint8 [.., D * bits / 8] and scales float16 [.., 2]."""
    import torch

    half, middle = x.shape[-1] // 2, (2**bits - 1) / 2
    halves = x.unflatten(-1, (2, half))
    scales = (halves.abs().amax(-1) / middle).half()
    codes = (halves / scales.double()[..., None] + middle).round().clamp(0, 2**bits - 1).to(torch.uint8)
    if bits == 8:
        return codes.flatten(-2).contiguous(), scales
    return (codes[..., 0, :] | (codes[..., 1, :] << 4)).contiguous(), scales


def unpack(codes: Any, scales: Any, bits: int) -> Any:
    import torch

    if bits == 4:
        codes = torch.cat([codes & 15, codes >> 4], -1)
    middle = (2**bits - 1) / 2
    return ((codes.double() - middle).unflatten(-1, (2, -1)) * scales.double()[..., None]).flatten(-2)


def reference(
    queries: Any, keys: Any, values: Any, lengths: tuple[int, ...], bits: tuple[int, int], scale: float
) -> Any:
    import torch

    k, v = unpack(*keys, bits[0]), unpack(*values, bits[1])
    group = queries.shape[1] // k.shape[1]
    out = torch.zeros(queries.shape, dtype=torch.float64)
    for b, length in enumerate(lengths):
        for head in range(queries.shape[1] if length else 0):
            scores = k[b, head // group, :length] @ queries[b, head].double() * scale
            out[b, head] = scores.softmax(0) @ v[b, head // group, :length]
    return out


def mend_the_interpreter() -> None:
    """Triton before 3.7 makes loop bounds with int() of a one-element array, which numpy 2.4 refuses."""
    import triton.runtime.interpreter as interpreter

    patch = interpreter._patch_lang_tensor

    def mended(tensor: Any, scope: Any) -> None:
        patch(tensor, scope)
        scope.set_attr(tensor, "__index__", lambda self: int(self.handle.data.squeeze()))

    interpreter._patch_lang_tensor = mended


def main() -> None:
    mend_the_interpreter()
    found = {name: case(*arguments) for name, arguments in DENSE.items()}
    found["poison"] = case(64, 1, 4, 96, (50, 33), (4, 4), 2, poison=True)
    found["tiny values"] = case(64, 1, 4, 96, (90,), (4, 8), 1, value=1e-3)
    found["growing values"] = case(64, 1, 4, 96, (96,), (4, 8), 1, growth=8.0)
    found["paged"] = paged_case()
    found["append"] = append_case()
    found["steps"] = {family: steps_case(family) for family in ("llama", "granite", "falcon_h1")}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
