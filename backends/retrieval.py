"""The retrieval route: search, pack into the budget, read, check the quotes."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING

from selfroute.backends.base import Progress
from selfroute.backends.citations import verify
from selfroute.backends.context import arrange, choose
from selfroute.models.metering import peak_bytes
from selfroute.models.base import Reader
from selfroute.models.tokenizer import wordpiece
from selfroute.types import RETRIEVAL, Attempt, Chunk, Estimate, Hit, Query, Usage

if TYPE_CHECKING:
    from selfroute.memory.index import Index

TOP_K = 24  # hits asked for; what the budget has no room for is left out
EARLIER = "earlier attempt"  # in Hit.via

# Priors, until policies are learned for the reader at hand. Retrieval's share right on LaRA, mean of 13 models.
P_CORRECT = 0.67
SECONDS = 0.05  # search and reading a packed context, on one core


class RetrievalBackend:
    """Answers from a few chunks that search finds."""

    name = RETRIEVAL

    def __init__(self, index: Index, reader: Reader, *, top_k: int = TOP_K, progress: Progress | None = None) -> None:
        self._index, self._reader, self._top_k = index, reader, top_k
        self._progress: Progress = progress or (lambda stage, done, total: None)

    def estimate(self, query: Query) -> Estimate:
        """At most the budget, at most the corpus."""
        return Estimate(P_CORRECT, SECONDS, min(_budget(query), self._index.stats.tokens))

    def answer(self, query: Query, *, after: Attempt | None = None) -> Attempt:
        """Searches, packs and reads. The attempt's chunks are those read, best first; the generation's spans point
        into them.

        after: its chunks are read again where the budget has room behind this search's own, and count as cached.
        """
        budget = _budget(query)
        started = perf_counter()
        self._progress("search", 0, 1)
        hits = self._index.search(query.text, top_k=self._top_k)
        self._progress("search", 1, 1)
        earlier = after.chunks if after else ()
        chunks = choose([*hits, *(Hit(chunk, 0.0, (EARLIER,)) for chunk in earlier)], budget, self._index)
        context = arrange(chunks, budget)
        packed = perf_counter()

        self._progress("read", 0, len(chunks))
        generation = self._reader.read(query.text, chunks)
        self._progress("read", len(chunks), len(chunks))
        read = perf_counter()

        known = {chunk.id for chunk in earlier}
        usage = Usage(
            prompt_tokens=context.n_tokens,
            cached_tokens=sum(chunk.n_tokens for chunk in chunks if chunk.id in known),
            new_tokens=wordpiece().count(generation.text),
            prefill_seconds=packed - started,
            decode_seconds=read - packed,
            peak_bytes=peak_bytes(),
        )
        citations = verify(generation, chunks, self._index)
        return Attempt(self.name, generation, citations, usage, tuple(chunks), tuple(self._notes(hits, chunks, budget)))

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


def _budget(query: Query) -> int:
    limit = query.limits.max_tokens
    return query.budget_tokens if limit is None else min(query.budget_tokens, limit)
