"""Packed rows: how far off they are, where each channel lies, what the size formula counts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from selfroute.errors import ConfigError, UnknownNameError  # noqa: E402
from selfroute.models.kv.packing import MIDDLE, pack, row_bytes, unpack  # noqa: E402
from selfroute.models.kv.presets import PRESETS, Bits, preset_of  # noqa: E402
from selfroute.models.kv.sizing import Shape, kv_bytes, layer_kinds  # noqa: E402
from selfroute.models.kv.statistics import normalise, statistics  # noqa: E402
from selfroute.models.tiny import make_tiny  # noqa: E402
from selfroute.models.tiny_configs import ALL, tiny_config  # noqa: E402


@settings(max_examples=60, deadline=None)
@given(
    bits=st.sampled_from((4, 8)),
    lead=st.lists(st.integers(1, 5), min_size=0, max_size=3),
    half=st.integers(1, 70),
    power=st.integers(-10, 12),
    seed=st.integers(0, 1000),
)
def test_a_value_is_off_by_half_a_step_at_most(bits: int, lead: list[int], half: int, power: int, seed: int) -> None:
    x = torch.randn(*lead, 2 * half, generator=torch.Generator().manual_seed(seed)) * 2.0**power
    codes, scales = pack(x, bits)
    assert codes.shape == (*lead, 2 * half * bits // 8) and codes.dtype == torch.uint8
    assert scales.shape == (*lead, 2) and scales.dtype == torch.float16
    assert codes.shape[-1] + 4 == row_bytes(2 * half, bits)
    largest = x.reshape(*lead, 2, half).abs().amax(-1, keepdim=True)
    clipped = 0.2 if bits == 4 else 0.0
    bound = (scales.float().unsqueeze(-1) / 2 + largest * (clipped + 1 / 1024)).expand(*lead, 2, half).reshape(x.shape)
    smallest = MIDDLE[bits] * 2.0**-24  # under it float16 has no scale
    assert ((unpack(codes, scales, bits) - x).abs() <= bound + smallest).all()


@pytest.mark.parametrize("bits", [4, 8])
def test_zero_the_largest_and_what_is_too_large_have_their_codes(bits: int) -> None:
    x = torch.tensor([0.0, 0.0, MIDDLE[bits], -MIDDLE[bits]])
    codes, scales = pack(x, bits)
    assert scales.tolist() == [0.0, 1.0]
    assert unpack(codes, scales, bits).tolist() == x.tolist()
    huge = unpack(*pack(torch.full((4,), 1e30), bits), bits)
    assert torch.isfinite(huge).all() and (huge > 6e4 * MIDDLE[bits]).all()


def test_four_bits_clip_where_that_leaves_less_error() -> None:
    make = torch.Generator().manual_seed(0)
    x = torch.cat((torch.empty(2000, 128).cauchy_(generator=make).atan(), torch.randn(2000, 128, generator=make)))
    got = unpack(*pack(x, 4), 4)
    halves = x.view(-1, 2, 64)
    step = (halves.abs().amax(-1, keepdim=True) / 7.5).half().float()
    plain = ((halves / step + 7.5).round().clamp(0, 15) - 7.5) * step
    errors = (got - x).view(-1, 2, 64).square().sum(-1), (plain - halves).square().sum(-1)
    assert (errors[0] <= errors[1] * 1.005).all()
    assert errors[0].sum() < 0.95 * errors[1].sum()
    alone = [pack(row, 4) for row in x[:50]]
    assert all(torch.equal(torch.stack(part), pack(x[:50], 4)[i]) for i, part in enumerate(zip(*alone, strict=True)))


def test_four_bits_put_the_second_half_into_the_high_nibble() -> None:
    codes, scales = pack(torch.tensor([7.5, -7.5, 15.0, 1.0]), 4)
    assert codes.tolist() == [15 | 15 << 4, 0 | 8 << 4]
    assert scales.tolist() == [1.0, 2.0]


def test_eight_bits_keep_the_order_of_the_channels() -> None:
    codes, scales = pack(torch.tensor([127.5, -127.5, 255.0, -255.0]), 8)
    assert codes.tolist() == [255, 0, 255, 0] and scales.tolist() == [1.0, 2.0]


@pytest.mark.parametrize(("dim", "bits"), [(3, 4), (0, 8), (8, 5)])
def test_what_has_no_room_in_the_layout_is_refused(dim: int, bits: int) -> None:
    with pytest.raises(ConfigError):
        pack(torch.zeros(2, dim), bits)


@settings(max_examples=20, deadline=None)
@given(constant=st.booleans(), seed=st.integers(0, 99), size=st.sampled_from((1e-3, 1.0, 100.0)))
def test_a_key_less_its_mean_and_spread_gives_the_same_softmax(constant: bool, seed: int, size: float) -> None:
    make = torch.Generator().manual_seed(seed)
    keys = torch.randn(2, 3, 70, 6, generator=make).double() * (0 if constant else size) + 5 * size
    query = torch.randn(2, 3, 4, 6, generator=make).double() / size
    shift, gain = statistics(keys[:, :, :64])
    assert (gain > 0).all()
    row = normalise(keys, shift, gain)
    assert row.abs().max() < 2000  # far from float16's largest
    plain = torch.softmax(query @ keys.transpose(-1, -2), -1)
    moved = torch.softmax((query * gain.double().unsqueeze(2)) @ row.double().transpose(-1, -2), -1)
    assert torch.allclose(plain, moved, atol=1e-4)


@pytest.mark.parametrize("rotary", [0, 4, 6])
def test_padding_has_no_part_in_shift_and_gain(rotary: int) -> None:
    keys = torch.randn(2, 3, 200, 6, generator=torch.Generator().manual_seed(0)) + 2
    visible = torch.ones(2, 200, dtype=torch.bool)
    visible[0, :90] = False
    both = statistics(keys, visible, rotary)
    for row, start in ((0, 90), (1, 0)):
        alone = statistics(keys[row : row + 1, :, start : start + 64], None, rotary)
        assert all(torch.allclose(a[row], b[0], atol=1e-6) for a, b in zip(both, alone, strict=True))
    assert not both[0][..., :rotary].any()
    assert (both[0][..., rotary:] > 1).all()
    if rotary:  # the same for both channels of a pair, and at any turn of it
        assert torch.equal(both[1][..., : rotary // 2], both[1][..., rotary // 2 : rotary])
    nothing = statistics(keys, torch.zeros(2, 200, dtype=torch.bool), rotary)
    assert all(torch.isfinite(part).all() for part in nothing)


def test_the_channels_that_positions_turn_are_counted() -> None:
    from selfroute.models.kv.cache import rotary_channels

    turned = {family: rotary_channels(tiny_config(family)) for family in ALL}
    none, whole = dict.fromkeys(("granite-hybrid", "jamba", "nemotron-h"), 0), dict.fromkeys(("llama", "lfm2"), 8)
    assert turned == {**none, **whole, "falcon-h1": 8, "bamba": 4, "qwen3.5": 2}


def test_presets_are_read_from_text() -> None:
    assert preset_of("K4V8") == PRESETS["k4v8"]
    mixed = preset_of("k4v4:0=k8v8,5=bf16")
    assert mixed.name == "k4v4:0=k8v8,5=bf16" and preset_of(mixed.name) == mixed
    assert mixed.at(0) == Bits(8, 8) and mixed.at(1) == Bits(4, 4) and mixed.at(5).plain
    assert preset_of("k4v4:2=k4v4") == PRESETS["k4v4"]


@pytest.mark.parametrize("spec", ["k3v3", "", "k4v4:", "k4v4:x=k8v8", "k4v4:1=k9v9", "k4v4:1"])
def test_a_preset_that_is_none_is_refused(spec: str) -> None:
    with pytest.raises((ConfigError, UnknownNameError)):
        preset_of(spec)


@pytest.mark.parametrize("family", ALL)
def test_the_size_is_the_same_from_a_config_and_from_its_file(family: str, tmp_path: Path) -> None:
    config = tiny_config(family)
    config.save_pretrained(tmp_path)
    parsed: dict[str, Any] = json.loads((tmp_path / "config.json").read_text())
    for preset in PRESETS:
        assert kv_bytes(config, 100, preset) == kv_bytes(parsed, 100, preset) > 0
    assert Shape.of(parsed).layers == Shape.of(config).layers
    assert len(Shape.of(config).layers) == {"qwen3.5": 1}.get(family, 2)


def test_the_bytes_of_known_models() -> None:
    granite = {"num_attention_heads": 12, "num_key_value_heads": 4, "hidden_size": 768, "dtype": "bfloat16"}
    granite["layer_types"] = ["mamba"] * 28 + ["attention"] * 4  # type: ignore[assignment]
    assert kv_bytes(granite, 64, "bf16") == 4096 * 64
    assert kv_bytes(granite, 1 << 22, "k4v4") < 5e9
    llama = {"num_attention_heads": 32, "num_key_value_heads": 8, "hidden_size": 4096, "num_hidden_layers": 32}
    ratio = kv_bytes(llama, 131072, "k4v4") / kv_bytes(llama, 131072, "bf16", itemsize=2)
    assert 0.265 < ratio < 0.267
    assert kv_bytes(llama, 1, "k8v8", batch=3) == 3 * kv_bytes(llama, 64, "k8v8")
    mixed = kv_bytes(llama, 64, "k4v4:0=k8v8") - kv_bytes(llama, 64, "k4v4")
    assert mixed == 8 * 64 * 2 * 64
    with pytest.raises(ConfigError):
        kv_bytes({"num_hidden_layers": 3}, 10, "k4v4")


def test_older_ways_of_telling_layers_apart_are_read() -> None:
    assert layer_kinds({"hybrid_override_pattern": "M-*E"}) == ["mamba", "mlp", "attention", "moe"]
    jamba = {"num_hidden_layers": 8, "attn_layer_period": 4, "attn_layer_offset": 1}
    assert [i for i, kind in enumerate(layer_kinds(jamba)) if kind == "attention"] == [1, 5]
    assert layer_kinds({"num_hidden_layers": 2, "full_attn_idxs": [1]}) == ["recurrent", "attention"]
    assert layer_kinds({"num_hidden_layers": 1, "sliding_window": 99}) == ["sliding_attention"]


def test_a_tiny_model_of_each_family_is_saved(tmp_path: Path) -> None:
    assert (make_tiny(tmp_path / "lfm2", "lfm2") / "model.safetensors").is_file()
