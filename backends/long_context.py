"""The long-context route: the whole corpus is read, chunk by chunk in reading order, block after block.

Each block's best evidence goes to a last reading, which weighs all of it together; no more than a block is held at a
time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from time import perf_counter
from typing import TYPE_CHECKING

from selfroute.backends.base import Attempting, Progress
from selfroute.backends.cards import explained
from selfroute.backends.citations import verify
from selfroute.backends.generating import Writer, finish
from selfroute.errors import ContextOverflowError
from selfroute.models.base import Reader
from selfroute.models.metering import peak_bytes
from selfroute.models.tokenizer import wordpiece
from selfroute.types import LONG_CONTEXT, Attempt, Chunk, Estimate, Generation, Query, Usage

if TYPE_CHECKING:
    from selfroute.memory.index import Index

BLOCK_CHUNKS = 4096  # read at a time: about 5 MB of text
TOP_K_OF_LESS = 256  # hits that are read instead when a model has no memory for everything

# Priors, until policies are learned for the reader at hand. Long context's share right on LaRA, mean of 13 models.
P_CORRECT = 0.65
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

    def estimate(self, query: Query) -> Estimate:
        """The whole corpus, at the evidence reader's pace or the model's."""
        if self._writer:
            room = self._writer.room(query)
            n_tokens = self._writer.corpus_tokens(self._index, room)
            resident = self._writer.resident(self._index)
            return self._writer.estimate(P_CORRECT, n_tokens, room, n_resident=resident)
        n_tokens = self._index.stats.tokens
        return Estimate(P_CORRECT, n_tokens / TOKENS_PER_SECOND, n_tokens)

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
        known = {chunk.id for chunk in after.chunks} if after else set()
        n_tokens = n_cached = n_done = 0
        kept: list[tuple[float, Chunk]] = []
        declined: Generation | None = None
        started = perf_counter()
        self._progress("read", 0, stats.chunks)
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
            self._progress("read", n_done, max(n_done, stats.chunks))
        prefilled = perf_counter()

        chunks = [chunk for _, chunk in sorted(kept, key=lambda item: -item[0])]
        nothing = declined or Generation("", answerable=False, finish="declined")
        made = explained(query.text, chunks, self._index)
        generation = made.generation if made else self._reader.read(query.text, chunks) if chunks else nothing
        chunks = list(made.chunks) if made else chunks
        usage = Usage(
            prompt_tokens=n_tokens,
            cached_tokens=n_cached,
            new_tokens=wordpiece().count(generation.text),
            prefill_seconds=prefilled - started,
            decode_seconds=perf_counter() - prefilled,
            peak_bytes=peak_bytes(),
        )
        notes = (f"read all {n_done:,} chunks, {n_tokens:,} tokens, of {stats.files:,} files",)
        citations = verify(generation, chunks, self._index)
        return Attempt(self.name, generation, citations, usage, tuple(chunks), notes)

    def _write(self, writer: Writer, query: Query, live: bool) -> Attempting:
        """Lets the model read everything, once for every state of the index, and answer."""
        stats, room, limit = self._index.stats, writer.room(query), query.limits.max_tokens
        n_tokens = writer.corpus_tokens(self._index, room)
        if n_tokens > room:
            raise ContextOverflowError(
                n_tokens, max(0, room), "ask with --route retrieval, or --window-tokens with more"
            )
        if limit is not None and n_tokens > limit:
            raise ContextOverflowError(
                n_tokens, limit, f"ask with --route retrieval, or --max-tokens {n_tokens} for the whole corpus"
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


def _blocks(chunks: Iterator[Chunk], size: int) -> Iterator[list[Chunk]]:
    while block := list(islice(chunks, size)):
        yield block
