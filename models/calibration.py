"""What a reader's log-odds mean: a probability, and from which one on an answer is given.

Three curves, since the same score means different things: for a passage that the question was put to (people's traps
for readers are of this kind), for prose that was searched, and for code that was searched. That the best of many chunks
is high by chance as well was not seen: over some 35 chunks and over all of a corpus, the odds of 44 questions about
prose differed no more than a curve can tell.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from math import exp
from pathlib import Path

from selfroute.errors import ModelLoadError
from selfroute.models import weights
from selfroute.models.sentences import PROSE_KINDS
from selfroute.types import Chunk

FILE = "reader-minilm.json"


@dataclass(frozen=True, slots=True)
class Curve:
    """1 / (1 + exp(-(slope * odds + offset))); declined below threshold."""

    slope: float = 1.0
    offset: float = 0.0
    threshold: float = 0.5

    def probability(self, odds: float) -> float:
        """Of an answer whose span has these odds."""
        x = self.slope * odds + self.offset
        return 1 / (1 + exp(-x)) if x > -700 else 0.0


@dataclass(frozen=True, slots=True)
class Calibration:
    """passage: that the one chunk of prose that was read holds an answer. prose, code: that the answer is right."""

    passage: Curve
    prose: Curve
    code: Curve

    @classmethod
    def alike(cls, curve: Curve) -> Calibration:
        """The same curve for everything."""
        return cls(curve, curve, curve)

    @classmethod
    def read(cls, graph: str, folder: Path = weights.FOLDER) -> Calibration:
        """That of the shipped weights. graph: the name of the network's file. Raises ModelLoadError."""
        content = weights.read(FILE, folder)
        try:
            found = json.loads(content)
            curves = [Curve(**found[name]) for name in ("passage", "prose", "code")]
        except (ValueError, KeyError, TypeError) as error:
            raise ModelLoadError(f"the shipped file {FILE} holds no calibration: {error!r}") from error
        if found.get("graph") != weights.fingerprint(graph, folder):
            raise ModelLoadError(f"the shipped file {FILE} belongs to other weights than {graph}")
        return cls(*curves)

    def forced(self) -> Calibration:
        """The same, but every question is answered."""
        return Calibration(*(replace(curve, threshold=0.0) for curve in (self.passage, self.prose, self.code)))

    def curve(self, n_chunks: int, chunk: Chunk | None) -> Curve:
        """The one for the best span among n chunks. chunk: that it stands in."""
        if chunk is None or chunk.kind not in PROSE_KINDS:
            return self.code
        return self.passage if n_chunks == 1 else self.prose

    def to_json(self) -> dict[str, object]:
        """What `read` reads, but for the graph."""
        return asdict(self)
