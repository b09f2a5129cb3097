"""Policies replayed on the rows of a case: what each would have made of it, and what that would have cost.

A route's attempt is the recorded one, whenever a policy asks for it: as it was without an earlier attempt. Its cost is
counted whole each time, so a second attempt costs its own tokens beside those of the first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from selfroute.router.base import Policy
from selfroute.router.evaluation.cases import Case
from selfroute.router.evaluation.rows import Row
from selfroute.router.evaluation.scoring import Score
from selfroute.types import LONG_CONTEXT, RETRIEVAL, Attempt, Decision, Estimate, Limits, Query

ORACLE = "oracle"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a policy made of a case. right: None when unscored, and then why says it.

    route: of the answer that was given, or of the last attempt of a decline. tokens: in all prompts of all attempts;
    seconds: of their whole calls; dollars: of their usage. p: for each route P(right) as the policy put it before any
    attempt, empty when it gave no more than the routes' own priors; p_chosen: of what it did in the end.
    """

    case: Case
    route: str
    right: bool | None
    declined: bool
    tokens: int
    seconds: float
    dollars: float
    attempts: tuple[str, ...]
    p: Mapping[str, float] = field(default_factory=dict)
    p_chosen: float | None = None
    reason: str = ""
    why: str = ""

    @property
    def long_context(self) -> bool:
        """Whether everything was read."""
        return LONG_CONTEXT in self.attempts


@runtime_checkable
class Knowing(Protocol):
    """A policy that may see what no policy can in use: one is made for each case out of its rows and their scores."""

    def for_case(self, case: Case, rows: Mapping[str, Row], scores: Mapping[str, Score]) -> Policy:
        """The policy for this case alone."""
        ...


def replay(
    policy: Policy | Knowing,
    case: Case,
    rows: Mapping[str, Row],
    scores: Mapping[str, Score],
    limits: Limits | None = None,
) -> Outcome:
    """The outcome of one policy. rows, scores: of the case, by route. limits: of the question, none by default.

    A policy that fails, asks for a route twice, or for one whose row has an error, leaves the case unscored.
    """
    if isinstance(policy, Knowing):
        policy = policy.for_case(case, rows, scores)
    first = next(iter(rows.values()))
    query = Query(case.question, first.features.budget_tokens, limits or Limits())
    estimates = {route: row.estimate for route, row in rows.items()}
    attempts: list[Attempt] = []
    decisions: list[Decision] = []
    why = ""
    while not decisions or decisions[-1].action == "try":
        try:
            decisions.append(policy.decide(query, first.features, estimates, tuple(attempts)))
        except Exception as error:
            why = f"the policy failed: {type(error).__name__}: {error}"
            break
        last = decisions[-1]
        if last.action != "try":
            break
        row = rows.get(last.route)
        if row is None or row.attempt is None:
            why = row.error if row and row.error else f"no row of {last.route}"
            break
        if any(attempt.route == last.route for attempt in attempts):
            why = f"the policy asked for {last.route} twice"
            break
        attempts.append(row.attempt)
    taken = tuple(attempt.route for attempt in attempts)
    made = [rows[route] for route in taken]
    right, declined, unscored = (None, False, why) if why else _judged(decisions[-1], case, attempts, scores)
    return Outcome(
        case,
        decisions[-1].route if decisions else "",
        right,
        declined,
        sum(attempt.usage.prompt_tokens for attempt in attempts),
        sum(row.seconds for row in made),
        sum(attempt.usage.dollars for attempt in attempts),
        taken,
        _told(decisions[0], estimates) if decisions else {},
        _p_chosen(decisions, estimates),
        "; then ".join(decision.reason for decision in decisions),
        unscored,
    )


def fixed(route: str, case: Case, rows: Mapping[str, Row], scores: Mapping[str, Score]) -> Outcome:
    """The outcome of always taking one route."""
    row, score = rows.get(route), scores.get(route)
    if row is None or row.attempt is None or score is None:
        why = row.error if row is not None and row.error else f"no row of {route}"
        return Outcome(case, route, None, False, 0, 0.0, 0.0, (), why=why)
    tokens, dollars = row.attempt.usage.prompt_tokens, row.attempt.usage.dollars
    return Outcome(case, route, score.right, score.declined, tokens, row.seconds, dollars, (route,), why=score.why)


def oracle(case: Case, rows: Mapping[str, Row], scores: Mapping[str, Score]) -> Outcome:
    """The outcome of the right route, of the cheaper one where both are or none is: no policy of one attempt does
    better. Unscored when a route is, unless another is right."""
    found = [fixed(route, case, rows, scores) for route in rows]
    right = [outcome for outcome in found if outcome.right]
    unknown = [outcome for outcome in found if outcome.right is None]
    among = right or unknown or found
    return min(among, key=lambda outcome: (outcome.tokens, outcome.route != RETRIEVAL, outcome.route))


def _judged(
    last: Decision, case: Case, attempts: Sequence[Attempt], scores: Mapping[str, Score]
) -> tuple[bool | None, bool, str]:
    """(right, declined, why unscored) of the last decision."""
    kept = next((attempt for attempt in reversed(attempts) if attempt.route == last.route), None)
    if last.action == "decline" or kept is None:
        return case.unanswerable, True, ""
    score = scores[kept.route]
    return score.right, score.declined, score.why


def _told(decision: Decision, priors: Mapping[str, Estimate]) -> dict[str, float]:
    """P(right) by route, if the policy has its own."""
    told = {route: estimate.p_correct for route, estimate in decision.estimates.items()}
    same = all(route in priors and priors[route].p_correct == p for route, p in told.items())
    return {} if same else told


def _p_chosen(decisions: Sequence[Decision], priors: Mapping[str, Estimate]) -> float | None:
    """What was last said of the route that was taken in the end."""
    if not decisions:
        return None
    told = (_told(decision, priors).get(decisions[-1].route) for decision in reversed(decisions))
    return next((p for p in told if p is not None), None)
