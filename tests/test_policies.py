"""Policies decide by what they are shown, the same way every time."""

from dataclasses import replace
from typing import Literal

import pytest

from selfroute import Attempt, Chunk, Citation, Decision, Estimate, Features, Generation, Limits, Query, Usage
from selfroute.registry import names
from selfroute.router.base import Policy
from selfroute.router.build import make_policy
from selfroute.router.policies.elsewhere import Doubt
from selfroute.router.policies.fixed import AlwaysLongContext, AlwaysRetrieval, Forced
from selfroute.router.policies.random import RandomPolicy
from selfroute.router.policies.rules import RulesPolicy
from selfroute.router.policies.self_route import SelfRoutePolicy

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
    score_gap=0.4,
    n_top_files=5,
    agreement=0.5,
    coverage=0.8,
    corpus_tokens=300_000,
    corpus_files=200,
    budget_tokens=8_000,
)
QUERY = Query("where is the cookie signed")
SMALL_LIMIT = Query("where is the cookie signed", limits=Limits(max_tokens=20_000))
SLOW = {**ESTIMATES, "long-context": Estimate(0.65, 45.0, 300_000)}


def attempt(
    route: str,
    *,
    answerable: bool,
    confidence: float = 0.8,
    threshold: float | None = 0.5,
    finish: Literal["stop", "declined", "untrusted"] = "stop",
) -> Attempt:
    found = Generation("x = 1", confidence=confidence, answerable=answerable, finish=finish, threshold=threshold)
    return Attempt(route, found, (), Usage())


def missed(confidence: float = 0.3, threshold: float | None = 0.5) -> Attempt:
    """A retrieval without an answer; by default neither nearly one nor sure that there is none."""
    return attempt("retrieval", answerable=False, confidence=confidence, threshold=threshold, finish="declined")


def chunk(path: str, n_tokens: int = 100) -> Chunk:
    return Chunk(path, path, path, 1, 2, "x = 1\n", n_tokens=n_tokens)


def after(first: Attempt, features: Features = PLAIN, query: Query = QUERY) -> Decision:
    """What Self-Route makes of a first attempt."""
    return SelfRoutePolicy().decide(query, features, ESTIMATES, [first])


def decided(features: Features, *attempts: Attempt, query: Query = QUERY) -> Decision:
    return RulesPolicy().decide(query, features, ESTIMATES, attempts)


@pytest.mark.parametrize("name", names("policy"))
def test_every_registered_policy_tries_a_route_then_accepts_or_declines(name: str) -> None:
    policy: Policy = make_policy(name)
    assert isinstance(policy, Policy)
    assert policy.name == name
    first = policy.decide(QUERY, PLAIN, ESTIMATES)
    assert policy.decide(QUERY, PLAIN, ESTIMATES) == first
    assert (first.action, first.route in ESTIMATES, bool(first.reason)) == ("try", True, True)
    accepted = policy.decide(QUERY, PLAIN, ESTIMATES, [attempt(first.route, answerable=True)])
    assert (accepted.action, accepted.route) == ("accept", first.route)
    both = [missed(), attempt("long-context", answerable=False)]
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


def test_rules_escalate_once_when_the_reader_nearly_answered() -> None:
    decision = decided(PLAIN, missed(0.4))
    assert (decision.action, decision.route) == ("try", "long-context")
    assert "confidence is 0.40, and 0.50 would have been an answer" in decision.reason
    assert decided(PLAIN, missed(0.4), attempt("long-context", answerable=False)).action == "decline"
    assert decided(PLAIN, missed(0.4), attempt("long-context", answerable=True)).action == "accept"


def test_rules_read_everything_only_when_that_does_not_take_long() -> None:
    listing = replace(PLAIN, is_listing=True)
    for features in (listing, replace(PLAIN, corpus_tokens=8_000), replace(listing, is_symbol=True)):
        assert RulesPolicy().decide(QUERY, features, ESTIMATES).route == "long-context"
        assert RulesPolicy().decide(QUERY, features, SLOW).route == "retrieval"
        assert RulesPolicy(Doubt(patience_seconds=60)).decide(QUERY, features, SLOW).route == "long-context"
    assert RulesPolicy().decide(QUERY, listing, SLOW).reason == (
        "a listing question, whose answer may be incomplete, since reading the whole corpus takes about 45 s:"
        " ask with --route long-context for that"
    )
    declined = RulesPolicy().decide(QUERY, PLAIN, SLOW, [missed(0.4)])
    assert declined.action == "decline"
    assert "--route long-context" in declined.reason


def test_rules_read_everything_where_retrieval_would_take_as_long() -> None:
    by_a_model = {"retrieval": Estimate(0.7, 22.0, 8_000), "long-context": Estimate(0.65, 22.0, 8_000)}
    small = replace(PLAIN, corpus_tokens=8_000)
    assert RulesPolicy().decide(QUERY, small, by_a_model).route == "long-context"


def test_self_route_begins_with_retrieval_whatever_the_question() -> None:
    for features in (PLAIN, replace(PLAIN, is_listing=True), replace(PLAIN, corpus_tokens=100)):
        assert SelfRoutePolicy().decide(QUERY, features, SLOW).route == "retrieval"


def test_self_route_declines_when_the_reader_is_sure_and_the_search_was_clear() -> None:
    for confidence in (0.0, 0.02, 0.19):
        assert after(missed(confidence)).action == "decline"
    assert "there is none in what it read" in after(missed(0.02)).reason
    assert after(missed(0.02), replace(PLAIN, score_gap=0.0)).action == "decline"


