"""What a language model takes of memory: read from its config.json and its files, without loading anything."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfroute.errors import ModelLoadError

WEIGHTS, WEIGHTS_INDEX = "model.safetensors", "model.safetensors.index.json"
COPIES = 2  # of the cache: the context's, which is kept, and the one that an answer is written on
_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2, "float64": 8}
_ATTENTION = frozenset({"attention", "full_attention", "global_attention", "hybrid"})
_SLIDING = frozenset({"sliding_attention", "chunked_attention", "local_attention"})


@dataclass(frozen=True, slots=True)
class Size:
    """weight_bytes; kv_bytes of one token over all layers that keep every token; window_bytes of those that keep few.

    state_bytes: of the recurrent layers, whatever the length. context_length: tokens that the model was trained for, 0
    when its config does not say.
    """

    weight_bytes: int
    kv_bytes: int
    window_bytes: int
    state_bytes: int
    context_length: int

    def needed(self, n_tokens: int) -> int:
        """Bytes for the weights and for COPIES caches of n_tokens."""
        return self.weight_bytes + COPIES * (n_tokens * self.kv_bytes + self.window_bytes + self.state_bytes)

    def room(self, free_bytes: int) -> int:
        """The most tokens that fit; at least 0. Without attention layers, any number: context_length."""
        left = free_bytes - self.needed(0)
        if left < 0:
            return 0
        return left // (COPIES * self.kv_bytes) if self.kv_bytes else max(self.context_length, 1 << 30)


def size_of(folder: Path) -> Size:
    """The size of the model in a folder. Raises ModelLoadError when files are missing or are no safetensors weights."""
    config = read_config(folder)
    text = config.get("text_config") if isinstance(config.get("text_config"), dict) else None
    layers = {**config, **(text or {})}
    n_bytes = sum((folder / name).stat().st_size for name in weight_files(folder))
    per_value = _BYTES.get(str(layers.get("dtype") or layers.get("torch_dtype") or "float32"), 4)
    kinds = _layer_kinds(layers)
    heads = _number(layers, "num_attention_heads", 1)
    kv_heads = _number(layers, "num_key_value_heads", heads)
    head_dim = _number(layers, "head_dim", _number(layers, "hidden_size", 0) // max(1, heads))
    one_layer = 2 * kv_heads * head_dim * per_value
    window = _number(layers, "sliding_window", 0)
    return Size(
        weight_bytes=n_bytes,
        kv_bytes=one_layer * sum(kind in _ATTENTION for kind in kinds),
        window_bytes=one_layer * window * sum(kind in _SLIDING for kind in kinds),
        state_bytes=_state_bytes(layers) * sum(kind not in _ATTENTION | _SLIDING for kind in kinds),
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


def _layer_kinds(config: Mapping[str, Any]) -> list[str]:
    """What each layer is; all attention when the config does not tell them apart."""
    for key in ("layer_types", "layers_block_type"):
        kinds = config.get(key)
        if isinstance(kinds, list) and kinds:
            return [str(kind) for kind in kinds]
    n = _number(config, "num_hidden_layers", 0)
    every = _number(config, "full_attention_interval", 0) or _number(config, "attn_layer_period", 0)
    if every:
        offset = _number(config, "attn_layer_offset", every - 1)
        return ["attention" if i % every == offset % every else "recurrent" for i in range(n)]
    some = config.get("attn_layer_indices") or config.get("full_attn_idxs")
    if isinstance(some, list):
        return ["attention" if i in some else "recurrent" for i in range(n)]
    return ["attention"] * n


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
