"""A backend is one way to answer: it says what it would cost, then answers with checked citations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from selfroute.types import Attempt, Estimate, Query

Progress = Callable[[str, int, int], None]
"""Called with (stage, done, total) as work goes on."""


@runtime_checkable
class Backend(Protocol):
    """One route."""

    @property
    def name(self) -> str:
        """The route's name: "retrieval" or "long-context" for the built-in ones."""
        ...

    def estimate(self, query: Query) -> Estimate:
        """What answering would cost; nothing is read by a model."""
        ...

    def answer(self, query: Query, *, after: Attempt | None = None) -> Attempt:
        """Answers. after: an attempt of another route, whose chunks need not be read again.

        Raises ContextOverflowError when what it must read does not fit query.limits.
        """
        ...
