"""Any causal language model that transformers has built in, attention-only or hybrid, from a folder or by its name.

The context is read once into a cache, packed if that was asked for (selfroute.models.kv). Every question is answered on
a copy of that cache, since recurrent layers cannot be taken back to an earlier state; so a handle gives the same answer
to the same question, whatever was asked between.
"""

from __future__ import annotations

import copy
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

from selfroute.deadline import Deadline
from selfroute.errors import ConfigError, ContextOverflowError, DeviceMemoryError
from selfroute.models.base import Stream
from selfroute.models.contexts import Context, Contexts, Place, PlainContexts
from selfroute.models.encoding import Encoder
from selfroute.models.kv.presets import Preset, preset_of
from selfroute.models.loading import load, locate, pick_device, quiet
from selfroute.models.metering import peak_bytes
from selfroute.models.prompt import Prompt, fresh_nonce, make_prompt
from selfroute.models.sizes import Size, free_memory, size_of
from selfroute.models.writing import Draft, drain
from selfroute.types import Chunk, Generation, Usage

BLOCK_TOKENS = 1024  # read at a time: bounds what a prefill needs beside the cache
MIN_WINDOW = 8_192  # tokens; less is not offered unless it is asked for, or the model was trained for less
USABLE = 0.9  # of the free memory; the rest is for what is computed on the way


@dataclass(eq=False)
class Handle:
    """A context that was read: its chunks, its tokens. used: whether an answer has counted its prefill."""

    owner: object
    chunks: tuple[Chunk, ...]
    prompt: Prompt
    n_tokens: int
    context: Context
    seconds: float
    used: bool = False


class CausalGenerator:
    """Answers greedily: the same context and question, on the same machine, give the same tokens."""

    def __init__(
        self,
        model: str,
        *,
        window_tokens: int = 0,
        kv: str = "",
        device: str | None = None,
        nonce: str = "",
        free_bytes: int | None = None,
        cache_dir: Path | None = None,
        block_tokens: int = BLOCK_TOKENS,
    ) -> None:
        """model: a folder, which is read with no network, or a hub name, which is downloaded unless it is cached.

        window_tokens: the most that prompt and answer may take; 0: what the model was trained for, or less where
        memory has room for less. kv: the preset by which keys and values are packed, such as k4v8; the library's own
        cache when empty. nonce: the word of the prompt's fences, random when not given. free_bytes: of the
        device, measured when not given. cache_dir: of the hub's files. block_tokens: read at a time.
        Raises MissingDependencyError, ModelLoadError, DeviceMemoryError when weights and cache do not fit, ConfigError
        for a window that is larger than the model's or one that cannot be packed, UnknownNameError for a preset.
        """
        preset = preset_of(kv) if kv else None
        self.name = f"{model} {kv}".strip()
        self._device, self._block_tokens = pick_device(device), block_tokens
        folder = locate(model, cache_dir)
        self._size = size_of(folder)
        free = int(USABLE * _free(self._device)) if free_bytes is None else free_bytes
        self._kv = preset.name if preset else ""
        self._window = _window(self._size, window_tokens, free, self._kv)
        self._model, tokenizer = load(folder, self._device)
        self._contexts = _contexts(self._model, tokenizer, preset)
        self._place: Place | None = None
        self._encoder = Encoder(tokenizer)
        self._fences = fresh_nonce((), nonce)  # one word for the life of this object: equal prompts are equal
        self._ends = _end_ids(self._model, tokenizer)
        self._deadline: Deadline | None = None

    def until(self, deadline: Deadline) -> CausalGenerator:
        """The same model, which reads no block and writes no token more when the time is up."""
        hasty = copy.copy(self)
        hasty._deadline = deadline
        return hasty

    def keeping(self, folder: Path, secret: str) -> CausalGenerator:
        """The same model, which keeps what it reads in this folder and takes from there what was read before.

        Only with packed keys and values, and a secret. The word of the fences is the same for the folder from then on.
        """
        if not (self._kv and secret):
            return self
        keeper = copy.copy(self)
        keeper._place = Place(folder, secret)
        keeper._fences = keeper._place.word(f"fences of {folder}")[:8]
        return keeper

    @property
    def context_length(self) -> int:
        """Tokens that prompt and answer may take together."""
        return self._window

    def count_tokens(self, text: str) -> int:
        """Tokens of `text` as data."""
        return self._encoder.count(text)

    def prefill(self, chunks: Sequence[Chunk]) -> Handle:
        """Reads the chunks. Raises ContextOverflowError, nothing read, and DeviceMemoryError."""
        prompt = make_prompt(chunks, fresh_nonce(chunks, self._fences), escape=True)
        ids = self._encoder.prefix(prompt)
        if len(ids) >= self._window:
            raise ContextOverflowError(len(ids), self._window, "read fewer chunks, or give --window-tokens more")
        started = perf_counter()
        with self._memory(len(ids)):
            context = self._contexts.read(ids, self._read, self._place)
        return Handle(self._model, tuple(chunks), prompt, len(ids), context, perf_counter() - started)

    def generate(self, question: str, handle: object, *, max_new_tokens: int = 512) -> Generation:
        """The whole answer. Raises ContextOverflowError when the question leaves no room, and DeviceMemoryError."""
        return drain(self.stream(question, handle, max_new_tokens=max_new_tokens))

    def stream(self, question: str, handle: object, *, max_new_tokens: int = 512) -> Stream:
        """The same answer piece by piece."""
        if not isinstance(handle, Handle) or handle.owner is not self._model:
            raise TypeError("the handle is not one of this generator's prefill()")
        draft, answer = Draft(handle.chunks, handle.prompt.nonce), _Answer()
        notes = () if handle.used else handle.context.notes
        yield from draft.write(self._pieces(question, handle, max_new_tokens, answer))
        written = draft.generation(answer.usage, answer.finish)
        return replace(written, notes=(*written.notes, *notes, *filter(None, (answer.slow,))))

    def _pieces(self, question: str, handle: Handle, max_new_tokens: int, answer: _Answer) -> Iterator[str]:
        """Text as tokens come, whole characters only; `answer` is filled in at the end."""
        suffix = self._encoder.suffix(handle.prompt, question)
        n_prompt = handle.n_tokens + len(suffix)
        room = min(max_new_tokens, self._window - n_prompt)
        if room < 1:
            raise ContextOverflowError(n_prompt + 1, self._window, "ask less, or read fewer chunks")
        first, handle.used = not handle.used, True
        started = perf_counter()
        ids: list[int] = []
        given = ""
        with self._memory(n_prompt + room):
            cache = self._contexts.copy(handle.context, n_prompt + room)
            token = self._read(suffix, cache)
            following = self._following(token, cache, room, answer)
            prefilled = perf_counter()
            while token not in self._ends:
                ids.append(token)
                text = self._encoder.decode(ids)
                if text.startswith(given) and not text.endswith("\ufffd") and len(text) > len(given):
                    yield text[len(given) :]
                    given = text
                if len(ids) == room or (self._deadline is not None and self._deadline.left <= 0):
                    answer.finish = "length"
                    break
                token = next(following)
            following.close()
        text = self._encoder.decode(ids)
        if text.startswith(given) and len(text) > len(given):
            yield text[len(given) :]
        answer.usage = Usage(
            prompt_tokens=n_prompt,
            cached_tokens=handle.context.n_kept if first else handle.n_tokens,
            new_tokens=len(ids),
            prefill_seconds=prefilled - started + (handle.seconds if first else 0.0),
            decode_seconds=perf_counter() - prefilled,
            peak_bytes=self._peak(),
            kv_bytes=handle.context.n_bytes,
        )

    def _following(self, token: int, cache: Any, n_tokens: int, answer: _Answer) -> Generator[int, None, None]:
        """The likeliest tokens behind `token`, one by one; a step over a packed cache on a GPU is one CUDA graph."""
        if not (self._kv and self._device.startswith("cuda")):
            for _ in range(n_tokens):
                token = self._read([token], cache)
                yield token
            return
        import torch

        from selfroute.models.kv.loop import Steps

        steps = Steps(self._model, cache, torch.tensor([token]), n_tokens)
        for found in steps:
            yield int(found)
            answer.slow = steps.reason

    def _read(self, ids: Sequence[int], cache: Any) -> int:
        """Reads tokens behind those of the cache, block by block; the likeliest next token."""
        import torch

        logits = None
        with torch.inference_mode(), quiet():
            for start in range(0, len(ids), self._block_tokens):
                if self._deadline is not None and len(ids) > 1:  # an answer that was begun is ended, not broken off
                    self._deadline.check()
                block = torch.tensor([list(ids[start : start + self._block_tokens])], device=self._device)
                logits = self._model(input_ids=block, past_key_values=cache, use_cache=True, logits_to_keep=1).logits
            assert logits is not None
            return int(logits[0, -1].argmax())

    def _peak(self) -> int:
        import torch

        return int(torch.cuda.max_memory_allocated()) if self._device.startswith("cuda") else peak_bytes()

    @contextmanager
    def _memory(self, n_tokens: int) -> Iterator[None]:
        """Turns every way of running out of memory into one error."""
        import torch

        try:
            yield
        except (MemoryError, RuntimeError) as error:
            if not isinstance(error, torch.OutOfMemoryError | MemoryError) and "allocate memory" not in str(error):
                raise
            raise DeviceMemoryError(
                self._size.needed(n_tokens, self._kv),
                _free(self._device),
                "--window-tokens with less, or a smaller model",
            ) from error


