"""A row: what came of one case on one route. It holds all that scorers, policies and the fitting need, as plain JSON.

Rows of one run stand in one file of JSON lines, each flushed to the disk before the next case is begun. What the clock
and the memory said stands apart, under "clock": without it, the rows of two runs over the same cases are equal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from selfroute.router.evaluation.packing import (
    pack_attempt,
    pack_fields,
    unpack_attempt,
    unpack_estimate,
    unpack_features,
)
from selfroute.types import Attempt, Estimate, Features

CLOCK = "clock"


@dataclass(frozen=True, slots=True)
class Row:
    """One route's run of one case. features, estimate: as the router saw them before anything was read.

    seconds: of the route's whole call, by the clock. error: why there is no attempt; such a row is unscored, not wrong.
    attempt: as it was; out of a file its chunks have id, path and size alone, its citations no text.
    model: what answered, by fingerprint; heads of the classifier belong to one. encode_seconds: that the pages of its
    corpus took, once for all of its cases and in no one's seconds.
    """

    case_id: str
    route: str
    features: Features
    estimate: Estimate
    attempt: Attempt | None
    seconds: float
    error: str = ""
    model: str = ""
    encode_seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """A JSON object; of the row that `from_json` makes of it, it is the same again."""
        attempt, clock = pack_attempt(self.attempt)
        encoded = {"encode_seconds": self.encode_seconds} if self.encode_seconds else {}
        return {
            "case": self.case_id,
            "route": self.route,
            "model": self.model,
            "error": self.error,
            "features": pack_fields(self.features),
            "estimate": pack_fields(self.estimate),
            "attempt": attempt,
            CLOCK: {"seconds": self.seconds, **encoded, **clock},
        }

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Row:
        """Raises ValueError for what is no row; fields that this version does not know are passed over."""
        try:
            clock = found.get(CLOCK, {})
            return cls(
                str(found["case"]),
                str(found["route"]),
                unpack_features(found["features"]),
                unpack_estimate(found["estimate"]),
                unpack_attempt(found["attempt"], str(found["route"]), clock),
                float(clock.get("seconds", 0.0)),
                str(found.get("error", "")),
                str(found.get("model", "")),
                float(clock.get("encode_seconds", 0.0)),
            )
        except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
            raise ValueError(f"not a row of an evaluation: {type(error).__name__}: {error}") from error


def without_clock(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row's object without what differs from one run to the next."""
    return {key: value for key, value in row.items() if key != CLOCK}
