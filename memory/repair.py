"""Mends an index: what is derived is made again from what it was derived from, in the end from the files.

The corpus is never written. Every step is one transaction or one rename, so that a repair that is killed leaves an
index that is no worse, and that the next repair, or the next update, goes on with.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from selfroute.errors import IndexCorruptError, IndexMissingError, IndexVersionError
from selfroute.memory import location
from selfroute.memory.base import Progress
from selfroute.memory.check import (
    ARRAYS,
    DATABASE_PART,
    FILE,
    MARK,
    OF_CHUNKS,
    STATE,
    STRAY,
    Checked,
    check,
    stray_rows,
    stray_vectors,
    unwritten,
)
from selfroute.memory.index import Index
from selfroute.memory.provenance import CODE_FINGERPRINT
from selfroute.memory.store import FORMAT, Store
from selfroute.memory.update import bring_up_to_date
from selfroute.memory.view import View, load_view
from selfroute.memory.walk import walk
from selfroute.models.base import Embedder


@dataclass(frozen=True, slots=True)
class Repaired:
    """done: what was mended, in words; nothing when nothing was wrong. checked: the check afterwards."""

    done: tuple[str, ...]
    checked: Checked


def repair(
    root: Path,
    directory: Path,
    embedder: Embedder,
    *,
    max_file_bytes: int,
    wait_seconds: float = 30.0,
    progress: Progress | None = None,
) -> Repaired:
    """Mends what a check finds: marks and arrays alone, damaged files from the corpus, all of it where that is not
    enough. Files that changed meanwhile are brought up to date when any file is read.

    Takes the writer's lock. Raises IndexMissingError without an index, IndexLockedError, IndexVersionError.
    """
    with unwritten(directory, wait_seconds=wait_seconds):
        if not location.can_write(directory):
            raise IndexMissingError(f"the index in {directory} cannot be written", f"ls -ld {directory}")
        found = check(root, directory)
        if found.ok:
            return Repaired((), found)
        _refuse_newer(directory, root)
        done = []
        if any(problem.part == MARK for problem in found.problems):
            location.mark(directory, location.wrong_marks(directory))
            done.append("wrote the marker files again")
        if _can_mend(found, embedder):
            with suppress(IndexCorruptError):  # more is wrong than can be mended in parts
                done += _mend(root, directory, embedder, found, max_file_bytes, progress)
        found = check(root, directory)
        if found.ok:
            return Repaired(tuple(done), found)
    Index.open(
        root,
        directory=directory,
        embedder=embedder,
        max_file_bytes=max_file_bytes,
        rebuild=True,
        wait_seconds=wait_seconds,
        progress=progress,
    ).close()
    with unwritten(directory, wait_seconds=wait_seconds):
        return Repaired((*done, "made the whole index anew from the files"), check(root, directory))


def _refuse_newer(directory: Path, root: Path) -> None:
    """What a newer version made is not ours to mend."""
    try:
        store = Store(directory)
    except IndexCorruptError:
        return
    try:
        state = store.state()
    except IndexCorruptError:
        return
    finally:
        store.close()
    if state is not None and state.format > FORMAT:
        raise IndexVersionError(directory, state.format, FORMAT, f"selfroute index --path {root} --rebuild")


def _can_mend(found: Checked, embedder: Embedder) -> bool:
    """Whether database and state can be trusted, so that the rest follows from them and from the files."""
    state = found.state
    return (
        state is not None
        and not {problem.part for problem in found.problems} & {DATABASE_PART, STATE}
        and (state.embedder, state.code) == (embedder.fingerprint, CODE_FINGERPRINT)
    )


def _mend(
    root: Path, directory: Path, embedder: Embedder, found: Checked, max_file_bytes: int, progress: Progress | None
) -> Sequence[str]:
    """Drops what is damaged and fills the gaps; returns what was done."""
    assert found.state is not None
    done = []
    parts = {problem.part for problem in found.problems}
    store = Store(directory)
    try:
        if STRAY in parts:
            done.append(_drop_strays(store))
        if FILE in parts:
            # Left out of the generation to come, as if they were not there: so the update reads them again.
            store.retire(found.damaged, found.state.generation + 1)
            names = ", ".join(file.path for file in found.damaged[:3])
            more = f" and {len(found.damaged) - 3} more" if len(found.damaged) > 3 else ""
            done.append(f"read {len(found.damaged)} damaged files again: {names}{more}")
        if parts & {FILE, ARRAYS}:
            if ARRAYS in parts:
                done.append("made the arrays again from the database")
            bring_up_to_date(
                store,
                found.state,
                _held(store, directory, embedder),
                walk(root, max_bytes=max_file_bytes, progress=progress),
                embedder,
                root=root,
                directory=directory,
                progress=progress,
            )
    finally:
        store.close()
    return done


def _held(store: Store, directory: Path, embedder: Embedder) -> View | None:
    """The generation in force, where it can be had without what is damaged."""
    try:
        return load_view(store, directory, embedder.dim, None)[0]
    except IndexCorruptError:
        return None


def _drop_strays(store: Store) -> str:
    spans = sorted((file.first_row, file.first_row + file.n_chunks) for file in store.every() if file.n_chunks)
    rows = {table: stray_rows(store, table, spans) for table in OF_CHUNKS}
    vectors = stray_vectors(store, spans)
    for table, stray in rows.items():
        for row in stray:
            store.execute(f"DELETE FROM {table} WHERE row = ?", (row,))
    for row in vectors:
        store.execute("DELETE FROM vectors WHERE first_row = ?", (row,))
    told = ", ".join(f"{len(stray)} {OF_CHUNKS[table]}" for table, stray in rows.items())
    return f"dropped {told} and {len(vectors)} blocks of vectors that belong to no file"
