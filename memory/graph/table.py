"""The facts of one generation, read from the store as they are asked for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import PurePath
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from selfroute.memory.graph.expand import Named
from selfroute.memory.graph.mentions import TITLES
from selfroute.memory.graph.nodes import Placed

if TYPE_CHECKING:
    from selfroute.memory.edges import Edge
    from selfroute.memory.store import Store
    from selfroute.memory.view import View


class StoredFacts:
    """A FactTable over the files of a view. Keeps what it has read: it is thrown away with its view."""

    def __init__(self, view: View, store: Store) -> None:
        self._view, self._store = view, store
        self._rows = _Rows(view.snapshot.rowids)
        self._of: dict[str, list[Placed]] = {}
        self._named: dict[str, list[Placed]] = {}

    @property
    def root(self) -> str:
        """The name of the folder that was indexed."""
        return PurePath(self._view.state.root).name

    @property
    def paths(self) -> list[str]:
        """Every document, in order; an empty file is one too, since it may make a package of its folder."""
        files = [file.path for file in self._view.files]
        files += [skip.path for skip in self._store.skipped() if skip.reason == "empty"]
        return list(dict.fromkeys((*self._view.snapshot.catalog.paths, *files)))

    def of(self, path: str) -> list[Placed]:
        """What a document states, by line."""
        if path not in self._of:
            rows = self._view.rows_of(path)
            first = int(self._view.snapshot.rowids[rows[0]]) if rows else 0
            placed = [Placed(path, edge.row, edge.fact) for edge in self._store.edges.facts(first, len(rows))]
            self._of[path] = sorted(placed, key=lambda item: (item.fact.line, item.row))
        return self._of[path]

    def named(self, name: str) -> list[Placed]:
        """What any document states about a name, by path and line; of this generation only."""
        if name not in self._named:
            placed = self._placed(self._store.edges.named(name))
            self._named[name] = sorted(placed, key=lambda item: (item.path, item.fact.line, item.fact))
        return self._named[name]

    def _placed(self, edges: Sequence[Edge]) -> list[Placed]:
        catalog = self._view.snapshot.catalog
        places = self._rows.places([edge.row for edge in edges])
        return [
            Placed(catalog.paths[catalog.file_of_row[at]], edge.row, edge.fact)
            for edge, at in zip(edges, places, strict=True)
            if at >= 0
        ]


class StoredEntities:
    """An EntityIndex over the rows of a view's snapshot; the rows of other generations do not count."""

    def __init__(self, view: View, store: Store) -> None:
        self._rowids, self._store = view.snapshot.rowids, store
        self._known: dict[int, Named | None] = {}
        self._of_key: dict[tuple[str, str], list[int]] = {}  # by kind and key

    def __len__(self) -> int:
        return len(self._rowids)

    def prose(self, rows: Sequence[int]) -> set[int]:
        """Those that name anything; code and data never do."""
        places = dict(zip(self._rowids[rows].tolist(), rows, strict=True)) if rows else {}
        return {places[row] for row in self._store.edges.naming(list(places))}

    def named(self, rows: Sequence[int]) -> Mapping[int, Named]:
        """What each row names."""
        new = [row for row in rows if row not in self._known]
        places = dict(zip(self._rowids[new].tolist(), new, strict=True)) if new else {}
        facts = defaultdict(list)
        for edge in self._store.edges.mentions(list(places)):
            facts[places[edge.row]].append(edge.fact)
        for row in new:
            titles = dict.fromkeys(fact.name for fact in facts[row] if fact.alias in TITLES)
            names = dict.fromkeys(fact.name for fact in facts[row] if fact.alias not in TITLES)
            self._known[row] = Named(tuple(names), tuple(titles)) if facts[row] else None
        return {row: named for row in rows if (named := self._known[row]) is not None}

    def titled(self, keys: Sequence[str]) -> Mapping[str, Sequence[int]]:
        """The rows where something of that title begins, ascending."""
        return self._mentioning(keys, "title")

    def mentioning(self, keys: Sequence[str]) -> Mapping[str, Sequence[int]]:
        """The rows that name each key, in a title or elsewhere, ascending."""
        return self._mentioning(keys, "")

    def counts(self, keys: Sequence[str]) -> Mapping[str, int]:
        """How many rows name each key."""
        return {key: len(rows) for key, rows in self.mentioning(keys).items()}

    @cached_property
    def _rows(self) -> _Rows:
        return _Rows(self._rowids)

    def _mentioning(self, keys: Sequence[str], kind: str) -> Mapping[str, Sequence[int]]:
        new = [key for key in dict.fromkeys(keys) if (kind, key) not in self._of_key]
        found: dict[str, set[int]] = {key: set() for key in new}
        mentioned = self._store.edges.mentioning(new, kind)
        for (key, _), at in zip(mentioned, self._rows.places([row for _, row in mentioned]), strict=True):
            if at >= 0:
                found[key].add(at)
        self._of_key.update(((kind, key), sorted(rows)) for key, rows in found.items())
        return {key: rows for key in keys if (rows := self._of_key[kind, key])}


class _Rows:
    """Which row of a snapshot a chunk of the store is."""

    def __init__(self, rowids: NDArray[np.int64]) -> None:
        self._order = np.argsort(rowids, kind="stable")
        self._sorted = rowids[self._order]

    def place(self, row: int) -> int:
        """The snapshot's row of the store's, -1 when it is not of this generation."""
        return self.places([row])[0]

    def places(self, rows: Sequence[int]) -> list[int]:
        """The same of many."""
        if not len(self._sorted) or not rows:
            return [-1] * len(rows)
        wanted = np.asarray(rows, np.int64)
        at = np.minimum(np.searchsorted(self._sorted, wanted), len(self._sorted) - 1)
        places: list[int] = np.where(self._sorted[at] == wanted, self._order[at], -1).tolist()
        return places
