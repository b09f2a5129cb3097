"""Saves a prefix that was read to a file, and loads it: reading it once is enough, over restarts too.

One safetensors file: packed rows or the first tokens that wait, shift and gain, recurrent and convolution states with
their checkpoints, token ids; what it belongs to and a checksum over all of it in the header. It is written beside its
place, synced, and renamed, so that a file is whole or is not there. What cannot be used is a miss with a reason.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from selfroute.errors import ConfigError, SelfRouteError
from selfroute.models.kv.cache import PackedCache
from selfroute.models.kv.fingerprint import LAYOUT
from selfroute.models.kv.layers import PackedLayer
from selfroute.models.kv.prefix import Prefix
from selfroute.models.kv.presets import Preset, preset_of
from selfroute.models.kv.sizing import Shape
from selfroute.models.kv.states import places, put, take

_KIND = "selfroute-kv"


@dataclass(frozen=True, slots=True)
class Loaded:
    """What load found: a prefix, or None and why."""

    prefix: Prefix | None
    reason: str = ""


def save(path: Path, prefix: Prefix, mark: str) -> int:
    """Writes it and returns the file's bytes. mark: fingerprint() of what read it.

    Raises ConfigError for a cache of several sequences or of other tokens than the prefix says, and OSError.
    """
    cache = prefix.cache
    if cache.batch_size != 1 or cache.get_seq_length() != len(prefix.ids):
        raise ConfigError(
            f"the cache holds {cache.batch_size} x {cache.get_seq_length()} tokens, not 1 x {len(prefix.ids)}",
            "save a prefix as read_prefix() made it",
        )
    tensors = {"ids": torch.tensor(prefix.ids, dtype=torch.int32)}
    for index, layer in enumerate(cache.layers):
        if isinstance(layer, PackedLayer):
            tensors |= {f"kv.{index}.{name}": t for name, t in layer.tensors(len(prefix.ids)).items()}
    marks = {**prefix.checkpoints, len(prefix.ids): take(cache)}
    for at, states in marks.items():
        tensors |= {f"state.{at}.{name}": t for name, t in states.items()}
    tensors = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
    about = {
        "kind": _KIND,
        "layout": str(LAYOUT),
        "mark": mark,
        "preset": cache.preset.name,
        "tokens": str(len(prefix.ids)),
        "checkpoints": json.dumps(sorted(prefix.checkpoints)),
    }
    return _write(path, tensors, {**about, "checksum": _checksum(tensors, about)})


def load(
    path: Path,
    model: Any,
    preset: str | Preset,
    mark: str,
    *,
    ids: Sequence[int] | None = None,
    max_tokens: int | None = None,
) -> Loaded:
    """The prefix in a file, in a cache for `model` with room for max_tokens, or why there is none; nothing is raised.

    mark: fingerprint() of what is going to use it. ids: a text that the prefix has to be the start of.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            about = dict(file.metadata() or {})
            reason = _other(about, preset_of(preset), mark)
            if reason:
                return Loaded(None, reason)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if about.pop("checksum", "") != _checksum(tensors, about):
            return Loaded(None, "the file is damaged: its checksum is another")
        found = tuple(tensors.pop("ids").tolist())
        if ids is not None and tuple(ids[: len(found)]) != found:
            return Loaded(None, "it is of another text")
        return Loaded(_restore(model, preset_of(preset), max_tokens, found, tensors))
    except FileNotFoundError:
        return Loaded(None, "there is no such file")
    except (OSError, SafetensorError, KeyError, ValueError, IndexError, TypeError, RuntimeError) as error:
        return Loaded(None, f"the file cannot be used: {_first(error)}")
    except SelfRouteError as error:
        return Loaded(None, error.message)


def _restore(
    model: Any, preset: Preset, max_tokens: int | None, ids: tuple[int, ...], tensors: Mapping[str, torch.Tensor]
) -> Prefix:
    from selfroute.models.kv.attention import attach

    cache = PackedCache(model.config, preset, max_tokens)
    attach(model)
    shape = Shape.of(model.config)
    like = torch.zeros((1, shape.heads, 0, shape.dim), dtype=model.dtype, device=model.device)
    for index, layer in enumerate(cache.layers):
        if isinstance(layer, PackedLayer):
            layer.fill(_under(tensors, f"kv.{index}."), len(ids), (like, like))
    marks = sorted({int(name.split(".")[1]) for name in tensors if name.startswith("state.")})
    states = {at: _under(tensors, f"state.{at}.") for at in marks}
    end = states.pop(len(ids), {})
    for held in (end, *states.values()):
        if {name.split(".")[0] for name in held} != places(cache):
            raise ValueError("it lacks states of some layers, or holds others")
    put(cache, end, model.device)
    return Prefix(ids, cache, {at: {n: t.to(model.device) for n, t in held.items()} for at, held in states.items()})


def _other(about: Mapping[str, str], preset: Preset, mark: str) -> str:
    """Why a file of that header is not what is wanted; empty when it is."""
    if about.get("kind") != _KIND:
        return "the file is no stored prefix"
    if about.get("layout") != str(LAYOUT):
        return f"it has layout {about.get('layout')}, this version reads {LAYOUT}"
    if about.get("preset") != preset.name:
        return f"it was read with preset {about.get('preset')}, not {preset.name}"
    return "" if about.get("mark") == mark else "it belongs to other weights, another tokenizer or other versions"


def _under(tensors: Mapping[str, torch.Tensor], start: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(start): t for name, t in tensors.items() if name.startswith(start)}


def _checksum(tensors: Mapping[str, torch.Tensor], about: Mapping[str, str]) -> str:
    digest = hashlib.sha256(json.dumps(dict(about), sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _write(path: Path, tensors: Mapping[str, torch.Tensor], about: Mapping[str, str]) -> int:
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        save_file(dict(tensors), beside, metadata=dict(about))
        _sync(beside)
        size = beside.stat().st_size
        beside.replace(path)
    finally:
        with suppress(OSError):
            beside.unlink()
    _sync(path.parent)
    return size


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _first(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
