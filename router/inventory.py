"""What `selfroute models` tells of language models: those on this disk, and whether they fit this machine."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from selfroute.errors import ModelLoadError
from selfroute.models.cached import cached_models
from selfroute.models.kv.presets import PRESETS
from selfroute.models.kv.sizing import shape_bytes
from selfroute.models.sizes import Size, free_memory, size_of

N_TOKENS = 8_192  # of context that a model is sized for


@dataclass(frozen=True, slots=True)
class Fit:
    """What a model takes with so many tokens of context. kv: the preset; kv_bytes: of keys and values alone, one cache.

    needed_bytes: weights and the caches that answering needs. most_tokens: that there is room for. where: the memory.
    """

    kv: str
    tokens: int
    kv_bytes: int
    needed_bytes: int
    free_bytes: int
    most_tokens: int
    where: str

    @property
    def fits(self) -> bool:
        """Whether there is room."""
        return self.needed_bytes <= self.free_bytes

    def to_json(self) -> dict[str, object]:
        """For machines."""
        return {**asdict(self), "fits": self.fits}

    def line(self) -> str:
        """For people."""
        verdict = "fits" if self.fits else f"does not fit; {self.most_tokens:,} tokens do"
        return (
            f"{self.kv:<5} {verdict}: {_bytes(self.needed_bytes)} with {self.tokens:,} tokens"
            f" ({_bytes(self.kv_bytes)} of keys and values), {_bytes(self.free_bytes)} free in {self.where}"
        )


def fits(name: str, tokens: int, cache: Path, memory: Mapping[str, int] | None = None) -> Iterator[Fit]:
    """At each preset, in the memory of each device. memory: free bytes by name, measured when not given.

    Raises ModelLoadError for a model that is neither a folder nor in the cache; nothing is downloaded.
    """
    size = _size(name, cache)
    for where, free in (memory or _memory()).items():
        for kv in PRESETS:
            of_tokens = shape_bytes(size.shape, tokens, kv)
            yield Fit(kv, tokens, of_tokens, size.needed(tokens, kv), free, size.room(free, kv), where)


def _size(name: str, cache: Path) -> Size:
    folder = Path(name).expanduser()
    if folder.is_dir():
        return size_of(folder)
    for model in cached_models(cache):
        if model.name == name:
            return size_of(model.folder)
    raise ModelLoadError(f"no model {name!r} in {cache}", "a folder, or a name of: selfroute models")


def _memory() -> dict[str, int]:
    """Free bytes of main memory, and of the first GPU where there is one."""
    found = {"main memory": free_memory()}
    try:
        import torch

        if torch.cuda.is_available():
            found[torch.cuda.get_device_name(0)] = int(torch.cuda.mem_get_info(0)[0])
    except ImportError:
        pass
    return found


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
