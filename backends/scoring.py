"""Reads every chunk of an index by its score alone, and keeps the best: what was scored before is not read again.

The reader's scores are absolute, so chunks that were scored in different runs, by different processes and beside
different neighbours can be compared. Two passes over the index: the first takes what is known, the second reads the
rest, a batch at a time; what a batch gives is kept before the next one is begun.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from math import inf
from time import perf_counter
from typing import TYPE_CHECKING

from selfroute.backends.base import Progress
from selfroute.memory.reader_scores import ReaderScores, can_keep, chunk_key
from selfroute.models.base import ChunkScorer
from selfroute.types import Chunk

if TYPE_CHECKING:
    from selfroute.memory.index import Index

BATCH_CHUNKS = 32
N_BEST = 16  # chunks for the last reading, 4,000 tokens: a list has at most 12 answers
FULL_CHUNK = 256  # tokens
LOADING_SECONDS = 1.0  # of the reader and a first batch
SLOW = 1.5  # factor on the slowest batch so far, before the next one is begun
LONG_SECONDS = 5.0  # a reading that takes longer is announced

# Of the trained reader on two cores without other work, until it was measured where the index lies.
TOKENS_PER_SECOND = 20_000
SCAN_TOKENS_PER_SECOND = 1_000_000  # of going through an index whose scores are known


@dataclass(slots=True)
class Scored:
    """The best chunks so far, and what all of them came to.

    n_known: those whose scores were kept of an earlier reading; cached_tokens: theirs, and those of known_ids.
    n_unread: those for which there was no time.
    """

    n_best: int
    n_chunks: int = 0
    n_tokens: int = 0
    n_known: int = 0
    cached_tokens: int = 0
    n_unread: int = 0
    _kept: list[tuple[float, int, Chunk]] = field(default_factory=list)

    def best(self) -> list[Chunk]:
        """The best chunks, best first; of equal ones the earlier in the index."""
        self._kept.sort(key=lambda kept: (-kept[0], kept[1]))
        del self._kept[self.n_best :]
        return [chunk for _, _, chunk in self._kept]

    def offer(self, score: float, place: int, chunk: Chunk) -> None:
        """Keeps the chunk if it is among the best. place: in the index."""
        if score > -inf:
            self._kept.append((score, place, chunk))
        if len(self._kept) > 16 * self.n_best:
            self.best()


@dataclass(frozen=True, slots=True)
class Forecast:
    """What scoring every chunk will take. n_known: about as many chunks are known already."""

    seconds: float
    n_known: int

    def told(self, index: Index) -> str:
        """One line for a person who will wait, "" when it is not long."""
        if self.seconds < LONG_SECONDS:
            return ""
        stats = index.stats
        known = f", {self.n_known:,} of them read before" if self.n_known else ""
        time = f"{self.seconds:.0f} s" if self.seconds < 120 else f"{self.seconds / 60:.0f} min"
        kept = "; Ctrl-C keeps what was read" if index.keeps_scores and can_keep(index.directory) else ""
        return (
            f"reading all {stats.chunks:,} chunks ({stats.tokens:,} tokens) of {stats.files:,} files{known},"
            f" about {time}{kept}"
        )


def forecast(question: str, index: Index, scorer: ChunkScorer) -> Forecast:
    """From the pace of the last reading here and the number of scores that are kept; nothing is read."""
    stats = index.stats
    with ReaderScores(index.directory, scorer.fingerprint, create=False, keeps=index.keeps_scores) as scores:
        n_known, pace = min(scores.n_known(question), stats.chunks), scores.tokens_per_second or TOKENS_PER_SECOND
    n_tokens = stats.tokens / max(1, stats.chunks)
    n_read = stats.chunks - n_known + min(N_BEST, stats.chunks)
    return Forecast(n_read * n_tokens / pace + stats.tokens / SCAN_TOKENS_PER_SECOND, n_known)


def score_all(
    question: str,
    index: Index,
    scorer: ChunkScorer,
    progress: Progress,
    *,
    known_ids: Collection[str] = (),
    n_best: int = N_BEST,
    until: float | None = None,
) -> Scored:
    """Scores every chunk of the index. progress: called with ("read", done, total), once at first and per batch.

    known_ids: chunks that another route has read; they are scored, and count as cached. until: the time, as
    perf_counter() tells it, at which the last reading has to be done as well; what is not scored by then is not read.
    """
    found = Scored(n_best)
    seconds = n_timed = 0.0
    progress("read", 0, index.stats.chunks)
    with ReaderScores(index.directory, scorer.fingerprint, keeps=index.keeps_scores) as scores:
        known = scores.known(question)
        pace = scores.tokens_per_second or TOKENS_PER_SECOND
        slowest = LOADING_SECONDS if not getattr(scorer, "is_loaded", True) else BATCH_CHUNKS * FULL_CHUNK / pace
        for place, chunk in enumerate(index.chunks()):
            found.n_chunks += 1
            found.n_tokens += chunk.n_tokens
            score = known.get(chunk_key(chunk))
            if score is not None or chunk.id in known_ids:
                found.cached_tokens += chunk.n_tokens
            if score is not None:
                found.n_known += 1
                found.offer(score, place, chunk)
        n_done = found.n_known
        progress("read", n_done, found.n_chunks)
        for batch in _batches(index, known) if n_done < found.n_chunks else ():
            if until is not None and perf_counter() + SLOW * (slowest + _last_reading(n_best, pace)) > until:
                found.n_unread = found.n_chunks - n_done
                break
            began = perf_counter()
            news = scorer.score(question, [chunk for _, chunk in batch]).tolist()
            took = perf_counter() - began
            slowest = took if n_done == found.n_known else max(slowest, took)
            if n_done > found.n_known:  # the first batch loads the model
                seconds += took
                n_timed += sum(chunk.n_tokens for _, chunk in batch)
            added = {chunk_key(chunk): score for (_, chunk), score in zip(batch, news, strict=True)}
            scores.keep(question, added, n_timed / seconds if n_timed and seconds else None)
            for (place, chunk), score in zip(batch, news, strict=True):
                found.offer(score, place, chunk)
            n_done += len(batch)
            progress("read", n_done, max(n_done, found.n_chunks))
    return found


def _last_reading(n_best: int, pace: float) -> float:
    return n_best * FULL_CHUNK / pace


def _batches(index: Index, known: dict[bytes, float]) -> Iterator[Sequence[tuple[int, Chunk]]]:
    """The chunks that are not known, each with its place in the index."""
    batch: list[tuple[int, Chunk]] = []
    for place, chunk in enumerate(index.chunks()):
        if chunk_key(chunk) not in known:
            batch.append((place, chunk))
        if len(batch) == BATCH_CHUNKS:
            yield batch
            batch = []
    if batch:
        yield batch
