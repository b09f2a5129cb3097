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
from selfroute.backends.costs import in_time
from selfroute.deadline import Deadline
from selfroute.errors import OutOfTimeError
from selfroute.memory.reader_scores import ReaderScores, can_keep, chunk_key
from selfroute.models.base import ChunkScorer
from selfroute.types import Chunk

if TYPE_CHECKING:
    from selfroute.backends.page_signals import PageSignals
    from selfroute.memory.index import Index

BATCH_CHUNKS = 32
N_BEST = 16  # chunks for the last reading, 4,000 tokens: a list has at most 12 answers
LONG_SECONDS = 5.0  # a reading that takes longer is announced

# Of the trained reader on two cores without other work, until it was measured where the index lies.
TOKENS_PER_SECOND = 20_000
SCAN_TOKENS_PER_SECOND = 1_000_000  # of going through an index whose scores are known


@dataclass(slots=True)
class Scored:
    """The best chunks so far, and what all of them came to.

    n_known: those whose scores were kept of an earlier reading; cached_tokens: theirs, and those of known_ids. n_left,
    left_tokens: of the chunks, those that the time did not suffice for. n_chosen: pages that were read wholly, where
    not all were. scoring_seconds, finding_seconds: of scoring, and of going through the index for what is known.
    others: the best of what was found another way, whose scores cannot be compared with these, best first. signals:
    what a reading by pages showed of itself.
    """

    n_best: int
    n_chunks: int = 0
    n_tokens: int = 0
    n_known: int = 0
    cached_tokens: int = 0
    n_left: int = 0
    left_tokens: int = 0
    n_chosen: int = 0
    scoring_seconds: float = 0.0
    finding_seconds: float = 0.0
    others: list[Chunk] = field(default_factory=list)
    signals: PageSignals | None = None
    _kept: list[tuple[float, int, Chunk]] = field(default_factory=list)

    def best(self) -> list[Chunk]:
        """The best chunks, best first; of equal ones the earlier in the index."""
        self._kept.sort(key=lambda kept: (-kept[0], kept[1]))
        del self._kept[self.n_best :]
        return [chunk for _, _, chunk in self._kept]

    def beside(self, more: Scored) -> None:
        """Adds what was found another way among the chunks that were left here."""
        self.others = more.best()
        self.n_tokens, self.n_known = self.n_tokens + more.n_tokens, self.n_known + more.n_known
        self.cached_tokens += more.cached_tokens
        self.n_left, self.left_tokens = more.n_left, more.left_tokens
        self.finding_seconds += more.finding_seconds
        self.scoring_seconds = more.scoring_seconds

    def leave(self, batch: Sequence[tuple[int, Chunk]], known_ids: Collection[str]) -> None:
        """Takes back what was counted of chunks that are not scored."""
        n_tokens = sum(chunk.n_tokens for _, chunk in batch)
        self.n_left, self.left_tokens = self.n_left + len(batch), self.left_tokens + n_tokens
        self.n_tokens -= n_tokens
        self.cached_tokens -= sum(chunk.n_tokens for _, chunk in batch if chunk.id in known_ids)

    def offer(self, score: float, place: int, chunk: Chunk) -> None:
        """Keeps the chunk if it is among the best. place: in the index."""
        if score > -inf:
            self._kept.append((score, place, chunk))
        if len(self._kept) > 16 * self.n_best:
            self.best()


@dataclass(frozen=True, slots=True)
class Forecast:
    """What scoring every chunk will take. n_known: about as many chunks are known already.

    finding, scoring, finishing: its parts in seconds: going through the index, what must be read, the last reading.
    paced: by the pace of a reading here, and not by a first guess.
    """

    seconds: float
    n_known: int
    finding: float = 0.0
    scoring: float = 0.0
    finishing: float = 0.0
    paced: bool = False

    def told(self, index: Index) -> str:
        """One line for a person who will wait, "" when it is not long."""
        if self.seconds < LONG_SECONDS:
            return ""
        stats = index.stats
        known = f", {self.n_known:,} of them read before" if self.n_known else ""
        time = in_words(self.seconds)
        kept = "; Ctrl-C keeps what was read" if index.keeps_scores and can_keep(index.directory) else ""
        return (
            f"reading all {stats.chunks:,} chunks ({stats.tokens:,} tokens) of {stats.files:,} files{known},"
            f" about {time}{kept}"
        )


