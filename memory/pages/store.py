"""The page store: pages by model and content hash, on the disk, for several threads and processes at once.

What is put is written in batches, each on the disk before it counts, so that a kill loses one batch at most. What is
gathered is checked when a process first reads it; a page that is not what was written is dropped, and has to be encoded
again, as any page that is not there: all that can be lost here is time.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from secrets import token_hex
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from selfroute.errors import SelfRouteError
from selfroute.memory.check import Checked
from selfroute.memory.pages.base import DISK, Gathered, MissingPages, NewPage, Record
from selfroute.memory.pages.checking import check_pages, unreadable
from selfroute.memory.pages.gathering import Gathering, Held
from selfroute.memory.pages.room import Room
from selfroute.memory.pages.rows import Rows
from selfroute.memory.pages.shelf import Shelf
from selfroute.memory.pages.stats import Stats, stats_of
from selfroute.memory.pages.table import PageTable
from selfroute.memory.pages.writing import Writer
from selfroute.memory.secret import secret
from selfroute.models.paged.layout import Layout

_BATCH_BYTES, _BATCH_SECONDS = 8 << 20, 2.0  # what is put is written when it is so much, or waits for so long

Batch = dict[str, tuple[Layout, dict[str, Record]]]  # by fingerprint, then by content hash


class PageStore:
    """Made by open(). Models go by the fingerprint of their layout. Any thread may use it."""

    def __init__(self, shelf: Shelf, budget_bytes: int | None) -> None:
        self.folder, self.budget_bytes = shelf.folder, budget_bytes
        self._shelf = shelf
        self._pending: Batch = {}
        self._flying: Batch = {}  # what is just being written
        self._pending_bytes, self._pending_since = 0, 0.0
        self._room = Room(shelf, budget_bytes)

    @classmethod
    def open(
        cls, folder: Path, *, budget_bytes: int | None = None, word: str | None = None, wait_seconds: float = 30.0
    ) -> PageStore:
        """The store in a folder, made when there is none. budget_bytes: of the segment files together.

        word: of those whose pages are believed, by default this user's secret. wait_seconds: for another process that
        writes. Raises SelfRouteError where nothing can be kept, IndexVersionError for a newer version's store.
        """
        known = secret() if word is None else word
        return cls(Shelf(folder, word=known or token_hex(32), wait_seconds=wait_seconds), budget_bytes)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know: damage that was met."""
        return tuple(self._shelf.notes)

    @property
    def writable(self) -> bool:
        """Whether pages can be kept here."""
        return self._shelf.writable

    # reading

    def have(self, fingerprint: str, hashes: Iterable[str]) -> set[str]:
        """Those of the hashes whose pages are here, as far as can be told without reading them."""
        with self._shelf.lock:
            model, waiting = self._shelf.model(fingerprint), self._waiting(fingerprint)
            kept: Collection[str] = model.rows.at if model else ()
            return {name for name in hashes if name in kept or name in waiting}

    def lengths(self, fingerprint: str, hashes: Sequence[str]) -> NDArray[np.int32]:
        """(P,) int32, the tokens of each page by the table; -1 for those that are not here."""
        with self._shelf.lock:
            model, waiting = self._shelf.model(fingerprint), self._waiting(fingerprint)
            rows = model.rows if model else Rows()
            at, n_tokens = rows.find(hashes), rows.columns["n_tokens"]
        found = np.full(len(hashes), -1, np.int64)
        found[at >= 0] = n_tokens[at[at >= 0]]
        for i in np.flatnonzero(at < 0).tolist():
            if hashes[i] in waiting:
                found[i] = waiting[hashes[i]].n_tokens
        return np.clip(found, -1, 1 << 30).astype(np.int32)

    def gather(
        self,
        layout: Layout,
        hashes: Sequence[str],
        names: Sequence[str] | None = None,
        *,
        others: Mapping[str, Record] | None = None,
    ) -> Gathered:
        """The arrays of these names, or all, of pages in this order; a page may be asked for twice.

        others: pages that are at hand, if they are not here. Raises MissingPages, whose damaged ones are dropped, and
        KeyError for a name that the layout lacks. Fields of pages alone are read without the rest of their records.
        """
        wanted = [field.name for field in layout.fields] if names is None else list(names)
        for last in (False, True):
            with self._shelf.lock:
                rows, held = self._held(layout)
                at = rows.find(hashes)
                at_hand = {**(others or {}), **self._waiting(layout.fingerprint)}
            gathering = Gathering(layout, wanted, held, self._shelf.segments)
            unfit = gathering.unfit(at[at >= 0])
            if not unfit.size:
                break
            if last:
                self._drop_damaged(rows, unfit.tolist())
                at[np.isin(at, unfit)] = -1
            else:  # perhaps another process has just moved them
                self._shelf.changed()
        records = [at_hand.get(name) if place < 0 else None for name, place in zip(hashes, at.tolist(), strict=True)]
        missing = [name for name, place, record in zip(hashes, at, records, strict=True) if place < 0 and not record]
        if missing:
            raise MissingPages(dict.fromkeys(missing))
        gathered, damaged = gathering.gather(at, records)
        if damaged:
            self._drop_damaged(rows, damaged)
            raise MissingPages(dict.fromkeys(held.hashes[place] for place in damaged))
        return gathered

    def prefetch(self, fingerprint: str, hashes: Sequence[str]) -> None:
        """Has the system read pages ahead, without waiting for it."""
        with self._shelf.lock:
            model = self._shelf.model(fingerprint)
            rows = model.rows if model else Rows()
            at = rows.find(hashes)
            columns = {name: values[at[at >= 0]] for name, values in rows.columns.items()}
        for segment in np.unique(columns["segment"]).tolist():
            here = columns["segment"] == segment
            starts = columns["offset"][here]
            for start, stop in _runs(starts, starts + columns["size"][here]):
                self._shelf.segments.will_need(segment, start, stop)

    # writing

    def put(self, layout: Layout, pages: Iterable[NewPage]) -> None:
        """Adds pages, those that are here already left alone; written when a batch is full, or by flush().

        Raises ValueError for arrays that do not fit the layout, and what flush() raises.
        """
        for page in pages:
            record = Record(page.n_tokens, layout.pack(page.arrays, page.n_tokens), page.seconds)
            self.put_record(layout, page.content_hash, record)

    def put_record(self, layout: Layout, content_hash: str, record: Record) -> None:
        """Adds a page that is packed already. Raises what put() raises."""
        with self._shelf.lock:
            if self.have(layout.fingerprint, [content_hash]):
                return
            if not self._pending:
                self._pending_since = time.monotonic()
            self._pending.setdefault(layout.fingerprint, (layout, {}))[1][content_hash] = record
            self._pending_bytes += len(record.data)
            due = self._pending_bytes >= _BATCH_BYTES or time.monotonic() > self._pending_since + _BATCH_SECONDS
        if due:
            self.flush()

    def flush(self) -> None:
        """Writes what was put and is not yet written. What the budget has no room for is not kept.

        Raises SelfRouteError when the disk does not take it, IndexLockedError when another process does not stop
        writing: what was to be written is then forgotten, and what was written before stays.
        """
        with self._shelf.writing:
            with self._shelf.lock:
                if not self._pending:
                    return
                self._flying, self._pending, self._pending_bytes = self._pending, {}, 0
            try:
                with self._shelf.locked() as (table, writer):
                    for layout, records in self._flying.values():
                        self._append(table, writer, layout, records)
            finally:
                with self._shelf.lock:
                    self._flying = {}

    def touch(
        self, fingerprint: str, hashes: Sequence[str], *, found: Mapping[str, int] | None = None, encoded: int = 0
    ) -> None:
        """Counts a use of each of these pages; how many of them were found in which tier, by default all on the disk;
        and how many had to be encoded. Never fails."""
        with self._shelf.lock, suppress(SelfRouteError):
            model = self._shelf.model(fingerprint)
            if model is None or not self.writable:
                return
            at = model.rows.find(hashes)
            rows, number = model.rows.columns["row"][at[at >= 0]], model.model.model
            hits = {**({DISK: len(hashes)} if found is None else found), "": encoded}
            self._shelf.reading(lambda table: table.touch(number, rows, hits), None)

    def pin(self, fingerprint: str, hashes: Iterable[str]) -> None:
        """Has this process neither evict nor collect these pages, until each was unpinned as often."""
        self._room.pin(fingerprint, hashes)

    def unpin(self, fingerprint: str, hashes: Iterable[str]) -> None:
        """Takes back a pin()."""
        self._room.unpin(fingerprint, hashes)

    def evict(self, to_bytes: int) -> int:
        """Drops the pages of least value until all segments together take at most to_bytes, or only pinned pages are
        left. Returns how many were dropped. Raises SelfRouteError.

        On a disk that has no room even for saying so, a whole segment is deleted first.
        """
        self.flush()
        return self._room.evict(to_bytes)

    def collect(self, live_hashes: Collection[str], fingerprint: str | None = None) -> int:
        """Drops the pages of all other hashes, of every model or of one, but for pinned ones; returns how many.

        Raises SelfRouteError.
        """
        self.flush()
        return self._room.collect(live_hashes, fingerprint)

    def check_integrity(self, *, mend: bool = False) -> Checked:
        """Everything that is kept, compared with its checksums. mend: drops what is not as it was written, and a table
        that cannot be read as a whole. Raises SelfRouteError."""
        self.flush()
        found = self._shelf.reading(lambda table: check_pages(table, self._shelf.segments), None)
        if found is None:
            if mend:
                with self._shelf.locked():
                    pass  # which makes it anew
            return unreadable(self.notes[-1] if self.notes else "there is none")
        checked, damaged = found
        if mend and not checked.ok:
            with self._shelf.locked() as (table, writer):
                with self._shelf.lock:
                    table.drop_damaged(damaged)
                writer.drop_strays()
                writer.reclaim()
        return checked

    def stats(self) -> Stats:
        """What is kept, by model, and how often pages were found. Raises SelfRouteError."""
        nothing = Stats(self.folder, budget_bytes=self.budget_bytes)
        return self._shelf.reading(lambda table: stats_of(table, self.folder, self.budget_bytes), nothing)

    def pace(self, fingerprint: str) -> float | None:
        """Tokens a second at which the pages of a model that are here were encoded; None when none are."""
        for model in self.stats().models:
            if model.fingerprint == fingerprint and model.tokens and model.seconds > 0:
                return model.tokens / model.seconds
        return None

    def close(self) -> None:
        """Writes what was put and closes the table. Raises what flush() raises, and is closed all the same."""
        try:
            self.flush()
        finally:
            self._shelf.close()

    def __enter__(self) -> PageStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # inside

    def _held(self, layout: Layout) -> tuple[Rows, Held]:
        """The rows of a model, and what they are now."""
        model = self._shelf.model(layout.fingerprint)
        if model is None or model.model.layout != layout.to_json():
            return (rows := Rows()), Held("", rows.hashes, rows.columns, rows.checked)
        rows = model.rows
        return rows, Held(model.model.mark, rows.hashes, rows.columns, rows.checked)

    def _waiting(self, fingerprint: str) -> Mapping[str, Record]:
        """What was put and is not on the disk yet."""
        batches = [batch[fingerprint][1] for batch in (self._flying, self._pending) if fingerprint in batch]
        return batches[0] if len(batches) == 1 else {name: r for batch in batches for name, r in batch.items()}

    def _append(self, table: PageTable, writer: Writer, layout: Layout, records: Mapping[str, Record]) -> None:
        model = self._shelf.model_to_write(table, layout)
        fresh = {name: record for name, record in records.items() if name not in model.rows.at}
        if not fresh:
            return
        room = self._room.make(table, writer, model.model.model, list(fresh.values()))
        ends = np.cumsum([len(record.data) for record in fresh.values()])
        fits = dict(list(fresh.items())[: int(np.searchsorted(ends, room, side="right"))])
        if fits:
            writer.append(model.model, layout, fits)

    def _drop_damaged(self, rows: Rows, places: Sequence[int]) -> None:
        """Has damaged pages found no more, in the table too where it can be written."""
        with self._shelf.lock:
            pages = [rows.page(place) for place in dict.fromkeys(places)]
            rows.forget(places)
            if self.writable:
                with suppress(SelfRouteError):
                    self._shelf.reading(lambda table: table.drop_damaged(pages), None)


def _runs(starts: NDArray[np.int64], stops: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Neighbouring ranges joined."""
    order = np.argsort(starts)
    starts, stops = starts[order], stops[order]
    breaks = np.flatnonzero(starts[1:] > stops[:-1]) + 1
    yield from zip(starts[np.r_[0, breaks]].tolist(), stops[np.r_[breaks - 1, len(stops) - 1]].tolist(), strict=True)
