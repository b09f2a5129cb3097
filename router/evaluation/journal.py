"""The rows of a run on the disk: appended and flushed one by one, so that a killed run goes on where it was."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from types import TracebackType
from typing import Any

from selfroute.errors import ConfigError
from selfroute.memory.lock import WriterLock
from selfroute.router.evaluation.cases import Case
from selfroute.router.evaluation.rows import Row

ROWS, RUN, LOCK = "rows.jsonl", "run.json", "lock"
FORMAT = 1


def fingerprint(cases: Iterable[Case]) -> str:
    """Of what is asked, and of what is right; not of the folders' places."""
    digest = blake2b(digest_size=16)
    for case in cases:
        digest.update(repr((case.id, case.question, case.context, case.budget_tokens)).encode())
    return digest.hexdigest()


class Journal:
    """The rows of one run. `with` holds the right to write it.

    A last line that a kill tore is cut off. Raises ConfigError for a folder of another run, or one that is being
    written.
    """

    def __init__(self, folder: Path, about: Mapping[str, Any]) -> None:
        """about: what has to be the same for rows to be of one run."""
        self.folder, self.path = folder, folder / ROWS
        self._about = {"format": FORMAT, **about}
        self._lock = WriterLock(folder / LOCK)
        self._fd = -1
        self.done: dict[tuple[str, str], Row] = {}

    def __enter__(self) -> Journal:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(
                f"cannot make {self.folder}: {error.strerror}", "--out DIR with a folder that can be written"
            ) from error
        if not self._lock.acquire():
            raise ConfigError(
                f"{self.folder} is being written by {self._lock.holder()}", "wait for it, or --out another"
            )
        try:
            self._check()
            rows, whole = _read(self.path)
            self.done = {(row.case_id, row.route): row for row in rows}
            self._fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
            os.ftruncate(self._fd, whole)
            os.lseek(self._fd, 0, os.SEEK_END)
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._fd >= 0:
            os.close(self._fd)
        self._lock.release()

    def add(self, row: Row) -> None:
        """Writes one row, flushed to the disk when this returns."""
        line = json.dumps(row.to_json(), ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"
        while line:
            line = line[os.write(self._fd, line) :]
        os.fsync(self._fd)
        self.done[row.case_id, row.route] = row

    def _check(self) -> None:
        file = self.folder / RUN
        if file.is_file():
            try:
                found = json.loads(file.read_text(encoding="utf-8"))
            except ValueError as error:
                raise ConfigError(
                    f"{file} is damaged: {error}", f"rm {file}, if its rows are of these cases"
                ) from error
            other = [key for key in self._about if found.get(key) != self._about[key]]
            if other:
                raise ConfigError(
                    f"{self.folder} holds a run with another {' and '.join(other)}", "--out with another folder"
                )
            return
        if self.path.exists():
            raise ConfigError(f"{self.path} is there without {RUN}", "--out with another folder")
        _write(file, json.dumps(self._about, indent=1, sort_keys=True) + "\n")


def read_rows(folder: Path) -> list[Row]:
    """The rows of a run, as they were written. Raises ConfigError where there are none."""
    if not (folder / ROWS).is_file():
        raise ConfigError(f"no run in {folder}", f"selfroute eval CASES.jsonl --out {folder}")
    return _read(folder / ROWS)[0]


def write_file(path: Path, content: str | bytes) -> None:
    """Whole or not at all: temp, fsync, rename."""
    _write(path, content)


def _write(path: Path, content: str | bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    data = content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise ConfigError(f"cannot write {path}: {error.strerror}", f"ls -ld {path.parent}") from error


def _read(path: Path) -> tuple[Sequence[Row], int]:
    """The rows, and how many bytes of the file are whole lines of them."""
    rows: list[Row] = []
    whole = 0
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return rows, 0
    lines = content.split(b"\n")
    for number, line in enumerate(lines[:-1], 1):
        try:
            rows.append(Row.from_json(json.loads(line)))
        except ValueError as error:
            if number == len(lines) - 1:
                break
            raise ConfigError(f"{path}:{number} is no row: {error}", "--out with another folder") from error
        whole += len(line) + 1
    return rows, whole
