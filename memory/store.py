"""The truth of an index, in SQLite: files, their chunks and vectors, and the state that says which are in force.

Rows of chunks never change and their numbers are never used twice: a reader that finds its rows sees its generation
whole, whatever a writer does meanwhile. Generation G + 1 is written beside G, one transaction a file, and one last
transaction puts it in force and drops what it replaced. What was written before a kill stays and is built upon.

What is read back is checked against a hash that was written with it, since SQLite does not notice a flipped bit. After
a power cut, WAL with synchronous=NORMAL may lack the last transactions, never half of one; an update repeats them.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from hashlib import blake2b
from pathlib import Path
from threading import RLock
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from selfroute.errors import IndexCorruptError, IndexLockedError, SelfRouteError
from selfroute.memory import edges
from selfroute.memory.arrays import ArrayFile
from selfroute.memory.base import Skipped
from selfroute.memory.database import DATABASE, connect, log_ahead
from selfroute.memory.graph.facts import Fact
from selfroute.types import Chunk

FORMAT = 2  # of the schema below and of the files of arrays; another number means: rebuild
ROWS_PER_GENERATION = 1 << 32  # generation G numbers its chunks from G * this
_SEPARATOR = "\x1f"  # between the names that a chunk defines
_ROWS_PER_QUERY = 500

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL, checksum TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS files (
    file_id INTEGER PRIMARY KEY, path TEXT NOT NULL, raw_path BLOB NOT NULL, size INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL, content_hash TEXT NOT NULL, reason TEXT NOT NULL, first_row INTEGER NOT NULL,
    n_chunks INTEGER NOT NULL, n_tokens INTEGER NOT NULL, checksum TEXT NOT NULL, born INTEGER NOT NULL,
    died INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS chunks (
    row INTEGER PRIMARY KEY, id TEXT NOT NULL, content_hash TEXT NOT NULL, path TEXT NOT NULL,
    start_line INTEGER NOT NULL, end_line INTEGER NOT NULL, text TEXT NOT NULL, symbol TEXT NOT NULL,
    kind TEXT NOT NULL, n_tokens INTEGER NOT NULL, defines TEXT NOT NULL, checksum TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS vectors (first_row INTEGER PRIMARY KEY, data BLOB NOT NULL);
"""
_FILE_COLUMNS = (
    "file_id, path, raw_path, size, mtime_ns, content_hash, reason, first_row, n_chunks, n_tokens, checksum, born"
)
_CHUNK_COLUMNS = "id, content_hash, path, start_line, end_line, text, symbol, kind, n_tokens, defines, checksum"

# What SQLite says about the machine rather than about the file.
_ENVIRONMENT = {
    sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_NOLFS, sqlite3.SQLITE_READONLY,
}  # fmt: skip


class FileRow(NamedTuple):
    """One file as it was read (a tuple, for thousands are read at every start).

    path: printable; raw_path: the bytes of its name. mtime_ns: -1 when it is not to be trusted. reason: why it was not
    indexed, or "". Its chunks are rows first_row to first_row + n_chunks. checksum: of all that it and its chunks hold.
    """

    file_id: int
    path: str
    raw_path: bytes
    size: int
    mtime_ns: int
    content_hash: str
    reason: str
    first_row: int
    n_chunks: int
    n_tokens: int
    checksum: str
    born: int

    @property
    def order(self) -> tuple[str, bytes]:
        """Sorts files as rows are sorted."""
        return self.path, self.raw_path


@dataclass(frozen=True, slots=True)
class State:
    """What is in force. generation 0: nothing complete yet. files: a hash over the rows of its files.

    embedder, code: fingerprints of what made it.
    """

    embedder: str
    code: str
    root: str
    generation: int = 0
    built_at: float = 0.0
    files: str = ""
    arrays: ArrayFile | None = None
    format: int = FORMAT


@dataclass(frozen=True, slots=True)
class Contents:
    """The chunks of one file in document order; for each, the qualified names that start in it, and its vector.

    vectors: (n, D) float32. facts: what the file states, each with the chunk (from 0) that its line is in.
    """

    chunks: tuple[Chunk, ...]
    definitions: tuple[tuple[str, ...], ...]
    vectors: NDArray[np.float32]
    facts: tuple[tuple[int, Fact], ...] = ()


