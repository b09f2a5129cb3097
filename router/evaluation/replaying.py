"""What each policy would have made of a case, by the rows of both routes: nothing is answered again.

A second attempt is as it was by itself: for the built-in routes what was read before changes what counts as cached, and
no answer. The cost of a policy is that of every attempt it made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from selfroute.router.base import Policy
from selfroute.router.evaluation.cases import Case
from selfroute.router.evaluation.rows import Row
from selfroute.router.evaluation.scoring import RIGHT
from selfroute.types import DEFAULT_BUDGET_TOKENS, LONG_CONTEXT, RETRIEVAL, Attempt, Decision, Query

ORACLE = "oracle"


@dataclass(frozen=True, slots=True)
class Scored:
    """A case with its rows by route and their scores; None for what could not be scored."""

    case: Case
    rows: Mapping[str, Row]
    scores: Mapping[str, float | None]

    @property
    def whole(self) -> bool:
        """Whether every route was scored."""
        return bool(self.scores) and all(value is not None for value in self.scores.values())

    @property
    def group(self) -> str:
        """What is never split."""
        return self.case.group or self.case.id

    def right(self, route: str) -> bool:
        """Whether the route was right."""
        value = self.scores.get(route)
        return value is not None and value >= RIGHT


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a policy made of a case. route: whose attempt was kept. p: of being right, by route, as first predicted.

    tokens: that were read for it. share: of them in what always reading everything reads.
    """

    scored: Scored
    route: str
    right: bool
    declined: bool
    tokens: int
    seconds: float
    dollars: float
    routes: tuple[str, ...]
    p: Mapping[str, float]
    reason: str = ""

    @property
    def read_all(self) -> bool:
        """Whether long context was among the attempts."""
        return LONG_CONTEXT in self.routes


def replay(policy: Policy, scored: Scored) -> Outcome:
    """Asks the policy until it accepts or declines. Raises whatever the policy raises."""
    case, rows = scored.case, scored.rows
    features = next(iter(rows.values())).features
    estimates = {route: row.estimate for route, row in rows.items()}
    query = Query(case.question, case.budget_tokens or features.budget_tokens or DEFAULT_BUDGET_TOKENS)
    attempts: list[Attempt] = []
    decision = policy.decide(query, features, estimates)
    first = decision
    while decision.action == "try" and len(attempts) < len(rows):
        attempt = rows[decision.route].attempt
        assert attempt is not None
        attempts.append(attempt)
        decision = policy.decide(query, features, estimates, tuple(attempts))
    return _outcome(scored, decision, first, attempts)


def oracle(scored: Scored) -> Outcome:
    """The right route, retrieval when both are or none is: the best that choosing between them can do."""
    route = LONG_CONTEXT if scored.right(LONG_CONTEXT) and not scored.right(RETRIEVAL) else RETRIEVAL
    attempt = scored.rows[route].attempt
    assert attempt is not None
    decision = Decision(route, {}, "it knows what is right", "accept" if attempt.generation.answerable else "decline")
    return _outcome(scored, decision, decision, [attempt])


def forced(scored: Scored, route: str) -> Outcome:
    """One route, whatever the question."""
    attempt = scored.rows[route].attempt
    assert attempt is not None
    decision = Decision(route, {}, "", "accept" if attempt.generation.answerable else "decline")
    return _outcome(scored, decision, decision, [attempt])


def _outcome(scored: Scored, last: Decision, first: Decision, attempts: Sequence[Attempt]) -> Outcome:
    kept = next((a for a in reversed(attempts) if a.route == last.route), None)
    found = last.action == "accept" and kept is not None and kept.generation.answerable
    right = scored.right(last.route) if found else scored.case.unanswerable
    read = [scored.rows[attempt.route] for attempt in attempts]
    return Outcome(
        scored,
        route=last.route,
        right=right,
        declined=not found,
        tokens=sum(attempt.usage.prompt_tokens for attempt in attempts),
        seconds=sum(row.seconds for row in read),
        dollars=sum(row.estimate.dollars for row in read),
        routes=tuple(attempt.route for attempt in attempts),
        p={route: estimate.p_correct for route, estimate in first.estimates.items()},
        reason=last.reason,
    )


def replay_all(policies: Mapping[str, Policy | None], scored: Sequence[Scored]) -> dict[str, list[Outcome]]:
    """Outcomes by policy, in the order of the cases; those that are not whole are left out. None: the oracle."""
    whole = [one for one in scored if one.whole]
    return {
        name: [oracle(one) if policy is None else replay(policy, one) for one in whole]
        for name, policy in policies.items()
    }


def without_clock(outcome: Outcome) -> Outcome:
    """The same with no seconds: for reports whose bytes two runs share."""
    return replace(outcome, seconds=0.0)


def scored_cases(cases: Sequence[Case], rows: Sequence[Row], score: Any) -> list[Scored]:
    """Cases with what came of them. score: (case, attempt) -> float or None."""
    by_case: dict[str, dict[str, Row]] = {}
    for row in rows:
        by_case.setdefault(row.case_id, {})[row.route] = row
    found = []
    for case in cases:
        of_case = dict(sorted(by_case.get(case.id, {}).items()))
        scores = {r: None if row.attempt is None else score(case, row.attempt) for r, row in of_case.items()}
        if len(of_case) < 2:
            scores = {**scores, "": None}
        found.append(Scored(case, of_case, scores))
    return found
