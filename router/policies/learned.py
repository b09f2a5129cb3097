"""Routing by a trained classifier: the probability that each route answers right, against what it costs.

`learned` decides once, before anything is read. `learned-cascade` begins with retrieval, asks the classifier again with
what came of it, and lets long context read everything where that is expected to pay; of two attempts it keeps the
likelier. Both take retrieval on ties, and where a question or a corpus is unlike all that the classifier was trained
on, they take the one route that was best in training and say so.

Long context is taken when what it gains in probability is over a price: the margin that was best in training, under
`--prefer speed` and `cost` more for every second and every thousand tokens, under `--prefer quality` nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from selfroute.router.classifier.classifier import Classifier, Prediction
from selfroute.router.classifier.seen import SECOND, is_signal, numbers_of, stage_of
from selfroute.router.policies.verdict import accept, decline, excess, verdict
from selfroute.types import LONG_CONTEXT, RETRIEVAL, Attempt, Decision, Estimate, Features, Query

PER_SECOND = {"speed": 0.02}  # of the probability to be right, that another second is worth
PER_THOUSAND_TOKENS = {"cost": 0.005}
PER_DOLLAR = {"cost": 5.0, "balanced": 1.0}


@dataclass(frozen=True, slots=True)
class Price:
    """What long context's gain is measured against, and what that is made of in words."""

    gain: float
    worth: float

    @property
    def pays(self) -> bool:
        """Whether the gain is over the price; a tie is retrieval's."""
        return self.gain > max(0.0, self.worth)


class Learned:
    """What both policies share. classifier: its heads are looked up by `model`, what answers on both routes."""

    name: ClassVar[str]

    def __init__(self, classifier: Classifier, model: str) -> None:
        self.classifier, self.model = classifier, model

    @classmethod
    def for_model(cls, model: str, directory: Path | None = None) -> Learned:
        """With the router that was trained for the index in the directory, else with the shipped one."""
        from selfroute.router.classifier.shipped import current

        return cls(current(directory), model)

    @property
    def wants_signals(self) -> bool:
        """Whether its classifier was fitted with the signals of pages; what of them is missing is taken as usual."""
        stage = self.classifier.stages.get(SECOND)
        return stage is not None and any(is_signal(name) for name in stage.numbers.names)

    def predict(
        self,
        query: Query,
        features: Features,
        estimates: Mapping[str, Estimate],
        attempts: Sequence[Attempt] = (),
    ) -> Prediction:
        """Of the stage that the attempts lead to."""
        numbers = numbers_of(features, estimates, attempts)
        return self.classifier.predict(query.text, numbers, self.model, stage_of(attempts))

    def price(self, query: Query, estimates: Mapping[str, Estimate], p: Prediction) -> Price:
        """Long context's gain, and what it has to be worth under the question's preference."""
        cheap, dear = estimates[RETRIEVAL], estimates[LONG_CONTEXT]
        worth = 0.0 if query.prefer == "quality" else p.worth(dear.tokens)
        worth += PER_SECOND.get(query.prefer, 0.0) * max(0.0, dear.seconds - cheap.seconds)
        worth += PER_THOUSAND_TOKENS.get(query.prefer, 0.0) * max(0, dear.tokens - cheap.tokens) / 1_000
        worth += PER_DOLLAR.get(query.prefer, 0.0) * max(0.0, dear.dollars - cheap.dollars)
        return Price(p.p[LONG_CONTEXT] - p.p[RETRIEVAL], worth)

    def first(self, query: Query, features: Features, estimates: Mapping[str, Estimate]) -> tuple[Decision, Prediction]:
        """The route for a question of which nothing was read, and what it is based on."""
        p = self.predict(query, features, estimates)
        told = with_p(estimates, p)
        if not p.known:
            decision = Decision(p.best_fixed, told, f"{p.why}: {p.best_fixed}, the best in training")
            return self._within(query, decision), p
        price = self.price(query, estimates, p)
        return self._within(query, Decision(LONG_CONTEXT if price.pays else RETRIEVAL, told, _said(p, price))), p

    def _within(self, query: Query, decision: Decision) -> Decision:
        """The decision, or the other route where this one would break a limit and the other would not."""
        over = excess(query, decision.estimates[decision.route])
        other = RETRIEVAL if decision.route == LONG_CONTEXT else LONG_CONTEXT
        if not over or excess(query, decision.estimates[other]):
            return decision
        return replace(decision, route=other, reason=f"{decision.reason}, but {over}: {other}")


