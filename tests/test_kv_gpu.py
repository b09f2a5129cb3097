"""The packed cache on a CUDA device, which the interpreter of test_kv_triton.py cannot show. Skipped without one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("triton")

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device: kernels run in the interpreter only"),
]


def tiny(family: str, vocabulary: int = 512) -> Any:
    """bfloat16, head_dim 64, two attention layers."""
    import transformers

    torch.manual_seed(0)
    if family == "llama":
        config = transformers.LlamaConfig(
            vocab_size=vocabulary, hidden_size=256, intermediate_size=512, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, head_dim=64, max_position_embeddings=8192,
        )  # fmt: skip
        model = transformers.LlamaForCausalLM(config)
    else:
        config = transformers.GraniteMoeHybridConfig(
            vocab_size=512, hidden_size=256, intermediate_size=256, shared_intermediate_size=256, num_hidden_layers=4,
            num_attention_heads=4, num_key_value_heads=2, num_local_experts=0, mamba_n_heads=16, mamba_d_head=32,
            mamba_d_state=16, position_embedding_type="nope", attention_multiplier=0.125,
            layer_types=["linear_attention", "full_attention"] * 2,
        )  # fmt: skip
        model = transformers.GraniteMoeHybridForCausalLM(config)
    return model.to("cuda", torch.bfloat16).eval().requires_grad_(False)


def read(model: Any, cache: Any, n: int) -> None:
    ids = torch.arange(n, device="cuda")[None] * 7 % 509
    with torch.inference_mode():
        for block in ids.split(300, -1):
            model(input_ids=block, past_key_values=cache, use_cache=True)


@pytest.mark.parametrize("family", ["llama", "granite"])
@pytest.mark.parametrize("preset", ["k4v4", "k4v8", "k8v8"])
def test_a_step_in_a_graph_goes_on_as_the_model_does(family: str, preset: str) -> None:
    from selfroute.models.kv.cache import quantized_cache
    from selfroute.models.kv.loop import Steps

    model = tiny(family)
    caches = [quantized_cache(model, preset, max_tokens=2000) for _ in range(2)]
    for cache in caches:
        read(model, cache, 1000)
    first = torch.tensor([[5]], device="cuda")
    steps = Steps(model, caches[0], first, 20)
    found = [int(token) for token in steps]
    assert steps.reason == ""
    token, wanted = first, []
    with torch.inference_mode():
        for _ in range(20):
            logits = model(input_ids=token, past_key_values=caches[1], use_cache=True).logits
            token = logits[:, -1].argmax(-1, keepdim=True)
            wanted.append(int(token))
    assert found == wanted
    for a, b in zip(*(cache.packed_layers for cache in caches), strict=True):
        assert a.length == b.length == 1020 == int(a.lengths[0]) == int(a.position)


@pytest.mark.parametrize("bits", [(4, 4), (4, 8), (8, 8)])
def test_few_tokens_are_packed_by_the_kernel_as_many_are_without(bits: tuple[int, int]) -> None:
    from selfroute.models.kv.layers import PackedLayer
    from selfroute.models.kv.presets import Bits

    layers = [PackedLayer(Bits(*bits), 4096) for _ in range(2)]
    make = torch.Generator("cuda").manual_seed(1)
    blocks = [torch.randn(2, 2, 4, n, 128, generator=make, device="cuda").pow(3).bfloat16() for n in (100, 1, 16, 3, 1)]
    for layer in layers:
        layer.update(*blocks[0])
        layer.settle()
    layers[1]._kernel_serves = lambda keys: False  # type: ignore[method-assign]
    assert layers[0]._kernel_serves(blocks[1][0])
    for block in blocks[1:]:
        for layer in layers:
            layer.update(*block)
    for one, other in zip(
        (*layers[0].k.parts, *layers[0].v.parts), (*layers[1].k.parts, *layers[1].v.parts), strict=True
    ):
        assert torch.equal(one, other)


@pytest.mark.parametrize("queries", [1, 5, 200])
def test_what_lies_on_the_host_is_read_as_what_lies_on_the_device(queries: int) -> None:
    from selfroute.models.kv.attention import read as attend
    from selfroute.models.kv.layers import PackedLayer
    from selfroute.models.kv.presets import Bits

    make = torch.Generator("cuda").manual_seed(2)
    keys, values = (torch.randn(1, 2, 3000, 64, generator=make, device="cuda").bfloat16() for _ in "kv")
    query = torch.randn(1, 8, queries, 64, generator=make, device="cuda").bfloat16()
    layer = PackedLayer(Bits(4, 4), 4096)
    layer.update(keys, values)
    here = attend(layer, query, None, 0.125)
    layer.offload(2000)
    there = attend(layer, query, None, 0.125)
    layer.prefetch()
    again = attend(layer, query, None, 0.125)
    wanted = torch.nn.functional.scaled_dot_product_attention(
        query.float(), keys.float().repeat_interleave(4, 1), values.float().repeat_interleave(4, 1), scale=0.125,
        attn_mask=torch.ones(queries, 3000, dtype=torch.bool, device="cuda").tril(3000 - queries),
    )  # fmt: skip
    assert torch.equal(here, again)
    assert float((there - here).float().norm() / here.float().norm()) < 0.02
    for got in (here, there):
        assert float((got.float() - wanted).norm() / wanted.norm()) < 0.2


def test_a_generator_answers_by_a_graph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import AutoTokenizer

    from selfroute.models.causal import CausalGenerator
    from selfroute.models.kv import loop
    from selfroute.models.tiny import make_tiny
    from selfroute.types import Chunk

    folder = make_tiny(tmp_path / "m", "llama")
    tiny("llama", len(AutoTokenizer.from_pretrained(folder))).save_pretrained(folder)  # head_dim that kernels serve
    chunk = Chunk("i", "h", "a.py", 1, 1, "x = 1\n" * 60)
    told = []
    for reason in ("", "no CUDA graph: it is not wanted"):
        if reason:
            monkeypatch.setattr(loop, "_why_not", lambda model, cache: reason)  # noqa: B023
        generator = CausalGenerator(str(folder), kv="k8v8", nonce="abcd")
        answer = generator.generate("What is x?", generator.prefill([chunk]), max_new_tokens=16)
        assert [note for note in answer.notes if "CUDA graph" in note] == ([reason] if reason else [])
        told.append((answer.text, answer.usage.new_tokens))
    assert told[0] == told[1] and told[0][1] > 1
