"""The word vectors of the shipped reader, read out of its ONNX file: they are used here too, and shipped once.

The file is walked by hand (protobuf's wire format, of which only lengths and two kinds of numbers are needed), since
the package that reads ONNX files is wanted for training only. The arrays are views of the mapped file.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from selfroute.errors import ModelLoadError
from selfroute.models import weights

READER = "reader-minilm.onnx"
_GRAPH, _INITIALIZER, _DIMS, _TYPE, _NAME, _RAW = 7, 5, 1, 2, 8, 9  # fields of ModelProto, GraphProto, TensorProto
_DTYPES = {1: np.float32, 2: np.uint8, 3: np.int8, 7: np.int64, 10: np.float16}


class Words:
    """A table of word vectors: int8 rows with a scale each. rows() is what looks one up."""

    def __init__(self, table: NDArray[np.int8], scale: NDArray[np.float32]) -> None:
        self.table, self.scale = table, scale.reshape(-1, 1)

    @classmethod
    def shipped(cls, folder: Path = weights.FOLDER) -> Words:
        """Those of the shipped reader. Raises ModelLoadError when its file is missing or altered."""
        arrays = initializers(weights.checked(READER, folder))
        try:
            return cls(arrays["words"], arrays["words_scale"])  # type: ignore[arg-type]
        except KeyError as error:
            raise ModelLoadError(f"{READER} has no {error} in it", "reinstall selfroute") from error

    def rows(self, ids: NDArray[np.integer]) -> NDArray[np.float32]:
        """(..., width) float32 of ids (...)."""
        found: NDArray[np.float32] = self.table[ids].astype(np.float32) * self.scale[ids]
        return found

    def all(self) -> NDArray[np.float32]:
        """(vocabulary, width) float32."""
        found: NDArray[np.float32] = self.table.astype(np.float32) * self.scale
        return found


def initializers(path: Path) -> dict[str, NDArray[np.generic]]:
    """The arrays of an ONNX file that keeps them inside, by name, mapped and not copied. Raises ModelLoadError."""
    data = np.memmap(path, np.uint8, "r")
    found = {}
    try:
        for number, (begin, end) in _fields(data, 0, len(data)):
            if number == _GRAPH:
                for inner, (a, b) in _fields(data, begin, end):
                    if inner == _INITIALIZER:
                        name, array = _tensor(data, a, b)
                        found[name] = array
    except (IndexError, KeyError, ValueError, UnicodeDecodeError) as error:
        raise ModelLoadError(f"{path.name} is no ONNX file as this package writes them: {error!r}") from error
    return found


def _tensor(data: NDArray[np.uint8], begin: int, end: int) -> tuple[str, NDArray[np.generic]]:
    dims: list[int] = []
    kind, name, raw = 0, "", (begin, begin)
    for number, (a, b) in _fields(data, begin, end):
        if number == _DIMS:
            dims.append(_varint(data, a)[0])
        elif number == _TYPE:
            kind = _varint(data, a)[0]
        elif number == _NAME:
            name = bytes(data[a:b]).decode()
        elif number == _RAW:
            raw = (a, b)
    return name, np.asarray(data[raw[0] : raw[1]]).view(_DTYPES[kind]).reshape(dims)


def _fields(data: NDArray[np.uint8], at: int, end: int) -> Iterator[tuple[int, tuple[int, int]]]:
    """Each field's number and where its content lies."""
    while at < end:
        tag, at = _varint(data, at)
        kind = tag & 7
        if kind == 0:
            after = _varint(data, at)[1]
        elif kind == 2:
            size, at = _varint(data, at)
            after = at + size
        elif kind in (1, 5):
            after = at + (8 if kind == 1 else 4)
        else:
            raise ValueError(f"wire type {kind}")
        yield tag >> 3, (at, after)
        at = after


def _varint(data: NDArray[np.uint8], at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = int(data[at])
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
