"""What `selfroute models` tells of language models: those on this disk, and whether they fit this machine."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from selfroute.models.cached import cached_models
from selfroute.models.sizes import free_memory

N_TOKENS = 8_192  # of context that a model is sized for


def hub_cache(environ: Mapping[str, str] | None = None) -> Path:
    """The folder of the Hugging Face cache, as its own library finds it."""
    environ = os.environ if environ is None else environ
    if environ.get("HF_HUB_CACHE"):
        return Path(environ["HF_HUB_CACHE"]).expanduser()
    home = environ.get("HF_HOME") or Path(environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    return Path(home).expanduser() / "hub"


def cached_lines(cache: Path, free_bytes: int | None = None) -> Iterator[tuple[str, str, str]]:
    """("cached", name, whether it fits) of every model in the cache.

    free_bytes: of main memory, measured when not given.
    """
    free = free_memory() if free_bytes is None else free_bytes
    for model in cached_models(cache):
        if model.size is None:
            yield "cached", model.name, model.why
            continue
        n_tokens = min(N_TOKENS, model.size.context_length or N_TOKENS)
        needed = model.size.needed(n_tokens)
        verdict = "fits" if needed <= free else "does not fit"
        yield (
            "cached",
            model.name,
            f"{verdict}: {_bytes(needed)} with {n_tokens:,} tokens ({_bytes(model.size.weight_bytes)} of weights),"
            f" {_bytes(free)} free",
        )


def _bytes(n: int) -> str:
    """1,234 B, 12.3 MB, 4.56 GB."""
    for unit, size in (("GB", 10**9), ("MB", 10**6)):
        if n >= size:
            return f"{n / size:.3g} {unit}"
    return f"{n:,} B"
