"""A question's hard limits: what is left of them after each attempt, and which routes fit that.

Seconds are of the whole question, from when it is asked. Tokens are those that all attempts read together. A route is
begun only when what it hardly ever takes more than fits what is left; the route itself stops in time (query.limits).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from time import perf_counter

from selfroute.errors import LimitsError
from selfroute.router.policies.fixed import Forced
from selfroute.router.policies.verdict import accept, decline, too_dear
from selfroute.types import Attempt, Decision, Estimate, Limits, Query

AFTER_SECONDS = 0.02  # for checking quotes and for what is printed


class Spending:
    """Of one question."""

    def __init__(self, query: Query) -> None:
        self._query, self._began = query, perf_counter()

    def left(self, attempts: Sequence[Attempt] = ()) -> Query:
        """The question with what is left of its limits."""
        limits = self._query.limits
        if limits == Limits():
            return self._query
        seconds, tokens, dollars = limits.max_seconds, limits.max_tokens, limits.max_dollars
        if seconds is not None:
            seconds -= perf_counter() - self._began + AFTER_SECONDS
        if tokens is not None:
            tokens -= sum(attempt.usage.prompt_tokens for attempt in attempts)
        if dollars is not None:
            dollars -= sum(attempt.usage.dollars for attempt in attempts)
        return replace(self._query, limits=Limits(seconds, tokens, dollars))

    def within(
        self,
        decision: Decision,
        query: Query,
        estimates: Mapping[str, Estimate],
        attempts: Sequence[Attempt],
        policy: object,
    ) -> Decision:
        """The decision, or another one where its route would break a limit on seconds or dollars.

        query: with what is left. Limits on tokens are kept by the policies and the routes. Raises LimitsError when no
        route fits before anything was read, or the route that was asked for does not.
        """
        if decision.action != "try" or not (over := too_dear(query, estimates[decision.route])):
            return decision
        tried = {attempt.route for attempt in attempts}
        fitting = [r for r in estimates if r not in tried and r != decision.route and not too_dear(query, estimates[r])]
        told = f"{decision.route} is left out: {over}"
        if fitting and not attempts and not isinstance(policy, Forced):
            return replace(decision, route=fitting[0], reason=f"{decision.reason}; {told}, {fitting[0]} fits")
        if not attempts:
            raise LimitsError(f"no route fits the limits: {_needs(query, estimates)}", _hint(query, estimates))
        last = attempts[-1]
        made = accept(last, estimates) if last.generation.answerable else decline(last, estimates)
        return replace(made, reason=f"{made.reason}; {told}")


def _needs(query: Query, estimates: Mapping[str, Estimate]) -> str:
    return "; ".join(f"{route}: {too_dear(query, e) or 'was not asked for'}" for route, e in estimates.items())


def _hint(query: Query, estimates: Mapping[str, Estimate]) -> str:
    """What would fit the cheapest route."""
    limits, parts = query.limits, []
    if limits.max_seconds is not None:
        seconds = min(e.seconds_needed for e in estimates.values())
        parts.append(f"--max-seconds {seconds + 0.1:.1f}")
    if limits.max_dollars is not None:
        dollars = min(e.dollars if e.dollars_high is None else e.dollars_high for e in estimates.values())
        parts.append(f"--max-cost {dollars * 1.05 + 0.0001:.4f}")
    return " ".join(parts)
