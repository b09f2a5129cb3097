"""The retrieval route: search, pack into the budget, read, check the quotes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from time import perf_counter
from typing import TYPE_CHECKING

from selfroute.backends import linked
from selfroute.backends.base import Attempting, Progress
from selfroute.backends.cards import Card, explained
from selfroute.backends.citations import verify
from selfroute.backends.context import arrange, choose
from selfroute.backends.costs import (
    READ_TOKENS_PER_SECOND,
    SEARCH_SECONDS,
    Expected,
    Meter,
    Part,
    check,
    expected,
    in_time,
    kind_of_work,
    load,
    loading,
    rates_for,
    stopped,
)
from selfroute.backends.described import with_described
from selfroute.backends.generating import Writer, finish
from selfroute.backends.relations import GraphAnswer, from_graph
from selfroute.errors import ContextOverflowError, OutOfTimeError
from selfroute.memory.graph.nodes import CERTAIN
from selfroute.memory.rates import Rates
from selfroute.models.base import Reader
from selfroute.models.explaining import asks_to_explain
from selfroute.models.metering import peak_bytes
from selfroute.models.tokenizer import wordpiece
from selfroute.types import RETRIEVAL, Attempt, Chunk, Estimate, Hit, Query, Usage

if TYPE_CHECKING:
    from selfroute.memory.index import Index

TOP_K = 24  # hits asked for; what the budget has no room for is left out
N_BEST = 10  # hits that an answer is expected among: those left out are named in the attempt
LEAST_TOKENS = 1_500  # that are worth a search, when there is no time for more
NEARLY_FULL = 0.9  # of a budget: more than that was cut to it, and says nothing of what there was to pack
N_JUDGED = 12  # chunks in which the reader looks for what a model did not find
EARLIER = "earlier attempt"  # in Hit.via
COARSER = 2  # the built-in count of a text over that of a model's own tokenizer, at most

# Priors, until policies are learned for the reader at hand. Retrieval's share right on LaRA, mean of 13 models.
P_CORRECT = 0.67
PACKED = 1.3  # times the tokens of TOP_K mean chunks: what packing makes of them; a first guess
GRAPH_SECONDS, CARD_SECONDS, CLOSING_SECONDS = 0.02, 0.1, 0.05  # first guesses, on two cores


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
        rates: Rates | None = None,
    ) -> None:
        """writer: answers instead of the reader. cards: whether what asks for an explanation is answered by a card.

        rates: what things take; those of the machine if not given, while the index keeps what was learned.
        """
        self._index, self._reader, self._writer, self._top_k = index, reader, writer, top_k
        self._cards = cards
        self._rates = rates or rates_for(index)
        self._progress: Progress = progress or (lambda stage, done, total: None)

    def estimate(self, query: Query) -> Estimate:
        """What is expected to be packed and read: nothing, where the graph answers; at most the budget."""
        if self._answers_from_graph(query):
            takes = self._expected_of_graph()
            return Estimate(P_CORRECT, takes.seconds, 0, seconds_high=takes.high, tokens_high=0)
        if self._writer:
            room, most = self._writer.room(query), self._budget(query)
            n_tokens = self._expected_tokens(min(most, room))
            return self._writer.estimate(P_CORRECT, query, n_tokens, room, high=max(1, min(most, room)))
        most = self._budget(query)
        n_tokens = self._expected_tokens(most)
        takes, high = self._expected(query, n_tokens)
        return Estimate(P_CORRECT, takes.seconds, n_tokens, seconds_high=high, tokens_high=max(1, most))

    def _answers_from_graph(self, query: Query) -> bool:
        """Whether the graph knows; a model is asked all the same where it is not sure."""
        found = self._index.related(query.text)
        if found is None:
            return False
        sure = not found.asked.described and all(edge.certainty == CERTAIN for edge in found.edges)
        return self._writer is None or sure

    def _expected_of_graph(self) -> Expected:
        return expected(self._rates, "retrieval graph", Part("graph", GRAPH_SECONDS))

    def _expected_tokens(self, most: int) -> int:
        """What packing will come to, as it did before; at least 1."""
        return max(1, min(most, self._index.stats.tokens, round(self._rates.expect(self._packing, self._packs))))

    @property
    def _packing(self) -> str:
        return kind_of_work("pack", self._writer.generator if self._writer else self)

    @property
    def _packs(self) -> float:
        """A first guess at what packing comes to, without a budget."""
        stats = self._index.stats
        return PACKED * self._top_k * stats.tokens / max(1, stats.chunks)

    def _expected(self, query: Query, n_tokens: int) -> tuple[Expected, float]:
        """Of a reader, and the most of it: for a card, too, which may turn out not to hold, and is read for then."""
        search, closing = Part("search", SEARCH_SECONDS), Part("close", CLOSING_SECONDS)
        read = Part(kind_of_work("read", self._reader), n_tokens / READ_TOKENS_PER_SECOND)
        parts = (search, *loading(self._reader), read, closing)
        kind = "retrieval first" if len(parts) > 3 else "retrieval read"
        reading = expected(self._rates, f"{kind} {kind_of_work('', self._reader)}", *parts)
        if not (self._cards and asks_to_explain(query.text)):
            return reading, reading.high
        card = expected(self._rates, "retrieval card", search, Part("card", CARD_SECONDS), closing)
        return card, max(reading.high, card.high)

    def _budget(self, query: Query) -> int:
        """Tokens of chunks that may be read; below 1: none. A reader reads less when the time is short."""
        if self._writer:
            allowed = self._writer.allowed(query)
            return query.budget_tokens if allowed is None else min(query.budget_tokens, allowed)
        limits = query.limits
        most = query.budget_tokens if limits.max_tokens is None else min(query.budget_tokens, limits.max_tokens)
        return most if limits.max_seconds is None else self._readable(query, most, limits.max_seconds)

    def _readable(self, query: Query, most: int, seconds: float) -> int:
        """Of so many tokens at most, those that can be read in time; all of them when that is too few to be of use."""
        n_tokens = self._expected_tokens(most)
        if self._expected(query, n_tokens)[1] <= seconds:
            return most
        least = min(LEAST_TOKENS, n_tokens)
        fast, slow = (self._expected(query, n)[1] for n in (least, n_tokens))
        if fast > seconds or slow <= fast:
            return most
        return least + int((n_tokens - least) * (seconds - fast) / (slow - fast))  # it is linear in the tokens

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
        of_graph_takes = Meter(self._rates, self._expected_of_graph())
        started = perf_counter()
        of_graph = from_graph(query.text, self._index)
        if of_graph is not None and (self._writer is None or of_graph.generation.confidence == 1.0):
            of_graph_takes.lap("graph")
            attempt = self._from_graph(of_graph, perf_counter() - started)
            of_graph_takes.done()
            return attempt
        if self._writer:
            return (yield from self._write(self._writer, query, after.chunks if after else (), live))
        return self._read(query, after.chunks if after else ())

    def _read(self, query: Query, earlier: Sequence[Chunk]) -> Attempt:
        """Searches, packs, and lets the reader read, or makes a card."""
        budget = self._budget(query)
        meter = Meter(self._rates, self._expected(query, self._expected_tokens(budget))[0])
        started = perf_counter()
        read = False
        context = arrange((), budget)
        try:
            hits = self._search(query)
            chunks = choose([*hits, *(Hit(chunk, 0.0, (EARLIER,)) for chunk in earlier)], budget, self._index)
            context = arrange(chunks, budget)
            packed = perf_counter()
            meter.lap("search")
            check(query)
            self._progress("read", 0, len(chunks))
            explanation = explained(query.text, chunks, self._index) if self._cards else None
            meter.lap("card")
            if explanation is None:
                load(self._reader, meter)
                read = True
            made = explanation or self._by_reader(query, chunks)
        except OutOfTimeError:
            usage = Usage(
                prompt_tokens=context.n_tokens, prefill_seconds=perf_counter() - started, peak_bytes=peak_bytes()
            )
            return stopped(self.name, f"while {len(context.chunks)} chunks were read", usage)
        meter.lap(kind_of_work("read", self._reader) if read else "", context.n_tokens / READ_TOKENS_PER_SECOND)
        self._progress("read", len(chunks), len(chunks))
        done = perf_counter()

        known = {chunk.id for chunk in earlier}
        usage = Usage(
            prompt_tokens=context.n_tokens,
            cached_tokens=sum(chunk.n_tokens for chunk in chunks if chunk.id in known),
            new_tokens=wordpiece().count(made.generation.text),
            prefill_seconds=packed - started,
            decode_seconds=done - packed,
            peak_bytes=peak_bytes(),
        )
        citations = verify(made.generation, made.chunks, self._index, whole=explanation is None)
        notes = (*self._notes(hits, chunks, budget), *made.notes)
        hurried = budget < min(query.budget_tokens, query.limits.max_tokens or query.budget_tokens)
        if hurried:
            notes = (f"degraded: the time was enough for {budget:,} tokens", *notes)
        meter.lap("close")
        if not earlier and context.n_tokens < NEARLY_FULL * budget:
            self._rates.learn(self._packing, self._packs, context.n_tokens)
        meter.done()
        left_out = _left_out(hits, chunks)
        return Attempt(self.name, made.generation, citations, usage, made.chunks, notes, hurried, left_out)

    def _search(self, query: Query) -> list[Hit]:
        self._progress("search", 0, 1)
        hits = self._index.search(query.text, top_k=self._top_k)
        self._progress("search", 1, 1)
        return hits

    def _by_reader(self, query: Query, chunks: Sequence[Chunk]) -> Card:
        reader = in_time(self._reader, query.limits.deadline)
        read = with_described(query.text, linked.read(reader, query.text, chunks), chunks, self._index)
        return Card(read, tuple(chunks), read.notes)

    def _from_graph(self, known: GraphAnswer, seconds: float) -> Attempt:
        """Nothing was read by a reader: the tokens are those of the answer."""
        usage = Usage(
            new_tokens=wordpiece().count(known.generation.text), decode_seconds=seconds, peak_bytes=peak_bytes()
        )
        citations = verify(known.generation, known.chunks, self._index)
        return Attempt(self.name, known.generation, citations, usage, known.chunks, known.notes)

    def _write(self, writer: Writer, query: Query, earlier: Sequence[Chunk], live: bool) -> Attempting:
        """Packs by the model's own count, and lets it answer."""
        began = perf_counter()
        hits = self._search(query)
        room, most = writer.room(query), self._budget(query)
        budget = min(most, room)
        found = [*hits, *(Hit(chunk, 0.0, (EARLIER,)) for chunk in earlier)]
        best_first = writer.fit(choose(found, COARSER * budget, self._index), budget) if room > 0 else []
        if room < 1 or (hits and not best_first and room < most):
            window = writer.generator.context_length
            raise ContextOverflowError(
                window - room + 1, window, "ask a shorter question, or give --window-tokens more, or a larger model"
            )
        ordered = arrange(best_first, budget).chunks
        if not earlier and (packed := writer.tokens(ordered)) < NEARLY_FULL * budget:
            self._rates.learn(self._packing, self._packs, packed)
        attempt = yield from writer.write(
            self.name, query, ordered, self._index, best_first=lambda: best_first, live=live, began=began
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
        try:
            reading = in_time(self._reader, query.limits.deadline).read(query.text, best)
        except OutOfTimeError:
            return attempt
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


def _left_out(hits: Sequence[Hit], chunks: Sequence[Chunk]) -> tuple[Chunk, ...]:
    """Those of the best hits that were not read, by themselves or as an equal text."""
    read = {chunk.content_hash or chunk.id for chunk in chunks}
    return tuple(hit.chunk for hit in hits[:N_BEST] if (hit.chunk.content_hash or hit.chunk.id) not in read)
