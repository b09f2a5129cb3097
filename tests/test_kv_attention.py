"""Attention over packed rows: as float64 has it on the same rows, and near what unpacked keys and values give."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from selfroute.errors import ConfigError  # noqa: E402
from selfroute.models.kv import blockwise  # noqa: E402
from selfroute.models.kv.attention import forward, mask, read  # noqa: E402
from selfroute.models.kv.blockwise import attend, dense  # noqa: E402
from selfroute.models.kv.layers import PackedLayer  # noqa: E402
from selfroute.models.kv.presets import PRESETS  # noqa: E402
from selfroute.models.kv.reference import contents, exact  # noqa: E402

QUANTIZED = ("k8v8", "k4v8", "k4v4")


def normal(*shape: int, seed: int = 0) -> Any:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def outliers(batch: int, heads: int, count: int, dim: int, seed: int = 0) -> Any:
    """Keys as models have them: a few channels are large and much the same for every token."""
    keys = normal(batch, heads, count, dim, seed=seed)
    large = torch.randperm(dim, generator=torch.Generator().manual_seed(seed))[: max(1, dim // 32)]
    keys[..., large] += 10 * normal(1, heads, 1, len(large), seed=seed + 1).sign()
    return keys


@settings(max_examples=50, deadline=None)
@given(
    preset=st.sampled_from(list(PRESETS)),
    batch=st.integers(1, 3),
    heads=st.integers(1, 3),
    group=st.integers(1, 4),
    half=st.integers(1, 20),
    blocks=st.lists(st.sampled_from((1, 1, 2, 7, 9, 40, 64, 100)), min_size=1, max_size=6),
    padding=st.booleans(),
    small=st.booleans(),
    seed=st.integers(0, 99),
)
def test_the_output_is_float64s_on_the_same_rows(
    preset: str, batch: int, heads: int, group: int, half: int, blocks: list[int], padding: bool, small: bool, seed: int
) -> None:
    layer, dim = PackedLayer(PRESETS[preset].bits, None if small else 700), 2 * half
    with pytest.MonkeyPatch.context() as patch:
        if small:  # so that there are several blocks of keys and of queries
            patch.setattr(blockwise, "KEYS", 33)
            patch.setattr(blockwise, "QUERIES", 17)
            patch.setattr(blockwise, "ELEMENTS", 64)
        for number, n in enumerate(blocks):
            keys, values = (normal(batch, heads, n, dim, seed=seed + i + 2 * number) for i in (0, 1))
            query = normal(batch, heads * group, n, dim, seed=seed + 50)
            layer.update(keys + 1, values)
            visible, first = None, 0
            if padding:
                visible = torch.ones(batch, layer.length, dtype=torch.bool)
                visible[0, : min(5, layer.length - 1)] = False
                first = max(0, min(5, layer.length - 1) - layer.length + n)  # rows that see nothing say nothing
            out = attend(layer, query, visible, 0.3)
            expected = exact(query, *contents(layer), 0.3, visible)
            assert out.dtype == query.dtype and out.shape == query.shape
            assert torch.isfinite(out).all()
            assert (out - expected)[:, :, first:].abs().max() < 1e-4
    assert layer.length == sum(blocks) and layer.packed == (preset == "bf16" or layer.length >= 64)


@pytest.mark.parametrize("n", [1, 3, 40])
@pytest.mark.parametrize("preset", ["bf16", "k4v4"])
@pytest.mark.parametrize("heads", [1, 4])
def test_a_mask_that_is_written_out_says_all(n: int, preset: str, heads: int) -> None:
    layer = PackedLayer(PRESETS[preset].bits, 200)
    layer.update(normal(2, 2, 150, 8), normal(2, 2, 150, 8, seed=1))
    query = normal(2, 4, n, 8, seed=2)
    seen = torch.rand(2, heads, n, 150, generator=torch.Generator().manual_seed(3)) < 0.5
    seen[..., 0] = True
    added = torch.zeros(seen.shape).masked_fill(~seen, torch.finfo(torch.float32).min)
    keys, values = (part.repeat_interleave(2, 1) for part in contents(layer))
    scores = (query.double() @ keys.transpose(-1, -2) * 0.5).masked_fill(~seen, -1e300)
    expected = torch.softmax(scores, -1) @ values
    for visible in (seen, added):
        assert (attend(layer, query, visible, 0.5) - expected).abs().max() < 1e-4


@pytest.mark.parametrize(("preset", "most"), [("k8v8", 0.02), ("k4v8", 0.2), ("k4v4", 0.25)])
@pytest.mark.parametrize("dim", [64, 128])
def test_the_error_is_that_of_the_bits(preset: str, most: float, dim: int) -> None:
    keys, values, query = outliers(1, 2, 2048, dim), normal(1, 2, 2048, dim, seed=7), normal(1, 8, 1, dim, seed=8)
    layer = PackedLayer(PRESETS[preset].bits, 2048)
    layer.update(keys, values)
    expected = exact(query, keys, values, dim**-0.5)
    assert (attend(layer, query, None, dim**-0.5) - expected).norm() < most * expected.norm()


def grouped(x: Any, bits: int) -> Any:
    """transformers' default layout: groups of 64 channels of a token, each with its own least value and step."""
    groups = x.reshape(*x.shape[:-1], -1, 64)
    low, high = groups.amin(-1, keepdim=True), groups.amax(-1, keepdim=True)
    step = ((high - low) / (2**bits - 1)).half().float()
    low = low.half().float()
    return (((groups - low) / step).round().clamp(0, 2**bits - 1) * step + low).reshape(x.shape)


