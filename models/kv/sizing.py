"""What a cache of keys and values takes of memory: the one formula, from a config alone, without loading anything."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from selfroute.errors import ConfigError
from selfroute.models.kv.presets import PLAIN, Bits, Preset, preset_of

TILE = 64  # tokens: room is made in whole tiles, which is what the kernels read
ATTENTION = frozenset({"attention", "full_attention", "global_attention", "hybrid"})  # keep every token
_ITEM = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2}
_PATTERN = {"*": "attention", "M": "mamba", "-": "mlp", "E": "moe"}


def kv_bytes(config: Any, tokens: int, preset: str | Preset, *, batch: int = 1, itemsize: int | None = None) -> int:
    """Bytes of the keys and values of `tokens` tokens over the attention layers, scales, shift and gain included.

    config: a parsed config.json, or transformers' object; of a vision-language model, its text part counts. itemsize:
    of the model's dtype in bytes, read from the config when not given; it matters to preset "bf16" only. Recurrent and
    convolution states are not counted: they do not grow. Nor is the staging of the first tokens, which is let go when
    they are packed. Raises UnknownNameError, and ConfigError for a config that does not say its heads.
    """
    return batch * shape_bytes(Shape.of(config), tokens, preset, itemsize)


def shape_bytes(shape: Shape, tokens: int, preset: str | Preset, itemsize: int | None = None) -> int:
    """The same of one sequence, for a shape that was read from a config already."""
    preset, item, room = preset_of(preset), itemsize or shape.itemsize, tiles(tokens)
    return sum(layer_bytes(preset.at(layer), shape.heads, shape.dim, room, item) for layer in shape.layers)


def layer_bytes(bits: Bits, heads: int, dim: int, room: int, itemsize: int) -> int:
    """Of one layer and one sequence, with room for that many tokens."""
    return heads * (room * _token(bits, dim, itemsize) + (0 if bits.plain else 2 * dim * 4))


def tiles(tokens: int) -> int:
    """The room that is made for that many tokens."""
    return -(-max(1, tokens) // TILE) * TILE


def _token(bits: Bits, dim: int, itemsize: int) -> int:
    """Of one token and one head: codes and scales of key and value."""
    return sum(dim * itemsize if each == PLAIN else dim * each // 8 + 4 for each in (bits.keys, bits.values))


class Shape:
    """Of the cache that a model needs: heads and channels of keys, the attention layers, bytes of the model's dtype."""

    __slots__ = ("dim", "heads", "itemsize", "kinds", "layers")

    def __init__(self, heads: int, dim: int, kinds: tuple[str, ...], itemsize: int) -> None:
        self.heads, self.dim, self.kinds, self.itemsize = heads, dim, kinds, itemsize
        self.layers = tuple(i for i, kind in enumerate(kinds) if kind in ATTENTION)

    @classmethod
    def of(cls, config: Any, *, strict: bool = True) -> Shape:
        """Read from a config. Raises ConfigError when it does not say how many heads of how many channels; not strict:
        takes none for them."""
        text = text_part(config)
        queries = _number(text, "num_attention_heads") or _number(text, "n_head")
        heads = _number(text, "num_key_value_heads") or queries
        hidden = _number(text, "hidden_size") or _number(text, "n_embd")
        dim = _number(text, "head_dim") or (hidden // queries if queries else 0)
        if strict and not (heads and dim):
            raise ConfigError("the config does not say its attention heads and their width", "use a language model's")
        dtype = str(get(text, "dtype") or get(text, "torch_dtype") or "float32").removeprefix("torch.")
        return cls(heads, dim, tuple(layer_kinds(text)), _ITEM.get(dtype, 4))

    def token_bytes(self, preset: Preset) -> int:
        """Of one token over all attention layers."""
        return self.heads * sum(_token(preset.at(layer), self.dim, self.itemsize) for layer in self.layers)


def text_part(config: Any) -> Any:
    """The part of a config that says how the language model is made."""
    if isinstance(config, Mapping):
        inner = config.get("text_config")
        return {**config, **inner} if isinstance(inner, Mapping) else config
    return config.get_text_config(decoder=True)


def layer_kinds(config: Any) -> list[str]:
    """What each layer is, by whichever of the families' ways its config says so; all attention when it does not."""
    for key in ("layer_types", "layers_block_type"):
        kinds = get(config, key)
        if isinstance(kinds, list | tuple) and kinds:
            return [str(kind) for kind in kinds]
    pattern = get(config, "hybrid_override_pattern")
    if isinstance(pattern, str) and pattern:
        return [_PATTERN.get(letter, letter) for letter in pattern]
    count = _number(config, "num_hidden_layers") or _number(config, "n_layer")
    every = _number(config, "full_attention_interval") or _number(config, "attn_layer_period")
    if every:
        offset = get(config, "attn_layer_offset")
        offset = offset if isinstance(offset, int) else every - 1
        return ["attention" if i % every == offset % every else "recurrent" for i in range(count)]
    for key in ("attn_layer_indices", "full_attn_idxs"):
        some = get(config, key)
        if isinstance(some, list | tuple):
            return ["attention" if i in some else "recurrent" for i in range(count)]
    sliding = _number(config, "sliding_window") and get(config, "use_sliding_window") is not False
    return [("sliding_attention" if sliding else "attention")] * count


def get(config: Any, key: str) -> Any:
    """A value of a config, None when there is none."""
    return config.get(key) if isinstance(config, Mapping) else getattr(config, key, None)


def _number(config: Any, key: str) -> int:
    value = get(config, key)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
