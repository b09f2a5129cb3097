"""One route for every question: the baselines, and what a forced route does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from selfroute.router.policies.verdict import verdict
from selfroute.types import LONG_CONTEXT, RETRIEVAL, Attempt, Decision, Estimate, Features, Query


class Forced:
    """Takes the route that was asked for, once, whatever the question; an attempt without an answer is a decline."""

    def __init__(self, route: str) -> None:
        self.name = f"forced:{route}"
        self.keeps_answers = True
        self._route, self._reason = route, f"route {route} was asked for"

    def decide(
        self, query: Query, features: Features, estimates: Mapping[str, Estimate], attempts: Sequence[Attempt] = ()
    ) -> Decision:
        """The route, then the verdict on its attempt."""
        if attempts:
            return verdict(attempts[-1], estimates)
        return Decision(self._route, estimates, self._reason)


class AlwaysRetrieval(Forced):
    """Every question takes retrieval."""

    def __init__(self) -> None:
        super().__init__(RETRIEVAL)
        self.name = "always-retrieval"
        self._reason = f"policy {self.name}"


class AlwaysLongContext(Forced):
    """Every question takes long context; a corpus over the limits raises ContextOverflowError."""

    def __init__(self) -> None:
        super().__init__(LONG_CONTEXT)
        self.name = "always-long-context"
        self._reason = f"policy {self.name}"
