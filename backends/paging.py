"""Reads every chunk of an index as pages: each is encoded once, whatever is asked, and one global read finds the best.

What a page is encoded to depends on its text alone, so an edit costs the chunks that changed, and a chunk that moved
costs nothing. The pages lie beside the index, for every process.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from time import perf_counter
from typing import TYPE_CHECKING, Any

from selfroute.backends.base import Progress
from selfroute.backends.scoring import N_BEST, Forecast, Scored
from selfroute.deadline import Deadline
from selfroute.errors import OutOfTimeError, SelfRouteError
from selfroute.models.base import PageModel
from selfroute.types import Chunk

if TYPE_CHECKING:
    from selfroute.memory.index import Index
    from selfroute.memory.pages.pager import Pager
    from selfroute.memory.pages.resident import Resident

HOST_BYTES = 2 << 30  # of arrays that are kept between the questions of one process
BUDGET_BYTES = 20 << 30  # of the disk
DEAD = 2.0  # pages to the living, above which a question drops those of texts that are gone: a branch may come back

# First guesses, of two cores without other work.
ENCODED_PER_SECOND = 4_000  # tokens
READ_PER_SECOND = 2_000_000  # tokens of pages that are encoded


def are_kept(directory: Path) -> bool:
    """Whether pages were ever encoded for the index in a folder; nothing is opened."""
    from selfroute.memory.pages.opening import FOLDER
    from selfroute.memory.pages.table import FILE

    return (directory / FOLDER / FILE).is_file()


class Pages:
    """The pages of an index by one model. What is opened is opened when it is first needed."""

    def __init__(
        self, index: Index, model: PageModel, *, budget_bytes: int = BUDGET_BYTES, host_bytes: int = HOST_BYTES
    ) -> None:
        """budget_bytes: of the disk. host_bytes: of arrays that are kept in memory between questions; of a corpus that
        takes more than half of them no more than parts are held at a time."""
        self.index, self.model, self._budget_bytes, self.host_bytes = index, model, budget_bytes, host_bytes
        self.notes: tuple[str, ...] = ()  # for the user
        self._pager: Pager | None = None
        self._own: TemporaryDirectory[str] | None = None
        self._deadline: Deadline | None = None
        self._fresh: set[str] = set()  # hashes of what was encoded for the question
        self._told: tuple[int, Forecast] | None = None  # the last forecast, and the state of the index it is of
        self._paging = Lock()

    @property
    def pager(self) -> Pager:
        """The pages of this model, in memory and beside the index; where none can be kept, for this process alone."""
        if self._pager is None:
            from selfroute.memory.pages.opening import FOLDER
            from selfroute.memory.pages.pager import Pager
            from selfroute.memory.pages.store import PageStore

            try:
                store = PageStore.open(self.index.directory / FOLDER, budget_bytes=self._budget_bytes)
            except SelfRouteError as error:
                self._own = TemporaryDirectory(prefix="selfroute-pages-")
                self.notes = (f"{error.message}: they are encoded again by the next process",)
                store = PageStore.open(Path(self._own.name), budget_bytes=self._budget_bytes)
            self._pager = Pager(store, self.model.layout, self._encode, host_bytes=self.host_bytes)
        return self._pager

    def close(self) -> None:
        """Writes what is not yet written."""
        if self._pager is not None:
            self._pager.store.close()
            self._pager = None
        if self._own is not None:
            self._own.cleanup()
            self._own = None

    def encode_all(self, progress: Progress | None = None) -> Resident:
        """Encodes what is not encoded, and drops the pages of texts that are gone."""
        resident, _ = self._paged_in(list(self.index.chunks()), progress or (lambda stage, done, total: None), None)
        self._collect(resident, 1.0)
        return resident

    def forecast(self) -> Forecast:
        """What reading everything will take; nothing is read."""
        generation = self.index.stats.generation
        if self._told is not None and self._told[0] == generation:
            return self._told[1]
        store, fingerprint = self.pager.store, self.model.layout.fingerprint
        chunks = list(self.index.chunks())
        there = store.have(fingerprint, [chunk.content_hash for chunk in chunks])
        missing = {chunk.content_hash: chunk.n_tokens for chunk in chunks if chunk.content_hash not in there}
        n_known = sum(chunk.content_hash in there for chunk in chunks)
        pace = store.pace(fingerprint)
        encoding = sum(missing.values()) / (pace or ENCODED_PER_SECOND)
        finding = sum(chunk.n_tokens for chunk in chunks) / READ_PER_SECOND
        told = Forecast(encoding + finding, n_known, finding, encoding, 0.0, pace is not None)
        self._told = generation, told
        return told

    def score_all(
        self,
        question: str,
        progress: Progress,
        *,
        known_ids: Collection[str] = (),
        n_best: int = N_BEST,
        deadline: Deadline | None = None,
    ) -> Scored:
        """Like scoring.score_all: the best chunks by the pointer's score of their page.

        known_ids: chunks that another route has read. deadline: pages that are not encoded then are left out.
        """
        found, started = Scored(n_best), perf_counter()
        chunks = list(self.index.chunks())
        resident, fresh = self._paged_in(chunks, progress, deadline)
        found.scoring_seconds = perf_counter() - started
        scores: dict[str, float] = {}
        if len(resident):
            reading = self.model.ask(question, resident.lengths, self._arrays(resident))
            found.n_chosen = reading.n_read if reading.n_read < len(resident) else 0
            scores = dict(zip(resident.hashes, reading.pages.tolist(), strict=True))
        for place, chunk in enumerate(chunks):
            found.n_chunks += 1
            score = scores.get(chunk.content_hash)
            if score is None:
                found.n_left += 1
                found.left_tokens += chunk.n_tokens
                continue
            found.n_tokens += chunk.n_tokens
            if chunk.content_hash not in fresh:
                found.n_known += 1
            if chunk.content_hash not in fresh or chunk.id in known_ids:
                found.cached_tokens += chunk.n_tokens
            found.offer(score, place, chunk)
        found.finding_seconds = perf_counter() - started - found.scoring_seconds
        return found

    def _paged_in(
        self, chunks: list[Chunk], progress: Progress, deadline: Deadline | None
    ) -> tuple[Resident, frozenset[str]]:
        """The pages of the chunks, those without that are not encoded when the time is up; hashes of the new ones."""
        with self._paging:
            self._deadline = deadline
            try:
                resident = self.pager.page_in(chunks, progress=progress)
            except OutOfTimeError:
                self._deadline = None
                there = self.pager.store.have(self.model.layout.fingerprint, [chunk.content_hash for chunk in chunks])
                resident = self.pager.page_in([chunk for chunk in chunks if chunk.content_hash in there])
            else:
                if resident.n_encoded:
                    self._collect(resident, DEAD)
            finally:
                self._deadline = None
            if self._fresh:
                self._told = None
            fresh, self._fresh = frozenset(self._fresh), set()
            return resident, fresh

    def _collect(self, resident: Resident, most: float) -> None:
        """Drops the pages of texts that are gone, where there are more than so many times the living."""
        fingerprint = self.model.layout.fingerprint
        n = sum(model.pages for model in self.pager.store.stats().models if model.fingerprint == fingerprint)
        if n > most * len(resident):
            with suppress(SelfRouteError):  # they only take room
                self.pager.store.collect(set(resident.hashes), fingerprint)

    def _arrays(self, resident: Resident) -> Mapping[str, Any]:
        """All of them at once where that is little, else as they are asked for."""
        import numpy as np

        from selfroute.memory.pages.streamed import Streamed

        n_bytes = int(resident.pager.layout.record_bytes(resident.lengths.astype(np.int64)).sum())
        return resident.arrays() if n_bytes <= self.host_bytes // 2 else Streamed(resident)

    def _encode(self, chunks: list[Chunk]) -> Sequence[Any]:
        if self._deadline is not None:
            self._deadline.check()
        self._fresh.update(chunk.content_hash for chunk in chunks)
        return self.model.encode([chunk.text for chunk in chunks])