@pytest.mark.parametrize("dim", [64, 128])
def test_keys_with_large_channels_lose_at_most_0_6_of_what_the_default_layout_loses(dim: int) -> None:
    for preset in QUANTIZED:
        bits, ours, theirs = PRESETS[preset].bits, 0.0, 0.0
        for seed in range(3):
            keys, values = outliers(1, 2, 2048, dim, seed), normal(1, 2, 2048, dim, seed=seed + 20)
            query = normal(1, 8, 1, dim, seed=seed + 40)
            layer = PackedLayer(bits, 2048)
            layer.update(keys, values)
            expected = exact(query, keys, values, dim**-0.5)
            ours += float((attend(layer, query, None, dim**-0.5) - expected).norm())
            other = exact(query, grouped(keys, bits.keys), grouped(values, bits.values), dim**-0.5)
            theirs += float((other - expected).norm())
        assert ours <= 0.6 * theirs


def turned(keys: Any, theta: float) -> Any:
    """Keys [.., N, D] under rotary positions."""
    count, half = keys.shape[-2], keys.shape[-1] // 2
    angle = torch.arange(count)[:, None] * theta ** (-torch.arange(half) / half)
    one, other = keys[..., :half], keys[..., half:]
    return torch.cat((one * angle.cos() - other * angle.sin(), one * angle.sin() + other * angle.cos()), -1)


@pytest.mark.parametrize("pairs", [(58, 62), (32, 40), (2, 8)], ids=["slow", "middling", "fast"])
def test_large_channels_that_positions_turn_lose_less_than_in_the_default_layout(pairs: tuple[int, ...]) -> None:
    """Less a mean of the first tokens, those that turn once in some thousand tokens would lose two times as much."""
    for preset in QUANTIZED:
        bits, ours, theirs = PRESETS[preset].bits, 0.0, 0.0
        for seed in range(3):
            keys, values = normal(1, 2, 4096, 128, seed=seed), normal(1, 2, 4096, 128, seed=seed + 20)
            for pair in pairs:
                keys[..., pair] += 8
                keys[..., pair + 64] += 6
            keys, query = turned(keys, 500_000.0), normal(1, 8, 1, 128, seed=seed + 40)
            expected = exact(query, keys, values, 128**-0.5)
            layer = PackedLayer(bits, 4096, rotary=128)
            layer.update(keys, values)
            ours += float((attend(layer, query, None, 128**-0.5) - expected).norm())
            other = exact(query, grouped(keys, bits.keys), grouped(values, bits.values), 128**-0.5)
            theirs += float((other - expected).norm())
        assert ours < 0.85 * theirs


def test_half_precision_in_is_half_precision_out() -> None:
    for dtype in (torch.bfloat16, torch.float16):
        for preset in PRESETS:
            layer = PackedLayer(PRESETS[preset].bits, 200)
            layer.update(normal(1, 2, 100, 16).to(dtype), normal(1, 2, 100, 16, seed=1).to(dtype))
            for n in (1, 50):
                query = normal(1, 4, n, 16, seed=2).to(dtype)
                out = read(layer, query, None, 0.25)
                assert out.dtype == dtype
                assert (out - exact(query, *contents(layer), 0.25)).abs().max() < 0.02


def test_blocks_give_the_same_with_and_without_the_devices_kernel() -> None:
    q, k, v = normal(1, 2, 9, 8), normal(1, 2, 9, 8, seed=1), normal(1, 2, 9, 8, seed=2)
    for causal in (True, False):
        one = dense(q, k, v, None, causal, 0.5)
        other = dense(q, k, torch.cat((v, v), -1), None, causal, 0.5)  # of another width: written out
        assert torch.allclose(one[0], other[0][..., :8], atol=1e-5) and torch.allclose(one[1], other[1], atol=1e-5)


def test_no_mask_is_written_out_for_causal_attention() -> None:
    from transformers.masking_utils import causal_mask_function

    assert mask(2, 1000, 100_000, 99_000, 0, causal_mask_function, None) is None
    padding = torch.ones(2, 10, dtype=torch.long)
    assert mask(2, 3, 10, 7, 0, causal_mask_function, padding) is None
    padding[0, 0] = 0
    visible = mask(2, 3, 12, 9, 0, causal_mask_function, padding)
    assert visible is not None and visible.dtype == torch.bool and visible.sum(-1).tolist() == [9, 10]
    other = mask(2, 3, 10, 7, 0, lambda b, h, q, k: k <= q, padding, device="cpu", allow_is_causal_skip=True)
    assert other is not None and other.shape == (2, 1, 3, 10)


def test_what_it_does_not_compute_is_refused() -> None:
    layer = PackedLayer(PRESETS["k4v4"].bits, 9)
    stored, _ = layer.update(normal(1, 1, 2, 4), normal(1, 1, 2, 4))
    for name in ("softcap", "s_aux", "sliding_window"):
        with pytest.raises(ConfigError, match=name):
            forward(None, normal(1, 1, 2, 4), stored, stored, None, **{name: 1})
