"""What a reader scored, kept beside the index so that no chunk is read twice for one question.

All of it is derived: a file that is damaged or not ours is thrown away, and where nothing can be written nothing is
kept. No failure here is an error of the question's. Scores come batch by batch, each a transaction, so that a reading
that is killed is gone on with. A batch carries a checksum, for SQLite does not notice a flipped bit. Of a question only
a hash is stored.
"""

from __future__ import annotations

import sqlite3
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from hashlib import blake2b
from math import isfinite
from pathlib import Path
from threading import RLock
from types import TracebackType
from typing import TypeVar

from selfroute.memory.location import can_write
from selfroute.types import Chunk

FILE = "reader_scores.sqlite"
MAX_BYTES = 64 << 20
_APPLICATION, _FORMAT = 0x73725F73, 1
_BUSY_SECONDS = 2.0
_ENTRY = struct.Struct("<16sf")  # a chunk's key and its score
_SCHEMA = (
    "CREATE TABLE questions (key BLOB PRIMARY KEY, asked REAL NOT NULL) WITHOUT ROWID",
    "CREATE TABLE batches (question BLOB NOT NULL, data BLOB NOT NULL, checksum BLOB NOT NULL)",
    "CREATE INDEX of_question ON batches (question)",
    "CREATE TABLE paces (fingerprint TEXT PRIMARY KEY, tokens_per_second REAL NOT NULL) WITHOUT ROWID",
    f"PRAGMA application_id = {_APPLICATION}",
    f"PRAGMA user_version = {_FORMAT}",
)
# What SQLite says of a file that holds something else than was written; all other failures are the machine's. That it
# is read-only is what a flipped bit of its header says, too.
_DAMAGE = {
    sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_MISMATCH,
    sqlite3.SQLITE_READONLY,
}  # fmt: skip

T = TypeVar("T")


class _NotOursError(Exception):
    """The file is another program's, another version's, or damaged."""


