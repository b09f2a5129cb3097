"""A backend is one way to answer: it says what it would cost, then answers with checked citations."""

from __future__ import annotations

from collections import abc
from collections.abc import Callable, Mapping
from typing import Protocol, TypeAlias, runtime_checkable

from selfroute.types import Attempt, Estimate, Query

Attempting: TypeAlias = abc.Generator[str, None, Attempt]
"""The pieces of an attempt's answer as they come; the value that it returns is the attempt."""

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

        Raises ContextOverflowError when what it must read does not fit query.limits, or its model's window.
        """
        ...


@runtime_checkable
class Streaming(Protocol):
    """A backend that can give its answer piece by piece."""

    def stream(self, query: Query, *, after: Attempt | None = None, live: bool = True) -> Attempting:
        """The pieces as a model writes them, joined the attempt's text; returns the attempt.

        A backend that reads and quotes gives no pieces. live: False gives none either, and may then begin again with
        less when memory runs out.
        """
        ...


@runtime_checkable
class Looking(Protocol):
    """A backend that can tell something of a question before it is asked."""

    def look(self, query: Query, attempt: Attempt) -> Mapping[str, float]:
        """Numbers by name, for the policy that decides after another route's attempt; none where they would cost more
        than a look at what is there already."""
        ...


@runtime_checkable
class Announcing(Protocol):
    """A backend whose answer may take long, and that knows so beforehand."""

    def announce(self, query: Query) -> str:
        """One line on what will be read and how long that takes; "" when it is not worth a word. Nothing is read."""
        ...
