"""Postings: counts, BM25 by hand, and updates that equal a rebuild."""

from collections import Counter
from math import log1p

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfroute.memory.lexical import BM25_B, BM25_K1, Postings
from selfroute.models.lexing import terms

TEXTS = st.lists(
    st.sampled_from(["getCookie", "set_cookie", "cookie", "HTTPServer", "server", "x1", "漢字"]), max_size=12
).map(" ".join)


def postings(texts: list[str]) -> Postings:
    return Postings.empty().merged(-1 - np.arange(len(texts)), [[(text, 1)] for text in texts])


def test_a_field_counts_its_terms_as_often_as_its_weight() -> None:
    found = Postings.empty().merged(np.array([-1]), [[("cookie jar", 1), ("cookie", 3)]])
    assert found.vocabulary == ["cooki", "jar"]
    assert found.counts.tolist() == [4, 1]
    assert found.lengths.tolist() == [5]


def test_bm25_is_the_formula() -> None:
    found = postings(["cookie cookie jar", "server", "jar server"])
    idf = log1p((3 - 1 + 0.5) / (1 + 0.5))
    norm = BM25_K1 * (1 - BM25_B + BM25_B * 3 / 2)
    assert found.bm25({"cooki": 1.0}).tolist() == pytest.approx([idf * 2 * (BM25_K1 + 1) / (2 + norm), 0, 0])


def test_a_term_that_is_nowhere_has_the_largest_idf_and_scores_nothing() -> None:
    found = postings(["cookie", "jar"])
    assert found.idf("kubernetes") > found.idf("cooki")
    assert found.bm25({"kubernetes": 1.0}).tolist() == [0, 0]


@given(st.lists(TEXTS, max_size=20))
def test_counts_are_those_of_each_text(texts: list[str]) -> None:
    found = postings(texts)
    for row, text in enumerate(texts):
        held = {t: int(c[r == row][0]) for t in found.vocabulary for r, c in [found.of(t)] if row in r}
        assert held == Counter(terms(text))


@given(st.lists(TEXTS, max_size=12), st.lists(TEXTS, max_size=5), st.randoms(use_true_random=False))
@settings(max_examples=50)
def test_an_update_equals_a_rebuild_array_for_array(old: list[str], new: list[str], random: "random.Random") -> None:  # noqa: F821
    rows = [(i, old[i]) for i in range(len(old)) if random.random() < 0.6] + [
        (-1 - i, text) for i, text in enumerate(new)
    ]
    random.shuffle(rows)
    updated = postings(old).merged(np.array([row for row, _ in rows], np.int64), [[(text, 1)] for text in new])
    rebuilt = postings([text for _, text in rows])
    for name, array in rebuilt.to_arrays("p").items():
        assert (
            np.array_equal(updated.to_arrays("p")[name], array) and updated.to_arrays("p")[name].dtype == array.dtype
        ), name


def test_arrays_come_back_as_they_went() -> None:
    before = postings(["cookie jar", "", "server"])
    after = Postings.from_arrays(before.to_arrays("p"), "p")
    assert after.vocabulary == before.vocabulary
    assert after.bm25({"jar": 1.0}).tolist() == before.bm25({"jar": 1.0}).tolist()