class LearnedPolicy(Learned):
    """One stage: the route, then the verdict on its attempt."""

    name = "learned"
    keeps_answers = True

    def decide(
        self, query: Query, features: Features, estimates: Mapping[str, Estimate], attempts: Sequence[Attempt] = ()
    ) -> Decision:
        """The likelier route at its price, before an attempt."""
        if attempts:
            return verdict(attempts[-1], estimates)
        return self.first(query, features, estimates)[0]


class LearnedCascadePolicy(Learned):
    """Retrieval first, then what its attempt lets expect of long context; of two attempts the likelier."""

    name = "learned-cascade"
    keeps_answers = False

    def decide(
        self, query: Query, features: Features, estimates: Mapping[str, Estimate], attempts: Sequence[Attempt] = ()
    ) -> Decision:
        """Stage by stage."""
        if not attempts:
            first, p = self.first(query, features, estimates)
            if p.known and first.route == LONG_CONTEXT and not excess(query, estimates[RETRIEVAL]):
                cheaper = "retrieval costs little, and is looked at first"
                return replace(first, route=RETRIEVAL, reason=f"{first.reason}; {cheaper}")
            return first
        if attempts[0].route == LONG_CONTEXT:
            return verdict(attempts[-1], estimates)
        p = self.predict(query, features, estimates, attempts)
        told = with_p(estimates, p)
        if len(attempts) == 1:
            return self._second(query, told, attempts[0], p)
        price = Price(p.p[LONG_CONTEXT] - p.p[RETRIEVAL], 0.0)
        kept = next(a for a in attempts if a.route == (LONG_CONTEXT if price.pays or not p.known else RETRIEVAL))
        if not kept.generation.answerable and not p.known:
            kept = next((a for a in attempts if a.generation.answerable), kept)
        made = accept(kept, told) if kept.generation.answerable else decline(kept, told)
        return replace(made, reason=f"{made.reason}; {_said(p, price)}" if p.known else made.reason)

    def _second(self, query: Query, told: Mapping[str, Estimate], attempt: Attempt, p: Prediction) -> Decision:
        made = accept(attempt, told) if attempt.generation.answerable else decline(attempt, told)
        if not p.known:
            return replace(made, reason=f"{made.reason}; {p.why}")
        price = self.price(query, told, p)
        if not price.pays:
            return replace(made, reason=f"{made.reason}; {_said(p, price)}")
        if over := excess(query, told[LONG_CONTEXT]):
            return replace(made, reason=f"{made.reason}; the whole corpus may not be read ({over})")
        return Decision(LONG_CONTEXT, told, f"after retrieval, {_said(p, price)}: reading the whole corpus")


def with_p(estimates: Mapping[str, Estimate], p: Prediction) -> dict[str, Estimate]:
    """The estimates with the classifier's probabilities."""
    return {route: replace(e, p_correct=p.p.get(route, e.p_correct)) for route, e in estimates.items()}


def _said(p: Prediction, price: Price) -> str:
    right = f"long context is right in {p.p[LONG_CONTEXT]:.0%} of such questions, retrieval in {p.p[RETRIEVAL]:.0%}"
    if price.worth > 0 and price.gain > 0 and not price.pays:
        return f"{right}, less than the {100 * price.worth:.0f} points that make it worth its cost"
    return right
