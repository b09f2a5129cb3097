"""What the arrays of an encoded page are, and how they lie in one record of bytes.

A record holds the fields of a page itself first, then those of its tokens, each in the order of the layout and each
from a multiple of 64 bytes on. So the first part lies and is sized alike in every record of a model, and can be read of
many pages without the rest.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

ALIGN = 64
DTYPES = (
    "bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float16", "float32", "float64",
)  # fmt: skip

Arrays = Mapping[str, NDArray[np.generic]]
Size = TypeVar("Size", int, np.int64, NDArray[np.int64])


@dataclass(frozen=True, slots=True)
class Field:
    """One array of a page: [n_tokens, *shape] with per_token, else [*shape]. dtype: of DTYPES (bfloat16: uint16)."""

    name: str
    dtype: str
    shape: tuple[int, ...] = ()
    per_token: bool = True

    @property
    def n_bytes(self) -> int:
        """Bytes of a token, or of the page."""
        return np.dtype(self.dtype).itemsize * math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class Layout:
    """The arrays of every page of one model. fingerprint: hexadecimal, of all that decides what is in them.

    Raises ValueError for fields that cannot be: none, two of one name, an unknown type, a negative size.
    """

    fingerprint: str
    fields: tuple[Field, ...]

    def __post_init__(self) -> None:
        names = [field.name for field in self.fields]
        if not names or len(set(names)) != len(names):
            raise ValueError(f"a layout needs fields of different names, got {names}")
        for field in self.fields:
            if field.dtype not in DTYPES or any(size < 0 for size in field.shape):
                raise ValueError(f"no such array: {field}")

    def field(self, name: str) -> Field:
        """The field of a name. Raises KeyError."""
        for field in self.fields:
            if field.name == name:
                return field
        raise KeyError(name)

    @property
    def head_bytes(self) -> int:
        """Bytes of the fields that belong to the page itself, the space between them included."""
        return sum(aligned(field.n_bytes) for field in self.fields if not field.per_token)

    def record_bytes(self, n_tokens: Size) -> Size:
        """Bytes of the record of a page: head_bytes, and aligned(n_tokens * bytes of a token) for each other field."""
        size = n_tokens * 0 + self.head_bytes
        for field in self.fields:
            if field.per_token:
                size = size + aligned(n_tokens * field.n_bytes)
        return size

    def places(self, n_tokens: NDArray[np.int64]) -> dict[str, NDArray[np.int64]]:
        """Where each field begins in the records of pages of these lengths. n_tokens: (P,); each place: (P,)."""
        found = {}
        at = np.zeros(len(n_tokens), np.int64)
        for field in self._stored():
            found[field.name] = at
            at = at + (aligned(n_tokens * field.n_bytes) if field.per_token else aligned(field.n_bytes))
        return found

    def check(self, arrays: Arrays, n_tokens: int) -> None:
        """Raises ValueError for arrays that are not those of a page of so many tokens, and names the one."""
        if n_tokens < 0 or set(arrays) != {field.name for field in self.fields}:
            raise ValueError(f"a page has {[f.name for f in self.fields]}, got {sorted(arrays)} of {n_tokens} tokens")
        for field in self.fields:
            shape = (n_tokens, *field.shape) if field.per_token else field.shape
            array = arrays[field.name]
            if array.shape != shape or array.dtype != np.dtype(field.dtype):
                raise ValueError(f"{field.name} is {field.dtype}{list(shape)}, got {array.dtype}{list(array.shape)}")

    def pack(self, arrays: Arrays, n_tokens: int) -> bytes:
        """The record of a page. Raises ValueError as check() does."""
        self.check(arrays, n_tokens)
        parts = []
        for field in self._stored():
            data = np.ascontiguousarray(arrays[field.name]).tobytes()
            parts += [data, bytes(-len(data) % ALIGN)]
        return b"".join(parts)

    def view(self, record: bytes | memoryview, n_tokens: int) -> dict[str, NDArray[np.generic]]:
        """The arrays of a record, not copied and read-only where it is. Raises ValueError for another size."""
        if len(record) != self.record_bytes(n_tokens):
            raise ValueError(f"a page of {n_tokens} tokens is {self.record_bytes(n_tokens)} bytes, got {len(record)}")
        data = np.frombuffer(record, np.uint8)
        found = {}
        at = 0
        for field in self._stored():
            shape = (n_tokens, *field.shape) if field.per_token else field.shape
            n_bytes = np.dtype(field.dtype).itemsize * math.prod(shape)
            found[field.name] = data[at : at + n_bytes].view(field.dtype).reshape(shape)
            at += aligned(n_bytes)
        return {field.name: found[field.name] for field in self.fields}

    def to_json(self) -> str:
        """The fields as text: the same for the same fields in the same order."""
        return json.dumps([[f.name, f.dtype, list(f.shape), f.per_token] for f in self.fields])

    @classmethod
    def from_json(cls, fingerprint: str, text: str) -> Layout:
        """What to_json() gave. Raises ValueError for anything else."""
        try:
            fields = tuple(
                Field(str(name), str(dtype), tuple(map(int, shape)), bool(per_token))
                for name, dtype, shape, per_token in json.loads(text)
            )
        except TypeError as error:
            raise ValueError(f"no layout: {text[:80]!r}") from error
        return cls(fingerprint, fields)

    def _stored(self) -> list[Field]:
        """In the order of a record."""
        return sorted(self.fields, key=lambda field: field.per_token)


def aligned(n_bytes: Size) -> Size:
    """The next multiple of ALIGN."""
    return n_bytes + -n_bytes % ALIGN