class Store:
    """One connection to the database, used by any thread, one at a time.

    Every method raises IndexCorruptError for what cannot be what was written, with `mend` as the hint; IndexLockedError
    when the database stays busy; SelfRouteError for a full or failing disk.
    """

    def __init__(self, directory: Path, *, create: bool = False, mend: str = "selfroute index --rebuild") -> None:
        self.path = directory / DATABASE
        self._mend = mend
        self._lock = RLock()
        with self._guarded():
            self._db = connect(directory, create=create)
        self.edges = edges.EdgeTable(self._db, self._guarded)
        try:
            with self._guarded():
                self._inode = self.path.stat().st_ino
                if os.access(directory, os.W_OK):
                    log_ahead(self._db)
        except BaseException:
            self._db.close()
            raise

    def close(self) -> None:
        """Closes the connection; the last one to close folds the log into the database."""
        with self._lock:
            self._db.close()

    @property
    def replaced(self) -> bool:
        """Whether another process has put a new database in the place of this one."""
        try:
            return self.path.stat().st_ino != self._inode
        except OSError:
            return True

    def version(self) -> int:
        """A number that changes when another connection has written."""
        with self._guarded():
            return int(self._db.execute("PRAGMA data_version").fetchone()[0])

    # reading

    def state(self) -> State | None:
        """What is in force, or None in a new database. Of a state of another FORMAT only that field is filled in."""
        value = self.get("state")
        if value is None:
            return None
        with self._guarded():
            fields = json.loads(value)
            if fields["format"] != FORMAT:
                return State("", "", "", format=fields["format"])
            arrays = fields.pop("arrays")
            return State(**fields, arrays=ArrayFile(**arrays) if arrays else None)

    def get(self, key: str) -> str | None:
        """A value kept by put(), or None."""
        with self._guarded():
            if not self._db.execute("SELECT 1 FROM sqlite_master WHERE name = 'meta'").fetchone():
                return None
            found = self._db.execute("SELECT value, checksum FROM meta WHERE key = ?", (key,)).fetchone()
            if found is not None and found[1] != _hash(key, found[0]):
                raise ValueError(f"the value of {key!r} is not what was written")
            return None if found is None else str(found[0])

    def complete(self) -> tuple[State, list[FileRow]] | None:
        """The state in force and its files, in order, or None when there is none yet (or it is of another format)."""
        with self._guarded():
            self._db.execute("BEGIN")
            try:
                state = self.state()
                if state is None or state.format != FORMAT or not state.generation:
                    return None
                files = self._live(state.generation)
            finally:
                self._db.execute("ROLLBACK")
            if _files_hash(files) != state.files:
                raise ValueError("the list of files is not what was written")
            return state, files

    def latest(self) -> list[FileRow]:
        """The files a writer builds on, in order: those in force and those that an unfinished run wrote."""
        with self._guarded():
            return self._rows("died = 0")

    def every(self) -> list[FileRow]:
        """All files that have rows: in force, written for a generation to come, or to be dropped with the next."""
        with self._guarded():
            return self._rows("1")

    def execute(self, statement: str, parameters: Sequence[object] = ()) -> list[tuple[object, ...]]:
        """The rows of a statement of one's own, for what checks or repairs the database as a whole."""
        with self._guarded():
            return self._db.execute(statement, parameters).fetchall()

    def chunks(self, rows: Sequence[int]) -> list[Chunk] | None:
        """The chunks of the rows, in the order asked, or None when one is gone: the generation is past."""
        found: dict[int, Chunk] = {}
        with self._guarded():
            for start in range(0, len(rows), _ROWS_PER_QUERY):
                some = rows[start : start + _ROWS_PER_QUERY]
                marks = ",".join("?" * len(some))
                query = f"SELECT row, {_CHUNK_COLUMNS} FROM chunks WHERE row IN ({marks})"
                for row, *fields in self._db.execute(query, some):
                    found[row] = _chunk(row, fields)
            for row in rows:
                if row not in found:
                    self._check_gone(row)
                    return None
        return [found[row] for row in rows]

    def contents(self, file: FileRow) -> Contents | None:
        """All that is kept of a file, or None when its generation is no longer in force."""
        with self._guarded():
            query = f"SELECT row, {_CHUNK_COLUMNS} FROM chunks WHERE row >= ? AND row < ? ORDER BY row"
            rows = self._db.execute(query, (file.first_row, file.first_row + file.n_chunks)).fetchall()
            blob = self._db.execute("SELECT data FROM vectors WHERE first_row = ?", (file.first_row,)).fetchone()
            if file.n_chunks and not rows:
                self._check_gone(file.first_row)
                return None
            data = blob[0] if blob is not None and file.n_chunks else b""
            checksums = [fields[-1] for fields in rows]
            stated = edges.read(self._db, "row >= ? AND row < ?", (file.first_row, file.first_row + file.n_chunks))
            if file.checksum != _file_hash(file, checksums, data, [edge.checksum for edge in stated]):
                raise ValueError(f"what is kept of {file.path} is not what was written")
            return Contents(
                tuple(_chunk(row, fields) for row, *fields in rows),
                tuple(tuple(fields[-2].split(_SEPARATOR)) if fields[-2] else () for fields in rows),
                np.frombuffer(data, np.float32).reshape(file.n_chunks, -1)
                if file.n_chunks
                else np.empty((0, 0), np.float32),
                tuple((edge.row - file.first_row, edge.fact) for edge in stated),
            )

    # writing: only by the one who holds the writer's lock

    def begin(self, state: State) -> None:
        """Makes the tables of a new database and records what its index will be made with."""
        with self._guarded(), self._transaction():
            for statement in (_SCHEMA + edges.SCHEMA).split(";"):
                self._db.execute(statement)
            self._put("state", json.dumps(asdict(state)))

    def write(self, file: FileRow, contents: Contents, replaces: FileRow | None) -> FileRow:
        """Adds a file (its file_id and checksum are set here) in generation file.born, in the place of another."""
        data = contents.vectors.astype("<f4", copy=False).tobytes()
        rows = []
        defined = map(_SEPARATOR.join, contents.definitions)
        for row, (c, names) in enumerate(zip(contents.chunks, defined, strict=True), file.first_row):
            fields = (
                c.id,
                c.content_hash,
                c.path,
                c.start_line,
                c.end_line,
                c.text,
                c.symbol,
                c.kind,
                c.n_tokens,
                names,
            )
            rows.append((row, *fields, _chunk_hash(row, fields)))
        stated = edges.rows_to_store(file.first_row, contents.facts)
        checksums = [row[-1] for row in rows]
        file = file._replace(checksum=_file_hash(file, checksums, data, [edge[-1] for edge in stated]))
        with self._guarded(), self._transaction():
            if replaces is not None:
                self._retire(replaces, file.born)
            added = self._db.execute(f"INSERT INTO files ({_FILE_COLUMNS}) VALUES (NULL{', ?' * 11})", file[1:])
            if rows:
                self._db.executemany(f"INSERT INTO chunks (row, {_CHUNK_COLUMNS}) VALUES (?{', ?' * 11})", rows)
                self._db.execute("INSERT INTO vectors VALUES (?, ?)", (file.first_row, data))
                self._db.executemany(edges.INSERT, stated)
        return file._replace(file_id=added.lastrowid or 0)

    def retire(self, files: Sequence[FileRow], generation: int) -> None:
        """Leaves files out of a generation to come."""
        with self._guarded(), self._transaction():
            for file in files:
                self._retire(file, generation)

    def pending(self, generation: int) -> bool:
        """Whether anything was written for a generation to come."""
        with self._guarded():
            query = "SELECT EXISTS (SELECT 1 FROM files WHERE born > ? OR died > ?)"
            return bool(self._db.execute(query, (generation, generation)).fetchone()[0])

    def touch(self, files: Sequence[FileRow], state: State) -> State:
        """Records new sizes and times of files whose contents are the same; the generation stays."""
        with self._guarded(), self._transaction():
            self._db.executemany(
                "UPDATE files SET size = ?, mtime_ns = ? WHERE file_id = ?",
                [(f.size, f.mtime_ns, f.file_id) for f in files],
            )
            return self._put_in_force(state, self._live(state.generation))

    def publish(self, state: State, files: Sequence[FileRow], skipped: Sequence[Skipped]) -> State:
        """Puts a generation in force and drops what it replaced, in one transaction; returns the state as it is stored.

        files: latest(), which are the generation's.
        """
        with self._guarded(), self._transaction():
            self._drop(self._rows("died != 0"))
            self._put("skipped", json.dumps([[skip.path, skip.reason] for skip in skipped]))
            return self._put_in_force(state, files)

    def skipped(self) -> tuple[Skipped, ...]:
        """What the last published update left out, and why."""
        with self._guarded():
            return tuple(Skipped(path, reason) for path, reason in json.loads(self.get("skipped") or "[]"))

    # helpers

    def _check_gone(self, row: int) -> None:
        """A chunk that is not there was dropped with its file; ValueError when the file is still there."""
        query = "SELECT path FROM files WHERE first_row <= ?1 AND first_row + n_chunks > ?1"
        owner = self._db.execute(query, (row,)).fetchone()
        if owner is not None:
            raise ValueError(f"chunk {row} of {owner[0]} is lost")

    def _rows(self, where: str, parameters: tuple[int, ...] = ()) -> list[FileRow]:
        rows = self._db.execute(f"SELECT {_FILE_COLUMNS} FROM files WHERE {where}", parameters)
        return sorted(map(FileRow._make, rows), key=lambda file: (file.path, file.raw_path))

    def _live(self, generation: int) -> list[FileRow]:
        return self._rows("born <= ? AND (died = 0 OR died > ?)", (generation, generation))

    def _put_in_force(self, state: State, files: Sequence[FileRow]) -> State:
        state = replace(state, files=_files_hash(files))
        self._put("state", json.dumps(asdict(state)))
        return state

    def _put(self, key: str, value: str) -> None:
        self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?, ?)", (key, value, _hash(key, value)))

    def _retire(self, file: FileRow, generation: int) -> None:
        if file.born == generation:  # never in force: no reader can know it
            self._drop([file])
        else:
            self._db.execute("UPDATE files SET died = ? WHERE file_id = ?", (generation, file.file_id))

    def _drop(self, files: Sequence[FileRow]) -> None:
        spans = [(file.first_row, file.first_row + file.n_chunks) for file in files if file.n_chunks]
        self._db.executemany("DELETE FROM chunks WHERE row >= ? AND row < ?", spans)
        self._db.executemany("DELETE FROM edges WHERE row >= ? AND row < ?", spans)
        self._db.executemany("DELETE FROM vectors WHERE first_row = ?", [span[:1] for span in spans])
        self._db.executemany("DELETE FROM files WHERE file_id = ?", [(file.file_id,) for file in files])

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """One thread at a time, and every failure as the error that says what can be done."""
        with self._lock:
            try:
                yield
            except sqlite3.Error as error:
                raise self._explained(error) from error
            except (ValueError, TypeError, KeyError, OverflowError) as error:
                raise IndexCorruptError(f"the index in {self.path.parent} is damaged: {error}", self._mend) from error

    def _explained(self, error: sqlite3.Error) -> SelfRouteError:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        if isinstance(error, sqlite3.ProgrammingError):
            return SelfRouteError(f"the index in {self.path.parent} is closed")
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return IndexLockedError(f"{self.path} stays locked by another process", "wait for it, or end it")
        # SQLite opens a database read-only when its header asks for it, which ours never does.
        if code in _ENVIRONMENT and not (code == sqlite3.SQLITE_READONLY and os.access(self.path, os.W_OK)):
            return SelfRouteError(
                f"{self.path}: {error}", "free some disk space, or keep the index elsewhere: --index-dir DIR"
            )
        return IndexCorruptError(f"the index in {self.path.parent} is damaged: {error}", self._mend)


def _hash(*parts: object) -> str:
    return blake2b(_SEPARATOR.join(map(str, parts)).encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def _chunk_hash(row: int, fields: Sequence[object]) -> str:
    return _hash(row, *fields)


def _chunk(row: int, fields: Sequence[object]) -> Chunk:
    """The chunk of a row of _CHUNK_COLUMNS; ValueError when a field is not what was written."""
    if fields[-1] != _chunk_hash(row, fields[:-1]):
        raise ValueError(f"chunk {row} is not what was written")
    return Chunk(*fields[:9])  # type: ignore[arg-type]


def _file_hash(file: FileRow, checksums: Sequence[str], data: bytes, stated: Sequence[object]) -> str:
    """Of what stays the same for as long as the file's contents do."""
    fixed = (file.path, file.raw_path, file.content_hash, file.reason, file.first_row, file.n_chunks, file.n_tokens)
    return _hash(*fixed, *checksums, blake2b(data, digest_size=8).hexdigest(), *stated)


def _files_hash(files: Sequence[FileRow]) -> str:
    return _hash(*map(repr, map(tuple, files)))
