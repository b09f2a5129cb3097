"""A row: what came of one case on one route. It holds all that scorers, policies and the fitting need, as plain JSON.

Rows of one run stand in one file of JSON lines, each flushed to the disk before the next case is begun.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from selfroute.types import Attempt, Estimate, Features


@dataclass(frozen=True, slots=True)
class Row:
    """One route's run of one case. features, estimate: as the router saw them before anything was read.

    seconds: of the route's whole call, by the clock. error: why there is no attempt; such a row is unscored, not wrong.
    attempt: as it was; its chunks and citations without their texts when it was read from a file.
    model: what answered, by fingerprint; heads of the classifier belong to one.
    """

    case_id: str
    route: str
    features: Features
    estimate: Estimate
    attempt: Attempt | None
    seconds: float
    error: str = ""
    model: str = ""

    def to_json(self) -> dict[str, Any]:
        """A JSON object; `from_json` gives an equal row, but for the texts of chunks and citations."""
        raise NotImplementedError

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Row:
        """Raises ValueError for what is no row."""
        raise NotImplementedError
