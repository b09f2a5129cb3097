"""What a page store holds, in numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from selfroute.memory.pages.base import TIERS
from selfroute.memory.pages.table import PageTable


@dataclass(frozen=True, slots=True)
class ModelStats:
    """The pages of one model. n_bytes: of their records. seconds: that encoding them took.

    found: tier -> how often a page that was asked for was found there. encoded: how often one was not, and was encoded.
    """

    fingerprint: str
    pages: int
    tokens: int
    n_bytes: int
    seconds: float
    found: Mapping[str, int]
    encoded: int

    @property
    def hit_rate(self) -> float | None:
        """Share in [0, 1] of the pages asked for that were found; None before any was."""
        asked = sum(self.found.values()) + self.encoded
        return sum(self.found.values()) / asked if asked else None


@dataclass(frozen=True, slots=True)
class Stats:
    """models: those with the most bytes first. disk_bytes: of the segments, what is not needed any more included."""

    folder: Path
    models: tuple[ModelStats, ...] = ()
    segments: int = 0
    disk_bytes: int = 0
    budget_bytes: int | None = None

    @property
    def pages(self) -> int:
        """Of all models."""
        return sum(model.pages for model in self.models)

    @property
    def n_bytes(self) -> int:
        """Bytes of the records of all models."""
        return sum(model.n_bytes for model in self.models)


def stats_of(table: PageTable, folder: Path, budget_bytes: int | None) -> Stats:
    """Reads them from the table. Raises sqlite3.Error."""
    counts = {model: rest for model, *rest in table.counts()}
    hits = table.hits()
    models = []
    for row in table.models():
        pages, tokens, n_bytes, seconds = counts.get(row.model, (0, 0, 0, 0.0))
        found = {tier: hits.get((row.model, tier), 0) for tier in TIERS}
        encoded = hits.get((row.model, ""), 0)
        models.append(ModelStats(row.fingerprint, int(pages), int(tokens), int(n_bytes), seconds, found, encoded))
    models.sort(key=lambda model: -model.n_bytes)
    segments = table.segments()
    used = sum(used for _, used, _ in segments.values())
    return Stats(folder, tuple(models), len(segments), used, budget_bytes)
