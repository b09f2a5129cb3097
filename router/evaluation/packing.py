"""The nouns of a row as plain JSON: what a policy is shown of an attempt, without the texts that were read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from math import inf, isfinite
from typing import Any

from selfroute.types import Attempt, Chunk, Citation, Estimate, Features, Generation, Span, Usage

_CLOCKED = ("prefill_seconds", "decode_seconds", "peak_bytes")
_COUNTED = ("prompt_tokens", "cached_tokens", "new_tokens")


def pack_fields(noun: Features | Estimate) -> dict[str, Any]:
    """Field -> value; numbers that JSON cannot hold become None."""
    return {f.name: _plain(getattr(noun, f.name)) for f in fields(noun)}


def unpack_features(found: Mapping[str, Any]) -> Features:
    """Raises ValueError when a field without a default is missing."""
    return Features(**_known(Features, found))


def unpack_estimate(found: Mapping[str, Any]) -> Estimate:
    """Raises ValueError when a field without a default is missing."""
    return Estimate(**_known(Estimate, found))


def pack_attempt(attempt: Attempt | None) -> tuple[dict[str, Any] | None, dict[str, Any]]:
    """An attempt, and what the clock said of it."""
    if attempt is None:
        return None, {}
    paths = list(dict.fromkeys(chunk.path for chunk in (*attempt.chunks, *attempt.left_out)))
    number = {path: i for i, path in enumerate(paths)}
    packed = {
        "generation": _pack_generation(attempt.generation),
        "reading": None if attempt.reading is None else _pack_generation(attempt.reading),
        "citations": [[c.path, c.start_line, c.end_line, c.start_byte, c.end_byte, c.stale] for c in attempt.citations],
        "paths": paths,
        "chunks": [[number[c.path], c.n_tokens, c.id] for c in attempt.chunks],
        "left_out": [[number[c.path], c.n_tokens, c.id] for c in attempt.left_out],
        "usage": {name: getattr(attempt.usage, name) for name in (*_COUNTED, "dollars")},
        "notes": list(attempt.notes),
        "degraded": attempt.degraded,
        "signals": dict(attempt.signals),
    }
    return packed, {name: getattr(attempt.usage, name) for name in _CLOCKED}


def unpack_attempt(found: Mapping[str, Any] | None, route: str, clock: Mapping[str, Any]) -> Attempt | None:
    """The attempt of a packed one. Raises KeyError, TypeError or ValueError for what is none."""
    if found is None:
        return None
    paths: Sequence[str] = found["paths"]
    usage = Usage(
        **{name: int(found["usage"].get(name, 0)) for name in _COUNTED},
        prefill_seconds=float(clock.get("prefill_seconds", 0.0)),
        decode_seconds=float(clock.get("decode_seconds", 0.0)),
        peak_bytes=int(clock.get("peak_bytes", 0)),
        dollars=float(found["usage"].get("dollars", 0.0)),
    )
    reading = found.get("reading")
    return Attempt(
        route,
        _unpack_generation(found["generation"]),
        tuple(_citation(*place) for place in found["citations"]),
        usage,
        tuple(_chunk(one, paths) for one in found["chunks"]),
        tuple(found["notes"]),
        bool(found["degraded"]),
        tuple(_chunk(one, paths) for one in found["left_out"]),
        None if reading is None else _unpack_generation(reading),
        {str(name): float(value) for name, value in found.get("signals", {}).items()},
    )


def _pack_generation(generation: Generation) -> dict[str, Any]:
    return {
        "text": generation.text,
        "confidence": _plain(generation.confidence),
        "answerable": generation.answerable,
        "finish": generation.finish,
        "threshold": _plain(generation.threshold),
        "notes": list(generation.notes),
        "spans": [[s.chunk, s.start, s.end, _plain(s.score)] for s in generation.spans],
    }


def _unpack_generation(found: Mapping[str, Any]) -> Generation:
    return Generation(
        str(found["text"]),
        tuple(Span(chunk, start, end, -inf if score is None else score) for chunk, start, end, score in found["spans"]),
        float(found["confidence"] or 0.0),
        bool(found["answerable"]),
        finish=found["finish"],
        notes=tuple(found["notes"]),
        threshold=found["threshold"],
    )


def _citation(path: str, start_line: int, end_line: int, start_byte: int, end_byte: int, stale: bool) -> Citation:
    return Citation(path, start_line, end_line, start_byte, end_byte, "", stale)


def _chunk(found: Sequence[Any], paths: Sequence[str]) -> Chunk:
    number, n_tokens, id_ = found
    return Chunk(str(id_), "", paths[number], 0, 0, "", n_tokens=int(n_tokens))


def _known(noun: type[Features] | type[Estimate], found: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that the noun has; a number that JSON could not hold is endless, if the field may not be None."""
    values = {}
    for f in fields(noun):
        if f.name in found:
            value = found[f.name]
            values[f.name] = inf if value is None and f.default is not None else value
        elif f.default is MISSING and f.default_factory is MISSING:
            raise ValueError(f"{noun.__name__} without {f.name}")
    return values


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not isfinite(value) else value
