"""The long-context route: the whole corpus is read, and the best of it goes to a last reading that weighs it together.

A reader whose scores are absolute scores every chunk by itself, through what is kept of earlier readings (scoring.py).
Another one reads the chunks in reading order, block after block. No more than a block is held at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from time import perf_counter
from typing import TYPE_CHECKING

from selfroute.backends.base import Attempting, Progress
from selfroute.backends.cards import explained
from selfroute.backends.citations import verify
from selfroute.backends.context import choose
from selfroute.backends.described import is_described, with_described
from selfroute.backends.generating import Writer, finish
from selfroute.backends.retrieval import LOADING_SECONDS, TOP_K, is_loaded
from selfroute.backends.scoring import forecast, score_all
from selfroute.errors import ContextOverflowError
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
SCORING = "long-context.score"  # what scoring takes, of what it was forecast to
TOKENS_PER_SECOND = 1_000_000  # of the evidence reader on one core, index included


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
    ) -> None:
        """writer: answers instead of the reader, from a context that it keeps while the index does not change."""
        self._index, self._reader, self._writer, self._block_chunks = index, reader, writer, block_chunks
        self._progress: Progress = progress or (lambda stage, done, total: None)
        self._rates = Rates(index.directory, keeps=index.keeps_scores)

    def estimate(self, query: Query) -> Estimate:
        """The whole corpus, at the reader's pace or the model's, without what was read for the question before."""
        if self._writer:
            room = self._writer.room(query)
            n_tokens = self._writer.corpus_tokens(self._index, room)
            resident = self._writer.resident(self._index)
            return self._writer.estimate(P_CORRECT, n_tokens, room, n_resident=resident)
        n_tokens = self._index.stats.tokens
        if isinstance(self._reader, ChunkScorer):
            seconds = forecast(query.text, self._index, self._reader).seconds
            loading = 0.0 if is_loaded(self._reader) else LOADING_SECONDS
            high = self._rates.get(SCORING, 1.0).high_of(seconds) + 2 * loading
            return Estimate(P_CORRECT, seconds + loading, n_tokens, seconds_high=high)
        seconds = n_tokens / TOKENS_PER_SECOND
        return Estimate(P_CORRECT, seconds, n_tokens, seconds_high=3 * seconds + 0.1)

    def announce(self, query: Query) -> str:
        """What will be scored and how long that takes, when it is more than some seconds; nothing before a card."""
        limit = query.limits.max_tokens
        refused = limit is not None and self._index.stats.tokens > limit
        if self._writer or refused or not isinstance(self._reader, ChunkScorer):
            return ""
        told = forecast(query.text, self._index, self._reader).told(self._index)
        return told if told and self._explain(query, None) is None else ""

    def answer(self, query: Query, *, after: Attempt | None = None) -> Attempt:
        """What stream() comes to."""
        return finish(self.stream(query, after=after, live=False))

    def stream(self, query: Query, *, after: Attempt | None = None, live: bool = True) -> Attempting:
        """Reads every chunk. The attempt's chunks are those that its last reading chose from; spans point into them.

        after: those of its chunks that are still there count as cached.
        Raises ContextOverflowError when the corpus is larger than query.limits.max_tokens; nothing is read then.
        """
        if self._writer:
            return (yield from self._write(self._writer, query, live))
        stats = self._index.stats
        limit = query.limits.max_tokens
        if limit is not None and stats.tokens > limit:
            raise ContextOverflowError(
                stats.tokens, limit, f"ask with --route retrieval, or --max-tokens {stats.tokens} for the whole corpus"
            )
        explanation = self._explain(query, after)
        if explanation is not None:
            return explanation
        if isinstance(self._reader, ChunkScorer):
            return self._score(self._reader, query, after)
        return self._read(query, after)

    def _explain(self, query: Query, after: Attempt | None) -> Attempt | None:
        """A card for a question that asks for an explanation: lines of what search finds, and the graph's facts.

        Its lines are found by their words, so nothing is gained by scoring every chunk.
        """
        if not asks_to_explain(query.text):
            return None
        started = perf_counter()
        hits = self._index.search(query.text, top_k=TOP_K_OF_LESS)
        chunks = choose(hits, EXPLAINING_BUDGETS * query.budget_tokens, self._index)
        made = explained(query.text, chunks, self._index)
        if made is None:
            return None
        known = _ids(after)
        n_cached = sum(chunk.n_tokens for chunk in chunks if chunk.id in known)
        usage = _usage(sum(chunk.n_tokens for chunk in chunks), n_cached, made.generation, started, perf_counter())
        citations = verify(made.generation, made.chunks, self._index)
        notes = (*made.notes, f"made of {len(chunks)} chunks that search found, and of the knowledge graph")
        return Attempt(self.name, made.generation, citations, usage, made.chunks, notes)

    def _score(self, scorer: ChunkScorer, query: Query, after: Attempt | None) -> Attempt:
        """Every chunk by its score, then the best of them together."""
        started, was_loaded = perf_counter(), is_loaded(self._reader)
        expected = forecast(query.text, self._index, scorer).seconds
        limit = query.limits.max_seconds
        until = None if limit is None else started + limit
        found = score_all(query.text, self._index, scorer, self._progress, known_ids=_ids(after), until=until)
        prefilled = perf_counter()
        best = found.best()
        generation, best = self._or_described(query, self._reader.read(query.text, best), best)
        usage = _usage(found.n_tokens, found.cached_tokens, generation, started, prefilled)
        known = f", {found.n_known:,} of them in an earlier reading" if found.n_known else ""
        if found.n_unread:
            made = self._attempt(generation, best, usage, found.n_chunks - found.n_unread, known)
            note = f"degraded: {found.n_unread:,} chunks were left unread to keep within the limit on seconds"
            return replace(made, notes=(note, *made.notes), degraded=True)
        if was_loaded:
            self._rates.learn(SCORING, expected, usage.seconds)
        return self._attempt(generation, best, usage, found.n_chunks, known)

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
        n_tokens = n_cached = n_done = 0
        kept: list[tuple[float, Chunk]] = []
        declined: Generation | None = None
        started = perf_counter()
        n_chunks = self._index.stats.chunks
        self._progress("read", 0, n_chunks)
        for block in _blocks(self._index.chunks(), self._block_chunks):
            generation = self._reader.read(query.text, block)
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
        generation = self._reader.read(query.text, chunks) if chunks else nothing
        return self._attempt(generation, chunks, _usage(n_tokens, n_cached, generation, started, prefilled), n_done)

    def _attempt(
        self, generation: Generation, chunks: Sequence[Chunk], usage: Usage, n_read: int, known: str = ""
    ) -> Attempt:
        files = f"{self._index.stats.files:,} files"
        notes = (f"read all {n_read:,} chunks, {usage.prompt_tokens:,} tokens, of {files}{known}", *generation.notes)
        citations = verify(generation, chunks, self._index, whole=True)
        return Attempt(self.name, generation, citations, usage, tuple(chunks), notes)

    def _write(self, writer: Writer, query: Query, live: bool) -> Attempting:
        """Lets the model read everything, once for every state of the index, and answer."""
        stats, room, limit = self._index.stats, writer.room(query), query.limits.max_tokens
        n_tokens = writer.corpus_tokens(self._index, room)
        if n_tokens > room:
            raise ContextOverflowError(
                n_tokens, max(0, room), "ask with --route retrieval, or --window-tokens with more"
            )
        n_prompt = n_tokens + writer.asked(query)
        if limit is not None and n_prompt > limit:
            raise ContextOverflowError(
                n_prompt, limit, f"ask with --route retrieval, or --max-tokens {n_prompt} for the whole corpus"
            )
        self._progress("read", 0, stats.chunks)
        chunks = tuple(self._index.chunks())

        def best_first() -> list[Chunk]:
            return [hit.chunk for hit in self._index.search(query.text, top_k=min(len(chunks), TOP_K_OF_LESS))]

        attempt = yield from writer.write(
            self.name, query, chunks, self._index, best_first=best_first, live=live, keep=stats.generation
        )
        self._progress("read", stats.chunks, stats.chunks)
        notes = (f"read {len(attempt.chunks):,} of {stats.chunks:,} chunks, of {stats.files:,} files",)
        return replace(attempt, notes=(*notes, *attempt.notes))


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
