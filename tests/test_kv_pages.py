"""Selecting pages of a packed cache: the plain torch reference, and the Triton kernels in the interpreter against it.

As in test_kv_triton.py the file is also a program of its own, run once with the interpreter chosen.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from typing import Any

import pytest

from selfroute.errors import ConfigError

torch = pytest.importorskip("torch")

kernels = pytest.mark.skipif(find_spec("triton") is None, reason="triton is not installed: no kernels to interpret")

# name -> queries a head, pages, lengths, count, tile; pages of 64 tokens
CHOICES = {
    "random": (4, 250, (16000, 12000), 24, 16384),
    "one query": (1, 100, (6400, 6395), 9, 16384),
    "ties": (4, 256, (16384, 16383), 40, 16384),
    "all equal": (2, 70, (4480, 4000), 13, 16384),
    "heavy tail": (4, 256, (16384, 9000), 30, 16384),
    "huge and tiny": (3, 200, (12800, 12736), 50, 16384),
    "all pages": (4, 64, (4096, 4033), 64, 16384),
    "two pages": (4, 64, (4096, 4033), 2, 16384),
    "short": (4, 64, (0, 1), 5, 16384),
    "as many as wanted": (4, 64, (320, 257), 5, 16384),
    "tiles": (4, 150, (9600, 6000), 24, 64),
    "tiles with ties": (2, 150, (9600, 9537), 50, 64),
}


@pytest.fixture(scope="module")
def figures() -> dict[str, Any]:
    environment = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    run = subprocess.run([sys.executable, __file__], env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-2000:]
    found: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return found


@kernels
@pytest.mark.parametrize("name", CHOICES)
def test_the_kernel_chooses_what_the_reference_chooses(figures: dict[str, Any], name: str) -> None:
    assert figures[name] == {"pages": True, "counts": True}


@kernels
@pytest.mark.parametrize("name", ["centroids", "bounds", "small centroids", "small bounds", "gain", "odd head_dim"])
def test_products_of_the_kernel_are_those_of_the_reference(figures: dict[str, Any], name: str) -> None:
    assert figures["products"][name]["error"] < 1e-3
    assert figures["products"][name]["tops"] is True


@kernels
def test_both_kernels_find_the_pages_that_stand_out(figures: dict[str, Any]) -> None:
    assert figures["whole"] == [[0, 2, 4], [0, 2, 4], [0, 2, 4], [0, 2, 4]]


@pytest.mark.parametrize("small", [False, True])
def test_bounds_hold_and_selection_keeps_the_first_the_last_and_the_best(small: bool) -> None:
    from selfroute.models.kv.packing import unpack
    from selfroute.models.kv.pages import choose_pages, page_bounds, page_centroids, page_products

    queries, codes, scales = standing_out()
    lengths = torch.tensor([290, 100], dtype=torch.int32)
    bounds = page_bounds(codes, scales, 4, 64, small=small, at_once=2)
    best = (unpack(codes, scales, 4)[:, 0] @ queries.mT).view(2, 5, 64).amax(-1)
    rounding = 0.0 if small else 2.0**-11  # of float16
    assert bool((page_products(queries, bounds)[:, 0, 0] >= best * (1 - rounding)).all())
    for pages in (bounds, page_centroids(codes, scales, 4, 64, small=small)):
        chosen, counts = choose_pages(queries, pages, lengths, page_tokens=64, count=3)
        assert chosen[:, 0].tolist() == [[0, 2, 4], [0, 1, -1]]
        assert counts[:, 0].tolist() == [3, 2]


def test_small_summaries_are_near_and_of_half_the_bytes() -> None:
    from selfroute.models.kv.pages import page_centroids

    _, codes, scales = standing_out()
    plain = page_centroids(codes, scales, 4, 64)
    small = page_centroids(codes, scales, 4, 64, small=True)
    assert small.scales is not None
    assert small.parts[0].dtype == torch.int8
    error = (small.numbers()[0] - plain.numbers()[0]).norm() / plain.numbers()[0].norm()
    assert float(error) < 0.02


def test_of_equal_pages_the_earlier_are_chosen() -> None:
    from selfroute.models.kv.pages import select_pages

    products = torch.zeros(1, 1, 2, 9)
    products[..., 6] = 1
    chosen, counts = select_pages(products, torch.tensor([9 * 64]), 64, 5)
    assert chosen.tolist() == [[[0, 1, 2, 6, 8]]]
    assert counts.tolist() == [[5]]


def test_a_query_counts_by_its_distance_to_its_own_best_page_of_the_sequence() -> None:
    from selfroute.models.kv.pages import select_pages

    products = torch.full((1, 1, 2, 8), -50.0)
    products[0, 0, 0, 2], products[0, 0, 1, 4] = 100.0, -40.0  # page 2 is the one's best, page 4 the other's
    products[0, 0, 0, 3] = 99.0
    products[..., 6:] = 1e6  # past the end
    chosen, _ = select_pages(products, torch.tensor([6 * 64]), 64, 4)
    assert chosen.tolist() == [[[0, 2, 4, 5]]]


@pytest.mark.parametrize("count", [1, 10])
def test_a_count_that_cannot_be_is_refused(count: int) -> None:
    from selfroute.models.kv.pages import select_pages

    with pytest.raises(ConfigError, match=f"{count} pages cannot be selected of 9"):
        select_pages(torch.zeros(1, 1, 2, 9), torch.tensor([9 * 64]), 64, count)


def test_a_cache_of_less_than_a_page_is_refused() -> None:
    from selfroute.models.kv.packing import pack
    from selfroute.models.kv.pages import page_centroids

    with pytest.raises(ConfigError, match="63 tokens are no page of 64"):
        page_centroids(*pack(torch.zeros(1, 1, 63, 8), 4), 4, 64)


def standing_out() -> tuple[Any, Any, Any]:
    """Queries [2, 1, 64] and packed keys of five pages of 64 tokens, page 2 nearest to the queries by all summaries."""
    from selfroute.models.kv.packing import pack

    generator = torch.Generator().manual_seed(5)
    keys = torch.randn(2, 1, 320, 64, generator=generator)
    keys[:, :, 150] *= 20
    queries = keys[:, :, 150].clone() + 0.1 * torch.randn(2, 1, 64, generator=generator)
    return queries, *pack(keys, 4)


def choice_case(name: str) -> dict[str, bool]:
    """Whether the second kernel chooses as the reference does of the same products."""
    from selfroute.models.kv.page_choice import device_select
    from selfroute.models.kv.pages import select_pages

    group, pages, lengths, count, tile = CHOICES[name]
    generator = torch.Generator().manual_seed(pages + count)
    products = torch.randn(2, 2, group, pages, generator=generator) * 5
    if "ties" in name:
        products = products.round().clamp(-3, 3)
    elif name == "all equal":
        products = torch.full_like(products, 0.3)
    elif name == "heavy tail":
        products = products**7
    elif name == "huge and tiny":
        products = products.sign() * 10.0 ** (products * 3).clamp(-37, 37)
    there = (torch.tensor(lengths) + 63) // 64
    seen = torch.where(torch.arange(pages) < there[:, None, None, None], products, float("-inf"))
    padded = torch.nn.functional.pad(seen, (0, -pages % 64), value=float("-inf"))
    tops = padded.unflatten(-1, (-1, 64)).amax(-1).mT.contiguous()
    held = torch.tensor(lengths, dtype=torch.int32)
    got = device_select(products, tops, held, page_tokens=64, count=count, tile=tile)
    wanted = select_pages(products, held, 64, count)
    return {"pages": torch.equal(got[0], wanted[0]), "counts": torch.equal(got[1], wanted[1])}


def products_case() -> dict[str, Any]:
    """Relative errors of the first kernel, and whether its maxima are those of what it wrote."""
    from selfroute.models.kv.packing import pack
    from selfroute.models.kv.page_choice import device_products
    from selfroute.models.kv.pages import page_bounds, page_centroids, page_products

    generator = torch.Generator().manual_seed(8)
    found: dict[str, Any] = {}
    lengths = torch.tensor([4480, 4100], dtype=torch.int32)
    for name, dim, group in (
        ("centroids", 64, 4), ("bounds", 128, 3), ("small centroids", 128, 4), ("small bounds", 64, 16),
        ("gain", 64, 1), ("odd head_dim", 80, 4),
    ):  # fmt: skip
        codes, scales = pack(torch.randn(2, 2, 4480, dim, generator=generator), 4)
        make = page_bounds if "bounds" in name else page_centroids
        pages = make(codes, scales, 4, 64, small="small" in name)
        queries = torch.randn(2, 2 * group, dim, generator=generator) * 300
        gain = torch.rand(2, 2, dim, generator=generator) * 1000 if name == "gain" else None
        products, tops = device_products(queries, pages, lengths, page_tokens=64, gain=gain)
        wanted = page_products(queries, pages, gain)
        errors = [(products[b, ..., :n] - wanted[b, ..., :n]).norm() / wanted[b, ..., :n].norm()
                  for b, n in ((0, 70), (1, 65))]  # fmt: skip
        last = tops[1, :, 1] == products[1, ..., 64]
        same = bool((tops[0, :, 0] == products[0, ..., :64].amax(-1)).all() and last.all())
        found[name] = {"error": float(max(errors)), "tops": same}
    return found


def whole_case() -> list[list[int]]:
    """The pages of the first sequence, by every summary, through both kernels."""
    from selfroute.models.kv.page_choice import choose
    from selfroute.models.kv.pages import page_bounds, page_centroids

    queries, codes, scales = standing_out()
    lengths = torch.tensor([290, 100], dtype=torch.int32)
    found = []
    for make in (page_bounds, page_centroids):
        for small in (False, True):
            pages = make(codes, scales, 4, 64, small=small)
            chosen, _ = choose(queries, pages, lengths, page_tokens=64, count=3)
            found.append(chosen[0, 0].tolist())
    return found


def main() -> None:
    from test_kv_triton import mend_the_interpreter

    mend_the_interpreter()
    found: dict[str, Any] = {name: choice_case(name) for name in CHOICES}
    found["products"], found["whole"] = products_case(), whole_case()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
