"""Which code an index was made by: another way to read, cut or count text makes rows that are not to be mixed."""

from __future__ import annotations

from hashlib import blake2b
from importlib.util import find_spec
from pathlib import Path

# What decides the documents of a file, their chunks, and the arrays that are made of these.
_DECIDING = (
    "selfroute.memory.catalog",
    "selfroute.memory.decoding",
    "selfroute.memory.generated",
    "selfroute.memory.languages",
    "selfroute.memory.lexical",
    "selfroute.memory.literals",
    "selfroute.memory.masking",
    "selfroute.memory.notebooks",
    "selfroute.memory.snapshot",
    "selfroute.memory.text",
    "selfroute.memory.tokens",
    "selfroute.memory.update",
    "selfroute.models.lexing",
    "selfroute.models.tokenizer",
)
_DECIDING_FOLDERS = ("selfroute.memory.chunking", "selfroute.memory.graph")


def _code_fingerprint() -> str:
    """A hash over the source of everything that decides what an index holds: no version number to forget.

    Takes about a millisecond. A comment changed there is a rebuild too, which is only time.
    """
    folders = map(find_spec, _DECIDING_FOLDERS)
    paths = [
        Path(place) for folder in folders for place in (folder.submodule_search_locations if folder else None) or ()
    ]
    files = [file for path in paths for file in sorted(path.glob("*.py"))]
    files += [Path(spec.origin) for name in _DECIDING if (spec := find_spec(name)) and spec.origin]
    hashed = blake2b(digest_size=8)
    for file in files:
        hashed.update(blake2b(file.read_bytes(), digest_size=16).digest())
    return hashed.hexdigest()


# Taken when the code is loaded, so that it is of the code that runs.
CODE_FINGERPRINT = _code_fingerprint()
