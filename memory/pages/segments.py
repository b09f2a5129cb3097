"""The files that hold the records of pages: each only ever grows, to a limit, and is mapped into memory to be read.

Which bytes count is for the page table to say. A writer flushes records to the disk before the table points at them,
and writes over what lies beyond the last that count, so what a kill left there is never read. No byte that counted once
is ever changed: another process may still read it, by an older state of the table, even when the file has been deleted.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from selfroute.memory.arrays import sync_folder

MAX_BYTES = 256 << 20  # of a segment; a record that is larger has one to itself
_ENDING = ".seg"
_OPENING = os.O_CLOEXEC | os.O_NOFOLLOW  # a corpus may bring a link along; it may lead anywhere


@dataclass(frozen=True, slots=True)
class Mapped:
    """A segment in memory, as long as it was when it was mapped, or parts of one. bytes, data: the same memory."""

    bytes: memoryview
    data: NDArray[np.uint8]
    map: mmap.mmap | None = None

    def __len__(self) -> int:
        return len(self.bytes)


class Segments:
    """The segment files of a folder. Reading needs no lock; writing and deleting are for the one who holds the lock."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._mapped: dict[int, Mapped] = {}

    def path(self, segment: int) -> Path:
        """The file of a segment."""
        return self.folder / f"{segment:08d}{_ENDING}"

    def mapped(self, segment: int, end: int) -> Mapped | None:
        """A segment, to byte `end` if it is that long; None when there is no such file, or an empty one."""
        found = self._mapped.get(segment)
        if found is not None and len(found) >= end:
            return found
        try:
            fd = os.open(self.path(segment), os.O_RDONLY | _OPENING)
        except OSError:
            return None
        try:
            size = os.fstat(fd).st_size
            if not size:
                return None
            held = mmap.mmap(fd, size, access=mmap.ACCESS_READ)
        except (OSError, ValueError):
            return None
        finally:
            os.close(fd)
        view = memoryview(held)
        # Those who still read what was mapped before keep it alive themselves.
        self._mapped[segment] = found = Mapped(view, np.frombuffer(view, np.uint8), held)
        return found

    def heads(self, segment: int, offsets: Sequence[int], size: int) -> Mapped | None:
        """`size` bytes from each offset on, one after another; None where not all can be read from the file, which may
        be deleted by now."""
        try:
            fd = os.open(self.path(segment), os.O_RDONLY | _OPENING)
        except OSError:
            return None
        try:
            view = memoryview(b"".join([os.pread(fd, size, offset) for offset in offsets]))
        except OSError:
            return None
        finally:
            os.close(fd)
        return Mapped(view, np.frombuffer(view, np.uint8)) if len(view) == len(offsets) * size else None

    def write(self, segment: int, offset: int, records: Sequence[bytes | memoryview], *, new: bool) -> None:
        """Writes records one after another and flushes them to the disk. new: the segment is made.

        Raises OSError when the disk does not take them; what was written of them is given back.
        """
        path = self.path(segment)
        if new:
            path.unlink(missing_ok=True)  # left by a run that was killed
        fd = os.open(path, os.O_RDWR | _OPENING | (os.O_CREAT | os.O_EXCL if new else 0), 0o600)
        try:
            at = offset
            try:
                for record in records:
                    rest = memoryview(record)
                    while rest:
                        n = os.pwrite(fd, rest, at)
                        at, rest = at + n, rest[n:]
                os.fsync(fd)
            except OSError:
                with suppress(OSError):
                    os.ftruncate(fd, offset)  # nothing points beyond it
                raise
        finally:
            os.close(fd)
        if new:
            sync_folder(self.folder)

    def delete(self, segment: int) -> None:
        """Deletes a segment; who has it mapped can go on reading it."""
        self._mapped.pop(segment, None)
        with suppress(OSError):
            self.path(segment).unlink()

    def will_need(self, segment: int, start: int, stop: int) -> None:
        """Has the system read these bytes ahead, without waiting for it."""
        found = self.mapped(segment, stop)
        if found is not None and found.map is not None and start < min(stop, len(found)):
            first = start // mmap.PAGESIZE * mmap.PAGESIZE
            with suppress(OSError):
                found.map.madvise(mmap.MADV_WILLNEED, first, min(stop, len(found)) - first)

    def on_disk(self) -> dict[int, int]:
        """Every segment file that there is -> its bytes."""
        found = {}
        with suppress(OSError):
            for path in self.folder.glob(f"*{_ENDING}"):
                if path.stem.isdecimal() and not path.is_symlink():
                    found[int(path.stem)] = path.stat().st_size
        return found

    def close(self) -> None:
        """Forgets the mappings; what was made of them stays valid."""
        self._mapped.clear()
