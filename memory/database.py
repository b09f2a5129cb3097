"""The file of a database: an index's unless another name is given. How it is opened, made and deleted."""

from __future__ import annotations

import os
import sqlite3
import time
from pathlib import Path

DATABASE = "index.sqlite"
_BUSY_SECONDS = 10.0


def connect(directory: Path, *, create: bool, name: str = DATABASE) -> sqlite3.Connection:
    """A connection for any thread, which waits _BUSY_SECONDS for others.

    Raises ValueError for a link, sqlite3.Error.
    """
    path = directory / name
    if any(file.is_symlink() for file in _files(directory, name)):
        raise ValueError(f"{path.name} is a link")  # a corpus brought it along; it may lead anywhere
    return sqlite3.connect(
        _uri(path, create), uri=True, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
    )


def log_ahead(db: sqlite3.Connection) -> None:
    """Has the database write ahead. Where several make it at once SQLite refuses some without waiting its timeout."""
    given_up = time.monotonic() + _BUSY_SECONDS
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL")
            break
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > given_up:
                raise
            time.sleep(0.01)
    db.execute("PRAGMA synchronous = NORMAL")


def remove(directory: Path, name: str = DATABASE) -> None:
    """Deletes a database, so that the next one starts from nothing. Only for the one who holds the writer's lock."""
    for path in _files(directory, name):
        path.unlink(missing_ok=True)


def _files(directory: Path, name: str) -> list[Path]:
    return [directory / f"{name}{ending}" for ending in ("", "-wal", "-shm")]


def _uri(path: Path, create: bool) -> str:
    """Where nothing can be written the file is taken as it lies, unless a log has to be read with it."""
    if os.access(path.parent, os.W_OK):
        return f"{path.absolute().as_uri()}?mode={'rwc' if create else 'rw'}"
    log = path.with_name(f"{path.name}-wal")
    alone = not log.exists() or not log.stat().st_size
    return f"{path.absolute().as_uri()}?mode=ro{'&immutable=1' if alone else ''}"
