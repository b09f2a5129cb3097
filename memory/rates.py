"""How much of something another thing takes on this machine, learned from use and kept beside the index.

A rate is what one unit takes, say seconds a token: a moving mean of what was measured, and how far above it the last
measurements came. All of it is derived: a file that is damaged or cannot be written is as if there were none.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from threading import Lock

FILE = "rates.json"
MAX_BYTES = 1 << 16
NEWEST = 0.25  # share of the newest measurement in the mean
N_KEPT = 32  # measurements whose distance from what was expected is remembered
N_KNOWN = 8  # from which their worst is believed
UNKNOWN, LEAST, MARGIN = 3.0, 1.5, 1.25  # factors on what is expected: before that, at least, and on the worst


@dataclass(frozen=True, slots=True)
class Rate:
    """per_unit: expected. high: a factor on it that is hardly ever passed."""

    per_unit: float
    high: float

    def of(self, units: float) -> float:
        """What so many units are expected to take."""
        return self.per_unit * units

    def high_of(self, units: float) -> float:
        """What they hardly ever take more than."""
        return self.per_unit * self.high * units


class Rates:
    """The rates of one folder. Any thread may use it; of two processes the last to write is kept. Nothing is raised."""

    def __init__(self, directory: Path, *, keeps: bool = True) -> None:
        """keeps: False knows nothing and learns nothing, so that what is estimated does not depend on what was asked
        before."""
        self._path, self._lock, self._keeps = directory / FILE, Lock(), keeps
        self._found: dict[str, tuple[float, list[float]]] | None = None if keeps else {}

    def get(self, name: str, prior: float) -> Rate:
        """The rate of that name; the prior until something was measured."""
        with self._lock:
            per_unit, ratios = self._all().get(name, (prior, []))
        high = max(LEAST, MARGIN * max(ratios)) if len(ratios) >= N_KNOWN else max([UNKNOWN, *ratios])
        return Rate(per_unit, high)

    def learn(self, name: str, units: float, amount: float) -> None:
        """Takes a measurement: so many units took that much."""
        if not (self._keeps and units > 0 and amount > 0 and isfinite(units) and isfinite(amount)):
            return
        measured = amount / units
        with self._lock:
            found = self._all()
            if name in found:
                expected, ratios = found[name]
                kept = [*ratios, round(measured / expected, 4)][-N_KEPT:]
                found[name] = (1 - NEWEST) * expected + NEWEST * measured, kept
            else:
                found[name] = measured, []
            self._write(found)

    def _all(self) -> dict[str, tuple[float, list[float]]]:
        if self._found is None:
            self._found = {}
            with suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
                if self._path.stat().st_size <= MAX_BYTES:
                    for name, (per_unit, ratios) in json.loads(self._path.read_text(encoding="utf-8")).items():
                        good = [float(x) for x in ratios if isfinite(float(x)) and float(x) > 0][-N_KEPT:]
                        if isfinite(float(per_unit)) and float(per_unit) > 0:
                            self._found[str(name)] = float(per_unit), good
        return self._found

    def _write(self, found: dict[str, tuple[float, list[float]]]) -> None:
        temporary = self._path.with_name(f".{FILE}.{os.getpid()}")
        with suppress(OSError):
            temporary.write_text(json.dumps(found), encoding="utf-8")
            temporary.replace(self._path)
