"""The moment until which a question may take, on a clock that never goes back."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from selfroute.errors import OutOfTimeError

Clock = Callable[[], float]
"""Seconds from some fixed moment on, never fewer than before."""


@dataclass(frozen=True, slots=True)
class Deadline:
    """at: on the clock."""

    at: float
    clock: Clock = time.monotonic

    @classmethod
    def after(cls, seconds: float, clock: Clock = time.monotonic) -> Deadline:
        """So many seconds from now."""
        return cls(clock() + seconds, clock)

    @property
    def left(self) -> float:
        """Seconds until then, negative afterwards."""
        return self.at - self.clock()

    def earlier(self, seconds: float) -> Deadline:
        """So many seconds before this one."""
        return Deadline(self.at - seconds, self.clock)

    def check(self) -> None:
        """Raises OutOfTimeError once the time is up."""
        if self.left <= 0:
            raise OutOfTimeError
