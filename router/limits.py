"""A question's limits, from its options to the end of its last attempt: no route is begun that might break one.

Seconds count from the call of ask, the look at the files included, to the answer. The routes' own deadline lies a
little before, for what comes after them. What a route used is taken from the limits before the next one is judged.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil, floor, isfinite, log10
from typing import TypedDict

from selfroute.deadline import Clock, Deadline
from selfroute.errors import LimitsError, UnknownNameError
from selfroute.router.policies.verdict import accept, decline, excess, over
from selfroute.types import (
    BALANCED,
    DEFAULT_BUDGET_TOKENS,
    PREFERENCES,
    Attempt,
    Decision,
    Estimate,
    Limits,
    Query,
    Usage,
)

# Kept for what comes after a route, at most a fifth of the whole and never less than the last.
CLOSING_SECONDS, CLOSING_SHARE, LEAST_SECONDS = 0.05, 0.05, 0.03
SPARE = 1.25  # that a hint gives beyond what a route may take


class Asked(TypedDict, total=False):
    """What can be said with one question, beside route; what is None, or not said, is the router's."""

    budget_tokens: int | None
    max_tokens: int | None
    max_seconds: float | None
    max_cost: float | None
    prefer: str | None


@dataclass(frozen=True, slots=True)
class Terms:
    """The limits and the preference of every question that says no others. max_cost: in dollars.

    budget_tokens: that retrieval packs; one that is given is also the most of the corpus that any route may read in an
    attempt, unless max_tokens says what all of them together may.
    """

    budget_tokens: int | None = None
    max_tokens: int | None = None
    max_seconds: float | None = None
    max_cost: float | None = None
    prefer: str = BALANCED

    def __post_init__(self) -> None:
        for name, least in (("budget_tokens", 1), ("max_tokens", 1), ("max_seconds", 0), ("max_cost", 0)):
            value = getattr(self, name)
            if value is not None and not (value >= least and isfinite(value)):
                raise ValueError(f"{name} must be at least {least}, got {value}")
        if self.prefer not in PREFERENCES:
            raise UnknownNameError("preference", self.prefer, PREFERENCES)

    def query(self, text: str, asked: Asked, clock: Clock = time.monotonic) -> Query:
        """The question under these terms, with those that were said with it; its time begins now.

        Raises ValueError for a number that cannot be meant, UnknownNameError.
        """
        said: dict[str, object] = {name: value for name, value in asked.items() if value is not None}
        terms = replace(self, **said)  # type: ignore[arg-type]
        limits = Limits(
            terms.max_seconds,
            terms.max_tokens,
            terms.max_cost,
            terms.budget_tokens if terms.max_tokens is None else None,
            None if terms.max_seconds is None else _deadline(terms.max_seconds, clock),
        )
        return Query(text, terms.budget_tokens or DEFAULT_BUDGET_TOKENS, limits, terms.prefer)


