"""A question's kind is read from its words; its features are the same every time."""

from dataclasses import asdict, fields
from pathlib import Path

import pytest

from selfroute import Features, Query, SelfRouter
from selfroute.router.features import extract, kind_of, names_in


def kinds(text: str) -> set[str]:
    """Which kinds hold, without the `is_`."""
    return {name.removeprefix("is_") for name, holds in asdict(kind_of(text)).items() if holds}


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("Where is the session cookie signed?", set()),
        ("what does make_response do", {"symbol"}),
        ("Flask.make_response", {"symbol"}),
        ("sessions", {"symbol"}),
        ("Summarize the architecture", {"global"}),
        ("What does this project do?", {"global"}),
        ("How is the code organised?", {"global"}),
        ("compare the sync and the async clients", {"comparing"}),
        ("how is the request different from the response", {"comparing"}),
        ("how does Client differ from AsyncClient", {"symbol", "comparing"}),
        ("how many classes inherit from Field", {"counting", "relational"}),
        ("total number of tests", {"counting"}),
        ("list all commands", {"listing"}),
        ("which functions call send_request?", {"symbol", "listing", "relational"}),
        ("who calls open_session", {"symbol", "relational"}),
        ("what are the supported formats", {"listing"}),
        ("署名はどこですか", set()),
        ("", set()),
    ],
)
def test_kind_of_a_question(question: str, expected: set[str]) -> None:
    assert kinds(question) == expected


@pytest.mark.parametrize(
    "question",
    [
        "how many seconds is the default timeout",
        "how many arguments does it take",
        "what is the maximum number of redirects",
        "which file defines the router",
        "does it handle all errors",
        "what is new in version 3.11",
    ],
)
def test_a_question_for_one_value_is_of_no_kind_that_needs_the_whole_corpus(question: str) -> None:
    assert kinds(question) == set()


@pytest.mark.parametrize("question", ["a" * 100_000, "a_" * 50_000, "how is " * 15_000, "a.b" * 30_000, "." * 100_000])
def test_the_kind_of_a_very_long_question_is_found_at_once(question: str) -> None:
    kind_of(question)


@pytest.mark.parametrize(
    ("question", "names"),
    [
        ("what does Flask.make_response do with `max-age`?", ("Flask.make_response", "max-age")),
        ('who raises HTTPError for "teapot", and is MAX_RETRIES kept?', ("HTTPError", "teapot", "MAX_RETRIES")),
        ("Where was the treaty of Westphalia signed? Nobody knows", ("Westphalia",)),
        ("where is the session's cookie signed, e.g. in Node.js?", ()),
        ("", ()),
    ],
)
def test_names_are_quoted_or_spelled_as_such(question: str, names: tuple[str, ...]) -> None:
    assert names_in(question) == names


@pytest.mark.parametrize(
    ("question", "n_unknown"),
    [
        ("where is sign_cookie defined", 0),
        ("where is signCookie defined, in jar.py?", 0),
        ("where is `SignCookie` or SIGN_COOKIE", 0),
        ("where is sign_cookies_twice defined", 1),
        ("does the Oven.bake or the jar.bakes_twice call Jupiter?", 2),
        ("which kubernetes ingress is used", 0),
    ],
)
def test_names_that_the_corpus_lacks_are_counted(tmp_path: Path, question: str, n_unknown: int) -> None:
    (tmp_path / "jar.py").write_text("def sign_cookie(value, key):\n    return value + digest(value, key)\n")
    (tmp_path / "oven.py").write_text("def bake(minutes=12):\n    return minutes * 60\n")
    with SelfRouter.from_path(tmp_path) as router:
        assert router.features(question).n_unknown_names == n_unknown


def test_features_describe_the_question_the_search_and_the_corpus(tmp_path: Path) -> None:
    (tmp_path / "jar.py").write_text("def sign_cookie(value, key):\n    return value + digest(value, key)\n")
    (tmp_path / "oven.py").write_text("def bake(minutes=12):\n    return minutes * 60\n")
    with SelfRouter.from_path(tmp_path) as router:
        query = Query("where is sign_cookie defined", budget_tokens=500)
        features = extract(query, router.index)
        assert extract(query, router.index) == features
        nothing = extract(Query("???"), router.index)
    assert features.n_words == 4
    assert features.is_symbol
    assert features.corpus_files == 2
    assert features.budget_tokens == 500
    assert 0 < features.corpus_tokens < 500
    assert features.corpus_fits
    assert 0 < features.coverage <= 1
    assert features.top_score > 0
    assert 0 <= features.score_gap <= 1
    assert (nothing.n_words, nothing.top_score, nothing.coverage) == (0, 0.0, 0.0)
    assert features.as_array().shape == (len(fields(Features)),)
