"""Reads every chunk of an index as pages: each is encoded once, whatever is asked, and one global read finds the best.

What a page is encoded to depends on its text alone, so an edit costs the chunks that changed, and a chunk that moved
costs nothing. The pages lie beside the index, for every process.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from shutil import disk_usage
from tempfile import TemporaryDirectory
from threading import Lock
from time import perf_counter
from typing import TYPE_CHECKING, Any

from selfroute.backends.base import Progress
from selfroute.backends.page_signals import PageSignals
from selfroute.backends.scoring import N_BEST, Forecast, Scored
from selfroute.deadline import Deadline
from selfroute.errors import OutOfTimeError, SelfRouteError
from selfroute.memory.location import can_write
from selfroute.models.base import PageModel
from selfroute.types import Chunk

if TYPE_CHECKING:
    from selfroute.memory.index import Index
    from selfroute.memory.pages.pager import Pager
    from selfroute.memory.pages.resident import Resident

HOST_BYTES = 2 << 30  # of arrays that are kept between the questions of one process
BUDGET_BYTES = 20 << 30  # of the disk
SPARE_BYTES = 256 << 20  # of the disk that pages leave free
BATCH_PAGES, STEP = 8, 4  # pages that an end loses at most, and after which the clock is looked at
DEAD = 2.0  # pages to the living, above which a question drops those of texts that are gone: a branch may come back

# First guesses, of two cores without other work.
ENCODED_PER_SECOND = 4_000  # tokens
SHORT_SECONDS = 0.2  # of a global read that is done even when the time is up
READ_PER_SECOND = 2_000_000  # tokens of pages that are encoded


def are_kept(directory: Path) -> bool:
    """Whether pages were ever encoded for the index in a folder; nothing is opened."""
    from selfroute.memory.pages.opening import FOLDER
    from selfroute.memory.pages.table import FILE

    return (directory / FOLDER / FILE).is_file()


@dataclass(frozen=True, slots=True)
class State:
    """What of an index is encoded. n_known: chunks that are. n_missing, missing_tokens: texts that are not.

    n_tokens: of all chunks. pace: tokens a second at which what there is was encoded, None without any.
    """

    n_known: int
    n_missing: int
    missing_tokens: int
    n_tokens: int
    pace: float | None


@dataclass(frozen=True, slots=True)
class _Read:
    """What is kept of a reading. pages: their scores, in their order. n_wholly: of them, those read wholly."""

    pages: Sequence[float]
    n_wholly: int
    signals: PageSignals


class Pages:
    """The pages of an index by one model. What is opened is opened when it is first needed."""

    def __init__(
        self,
        index: Index,
        model: PageModel,
        *,
        budget_bytes: int = BUDGET_BYTES,
        host_bytes: int = HOST_BYTES,
        insists: bool = True,
    ) -> None:
        """budget_bytes: of the disk. host_bytes: of arrays that are kept in memory between questions; of a corpus that
        takes more than half of them no more than parts are held at a time. insists: a question encodes what is missing
        whenever it has the time; False leaves it to the route where that is to no end, see finding.py."""
        self.index, self.model, self._budget_bytes, self.host_bytes = index, model, budget_bytes, host_bytes
        self.insists = insists
        self.notes: tuple[str, ...] = ()  # for the user
        self._pager: Pager | None = None
        self._own: TemporaryDirectory[str] | None = None
        self._deadline: Deadline | None = None
        self._fresh: set[str] = set()  # hashes of what was encoded for the question
        self._state: tuple[int, State] | None = None  # the last one, and the generation of the index it is of
        self._last: tuple[int, str, _Read] | None = None  # the last reading of all pages, for its generation
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
            self._pager = Pager(
                store, self.model.layout, self._encode, host_bytes=self.host_bytes, batch_pages=BATCH_PAGES
            )
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

    def clean(self) -> int:
        """Drops the pages of other models and of texts that are gone; how many there were."""
        store, own = self.pager.store, self.model.layout.fingerprint
        gone = store.collect({chunk.content_hash for chunk in self.index.chunks()}, own)
        others = [model.fingerprint for model in store.stats().models if model.fingerprint != own]
        return gone + sum(store.collect((), fingerprint) for fingerprint in others)

    def state(self) -> State:
        """What is encoded; nothing is, where no store was made yet, and then none is made."""
        generation = self.index.stats.generation
        if self._state is not None and self._state[0] == generation:
            return self._state[1]
        found = self._counted() if self._pager is not None or are_kept(self.index.directory) else None
        if found is None:
            stats = self.index.stats
            found = State(0, stats.chunks, stats.tokens, stats.tokens, None)
        self._state = generation, found
        return found

    def _counted(self) -> State | None:
        store, fingerprint = self.pager.store, self.model.layout.fingerprint
        chunks = list(self.index.chunks())
        try:
            there = store.have(fingerprint, [chunk.content_hash for chunk in chunks])
            pace = store.pace(fingerprint)
        except SelfRouteError:  # it is said when they are needed
            return None
        missing = {chunk.content_hash: chunk.n_tokens for chunk in chunks if chunk.content_hash not in there}
        n_known = sum(chunk.content_hash in there for chunk in chunks)
        return State(n_known, len(missing), sum(missing.values()), sum(chunk.n_tokens for chunk in chunks), pace)

    def forecast(self) -> Forecast:
        """What reading everything will take, without the last reading; nothing is read."""
        state = self.state()
        encoding = state.missing_tokens / (state.pace or ENCODED_PER_SECOND)
        finding = state.n_tokens / READ_PER_SECOND
        return Forecast(encoding + finding, state.n_known, finding, encoding, 0.0, state.pace is not None)

    def missing_bytes(self) -> int:
        """About what the pages that are missing take on the disk."""
        state = self.state()
        return state.n_missing * int(
            self.model.layout.record_bytes(-(-state.missing_tokens // max(1, state.n_missing)))
        )

    def missing(self) -> frozenset[str]:
        """Content hashes of what is not encoded."""
        chunks = list(self.index.chunks())
        return frozenset(chunk.content_hash for chunk in chunks) - {c.content_hash for c in self._encoded(chunks)}

    def cannot_keep(self, n_bytes: int) -> str:
        """Why so many bytes of further pages would not be there for the next process, or ""."""
        from selfroute.memory.pages.opening import FOLDER

        if self._own is not None:
            return self.notes[0]
        folder = self.index.directory / FOLDER
        place = folder if folder.is_dir() else self.index.directory
        if folder.is_symlink() or not place.is_dir() or not can_write(place):
            return f"{folder} cannot be written, and another process would encode it again (--index-dir DIR)"
        if n_bytes > self._budget_bytes:
            return (
                f"{n_bytes / 1e9:,.1f} GB of pages are more than the {self._budget_bytes / 1e9:,.0f} GB they may take"
            )
        with suppress(OSError):
            if n_bytes + SPARE_BYTES > (free := disk_usage(place).free):
                return f"{n_bytes / 1e6:,.0f} MB of pages are too much for a disk with {free / 1e6:,.0f} MB left"
        return ""

    def look(self, question: str) -> PageSignals | None:
        """The signals of a global read, where everything is encoded already; None elsewhere. Nothing is encoded."""
        state = self.state()
        if state.n_missing or not state.n_known:
            return None
        chunks = list(self.index.chunks())
        with self._paging:
            resident = self.pager.page_in(chunks)
        return self._read(question, resident, self.index.stats.generation).signals

    def score_all(
        self,
        question: str,
        progress: Progress,
        *,
        known_ids: Collection[str] = (),
        n_best: int = N_BEST,
        deadline: Deadline | None = None,
        encodes: bool = True,
    ) -> Scored:
        """Like scoring.score_all: the best chunks by the pointer's score of their page.

        known_ids: chunks that another route has read. deadline: pages that are not encoded then are left out.
        encodes: False leaves out all that are not encoded.
        """
        found, started = Scored(n_best), perf_counter()
        generation, chunks = self.index.stats.generation, list(self.index.chunks())
        wanted = chunks if encodes else self._encoded(chunks)
        reading = sum(chunk.n_tokens for chunk in wanted) / READ_PER_SECOND
        until = deadline and deadline.earlier(reading)
        resident, fresh = self._paged_in(wanted, progress, until)
        found.scoring_seconds = perf_counter() - started
        scores: dict[str, float] = {}
        if len(resident) and (deadline is None or reading <= max(SHORT_SECONDS, deadline.left)):
            whole = len(resident) == len({chunk.content_hash for chunk in chunks})
            read = self._read(question, resident, generation if whole else None)
            found.signals = read.signals
            found.n_chosen = read.n_wholly if read.n_wholly < len(resident) else 0
            scores = dict(zip(resident.hashes, read.pages, strict=True))
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

    def forget(self) -> None:
        """Drops the last reading, so that the next one is done whatever was asked before."""
        self._last = None

    @property
    def encode_seconds(self) -> float:
        """That encoding the pages that are there took, by whichever processes."""
        fingerprint = self.model.layout.fingerprint
        return sum(model.seconds for model in self.pager.store.stats().models if model.fingerprint == fingerprint)

    def _read(self, question: str, resident: Resident, generation: int | None) -> _Read:
        """One global read. generation: of the index whose every page is read, so that it need not be done twice."""
        last = self._last
        if generation is not None and last is not None and last[:2] == (generation, question):
            return last[2]
        reading = self.model.ask(question, resident.lengths, self._arrays(resident))
        found = _Read(reading.pages.tolist(), reading.n_read, PageSignals.of(reading, resident.hashes))
        if generation is not None:
            self._last = generation, question, found
        return found

    def _encoded(self, chunks: list[Chunk]) -> list[Chunk]:
        there = self.pager.store.have(self.model.layout.fingerprint, [chunk.content_hash for chunk in chunks])
        return [chunk for chunk in chunks if chunk.content_hash in there]

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
                resident = self.pager.page_in(self._encoded(chunks))
            else:
                if resident.n_encoded:
                    self._collect(resident, DEAD)
            finally:
                self._deadline = None
            if self._fresh:
                self._state = None
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
        found: list[Any] = []
        for first in range(0, len(chunks), STEP):
            if self._deadline is not None:
                self._deadline.check()
            found += self.model.encode([chunk.text for chunk in chunks[first : first + STEP]])
        self._fresh.update(chunk.content_hash for chunk in chunks)
        return found
