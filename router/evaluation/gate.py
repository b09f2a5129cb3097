"""A condition on the figures of a policy: "accuracy>=0.8 and seconds<=1.5"."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from selfroute.errors import ConfigError, UnknownNameError
from selfroute.router.evaluation.metrics import Figures

EXIT_CODE = 6  # of a command whose gate was missed
_COMPARE: Mapping[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    ">": operator.gt,
    "<": operator.lt,
}
_CONDITION = re.compile(r"\s*([a-z_][a-z_0-9]*)\s*(>=|<=|==|>|<)\s*(-?\d+(?:\.\d+)?)(%?)\s*", re.IGNORECASE)
EXAMPLE = '--gate "accuracy>=0.8 and seconds<=1.5"'


@dataclass(frozen=True, slots=True)
class Condition:
    """One comparison of the gate."""

    name: str
    sign: str
    bound: float

    def missed(self, values: Mapping[str, float | None]) -> str:
        """Why it does not hold, or ""."""
        value = values[self.name]
        if value is None:
            return f"{self.name} cannot be said, and had to be {self.sign} {self.bound:g}"
        return (
            ""
            if _COMPARE[self.sign](value, self.bound)
            else f"{self.name} is {value:.4g}, not {self.sign} {self.bound:g}"
        )


def parse_gate(text: str) -> tuple[Condition, ...]:
    """The conditions, joined by "and". Raises ConfigError, UnknownNameError for a figure that there is none of."""
    found = []
    for part in re.split(r"\band\b|,|&&", text, flags=re.IGNORECASE):
        match = _CONDITION.fullmatch(part)
        if match is None:
            raise ConfigError(f"cannot read the condition {part.strip()!r} of the gate {text!r}", EXAMPLE)
        name, sign, bound, percent = match.groups()
        if name.lower() not in NAMES:
            raise UnknownNameError("figure", name, NAMES)
        found.append(Condition(name.lower(), sign, float(bound) / (100 if percent else 1)))
    return tuple(found)


def values_of(figures: Figures) -> dict[str, float | None]:
    """Every figure that a gate can be about, by name."""
    interval, paired = figures.interval, figures.paired
    bounds = paired.interval if paired else None
    return {
        "n": float(figures.n),
        "n_unscored": float(figures.n_unscored),
        "accuracy": figures.accuracy,
        "accuracy_low": interval[0] if interval else None,
        "tokens": figures.tokens,
        "token_share": figures.token_share,
        "seconds": figures.seconds,
        "dollars": figures.dollars,
        "long_context_share": figures.long_context_share,
        "declined_share": figures.declined_share,
        "gap_recovered": figures.gap_recovered,
        "regret": figures.regret,
        "apgr": figures.apgr,
        "cpt50": figures.cpt50,
        "ece": figures.ece,
        "difference": paired.difference if paired else None,
        "difference_low": bounds[0] if bounds else None,
    }


NAMES = (
    "n", "n_unscored", "accuracy", "accuracy_low", "tokens", "token_share", "seconds", "dollars", "long_context_share",
    "declined_share", "gap_recovered", "regret", "apgr", "cpt50", "ece", "difference", "difference_low",
)  # fmt: skip


def missed(conditions: tuple[Condition, ...], figures: Figures) -> list[str]:
    """Why the gate is missed; nothing when it is passed."""
    values = values_of(figures)
    return [why for condition in conditions if (why := condition.missed(values))]
