"""The files shipped with the package, each checked against its recorded sha256 before it is used."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from selfroute.errors import ModelLoadError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FOLDER = Path(__file__).parent
SUMS = "sha256.json"
_HINT = "pip install --force-reinstall --no-deps selfroute"


def read(name: str, folder: Path = FOLDER) -> bytes:
    """The bytes of one shipped file. Raises ModelLoadError when it is missing or not the file that was shipped."""
    with _reporting(name):
        content = (folder / name).read_bytes()
    _check(name, folder, hashlib.sha256(content))
    return content


def checked(name: str, folder: Path = FOLDER) -> Path:
    """The path of one shipped file, for what reads it by itself. Raises ModelLoadError like `read`."""
    with _reporting(name), (folder / name).open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    _check(name, folder, digest)
    return folder / name


def load(name: str, folder: Path = FOLDER) -> dict[str, NDArray[np.generic]]:
    """The arrays of one shipped safetensors file. Raises ModelLoadError like `read`."""
    from safetensors import SafetensorError
    from safetensors.numpy import load as load_arrays

    content = read(name, folder)
    try:
        arrays: dict[str, NDArray[np.generic]] = load_arrays(content)
    except (SafetensorError, ValueError) as error:
        raise ModelLoadError(f"the shipped file {name} is no safetensors file: {error}", _HINT) from error
    return arrays


def fingerprint(name: str, folder: Path = FOLDER) -> str:
    """The first 16 hexadecimal digits of a shipped file's recorded sha256. Raises ModelLoadError when none is."""
    return _recorded(name, folder)[:16]


def _check(name: str, folder: Path, digest: hashlib._Hash) -> None:
    expected, found = _recorded(name, folder), digest.hexdigest()
    if found != expected:
        raise ModelLoadError(f"the shipped file {name} is altered: sha256 {found}, not {expected}", _HINT)


def _recorded(name: str, folder: Path) -> str:
    with _reporting(name):
        return str(json.loads((folder / SUMS).read_text())[name])


@contextmanager
def _reporting(name: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelLoadError(f"the shipped file {name} cannot be read: {error!r}", _HINT) from error
