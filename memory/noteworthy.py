"""What is noteworthy in the files of a corpus: secrets that are masked, characters that nobody sees."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from selfroute.memory.hidden import hidden_kinds
from selfroute.memory.text import LoadedFile, load
from selfroute.memory.walk import Walk


@dataclass(frozen=True, slots=True)
class Noted:
    """A file with something to say of. hidden: kind of hidden character -> count."""

    path: str
    n_masked: int
    hidden: Counter[str]


def noteworthy(root: Path, walked: Walk, *, max_bytes: int) -> Iterator[Noted]:
    """The files of a walk that hold any, by path, as they are now: every file is read."""
    for entry in walked.files:
        loaded = load(root, entry, max_bytes=max_bytes)
        if isinstance(loaded, LoadedFile):
            hidden = sum((hidden_kinds(document.text) for document in loaded.documents), Counter[str]())
            if loaded.n_masked or hidden:
                yield Noted(entry.path, loaded.n_masked, hidden)
