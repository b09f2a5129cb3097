"""Writes to the page store: records appended to segments, segments emptied of what is no longer needed.

Everything here is for the one who holds the writer's lock. Records are on the disk before the table points at them, and
a segment is deleted after nothing in the table points at it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager

from selfroute.memory.pages.base import Record
from selfroute.memory.pages.checksums import body_sum, head_sum, seed
from selfroute.memory.pages.segments import MAX_BYTES, Segments
from selfroute.memory.pages.table import ModelRow, PageRow, PageTable
from selfroute.models.paged.layout import Layout

_AT_MOST = 64 << 20  # bytes of records in one write
_GARBAGE = 0.5  # share of a segment that is not needed any more, from which it is written anew


class Writer:
    """guard: held while the table is used, which other threads use, too."""

    def __init__(self, table: PageTable, segments: Segments, guard: AbstractContextManager[object]) -> None:
        self._table, self._segments, self._guard = table, segments, guard

    def append(self, model: ModelRow, layout: Layout, records: Mapping[str, Record]) -> None:
        """Adds pages to a model's newest segment, or to new ones. Raises OSError, sqlite3.Error; then the last of them
        are not there."""
        head = layout.head_bytes
        rows = []
        for content_hash, record in records.items():
            own = seed(model.mark, content_hash, record.n_tokens)
            data = memoryview(record.data)
            sums = head_sum(data[:head], own), body_sum(data[head:], own)
            rows.append(PageRow(0, content_hash, record.n_tokens, 0, 0, len(data), *sums))
        for some in self._placed(model.model, rows):
            segment, used = some[-1].segment, some[-1].offset + some[-1].size
            self._write(some, [records[row.hash].data for row in some])
            with self._guard:
                seconds = [records[row.hash].seconds for row in some]
                self._table.add_pages(model.model, segment, used, some, seconds)

    def drop_strays(self) -> None:
        """Deletes files of segments that the table does not know: of runs that were killed."""
        known = self._known()
        for segment in self._segments.on_disk():
            if segment not in known:
                self._segments.delete(segment)

    def reclaim(self, to_bytes: int | None = None) -> None:
        """Deletes segments without pages, and writes anew those that are mostly garbage; with to_bytes also others,
        those with the most garbage first, until all segments together are no larger or hold no garbage.

        Raises OSError, sqlite3.Error where there is no room to do so; then what is not done stays as it is.
        """

        known = self._known()
        order = sorted((live > 0, live - used, segment) for segment, (_, used, live) in known.items())
        for *_, segment in order:  # first those that cost nothing
            known = self._known()  # what was moved lies in one of them
            model, used, live = known[segment]
            too_much = to_bytes is not None and sum(used for _, used, _ in known.values()) > to_bytes
            if live and not (too_much and live < used) and used - live <= _GARBAGE * used:
                continue
            if live:
                self._empty(segment, model)
            with self._guard:
                self._table.drop_segment(segment)
            self._segments.delete(segment)

    def _known(self) -> dict[int, tuple[int, int, int]]:
        with self._guard:
            return self._table.segments()

    def _empty(self, segment: int, model: int) -> None:
        """Moves the pages of a segment to others; not those that are not there."""
        with self._guard:
            rows = [row for row in self._table.pages(model) if row.segment == segment]
        rows.sort(key=lambda row: row.offset)
        mapped = self._segments.mapped(segment, max((row.offset + row.size for row in rows), default=0))
        if mapped is None:
            return
        rows = [row for row in rows if row.offset >= 0 and row.size >= 0 and row.offset + row.size <= len(mapped)]
        for some in self._placed(model, rows, without=segment):
            old = {row.row: row for row in rows}
            data = [mapped.bytes[old[row.row].offset : old[row.row].offset + row.size] for row in some]
            self._write(some, data)
            with self._guard:
                self._table.move(some, model, some[-1].segment, some[-1].offset + some[-1].size)

    def _placed(self, model: int, rows: Sequence[PageRow], without: int = 0) -> list[list[PageRow]]:
        """The rows with a place for each, one list for each write."""
        with self._guard:
            found, number = self._table.open_segment(model), self._table.next_segment()
        segment, at = found if found is not None and found[0] != without else (number, 0)
        writes: list[list[PageRow]] = []
        first = at
        for row in rows:
            if at and at + row.size > MAX_BYTES:
                segment, at = (number if segment != number else number + 1), 0
                number = segment
                first = at
                writes.append([])
            if not writes or at - first > _AT_MOST:
                writes.append([])
                first = at
            writes[-1].append(row._replace(segment=segment, offset=at))
            at += row.size
        return [some for some in writes if some]

    def _write(self, rows: Sequence[PageRow], data: Sequence[bytes | memoryview]) -> None:
        first = rows[0]
        self._segments.write(first.segment, first.offset, data, new=first.offset == 0)
