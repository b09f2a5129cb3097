"""Brings the pages of chunks into memory: from memory, from the disk, or by encoding them.

What is encoded is put into the store as it comes, so that an interrupted run is gone on with. Where the store cannot
keep it, because the disk is full or the budget spent, the answer goes on and a note says so.
"""

from __future__ import annotations

import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selfroute.errors import SelfRouteError
from selfroute.memory.base import Progress
from selfroute.memory.pages.base import DEVICE, DISK, HOST, TIERS, MissingPages, Record
from selfroute.memory.pages.resident import Arrays, Resident
from selfroute.memory.pages.store import PageStore
from selfroute.memory.pages.tiers import Tier
from selfroute.models.paged.layout import Layout
from selfroute.types import Chunk

BATCH_PAGES = 32  # encoded at once
STAGE = "encode"
_WRITE_BYTES = 8 << 20  # encoded, until it is seen to that they are on the disk
_TRIES = 3

Encode = Callable[[list[Chunk]], Sequence[Arrays]]
"""The arrays of each chunk's page, which depend on nothing but its text."""


@dataclass(frozen=True, slots=True)
class PagerStats:
    """Of this pager. found: tier -> pages found there by page_in(). bytes_used, budgets: of the tiers in memory."""

    found: Mapping[str, int]
    encoded: int
    encode_seconds: float
    bytes_used: Mapping[str, int]
    budgets: Mapping[str, int]

    @property
    def hit_rate(self) -> float | None:
        """Share in [0, 1] of pages that did not have to be encoded; None before any was asked for."""
        asked = sum(self.found.values()) + self.encoded
        return sum(self.found.values()) / asked if asked else None


@dataclass(frozen=True, slots=True)
class Missing:
    """What page_in() would have to encode. seconds: by the pace of what is in the store; None without any."""

    pages: int
    tokens: int
    seconds: float | None


