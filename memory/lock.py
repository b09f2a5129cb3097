"""One writer at a time: a lock on a file that the kernel gives back when its holder ends, however it ends."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

from selfroute.errors import SelfRouteError

_TAKEN = {errno.EAGAIN, errno.EACCES, errno.EWOULDBLOCK}


class WriterLock:
    """The right to write an index. The file stays when the lock goes: only the kernel's lock on it counts."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = -1

    @property
    def held(self) -> bool:
        """Whether this object holds the lock."""
        return self._fd >= 0

    def acquire(self) -> bool:
        """Takes the lock if it is free, without waiting; False when another holds it (in this process or any other).

        Raises SelfRouteError where files cannot be locked (some network drives), and for a link: what a corpus brings
        with it must not lead elsewhere.
        """
        if self.held:
            raise RuntimeError("the lock is held already")
        try:
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        except OSError as error:
            raise SelfRouteError(f"cannot open {self.path}: {error.strerror}", f"ls -l {self.path}") from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # For the messages of those who wait; nothing is decided by it.
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        except OSError as error:
            os.close(fd)
            if error.errno in _TAKEN:
                return False
            raise SelfRouteError(
                f"cannot lock {self.path}: {error.strerror}", "put the index on a local disk: --index-dir DIR"
            ) from error
        self._fd = fd
        return True

    def release(self) -> None:
        """Gives the lock back; nothing when it is not held."""
        if self.held:
            os.close(self._fd)
            self._fd = -1

    def holder(self) -> str:
        """Who holds the lock, for messages: "process 4242", or "another process" when it does not say."""
        try:
            return f"process {int(self.path.read_bytes()[:20])}"
        except (OSError, ValueError):
            return "another process"