def chunk_key(chunk: Chunk) -> bytes:
    """Names all that a reader sees of a chunk: path, symbol and text, but not its line."""
    seen = "\0".join((chunk.path, chunk.symbol, chunk.text))
    return blake2b(seen.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def can_keep(directory: Path) -> bool:
    """Whether scores can be kept in the folder of an index."""
    return directory.is_dir() and can_write(directory)


class ReaderScores:
    """The scores of one reader in the folder of one index. Any thread and any process may use it; nothing is raised.

    After the first failure that is the machine's, such as a full disk, it knows nothing and keeps nothing.
    """

    def __init__(
        self,
        directory: Path,
        fingerprint: str,
        *,
        create: bool = True,
        max_bytes: int = MAX_BYTES,
        keeps: bool = True,
    ) -> None:
        """fingerprint: of the reader. create: makes the file when there is none. max_bytes: the oldest questions are
        dropped beyond it. keeps: False knows nothing and keeps nothing."""
        self.path = directory / FILE
        self._fingerprint, self._max_bytes = fingerprint, max_bytes
        self._lock = RLock()
        self._db: sqlite3.Connection | None = None
        if keeps and can_keep(directory) and (create or self.path.is_file()):
            self._db = self._opened()

    def known(self, question: str) -> dict[bytes, float]:
        """The scores that are kept for a question, by chunk_key. It counts as asked now."""
        key = self._key(question)

        def read(db: sqlite3.Connection) -> dict[bytes, float]:
            found: dict[bytes, float] = {}
            for data, checksum in db.execute("SELECT data, checksum FROM batches WHERE question = ?", (key,)):
                if checksum == _checksum(key, data):
                    found.update(_ENTRY.iter_unpack(data))
            if found:
                with suppress(sqlite3.OperationalError):  # another process writes: it is not worth waiting for
                    db.execute("UPDATE questions SET asked = ? WHERE key = ?", (time.time(), key))
            return found

        return self._tried(read, {})

    def n_known(self, question: str) -> int:
        """About how many scores are kept for a question, those of chunks that are gone by now included."""
        query = "SELECT COALESCE(SUM(LENGTH(data)), 0) FROM batches WHERE question = ?"
        return self._tried(lambda db: int(db.execute(query, (self._key(question),)).fetchone()[0]), 0) // _ENTRY.size

    @property
    def tokens_per_second(self) -> float | None:
        """The reader's pace when it last read here; None before it did."""
        query = "SELECT tokens_per_second FROM paces WHERE fingerprint = ?"
        row = self._tried(lambda db: db.execute(query, (self._fingerprint,)).fetchone(), None)
        return float(row[0]) if row and isinstance(row[0], float) and isfinite(row[0]) and row[0] > 0 else None

    def keep(self, question: str, scores: Mapping[bytes, float], tokens_per_second: float | None = None) -> None:
        """Adds scores by chunk_key, in one transaction; drops the questions that were not asked for longest if there
        is no room, and this batch if that is not enough. tokens_per_second: the pace, once it is known."""
        key = self._key(question)
        data = b"".join(_ENTRY.pack(*pair) for pair in scores.items())

        def write(db: sqlite3.Connection) -> None:
            with _transaction(db):
                if tokens_per_second is not None:
                    db.execute("REPLACE INTO paces VALUES (?, ?)", (self._fingerprint, tokens_per_second))
                while _used_bytes(db) + len(data) > self._max_bytes:
                    oldest = "SELECT key FROM questions WHERE key != ? ORDER BY asked LIMIT 1"
                    row = db.execute(oldest, (key,)).fetchone()
                    if row is None:
                        return
                    db.execute("DELETE FROM batches WHERE question = ?", row)
                    db.execute("DELETE FROM questions WHERE key = ?", row)
                db.execute("REPLACE INTO questions VALUES (?, ?)", (key, time.time()))
                db.execute("INSERT INTO batches VALUES (?, ?, ?)", (key, data, _checksum(key, data)))

        self._tried(write, None)

    def close(self) -> None:
        """Closes the file; afterwards nothing is known and nothing is kept."""
        with self._lock:
            if self._db is not None:
                with suppress(sqlite3.Error):
                    self._db.close()
            self._db = None

    def __enter__(self) -> ReaderScores:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _key(self, question: str) -> bytes:
        asked = f"{self._fingerprint}\0{question}"
        return blake2b(asked.encode("utf-8", "surrogatepass"), digest_size=16).digest()

    def _tried(self, work: Callable[[sqlite3.Connection], T], otherwise: T) -> T:
        """What the work gives. A damaged file is replaced by an empty one first, and any other failure ends it all."""
        with self._lock:
            for _ in range(2):
                if self._db is None:
                    break
                try:
                    return work(self._db)
                except (sqlite3.Error, struct.error, TypeError, ValueError) as error:
                    self.close()
                    if _is_damage(error):
                        self._db = self._opened(anew=True)
            return otherwise

    def _opened(self, *, anew: bool = False) -> sqlite3.Connection | None:
        """The file, made if need be; None where that fails. A link is not followed: a corpus may have brought it."""
        for replace in (True,) if anew else (False, True):
            try:
                if replace or any(path.is_symlink() for path in self._files()):
                    for path in self._files():
                        path.unlink(missing_ok=True)
                return _connected(self.path)
            except OSError:
                return None
            except (sqlite3.Error, _NotOursError) as error:
                if not _is_damage(error):
                    return None
        return None

    def _files(self) -> list[Path]:
        return [self.path.with_name(FILE + ending) for ending in ("", "-wal", "-shm", "-journal")]


def _connected(path: Path) -> sqlite3.Connection:
    """A connection to a file of ours, or to a new one."""
    db = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        with suppress(sqlite3.OperationalError):  # another process is just doing it
            db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
        if not _is_ours(db):
            with _transaction(db):
                if not _is_ours(db):  # by now
                    for statement in _SCHEMA:
                        db.execute(statement)
    except BaseException:
        db.close()
        raise
    return db


def _is_ours(db: sqlite3.Connection) -> bool:
    """False for a file that holds nothing. Raises _NotOursError for one that holds something else."""
    marks = tuple(db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version"))
    if marks == (_APPLICATION, _FORMAT):
        return True
    if marks != (0, 0) or db.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()[0]:
        raise _NotOursError
    return False


def _is_damage(error: Exception) -> bool:
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        return not isinstance(error, sqlite3.Error)
    return code & 0xFF in _DAMAGE or code == sqlite3.SQLITE_IOERR_SHORT_READ


@contextmanager
def _transaction(db: sqlite3.Connection) -> Iterator[None]:
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):
            db.execute("ROLLBACK")
        raise


def _used_bytes(db: sqlite3.Connection) -> int:
    total, free, size = (
        int(db.execute(f"PRAGMA {name}").fetchone()[0]) for name in ("page_count", "freelist_count", "page_size")
    )
    return (total - free) * size


def _checksum(key: bytes, data: bytes) -> bytes:
    return blake2b(key + data, digest_size=8).digest()
