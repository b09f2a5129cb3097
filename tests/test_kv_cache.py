"""A packed cache inside transformers: every family writes, in every way of generating, and what is unfit is refused."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from selfroute.errors import ConfigError, ContextOverflowError  # noqa: E402
from selfroute.models.kv.attention import NAME, attach  # noqa: E402
from selfroute.models.kv.cache import quantized_cache  # noqa: E402
from selfroute.models.kv.layers import PackedHybridLayer  # noqa: E402
from selfroute.models.kv.sizing import kv_bytes, tiles  # noqa: E402
from selfroute.models.kv.states import take  # noqa: E402
from selfroute.models.tiny_configs import ALL, tiny_config  # noqa: E402

VOCAB = 128
PROMPT = 90


@cache
def model(family: str) -> Any:
    torch.manual_seed(0)
    made = transformers.AutoModelForCausalLM.from_config(tiny_config(family, VOCAB)).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.dim() > 1:
                parameter.mul_(4.0)  # else every next token is the last one again
    made.generation_config.eos_token_id = None
    return made


def tokens(rows: int = 1, length: int = PROMPT, seed: int = 1) -> Any:
    return torch.randint(3, VOCAB, (rows, length), generator=torch.Generator().manual_seed(seed))


def write(family: str, ids: Any, packed: Any, **options: Any) -> list[list[int]]:
    settings = {"max_new_tokens": 12, "do_sample": False, "disable_compile": True, **options}
    torch.manual_seed(5)
    out = model(family).generate(ids, past_key_values=packed, **settings)
    return [[int(token) for token in row] for row in out[:, ids.shape[1] :]]


@pytest.mark.parametrize("family", ALL)
def test_unquantized_the_tokens_are_those_of_a_static_cache(family: str) -> None:
    ids = tokens()
    room = transformers.StaticCache(model(family).config, max_cache_len=300)
    model(family).set_attn_implementation("sdpa")
    expected = write(family, ids, room, max_new_tokens=200)
    packed = quantized_cache(model(family), "bf16", max_tokens=300)
    assert write(family, ids, packed, max_new_tokens=200) == expected
    assert packed.get_seq_length() == PROMPT + 199


@pytest.mark.parametrize("family", ALL)
@pytest.mark.parametrize("preset", ["bf16", "k8v8", "k4v8", "k4v4"])
def test_the_bytes_are_those_of_the_formula(family: str, preset: str) -> None:
    config = model(family).config
    packed = quantized_cache(model(family), preset, max_tokens=300)
    model(family)(input_ids=tokens(2), past_key_values=packed)
    assert packed.nbytes == kv_bytes(config, 300, preset, batch=2, itemsize=4)
    grown = quantized_cache(model(family), preset)
    model(family)(input_ids=tokens(2, 300), past_key_values=grown)
    assert grown.nbytes == kv_bytes(config, 512, preset, batch=2, itemsize=4)
    assert (packed.state_bytes > 0) == (family != "llama")
    assert packed.get_max_length() == 300 and grown.get_max_length() == -1


@pytest.mark.parametrize("family", ALL)
@pytest.mark.parametrize(
    "options",
    [{}, {"num_beams": 3}, {"num_return_sequences": 2, "do_sample": True, "top_k": 20}],
    ids=["greedy", "beam", "sampling"],
)
def test_padded_batches_are_written_as_without_a_packed_cache(family: str, options: dict[str, Any]) -> None:
    ids = tokens(2)
    mask = torch.ones_like(ids)
    ids[0, :20], mask[0, :20] = 0, 0
    model(family).set_attn_implementation("sdpa")
    expected = write(family, ids, None, attention_mask=mask, **options)
    for preset in ("bf16", "k4v4"):
        packed = quantized_cache(model(family), preset, max_tokens=300)
        written = write(family, ids, packed, attention_mask=mask, **options)
        assert len(written) == len(expected)
        if preset == "bf16":
            assert written == expected


@pytest.mark.parametrize("family", ALL)
def test_padding_changes_no_score(family: str) -> None:
    """Not even where a whole statistic's worth of padding comes first: it has no part in the keys' shift and gain."""
    ids, pads = tokens(2), 80
    padded = torch.cat((torch.zeros(2, pads, dtype=torch.long), ids), 1)
    mask = (torch.arange(pads + PROMPT) >= pads).long().repeat(2, 1)
    padded[1], mask[1] = torch.cat((ids[1], ids[1, :pads])), 1
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    with torch.no_grad():
        plain = quantized_cache(model(family), "k4v4", max_tokens=200)
        alone = model(family)(input_ids=ids[:1], past_key_values=plain).logits[:, -1]
        packed = quantized_cache(model(family), "k4v4", max_tokens=200)
        both = model(family)(input_ids=padded, attention_mask=mask, position_ids=positions, past_key_values=packed)
    assert (both.logits[:1, -1] - alone).norm() < 0.01 * alone.norm()


@pytest.mark.parametrize("family", ALL)
def test_reading_in_one_block_or_token_by_token_scores_alike(family: str) -> None:
    ids, difference = tokens(1, 100), []
    attach(model(family))
    for packed in (True, False):
        whole, many = (
            quantized_cache(model(family), "k8v8", max_tokens=128)
            if packed
            else transformers.DynamicCache(config=model(family).config)
            for _ in range(2)
        )
        with torch.inference_mode():
            one = model(family)(input_ids=ids, past_key_values=whole).logits[:, -1]
            model(family)(input_ids=ids[:, :64], past_key_values=many)
            for at in range(64, 100):
                last = model(family)(input_ids=ids[:, at : at + 1], past_key_values=many).logits[:, -1]
        difference.append(float((one - last).norm() / one.norm()))
    assert difference[0] < difference[1] + 0.01  # Bamba's recurrence differs by 0.03 by itself


def test_a_fork_goes_its_own_way() -> None:
    for family in ALL:
        one = quantized_cache(model(family), "k4v8", max_tokens=200)
        with torch.no_grad():
            model(family)(input_ids=tokens(), past_key_values=one)
        forks = [one.fork(), one.fork(max_tokens=400)]
        first = write(family, torch.cat((tokens(), tokens(1, 3, 2)), 1), forks[0])
        assert one.get_seq_length() == PROMPT and forks[0].get_seq_length() == PROMPT + 14
        assert write(family, torch.cat((tokens(), tokens(1, 3, 2)), 1), forks[1]) == first
        assert write(family, torch.cat((tokens(), tokens(1, 3, 2)), 1), one) == first


@pytest.mark.parametrize("family", ALL)
def test_sequences_are_repeated_chosen_and_forgotten(family: str) -> None:
    ids = tokens(2)
    packed = quantized_cache(model(family), "k4v4", max_tokens=200)
    step = tokens(4, 1, 9)
    with torch.inference_mode():
        model(family)(input_ids=ids, past_key_values=packed)
        packed.batch_repeat_interleave(2)
        packed.batch_select_indices(torch.tensor([3, 0, 2, 1]))
        got = model(family)(input_ids=step, past_key_values=packed).logits[:, -1]
        straight = quantized_cache(model(family), "k4v4", max_tokens=200)
        model(family)(input_ids=ids[[1, 0, 1, 0]], past_key_values=straight)
        expected = model(family)(input_ids=step, past_key_values=straight).logits[:, -1]
        assert torch.allclose(got, expected, atol=1e-3)
        packed.reset()
        assert packed.get_seq_length() == 0
        model(family)(input_ids=ids[[1, 0, 1, 0]], past_key_values=packed)
        again = model(family)(input_ids=step, past_key_values=packed).logits[:, -1]
    assert torch.equal(again, expected)


def test_a_crop_takes_tokens_back_where_no_state_stands_in_the_way() -> None:
    packed = quantized_cache(model("llama"), "k4v4", max_tokens=200)
    ids = tokens(1, 120)
    with torch.inference_mode():
        model("llama")(input_ids=ids[:, :100], past_key_values=packed)
        expected = model("llama")(input_ids=ids[:, 100:101], past_key_values=packed.fork()).logits
        model("llama")(input_ids=ids[:, 100:], past_key_values=packed)
        packed.crop(-20)
        assert packed.get_seq_length() == 100
        assert torch.equal(model("llama")(input_ids=ids[:, 100:101], past_key_values=packed).logits, expected)
    with pytest.raises(ConfigError):
        packed.crop(-1000)
    packed.crop(-101)
    assert packed.get_seq_length() == 0


@pytest.mark.parametrize("family", [family for family in ALL if family != "llama"])
def test_a_hybrid_refuses_to_be_cropped(family: str) -> None:
    packed = quantized_cache(model(family), "k4v4", max_tokens=200)
    with torch.inference_mode():
        model(family)(input_ids=tokens(), past_key_values=packed)
    assert not packed.is_croppable
    packed.crop(0)
    with pytest.raises(ConfigError, match="recurrent state") as caught:
        packed.crop(-1)
    assert "checkpoint" in caught.value.hint
    assert packed.get_seq_length() == PROMPT


def test_pages_on_the_host_change_nothing() -> None:
    for preset in ("bf16", "k4v4"):
        packed = quantized_cache(model("llama"), preset, max_tokens=400)
        with torch.inference_mode():
            model("llama")(input_ids=tokens(1, 200), past_key_values=packed)
            stays = packed.fork()
            packed.to_host(64)
            packed.to_host(130)
            assert all(layer.k.on_host == 130 and layer.k.room == tiles(400) for layer in packed.packed_layers)
            total = packed.nbytes
            for at in range(3):
                step = tokens(1, 1, at)
                here = model("llama")(input_ids=step, past_key_values=packed).logits
                assert torch.equal(here, model("llama")(input_ids=step, past_key_values=stays).logits)
            packed.to_device()
            assert packed.nbytes == total
            last = tokens(1, 20, 4)
            here = model("llama")(input_ids=last, past_key_values=packed).logits
            assert torch.equal(here, model("llama")(input_ids=last, past_key_values=stays).logits)


def test_layers_may_have_other_bits() -> None:
    packed = quantized_cache(model("llama"), "k4v4:1=bf16", max_tokens=100)
    with torch.inference_mode():
        model("llama")(input_ids=tokens(), past_key_values=packed)
    assert [layer.bits.plain for layer in packed.packed_layers] == [False, True]
    with pytest.raises(ConfigError, match="no attention layer 0"):
        quantized_cache(model("granite-hybrid"), "k4v4:0=k8v8")


def test_nothing_moves_when_a_token_is_added() -> None:
    packed = quantized_cache(model("llama"), "k4v4", max_tokens=200)
    with torch.inference_mode():
        model("llama")(input_ids=tokens(), past_key_values=packed)
        layer = packed.packed_layers[0]
        before, place = layer.k.codes[:, :, :PROMPT].clone(), layer.k.codes.data_ptr()
        model("llama")(input_ids=tokens(1, 1), past_key_values=packed)
    assert torch.equal(layer.k.codes[:, :, :PROMPT], before) and layer.k.codes.data_ptr() == place
    assert layer.lengths.tolist() == [PROMPT + 1] and layer.position.tolist() == [PROMPT + 1]


def test_room_is_made_early_when_asked() -> None:
    packed = quantized_cache(model("falcon-h1"), "k4v4", max_tokens=100, batch=2)
    assert all(layer.is_initialized for layer in packed.packed_layers) and packed.nbytes > 0
    assert all(isinstance(layer, PackedHybridLayer) for layer in packed.packed_layers)
    with pytest.raises(ConfigError, match="2 sequences, 1 came"), torch.inference_mode():
        model("falcon-h1")(input_ids=tokens(), past_key_values=packed)
    with pytest.raises(ConfigError):
        quantized_cache(model("llama").config, "k4v4", max_tokens=9, batch=1)
    with pytest.raises(ConfigError):
        quantized_cache(model("llama"), "k4v4", max_tokens=0)


@pytest.mark.parametrize("family", ALL)
def test_a_full_cache_says_so_and_keeps_what_it_has(family: str) -> None:
    packed = quantized_cache(model(family), "k4v4", max_tokens=PROMPT)
    with torch.inference_mode():
        model(family)(input_ids=tokens(), past_key_values=packed)
        before = take(packed)
        with pytest.raises(ContextOverflowError):
            model(family)(input_ids=tokens(1, 1), past_key_values=packed)
    after = take(packed)
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)
    assert packed.get_seq_length() == PROMPT


def test_another_attention_function_is_told_that_it_cannot_read_it() -> None:
    for name in ("sdpa", "eager"):
        packed = quantized_cache(model("llama"), "k4v4", max_tokens=100)
        model("llama").set_attn_implementation(name)
        with pytest.raises(ConfigError, match="attention function") as caught:
            model("llama")(input_ids=tokens(), past_key_values=packed)
        assert "attach" in caught.value.hint


def test_without_a_packed_cache_the_attention_is_sdpa() -> None:
    ids = tokens(2)
    mask = torch.ones_like(ids)
    mask[0, :9] = 0
    with torch.inference_mode():
        model("llama").set_attn_implementation("sdpa")
        plain = [model("llama")(input_ids=ids, attention_mask=m).logits[:, 9:] for m in (None, mask)]
        attach(model("llama"))
        assert model("llama").config._attn_implementation == NAME
        other = [model("llama")(input_ids=ids, attention_mask=m).logits[:, 9:] for m in (None, mask)]
        past = transformers.DynamicCache(config=model("llama").config)
        first = model("llama")(input_ids=ids[:, :50], attention_mask=mask[:, :50], past_key_values=past).logits
        rest = model("llama")(input_ids=ids[:, 50:], attention_mask=mask, past_key_values=past).logits
        whole = transformers.DynamicCache(config=model("llama").config)
        blocks = [model("llama")(input_ids=part, past_key_values=whole).logits for part in ids.split(30, 1)]
    other += [torch.cat(blocks, 1)[:, 9:], torch.cat((first, rest), 1)[:, 9:]]
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(plain * 2, other, strict=True))


SMALL = {"num_hidden_layers": 2, "hidden_size": 32, "num_attention_heads": 4, "num_key_value_heads": 2}
UNFIT: dict[str, tuple[Callable[[], Any], str]] = {
    "gemma2": (lambda: transformers.Gemma2Config(**SMALL), "caps attention scores"),
    "gemma3_text": (lambda: transformers.Gemma3TextConfig(**SMALL), "sliding window"),
    "gpt_oss": (lambda: transformers.GptOssConfig(**SMALL), "sliding window"),
    "mistral": (lambda: transformers.MistralConfig(**SMALL, sliding_window=64), "sliding window"),
    "deepseek_v3": (lambda: transformers.DeepseekV3Config(**SMALL), "MLA"),
    "t5": (lambda: transformers.T5Config(), "encoder"),
    "mamba2": (lambda: transformers.Mamba2Config(num_hidden_layers=2), "no attention layer"),
    "bloom": (lambda: transformers.BloomConfig(n_layer=2), "ALiBi"),
    "minimax": (lambda: transformers.MiniMaxConfig(**SMALL), "cache of its own"),
    "gpt2": (lambda: transformers.GPT2Config(n_layer=2, n_embd=28, n_head=4), "7 channels"),
}


@pytest.mark.parametrize("name", UNFIT)
def test_a_model_that_cannot_be_served_is_refused_by_name_and_reason(name: str) -> None:
    config, reason = UNFIT[name]
    with pytest.raises(ConfigError, match=reason) as caught:
        quantized_cache(config(), "k4v4", max_tokens=100)
    assert caught.value.hint and (name in caught.value.message or name == "gpt2")


def test_the_package_alone_loads_neither_torch_nor_transformers() -> None:
    code = (
        "import sys, selfroute.models.kv, selfroute.models.kv.presets, selfroute.models.kv.sizing;"
        "print([n for n in ('torch', 'transformers') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
