"""A language model behind both routes: what fits its window, one kept context, and less of it when memory runs out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from threading import Lock
from typing import TYPE_CHECKING

from selfroute.backends.base import Attempting
from selfroute.backends.citations import verify
from selfroute.backends.context import arrange
from selfroute.errors import DeviceMemoryError
from selfroute.models.base import Generator
from selfroute.models.prompt import fence, make_prompt
from selfroute.models.sizes import free_memory
from selfroute.types import Attempt, Chunk, Estimate, Generation, Query, Usage

if TYPE_CHECKING:
    from selfroute.memory.index import Index

MAX_NEW_TOKENS = 512
SLACK_TOKENS = 64  # for what a chat template puts around a prompt
NONCE = "00000000"  # as long as a real one, to count with
EXPECTED_NEW_TOKENS = 120
PREFILL_RATE, DECODE_RATE = 500.0, 20.0  # tokens a second; priors, until this model's own are known
HIGH, HIGH_TOKENS = 3.0, 1.1  # factors on expected seconds, and on tokens as counted here, hardly ever passed
ASKED_TOKENS = 1_000  # instructions and question
WORTH_COUNTING = 4  # a corpus of this many times the window by the built-in count does not fit by any other


class Writer:
    """Answers with a generator, for any route. Any thread may use it."""

    def __init__(
        self,
        generator: Generator,
        *,
        max_new_tokens: int = MAX_NEW_TOKENS,
        prices: tuple[float, float] = (0.0, 0.0),
    ) -> None:
        """prices: dollars for a token that is read, and for one that is written."""
        self._prices = prices
        self.generator, self._max_new_tokens = generator, max_new_tokens
        self._costs: dict[str, int] = {}
        self._corpus: tuple[int, int] = (-1, 0)  # generation of the index, tokens of all its chunks
        self._kept: tuple[int, tuple[Chunk, ...], object] | None = None
        self._lock = Lock()
        self._rates = PREFILL_RATE, DECODE_RATE

    def room(self, query: Query) -> int:
        """Tokens of the window that chunks may take beside instructions, question and answer; below 1: none."""
        window = self.generator.context_length
        return window - self._bare(query) - min(self._max_new_tokens, window // 4) - min(SLACK_TOKENS, window // 16)

    def asked(self, query: Query) -> int:
        """Tokens of a prompt without any chunk: instructions, question, and what a template may put around them."""
        return self._bare(query) + SLACK_TOKENS

    def _bare(self, query: Query) -> int:
        prompt = make_prompt((), NONCE)
        return self.generator.count_tokens(prompt.instructions) + self.generator.count_tokens(prompt.ask(query.text))

    def corpus_tokens(self, index: Index, room: int) -> int:
        """What all chunks take of the window; by the built-in count where they cannot fit anyhow."""
        stats = index.stats
        if stats.tokens > WORTH_COUNTING * max(room, 1):
            return stats.tokens
        generation, n_tokens = self._corpus
        if generation != stats.generation:
            n_tokens = sum(self._cost(chunk) for chunk in index.chunks())
            self._corpus = stats.generation, n_tokens
        return n_tokens

    def estimate(self, p_correct: float, n_tokens: int, room: int, *, n_resident: int = 0) -> Estimate:
        """What reading n_tokens would cost, at this model's own pace once it is known. n_resident: read already."""
        prefill, decode = self._rates
        n_new = max(0, n_tokens - n_resident)
        seconds = n_new / prefill + EXPECTED_NEW_TOKENS / decode
        return Estimate(
            p_correct,
            seconds,
            n_tokens,
            self._dollars(n_tokens, EXPECTED_NEW_TOKENS),
            room_tokens=max(0, room),
            seconds_high=HIGH * (n_new / prefill + self._max_new_tokens / decode),
            dollars_high=self._dollars(HIGH_TOKENS * (n_tokens + SLACK_TOKENS + ASKED_TOKENS), self._max_new_tokens),
        )

    def _dollars(self, n_read: float, n_written: float) -> float:
        return n_read * self._prices[0] + n_written * self._prices[1]

    def resident(self, index: Index) -> int:
        """Tokens of the index's chunks that are read and kept."""
        return self._corpus[1] if self._kept and self._kept[0] == index.stats.generation == self._corpus[0] else 0

    def fit(self, best_first: Sequence[Chunk], n_tokens: int) -> list[Chunk]:
        """Those of the chunks that fit, best first; a large one gives way to smaller ones after it."""
        taken = []
        for chunk in best_first:
            cost = self._cost(chunk)
            if cost <= n_tokens:
                taken.append(chunk)
                n_tokens -= cost
        return taken

    def write(
        self,
        route: str,
        query: Query,
        chunks: Sequence[Chunk],
        index: Index,
        *,
        best_first: Callable[[], Sequence[Chunk]],
        live: bool,
        keep: int | None = None,
    ) -> Attempting:
        """Reads the chunks in this order, answers, checks the citations.

        live: gives the pieces as they come. keep: the generation of the index whose chunks these are, all of them; its
        context is kept for the next question. When memory runs out before a piece was given, half as much is read, of
        best_first(), and so on; the attempt is degraded then. Raises DeviceMemoryError when nothing is left to leave
        out, and whatever the generator raises.
        """
        if not chunks:
            nothing = Generation("", answerable=False, finish="declined", notes=("nothing was found to read",))
            return Attempt(route, nothing, (), Usage(), notes=nothing.notes)
        notes: tuple[str, ...] = ()
        read = tuple(chunks)
        while True:
            given = False
            try:
                read, handle = self._context(read, keep)
                options = {"max_new_tokens": min(self._max_new_tokens, self.generator.context_length // 4)}
                if live:
                    pieces = self.generator.stream(query.text, handle, **options)
                    while True:
                        try:
                            piece = next(pieces)
                        except StopIteration as stop:
                            generation: Generation = stop.value
                            break
                        given = True
                        yield piece
                else:
                    generation = self.generator.generate(query.text, handle, **options)
                break
            except Exception as error:
                if not out_of_memory(error):
                    raise
                if given:
                    raise _as_memory_error(error) from error
                handle = keep = self._kept = None
                n_tokens = sum(map(self._cost, read)) // 2
                smaller = arrange(self.fit(best_first(), n_tokens), query.budget_tokens).chunks
                if not smaller or (len(smaller) >= len(read) and set(smaller) == set(read)):
                    raise _as_memory_error(error) from error
                notes = (f"degraded: memory ran out over {len(read):,} chunks; the best {len(smaller):,} were read",)
                read = smaller
        self._learn(generation.usage)
        citations = verify(generation, read, index)
        spent = generation.usage
        usage = replace(spent, dollars=self._dollars(spent.prompt_tokens, spent.new_tokens))
        return Attempt(route, generation, citations, usage, read, (*notes, *generation.notes), degraded=bool(notes))

    def _context(self, chunks: tuple[Chunk, ...], keep: int | None) -> tuple[tuple[Chunk, ...], object]:
        """(chunks, handle): the kept one of this generation of the index, or a new one."""
        if keep is None:
            return chunks, self.generator.prefill(chunks)
        with self._lock:
            if self._kept is None or self._kept[0] != keep:
                self._kept = None
                self._kept = keep, chunks, self.generator.prefill(chunks)
            return self._kept[1], self._kept[2]

    def _cost(self, chunk: Chunk) -> int:
        cost = self._costs.get(chunk.id)
        if cost is None:
            if len(self._costs) > 1 << 18:
                self._costs.clear()
            cost = self._costs[chunk.id] = self.generator.count_tokens(fence(1000, chunk, NONCE, escape=True))
        return cost

    def _learn(self, usage: Usage) -> None:
        """Takes this model's pace from an answer that says it."""
        prefill, decode = self._rates
        if usage.prefill_seconds > 0 and usage.prompt_tokens > usage.cached_tokens:
            prefill = max(1.0, (usage.prompt_tokens - usage.cached_tokens) / usage.prefill_seconds)
        if usage.decode_seconds > 0 and usage.new_tokens:
            decode = max(0.1, usage.new_tokens / usage.decode_seconds)
        self._rates = prefill, decode


def out_of_memory(error: BaseException) -> bool:
    """Whether a model ran out of memory, in whatever way its library says so."""
    return isinstance(error, DeviceMemoryError | MemoryError) or type(error).__name__ == "OutOfMemoryError"


def finish(attempting: Attempting) -> Attempt:
    """The attempt, its pieces left aside."""
    while True:
        try:
            next(attempting)
        except StopIteration as stop:
            attempt: Attempt = stop.value
            return attempt


def _as_memory_error(error: Exception) -> DeviceMemoryError:
    if isinstance(error, DeviceMemoryError):
        return error
    return DeviceMemoryError(0, free_memory(), "--window-tokens with less, or a smaller model")