class Within:
    """One question's limits as they are used up. query: with those that are left. forced: the route that was asked for.

    Estimates are those of the question as it is now: a route that can do with less says what it needs within them.
    """

    def __init__(self, query: Query, forced: str = "", *, hopeful: bool = False) -> None:
        """hopeful: whether nothing is refused, since nothing will be begun."""
        self._hopeful = hopeful
        self.query, self._asked, self._forced = query, query.limits, forced

    @property
    def any(self) -> bool:
        """Whether there is anything to keep within."""
        return self._asked != Limits(max_context_tokens=self._asked.max_context_tokens)

    def pass_on(self, attempt: Attempt | None = None) -> Query:
        """The question with what is left of its limits now, after an attempt."""
        limits = self.query.limits.after(attempt.usage if attempt else Usage())
        self.query = replace(self.query, limits=limits)
        return self.query

    def fits(self, estimate: Estimate) -> bool:
        """Whether a route may be begun at this moment."""
        return not over(self.query.limits.after(Usage()), estimate)

    def refuse_hopeless(self, estimates: Mapping[str, Estimate]) -> None:
        """Raises LimitsError when no route keeps within the limits, or the forced one does not."""
        wanted = {} if self._hopeful else self._wanted(estimates)
        if wanted and all(over(self.query.limits, estimate) for estimate in wanted.values()):
            raise self._refusal(estimates)

    def kept(self, decision: Decision, estimates: Mapping[str, Estimate], attempts: Sequence[Attempt] = ()) -> Decision:
        """The decision; another route, or an end with what there is, where its route might break a limit.

        Raises LimitsError when there is neither.
        """
        self.pass_on()  # deciding took time, too
        chosen = estimates.get(decision.route)
        if decision.action != "try" or chosen is None or not (too_much := over(self.query.limits, chosen)):
            return decision
        told = f"{decision.route} is not taken, {too_much}"
        if attempts:
            last = attempts[-1]
            ended = accept(last, estimates) if last.generation.answerable else decline(last, estimates, decision.reason)
            return replace(ended, reason=f"{ended.reason}, but {told}")
        fitting = [route for route, estimate in estimates.items() if not excess(self.query, estimate)]
        if self._forced or not fitting:
            raise self._refusal(estimates)
        return replace(decision, route=fitting[0], reason=f"{told}; {fitting[0]} instead")

    def _wanted(self, estimates: Mapping[str, Estimate]) -> dict[str, Estimate]:
        return {route: found for route, found in estimates.items() if self._forced in ("", route)}

    def _refusal(self, estimates: Mapping[str, Estimate]) -> LimitsError:
        """Which limits there are, what each route needs, and what to type for the one that needs least more."""
        wanted, limits = self._wanted(estimates), self.query.limits
        who = f"{self._forced} does not keep" if self._forced else "no route keeps"
        needs = "; ".join(f"{route} needs up to {_needs(limits, estimate)}" for route, estimate in wanted.items())
        cheapest = sorted(wanted.values(), key=lambda estimate: (estimate.most_seconds, estimate.most_tokens))
        raised = [options for options in map(self._raised, cheapest) if options]
        others = [route for route, found in estimates.items() if route not in wanted and not excess(self.query, found)]
        fewest = min(raised, key=lambda options: len(options), default=[])
        hints = [f"--route {route}" for route in others] + [" ".join(fewest)] * bool(fewest)
        return LimitsError(f"{who} within {self._told()}: {needs}", ", or ".join(hints))

    def _told(self) -> str:
        """The limits as they were asked for."""
        asked, left, told = self._asked, self.query.limits, []
        if asked.max_seconds is not None and left.max_seconds is not None:
            told.append(f"{_rounded(asked.max_seconds)} s ({_rounded(left.max_seconds)} s are left for it)")
        if asked.max_tokens is not None:
            told.append(f"{asked.max_tokens:,} tokens")
        if asked.max_dollars is not None:
            told.append(f"{_rounded(asked.max_dollars)} dollars")
        return " and ".join(told)

    def _raised(self, estimate: Estimate) -> list[str]:
        """Options under which the route would be taken."""
        asked, left, found = self._asked, self.query.limits, []
        if left.max_seconds is not None and asked.max_seconds is not None and estimate.most_seconds > left.max_seconds:
            spent = max(0.0, asked.max_seconds - left.max_seconds)
            seconds = (estimate.most_seconds * SPARE + spent) / (1 - CLOSING_SHARE) + CLOSING_SECONDS
            found.append(f"--max-seconds {_rounded(seconds, up=True)}")
        if left.max_tokens is not None and estimate.most_tokens > left.max_tokens:
            found.append(f"--max-tokens {ceil(estimate.most_tokens * SPARE)}")
        if left.max_dollars is not None and estimate.most_dollars > left.max_dollars:
            found.append(f"--max-cost {_rounded(estimate.most_dollars * SPARE, up=True)}")
        return found


def _deadline(seconds: float, clock: Clock) -> Deadline:
    closing = max(LEAST_SECONDS, min(CLOSING_SECONDS + CLOSING_SHARE * seconds, seconds / 5))
    return Deadline.after(seconds - closing, clock)


def _needs(limits: Limits, estimate: Estimate) -> str:
    """The most that the route may take of what is limited."""
    told = []
    if limits.max_seconds is not None:
        told.append(f"{_rounded(estimate.most_seconds)} s")
    if limits.max_tokens is not None:
        told.append(f"{estimate.most_tokens:,} tokens")
    if limits.max_dollars is not None:
        told.append(f"{_rounded(estimate.most_dollars)} dollars")
    return ", ".join(told)


def _rounded(value: float, *, up: bool = False) -> str:
    """Two digits that count: 0.00031, 1.2, 45, 1300."""
    if value <= 0:
        return "0"
    unit = 10.0 ** (floor(log10(value)) - 1)
    near = (ceil(value / unit) if up else round(value / unit)) * unit
    return f"{near:.{max(0, 1 - floor(log10(value)))}f}"