def test_self_route_declines_when_nothing_speaks_for_more() -> None:
    decision = after(missed(0.3))
    assert (decision.action, decision.route) == ("decline", "retrieval")
    assert "nothing says that the answer stands elsewhere" in decision.reason


def test_self_route_escalates_when_no_hit_stands_out_and_the_reader_is_not_sure() -> None:
    decision = after(missed(0.3), replace(PLAIN, score_gap=0.2))
    assert (decision.action, decision.route) == ("try", "long-context")
    assert "no hit of the search stands out" in decision.reason


def test_self_route_takes_a_flat_search_for_evidence_without_a_reader_only_when_the_best_hit_speaks_of_it() -> None:
    flat = replace(PLAIN, score_gap=0.1)
    assert after(missed(0.0, threshold=None), flat).action == "try"
    assert after(missed(0.0, threshold=None), replace(flat, coverage=0.39)).action == "decline"


@pytest.mark.parametrize("kind", ["is_global", "is_comparing", "is_counting", "is_listing"])
def test_self_route_escalates_a_question_that_is_spread_over_the_corpus(kind: str) -> None:
    assert after(missed(0.02), replace(PLAIN, **{kind: True})).action == "try"


def test_self_route_escalates_when_a_file_among_the_best_hits_was_not_read() -> None:
    first = replace(missed(0.02), chunks=(chunk("a.py"),), left_out=(chunk("a.py"), chunk("b.py")))
    assert "1 file among the best hits could not be read" in after(first).reason
    assert after(first).action == "try"
    assert after(replace(first, left_out=(chunk("a.py"),))).action == "decline"


def test_self_route_declines_when_a_name_stands_nowhere_whatever_else_speaks_for_more() -> None:
    features = replace(PLAIN, n_unknown_names=1, is_listing=True, score_gap=0.0)
    decision = after(replace(missed(0.49), left_out=(chunk("b.py"),)), features)
    assert (decision.action, decision.route) == ("decline", "retrieval")
    assert "a name in it stands nowhere here" in decision.reason
    assert after(attempt("retrieval", answerable=True), features).action == "accept"


def test_self_route_declines_when_it_has_read_everything_already() -> None:
    small = replace(PLAIN, corpus_tokens=200, is_listing=True)
    first = replace(missed(0.45), chunks=(chunk("a.py"), chunk("b.py")))
    assert after(first, small).action == "decline"
    assert after(first, replace(small, corpus_tokens=201)).action == "try"


def test_self_route_respects_the_limits() -> None:
    decision = after(missed(0.45), query=SMALL_LIMIT)
    assert decision.action == "decline"
    assert "300,000 tokens are over the limit of 20,000" in decision.reason
    assert SelfRoutePolicy().decide(QUERY, PLAIN, SLOW, [missed(0.45)]).action == "try"


def test_an_answer_after_a_failed_attempt_must_be_better_than_one_at_first() -> None:
    second = attempt("long-context", answerable=True, confidence=0.6)
    assert SelfRoutePolicy().decide(QUERY, PLAIN, ESTIMATES, [second]).action == "accept"
    decision = SelfRoutePolicy().decide(QUERY, PLAIN, ESTIMATES, [missed(), second])
    assert (decision.action, decision.route) == ("decline", "long-context")
    assert "0.60 is under the 0.70" in decision.reason
    low = SelfRoutePolicy(Doubt(bar=0.6)).decide(QUERY, PLAIN, ESTIMATES, [missed(), second])
    assert low.action == "accept"


def test_a_model_that_cites_nothing_after_a_failed_attempt_is_not_believed() -> None:
    second = attempt("long-context", answerable=True, confidence=0.0, threshold=None)
    cited = replace(second, citations=(Citation("a.py", 1, 1, 0, 5, "x = 1"),))
    assert SelfRoutePolicy().decide(QUERY, PLAIN, ESTIMATES, [missed(), second]).action == "decline"
    assert SelfRoutePolicy().decide(QUERY, PLAIN, ESTIMATES, [missed(), cited]).action == "accept"
    assert SelfRoutePolicy().decide(QUERY, PLAIN, ESTIMATES, [second]).action == "accept"


def test_a_model_that_refuses_is_followed_when_a_trained_reader_sees_an_answer() -> None:
    refused = missed(0.0, threshold=None)
    sees = Generation("x = 1", confidence=0.6, threshold=0.4)
    does_not = Generation("", confidence=0.35, answerable=False, finish="declined", threshold=0.4)
    decision = after(replace(refused, reading=sees))
    assert (decision.action, decision.route) == ("try", "long-context")
    assert "the reader (confidence 0.60) sees one where the model saw none" in decision.reason
    both = after(replace(refused, reading=does_not), replace(PLAIN, score_gap=0.0))
    assert both.action == "decline"
    assert "neither does the reader (confidence 0.35) see one" in both.reason


def test_rules_do_not_escalate_when_a_model_refuses_in_other_words_than_its_own() -> None:
    decision = decided(PLAIN, attempt("retrieval", answerable=False, finish="untrusted"))
    assert decision.action == "decline"
    assert "a text may have told it" in decision.reason


def test_rules_decline_when_the_corpus_may_not_be_read() -> None:
    decision = decided(PLAIN, missed(0.4), query=SMALL_LIMIT)
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