@dataclass
class _Answer:
    usage: Usage = field(default_factory=Usage)
    finish: Literal["stop", "length"] = "stop"
    slow: str = ""  # why no CUDA graph was replayed where one could be


def _contexts(model: Any, tokenizer: Any, preset: Preset | None) -> Contexts:
    if preset is None:
        return PlainContexts(model)
    from selfroute.models.kv.contexts import PackedContexts

    return PackedContexts(model, tokenizer, preset)


def _window(size: Size, wanted: int, free_bytes: int, kv: str = "") -> int:
    """The window to work with, which weights and caches have room for."""
    trained = size.context_length or max(wanted, MIN_WINDOW)
    if wanted > trained:
        raise ConfigError(
            f"window_tokens is {wanted:,}, the model was trained for {trained:,}", f"--window-tokens {trained}"
        )
    room = size.room(free_bytes, kv)
    least = wanted or min(trained, MIN_WINDOW)
    if room < least:
        option = (
            f"--window-tokens {room}, or a smaller model" if room >= 512 else "a smaller model, or free some memory"
        )
        raise DeviceMemoryError(size.needed(least, kv), free_bytes, option)
    return wanted or min(trained, room)


def _free(device: str) -> int:
    if not device.startswith("cuda"):
        return free_memory()
    import torch

    return int(torch.cuda.mem_get_info(device)[0])


def _end_ids(model: Any, tokenizer: Any) -> frozenset[int]:
    """Every token that ends an answer."""
    found: set[int] = set()
    for ids in (model.generation_config.eos_token_id, model.config.eos_token_id, tokenizer.eos_token_id):
        found.update(ids if isinstance(ids, list | tuple) else [ids] if ids is not None else [])
    return frozenset(found)
