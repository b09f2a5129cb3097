"""The paged reader: pages do not depend on each other, reading not on the order of loading; numpy equals torch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from selfroute.errors import ConfigError, ModelLoadError, UnknownNameError
from selfroute.models import weights
from selfroute.models.kv import packing as in_torch
from selfroute.models.paged import packing
from selfroute.models.paged.config import ENCODERS, PagedConfig
from selfroute.models.paged.delta import both_ways, gated_delta
from selfroute.models.paged.exact import ExactReader
from selfroute.models.paged.fields import layout_of, rows_of, token_bytes
from selfroute.models.paged.model import PagedReader
from selfroute.models.paged.runtime import CONFIG, PagedRuntime
from selfroute.models.paged.words import READER, Words, initializers
from selfroute.models.training import paged_export

TINY = PagedConfig(
    width=64, layers=2, heads=2, inner=96, conv_layers=1, head_dim=16, global_inner=32, pointer=16, page=24
)
TEXTS = [
    "The cat sat.\nA dog ran home.",
    "def f(x):\n    return x + 1",
    "Paris is the capital of France.",
    "",
    "no " * 300,
]


def tiny(config: PagedConfig = TINY, seed: int = 0) -> PagedReader:
    torch.manual_seed(seed)
    words = torch.from_numpy(Words.shipped().all())[:, : config.width].contiguous()
    model = PagedReader(config, words).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("paged")
    paged_export.export(tiny(), path, "int8")
    paged_export.export(tiny(), path / "float", "float")
    return path


class NarrowWords(Words):
    """The first channels of the shipped vectors, for tiny models."""

    def rows(self, ids: NDArray[Any]) -> NDArray[np.float32]:
        return super().rows(ids)[..., : TINY.width]


def runtime(folder: Path, kv: str = "k4v4", threads: int = 1) -> PagedRuntime:
    made = PagedRuntime(folder, kv=kv, threads=threads)
    made.load()
    made._words = NarrowWords(made._words.table, made._words.scale)
    return made


def gathered(made: PagedRuntime, pages: Sequence[Any]) -> tuple[NDArray[np.int32], dict[str, NDArray[Any]]]:
    """Lengths and arrays of pages, one after another."""
    fields = made.layout.fields
    arrays = {f.name: np.concatenate([p[f.name] if f.per_token else p[f.name][None] for p in pages]) for f in fields}
    return np.array([len(p["start"]) for p in pages], np.int32), arrays


@settings(max_examples=40, deadline=None)
@given(bits=st.sampled_from((4, 8)), half=st.integers(1, 40), power=st.integers(-30, 18), seed=st.integers(0, 999))
def test_packing_is_that_of_the_quantized_cache_bit_for_bit(bits: int, half: int, power: int, seed: int) -> None:
    x = torch.randn(3, 5, 2 * half, generator=torch.Generator().manual_seed(seed)) * 2.0**power
    x[0, 0] = 0
    codes, scales = packing.pack(x.numpy(), bits)
    expected, expected_scales = in_torch.pack(x, bits)
    assert np.array_equal(codes, expected.numpy()) and np.array_equal(scales, expected_scales.numpy())
    assert np.array_equal(packing.unpack(codes, scales, bits), in_torch.unpack(expected, expected_scales, bits).numpy())
    with pytest.raises(ConfigError):
        packing.pack(x.numpy(), 3)


@pytest.mark.parametrize("kv", ["bf16", "k8v8", "k4v8", "k4v4"])
def test_numpy_reads_as_torch_does(folder: Path, kv: str) -> None:
    made = runtime(folder / "float", kv)
    ids = [made.page_ids(text) for text in TEXTS]
    pages = made.encode(TEXTS)
    for page, tokens in zip(pages, ids, strict=True):
        made.layout.check(page, len(tokens))
    for found in ("", "the dog"):
        reading = made.ask("what is the capital?", *gathered(made, pages), found=found)
        exact = ExactReader(tiny(), kv=kv)
        resident = exact.encode(ids)
        asked = [made.question_ids("what is the capital?", found)]
        logits = exact.logits(asked, resident).start[0, 0].view(len(ids), -1).logsumexp(-1)
        there = torch.isfinite(logits).numpy()
        assert np.allclose(reading.pages[there], logits.numpy()[there], atol=5e-3)
        [(spans, null)] = exact.ask(asked, resident)
        assert abs(null - reading.null) < 1e-3
        assert (spans[0].page, spans[0].first, spans[0].last) == (
            reading.spans[0].page,
            reading.spans[0].first,
            reading.spans[0].last,
        )


def test_a_page_does_not_depend_on_what_is_encoded_with_it(folder: Path) -> None:
    made = runtime(folder, threads=2)
    alone = [made.encode([text])[0] for text in TEXTS]
    for order in ([0, 1, 2, 3, 4], [4, 2, 0, 3, 1]):
        for n, page in zip(order, made.encode([TEXTS[n] for n in order]), strict=True):
            assert all(np.array_equal(page[name], alone[n][name]) for name in page)
    exact = ExactReader(tiny())
    ids = [made.page_ids(text) for text in TEXTS]
    one, other = exact.encode(ids).pages, exact.encode(ids[::-1]).pages
    assert torch.equal(one.start, other.start.flip(1)) and torch.equal(one.keys[0], other.keys[0].flip(1))


def test_padding_changes_nothing_in_torch() -> None:
    model = tiny()
    ids = torch.tensor([[101, 5000, 6000, 7000, 102]])
    wide = torch.cat([ids, torch.zeros(1, 11, dtype=torch.long)], 1)
    plain = model.encode(ids[None], torch.ones(1, 1, 5, dtype=torch.bool))
    padded = model.encode(wide[None], torch.arange(16)[None, None] < 5)
    assert torch.allclose(plain.start, padded.start[:, :, :5], atol=1e-5)
    assert torch.allclose(plain.page, padded.page, atol=1e-5)


def test_reading_is_the_same_bit_for_bit_however_pages_were_loaded(folder: Path) -> None:
    made = runtime(folder)
    pages = made.encode(TEXTS)
    lengths, arrays = gathered(made, pages)
    first = made.ask("what ran home?", lengths, arrays)
    copied = {name: np.require(array.copy(), requirements="C") for name, array in arrays.items()}
    again = runtime(folder).ask("what ran home?", lengths, copied)
    assert np.array_equal(first.pages, again.pages) and first.spans == again.spans and first.null == again.null
    order = [3, 1, 4, 0, 2]
    other = made.ask("what ran home?", *gathered(made, [pages[n] for n in order]))
    assert np.allclose(other.pages, first.pages[order], atol=1e-4)


def test_of_very_many_tokens_some_pages_are_read_wholly(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = runtime(folder)
    kept = gathered(made, made.encode(TEXTS))
    assert made.ask("what ran home?", *kept).n_read == 5
    monkeypatch.setattr("selfroute.models.paged.runtime.DENSE_TOKENS", 100)
    assert made.ask("what ran home?", *kept).n_read == 5  # there are no more than `select`
    made.select = 2
    reading = made.ask("what ran home?", *kept)
    assert reading.n_read == 2 == np.isfinite(reading.pages).sum()
    assert made.ask("what ran home?", *kept, select=3).n_read == 3
    monkeypatch.setattr("selfroute.models.paged.runtime.SHARE", 1)
    assert made.ask("what ran home?", *kept).n_read == 5
    made.select = 0
    assert made.ask("what ran home?", *kept).n_read == 5


def test_spans_are_quotes_of_the_pages(folder: Path) -> None:
    made = runtime(folder)
    reading = made.ask("x", *gathered(made, made.encode(TEXTS)), n_spans=20)
    assert len(reading.spans) > 3 and 0 <= reading.null <= 1 and 0 < reading.mass <= 1 + 1e-6
    taken = set()
    for span in reading.spans:
        start, end = made.quote(TEXTS[span.page], span.first, span.last)
        assert TEXTS[span.page][start:end].strip() and span.first <= span.last
        places = {(span.page, n) for n in range(span.first, span.last + 1)}
        assert not places & taken
        taken |= places
    assert reading.best_pages(2)[0] == int(reading.pages.argmax())


def test_bytes_of_a_token_are_within_the_limits() -> None:
    sizes = {kv: token_bytes(PagedConfig(), kv) for kv in ("bf16", "k8v8", "k4v8", "k4v4")}
    assert sizes == {"bf16": 1344, "k8v8": 716, "k4v8": 540, "k4v4": 412}
    assert layout_of(PagedConfig(), "k4v4", "00").fingerprint == "00"
    with pytest.raises(UnknownNameError):
        rows_of(PagedConfig(), "k2v2")


def test_the_fingerprint_tells_weights_and_presets_apart(folder: Path) -> None:
    names = {runtime(f, kv).fingerprint for f in (folder, folder / "float") for kv in ("bf16", "k4v4")}
    assert len(names) == 4 and runtime(folder).fingerprint in names


def test_altered_files_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError):
        PagedRuntime(tmp_path)
    for name in (*(p.name for p in folder.iterdir() if p.is_file()),):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    sums = json.loads((tmp_path / weights.SUMS).read_text())
    (tmp_path / CONFIG).write_text(json.dumps({"width": "wide"}))
    with pytest.raises(ModelLoadError):
        PagedRuntime(tmp_path)
    assert CONFIG in sums


def test_word_vectors_are_those_of_the_shipped_reader(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    graph = onnx.load(weights.FOLDER / READER).graph
    expected = {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer}
    found = initializers(weights.FOLDER / READER)
    assert set(found) == set(expected)
    assert all(np.array_equal(found[name], expected[name]) for name in expected)
    (tmp_path / "x.onnx").write_bytes(b"\x3a\xff\xff\xff\x7f not a model")
    with pytest.raises(ModelLoadError):
        initializers(tmp_path / "x.onnx")


@pytest.mark.parametrize("encoder", ENCODERS)
def test_every_encoder_runs_and_learns(encoder: str) -> None:
    model = tiny(PagedConfig(**{**TINY.to_json(), "encoder": encoder}))
    tokens = torch.randint(1000, 2000, (1, 2, 80))
    real = torch.arange(80)[None, None] < torch.tensor([[[80], [30]]])
    found = model(tokens, real, tokens[:, :, :12], torch.ones(1, 2, 12, dtype=torch.bool))
    found.start[found.start.isfinite()].sum().backward()
    assert torch.isfinite(found.null).all() and found.start.shape == (1, 2, 160)
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
    assert PagedConfig.from_json(model.config.to_json()) == model.config


def test_the_delta_rule_in_chunks_is_the_rule_token_by_token() -> None:
    torch.manual_seed(0)
    q, k, v = (torch.randn(1, 2, 150, 8) for _ in range(3))
    k = torch.nn.functional.normalize(k, dim=-1)
    decay, beta = -torch.rand(1, 2, 150) * 0.2, torch.rand(1, 2, 150)
    state, rows = torch.zeros(1, 2, 8, 8), []
    for t in range(150):
        state = state * decay[:, :, t, None, None].exp()
        kt, vt, bt = k[:, :, t], v[:, :, t], beta[:, :, t, None]
        state = state + kt[..., None] * (bt * (vt - (kt[..., None] * state).sum(-2)))[..., None, :]
        rows.append((q[:, :, t, :, None] * state).sum(-2))
    assert torch.allclose(gated_delta(q, k, v, decay, beta), torch.stack(rows, 2), atol=1e-4)
    back = both_ways(q, k, v, decay, beta)
    flipped = gated_delta(*(x[:, 1:].flip(2) for x in (q, k, v, decay, beta))).flip(2)
    assert torch.allclose(back[:, 1:], flipped, atol=1e-4)


def test_sizes_that_do_not_fit_are_refused() -> None:
    for values in ({"encoder": "mamba"}, {"kv_heads": 3}, {"readers": 0}, {"head_dim": 7}, {"conv": 4}):
        with pytest.raises(ConfigError):
            PagedConfig(**values)  # type: ignore[arg-type]
    with pytest.raises(ConfigError):
        PagedConfig.from_json({"widht": 3})
