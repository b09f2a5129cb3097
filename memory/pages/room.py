"""Which pages may stay: pins, the budget, and what is dropped when pages are evicted or collected."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from selfroute.errors import SelfRouteError
from selfroute.memory.pages import eviction, opening
from selfroute.memory.pages.base import Record
from selfroute.memory.pages.shelf import Shelf
from selfroute.memory.pages.table import PageTable, Worth
from selfroute.memory.pages.writing import Writer

_SLACK = 0.1  # of the budget is freed beyond what is needed, so that eviction does not come again at once


class Room:
    """See PageStore, whose methods these are; budget_bytes: of the segment files together."""

    def __init__(self, shelf: Shelf, budget_bytes: int | None) -> None:
        self.budget_bytes = budget_bytes
        self._shelf = shelf
        self._pins: Counter[tuple[str, str]] = Counter()

    def pin(self, fingerprint: str, hashes: Iterable[str]) -> None:
        """Has this process neither evict nor collect these pages, until each was unpinned as often."""
        with self._shelf.lock:
            self._pins.update((fingerprint, name) for name in hashes)

    def unpin(self, fingerprint: str, hashes: Iterable[str]) -> None:
        """Takes back a pin()."""
        with self._shelf.lock:
            self._pins.subtract((fingerprint, name) for name in hashes)
            self._pins = +self._pins

    def evict(self, to_bytes: int) -> int:
        """See PageStore.evict()."""
        try:
            return self._evict(to_bytes)
        except SelfRouteError as error:
            if not opening.is_full(error) or not self._free_segment():
                raise
        return self._evict(to_bytes)

    def _evict(self, to_bytes: int) -> int:
        with self._shelf.locked() as (table, writer):
            worth = self._worth(table)
            excess = int(worth.sizes.sum()) - to_bytes
            gone = eviction.worst(eviction.of_kept(worth), worth.sizes, excess, self._may_go(table, worth))
            self._drop(table, worth, gone)
            writer.reclaim(to_bytes)
            return len(gone)

    def collect(self, live_hashes: Collection[str], fingerprint: str | None = None) -> int:
        """See PageStore.collect()."""
        live = live_hashes if isinstance(live_hashes, set | frozenset) else set(live_hashes)
        with self._shelf.locked() as (table, writer):
            worth = self._worth(table)
            dead = np.array([name not in live for name in worth.hashes], bool)
            if fingerprint is not None:
                model = self._shelf.model(fingerprint)
                dead &= worth.models == (model.model.model if model else -1)
            gone = np.flatnonzero(dead & self._may_go(table, worth))
            self._drop(table, worth, gone)
            writer.drop_strays()
            writer.reclaim()
            return len(gone)

    def make(self, table: PageTable, writer: Writer, model: int, fresh: Sequence[Record]) -> int:
        """The bytes that the budget has room for, after pages of clearly less value were dropped for new ones.

        Of a corpus that is larger than the budget, what came first stays, so that each reading finds as much as fits;
        dropping the oldest instead would find nothing.
        """
        n_bytes = sum(len(record.data) for record in fresh)
        with self._shelf.lock:
            free = n_bytes if self.budget_bytes is None else self.budget_bytes - table.used_bytes()
        if self.budget_bytes is None or n_bytes <= free:
            return free
        worth = self._worth(table)
        live = int(worth.sizes.sum())
        if live + n_bytes > self.budget_bytes:
            of_all, own = eviction.with_new(worth, model, sum(record.seconds for record in fresh), n_bytes)
            less = self._may_go(table, worth) & (of_all * eviction.GAIN < own)
            excess = live + n_bytes - self.budget_bytes + int(self.budget_bytes * _SLACK)
            gone = eviction.worst(of_all, worth.sizes, excess, less)
            self._drop(table, worth, gone)
            live -= int(worth.sizes[gone].sum())
        writer.reclaim(max(live, self.budget_bytes - n_bytes))
        with self._shelf.lock:
            return self.budget_bytes - table.used_bytes()

    def _free_segment(self) -> bool:
        """Deletes the file of the segment with the least that is pinned, then the least that is kept; its pages are not
        found any more, even before the table can say so."""
        with self._shelf.locked() as (table, _):
            worth = self._worth(table)
            pinned = ~self._may_go(table, worth)
            live = Counter(dict.fromkeys(self._shelf.segments.on_disk(), 0))
            for segment, size, keep in zip(worth.segments.tolist(), worth.sizes.tolist(), pinned, strict=True):
                live[segment] += size + (int(keep) << 50)
            victim = min(live, key=live.__getitem__, default=None)
            if victim is None or live[victim] >= 1 << 50:
                return False
            self._shelf.segments.delete(victim)
            return True

    def _worth(self, table: PageTable) -> Worth:
        with self._shelf.lock:
            return table.worth()

    def _may_go(self, table: PageTable, worth: Worth) -> NDArray[np.bool_]:
        """(P,) bool: not pinned."""
        with self._shelf.lock:
            pins = {
                (known.model.model, name)
                for fingerprint, name in self._pins
                if (known := self._shelf.model(fingerprint)) is not None
            }
        if not pins:
            return np.ones(len(worth.rows), bool)
        return np.array([page not in pins for page in zip(worth.models.tolist(), worth.hashes, strict=True)], bool)

    def _drop(self, table: PageTable, worth: Worth, gone: NDArray[np.int64]) -> None:
        if len(gone):
            with self._shelf.lock:
                table.drop(worth.rows[gone].tolist())
