"""The table of edges: what files state about names, by the chunk that it stands in, each row with its checksum."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple, TypeVar
from zlib import crc32

from selfroute.memory.graph.facts import Fact

SCHEMA = """
CREATE TABLE IF NOT EXISTS edges (
    row INTEGER NOT NULL, n INTEGER NOT NULL, relation TEXT NOT NULL, scope TEXT NOT NULL, name TEXT NOT NULL,
    expr TEXT NOT NULL, alias TEXT NOT NULL, line INTEGER NOT NULL, end_line INTEGER NOT NULL,
    checksum INTEGER NOT NULL, PRIMARY KEY (row, n)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS edges_by_name ON edges (name) WHERE relation NOT IN ('binds', 'returns', 'mentions');
CREATE INDEX IF NOT EXISTS edges_by_entity ON edges (name, alias, row) WHERE relation = 'mentions';
"""
INSERT = f"INSERT INTO edges VALUES (?{', ?' * 9})"
_COLUMNS = "row, n, relation, scope, name, expr, alias, line, end_line, checksum"
_BATCH = 500  # values that one statement takes

T = TypeVar("T")


class Edge(NamedTuple):
    """A fact as it is stored. row: of the chunk that its line is in."""

    row: int
    fact: Fact
    checksum: int


def rows_to_store(first_row: int, facts: Sequence[tuple[int, Fact]]) -> list[tuple[int | str, ...]]:
    """What INSERT takes. facts: those of a file, each with its chunk, from 0; first_row: of its first chunk."""
    return [
        (first_row + chunk, n, *fact, _checksum(first_row + chunk, n, fact)) for n, (chunk, fact) in enumerate(facts)
    ]


def read(db: sqlite3.Connection, where: str, parameters: Sequence[int | str]) -> list[Edge]:
    """In the order of their rows; ValueError when one is not what was written."""
    edges = []
    for row, n, *fields, checksum in db.execute(
        f"SELECT {_COLUMNS} FROM edges WHERE {where} ORDER BY row, n", parameters
    ):
        fact = Fact(*fields)
        if checksum != _checksum(row, n, fact):
            raise ValueError(f"edge {n} of chunk {row} is not what was written")
        edges.append(Edge(row, fact, checksum))
    return edges


class EdgeTable:
    """Looks edges up. guarded: the store's, held while the database is asked."""

    def __init__(self, db: sqlite3.Connection, guarded: Callable[[], AbstractContextManager[None]]) -> None:
        self._db, self._guarded = db, guarded

    def facts(self, first_row: int, n_chunks: int) -> list[Edge]:
        """What a file states, in order; nothing for one that is gone."""
        with self._guarded():
            return read(self._db, "row >= ? AND row < ?", (first_row, first_row + n_chunks))

    def named(self, name: str) -> list[Edge]:
        """What any file of any generation states about a name; facts of HELPERS and mentions apart."""
        with self._guarded():
            return read(self._db, "name = ? AND relation NOT IN ('binds', 'returns', 'mentions')", (name,))

    def mentions(self, rows: Sequence[int]) -> list[Edge]:
        """The entities that chunks of prose name."""
        with self._guarded():
            return [
                edge
                for some in _batches(rows)
                for edge in read(self._db, f"row IN ({_marks(some)}) AND relation = 'mentions'", some)
            ]

    def naming(self, rows: Sequence[int]) -> list[int]:
        """Those of the chunks that name an entity."""
        with self._guarded():
            return [
                row
                for some in _batches(rows)
                for (row,) in self._db.execute(
                    f"SELECT DISTINCT row FROM edges WHERE row IN ({_marks(some)}) AND relation = 'mentions'", some
                )
            ]

    def mentioning(self, keys: Sequence[str], kind: str = "") -> list[tuple[str, int]]:
        """(key, row) of every chunk of any generation that names an entity; read from an index of the table.

        kind: of the mention, any when it is empty. A chunk that names a key in several ways is given as often.
        """
        wanted = " AND alias = ?" if kind else ""
        with self._guarded():
            return [
                found
                for some in _batches(keys)
                for found in self._db.execute(
                    f"SELECT name, row FROM edges WHERE name IN ({_marks(some)}){wanted} AND relation = 'mentions'",
                    (*some, kind) if kind else some,
                )
            ]


def _checksum(row: int, n: int, fact: Fact) -> int:
    relation, scope, name, expr, alias, line, end_line = fact
    parts = f"{row} {n} {line} {end_line} {relation}\x1f{scope}\x1f{name}\x1f{expr}\x1f{alias}"
    return crc32(parts.encode("utf-8", "surrogatepass"))


def _batches(values: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(values), _BATCH):
        yield values[start : start + _BATCH]


def _marks(values: Sequence[object]) -> str:
    return ",".join("?" * len(values))
