"""The paged reader in torch, in pieces: what it says is what it says of all tokens at once."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from selfroute.models.paged import pieces
from selfroute.models.paged.config import PagedConfig
from selfroute.models.paged.exact import ExactReader
from selfroute.models.paged.model import PagedReader
from selfroute.models.paged.pieces import ranges_of
from selfroute.models.paged.quotes import N_STARTS, best_spans

TINY = PagedConfig(
    width=48, layers=1, heads=2, inner=32, conv_layers=1, head_dim=16, global_inner=32, pointer=16, page=24
)


def model() -> PagedReader:
    torch.manual_seed(3)
    made = PagedReader(TINY, torch.randn(400, TINY.width) * 0.3).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
        made.word.asks.bias.fill_(-100.0)  # no question asks for counting
    return made


def ids(n: int, length: int, seed: int) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    return [[101, *rng.integers(120, 400, rng.integers(1, length)).tolist(), 102] for _ in range(n)]


@pytest.mark.parametrize("kv", ["bf16", "k4v4"])
@pytest.mark.parametrize("most", [64, 1000, 1 << 20])
def test_pieces_come_to_what_the_whole_is(monkeypatch: pytest.MonkeyPatch, kv: str, most: int) -> None:
    monkeypatch.setattr(pieces, "TOKENS", most)
    made, pages, asked = model(), ids(70, 40, 0), ids(3, 9, 1)
    whole, parted = ExactReader(made, kv=kv), ExactReader(made, kv=kv, in_pieces=True)
    assert not whole.in_pieces
    resident, small = whole.encode(pages), parted.encode(pages)
    assert small.pages.keys[0].dtype == torch.float16 and resident.pages.keys[0].dtype == torch.float32
    expected, found = whole.ask(asked, resident, 12), parted.ask(asked, small, 12)
    for (spans, null), (others, other_null) in zip(expected, found, strict=True):
        assert abs(null - other_null) < 1e-3 and len(spans) == len(others) == 12
        assert (spans[0].page, spans[0].first, spans[0].last) == (others[0].page, others[0].first, others[0].last)
        assert abs(spans[0].probability - others[0].probability) < 2e-3
        assert all(0 <= span.first <= span.last < len(pages[span.page]) - 2 for span in others)


def test_words_are_counted_alike_in_pieces() -> None:
    made, pages, asked = model(), ids(30, 40, 0), ids(2, 9, 1)
    with torch.no_grad():
        made.word.asks.bias.fill_(100.0)
        made.word.least.fill_(0.1)
    whole, parted = ExactReader(made, kv="bf16"), ExactReader(made, kv="bf16", in_pieces=True)
    [(spans, _), (again, _)] = whole.ask(asked, whole.encode(pages), 5)
    [(others, _), _] = parted.ask(asked, parted.encode(pages), 5)
    assert spans == again == others and len(spans) == 5
    assert all(span.first == span.last and span.score >= 1 for span in spans)
    assert [span.score for span in spans] == sorted((span.score for span in spans), reverse=True)


def test_pieces_cover_all_pages() -> None:
    for n, T, most in ((1, 256, 64), (7, 16, 64), (8, 16, 64), (100, 256, 1 << 20)):
        found = list(ranges_of(n, T, most))
        assert [page for first, stop in found for page in range(first, stop)] == list(range(n))
        assert all((stop - first) * T <= max(most, T) for first, stop in found)


def test_the_best_starts_suffice_for_the_spans() -> None:
    rng = np.random.default_rng(0)
    offsets = np.arange(41, dtype=np.int64) * 20
    starts, ends = (rng.standard_normal(800).astype(np.float32) for _ in range(2))
    starts[::20] = starts[19::20] = -np.inf

    def ends_of(page: int) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
        return ends[page * 20 : page * 20 + 20].copy()

    spans = best_spans(starts, ends_of, offsets, 0.0, 5.0, 12)
    at = np.argsort(-starts)[:N_STARTS]
    shuffled = rng.permutation(at)
    again = pieces.spans_among(
        shuffled, starts[shuffled], lambda page: starts[page * 20 : page * 20 + 20], ends_of, offsets, 0.0, 5.0, 12
    )
    assert spans == again and len(spans) == 12
