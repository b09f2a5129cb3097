"""Contexts kept packed, and in a file beside an index: a corpus that was read once is not read again, in any process.

Of a file that holds another text the common beginning is used: after an edit, what comes before it need not be read.
A folder keeps the KEPT files that were used last: those of other models, presets and versions go in time.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

from selfroute.models.contexts import Context, Place, Read
from selfroute.models.kv.cache import PackedCache, quantized_cache
from selfroute.models.kv.fingerprint import fingerprint
from selfroute.models.kv.prefix import EVERY, Prefix
from selfroute.models.kv.presets import Preset
from selfroute.models.kv.snapshot import load, save
from selfroute.models.kv.states import States, take

KEPT = 4


class PackedContexts:
    """Keys and values by a preset. Raises ConfigError, when it is made, for a model that it cannot serve."""

    def __init__(self, model: Any, tokenizer: Any, preset: Preset) -> None:
        self._model, self._tokenizer, self._preset = model, tokenizer, preset
        quantized_cache(model, preset)

    def read(self, ids: Sequence[int], read: Read, place: Place | None) -> Context:
        """Raises what `read` raises; a file that cannot be used or written costs time, nothing else."""
        mark = place.word(self.fingerprint) if place else ""
        path = place.folder / f"{mark[:24]}.safetensors" if place else None
        kept = load(path, self._model, self._preset, mark).prefix if path else None
        if path and kept:
            with suppress(OSError):
                os.utime(path)
        start = kept.nearest(kept.common(ids)) if kept else 0
        if kept is None or not start:
            cache, states = quantized_cache(self._model, self._preset, max_tokens=len(ids)), {}
        else:
            cache = (
                kept.cache
                if start == len(ids) == len(kept.ids)
                else kept.branch(self._model, start, max_tokens=len(ids))
            )
            states = {at: of for at, of in kept.checkpoints.items() if at <= start}
        del kept
        states |= _read_on(ids, start, cache, read)
        notes = _keep(path, Prefix(tuple(ids), cache, states), mark) if path and start < len(ids) else ()
        return Context(cache, start, cache.nbytes, notes)

    def copy(self, context: Context, n_tokens: int) -> PackedCache:
        fork: PackedCache = context.cache.fork(max_tokens=n_tokens)
        return fork

    @cached_property
    def fingerprint(self) -> str:
        """Of model, tokenizer and preset, computed when it is first needed."""
        return fingerprint(self._model, self._preset, self._tokenizer)


def _read_on(ids: Sequence[int], start: int, cache: PackedCache, read: Read) -> dict[int, States]:
    """Reads ids[start:], and returns the recurrent states after every EVERY tokens."""
    found: dict[int, States] = {}
    while start < len(ids):
        stop = min(len(ids), (start // EVERY + 1) * EVERY) if cache.hybrid else len(ids)
        read(ids[start:stop], cache)
        start = stop
        if start < len(ids):
            found[start] = take(cache)
    return found


def _keep(path: Path, prefix: Prefix, mark: str) -> tuple[str, ...]:
    try:
        save(path, prefix, mark)
    except OSError as error:
        return (f"what was read cannot be kept in {path.parent}: {error.strerror or error}",)
    with suppress(OSError):
        files = sorted(path.parent.glob("*.safetensors"), key=lambda file: file.lstat().st_mtime_ns)
        for file in files[:-KEPT]:
            file.unlink()
    return ()
