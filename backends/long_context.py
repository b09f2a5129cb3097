"""The long-context route: the whole corpus is read, chunk by chunk in reading order, block after block.

Each block's best evidence goes to a last reading, which weighs all of it together; no more than a block is held at a
time.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from time import perf_counter
from typing import TYPE_CHECKING

from selfroute.backends.base import Progress
from selfroute.backends.citations import verify
from selfroute.models.metering import peak_bytes
from selfroute.errors import ContextOverflowError
from selfroute.models.base import Reader
from selfroute.models.tokenizer import wordpiece
from selfroute.types import LONG_CONTEXT, Attempt, Chunk, Estimate, Generation, Query, Usage

if TYPE_CHECKING:
    from selfroute.memory.index import Index

BLOCK_CHUNKS = 4096  # read at a time: about 5 MB of text

# Priors, until policies are learned for the reader at hand. Long context's share right on LaRA, mean of 13 models.
P_CORRECT = 0.65
TOKENS_PER_SECOND = 1_000_000  # of the evidence reader on one core, index included


class LongContextBackend:
    """Answers from everything."""

    name = LONG_CONTEXT

    def __init__(
        self, index: Index, reader: Reader, *, block_chunks: int = BLOCK_CHUNKS, progress: Progress | None = None
    ) -> None:
        self._index, self._reader, self._block_chunks = index, reader, block_chunks
        self._progress: Progress = progress or (lambda stage, done, total: None)

    def estimate(self, query: Query) -> Estimate:
        """The whole corpus at the evidence reader's pace."""
        n_tokens = self._index.stats.tokens
        return Estimate(P_CORRECT, n_tokens / TOKENS_PER_SECOND, n_tokens)

    def answer(self, query: Query, *, after: Attempt | None = None) -> Attempt:
        """Reads every chunk. The attempt's chunks are those that its last reading chose from; spans point into them.

        after: those of its chunks that are still there count as cached.
        Raises ContextOverflowError when the corpus is larger than query.limits.max_tokens; nothing is read then.
        """
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
        generation = self._reader.read(query.text, chunks) if chunks else nothing
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


def _blocks(chunks: Iterator[Chunk], size: int) -> Iterator[list[Chunk]]:
    while block := list(islice(chunks, size)):
        yield block
