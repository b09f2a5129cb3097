"""The retrieval route: search, pack into the budget, read, check the quotes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from time import perf_counter
from typing import TYPE_CHECKING

from selfroute.backends.base import Attempting, Progress
from selfroute.backends.cards import Card, explained
from selfroute.backends.citations import verify
from selfroute.backends.context import arrange, choose
from selfroute.backends.described import with_described
from selfroute.backends.generating import Writer, finish
from selfroute.backends.relations import GraphAnswer, from_graph
from selfroute.errors import ContextOverflowError
from selfroute.memory.rates import Rates
from selfroute.models.base import Reader
from selfroute.models.metering import peak_bytes
from selfroute.models.tokenizer import wordpiece
from selfroute.types import RETRIEVAL, Attempt, Chunk, Estimate, Generation, Hit, Query, Usage

if TYPE_CHECKING:
    from selfroute.memory.index import Index

TOP_K = 24  # hits asked for; what the budget has no room for is left out
N_BEST = 10  # hits that an answer is expected among: those left out are named in the attempt
N_JUDGED = 12  # chunks in which the reader looks for what a model did not find
EARLIER = "earlier attempt"  # in Hit.via
COARSER = 2  # the built-in count of a text over that of a model's own tokenizer, at most

# Priors, until policies are learned for the reader at hand. Retrieval's share right on LaRA, mean of 13 models.
P_CORRECT = 0.67

# Priors, until they were measured where the index lies: seconds of a search, seconds a token of the trained reader on
# two cores, and the share of the budget that is packed.
SEARCH_SECONDS, TOKEN_SECONDS, PACKED = 0.03, 1 / 20_000, 0.7
LEAST_READ_TOKENS = 512  # a reading of less is not worth beginning; what does not fit the time is left unread
LOADING_SECONDS = 1.0  # of the reader, in a process that has not read yet
SEARCHING, READING, PACKING = "retrieval.search", "retrieval.read", "retrieval.packed"
NO_TIME = "no time was left to read"


class RetrievalBackend:
    """Answers from a few chunks that search finds."""

    name = RETRIEVAL

    def __init__(
        self,
        index: Index,
        reader: Reader,
        *,
        writer: Writer | None = None,
        top_k: int = TOP_K,
        cards: bool = True,
        progress: Progress | None = None,
    ) -> None:
        """writer: answers instead of the reader. cards: whether what asks for an explanation is answered by a card."""
        self._index, self._reader, self._writer, self._top_k = index, reader, writer, top_k
        self._cards = cards
        self._rates = Rates(index.directory, keeps=index.keeps_scores)
        self._progress: Progress = progress or (lambda stage, done, total: None)

    def estimate(self, query: Query) -> Estimate:
        """At most the budget, at most the corpus."""
        if self._writer:
            room = self._writer.room(query)
            return self._writer.estimate(P_CORRECT, min(_budget(query), self._index.stats.tokens, max(1, room)), room)
        n_tokens = max(0, min(_budget(query), self._index.stats.tokens))
        search, read = self._rates.get(SEARCHING, SEARCH_SECONDS), self._rates.get(READING, TOKEN_SECONDS)
        packed = min(1.0, self._rates.get(PACKING, PACKED).per_unit) * n_tokens
        loading = 0.0 if is_loaded(self._reader) else LOADING_SECONDS
        return Estimate(
            P_CORRECT,
            search.of(1) + read.of(packed) + loading,
            n_tokens,
            seconds_high=search.high_of(1) + read.high_of(n_tokens) + 2 * loading,
            seconds_least=search.high_of(1) + read.high_of(min(n_tokens, LEAST_READ_TOKENS)) + 2 * loading,
        )

    def answer(self, query: Query, *, after: Attempt | None = None) -> Attempt:
        """What stream() comes to."""
        return finish(self.stream(query, after=after, live=False))

    def stream(self, query: Query, *, after: Attempt | None = None, live: bool = True) -> Attempting:
        """Searches, packs and reads; a relational question is answered by the knowledge graph.

        A question that asks for an explanation is answered by a card, unless a model writes.
        A model is not asked what the graph is sure of. The attempt's chunks are those read, best first; the
        generation's spans point into them.

        after: its chunks are read again where the budget has room behind this search's own, and count as cached.
        """
        started = perf_counter()
        of_graph = from_graph(query.text, self._index)
        if of_graph is not None and (self._writer is None or of_graph.generation.confidence == 1.0):
            return self._from_graph(of_graph, perf_counter() - started)
        budget = _budget(query)
        self._progress("search", 0, 1)
        hits = self._index.search(query.text, top_k=self._top_k)
        self._progress("search", 1, 1)
        earlier = after.chunks if after else ()
        if self._writer:
            return (yield from self._write(self._writer, query, hits, earlier, live))
        chunks = choose([*hits, *(Hit(chunk, 0.0, (EARLIER,)) for chunk in earlier)], budget, self._index)
        chunks, unread = self._in_time(query, chunks, perf_counter() - started)
        context = arrange(chunks, budget)
        packed = perf_counter()
        was_loaded = is_loaded(self._reader)

        self._progress("read", 0, len(chunks))
        explanation = explained(query.text, chunks, self._index) if self._cards else None
        made = explanation or (self._by_reader(query.text, chunks) if chunks or not unread else _no_time())
        self._progress("read", len(chunks), len(chunks))
        read = perf_counter()

        self._learn(
            context.n_tokens, min(budget, self._index.stats.tokens), packed - started, read - packed, was_loaded
        )
        known = {chunk.id for chunk in earlier}
        usage = Usage(
            prompt_tokens=context.n_tokens,
            cached_tokens=sum(chunk.n_tokens for chunk in chunks if chunk.id in known),
            new_tokens=wordpiece().count(made.generation.text),
            prefill_seconds=packed - started,
            decode_seconds=read - packed,
            peak_bytes=peak_bytes(),
        )
        citations = verify(made.generation, made.chunks, self._index, whole=explanation is None)
        notes = (*self._notes(hits, chunks, budget), *made.notes)
        if unread:
            notes = (f"degraded: {unread} chunks were left unread to keep within the limit on seconds", *notes)
        left_out = _left_out(hits, chunks)
        return Attempt(
            self.name, made.generation, citations, usage, made.chunks, notes, bool(unread), left_out=left_out
        )

    def _in_time(self, query: Query, chunks: list[Chunk], spent: float) -> tuple[list[Chunk], int]:
        """The best of the chunks that can be read within what is left of the question's seconds; how many cannot."""
        if query.limits.max_seconds is None:
            return chunks, 0
        loading = 0.0 if is_loaded(self._reader) else 2 * LOADING_SECONDS
        a_token = self._rates.get(READING, TOKEN_SECONDS).high_of(1)
        room = (query.limits.max_seconds - spent - loading) / a_token
        kept = 0
        for chunk in chunks:
            room -= max(chunk.n_tokens, 32)
            if room < 0:
                break
            kept += 1
        return chunks[:kept], len(chunks) - kept

    def _learn(self, n_tokens: int, n_most: int, searching: float, reading: float, was_loaded: bool) -> None:
        self._rates.learn(SEARCHING, 1, searching)
        if was_loaded:  # else the reading paid for the loading
            self._rates.learn(READING, n_tokens, reading)
        self._rates.learn(PACKING, n_most, n_tokens)

    def _by_reader(self, question: str, chunks: Sequence[Chunk]) -> Card:
        read = with_described(question, self._reader.read(question, chunks), chunks, self._index)
        return Card(read, tuple(chunks), read.notes)

    def _from_graph(self, known: GraphAnswer, seconds: float) -> Attempt:
        """Nothing was read by a reader: the tokens are those of the answer."""
        usage = Usage(
            new_tokens=wordpiece().count(known.generation.text), decode_seconds=seconds, peak_bytes=peak_bytes()
        )
        citations = verify(known.generation, known.chunks, self._index)
        return Attempt(self.name, known.generation, citations, usage, known.chunks, known.notes)

    def _write(self, writer: Writer, query: Query, hits: list[Hit], earlier: Sequence[Chunk], live: bool) -> Attempting:
        """Packs by the model's own count, and lets it answer."""
        room = writer.room(query)
        limit = query.limits.max_tokens
        if limit == query.budget_tokens:  # a budget is of context alone
            limit = None
        if limit is not None and writer.asked(query) >= limit:
            raise ContextOverflowError(
                writer.asked(query), limit, f"--max-tokens {writer.asked(query) + LEAST_READ_TOKENS}, or no model"
            )
        budget = min(_budget(query), room, room if limit is None else limit - writer.asked(query))
        found = [*hits, *(Hit(chunk, 0.0, (EARLIER,)) for chunk in earlier)]
        best_first = writer.fit(choose(found, COARSER * budget, self._index), budget) if room > 0 else []
        if room < 1 or (hits and not best_first and room < _budget(query)):
            window = writer.generator.context_length
            raise ContextOverflowError(
                window - room + 1, window, "ask a shorter question, or give --window-tokens more, or a larger model"
            )
        ordered = arrange(best_first, budget).chunks
        attempt = yield from writer.write(
            self.name, query, ordered, self._index, best_first=lambda: best_first, live=live
        )
        notes = self._notes(hits, list(attempt.chunks), budget)
        read = set(attempt.chunks)
        return replace(
            self._judged(attempt, query, [chunk for chunk in best_first if chunk in read][:N_JUDGED]),
            notes=(*notes, *attempt.notes),
            left_out=_left_out(hits, attempt.chunks),
        )

    def _judged(self, attempt: Attempt, query: Query, best: Sequence[Chunk]) -> Attempt:
        """The attempt of a model that found no answer with what a trained reader makes of the best chunks."""
        if attempt.generation.finish != "declined" or not best or not getattr(self._reader, "calibrated", False):
            return attempt
        started = perf_counter()
        reading = self._reader.read(query.text, best)
        usage = attempt.usage + Usage(decode_seconds=perf_counter() - started)
        return replace(attempt, usage=usage, reading=reading)

    def _notes(self, hits: list[Hit], chunks: list[Chunk], budget: int) -> list[str]:
        taken = {chunk.id for chunk in chunks}
        n_files = len({chunk.path for chunk in chunks})
        notes = [f"searched {self._index.stats.chunks:,} chunks, read {len(chunks)} of them, from {n_files} files"]
        left_out = sum(hit.chunk.id not in taken for hit in hits)
        if left_out:
            notes.append(
                f"{left_out} of {len(hits)} hits left out: repeated, or beyond the budget of {budget:,} tokens"
            )
        stale = sum(hit.stale for hit in hits)
        if stale:
            notes.append(f"{stale} of {len(hits)} hits are of files that changed since they were indexed")
        return notes


def is_loaded(reader: Reader) -> bool:
    """Whether a reader can read at once; one that does not say so has nothing to load."""
    return bool(getattr(reader, "is_loaded", True))


def _no_time() -> Card:
    return Card(Generation("", answerable=False, finish="declined", notes=(NO_TIME,)), (), (NO_TIME,))


def _left_out(hits: Sequence[Hit], chunks: Sequence[Chunk]) -> tuple[Chunk, ...]:
    """Those of the best hits that were not read, by themselves or as an equal text."""
    read = {chunk.content_hash or chunk.id for chunk in chunks}
    return tuple(hit.chunk for hit in hits[:N_BEST] if (hit.chunk.content_hash or hit.chunk.id) not in read)


def _budget(query: Query) -> int:
    limit = query.limits.max_tokens
    return query.budget_tokens if limit is None else min(query.budget_tokens, limit)
