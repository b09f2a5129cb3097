"""A row: what came of one case on one route. It holds all that scorers, policies and the fitting need, as plain JSON.

Rows of one run stand in one file of JSON lines, each flushed to the disk before the next case is begun. What the clock
said stands apart in each row, so that the rows of two runs can be compared without it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from selfroute.types import Attempt, Chunk, Citation, Estimate, Features, Generation, Span, Usage

_CLOCK_OF_USAGE = ("prefill_seconds", "decode_seconds", "peak_bytes")


@dataclass(frozen=True, slots=True)
class Row:
    """One route's run of one case. features, estimate: as the router saw them before anything was read.

    seconds: of the route's whole call, by the clock. error: why there is no attempt; such a row is unscored, not wrong.
    attempt: as it was; its chunks and citations without their texts when it was read from a file.
    model: what answered; heads of the classifier belong to one.
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
        estimate = asdict(self.estimate)
        clock: dict[str, Any] = {"seconds": self.seconds, "estimated_seconds": estimate.pop("seconds")}
        found = None
        if self.attempt is not None:
            found = _attempt_object(self.attempt)
            clock |= {name: found["usage"].pop(name) for name in _CLOCK_OF_USAGE}
        return {
            "case": self.case_id,
            "route": self.route,
            "model": self.model,
            "error": self.error,
            "features": asdict(self.features),
            "estimate": estimate,
            "attempt": found,
            "clock": clock,
        }

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Row:
        """Raises ValueError for what is no row."""
        try:
            clock = found["clock"]
            attempt = found["attempt"]
            return cls(
                case_id=str(found["case"]),
                route=str(found["route"]),
                features=_known(Features, found["features"]),
                estimate=_known(Estimate, {**found["estimate"], "seconds": clock["estimated_seconds"]}),
                attempt=None if attempt is None else _attempt(str(found["route"]), attempt, clock),
                seconds=float(clock["seconds"]),
                error=str(found["error"]),
                model=str(found["model"]),
            )
        except (KeyError, TypeError, AttributeError, IndexError) as error:
            raise ValueError(f"not a row of a run: {error!r}") from error


def _attempt_object(attempt: Attempt) -> dict[str, Any]:
    return {
        "generation": _generation_object(attempt.generation),
        "reading": _generation_object(attempt.reading) if attempt.reading else None,
        "citations": [[c.path, c.start_line, c.end_line, c.start_byte, c.end_byte, c.stale] for c in attempt.citations],
        "chunks": [[c.id, c.path, c.n_tokens] for c in attempt.chunks],
        "left_out": [[c.id, c.path, c.n_tokens] for c in attempt.left_out],
        "usage": asdict(attempt.usage),
        "notes": list(attempt.notes),
        "degraded": attempt.degraded,
    }


def _generation_object(made: Generation) -> dict[str, Any]:
    """Without the usage, which is the attempt's."""
    return {
        "text": made.text,
        "spans": [[s.chunk, s.start, s.end, s.score] for s in made.spans],
        "confidence": made.confidence,
        "answerable": made.answerable,
        "finish": made.finish,
        "notes": list(made.notes),
        "threshold": made.threshold,
    }


def _attempt(route: str, found: Mapping[str, Any], clock: Mapping[str, Any]) -> Attempt:
    usage = _known(Usage, {**found["usage"], **{name: clock[name] for name in _CLOCK_OF_USAGE}})
    return Attempt(
        route=route,
        generation=_generation(found["generation"]),
        citations=tuple(Citation(*c[:5], "", c[5]) for c in found["citations"]),
        usage=usage,
        chunks=tuple(_chunk(*c) for c in found["chunks"]),
        notes=tuple(found["notes"]),
        degraded=bool(found["degraded"]),
        left_out=tuple(_chunk(*c) for c in found["left_out"]),
        reading=_generation(found["reading"]) if found["reading"] else None,
    )


def _generation(found: Mapping[str, Any]) -> Generation:
    spans = tuple(Span(*span) for span in found["spans"])
    rest = {name: found[name] for name in ("text", "confidence", "answerable", "finish", "threshold")}
    return Generation(**rest, spans=spans, notes=tuple(found["notes"]))


def _chunk(id_: str, path: str, n_tokens: int) -> Chunk:
    return Chunk(id_, "", path, 0, 0, "", n_tokens=n_tokens)


def _known(kind: Any, found: Mapping[str, Any]) -> Any:
    """The dataclass of those fields that it has: an older row lacks some, a newer one has more."""
    return kind(**{f.name: found[f.name] for f in fields(kind) if f.name in found})
