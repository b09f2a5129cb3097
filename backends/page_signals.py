"""What a global read by pages shows of itself, beside the chunks that it finds: numbers for the router alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from selfroute.types import RETRIEVAL, Attempt

if TYPE_CHECKING:
    from selfroute.models.paged.reading import Reading

N_PAGES = 8  # best pages, of which agreement is told
PREFIX = "pages_"  # of the names


@dataclass(frozen=True, slots=True)
class PageSignals:
    """Of one reading of all pages of an index.

    null: the probability that nothing answers. mass: what the best N_PAGES pages have of the rest. entropy: of the
    pages, in nats. attended: the share of the attention that the page of the best span has, mean of the global layers.
    best: content hashes of the best pages, best first.
    """

    null: float
    mass: float
    entropy: float
    attended: float
    best: tuple[str, ...]

    @classmethod
    def of(cls, reading: Reading, hashes: Sequence[str]) -> PageSignals:
        """hashes: of the pages that were read, in their order."""
        attended = sum(reading.attended) / len(reading.attended) if reading.attended else 0.0
        best = tuple(hashes[i] for i in reading.best_pages(N_PAGES))
        return cls(reading.null, reading.mass, reading.entropy, attended, best)

    def beside(self, attempt: Attempt) -> dict[str, float]:
        """Name -> number: the signals, and how far the two readers agree.

        pages_quoted: whether the best page is of a chunk that the attempt quotes. pages_read, of retrieval alone: the
        share of the best pages that it read.
        """
        spans, chunks = attempt.generation.spans, attempt.chunks
        quoted = {chunks[span.chunk].content_hash for span in spans if span.chunk < len(chunks)}
        found = {
            "null": self.null,
            "mass": self.mass,
            "entropy": self.entropy,
            "attended": self.attended,
            "quoted": float(bool(self.best) and self.best[0] in quoted),
        }
        if attempt.route == RETRIEVAL:
            read = {chunk.content_hash for chunk in chunks}
            found["read"] = sum(page in read for page in self.best) / max(1, len(self.best))
        return {f"{PREFIX}{name}": round(float(value), 6) for name, value in found.items()}
