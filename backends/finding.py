"""How a reader that scores chunks comes by those that its last reading chooses from: by pages, or by its own scores.

A page is encoded once and serves every question; a score serves its question alone. Encoding takes two or three times
what scoring takes, so that it pays from the third question. What is missing is encoded by the first question, except
where that would be to no end, or not in time: then the reader scores what is missing, and pages find the rest.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from itertools import chain, zip_longest
from typing import TYPE_CHECKING

from selfroute.backends.base import Progress
from selfroute.backends.costs import Expected, Part, expected, kind_of_work, loading
from selfroute.backends.paging import Pages
from selfroute.backends.scoring import (
    LONG_SECONDS,
    N_BEST,
    Forecast,
    Scored,
    expected_pace,
    forecast,
    in_words,
    score_all,
)
from selfroute.deadline import Deadline
from selfroute.memory.rates import Rates
from selfroute.models.base import ChunkScorer
from selfroute.types import SPEED, Chunk, Query

if TYPE_CHECKING:
    from selfroute.memory.index import Index

SEARCHED = 12  # hits of a search that are read beside what pages found
QUICK_SECONDS = 3.0  # that nobody who did not ask for this route by name is kept waiting by encoding
CLOSING_SECONDS = 0.05  # a first guess, on two cores


@dataclass(frozen=True, slots=True)
class Way:
    """How chunks are found, and what that takes.

    by_pages: what is encoded is read by its pages. encodes: what is missing is encoded, else the reader scores it.
    n_missing, missing_tokens: what is not encoded; n_bytes: that its pages would take. later_seconds: of another
    question, once all is encoded. why: it is not encoded, "" when it is.
    """

    by_pages: bool
    encodes: bool
    forecast: Forecast
    takes: Expected
    n_missing: int = 0
    missing_tokens: int = 0
    n_bytes: int = 0
    later_seconds: float = 0.0
    why: str = ""

    @property
    def once_tokens(self) -> int:
        """Tokens that are encoded for this question, and for no later one."""
        return self.missing_tokens if self.by_pages and self.encodes else 0

    def told(self, index: Index) -> str:
        """One line for a person who will wait, "" when it is not long."""
        seconds = self.takes.seconds
        if not self.once_tokens:
            told = self.forecast.told(index)
            return f"{told}; {self.why}" if told and self.why else told
        if seconds < LONG_SECONDS:
            return ""
        stats = index.stats
        size = f"{self.n_bytes / 1e6:,.0f} MB in the folder of the index"
        return (
            f"encoding {self.n_missing:,} of {stats.chunks:,} chunks once ({self.once_tokens:,} tokens, {size}), about"
            f" {in_words(seconds)}; later questions about {max(0.1, self.later_seconds):.1f} s; Ctrl-C keeps what was"
            f" encoded, SELFROUTE_PAGES=off reads without"
        )


class Finder:
    """Finds chunks for one reader over one index. pages: None has the reader score all of them."""

    def __init__(
        self, index: Index, reader: ChunkScorer, pages: Pages | None, rates: Rates, progress: Progress
    ) -> None:
        self._index, self._reader, self._pages, self._rates, self._progress = index, reader, pages, rates, progress

    def way(self, query: Query) -> Way:
        """The one to take as things are now, within the time that is left; nothing is read."""
        pages = self._pages
        if pages is None:
            return self._scoring_all(query)
        encoding = self._encoding(query, pages)
        if not encoding.n_missing:
            return encoding
        scoring = self._scoring(query, pages, encoding)
        why = self._against_encoding(query, pages, encoding, scoring)
        return encoding if not why else _because(scoring, why)

    def find(self, query: Query, way: Way, known_ids: Collection[str], deadline: Deadline | None) -> Scored:
        """The best chunks, this way. known_ids: of chunks that another route has read."""
        index, reader, pages, progress = self._index, self._reader, self._pages, self._progress
        if pages is None or not way.by_pages:
            return score_all(query.text, index, reader, progress, known_ids=known_ids, deadline=deadline)
        found = pages.score_all(query.text, progress, known_ids=known_ids, deadline=deadline, encodes=way.encodes)
        if not way.encodes and (missing := pages.missing()):
            found.beside(
                score_all(query.text, index, reader, progress, known_ids=known_ids, deadline=deadline, only=missing)
            )
        return found

    def _against_encoding(self, query: Query, pages: Pages, encoding: Way, scoring: Way) -> str:
        """Why what is missing is scored instead, or ""."""
        left = query.limits.deadline.left if query.limits.deadline else query.limits.max_seconds
        faster = scoring.takes.high < encoding.takes.high
        if left is not None and encoding.takes.high > left and (scoring.takes.high <= left or faster):
            return "the time is too short to encode it"
        if pages.insists:
            return ""
        if why := pages.cannot_keep(encoding.n_bytes):
            return why
        if not faster or query.asked_for:
            return ""
        if query.prefer == SPEED:
            return "speed is preferred to encoding it: selfroute index --pages does"
        if encoding.takes.seconds > QUICK_SECONDS >= scoring.takes.seconds:
            return "encoding it takes longer: selfroute index --pages, or --route long-context, does"
        return ""

    def _encoding(self, query: Query, pages: Pages) -> Way:
        """By pages, with those that are missing."""
        state = pages.state()
        told = pages.forecast()
        finishing = self._finishing(N_BEST + SEARCHED)
        told = Forecast(told.seconds + finishing, told.n_known, told.finding, told.scoring, finishing, told.paced)
        first = (*loading(self._reader), *loading(pages.model))
        what = "known" if told.scoring == 0 else "first" if first else "read"
        finds = Part("find pages", told.finding)
        reads = Part(kind_of_work("finish", self._reader), finishing + CLOSING_SECONDS)
        takes = expected(
            self._rates,
            f"long-context {what} {kind_of_work('', pages.model)}",
            *first,
            finds,
            Part(kind_of_work("paced" if told.paced else "score", pages.model), told.scoring),
            reads,
        )
        later = sum(self._rates.expect(part.kind, part.guess) for part in (finds, reads))
        return Way(True, True, told, takes, state.n_missing, state.missing_tokens, pages.missing_bytes(), later)

    def _scoring(self, query: Query, pages: Pages, encoding: Way) -> Way:
        """What is encoded by its pages, and what is missing by the reader's scores."""
        if not pages.state().n_known:
            return self._scoring_all(query)
        pace, paced = expected_pace(self._index, self._reader)
        scoring, told = encoding.missing_tokens / pace, encoding.forecast
        seconds = told.finding + scoring + told.finishing
        first = (*loading(self._reader), *loading(pages.model))
        takes = expected(
            self._rates,
            f"long-context {'first' if first else 'some'} {kind_of_work('', self._reader)}",
            *first,
            Part("find pages", told.finding),
            Part(kind_of_work("paced" if paced else "score", self._reader), scoring),
            Part(kind_of_work("finish", self._reader), told.finishing + CLOSING_SECONDS),
        )
        return Way(
            True, False, Forecast(seconds, told.n_known, told.finding, scoring, told.finishing, paced), takes,
            encoding.n_missing, encoding.missing_tokens, encoding.n_bytes,
        )  # fmt: skip

    def _scoring_all(self, query: Query) -> Way:
        """Every chunk by the reader's score."""
        reader = self._reader
        told = forecast(query.text, self._index, reader)
        first = loading(reader)
        what = "known" if told.scoring == 0 else "first" if first else "read"
        takes = expected(
            self._rates,
            f"long-context {what} {kind_of_work('', reader)}",
            *first,
            Part("find", told.finding),
            Part(kind_of_work("paced" if told.paced else "score", reader), told.scoring),
            Part(kind_of_work("finish", reader), told.finishing + CLOSING_SECONDS),
        )
        return Way(False, False, told, takes)

    def _finishing(self, n_chunks: int) -> float:
        stats = self._index.stats
        return (
            min(n_chunks, stats.chunks)
            * stats.tokens
            / max(1, stats.chunks)
            / expected_pace(self._index, self._reader)[0]
        )


def in_turn(*lists: Iterable[Chunk]) -> list[Chunk]:
    """The chunks of all lists, the first of each first; each once."""
    both = chain.from_iterable(zip_longest(*lists))
    return list({chunk.id: chunk for chunk in both if chunk is not None}.values())


def _because(way: Way, why: str) -> Way:
    return replace(way, why=f"not encoded as pages: {why}")
