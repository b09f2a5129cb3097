"""The folder of a page store: made, locked, opened, emptied, and its failures told apart."""

from __future__ import annotations

import errno
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selfroute.errors import IndexCorruptError, IndexLockedError, IndexVersionError, SelfRouteError
from selfroute.memory.database import remove
from selfroute.memory.location import can_write
from selfroute.memory.lock import WriterLock
from selfroute.memory.pages.segments import Segments
from selfroute.memory.pages.table import FILE, FORMAT, NotOursError, PageTable

FOLDER = "pages"  # in the folder of the index
LOCK = "lock"
_POLL_SECONDS = 0.005
# What SQLite says of a file that holds something else than was written. Other failures are the machine's. That it is
# read-only, in a folder that is not, is what a flipped bit of its header says.
_DAMAGE = {
    sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_MISMATCH,
    sqlite3.SQLITE_READONLY,
}  # fmt: skip


def prepared(folder: Path) -> bool:
    """Makes the folder; whether it can be written. Raises SelfRouteError for a link, or where it cannot be made."""
    if folder.is_symlink():  # a corpus brought it along; it may lead anywhere
        raise SelfRouteError(f"{folder} is a link, pages are not kept behind one", f"ls -l {folder}")
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise cannot_keep(folder, error) from error
    return can_write(folder)


def opened(folder: Path, *, writable: bool) -> PageTable | None:
    """The table, made when there is none; None for one that is damaged, or not there and not to be made.

    Raises IndexVersionError for one that a newer version made, SelfRouteError for the machine's failures.
    """
    if not writable and not (folder / FILE).exists():
        return None
    try:
        return PageTable(folder, create=writable)
    except NotOursError as error:
        if error.newer:
            raise IndexVersionError(folder, error.found, FORMAT, f"rm -r {folder}") from error
        return None
    except ValueError:  # a link, which is as good as damage
        return None
    except sqlite3.Error as error:
        if not is_damage(error):
            raise failed(folder, error) from error
        return None


def remake(folder: Path, segments: Segments) -> None:
    """Deletes the table and all segments: all of it can be encoded again. For the one who holds the lock."""
    remove(folder, FILE)
    for segment in segments.on_disk():
        segments.delete(segment)


@contextmanager
def locked(folder: Path, wait_seconds: float) -> Iterator[None]:
    """The writer's lock. Raises IndexLockedError when another keeps it for longer."""
    lock = WriterLock(folder / LOCK)
    given_up = time.monotonic() + wait_seconds
    while not lock.acquire():
        if time.monotonic() > given_up:
            raise IndexLockedError(f"{lock.holder()} is writing the pages in {folder}", "wait for it, or end it")
        time.sleep(_POLL_SECONDS)
    try:
        yield
    finally:
        lock.release()


def is_damage(error: sqlite3.Error) -> bool:
    """Whether the file is at fault, and not the machine."""
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        return False
    return code & 0xFF in _DAMAGE or code == sqlite3.SQLITE_IOERR_SHORT_READ


def is_full(error: SelfRouteError) -> bool:
    """Whether an error of failed() says that the disk has no room."""
    cause = error.__cause__
    if isinstance(cause, sqlite3.Error):
        return getattr(cause, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL
    return isinstance(cause, OSError) and cause.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def failed(folder: Path, error: sqlite3.Error | OSError) -> SelfRouteError:
    """The error to raise for one of SQLite's or the system's."""
    if isinstance(error, sqlite3.Error):
        if is_damage(error):
            return IndexCorruptError(f"{folder / FILE} is damaged ({error})", f"rm -r {folder}")
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
            return IndexLockedError(f"another process keeps {folder / FILE} locked", "wait for it, or end it")
    return cannot_keep(folder, error)


def cannot_keep(folder: Path, error: Exception) -> SelfRouteError:
    """The error for a disk that takes no more."""
    why = (error.strerror if isinstance(error, OSError) else "") or error
    return SelfRouteError(
        f"pages cannot be kept in {folder}: {why}", "free some space, or keep the index elsewhere: --index-dir DIR"
    )
