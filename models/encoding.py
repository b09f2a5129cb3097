"""Prompts to token ids, such that no text of a chunk or a question becomes one of the model's control tokens."""

from __future__ import annotations

import re
from typing import Any

from selfroute.models.prompt import Prompt

_MARKS = (
    "selfroute-instructions-1c9e",
    "selfroute-context-1c9e",
)  # stand in for the parts while a template is rendered
_BRACKETS = re.compile(r"[<>\[\]|{}]")


class Encoder:
    """Encodes for one tokenizer, with its chat template or without."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        added = tokenizer.added_tokens_decoder
        control = {i: t.content for i, t in added.items() if t.special or _BRACKETS.search(t.content)}
        self._control_ids = frozenset(control)
        words = sorted((re.escape(c) for c in control.values() if len(c) > 1), key=len, reverse=True)
        self._control = re.compile("|".join(words), re.IGNORECASE) if words else None
        self._before, self._between, self._behind = map(self._trusted, self._template())

    def ids(self, text: str) -> list[int]:
        """The ids of a text as data: a control token in it is spelled out."""
        ids: list[int] = []
        last = 0
        for found in self._control.finditer(text) if self._control else ():
            ids += self._plain(text[last : found.start() + 1])
            last = found.start() + 1
        return ids + self._plain(text[last:])

    def count(self, text: str) -> int:
        """len(ids(text))."""
        return len(self.ids(text))

    def prefix(self, prompt: Prompt) -> list[int]:
        """What stands before every question."""
        return [*self._before, *self.ids(prompt.instructions), *self._between, *self.ids(prompt.context)]

    def suffix(self, prompt: Prompt, question: str) -> list[int]:
        """The question, and what makes the model answer it."""
        return [*self.ids(prompt.ask(question)), *self._behind]

    def decode(self, ids: list[int]) -> str:
        """The text of what was generated, without special tokens."""
        text: str = self._tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text

    def _plain(self, text: str) -> list[int]:
        ids = self._encode(text, split_special_tokens=True)
        if self._control_ids.isdisjoint(ids):
            return ids
        # A tokenizer that normalises first can make a control token out of other characters.
        return [i for c in text for i in self._encode(c, split_special_tokens=True) if i not in self._control_ids]

    def _trusted(self, text: str) -> list[int]:
        return self._encode(text) if text else []

    def _encode(self, text: str, **options: bool) -> list[int]:
        ids: list[int] = self._tokenizer(text, add_special_tokens=False, verbose=False, **options)["input_ids"]
        return ids

    def _template(self) -> tuple[str, str, str]:
        """What the model's template puts before, between and behind the instructions and the rest."""
        system, user = _MARKS
        if not self._tokenizer.chat_template:
            return self._beginning(), "\n\n", "\nAnswer:"
        turns = (
            [{"role": "system", "content": system}, {"role": "user", "content": user}],
            [{"role": "user", "content": f"{system}\n\n{user}"}],  # for templates that refuse a system's turn
        )
        for messages in turns:
            try:
                text: str = self._tokenizer.apply_chat_template(
                    messages, tokenize=False, add_generation_prompt=True, enable_thinking=False
                )
            except Exception:  # templates are programs, and say so in their own ways
                continue
            before, found, rest = text.partition(system)
            between, found_too, behind = rest.partition(user)
            if found and found_too:
                return before, between, behind
        return self._beginning(), "\n\n", "\nAnswer:"

    def _beginning(self) -> str:
        """The token that a text of this model begins with, if any."""
        with_special = self._tokenizer("a", verbose=False)["input_ids"]
        bos = self._tokenizer.bos_token_id
        return str(self._tokenizer.bos_token) if bos is not None and with_special[:1] == [bos] else ""
