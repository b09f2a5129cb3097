"""How many bits a cached key and a cached value take: presets, and other bits for single layers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from selfroute.errors import ConfigError, UnknownNameError

PLAIN = 16  # stands for the model's own dtype, whatever its width: no quantization
BITS = (4, 8, PLAIN)


@dataclass(frozen=True, slots=True)
class Bits:
    """Of one layer's keys and values: 4, 8, or PLAIN for both."""

    keys: int
    values: int

    @property
    def plain(self) -> bool:
        """Whether they are kept as the model made them."""
        return self.keys == PLAIN


@dataclass(frozen=True, slots=True)
class Preset:
    """A name, the bits of every layer, and the layers (by index in the model) that have others."""

    name: str
    bits: Bits
    layers: tuple[tuple[int, Bits], ...] = ()

    def at(self, layer: int) -> Bits:
        """The bits of one layer."""
        return dict(self.layers).get(layer, self.bits)

    def override(self, layers: Mapping[int, str]) -> Preset:
        """The same with other presets at some layers: {0: "k8v8"}. Raises UnknownNameError, ConfigError."""
        for layer in layers:
            if layer < 0:
                raise ConfigError(f"there is no layer {layer!r}", "count layers from 0")
        merged = {**dict(self.layers), **{layer: preset_of(name).bits for layer, name in layers.items()}}
        kept = tuple((layer, merged[layer]) for layer in sorted(merged) if merged[layer] != self.bits)
        name = self.name.split(":")[0]
        if kept:
            name += ":" + ",".join(f"{layer}={_NAMES[bits]}" for layer, bits in kept)
        return replace(self, name=name, layers=kept)


PRESETS: dict[str, Preset] = {
    name: Preset(name, bits)
    for name, bits in (
        ("bf16", Bits(PLAIN, PLAIN)),
        ("k8v8", Bits(8, 8)),
        ("k4v8", Bits(4, 8)),
        ("k4v4", Bits(4, 4)),
    )
}
_NAMES = {preset.bits: name for name, preset in PRESETS.items()}


def preset_of(spec: str | Preset) -> Preset:
    """The preset that is named, with overrides behind a colon: "k4v4", "k4v4:0=k8v8,5=bf16".

    Raises UnknownNameError, and ConfigError for overrides that cannot be read.
    """
    if isinstance(spec, Preset):
        return spec
    name, colon, rest = spec.strip().lower().partition(":")
    if name not in PRESETS:
        raise UnknownNameError("cache preset", name, PRESETS)
    layers: dict[int, str] = {}
    for part in rest.split(",") if colon else ():
        layer, equals, other = part.partition("=")
        if not equals or not layer.strip().isdecimal():
            raise ConfigError(f"the layer override {part!r} cannot be read", f"write it as {name}:0=k8v8,5=bf16")
        layers[int(layer)] = other.strip()
    return PRESETS[name].override(layers)
