"""The long-context route: the whole corpus is read, and the best of it goes to a last reading that weighs it together.

For a reader whose scores are absolute the best are found by pages (paging.py) or by its own scores of every chunk
(scoring.py), whichever finding.py takes. Another one reads the chunks in reading order, block after block. No more than
a block is held at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from time import perf_counter
from typing import TYPE_CHECKING

from selfroute.backends import linked
from selfroute.backends.base import Attempting, Progress
from selfroute.backends.cards import explained
from selfroute.backends.citations import verify
from selfroute.backends.context import choose
from selfroute.backends.costs import (
    Expected,
    Meter,
    Part,
    check,
    expected,
    in_time,
    kind_of_work,
    load,
    rates_for,
    stopped,
)
from selfroute.backends.described import is_described, with_described
from selfroute.backends.finding import SEARCHED, Finder, Way, in_turn
from selfroute.backends.generating import Writer, finish
from selfroute.backends.paging import Pages
from selfroute.backends.retrieval import TOP_K
from selfroute.backends.scoring import Scored
from selfroute.errors import ContextOverflowError, OutOfTimeError
from selfroute.memory.rates import Rates
from selfroute.models.base import ChunkScorer, Reader
from selfroute.models.explaining import asks_to_explain
from selfroute.models.metering import peak_bytes
from selfroute.models.tokenizer import wordpiece
from selfroute.types import LONG_CONTEXT, Attempt, Chunk, Estimate, Generation, Query, Usage

if TYPE_CHECKING:
    from selfroute.memory.index import Index

BLOCK_CHUNKS = 4096  # read at a time: about 5 MB of text
TOP_K_OF_LESS = 256  # hits that are read instead when a model has no memory for everything

EXPLAINING_BUDGETS = 4  # question budgets that a card may be made of

# Priors, until policies are learned for the reader at hand. Long context's share right on LaRA, mean of 13 models.
P_CORRECT = 0.65
TOKENS_PER_SECOND = 1_000_000  # of the evidence reader on one core, index included
CARD_SECONDS = 0.4  # a first guess, on two cores
LOOKS = 4  # times what a global read is expected to take, under which none is done for the policy alone
READS_FOR_LAST = 0.5  # of the time that is left, at most, is kept for the last reading


class LongContextBackend:
    """Answers from everything."""

    name = LONG_CONTEXT

    def __init__(
        self,
        index: Index,
        reader: Reader,
        *,
        writer: Writer | None = None,
        block_chunks: int = BLOCK_CHUNKS,
        progress: Progress | None = None,
        rates: Rates | None = None,
        pages: Pages | None = None,
    ) -> None:
        """writer: answers instead of the reader, from a context that it keeps while the index does not change.

        pages: may find the best chunks for a reader that scores chunks, instead of its scores of all of them. rates:
        what things take; those of the machine if not given, while the index keeps what was learned.
        """
        self._rates = rates or rates_for(index)
        self._index, self._reader, self._writer, self._block_chunks = index, reader, writer, block_chunks
        self._progress: Progress = progress or (lambda stage, done, total: None)
        self._pages = pages
        self._finder = (
            Finder(index, reader, pages, self._rates, self._progress) if isinstance(reader, ChunkScorer) else None
        )

    def estimate(self, query: Query) -> Estimate:
        """The whole corpus, at the reader's pace or the model's, without what was read for the question before.

        A question that asks for an explanation is expected to get a card, and may need the corpus read all the same.
        """
        if self._writer:
            room = self._writer.room(query)
            n_tokens = self._writer.corpus_tokens(self._index, room)
            resident = self._writer.resident(self._index)
            room = room if query.limits.max_context_tokens is None else min(room, query.limits.max_context_tokens)
            return self._writer.estimate(P_CORRECT, query, n_tokens, room, n_resident=resident)
        n_tokens = self._index.stats.tokens
        way = self._finder.way(query) if self._finder else None
        reading = way.takes if way else self._expected()
        once_tokens, later = (way.once_tokens, way.later_seconds) if way and way.once_tokens else (0, None)
        if not asks_to_explain(query.text):
            return Estimate(
                P_CORRECT,
                reading.seconds,
                n_tokens,
                room_tokens=query.limits.max_context_tokens,
                seconds_high=reading.high,
                once_tokens=once_tokens,
                later_seconds=later,
            )
        card, n_card = self._expected_of_card(), min(n_tokens, EXPLAINING_BUDGETS * query.budget_tokens)
        return Estimate(
            P_CORRECT,
            card.seconds,
            n_card,
            room_tokens=query.limits.max_context_tokens,
            seconds_high=card.high + reading.high,
            tokens_high=n_tokens,
        )

    def _expected(self) -> Expected:
        """Of reading everything with a reader that scores no chunks."""
        n_tokens = max(1, self._index.stats.tokens)
        kind = kind_of_work("all", self._reader)
        return expected(self._rates, f"long-context {kind}", Part(kind, n_tokens / TOKENS_PER_SECOND))

    def _expected_of_card(self) -> Expected:
        return expected(self._rates, "long-context card", Part("large card", CARD_SECONDS))

    def look(self, query: Query, attempt: Attempt) -> Mapping[str, float]:
        """The signals of a global read beside an attempt; none where not every page is encoded, or time is short."""
        if self._finder is None or self._pages is None or asks_to_explain(query.text):
            return {}
        deadline = query.limits.deadline
        if deadline is not None and LOOKS * self._pages.forecast().finding > deadline.left:
            return {}
        signals = self._pages.look(query.text)
        return {} if signals is None else signals.beside(attempt)

    def announce(self, query: Query) -> str:
        """What will be read or encoded and how long that takes, when it is some seconds; nothing before a card."""
        limit = _limit(query)
        refused = limit is not None and self._index.stats.tokens > limit
        if self._writer or refused or self._finder is None:
            return ""
        told = self._finder.way(query).told(self._index)
        return told if told and self._explain(query, None) is None else ""

    def answer(self, query: Query, *, after: Attempt | None = None) -> Attempt:
        """What stream() comes to."""
        return finish(self.stream(query, after=after, live=False))

    def stream(self, query: Query, *, after: Attempt | None = None, live: bool = True) -> Attempting:
        """Reads every chunk. The attempt's chunks are those that its last reading chose from; spans point into them.

        after: those of its chunks that are still there count as cached.
        Raises ContextOverflowError when the corpus is larger than query.limits allow; nothing is read then.
        """
        if self._writer:
            return (yield from self._write(self._writer, query, live))
        stats = self._index.stats
        limit = _limit(query)
        if limit is not None and stats.tokens > limit:
            raise ContextOverflowError(
                stats.tokens, limit, f"ask with --route retrieval, or --max-tokens {stats.tokens} for the whole corpus"
            )
        started = perf_counter()
        try:
            explanation = self._explain(query, after)
            if explanation is not None:
                return explanation
            if self._finder is not None:
                return self._score(self._finder, query, after)
            return self._read(query, after)
        except OutOfTimeError:
            usage = Usage(prefill_seconds=perf_counter() - started, peak_bytes=peak_bytes())
            return stopped(self.name, "before the corpus was read", usage)

    def _explain(self, query: Query, after: Attempt | None) -> Attempt | None:
        """A card for a question that asks for an explanation: lines of what search finds, and the graph's facts.

        Its lines are found by their words, so nothing is gained by scoring every chunk.
        """
        if not asks_to_explain(query.text):
            return None
        started, meter = perf_counter(), Meter(self._rates, self._expected_of_card())
        hits = self._index.search(query.text, top_k=TOP_K_OF_LESS)
        check(query)
        chunks = choose(hits, EXPLAINING_BUDGETS * query.budget_tokens, self._index)
        check(query)
        made = explained(query.text, chunks, self._index)
        if made is None:
            return None
        known = _ids(after)
        n_cached = sum(chunk.n_tokens for chunk in chunks if chunk.id in known)
        usage = _usage(sum(chunk.n_tokens for chunk in chunks), n_cached, made.generation, started, perf_counter())
        citations = verify(made.generation, made.chunks, self._index)
        meter.lap("large card")
        meter.done()
        notes = (*made.notes, f"made of {len(chunks)} chunks that search found, and of the knowledge graph")
        return Attempt(self.name, made.generation, citations, usage, made.chunks, notes)

    def _score(self, finder: Finder, query: Query, after: Attempt | None) -> Attempt:
        """The best chunks of all, then those together; what the time suffices for, when that is less."""
        way = finder.way(query)
        meter = Meter(self._rates, takes := way.takes)
        guesses = {part.kind.partition(" ")[0]: part for part in takes.parts}
        started, deadline = perf_counter(), query.limits.deadline
        load(self._reader, meter)
        if self._pages and way.by_pages:
            load(self._pages.model, meter)
        last = guesses["finish"]
        if deadline is not None:
            kept = min(self._rates.at_most(last.kind, last.guess), READS_FOR_LAST * max(0.0, deadline.left))
            deadline = deadline.earlier(kept)
        found = finder.find(query, way, _ids(after), deadline)
        prefilled = perf_counter()
        best, reader = self._to_read(query, way, found, after), in_time(self._reader, query.limits.deadline)
        try:
            generation, best = self._or_described(query, linked.read(reader, query.text, best), best)
        except OutOfTimeError:
            usage = Usage(found.n_tokens, found.cached_tokens, 0, prefilled - started, perf_counter() - prefilled)
            return stopped(self.name, "in its last reading", usage, _left(found))
        usage = _usage(found.n_tokens, found.cached_tokens, generation, started, prefilled)
        when = "encoded before" if way.by_pages else "in an earlier reading"
        known = f", {found.n_known:,} of them {when}" if found.n_known else ""
        attempt = self._attempt(generation, best, usage, found.n_chunks - found.n_left, known)
        notes = (*attempt.notes, *((way.why,) if way.why else ()))
        if self._pages and way.by_pages:
            notes = (*notes, *_chosen(found), *self._pages.notes, *self._pages.pager.notes)
        attempt = replace(attempt, notes=notes, signals=found.signals.beside(attempt) if found.signals else {})
        if found.n_left:
            return _cut(attempt, found)
        for part in takes.parts:
            work = part.kind.partition(" ")[0]
            took = {"find": found.finding_seconds, "finish": perf_counter() - prefilled}.get(work)
            if work in ("paced", "score"):
                took = found.scoring_seconds
            if took is not None:
                self._rates.learn(part.kind, part.guess, took)
        meter.done()
        return attempt

    def _to_read(self, query: Query, way: Way, found: Scored, after: Attempt | None) -> list[Chunk]:
        """What was found, and beside what pages found what search finds: each finds some that the other misses.

        What retrieval searched for and had read is not searched for again.
        """
        if not way.by_pages:
            return found.best()
        if after is not None and after.chunks and after.usage.prompt_tokens:
            searched = list(after.chunks)
        else:
            searched = [hit.chunk for hit in self._index.search(query.text, top_k=SEARCHED)]
        return in_turn(found.best(), found.others, searched)

    def _or_described(self, query: Query, read: Generation, best: list[Chunk]) -> tuple[Generation, list[Chunk]]:
        """The generation and what it quotes; lines of what search finds where it was declined and they cover it."""
        if read.answerable or not is_described(query.text):
            return read, best
        searched = choose(self._index.search(query.text, top_k=TOP_K), query.budget_tokens, self._index)
        described = with_described(query.text, read, searched, self._index)
        return (described, searched) if described.answerable else (read, best)

    def _read(self, query: Query, after: Attempt | None) -> Attempt:
        """Every block, then together what was quoted of them."""
        known = _ids(after)
        reader, meter = in_time(self._reader, query.limits.deadline), Meter(self._rates, self._expected())
        n_tokens = n_cached = n_done = 0
        kept: list[tuple[float, Chunk]] = []
        declined: Generation | None = None
        started = perf_counter()
        n_chunks = self._index.stats.chunks
        self._progress("read", 0, n_chunks)
        for block in _blocks(self._index.chunks(), self._block_chunks):
            check(query)
            generation = reader.read(query.text, block)
            best: dict[int, float] = {}
            for span in generation.spans:
                best[span.chunk] = max(span.score, best.get(span.chunk, span.score))
            kept += [(score, block[i]) for i, score in best.items()]
            if not generation.answerable and (declined is None or generation.confidence > declined.confidence):
                declined = generation
            n_tokens += sum(chunk.n_tokens for chunk in block)
            n_cached += sum(chunk.n_tokens for chunk in block if chunk.id in known)
            n_done += len(block)
            self._progress("read", n_done, max(n_done, n_chunks))
        prefilled = perf_counter()

        chunks = [chunk for _, chunk in sorted(kept, key=lambda item: -item[0])]
        nothing = declined or Generation("", answerable=False, finish="declined")
        generation = reader.read(query.text, chunks) if chunks else nothing
        usage = _usage(n_tokens, n_cached, generation, started, prefilled)
        attempt = self._attempt(generation, chunks, usage, n_done)
        meter.lap(kind_of_work("all", self._reader))
        meter.done()
        return attempt

    def _attempt(
        self, generation: Generation, chunks: Sequence[Chunk], usage: Usage, n_read: int, known: str = ""
    ) -> Attempt:
        files = f"{self._index.stats.files:,} files"
        notes = (f"read all {n_read:,} chunks, {usage.prompt_tokens:,} tokens, of {files}{known}", *generation.notes)
        citations = verify(generation, chunks, self._index, whole=True)
        return Attempt(self.name, generation, citations, usage, tuple(chunks), notes)

    def _write(self, writer: Writer, query: Query, live: bool) -> Attempting:
        """Lets the model read everything, once for every state of the index, and answer."""
        stats, room, limit = (
            self._index.stats,
            writer.room(query),
            _least(writer.allowed(query), query.limits.max_context_tokens),
        )
        began = perf_counter()
        n_tokens = writer.corpus_tokens(self._index, room)
        if n_tokens > room:
            raise ContextOverflowError(
                n_tokens, max(0, room), "ask with --route retrieval, or --window-tokens with more"
            )
        if limit is not None and n_tokens > limit:
            raise ContextOverflowError(
                n_tokens, max(0, limit), "ask with --route retrieval, or higher limits: --max-tokens, --max-cost"
            )
        self._progress("read", 0, stats.chunks)
        chunks = tuple(self._index.chunks())

        def best_first() -> list[Chunk]:
            return [hit.chunk for hit in self._index.search(query.text, top_k=min(len(chunks), TOP_K_OF_LESS))]

        attempt = yield from writer.write(
            self.name, query, chunks, self._index, best_first=best_first, live=live, keep=stats.generation, began=began
        )
        self._progress("read", stats.chunks, stats.chunks)
        notes = (f"read {len(attempt.chunks):,} of {stats.chunks:,} chunks, of {stats.files:,} files",)
        return replace(attempt, notes=(*notes, *attempt.notes))


def _limit(query: Query) -> int | None:
    """Tokens of the corpus that a reader may read."""
    return _least(query.limits.max_tokens, query.limits.max_context_tokens)


def _least(*limits: int | None) -> int | None:
    return min((limit for limit in limits if limit is not None), default=None)


def _left(found: Scored) -> tuple[str, ...]:
    n = found.n_chunks
    return (f"{found.n_left:,} of {n:,} chunks ({found.left_tokens:,} tokens) were not read: the time was up",)


def _chosen(found: Scored) -> tuple[str, ...]:
    if not found.n_chosen:
        return ()
    return (f"of all pages the keys of starts were read, and {found.n_chosen:,} that fit best were read wholly",)


def _cut(attempt: Attempt, found: Scored) -> Attempt:
    """The attempt over a part of the corpus: that it found nothing there says nothing of the rest."""
    generation = attempt.generation
    if not generation.answerable:
        generation = replace(generation, finish="stopped")
    return replace(attempt, generation=generation, notes=(*_left(found), *attempt.notes), degraded=True)


def _ids(after: Attempt | None) -> frozenset[str]:
    return frozenset(chunk.id for chunk in after.chunks) if after else frozenset()


def _usage(n_tokens: int, n_cached: int, generation: Generation, started: float, prefilled: float) -> Usage:
    return Usage(
        prompt_tokens=n_tokens,
        cached_tokens=n_cached,
        new_tokens=wordpiece().count(generation.text),
        prefill_seconds=prefilled - started,
        decode_seconds=perf_counter() - prefilled,
        peak_bytes=peak_bytes(),
    )


def _blocks(chunks: Iterator[Chunk], size: int) -> Iterator[list[Chunk]]:
    while block := list(islice(chunks, size)):
        yield block
