"""One attempt at a question, and what is tried instead when a language model cannot."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace

from selfroute.backends.base import Backend, Streaming
from selfroute.errors import ContextOverflowError, DeviceMemoryError, ModelServerError, SelfRouteError
from selfroute.router.events import TokensEvent
from selfroute.router.limits import Within
from selfroute.types import Attempt

_CANNOT = (ModelServerError, DeviceMemoryError, ContextOverflowError)


def attempt(
    backend: Backend, within: Within, attempts: Sequence[Attempt], *, others: Sequence[Backend], live: bool
) -> Generator[TokensEvent, None, tuple[Attempt, bool]]:
    """Gives the answer's pieces as they come, if live; returns the attempt, and whether its pieces were given.

    others: asked in order when the model cannot, the last one is the built-in reader. A server that is gone leaves only
    that one, and the question's limits those that still keep within them. The attempt is degraded then, and its first
    note says why. Nothing else is tried once pieces were given.
    Raises the first error when none can.
    """
    query, after = within.query, attempts[-1] if attempts else None
    left, first, given = [backend, *others], None, False
    while left:
        current = left.pop(0)
        try:
            if live and isinstance(current, Streaming):
                pieces = current.stream(query, after=after)
                while True:
                    try:
                        piece = next(pieces)
                    except StopIteration as stop:
                        made: Attempt = stop.value
                        break
                    given = True
                    yield TokensEvent(piece)
            else:
                made = current.answer(query, after=after)
        except _CANNOT as error:
            if given or not others:
                raise
            first = first or error
            if isinstance(error, ModelServerError):
                left = left[-1:]
            query = within.pass_on()
            left = [other for other in left if within.fits(other.estimate(query))]
            continue
        return (made if first is None else _degraded(made, first, current)), given
    assert first is not None
    raise first


def _degraded(made: Attempt, why: SelfRouteError, by: Backend) -> Attempt:
    note = f"degraded: {why.message}; {by.name} answered instead"
    return replace(made, degraded=True, notes=(note, *made.notes))
