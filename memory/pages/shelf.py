"""What a PageStore stands on: the open table, what is known of it, the segments, and the locks around them.

Threads share one connection, so it is used with `lock` held; writing to the disk happens with `writing` held instead,
for readers are not to wait for it. A table that is found damaged counts as empty; the next who writes makes it anew.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import RLock
from typing import TypeVar

from selfroute.errors import IndexCorruptError, SelfRouteError
from selfroute.memory.pages import opening
from selfroute.memory.pages.checksums import mark
from selfroute.memory.pages.rows import Rows
from selfroute.memory.pages.segments import Segments
from selfroute.memory.pages.table import FILE, ModelRow, PageTable
from selfroute.memory.pages.writing import Writer
from selfroute.models.paged.layout import Layout

T = TypeVar("T")
_NOT_SQLITE = (ValueError, TypeError, OverflowError)  # what comes of values that are of another type than was written


@dataclass(slots=True)
class Known:
    """A model's rows, as they were when the table had this version and had dropped rows so often."""

    model: ModelRow
    rows: Rows = field(default_factory=Rows)
    version: int = -1
    dropped: int = -1


class Shelf:
    """word: of those whose pages are believed. Raises what opening the table raises."""

    def __init__(self, folder: Path, *, word: str, wait_seconds: float) -> None:
        self.folder = folder
        self.notes: list[str] = []
        self.lock, self.writing = RLock(), RLock()  # `writing` is taken first
        self.segments = Segments(folder)
        self._word, self._wait_seconds = word, wait_seconds
        self._known: dict[str, Known] = {}
        self._damaged = False
        self.writable = opening.prepared(folder)
        self._table = opening.opened(folder, writable=self.writable)
        self._closed = False
        if self._table is None and (folder / FILE).exists():
            self._note_damage("it cannot be read")

    def reading(self, work: Callable[[PageTable], T], otherwise: T) -> T:
        """What the work makes of the table; `otherwise` of one that is damaged or gone. Raises SelfRouteError."""
        with self.lock:
            if self._table is not None and self._table.replaced:
                self._reopen()
            if self._table is None or self._damaged:
                return otherwise
            try:
                return work(self._table)
            except (sqlite3.Error, *_NOT_SQLITE) as error:
                if isinstance(error, sqlite3.Error) and not opening.is_damage(error):
                    raise opening.failed(self.folder, error) from error
                self._note_damage(error)
                return otherwise

    @contextmanager
    def locked(self) -> Iterator[tuple[PageTable, Writer]]:
        """The right to write. Raises IndexLockedError when another process keeps it, SelfRouteError for failures."""
        with self.writing:
            if self._closed:
                raise SelfRouteError(f"the store of pages in {self.folder} is closed", "open it again")
            if not self.writable:
                raise opening.cannot_keep(self.folder, PermissionError(13, "the folder cannot be written"))
            with opening.locked(self.folder, self._wait_seconds):
                try:
                    with self.lock:
                        table = self._mended()
                    yield table, Writer(table, self.segments, self.lock)
                except (sqlite3.Error, OSError) as error:
                    if isinstance(error, sqlite3.Error) and opening.is_damage(error):
                        self._note_damage(error)
                    raise opening.failed(self.folder, error) from error
                finally:
                    self.changed()

    def model(self, fingerprint: str) -> Known | None:
        """What is kept of a model, read anew where that changed. None when nothing is. Raises SelfRouteError."""
        own = mark(fingerprint, self._word)
        with self.lock:
            return self.reading(lambda table: self._current(table, own), None)

    def model_to_write(self, table: PageTable, layout: Layout) -> Known:
        """The same, added when there is none; pages of the same fingerprint and other fields are dropped.

        For the one who holds the lock. Raises sqlite3.Error.
        """
        own = mark(layout.fingerprint, self._word)
        with self.lock:
            found = self._current(table, own)
            if found is None or found.model.layout != layout.to_json():
                table.add_model(own, layout.fingerprint, layout.to_json())
                self._known.pop(own, None)
                found = self._current(table, own)
            if found is None:
                raise IndexCorruptError(f"{self.folder} loses what is written to it", f"rm -r {self.folder}")
            return found

    def changed(self) -> None:
        """Has everything read anew: this process changed the table, which its version does not show."""
        with self.lock:
            for known in self._known.values():
                known.version = -1

    def close(self) -> None:
        """Closes the table and forgets the mappings."""
        with self.lock:
            if self._table is not None:
                self._table.close()
            self._table, self._closed = None, True
            self.segments.close()
            self._known.clear()

    # inside, with the lock held

    def _current(self, table: PageTable, own: str) -> Known | None:
        version = table.version()
        known = self._known.get(own)
        if known is not None and known.version == version:
            return known
        dropped = table.dropped()
        if known is None or known.dropped != dropped:
            model = next((model for model in table.models() if model.mark == own), None)
            if model is None:
                self._known.pop(own, None)
                return None
            rows = Rows(table.pages(model.model), known.rows if known else None)
            self._known[own] = known = Known(model, rows)
        else:
            known.rows.add(table.pages(known.model.model, known.rows.last))
        known.version, known.dropped = version, dropped
        return known

    def _mended(self) -> PageTable:
        """The table, made anew when it is damaged and nobody did so yet. For the one who may write."""
        if self._table is None or self._table.replaced:
            self._reopen()
        if self._table is None or self._damaged:
            if self._table is not None:
                self._table.close()
            opening.remake(self.folder, self.segments)
            self._reopen()
        if self._table is None:
            raise SelfRouteError(f"no pages can be kept in {self.folder}", f"rm -r {self.folder}")
        return self._table

    def _reopen(self) -> None:
        if self._table is not None:
            self._table.close()
        self._known.clear()
        self.segments.close()
        self._damaged = False
        self._table = opening.opened(self.folder, writable=self.writable)

    def _note_damage(self, why: object) -> None:
        self._damaged = True
        note = f"the table of pages in {self.folder} was damaged ({why}): they are encoded again"
        if note not in self.notes:
            self.notes.append(note)
