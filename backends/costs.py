"""What an attempt is expected to take, part by part, and what it really took.

Each part is guessed at from sizes, and corrected by what such parts took on this machine (memory/rates.py). How far the
sum of them may be exceeded is learned of whole attempts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from time import perf_counter
from typing import TYPE_CHECKING, TypeVar

from selfroute.deadline import Deadline
from selfroute.errors import OutOfTimeError
from selfroute.memory.rates import Rates
from selfroute.models.base import Loadable, Stoppable
from selfroute.types import Attempt, Generation, Query, Usage

if TYPE_CHECKING:
    from selfroute.memory.index import Index

T = TypeVar("T")

# First guesses, of two cores without other work.
READ_TOKENS_PER_SECOND = 20_000  # of the trained reader
SEARCH_SECONDS = 0.02
HICCUP_SECONDS = 0.02  # that another process may take in between, however short the work
LOAD_SECONDS = 0.3  # of the trained reader, once in a process


@dataclass(frozen=True, slots=True)
class Part:
    """A kind of work, and a first guess at its seconds."""

    kind: str
    guess: float


@dataclass(frozen=True, slots=True)
class Expected:
    """An attempt of one kind and its parts. seconds: the median. high: about one in a hundred takes longer."""

    kind: str
    parts: tuple[Part, ...]
    seconds: float
    high: float


def expected(rates: Rates, kind: str, *parts: Part) -> Expected:
    """Of an attempt that consists of these parts."""
    guess = sum(rates.expect(part.kind, part.guess) for part in parts)
    return Expected(kind, parts, guess, rates.at_most(kind, guess) + HICCUP_SECONDS)


class Meter:
    """The clock of one attempt. What it took is learned when it is done, and not when it was stopped."""

    def __init__(self, rates: Rates, expects: Expected) -> None:
        self._rates, self._expects = rates, expects
        self._guesses = {part.kind: part.guess for part in expects.parts}
        self._began = self._lapped = perf_counter()
        self._laps: list[tuple[Part, float]] = []

    def lap(self, kind: str, guess: float | None = None) -> None:
        """A part ends here. guess: by what it turned out to be, instead of what was expected."""
        now = perf_counter()
        told = self._guesses.get(kind) if guess is None else guess
        if told is not None:
            self._laps.append((Part(kind, told), now - self._lapped))
        self._lapped = now

    def done(self) -> None:
        """The attempt is complete."""
        for part, seconds in self._laps:
            self._rates.learn(part.kind, part.guess, seconds)
        self._rates.learn(self._expects.kind, self._expects.seconds, perf_counter() - self._began)
        self._rates.save()


def rates_for(index: Index) -> Rates:
    """The machine's; of an index that keeps nothing of what is asked, some that do not change."""
    return Rates.of_machine() if index.keeps_scores else Rates(learns=False)


def kind_of_work(work: str, who: object) -> str:
    """A kind's name for the work of a reader or a model; it holds a hash of theirs, since an address may be private."""
    name = str(getattr(who, "fingerprint", "") or getattr(who, "name", "") or type(who).__name__)
    return f"{work} {type(who).__name__} {blake2b(name.encode('utf-8', 'replace'), digest_size=4).hexdigest()}"


def loading(reader: object) -> tuple[Part, ...]:
    """The part that loading a reader is, when it is not loaded."""
    if isinstance(reader, Loadable) and not reader.is_loaded:
        return (Part(kind_of_work("load", reader), LOAD_SECONDS),)
    return ()


def load(reader: object, meter: Meter) -> None:
    """Loads a reader, if need be, as a part of its own."""
    if isinstance(reader, Loadable) and not reader.is_loaded:
        reader.load()
        meter.lap(kind_of_work("load", reader))


def check(query: Query) -> None:
    """Raises OutOfTimeError when the question's time is up."""
    if query.limits.deadline is not None:
        query.limits.deadline.check()


def in_time(worker: T, deadline: Deadline | None) -> T:
    """The reader or generator, which stops at the deadline if it can."""
    return worker.until(deadline) if deadline is not None and isinstance(worker, Stoppable) else worker


def stopped(route: str, what: str, usage: Usage, notes: Sequence[str] = ()) -> Attempt:
    """The attempt that the deadline ended before there was an answer. what: it was doing."""
    told = OutOfTimeError().message
    note = f"stopped {what}: {told}"
    nothing = Generation("", answerable=False, finish="stopped", notes=(note,))
    return Attempt(route, nothing, (), usage, notes=(note, *notes), degraded=True)
