"""The mentions of a document's chunks, and the plain index over them that any stored one has to equal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import PurePosixPath

from selfroute.memory.graph.entities import Entity, entities
from selfroute.memory.graph.expand import Named
from selfroute.memory.graph.facts import MENTIONS, Fact
from selfroute.types import Chunk

# Written to document code: its names are those of code, which prose.py finds, and reading it for others takes a third
# of the time of indexing it.
ABOUT_CODE = frozenset({"rst", "restructuredtext"})
PROSE = frozenset({"section", "text"})  # kinds of chunks that take part
TITLES = frozenset({"title", "part"})  # kinds of mentions


def mentions_of(chunks: Sequence[Chunk]) -> list[list[Entity]]:
    """The mentions of each chunk of one document, chunks in its order; none for a chunk that is not prose.

    A chunk's title is the last heading above it, or else the name of its file. The first chunk below a heading begins
    what that names; later ones are parts of it.
    """
    found: list[list[Entity]] = []
    before: str | None = None
    for chunk in chunks:
        if chunk.kind not in PROSE:
            found.append([])
            continue
        title = title_of(chunk)
        found.append(entities(chunk.text, title, continued=chunk.symbol == before))
        before = chunk.symbol
    return found


def mention_facts(chunks: Sequence[Chunk]) -> Iterator[tuple[int, Fact]]:
    """The same to be stored: (chunk, fact), each key of a kind once a chunk."""
    for at, (chunk, mentions) in enumerate(zip(chunks, mentions_of(chunks), strict=True)):
        seen: set[tuple[str, str]] = set()
        for mention in mentions:
            if (mention.key, mention.kind) not in seen:
                seen.add((mention.key, mention.kind))
                line = chunk.start_line + chunk.text.count("\n", 0, mention.start)
                yield at, Fact(MENTIONS, "", mention.key, mention.surface, mention.kind, line, line)


def title_of(chunk: Chunk) -> str:
    """The last heading above a chunk, or else the name of its file."""
    return chunk.symbol.rpartition(" > ")[2] or _name_of(chunk.path)


def _name_of(path: str) -> str:
    return " ".join(PurePosixPath(path).stem.replace("_", " ").replace("-", " ").split())


class EntityTable:
    """An EntityIndex held in memory, over all chunks of an index in their order; row i is the i-th chunk."""

    def __init__(self, chunks: Iterable[Chunk]) -> None:
        self._named: list[Named | None] = []
        self._mentioned: dict[str, list[int]] = {}
        self._titled: dict[str, list[int]] = {}
        for _, document in groupby(chunks, key=lambda chunk: chunk.path):
            for mentions in mentions_of(list(document)):
                self._add(mentions)

    def _add(self, mentions: list[Entity]) -> None:
        row = len(self._named)
        titles = tuple(dict.fromkeys(mention.key for mention in mentions if mention.kind in TITLES))
        names = tuple(dict.fromkeys(mention.key for mention in mentions if mention.kind not in TITLES))
        self._named.append(Named(names, titles) if mentions else None)
        for key in dict.fromkeys((*titles, *names)):
            self._mentioned.setdefault(key, []).append(row)
        for key in dict.fromkeys(mention.key for mention in mentions if mention.kind == "title"):
            self._titled.setdefault(key, []).append(row)

    def __len__(self) -> int:
        return len(self._named)

    def prose(self, rows: Sequence[int]) -> set[int]:
        """Those that name anything; code and data never do."""
        return {row for row in rows if self._named[row] is not None}

    def named(self, rows: Sequence[int]) -> Mapping[int, Named]:
        """What each row names."""
        return {row: named for row in rows if (named := self._named[row]) is not None}

    def titled(self, keys: Sequence[str]) -> Mapping[str, Sequence[int]]:
        """The rows where something of that title begins."""
        return {key: self._titled[key] for key in keys if key in self._titled}

    def mentioning(self, keys: Sequence[str]) -> Mapping[str, Sequence[int]]:
        """The rows that name each key, in a title or elsewhere."""
        return {key: self._mentioned[key] for key in keys if key in self._mentioned}

    def counts(self, keys: Sequence[str]) -> Mapping[str, int]:
        """How many rows name each key."""
        return {key: len(self._mentioned[key]) for key in keys if key in self._mentioned}
