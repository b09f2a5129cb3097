"""Arrays of many pages put together from the segments that hold them, each record checked when it is first read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from selfroute.memory.pages.base import Gathered, Record
from selfroute.memory.pages.checksums import body_sum, head_sum, seed
from selfroute.memory.pages.rows import BODY, HEAD
from selfroute.memory.pages.segments import Mapped, Segments
from selfroute.models.paged.layout import Field, Layout

_BLOCK = 32  # pages that are checked before they are copied, so that they are still in the processor's cache

_CHECKING = ("size", "n_tokens", "head_sum", "body_sum")
_HEADS_BYTES = 64 << 20  # read at once

Places = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Held:
    """The rows of a model as they are at one moment. See Rows."""

    mark: str
    hashes: Sequence[str]
    columns: Mapping[str, Places]
    checked: NDArray[np.uint8]


class Gathering:
    """One request: pages by their places in `held`, or as records where the place is -1."""

    def __init__(self, layout: Layout, names: Sequence[str], held: Held, segments: Segments) -> None:
        self._layout, self._held, self._segments = layout, held, segments
        self._mapped: dict[int, Mapped] = {}
        self._fields = [layout.field(name) for name in names]
        per_token = [field.per_token for field in self._fields]
        self._parts = (BODY if any(per_token) else 0) | (0 if all(per_token) and per_token else HEAD)

    def unfit(self, at: Places) -> Places:
        """Those of the places (P,) whose row cannot be true, or whose bytes are not there."""
        column = {name: values[at] for name, values in self._held.columns.items()}
        # A length is only believed within what a record can be, so that nothing overflows.
        n_tokens = np.clip(column["n_tokens"], 0, 1 << 32)
        fits = (n_tokens == column["n_tokens"]) & (self._layout.record_bytes(n_tokens) == column["size"])
        fits &= (column["offset"] >= 0) & (column["offset"] < 1 << 48) & (column["size"] < 1 << 40)
        ends = column["offset"] + column["size"]
        for segment in np.unique(column["segment"]).tolist():
            here = fits & (column["segment"] == segment)
            if here.any():
                mapped = self._segments.mapped(segment, int(ends[here].max()))
                fits[here] &= ends[here] <= (0 if mapped is None else len(mapped))
                if mapped is not None:
                    self._mapped[segment] = mapped  # it may be deleted by the time that it is read
        unfit: Places = at[~fits]
        return unfit

    def gather(self, at: Places, records: Sequence[Record | None]) -> tuple[Gathered, list[int]]:
        """The arrays, and the places of pages that are not what was written: then the arrays are of no use.

        at: (P,), each fit or -1. records: (P,), of the pages whose place is -1.
        """
        stored = np.flatnonzero(at >= 0)
        lengths = np.zeros(len(at), np.int64)
        lengths[stored] = self._held.columns["n_tokens"][at[stored]]
        for i, record in enumerate(records):
            if record is not None:
                lengths[i] = record.n_tokens
        starts = np.cumsum(lengths) - lengths
        arrays = {
            field.name: np.empty(((int(lengths.sum()) if field.per_token else len(at)), *field.shape), field.dtype)
            for field in self._fields
        }
        gathered = Gathered(lengths.astype(np.int32), arrays)
        for i, record in enumerate(records):
            if record is not None:
                self._copy_record(gathered, i, int(starts[i]), record)
        damaged = [
            place
            for source, offsets, block in self._blocks(at, stored)
            for place in self._copy_block(gathered, source, offsets, block, at, starts)
        ]
        return gathered, damaged

    def _copy_record(self, gathered: Gathered, i: int, start: int, record: Record) -> None:
        page = self._layout.view(record.data, record.n_tokens)
        for field in self._fields:
            array = gathered.arrays[field.name]
            if field.per_token:
                array[start : start + record.n_tokens] = page[field.name]
            else:
                array[i] = page[field.name]

    def _blocks(self, at: Places, stored: Places) -> Iterator[tuple[Mapped, Places, Places]]:
        """(bytes, where in them each record begins, positions in the request), in the order of the disk.

        Blocks are small where records are to be checked. Where nothing of the tokens is wanted the records' first parts
        are read by themselves: a mapping would be brought in page by page around each.
        """
        columns, checked = self._held.columns, self._held.checked
        segments, offsets = columns["segment"][at[stored]], columns["offset"][at[stored]]
        ordered = stored[np.lexsort((offsets, segments))]
        for segment in np.unique(segments).tolist():
            mapped = self._mapped.get(segment)
            if mapped is None:
                continue  # no pages but those of no bytes
            here = ordered[columns["segment"][at[ordered]] == segment]
            known = bool(np.all(checked[at[here]] & self._parts == self._parts))
            size, heads = len(here) if known else _BLOCK, not self._parts & BODY
            if heads:
                size = max(1, _HEADS_BYTES // max(1, self._layout.head_bytes))
            for first in range(0, len(here), size):
                block = here[first : first + size]
                own = columns["offset"][at[block]]
                read = self._segments.heads(segment, own.tolist(), self._layout.head_bytes) if heads else None
                if read is None:
                    yield mapped, own, block
                else:
                    yield read, np.arange(len(block)) * self._layout.head_bytes, block

    def _copy_block(
        self, gathered: Gathered, source: Mapped, offsets: Places, block: Places, at: Places, starts: Places
    ) -> list[int]:
        """Copies the pages of a block that are as they were written; returns the places of the others."""
        places = at[block]
        todo = self._held.checked[places] & self._parts != self._parts
        if damaged := self._damaged(source, offsets[todo], places[todo]):
            return damaged
        n_tokens = self._held.columns["n_tokens"][places]
        within = self._layout.places(n_tokens)
        for field in self._fields:
            array, sources = gathered.arrays[field.name], offsets + within[field.name]
            if not array.nbytes:
                continue
            if field.per_token:
                _copy_runs(array, source, sources, starts[block], n_tokens, field.n_bytes)
            else:
                _copy_rows(array, field, source, sources, block)
        return []

    def _damaged(self, source: Mapped, offsets: Places, places: Places) -> list[int]:
        """Those of the places whose records are not what was written; what is right is noted as checked."""
        held, head_bytes, bytes_ = self._held, self._layout.head_bytes, source.bytes
        columns = [offsets.tolist(), *(held.columns[name][places].tolist() for name in _CHECKING)]
        parts = (self._parts & ~held.checked[places]).tolist()
        damaged = []
        for place, part, start, size, n_tokens, head, body in zip(places.tolist(), parts, *columns, strict=True):
            own, middle = seed(held.mark, held.hashes[place], n_tokens), start + head_bytes
            if (part & HEAD and head_sum(bytes_[start:middle], own) != head) or (
                part & BODY and body_sum(bytes_[middle : start + size], own) != body
            ):
                damaged.append(place)
        held.checked[places] |= np.where(np.isin(places, damaged), 0, self._parts).astype(np.uint8)
        return damaged


def _copy_runs(
    array: NDArray[np.generic], mapped: Mapped, sources: Places, starts: Places, n_tokens: Places, n_bytes: int
) -> None:
    """Copies the tokens of each page. Slices of memoryviews cost a third of what those of arrays do."""
    target, source = array.reshape(-1).view(np.uint8).data, mapped.bytes
    sizes = n_tokens * n_bytes
    first = starts * n_bytes
    for to, stop, begin, end in zip(
        first.tolist(), (first + sizes).tolist(), sources.tolist(), (sources + sizes).tolist(), strict=True
    ):
        target[to:stop] = source[begin:end]


def _copy_rows(array: NDArray[np.generic], field: Field, mapped: Mapped, sources: Places, block: Places) -> None:
    """Copies a field that is as large in every page, at once."""
    size = field.n_bytes
    windows = as_strided(mapped.data, (len(mapped) - size + 1, size), (1, 1), writeable=False)
    array.reshape(len(array), -1).view(np.uint8)[block] = windows[sources]
