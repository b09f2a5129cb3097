"""What a run leaves on the disk as it goes: DIR/run.json says of what it is, DIR/rows.jsonl holds its rows.

A run that ends early, however it ends, is gone on with by the same command: rows that are there are not made again. One
process writes a folder at a time.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from types import TracebackType
from typing import Any

from selfroute.errors import ConfigError, SelfRouteError
from selfroute.memory.lock import WriterLock
from selfroute.router.evaluation.cases import Case
from selfroute.router.evaluation.corpora import corpus_key, make_run_folder
from selfroute.router.evaluation.json_lines import JsonLines
from selfroute.router.evaluation.rows import Row
from selfroute.router.evaluation.writing import write as write_file

RUN, ROWS, VERDICTS, LOCK = "run.json", "rows.jsonl", "verdicts.jsonl", "lock"
FORMAT = 1
# Settings that runs of earlier versions do not name, as they were then.
LATER = {"price_in": 0.0, "price_out": 0.0, "kv": "", "pages": "off"}
Key = tuple[str, str]


def describe(cases: Sequence[Case], settings: Mapping[str, Any]) -> dict[str, Any]:
    """What the rows of a run depend on: its questions, what they are about, and the settings.

    What is right of a case may be mended between two runs: it is not part of the rows.
    """
    keys = [corpus_key(case.path, case.context) for case in cases]
    return {
        "format": FORMAT,
        "n_cases": len(cases),
        "cases": cases_digest(cases, keys),
        "settings": dict(settings),
    }


def cases_digest(cases: Sequence[Case], keys: Sequence[str]) -> str:
    """Of what the rows depend on. keys: of the corpora that the cases are about."""
    hashed = blake2b(digest_size=16)
    for case, key in zip(cases, keys, strict=True):
        hashed.update(json.dumps([case.id, case.question, key, case.budget_tokens]).encode())
    return hashed.hexdigest()


class Journal:
    """The rows of one run, in the order in which they were made. `with` gives the folder back."""

    def __init__(self, folder: Path, description: Mapping[str, Any]) -> None:
        """Makes the folder, or goes on with the run in it.

        Raises ConfigError when that is another run or the folder cannot be written, SelfRouteError when another process
        writes it or a line is damaged.
        """
        make_run_folder(folder)
        self.folder = folder
        self._lock = WriterLock(folder / LOCK)
        if not self._lock.acquire():
            raise SelfRouteError(
                f"{self._lock.holder()} is writing the run in {folder}",
                "wait for it, or give another folder: --out DIR",
            )
        self._lines = JsonLines(folder / ROWS)
        try:
            _match(folder, description)
            self.rows = _rows_of(self._lines.open(), folder)
        except BaseException:
            self.close()
            raise

    @property
    def done(self) -> set[Key]:
        """(case, route) of every row."""
        return {(row.case_id, row.route) for row in self.rows}

    def append(self, row: Row) -> None:
        """Adds a row; it is on the disk when this returns."""
        self._lines.append(row.to_json())
        self.rows.append(row)

    def close(self) -> None:
        """Gives the folder back."""
        self._lines.close()
        self._lock.release()

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read_rows(folder: Path, description: Mapping[str, Any] | None = None) -> list[Row]:
    """The rows of a run, as far as it went; nothing is written. description: what the run must be of.

    Raises ConfigError when the folder holds no run or another one.
    """
    if not (folder / RUN).is_file():
        raise ConfigError(f"no run in {folder}", "run it first, without --report-only")
    if description is not None:
        _match(folder, description, write=False)
    return _rows_of(JsonLines(folder / ROWS).read(), folder)


def _rows_of(found: Sequence[Mapping[str, Any]], folder: Path) -> list[Row]:
    """Rows, each (case, route) once."""
    rows: dict[Key, Row] = {}
    for number, one in enumerate(found, 1):
        try:
            row = Row.from_json(one)
        except ValueError as error:
            raise SelfRouteError(
                f"{folder / ROWS}, line {number}: {error}", "give another folder: --out DIR"
            ) from error
        rows.setdefault((row.case_id, row.route), row)
    return list(rows.values())


def _match(folder: Path, description: Mapping[str, Any], *, write: bool = True) -> None:
    """Compares the run in the folder with this one; notes this one where there is none."""
    path = folder / RUN
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
        known["settings"] = dict(known["settings"])
    except FileNotFoundError:
        if write:
            write_file(path, json.dumps(description, indent=1) + "\n")
        return
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"cannot use {path}: {error}", "give another folder: --out DIR") from error
    another = f"the run in {folder} is another one"
    hint = "give another folder: --out DIR"
    if known.get("format") != description["format"]:
        raise ConfigError(f"{another}: its format is {known.get('format')}, this version's is {FORMAT}", hint)
    before, now = LATER | known["settings"], LATER | dict(description["settings"])
    for key in sorted({*before, *now}):
        if before.get(key) != now.get(key):
            raise ConfigError(f"{another}: its {key} is {before.get(key)!r}, and now it is {now.get(key)!r}", hint)
    if known.get("cases") != description["cases"]:
        raise ConfigError(
            f"{another}: it is of {known.get('n_cases')} cases that are not these {description['n_cases']}", hint
        )