class Pager:
    """The pages of one model over one store. encode: raises what page_in() then raises.

    host_bytes: of gathered arrays that are kept for the next question, and again as many of pages that the store could
    not keep. to_device: makes of host arrays what the model works with, kept up to device_bytes of the former.
    """

    def __init__(
        self,
        store: PageStore,
        layout: Layout,
        encode: Encode,
        *,
        host_bytes: int,
        batch_pages: int = BATCH_PAGES,
        to_device: Callable[[Arrays], Any] | None = None,
        device_bytes: int = 0,
    ) -> None:
        self.store, self.layout = store, layout
        self._encode, self._batch_pages, self._to_device = encode, batch_pages, to_device
        self._host: Tier[NDArray[np.generic]] = Tier(host_bytes)
        self._device: Tier[Any] = Tier(device_bytes)
        self._unkept: OrderedDict[str, Record] = OrderedDict()
        self._unkept_bytes = 0
        self._found: Counter[str] = Counter()
        self._encoded, self._seconds = 0, 0.0
        self._notes: list[str] = []
        self._keeping = True
        self._mending = Lock()

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know: pages that could not be kept, damage that was met."""
        return (*self._notes, *self.store.notes)

    def page_in(
        self,
        chunks: Iterable[Chunk],
        budget_tokens: int | None = None,
        progress: Progress | None = None,
        *,
        onto: Resident | None = None,
    ) -> Resident:
        """Sees to it that the pages of these chunks can be read, and says which they are.

        budget_tokens: chunks are taken in their order for as long as they fit, those of `onto` counted first. onto:
        pages that were already read, which the new ones join. progress: called with pages encoded, and to encode.
        Raises what encoding raises; what was encoded by then is kept.
        """
        wanted = self._within(chunks, budget_tokens, onto)
        self._host.begin()
        self._device.begin()
        found = self._have(wanted)
        todo = [chunk for name, chunk in wanted.items() if name not in found]
        self._keeping = True
        lengths = self._encode_all(todo, progress)
        counts = Counter(map(self._tier_of, found))
        self._found.update(counts)
        hashes = tuple(sorted(wanted))
        self.store.touch(self.layout.fingerprint, hashes, found=counts, encoded=len(todo))
        return Resident(hashes, self._lengths(hashes, lengths), tuple(wanted[name] for name in hashes), len(todo), self)

    def missing(self, chunks: Iterable[Chunk]) -> Missing:
        """What page_in() would have to encode of these chunks, and about how long that takes."""
        wanted = self._within(chunks, None, None)
        found = self._have(wanted)
        n_tokens = [chunk.n_tokens for name, chunk in wanted.items() if name not in found]
        pace = self.store.pace(self.layout.fingerprint)
        return Missing(len(n_tokens), sum(n_tokens), None if pace is None else sum(n_tokens) / pace)

    def arrays(self, hashes: Sequence[str], chunks: Mapping[str, Chunk], names: Sequence[str] | None = None) -> Arrays:
        """The arrays of pages in this order; see Resident.arrays(). chunks: by hash, of what may have to be encoded."""
        wanted = [field.name for field in self.layout.fields] if names is None else list(names)
        which = _digest(hashes)
        found = {name: array for name in wanted if (array := self._host.get((which, name))) is not None}
        if lacking := [name for name in wanted if name not in found]:
            for name, array in self.gathered(hashes, chunks, lacking).items():
                array.flags.writeable = False
                found[name] = array
                self._host.put((which, name), array, array.nbytes, hashes)
        return {name: found[name] for name in wanted}

    def gathered(self, hashes: Sequence[str], chunks: Mapping[str, Chunk], names: Sequence[str]) -> Arrays:
        """arrays() without keeping them for the next question."""
        others: dict[str, Record] = {}
        for _ in range(_TRIES):
            try:
                return self.store.gather(self.layout, hashes, names, others={**self._unkept, **others}).arrays
            except MissingPages as error:
                with self._mending:  # several threads may read
                    self._encode_all([chunks[name] for name in error.hashes], None, others)
        return self.store.gather(self.layout, hashes, names, others={**self._unkept, **others}).arrays

    def on_device(self, hashes: Sequence[str], chunks: Mapping[str, Chunk], names: Sequence[str] | None = None) -> Any:
        """What the hook makes of arrays(); the arrays themselves without one."""
        key = _digest(hashes), "\0".join(names or ("",))
        held = self._device.get(key)
        if held is None:
            arrays = self.arrays(hashes, chunks, names)
            held = arrays if self._to_device is None else self._to_device(arrays)
            self._device.put(key, held, sum(array.nbytes for array in arrays.values()), hashes)
        return held

    def prefetch(self, hashes: Sequence[str]) -> None:
        """Has pages read from the disk ahead, without waiting."""
        with suppress(SelfRouteError):
            self.store.prefetch(self.layout.fingerprint, hashes)

    def pin(self, hashes: Iterable[str]) -> None:
        """Has this process not evict these pages from the disk, until each was unpinned as often."""
        self.store.pin(self.layout.fingerprint, hashes)

    def unpin(self, hashes: Iterable[str]) -> None:
        """Takes back a pin()."""
        self.store.unpin(self.layout.fingerprint, hashes)

    def evict(self) -> None:
        """Gives back the memory of the tiers above the disk; what a Resident gave out stays with who has it."""
        self._host.clear()
        self._device.clear()
        self._unkept.clear()
        self._unkept_bytes = 0

    def stats(self) -> PagerStats:
        """What this pager found and encoded, and the memory that its tiers take."""
        used = {HOST: self._host.used_bytes + self._unkept_bytes, DEVICE: self._device.used_bytes}
        budgets = {HOST: self._host.budget_bytes, DEVICE: self._device.budget_bytes}
        return PagerStats({tier: self._found[tier] for tier in TIERS}, self._encoded, self._seconds, used, budgets)

    # inside

    def _within(self, chunks: Iterable[Chunk], budget_tokens: int | None, onto: Resident | None) -> dict[str, Chunk]:
        """One chunk of each page, in the order in which they came."""
        wanted = onto.by_hash() if onto else {}
        room = None if budget_tokens is None else budget_tokens - sum(chunk.n_tokens for chunk in wanted.values())
        for chunk in chunks:
            if chunk.content_hash in wanted:
                continue
            if room is not None:
                room -= chunk.n_tokens
                if room < 0:
                    break
            wanted[chunk.content_hash] = chunk
        return wanted

    def _have(self, hashes: Iterable[str]) -> set[str]:
        names = list(hashes)
        try:
            found = self.store.have(self.layout.fingerprint, names)
        except SelfRouteError as error:
            self._note(error)
            found = set()
        return found | (self._unkept.keys() & set(names))

    def _tier_of(self, name: str) -> str:
        if self._device.holds(name):
            return DEVICE
        return HOST if self._host.holds(name) or name in self._unkept else DISK

    def _lengths(self, hashes: Sequence[str], encoded: Mapping[str, int]) -> NDArray[np.int32]:
        """(P,) int32. encoded: the lengths of pages that were just encoded."""
        try:
            lengths = self.store.lengths(self.layout.fingerprint, hashes)
        except SelfRouteError:
            lengths = np.full(len(hashes), -1, np.int32)
        for i in np.flatnonzero(lengths < 0).tolist():
            record = self._unkept.get(hashes[i])
            lengths[i] = record.n_tokens if record else encoded.get(hashes[i], 0)
        return lengths

    def _encode_all(
        self, chunks: Sequence[Chunk], progress: Progress | None, unkept: dict[str, Record] | None = None
    ) -> dict[str, int]:
        """Encodes chunks and puts them into the store; returns the tokens of each page. unkept: takes those that the
        store could not keep."""
        lengths: dict[str, int] = {}
        fresh: dict[str, Record] = {}
        try:
            for first in range(0, len(chunks), self._batch_pages):
                if progress is not None:
                    progress(STAGE, first, len(chunks))
                batch = self._encode_batch(chunks[first : first + self._batch_pages])
                lengths |= {name: record.n_tokens for name, record in batch.items()}
                fresh |= batch
                if sum(len(record.data) for record in fresh.values()) >= _WRITE_BYTES:
                    self._keep(fresh, unkept)
                    fresh = {}
        finally:
            self._keep(fresh, unkept)
        if progress is not None and chunks:
            progress(STAGE, len(chunks), len(chunks))
        return lengths

    def _encode_batch(self, chunks: Sequence[Chunk]) -> dict[str, Record]:
        started = time.perf_counter()
        pages = self._encode(list(chunks))
        seconds = time.perf_counter() - started
        self._encoded += len(chunks)
        self._seconds += seconds
        lengths = [self._n_tokens(arrays, chunk) for arrays, chunk in zip(pages, chunks, strict=True)]
        total = max(1, sum(lengths))
        return {
            chunk.content_hash: Record(n, self.layout.pack(arrays, n), seconds * n / total)
            for chunk, arrays, n in zip(chunks, pages, lengths, strict=True)
        }

    def _n_tokens(self, arrays: Arrays, chunk: Chunk) -> int:
        """A page's tokens as the model counts them, which may be more than the chunk's."""
        of_tokens = next((field.name for field in self.layout.fields if field.per_token), None)
        return chunk.n_tokens if of_tokens is None else len(arrays[of_tokens])

    def _keep(self, records: Mapping[str, Record], unkept: dict[str, Record] | None) -> None:
        """Writes pages to the store. Those that it does not take are held here while there is room, and given to
        `unkept` if it is wanted."""
        kept = self._written(records)
        for name, record in records.items():
            if name in kept:
                continue
            if unkept is not None:
                unkept[name] = record
            if name not in self._unkept and self._unkept_bytes + len(record.data) <= self._host.budget_bytes:
                self._unkept[name] = record
                self._unkept_bytes += len(record.data)

    def _written(self, records: Mapping[str, Record]) -> set[str]:
        """Those of the pages that are in the store then. After a failure the next are not tried in the same pass."""
        if not records or not self._keeping:
            return set()
        try:
            for name, record in records.items():
                self.store.put_record(self.layout, name, record)
            self.store.flush()
            kept = self.store.have(self.layout.fingerprint, records)
        except SelfRouteError as error:
            self._keeping = False
            self._note(error)
            return set()
        if len(kept) < len(records):
            self._note_once("the budget of pages is spent: some are encoded again at the next question")
        return kept

    def _note(self, error: SelfRouteError) -> None:
        self._note_once(f"{error.message}: they are encoded again at the next question")

    def _note_once(self, note: str) -> None:
        if note not in self._notes:
            self._notes.append(note)


def _digest(hashes: Sequence[str]) -> str:
    return blake2b("\0".join(hashes).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
