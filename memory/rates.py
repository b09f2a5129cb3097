"""How long things take on this machine: what each kind of work really took, over what was expected of it.

Of every kind the last N_KEPT ratios are kept as logarithms, in one small file in the user's cache, for all corpora.
Their median corrects what is expected next, so that a first guess need only have the right shape; their largest says
how long it may take. A kind that was never seen has three made-up ratios, which lose their weight as it is used.

All of it is derived: a file that is damaged or not ours is ignored, and where nothing can be written nothing is kept.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from math import exp, isfinite, log
from pathlib import Path
from statistics import median
from threading import RLock

from selfroute.memory import location

FILE = "rates.json"
FORMAT = 1
N_KEPT = 48
MAX_KINDS = 400
MAX_LOG = 12.0  # of a ratio that can be meant: six figures
PRIOR = (-0.7, 0.0, 0.7)  # half as long, as expected, twice as long
BEYOND = 0.15  # of the way from the median to the largest of N_KEPT, to where about one in a hundred lies


class Rates:
    """Ratios of real to expected, by kind of work. Any thread may use it, several processes may share the file."""

    def __init__(self, path: Path | None = None, *, learns: bool = True) -> None:
        """path: of the file; None keeps nothing beyond this object's life. learns: False expects what was guessed, so
        that what is expected does not depend on what was asked before."""
        self._path, self._learns = path, learns
        self._lock = RLock()
        self._kept = _read(path) if path else {}
        self._news: set[str] = set()

    @staticmethod
    def of_machine() -> Rates:
        """Those of the user's cache, one object for a process."""
        return _opened(location.user_cache() / FILE)

    def expect(self, kind: str, guess: float) -> float:
        """The median, for a first guess."""
        return guess * exp(median(self._ratios(kind)))

    def at_most(self, kind: str, guess: float) -> float:
        """What about one in a hundred is above."""
        ratios = self._ratios(kind)
        middle, largest = median(ratios), max(ratios)
        return guess * exp(largest + BEYOND * (largest - middle))

    def n_seen(self, kind: str) -> int:
        """How many real ones are kept."""
        with self._lock:
            return len(self._kept.get(kind, ()))

    def learn(self, kind: str, guess: float, real: float) -> None:
        """Keeps what something really took that was guessed at so."""
        if (
            not self._learns
            or guess <= 0
            or real <= 0
            or not isfinite(ratio := log(real / guess))
            or abs(ratio) > MAX_LOG
        ):
            return
        with self._lock:
            self._kept[kind] = [*self._kept.pop(kind, ()), round(ratio, 3)][-N_KEPT:]  # the latest kind comes last
            self._news.add(kind)

    def save(self) -> None:
        """Writes what was learned since the last time, whole or not at all; other processes' kinds stay."""
        with self._lock:
            if self._path is None or not self._news:
                return
            theirs = {kind: ratios for kind, ratios in _read(self._path).items() if kind not in self._news}
            self._kept = {**self._kept, **theirs, **{kind: self._kept[kind] for kind in self._news}}
            self._kept = dict(list(self._kept.items())[-MAX_KINDS:])
            self._news.clear()
            with suppress(OSError):
                _write(self._path, self._kept)

    def _ratios(self, kind: str) -> list[float]:
        with self._lock:
            kept = self._kept.get(kind, ())
        return [*PRIOR, *kept][-N_KEPT:]


@cache
def _opened(path: Path) -> Rates:
    return Rates(path)


def _read(path: Path) -> dict[str, list[float]]:
    """What the file holds, nothing when it is not as _write() leaves it."""
    try:
        stored = json.loads(path.read_bytes())
        kinds = stored["ratios"] if stored["format"] == FORMAT else {}
        return {str(kind): [_ratio(one) for one in kinds[kind]][-N_KEPT:] for kind in kinds}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return {}


def _ratio(stored: object) -> float:
    if isinstance(stored, bool) or not isinstance(stored, int | float) or not abs(stored) <= MAX_LOG:
        raise ValueError("not a ratio")
    return float(stored)


def _write(path: Path, kinds: Mapping[str, list[float]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if path.parent.stat().st_uid != os.getuid():
        return
    temporary = path.with_name(f".{FILE}.{os.getpid()}")
    try:
        temporary.write_text(json.dumps({"format": FORMAT, "ratios": kinds}), encoding="utf-8")
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
