"""One complete generation, as readers hold it: its files, its snapshot, and which rows are whose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from selfroute.errors import IndexLockedError
from selfroute.memory import arrays
from selfroute.memory.snapshot import Snapshot
from selfroute.memory.store import Contents, FileRow, State, Store
from selfroute.models.lexing import WORD, terms_of
from selfroute.types import Chunk

_TRIES = 5


@dataclass(frozen=True)
class View:
    """n_behind: rows by which the stored arrays differ from the snapshot."""

    state: State
    files: tuple[FileRow, ...]
    snapshot: Snapshot
    n_behind: int = 0

    @cached_property
    def _ends(self) -> NDArray[np.int64]:
        return np.cumsum([file.n_chunks for file in self.files], dtype=np.int64)

    @cached_property
    def n_indexed(self) -> int:
        """Files that were indexed."""
        return sum(not file.reason for file in self.files)

    @cached_property
    def n_tokens(self) -> int:
        """Of all chunks."""
        return sum(file.n_tokens for file in self.files)

    @cached_property
    def _files_by_path(self) -> dict[str, FileRow]:
        return {file.path: file for file in self.files}

    @cached_property
    def files_by_name(self) -> dict[bytes, FileRow]:
        """Files by raw_path, which no two share."""
        return {file.raw_path: file for file in self.files}

    def file_of(self, row: int) -> FileRow:
        """The file of a row of the snapshot."""
        return self.files[int(np.searchsorted(self._ends, row, side="right"))]

    def file(self, path: str) -> FileRow | None:
        """The file of a path, or of a document's path (nb.ipynb#cell-3)."""
        return self._files_by_path.get(path) or self._files_by_path.get(path.rpartition("#")[0])

    def rows_of(self, path: str) -> range:
        """The rows of a document, none when there is no such document."""
        catalog = self.snapshot.catalog
        if path not in catalog.paths:
            return range(0)
        at = catalog.paths.index(path)
        return range(int(catalog.file_starts[at]), int(catalog.file_starts[at + 1]))

    def rows_defining(self, symbol: str, path: str = "") -> list[int]:
        """The rows of what a qualified or last name defines, of one file or document when path is given.

        The chunk that the definition starts in, and those after it that belong to the same name.
        """
        catalog = self.snapshot.catalog
        last = symbol.rpartition(".")[2]
        terms = [term for word in WORD.findall(last)[:1] for term in terms_of(word)[:1]]
        starts = self.snapshot.names.of(terms[0])[0] if terms else np.arange(self.snapshot.n_chunks)
        found: set[int] = set()
        for row in np.asarray(starts).tolist():
            document = catalog.paths[catalog.file_of_row[row]]
            if path and path not in (document, document.rpartition("#")[0]):
                continue
            end = int(catalog.file_starts[catalog.file_of_row[row] + 1])
            for name in catalog.names(row):
                if name != symbol and not name.endswith(f".{symbol}"):
                    continue
                found.add(row)
                for following in range(row + 1, end):
                    if not f"{catalog.symbol(following)}.".startswith(f"{name}."):
                        break
                    found.add(following)
        return sorted(found)


def load_view(store: Store, directory: Path, dim: int, held: View | None) -> tuple[View | None, bool]:
    """The generation in force, None when there is none yet, and whether its stored arrays were found damaged.

    held: an earlier view of the same store, which spares reading the arrays.
    """
    for _ in range(_TRIES):
        version = store.version()
        complete = store.complete()
        if complete is None:
            return None, False
        state, files = complete
        base, n_behind, damaged = (held.snapshot, held.n_behind, False) if held else _stored(state, directory, dim)
        assembled = assemble(store, files, base, state.generation, {})
        # What looks damaged or gone may just have been replaced by a writer; then there is a newer state to read.
        if assembled is not None and not (damaged and store.version() != version):
            return View(state, tuple(files), assembled[0], n_behind + assembled[1]), damaged
    raise IndexLockedError(f"the index in {directory} changes faster than it can be read", "try again")


def assemble(
    store: Store, files: Sequence[FileRow], base: Snapshot, generation: int, fresh: Mapping[int, Contents]
) -> tuple[Snapshot, int] | None:
    """The snapshot of the files, made from another one, and by how many rows the two differ.

    fresh: contents by first row that need not be read from the store. None when rows are gone from there: the
    generation is no longer in force.
    """
    spans = [np.arange(f.first_row, f.first_row + f.n_chunks, dtype=np.int64) for f in files if f.n_chunks]
    rowids = np.concatenate(spans) if spans else np.empty(0, np.int64)
    if np.array_equal(rowids, base.rowids):
        return base, 0
    origin = _places(rowids, base.rowids)
    missing = np.flatnonzero(origin < 0)
    origin[missing] = -1 - np.arange(len(missing))
    n_dropped = len(base.rowids) - (len(rowids) - len(missing))

    lacking = set(rowids[missing].tolist())
    chunks: list[Chunk] = []
    definitions: list[tuple[str, ...]] = []
    vectors = [np.empty((0, base.vectors.dim), np.float32)]
    for file in files:
        if file.n_chunks and file.first_row in lacking:
            contents = fresh.get(file.first_row) or store.contents(file)
            if contents is None:
                return None
            chunks += contents.chunks
            definitions += contents.definitions
            vectors.append(contents.vectors)
    merged = base.merged(origin, chunks, definitions, np.concatenate(vectors), rowids, generation)
    return merged, max(len(missing), n_dropped)


def _stored(state: State, directory: Path, dim: int) -> tuple[Snapshot, int, bool]:
    """The snapshot in the file of arrays, 0, and whether it was damaged; an empty one then, or without a file."""
    if state.arrays is None:
        return Snapshot.empty(dim), 0, False
    kept = arrays.read(directory, state.arrays)
    if kept is None:
        return Snapshot.empty(dim), 0, True
    return Snapshot.from_arrays(kept), 0, False


def _places(wanted: NDArray[np.int64], known: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where each number stands among the known ones, -1 for those that are not there."""
    if not len(known):
        return np.full(len(wanted), -1, np.int64)
    order = np.argsort(known)
    at = order[np.minimum(np.searchsorted(known, wanted, sorter=order), len(known) - 1)]
    return np.where(known[at] == wanted, at, -1)
