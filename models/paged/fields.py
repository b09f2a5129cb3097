"""Which arrays are kept of a page in each preset, and how rows of numbers go into them and come back.

Of every token: keys and values of each global layer (k0, v0, k1, ...), the pointer's start and end key, and a word's.
Each is packed as selfroute.models.kv.packing says into NAME and NAME_scale, or is float16 in NAME alone: "bf16" is
the preset's name there, and float16 what is stored, which for numbers of this size is the finer of the two. Of every
page: its key. The start key has 8 bits at least: it alone tells one token from a million others, and its 4 bits were
what answers were lost to (docs/benchmarks.md, section 16).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from selfroute.models.kv.presets import Preset, preset_of
from selfroute.models.paged import packing
from selfroute.models.paged.config import PagedConfig
from selfroute.models.paged.layout import Field, Layout
from selfroute.models.paged.packing import PLAIN

PAGE = "page"
SCALE = "_scale"
START, END, WORD = "start", "end", "word"
START_BITS = 8

Arrays = Mapping[str, NDArray[np.generic]]


@dataclass(frozen=True, slots=True)
class Row:
    """One vector that is kept of a token: its array's name, its shape, and its bits."""

    name: str
    shape: tuple[int, ...]
    bits: int

    def fields(self) -> list[Field]:
        """Its arrays."""
        if self.bits == PLAIN:
            return [Field(self.name, "float16", self.shape, True)]
        packed = (*self.shape[:-1], self.shape[-1] * self.bits // 8)
        scales = (*self.shape[:-1], 2)
        return [Field(self.name, "uint8", packed, True), Field(self.name + SCALE, "float16", scales, True)]

    def packed(self, x: NDArray[np.floating]) -> dict[str, NDArray[np.generic]]:
        """Its arrays, of x [n, *shape]."""
        if self.bits == PLAIN:
            return {self.name: x.astype(np.float16)}
        codes, scales = packing.pack(x, self.bits)
        return {self.name: codes, self.name + SCALE: scales}

    def unpacked(self, arrays: Arrays) -> NDArray[np.float32]:
        """x again, float32 [n, *shape]."""
        if self.bits == PLAIN:
            return arrays[self.name].astype(np.float32)
        return packing.unpack(arrays[self.name], arrays[self.name + SCALE], self.bits)  # type: ignore[arg-type]

    def scores(self, arrays: Arrays, query: NDArray[np.float32], head: int | None = None) -> NDArray[np.float32]:
        """(q, n): products of queries (q, D) with the rows, or with those of one head, without unpacking them whole."""
        part = slice(None) if head is None else (slice(None), head)
        codes = arrays[self.name][part]
        if self.bits == PLAIN:
            return query @ codes.astype(np.float32).T
        steps = arrays[self.name + SCALE][part].astype(np.float32)
        half = query.shape[1] // 2
        low, high = packing.centred(codes, self.bits)  # type: ignore[arg-type]
        found: NDArray[np.float32] = (query[:, :half] @ low.T) * steps[:, 0]
        found += (query[:, half:] @ high.T) * steps[:, 1]
        return found


def rows_of(config: PagedConfig, kv: str | Preset = "k4v4") -> dict[str, Row]:
    """The vectors kept of a token, in the order they are stored. Raises UnknownNameError, ConfigError."""
    preset = preset_of(kv)
    found = []
    for n in range(config.n_global):
        bits = preset.at(n)
        shape = (config.kv_heads, config.head_dim)
        found += [Row(f"k{n}", shape, bits.keys), Row(f"v{n}", shape, bits.values)]
    found.append(Row(START, (config.pointer,), start_bits(preset.bits.keys)))
    found.append(Row(END, (config.pointer,), preset.bits.keys))
    found.append(Row(WORD, (config.word,), preset.bits.keys))
    return {row.name: row for row in found}


def start_bits(keys: int) -> int:
    """The bits of a start key where other keys have so many."""
    return max(START_BITS, keys)


def layout_of(config: PagedConfig, kv: str | Preset, fingerprint: str) -> Layout:
    """All arrays of a page."""
    fields = [field for row in rows_of(config, kv).values() for field in row.fields()]
    return Layout(fingerprint, (*fields, Field(PAGE, "float16", (config.page,), False)))


def token_bytes(config: PagedConfig, kv: str | Preset) -> int:
    """Bytes of one token."""
    total = 0
    for row in rows_of(config, kv).values():
        for field in row.fields():
            total += int(np.prod(field.shape)) * np.dtype(field.dtype).itemsize
    return total
