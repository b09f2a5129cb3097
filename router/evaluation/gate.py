"""A bound on a run's figures, as a build server wants it: "accuracy>=0.8 and token_share<0.4"."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields

from selfroute.errors import ConfigError, UnknownNameError
from selfroute.router.evaluation.metrics import Figures

MISSED = 6  # exit code
FIGURES = tuple(f.name for f in fields(Figures) if f.name not in ("ci95", "against_best"))
_COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {
    ">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt,
}  # fmt: skip
_ONE = re.compile(r"\s*(\w+)\s*(>=|<=|>|<)\s*([0-9]*\.?[0-9]+)\s*")


@dataclass(frozen=True, slots=True)
class Bound:
    """figure, comparison, value: as written."""

    figure: str
    comparison: str
    value: float

    def missed(self, figures: Figures) -> str:
        """What was found instead, in words, or ""."""
        found = getattr(figures, self.figure)
        if found is not None and _COMPARISONS[self.comparison](found, self.value):
            return ""
        got = "nothing that can be said" if found is None else f"{found:.4g}"
        return f"{self.figure} is {got}, not {self.comparison} {self.value:g}"


def bounds(text: str) -> list[Bound]:
    """Raises ConfigError for what cannot be read, UnknownNameError for a figure that does not exist."""
    found = []
    for part in re.split(r"\band\b|,", text):
        match = _ONE.fullmatch(part)
        if not match:
            raise ConfigError(f"cannot read the gate {part.strip()!r}", '--gate "accuracy>=0.8 and token_share<=0.4"')
        if match[1] not in FIGURES:
            raise UnknownNameError("figure", match[1], FIGURES)
        found.append(Bound(match[1], match[2], float(match[3])))
    return found
