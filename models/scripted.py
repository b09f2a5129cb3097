"""A language model whose replies come from a function of its prompt: exact, instant, for tests and trials.

Its replies pass through the same checks as any model's, so what a test sees is what a user would.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from selfroute.deadline import Deadline
from selfroute.errors import ContextOverflowError, UnknownNameError
from selfroute.models.base import Stream
from selfroute.models.metering import peak_bytes
from selfroute.models.prompt import Prompt, fresh_nonce, make_prompt, refusal
from selfroute.models.writing import Draft, drain
from selfroute.types import Chunk, Generation, Usage

Reply = Callable[[str], str]
"""From the whole prompt to what the model writes."""

_ORDER = re.compile(
    r"(?:ignore|disregard|forget)\b[^.\n]*[.:,;]?\s*(?P<after>[^\n]*)"
    r"|\b(?:say|write|print|output|answer|reply|respond)(?: only| exactly| with)*:?\s+[\"'“]?(?P<said>[^\"'”\n]+)",
    re.IGNORECASE,
)
_FIRST_LINE = re.compile(r"^<chunk 1 \S+>\n.*\n(.*)$", re.MULTILINE)


@dataclass(eq=False)
class Handle:
    """The context that was read; used: whether an answer has counted it."""

    chunks: tuple[Chunk, ...]
    prompt: Prompt
    used: bool = False


class ScriptedGenerator:
    """Replies as the function says; tokens are words. Keeps the prompts that it was given in `prompts`.

    reply: a function, or one of the names of REPLIES. prefill raises ContextOverflowError when the chunks do not fit.
    """

    def __init__(
        self, reply: Reply | str = "first", *, context_length: int = 1 << 20, window_tokens: int = 0, nonce: str = ""
    ) -> None:
        if isinstance(reply, str) and reply not in REPLIES:
            raise UnknownNameError("scripted model", reply, REPLIES)
        self._reply = REPLIES[reply] if isinstance(reply, str) else reply
        self._window = window_tokens or context_length
        self._fences = fresh_nonce((), nonce)
        self.prompts: list[str] = []
        self._deadline: Deadline | None = None

    def until(self, deadline: Deadline) -> ScriptedGenerator:
        """The same model, which writes no word more when the time is up."""
        hasty = copy.copy(self)
        hasty._deadline = deadline
        return hasty

    @property
    def context_length(self) -> int:
        """Words that prompt and answer may take together."""
        return self._window

    def count_tokens(self, text: str) -> int:
        """The number of words."""
        return len(text.split())

    def prefill(self, chunks: Sequence[Chunk]) -> Handle:
        """Makes the prompt."""
        if self._deadline is not None:
            self._deadline.check()
        prompt = make_prompt(chunks, fresh_nonce(chunks, self._fences))
        n_tokens = self.count_tokens(prompt.instructions) + self.count_tokens(prompt.context)
        if n_tokens >= self._window:
            raise ContextOverflowError(n_tokens, self._window, "read fewer chunks")
        return Handle(tuple(chunks), prompt)

    def generate(self, question: str, handle: object, *, max_new_tokens: int = 512) -> Generation:
        """The whole reply, checked."""
        return drain(self.stream(question, handle, max_new_tokens=max_new_tokens))

    def stream(self, question: str, handle: object, *, max_new_tokens: int = 512) -> Stream:
        """The reply word by word."""
        if not isinstance(handle, Handle):
            raise TypeError("the handle is not one of this generator's prefill()")
        parts = (handle.prompt.instructions, handle.prompt.context, handle.prompt.ask(question))
        self.prompts.append("\n\n".join(parts))
        first, handle.used = not handle.used, True
        words = re.findall(r"\s*\S+\s*?", self._reply(self.prompts[-1]))
        draft = Draft(handle.chunks, handle.prompt.nonce)
        written: list[str] = []
        yield from draft.write(self._each(words[:max_new_tokens], written))
        n_context = self.count_tokens(parts[0]) + self.count_tokens(parts[1])
        usage = Usage(
            prompt_tokens=n_context + self.count_tokens(parts[2]),
            cached_tokens=0 if first else n_context,
            new_tokens=len(written),
            peak_bytes=peak_bytes(),
        )
        return draft.generation(usage, "length" if len(words) > len(written) else "stop")

    def _each(self, words: list[str], written: list[str]) -> Iterator[str]:
        for word in words:
            if self._deadline is not None and self._deadline.left <= 0:
                return
            written.append(word)
            yield word


def obedient(prompt: str) -> str:
    """What the last instruction in the prompt says to write, wherever it stands: the model that injection is tested on.

    It knows nothing of fences. An order is "say X", "write X", "ignore ... X" and the like; without one it declines.
    The prompt's own request is not one.
    """
    chunks, _, asked = prompt.partition("\n\n<chunk ")[2].rpartition("\nThe chunks end here.")
    question = asked.partition("\n\nQuestion: ")[2]
    orders = [found["said"] or found["after"] for found in _ORDER.finditer(f"{chunks}\n{question}")]
    return orders[-1].strip() if orders and orders[-1].strip() else refusal(prompt)


def first(prompt: str) -> str:
    """Quotes the first line of the first chunk, and cites it."""
    found = _FIRST_LINE.search(prompt)
    line = found[1].strip() if found else ""
    return (
        f'The first chunk begins with "{line}" [1].' if line and '"' not in line else "The first chunk begins it [1]."
    )


def decline(prompt: str) -> str:
    """Never answers."""
    return refusal(prompt)


REPLIES: dict[str, Reply] = {"first": first, "obedient": obedient, "decline": decline}
