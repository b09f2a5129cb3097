"""Files of numpy arrays that are exactly what was written: checksummed, named by generation, replaced whole.

A file is a line of JSON (name, type, shape and place of each array), then the arrays, each at a multiple of 64 bytes.
It is written under a temporary name, flushed to the disk and renamed, so a reader never meets half of one.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from selfroute.errors import SelfRouteError

_PREFIX = "arrays-"
_ENDING = ".bin"
_ALIGN = 64
_TYPES = ("uint8", "int8", "uint16", "int32", "int64", "float32", "float64")

Arrays = Mapping[str, NDArray[np.generic]]


@dataclass(frozen=True, slots=True)
class ArrayFile:
    """What the store keeps of a file of arrays. checksum: blake2b of its bytes."""

    name: str
    generation: int
    checksum: str
    n_bytes: int


def write(directory: Path, arrays: Arrays, generation: int) -> ArrayFile:
    """Writes the arrays of a generation and flushes them to the disk; older files stay until sweep().

    Raises SelfRouteError when the disk does not take them.
    """
    header, blocks = [], []
    place = 0
    for name, array in arrays.items():
        if array.dtype.name not in _TYPES:
            raise TypeError(f"array {name!r} is of type {array.dtype}")
        block = np.ascontiguousarray(array)
        header.append([name, block.dtype.name, list(block.shape), place])
        blocks.append((block, -block.nbytes % _ALIGN))
        place += block.nbytes + blocks[-1][1]
    line = json.dumps(header).encode()
    line += b" " * (-(len(line) + 1) % _ALIGN) + b"\n"

    digest = blake2b(line, digest_size=16)
    name = f"{_PREFIX}{generation:08d}{_ENDING}"
    temporary = directory / f"{name}.tmp"
    try:
        temporary.unlink(missing_ok=True)
        with temporary.open("xb") as file:  # never through a link that a corpus brought with it
            file.write(line)
            for block, padding in blocks:
                for data in (block.reshape(-1).view(np.uint8).data, bytes(padding)):
                    file.write(data)
                    digest.update(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(directory / name)
        sync_folder(directory)
    except OSError as error:
        raise SelfRouteError(
            f"cannot write {temporary}: {error.strerror}",
            "free some space, or keep the index elsewhere: --index-dir DIR",
        ) from error
    return ArrayFile(name, generation, digest.hexdigest(), len(line) + place)


def read(directory: Path, file: ArrayFile) -> dict[str, NDArray[np.generic]] | None:
    """The arrays, read-only, or None when the file is missing or is not byte for byte what was written."""
    try:
        data = (directory / file.name).read_bytes()
    except OSError:
        return None
    if len(data) != file.n_bytes or blake2b(data, digest_size=16).hexdigest() != file.checksum:
        return None
    start = data.index(b"\n") + 1
    arrays = {}
    for name, kind, shape, place in json.loads(data[:start]):
        count = int(np.prod(shape, dtype=np.int64))
        arrays[name] = np.frombuffer(data, kind, count, start + place).reshape(shape)
    return arrays


def sweep(directory: Path, keep: str) -> None:
    """Deletes every file of arrays but `keep`, half-written ones too. Only for the one who holds the writer's lock."""
    for path in directory.glob(f"{_PREFIX}*"):
        if path.name != keep:
            path.unlink(missing_ok=True)


def sync_folder(directory: Path) -> None:
    """Flushes the folder's entries, so that a rename survives a power cut."""
    fd = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
