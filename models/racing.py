"""Work that cannot be stopped, such as waiting for a server, left to itself when the time is up."""

from __future__ import annotations

from collections.abc import Iterator
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TypeVar

from selfroute.deadline import Deadline
from selfroute.errors import OutOfTimeError

T = TypeVar("T")
_LONGEST_WAIT = 0.5  # seconds; the clock is looked at again after it


def raced(items: Iterator[T], deadline: Deadline) -> Iterator[T]:
    """The items as a thread of their own gets them, and what they raise.

    Raises OutOfTimeError at the deadline, whatever they are waiting for; they must come to an end by themselves then.
    """
    deadline.check()
    got: SimpleQueue[tuple[list[T], BaseException | None]] = SimpleQueue()

    def work() -> None:
        try:
            for item in items:
                got.put(([item], None))
            got.put(([], None))
        except BaseException as error:
            got.put(([], error))

    Thread(target=work, name="selfroute-raced", daemon=True).start()
    while True:
        try:
            item, error = got.get(timeout=min(_LONGEST_WAIT, max(0.0, deadline.left)))
        except Empty:
            deadline.check()
            continue
        if error is not None:
            raise error
        if not item:
            return
        yield item[0]
        if deadline.left <= 0:
            raise OutOfTimeError
