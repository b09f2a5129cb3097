"""Whether an index is, to the last stored byte, what was written; nothing is changed."""

from __future__ import annotations

import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from selfroute.errors import IndexCorruptError, IndexLockedError, IndexMissingError
from selfroute.memory import arrays, location
from selfroute.memory.database import DATABASE
from selfroute.memory.lock import WriterLock
from selfroute.memory.store import FORMAT, FileRow, State, Store

DATABASE_PART, STATE, FILE, STRAY, ARRAYS, MARK = "database", "state", "file", "stray rows", "arrays", "marker file"
OF_CHUNKS = {"chunks": "chunks", "edges": "chunks' edges"}  # tables by the row of a chunk, and how they are told
_POLL_SECONDS = 0.05
_MAX_TOLD = 20  # lines of what SQLite finds wrong


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is not what was written. part: of the index; path: the corpus file that it is about, or ""."""

    part: str
    what: str
    path: str = ""


@dataclass(frozen=True, slots=True)
class Checked:
    """What a check found. verified: what was compared with its checksum -> how many. notes: what is no damage."""

    verified: Mapping[str, int]
    problems: tuple[Problem, ...]
    notes: tuple[str, ...] = ()
    damaged: tuple[FileRow, ...] = field(default=(), repr=False)
    state: State | None = field(default=None, repr=False)

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


@contextmanager
def unwritten(directory: Path, *, wait_seconds: float = 30.0) -> Iterator[None]:
    """While nobody writes the index: the writer's lock is held, where the folder can be written at all.

    Raises IndexMissingError without a folder, IndexLockedError when another process keeps the lock for longer.
    """
    if not directory.is_dir():
        raise IndexMissingError(f"there is no index in {directory}", "selfroute index")
    if not location.can_write(directory):
        yield
        return
    lock = WriterLock(directory / "lock")
    deadline = time.monotonic() + wait_seconds
    while not lock.acquire():
        if time.monotonic() > deadline:
            raise IndexLockedError(f"{lock.holder()} is writing the index in {directory}", "wait for it, or end it")
        time.sleep(_POLL_SECONDS)
    try:
        yield
    finally:
        lock.release()


def check(root: Path, directory: Path) -> Checked:
    """Everything that is stored, compared with the checksums that were written with it. Within unwritten().

    In the database: SQLite's own check of its pages, every value of the state, the list of files, every file with its
    chunks and vectors, rows that belong to none. Beside it: the file of arrays and the marks of the folder. Pages of
    the database that are free are not looked at, nor is a log that breaks off told from one that ends.
    Raises IndexMissingError without a database.
    """
    if not (directory / DATABASE).exists():
        raise IndexMissingError(f"there is no index in {directory}", f"selfroute index --path {root}")
    found = _Findings()
    _check_marks(root, directory, found)
    try:
        store = Store(directory)
    except IndexCorruptError as error:
        found.wrong(DATABASE_PART, error)
        return found.checked()
    try:
        with found.expecting(DATABASE_PART):
            _check_pages(store, found)
        with found.expecting(STATE):
            _check_state(store, directory, found)
        if found.state is not None:
            with found.expecting(STATE):
                _check_files(store, found)
            with found.expecting(STRAY):
                _check_strays(store, found)
    finally:
        store.close()
    return found.checked()


@dataclass(slots=True)
class _Findings:
    verified: Counter[str] = field(default_factory=Counter)
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    damaged: list[FileRow] = field(default_factory=list)
    state: State | None = None

    def wrong(self, part: str, what: object, path: str = "") -> None:
        self.problems.append(Problem(part, str(what), path))

    @contextmanager
    def expecting(self, part: str) -> Iterator[None]:
        """Turns damage that stops a part of the check into a finding."""
        try:
            yield
        except IndexCorruptError as error:
            self.wrong(part, error.message)

    def checked(self) -> Checked:
        return Checked(dict(self.verified), tuple(self.problems), tuple(self.notes), tuple(self.damaged), self.state)


def _check_marks(root: Path, directory: Path, found: _Findings) -> None:
    if location.is_marked(directory, root):
        wrong = location.wrong_marks(directory)
        for name in wrong:
            found.wrong(MARK, f"{name} is missing or is not what was written")
        found.verified["marker files"] += 2 - len(wrong)


def _check_pages(store: Store, found: _Findings) -> None:
    told = [str(row[0]) for row in store.execute(f"PRAGMA integrity_check({_MAX_TOLD})")]
    if told != ["ok"]:
        for line in told:
            found.wrong(DATABASE_PART, line)
    ((pages,),) = store.execute("PRAGMA page_count")
    found.verified["database pages"] += int(str(pages))


def _check_state(store: Store, directory: Path, found: _Findings) -> None:
    """Every row of meta; the state, its list of files and the file of arrays that it names."""
    for (key,) in store.execute("SELECT key FROM meta ORDER BY key"):
        with found.expecting(STATE):
            store.get(str(key))
            found.verified["values of the state"] += 1
    state = store.state()
    if state is None:
        found.wrong(STATE, "the database says nothing of what is in force")
        return
    if state.format != FORMAT:
        found.wrong(STATE, f"the index is of format {state.format}, this version knows {FORMAT}")
        return
    found.state = state
    if not state.generation:
        found.notes.append("nothing is complete yet: an update goes on from what is there")
    elif store.complete() is None:
        found.wrong(STATE, "the generation in force is gone")
    if state.arrays is not None:
        if arrays.read(directory, state.arrays) is None:
            found.wrong(ARRAYS, f"{state.arrays.name} is missing or is not what was written")
        else:
            found.verified["bytes of arrays"] += state.arrays.n_bytes
    kept = state.arrays.name if state.arrays else ""
    left = sorted(path.name for path in directory.glob("arrays-*") if path.name != kept)
    if left:
        found.notes.append(f"left by a run that was cut short, removed by the next: {', '.join(left)}")


def _check_files(store: Store, found: _Findings) -> None:
    for file in store.every():
        try:
            contents = store.contents(file)
            if contents is None:
                raise IndexCorruptError(f"the chunks of {file.path} are lost")
        except IndexCorruptError as error:
            found.wrong(FILE, error.message, file.path)
            found.damaged.append(file)
            continue
        found.verified["files"] += 1
        found.verified["chunks"] += len(contents.chunks)
        found.verified["edges"] += len(contents.facts)
        found.verified["bytes of vectors"] += contents.vectors.nbytes


def _check_strays(store: Store, found: _Findings) -> None:
    """Chunks, edges and vectors that belong to no file, and files that share rows."""
    spans = sorted((file.first_row, file.first_row + file.n_chunks) for file in store.every() if file.n_chunks)
    for (_, end), (start, _) in pairwise(spans):
        if start < end:
            found.wrong(DATABASE_PART, f"two files have row {start}")
    n_vectors = len(stray_vectors(store, spans))
    for table, told in OF_CHUNKS.items():
        if n_stray := len(stray_rows(store, table, spans)):
            found.wrong(STRAY, f"{n_stray} {told} belong to no file")
    if n_vectors:
        found.wrong(STRAY, f"{n_vectors} blocks of vectors belong to no file")


def stray_rows(store: Store, table: str, spans: list[tuple[int, int]]) -> list[int]:
    """Rows of a table of OF_CHUNKS outside of the spans, which are sorted: [first row, row after the last)."""
    starts = [start for start, _ in spans]
    stray = []
    for (value,) in store.execute(f"SELECT DISTINCT row FROM {table}"):
        row = int(str(value))
        at = bisect_right(starts, row) - 1
        if at < 0 or row >= spans[at][1]:
            stray.append(row)
    return stray


def stray_vectors(store: Store, spans: list[tuple[int, int]]) -> list[int]:
    """First rows of blocks of vectors that no span begins with."""
    starts = {start for start, _ in spans}
    rows = (int(str(value)) for (value,) in store.execute("SELECT first_row FROM vectors"))
    return [row for row in rows if row not in starts]
