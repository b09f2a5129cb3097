"""A language model behind both routes: what fits its window, one kept context, and less of it when memory runs out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from threading import Lock
from time import perf_counter
from typing import TYPE_CHECKING

from selfroute.backends.base import Attempting
from selfroute.backends.citations import verify
from selfroute.backends.context import arrange
from selfroute.backends.costs import Expected, Part, expected, in_time, kind_of_work, stopped
from selfroute.backends.keeping import keeper, note, tokens_kept
from selfroute.deadline import Deadline
from selfroute.errors import DeviceMemoryError, ModelServerError, OutOfTimeError
from selfroute.memory.rates import Rates
from selfroute.models.base import Generator, Stream
from selfroute.models.prompt import fence, make_prompt
from selfroute.models.sizes import free_memory
from selfroute.types import Attempt, Chunk, Estimate, Generation, Query, Usage

if TYPE_CHECKING:
    from selfroute.memory.index import Index

MAX_NEW_TOKENS = 512
SLACK_TOKENS = 64  # for what a chat template puts around a prompt
NONCE = "00000000"  # as long as a real one, to count with
EXPECTED_NEW_TOKENS = 120
LEAST_NEW_TOKENS = 64  # of an answer that is worth its money
PREFILL_RATE, DECODE_RATE = 500.0, 20.0  # tokens a second; first guesses, until this model's own are known
MILLION = 1e6
GRACE_SECONDS = 0.05  # in which a model that can be stopped ends its answer by itself
WORTH_COUNTING = 4  # a corpus of this many times the window by the built-in count does not fit by any other


class Writer:
    """Answers with a generator, for any route. Any thread may use it."""

    def __init__(
        self,
        generator: Generator,
        *,
        max_new_tokens: int = MAX_NEW_TOKENS,
        price_in: float = 0.0,
        price_out: float = 0.0,
        rates: Rates | None = None,
    ) -> None:
        """price_in, price_out: dollars for a million tokens of prompts and of answers. rates: those of the machine."""
        self.generator, self._max_new_tokens = generator, max_new_tokens
        self._price_in, self._price_out = price_in / MILLION, price_out / MILLION
        self.rates = rates or Rates.of_machine()
        self._costs: dict[str, int] = {}
        self._corpus: tuple[int, int] = (-1, 0)  # generation of the index, tokens of all its chunks
        self._kept: tuple[int, tuple[Chunk, ...], object] | None = None
        self._lock = Lock()
        self._n_instructions: int | None = None

    def room(self, query: Query) -> int:
        """Tokens of the window that chunks may take beside instructions, question and answer; below 1: none."""
        return self._window(query) - self._around(query) - self._most_new(query)

    def allowed(self, query: Query) -> int | None:
        """Tokens that chunks may take by the question's limits on tokens and dollars; below 1: none; None: any."""
        limits, most = query.limits, []
        if limits.max_tokens is not None:
            most.append(limits.max_tokens)
        if limits.max_dollars is not None and self._price_in > 0:
            left = limits.max_dollars - self._price_out * min(LEAST_NEW_TOKENS, self._most_new(query))
            most.append(int(left / self._price_in))
        return min(most) - self._around(query) if most else None

    def _window(self, query: Query) -> int:
        return in_time(self.generator, query.limits.deadline).context_length

    def _around(self, query: Query) -> int:
        """Tokens of a prompt beside its chunks, with what a template may add."""
        prompt = make_prompt((), NONCE)
        if self._n_instructions is None:
            self._n_instructions = self.generator.count_tokens(prompt.instructions)
        asked = self._n_instructions + self.generator.count_tokens(prompt.ask(query.text))
        return asked + min(SLACK_TOKENS, self._window(query) // 16)

    def _most_new(self, query: Query) -> int:
        return min(self._max_new_tokens, self._window(query) // 4)

    def _new_tokens(self, query: Query, n_prompt: int) -> int:
        """What an answer may have: less where the money that its prompt leaves buys less. Below 1: nothing."""
        most, limit = self._most_new(query), query.limits.max_dollars
        if limit is None or self._price_out <= 0:
            return most
        return min(most, int((limit - n_prompt * self._price_in) / self._price_out + 1e-9))

    def dollars(self, n_prompt: int, n_new: int) -> float:
        """What so many tokens cost."""
        return n_prompt * self._price_in + n_new * self._price_out

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

    def estimate(
        self, p_correct: float, query: Query, n_tokens: int, room: int, *, n_resident: int = 0, high: int | None = None
    ) -> Estimate:
        """What answering from chunks of n_tokens would cost, at this model's own pace once it is known.

        n_resident: of them, those that are read already. high: the most that they may come to.
        """
        around = self._around(query)
        tokens, most = n_tokens + around, (n_tokens if high is None else high) + around
        n_new = max(min(LEAST_NEW_TOKENS, self._most_new(query)), self._new_tokens(query, most))
        takes = self.expected(max(0, tokens - n_resident))
        return Estimate(
            p_correct,
            takes.seconds,
            tokens,
            self.dollars(tokens, min(n_new, self._usual_new())),
            room_tokens=max(0, room) + around,
            seconds_high=takes.high,
            tokens_high=most,
            dollars_high=self.dollars(most, n_new),
        )

    def expected(self, n_unread: int) -> Expected:
        """What reading a prompt and writing an answer would take."""
        return expected(
            self.rates,
            kind_of_work("answer", self.generator),
            Part(kind_of_work("prefill", self.generator), max(1, n_unread) / PREFILL_RATE),
            Part(kind_of_work("decode", self.generator), self._usual_new() / DECODE_RATE),
        )

    def _usual_new(self) -> int:
        return round(self.rates.expect(kind_of_work("new", self.generator), EXPECTED_NEW_TOKENS))

    def resident(self, index: Index) -> int:
        """Tokens of the index's chunks that are read and kept, in memory or beside the index."""
        if self._kept and self._kept[0] == index.stats.generation == self._corpus[0]:
            return self._corpus[1]
        return tokens_kept(self.generator, index)

    def tokens(self, chunks: Sequence[Chunk]) -> int:
        """What the chunks take of the window."""
        return sum(map(self._cost, chunks))

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
        began: float | None = None,
    ) -> Attempting:
        """Reads the chunks in this order, answers, checks the citations. began: when work on the attempt did.

        live: gives the pieces as they come. keep: the generation of the index whose chunks these are, all of them; its
        context is kept for the next question. When memory runs out before a piece was given, half as much is read, of
        best_first(), and so on; the attempt is degraded then. Raises DeviceMemoryError when nothing is left to leave
        out, and whatever the generator raises.
        """
        if not chunks:
            nothing = Generation("", answerable=False, finish="declined", notes=("nothing was found to read",))
            return Attempt(route, nothing, (), Usage(), notes=nothing.notes)
        generator, deadline = in_time(self.generator, query.limits.deadline), query.limits.deadline
        around, began = self._around(query), perf_counter() if began is None else began
        notes: tuple[str, ...] = ()
        read = tuple(chunks)
        while True:
            given: list[str] = []
            reading = perf_counter()
            try:
                read, handle = self._context(generator, read, keep, index)
                writing = perf_counter()
                most = max(1, self._new_tokens(query, around + self.tokens(read)))
                if live or deadline is not None:
                    pieces = _until(generator.stream(query.text, handle, max_new_tokens=most), deadline, given)
                    while True:
                        try:
                            piece = next(pieces)
                        except StopIteration as stop:
                            generation: Generation = stop.value
                            break
                        if live:
                            yield piece
                else:
                    generation = generator.generate(query.text, handle, max_new_tokens=most)
                break
            except (OutOfTimeError, ModelServerError):
                if deadline is None or deadline.left > 0:
                    raise
                n_prompt = around + self.tokens(read)  # it was sent, if it was
                return stopped(route, f"while a model read {len(read):,} chunks", self._bill(Usage(n_prompt)), notes)
            except Exception as error:
                if not out_of_memory(error):
                    raise
                if given and live:
                    raise _as_memory_error(error) from error
                handle = keep = self._kept = None
                n_tokens = self.tokens(read) // 2
                smaller = arrange(self.fit(best_first(), n_tokens), query.budget_tokens).chunks
                if not smaller or (len(smaller) >= len(read) and set(smaller) == set(read)):
                    raise _as_memory_error(error) from error
                notes = (f"degraded: memory ran out over {len(read):,} chunks; the best {len(smaller):,} were read",)
                read = smaller
        cut = deadline is not None and deadline.left <= 0 and generation.finish in ("length", "untrusted")
        if cut and not generation.answerable:
            generation = replace(generation, finish="stopped")
        if cut:
            notes = (*notes, "degraded: the answer ends where its time was up")
        usage = self._bill(generation.usage)
        written = perf_counter()
        citations = verify(generation, read, index)
        if not (cut or notes):
            self._learn(usage, writing - reading, written - writing, perf_counter() - began)
        generation = replace(generation, usage=usage)
        return Attempt(route, generation, citations, usage, read, (*notes, *generation.notes), degraded=bool(notes))

    def _bill(self, usage: Usage) -> Usage:
        return replace(usage, dollars=self.dollars(usage.prompt_tokens, usage.new_tokens))

    def _context(
        self, generator: Generator, chunks: tuple[Chunk, ...], keep: int | None, index: Index
    ) -> tuple[tuple[Chunk, ...], object]:
        """(chunks, handle): the kept one of this generation of the index, or a new one; beside the index, too."""
        if keep is None:
            return chunks, generator.prefill(chunks)
        with self._lock:
            if self._kept is None or self._kept[0] != keep:
                self._kept = None
                keeping = keeper(generator, index)
                self._kept = keep, chunks, keeping.prefill(chunks)
                if keeping is not generator:
                    note(generator, index, keep, self.tokens(chunks))
            return self._kept[1], self._kept[2]

    def _cost(self, chunk: Chunk) -> int:
        cost = self._costs.get(chunk.id)
        if cost is None:
            if len(self._costs) > 1 << 18:
                self._costs.clear()
            cost = self._costs[chunk.id] = self.generator.count_tokens(fence(1000, chunk, NONCE, escape=True))
        return cost

    def _learn(self, usage: Usage, prefilled: float, decoded: float, total: float) -> None:
        """Takes this model's pace from an answer: its own account of seconds, or those that were measured here."""
        n_unread = usage.prompt_tokens - usage.cached_tokens
        takes = self.expected(n_unread)
        guesses = n_unread / PREFILL_RATE, usage.new_tokens / DECODE_RATE
        real = (usage.prefill_seconds, usage.decode_seconds) if usage.seconds > 0 else (prefilled, decoded)
        for part, guess, seconds in zip(takes.parts, guesses, real, strict=True):
            self.rates.learn(part.kind, guess, seconds)
        self.rates.learn(takes.kind, takes.seconds, total)
        self.rates.learn(kind_of_work("new", self.generator), EXPECTED_NEW_TOKENS, usage.new_tokens)
        self.rates.save()


def _until(pieces: Stream, deadline: Deadline | None, given: list[str]) -> Stream:
    """The pieces, which are kept in `given`; those of a model that cannot be stopped by itself end at the deadline."""
    while True:
        try:
            piece = next(pieces)
        except StopIteration as stop:
            whole: Generation = stop.value
            return whole
        given.append(piece)
        yield piece
        if deadline is not None and deadline.left < -GRACE_SECONDS:
            pieces.close()
            if not "".join(given).strip():
                raise OutOfTimeError
            return Generation("".join(given), finish="length", notes=("its citations could not be checked",))


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
