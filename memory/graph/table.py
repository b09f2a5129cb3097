"""The facts of one generation, read from the store as they are asked for."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePath
from typing import TYPE_CHECKING

import numpy as np

from selfroute.memory.graph.nodes import Placed

if TYPE_CHECKING:
    from selfroute.memory.store import Edge, Store
    from selfroute.memory.view import View


class StoredFacts:
    """A FactTable over the files of a view. Keeps what it has read: it is thrown away with its view."""

    def __init__(self, view: View, store: Store) -> None:
        self._view, self._store = view, store
        snapshot = view.snapshot
        self._order = np.argsort(snapshot.rowids, kind="stable")
        self._sorted = snapshot.rowids[self._order]
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
            placed = [Placed(path, edge.row, edge.fact) for edge in self._store.facts(first, len(rows))]
            self._of[path] = sorted(placed, key=lambda item: (item.fact.line, item.row))
        return self._of[path]

    def named(self, name: str) -> list[Placed]:
        """What any document states about a name, by path and line; of this generation only."""
        if name not in self._named:
            placed = self._placed(self._store.named(name))
            self._named[name] = sorted(placed, key=lambda item: (item.path, item.fact.line, item.fact))
        return self._named[name]

    def place(self, row: int) -> int:
        """The snapshot's row of the store's, -1 when it is not of this generation."""
        at = int(np.searchsorted(self._sorted, row))
        return int(self._order[at]) if at < len(self._sorted) and self._sorted[at] == row else -1

    def _placed(self, edges: Iterable[Edge]) -> list[Placed]:
        catalog = self._view.snapshot.catalog
        found = []
        for edge in edges:
            at = self.place(edge.row)
            if at >= 0:
                found.append(Placed(catalog.paths[catalog.file_of_row[at]], edge.row, edge.fact))
        return found
