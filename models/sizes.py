"""What a language model takes of memory: read from its config.json and its files, without loading anything."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfroute.errors import ModelLoadError
from selfroute.models.kv.presets import PRESETS, preset_of
from selfroute.models.kv.sizing import TILE, Shape, shape_bytes, text_part

WEIGHTS, WEIGHTS_INDEX = "model.safetensors", "model.safetensors.index.json"
COPIES = 2  # of the cache: the context's, which is kept, and the one that an answer is written on
PLAIN_PRESET = "bf16"  # by which keys and values are kept in the model's own dtype
_SLIDING = frozenset({"sliding_attention", "chunked_attention", "local_attention"})


@dataclass(frozen=True, slots=True)
class Size:
    """weight_bytes; shape: of the cache of the layers that keep every token; window_bytes of those that keep few.

    state_bytes: of the recurrent layers, whatever the length. context_length: tokens that the model was trained for, 0
    when its config does not say.
    """

    weight_bytes: int
    shape: Shape
    window_bytes: int
    state_bytes: int
    context_length: int

    @property
    def kv_bytes(self) -> int:
        """Of one token over all layers that keep every token, in the model's own dtype."""
        return self.shape.token_bytes(PRESETS[PLAIN_PRESET])

    def kept(self, n_tokens: int, kv: str = "") -> int:
        """Bytes of one cache of n_tokens. kv: a preset of selfroute.models.kv, the library's own cache when empty."""
        of_tokens = shape_bytes(self.shape, n_tokens, kv) if kv else n_tokens * self.kv_bytes
        return of_tokens + self.window_bytes + self.state_bytes

    def needed(self, n_tokens: int, kv: str = "") -> int:
        """Bytes for the weights and for COPIES caches of n_tokens."""
        return self.weight_bytes + COPIES * self.kept(n_tokens, kv)

    def room(self, free_bytes: int, kv: str = "") -> int:
        """The most tokens that fit; at least 0. Without attention layers, any number: context_length."""
        if free_bytes < self.needed(0, kv):
            return 0
        per_token = self.shape.token_bytes(preset_of(kv or PLAIN_PRESET))
        if not per_token:
            return max(self.context_length, 1 << 30)
        room = (free_bytes - self.needed(0)) // (COPIES * per_token)
        while room > 0 and self.needed(room, kv) > free_bytes:  # room is made in whole tiles
            room = (room - 1) // TILE * TILE
        return room


def size_of(folder: Path) -> Size:
    """The size of the model in a folder. Raises ModelLoadError when files are missing or are no safetensors weights."""
    layers = text_part(read_config(folder))
    n_bytes = sum((folder / name).stat().st_size for name in weight_files(folder))
    shape = Shape.of(layers, strict=False)
    n_sliding = sum(kind in _SLIDING for kind in shape.kinds)
    n_recurrent = len(shape.kinds) - n_sliding - len(shape.layers)
    one_layer = 2 * shape.heads * shape.dim * shape.itemsize
    return Size(
        weight_bytes=n_bytes,
        shape=shape,
        window_bytes=one_layer * _number(layers, "sliding_window", 0) * n_sliding,
        state_bytes=_state_bytes(layers) * n_recurrent,
        context_length=_number(layers, "max_position_embeddings", 0),
    )


def weight_files(folder: Path) -> list[str]:
    """The names of the safetensors files that hold the weights, all there. Raises ModelLoadError otherwise."""
    if (folder / WEIGHTS).is_file():
        return [WEIGHTS]
    if (folder / WEIGHTS_INDEX).is_file():
        try:
            names = sorted(set(json.loads((folder / WEIGHTS_INDEX).read_text(encoding="utf-8"))["weight_map"].values()))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ModelLoadError(
                f"{folder / WEIGHTS_INDEX} cannot be read: {error!r}", "get the model again"
            ) from error
        for name in names:
            if not isinstance(name, str) or Path(name).name != name or not (folder / name).is_file():
                raise ModelLoadError(f"{folder} lacks the weights file {name!r}", "get the model again")
        return names
    other = sorted(path.name for path in folder.iterdir() if path.suffix in {".bin", ".pt", ".pth", ".ckpt", ".gguf"})
    if other:
        raise ModelLoadError(
            f"{folder} holds {', '.join(other[:3])} but no safetensors weights; nothing else is loaded,"
            " since a pickle file can run any code",
            "convert it: model.save_pretrained(FOLDER) in a place that you trust",
        )
    raise ModelLoadError(f"{folder} holds no weights: there is no {WEIGHTS}", "get the model again, or name its folder")


def read_config(folder: Path) -> dict[str, Any]:
    """The parsed config.json. Raises ModelLoadError."""
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelLoadError(
            f"{folder} is no model folder: it has no config.json", "name the folder it is in"
        ) from error
    except (OSError, ValueError) as error:
        raise ModelLoadError(f"{path} cannot be read: {error}", "get the model again") from error
    if not isinstance(config, dict):
        raise ModelLoadError(f"{path} holds no object", "get the model again")
    return config


def free_memory() -> int:
    """Bytes of main memory that can be had: of the machine, or of the control group that this process runs in."""
    free = _available()
    group = Path("/sys/fs/cgroup")
    try:
        limit, used = (group / "memory.max").read_text().strip(), int((group / "memory.current").read_text())
        if limit != "max":
            free = min(free, max(0, int(limit) - used))
    except (OSError, ValueError):
        pass
    return free


def _available() -> int:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")  # macOS does not say what is free


def _state_bytes(config: Mapping[str, Any]) -> int:
    """Of one recurrent layer, in float32: Mamba's heads, or those of linear attention; convolution states apart."""
    mamba = (
        _number(config, "mamba_n_heads", 0) * _number(config, "mamba_d_head", 0) * _number(config, "mamba_d_state", 0)
    )
    linear = (
        _number(config, "linear_num_value_heads", 0)
        * _number(config, "linear_key_head_dim", 0)
        * _number(config, "linear_value_head_dim", 0)
    )
    return 4 * max(mamba, linear)


def _number(config: Mapping[str, Any], key: str, default: int) -> int:
    value = config.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else default