def in_words(seconds: float) -> str:
    """38 s, 4 min."""
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def expected_pace(index: Index, scorer: ChunkScorer) -> tuple[float, bool]:
    """Tokens a second that a reader scores, and whether they were measured here."""
    with ReaderScores(index.directory, scorer.fingerprint, create=False, keeps=index.keeps_scores) as scores:
        measured = scores.tokens_per_second
    return measured or TOKENS_PER_SECOND, measured is not None


def forecast(question: str, index: Index, scorer: ChunkScorer) -> Forecast:
    """From the pace of the last reading here and the number of scores that are kept; nothing is read."""
    stats = index.stats
    with ReaderScores(index.directory, scorer.fingerprint, create=False, keeps=index.keeps_scores) as scores:
        n_known, measured = min(scores.n_known(question), stats.chunks), scores.tokens_per_second
    pace, n_tokens = measured or TOKENS_PER_SECOND, stats.tokens / max(1, stats.chunks)
    scoring = (stats.chunks - n_known) * n_tokens / pace
    finishing = min(N_BEST, stats.chunks) * n_tokens / pace
    finding = stats.tokens / SCAN_TOKENS_PER_SECOND
    return Forecast(scoring + finishing + finding, n_known, finding, scoring, finishing, measured is not None)


def score_all(
    question: str,
    index: Index,
    scorer: ChunkScorer,
    progress: Progress,
    *,
    known_ids: Collection[str] = (),
    n_best: int = N_BEST,
    deadline: Deadline | None = None,
    only: Collection[str] | None = None,
) -> Scored:
    """Scores every chunk of the index. progress: called with ("read", done, total), once at first and per batch.

    known_ids: chunks that another route has read; they are scored, and count as cached. deadline: the chunks that are
    not scored then are left out, and not counted. only: content hashes of the chunks that count, all by default.
    """
    found, started = Scored(n_best), perf_counter()
    scorer = in_time(scorer, deadline)
    seconds = n_timed = 0.0
    progress("read", 0, index.stats.chunks if only is None else len(only))
    with ReaderScores(index.directory, scorer.fingerprint, keeps=index.keeps_scores) as scores:
        known = scores.known(question)
        for place, chunk in _chunks(index, only):
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
        ready = perf_counter()
        found.finding_seconds = ready - started
        for batch in _batches(index, known, only) if n_done < found.n_chunks else ():
            n_batch = sum(chunk.n_tokens for _, chunk in batch)
            if found.n_left or (deadline is not None and deadline.left <= 0):
                found.leave(batch, known_ids)
                continue
            began = perf_counter()
            try:
                news = scorer.score(question, [chunk for _, chunk in batch]).tolist()
            except OutOfTimeError:
                found.leave(batch, known_ids)
                continue
            if n_done > found.n_known:  # the first batch loads the model
                seconds += perf_counter() - began
                n_timed += n_batch
            added = {chunk_key(chunk): score for (_, chunk), score in zip(batch, news, strict=True)}
            scores.keep(question, added, n_timed / seconds if n_timed and seconds else None)
            for (place, chunk), score in zip(batch, news, strict=True):
                found.offer(score, place, chunk)
            n_done += len(batch)
            progress("read", n_done, max(n_done, found.n_chunks))
    found.scoring_seconds = perf_counter() - ready
    return found


def _chunks(index: Index, only: Collection[str] | None) -> Iterator[tuple[int, Chunk]]:
    """The chunks that count, each with its place in the index."""
    for place, chunk in enumerate(index.chunks()):
        if only is None or chunk.content_hash in only:
            yield place, chunk


def _batches(
    index: Index, known: dict[bytes, float], only: Collection[str] | None
) -> Iterator[Sequence[tuple[int, Chunk]]]:
    """Those of them that are not known."""
    batch: list[tuple[int, Chunk]] = []
    for place, chunk in _chunks(index, only):
        if chunk_key(chunk) not in known:
            batch.append((place, chunk))
        if len(batch) == BATCH_CHUNKS:
            yield batch
            batch = []
    if batch:
        yield batch
