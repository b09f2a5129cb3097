"""A file of JSON lines that survives its writer: each line is on the disk before append() returns."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from selfroute.errors import SelfRouteError


class JsonLines:
    """One file, read once and then appended to by one process. A last line that was torn by the end of an earlier one
    is cut off."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = -1

    def read(self) -> list[dict[str, Any]]:
        """Every object; the last line does not count when it is torn. Raises SelfRouteError for a damaged line."""
        return self._read()[0]

    def open(self) -> list[dict[str, Any]]:
        """The same, and gets ready to append: what is torn is cut off first."""
        found, n_bytes = self._read()
        try:
            self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            os.ftruncate(self._fd, n_bytes)
            os.lseek(self._fd, 0, os.SEEK_END)
        except OSError as error:
            self.close()
            raise _cannot_write(self.path, error) from error
        return found

    def append(self, value: dict[str, Any]) -> None:
        """One line, in one write, flushed to the disk. Raises SelfRouteError when it cannot be written."""
        line = json.dumps(value, separators=(",", ":")).encode("ascii") + b"\n"
        try:
            if os.write(self._fd, line) != len(line):
                raise OSError(0, "the disk is full")
            os.fsync(self._fd)
        except OSError as error:
            raise _cannot_write(self.path, error) from error

    def close(self) -> None:
        """Nothing more is appended."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _read(self) -> tuple[list[dict[str, Any]], int]:
        """The objects, and the bytes that they take."""
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return [], 0
        except OSError as error:
            raise SelfRouteError(f"cannot read {self.path}: {error.strerror}", f"ls -l {self.path}") from error
        lines = content.split(b"\n")
        found: list[dict[str, Any]] = []
        n_bytes = 0
        for number, line in enumerate(lines[:-1], 1):  # what stands behind the last newline is torn
            try:
                value = json.loads(line)
            except ValueError as error:
                if number == len(lines) - 1 and not lines[-1]:
                    break
                raise _damaged(self.path, number) from error
            if not isinstance(value, dict):
                raise _damaged(self.path, number)
            found.append(value)
            n_bytes += len(line) + 1
        return found, n_bytes


def _damaged(path: Path, line: int) -> SelfRouteError:
    return SelfRouteError(f"{path}, line {line}: damaged", f"remove that line, and run the same command: {path}")


def _cannot_write(path: Path, error: OSError) -> SelfRouteError:
    return SelfRouteError(f"cannot write {path}: {error.strerror}", "make room, and run the same command again")
