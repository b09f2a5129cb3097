"""A policy decides which route a question takes, and is asked again after each attempt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

from selfroute.types import Attempt, Decision, Estimate, Features, Query


@runtime_checkable
class Policy(Protocol):
    """Chooses a route. Deterministic: the same arguments give the same decision.

    One that accepts every first attempt with an answer may say so, keeps_answers = True: then a model's answer is
    streamed while it is written.
    """

    @property
    def name(self) -> str:
        """The name it is registered under."""
        ...

    def decide(
        self, query: Query, features: Features, estimates: Mapping[str, Estimate], attempts: Sequence[Attempt] = ()
    ) -> Decision:
        """Before any attempt: the route to try. After one: accept it, try the other route, or decline."""
        ...
