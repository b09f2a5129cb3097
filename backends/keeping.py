"""Contexts of a corpus that a model has read, kept beside its index, and what is known of them without loading any."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING

from selfroute.backends.costs import kind_of_work
from selfroute.memory.location import can_write
from selfroute.memory.secret import secret
from selfroute.models.base import Generator, Keeping

if TYPE_CHECKING:
    from selfroute.memory.index import Index

FOLDER, FILE = "prefixes", "read.json"  # in the folder of the index
_MAX_BYTES = 1 << 16


def keeper(generator: Generator, index: Index) -> Generator:
    """The generator, which keeps what it reads; itself where that cannot be done, or the index keeps no scores."""
    folder = _folder(index)
    if folder is None or not isinstance(generator, Keeping) or not (word := secret()):
        return generator
    return generator.keeping(folder, word)


def note(generator: Generator, index: Index, generation: int, n_tokens: int) -> None:
    """Remembers that a whole corpus of so many tokens was kept."""
    folder = _folder(index)
    if folder is not None and folder.is_dir():
        found = {**_read(folder), _key(generator): [generation, n_tokens]}
        scratch = folder / f".{FILE}.{os.getpid()}"
        with suppress(OSError):
            scratch.write_text(json.dumps(found), encoding="utf-8")
            scratch.replace(folder / FILE)


def tokens_kept(generator: Generator, index: Index) -> int:
    """Tokens of the index's chunks that are kept for this generator: 0 for another state of the files.

    It is what estimates go by; whether the file can be used shows when it is loaded.
    """
    folder = _folder(index)
    if folder is None or not isinstance(generator, Keeping):
        return 0
    kept = _read(folder).get(_key(generator))
    if not isinstance(kept, list) or len(kept) != 2 or not all(type(n) is int for n in kept):
        return 0
    return kept[1] if kept[0] == index.stats.generation else 0


def _folder(index: Index) -> Path | None:
    folder = index.directory / FOLDER
    link = index.directory.is_symlink() or folder.is_symlink()  # a corpus brought it along; it may lead anywhere
    return folder if index.keeps_scores and can_write(index.directory) and not link else None


def _key(generator: Generator) -> str:
    """A name for the generator that only this user's processes can make: a corpus may bring such a file along."""
    kind = kind_of_work("context", generator).encode("utf-8", "replace")
    return blake2b(kind, key=secret().encode(), digest_size=12).hexdigest()


def _read(folder: Path) -> dict[str, list[int]]:
    with suppress(OSError, ValueError):
        if (folder / FILE).stat().st_size <= _MAX_BYTES:
            found = json.loads((folder / FILE).read_text(encoding="utf-8"))
            return found if isinstance(found, dict) else {}
    return {}
