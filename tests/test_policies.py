"""Policies decide by what they are shown, the same way every time."""

from dataclasses import replace
from typing import Literal

import pytest

from selfroute import Attempt, Decision, Estimate, Features, Generation, Limits, Query, Usage
from selfroute.registry import names, resolve
from selfroute.router.base import Policy
from selfroute.router.policies.fixed import AlwaysLongContext, AlwaysRetrieval, Forced
from selfroute.router.policies.random import RandomPolicy
from selfroute.router.policies.rules import RulesPolicy

ESTIMATES = {"retrieval": Estimate(0.7, 0.05, 8_000), "long-context": Estimate(0.65, 0.6, 300_000)}
PLAIN = Features(
    n_words=6,
    is_symbol=False,
    is_global=False,
    is_comparing=False,
    is_counting=False,
    is_listing=False,
    is_relational=False,
    top_score=1.0,
    score_gap=0.1,
    n_top_files=5,
    agreement=0.5,
    coverage=0.8,
    corpus_tokens=300_000,
    corpus_files=200,
    budget_tokens=8_000,
)
QUERY = Query("where is the cookie signed")
SMALL_LIMIT = Query("where is the cookie signed", limits=Limits(max_tokens=20_000))


def attempt(route: str, *, answerable: bool, finish: Literal["stop", "declined", "untrusted"] = "stop") -> Attempt:
    return Attempt(route, Generation("x = 1", confidence=0.8, answerable=answerable, finish=finish), (), Usage())


def decided(features: Features, *attempts: Attempt, query: Query = QUERY) -> Decision:
    return RulesPolicy().decide(query, features, ESTIMATES, attempts)


@pytest.mark.parametrize("name", names("policy"))
def test_every_registered_policy_tries_a_route_then_accepts_or_declines(name: str) -> None:
    policy: Policy = resolve("policy", name)()
    assert isinstance(policy, Policy)
    assert policy.name == name
    first = policy.decide(QUERY, PLAIN, ESTIMATES)
    assert policy.decide(QUERY, PLAIN, ESTIMATES) == first
    assert (first.action, first.route in ESTIMATES, bool(first.reason)) == ("try", True, True)
    accepted = policy.decide(QUERY, PLAIN, ESTIMATES, [attempt(first.route, answerable=True)])
    assert (accepted.action, accepted.route) == ("accept", first.route)
    both = [attempt("retrieval", answerable=False), attempt("long-context", answerable=False)]
    assert policy.decide(QUERY, PLAIN, ESTIMATES, both).action == "decline"


def test_rules_read_a_corpus_that_fits_the_budget_whole() -> None:
    assert decided(replace(PLAIN, corpus_tokens=8_000)).route == "long-context"
    assert decided(replace(PLAIN, corpus_tokens=8_001)).route == "retrieval"


@pytest.mark.parametrize("kind", ["is_global", "is_comparing", "is_counting", "is_listing"])
def test_rules_read_the_whole_corpus_for_what_is_spread_over_it(kind: str) -> None:
    features = replace(PLAIN, **{kind: True})
    assert decided(features).route == "long-context"
    assert decided(replace(features, is_symbol=True)).route == "long-context"
    limited = decided(features, query=SMALL_LIMIT)
    assert limited.route == "retrieval"
    assert "300,000 tokens are over the limit of 20,000" in limited.reason


def test_rules_look_a_symbol_up_by_retrieval() -> None:
    decision = decided(replace(PLAIN, is_symbol=True))
    assert (decision.route, decision.reason) == ("retrieval", "it names a symbol, which search finds by name")


def test_rules_escalate_once_when_the_words_stand_together() -> None:
    missed = attempt("retrieval", answerable=False)
    decision = decided(PLAIN, missed)
    assert (decision.action, decision.route) == ("try", "long-context")
    assert decided(PLAIN, missed, attempt("long-context", answerable=False)).action == "decline"
    assert decided(PLAIN, missed, attempt("long-context", answerable=True)).action == "accept"


def test_rules_decline_when_the_words_do_not_stand_together() -> None:
    decision = decided(replace(PLAIN, coverage=0.49), attempt("retrieval", answerable=False))
    assert (decision.action, decision.route) == ("decline", "retrieval")
    assert "49%" in decision.reason


def test_rules_do_not_escalate_when_a_model_refuses_in_other_words_than_its_own() -> None:
    decision = decided(PLAIN, attempt("retrieval", answerable=False, finish="untrusted"))
    assert decision.action == "decline"
    assert "a text may have told it" in decision.reason


def test_rules_decline_when_the_corpus_may_not_be_read() -> None:
    decision = decided(PLAIN, attempt("retrieval", answerable=False), query=SMALL_LIMIT)
    assert decision.action == "decline"
    assert "over the limit" in decision.reason


def test_a_limit_on_seconds_and_dollars_counts_too() -> None:
    listing = replace(PLAIN, is_listing=True)
    assert decided(listing, query=Query("q", limits=Limits(max_seconds=0.5))).route == "retrieval"
    assert decided(listing, query=Query("q", limits=Limits(max_seconds=0.7))).route == "long-context"


def test_random_draws_both_routes_and_only_those_that_fit() -> None:
    questions = [Query(f"question {n}") for n in range(64)]
    drawn = [RandomPolicy().decide(query, PLAIN, ESTIMATES).route for query in questions]
    assert 16 < drawn.count("retrieval") < 48
    limited = [replace(query, limits=Limits(max_tokens=9_000)) for query in questions]
    assert {RandomPolicy().decide(query, PLAIN, ESTIMATES).route for query in limited} == {"retrieval"}


def test_fixed_policies_take_their_route_whatever_the_question() -> None:
    spread = replace(PLAIN, is_listing=True)
    assert AlwaysRetrieval().decide(QUERY, spread, ESTIMATES).route == "retrieval"
    assert AlwaysLongContext().decide(QUERY, PLAIN, ESTIMATES).route == "long-context"
    assert Forced("long-context").decide(QUERY, PLAIN, ESTIMATES).reason == "route long-context was asked for"
    assert Forced("retrieval").decide(QUERY, PLAIN, ESTIMATES, [attempt("retrieval", answerable=False)]).action == (
        "decline"
    )
