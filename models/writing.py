"""From the pieces that a model writes to an answer that can be streamed.

What it thinks aloud first is left out, a refusal (SENTINEL) gives no text, and citations are checked (citing.py). From
its first bracket on a sentence is held back until it is complete, since only then can its citations be judged;
everything else is given on as it comes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

from selfroute.models.base import Stream
from selfroute.models.citing import Citations
from selfroute.models.prompt import SENTINEL
from selfroute.types import Chunk, Generation, Usage

_SENTENCE_END = re.compile(r"[.!?][\"”')\]]*(?:[ \t]*\[\d[\d,; ]*\])*\s+(?=[^\s\[a-z])|[。！？]|\n+")
_THOUGHT, _THOUGHT_END = "<think>", "</think>"
_AROUND_SENTINEL = " \t\r\n\"'`*_<>"


class Draft:
    """An answer in the making. chunks: those of the prompt, in its order. nonce: the prompt's."""

    def __init__(self, chunks: Sequence[Chunk], nonce: str) -> None:
        self.text = ""
        self._nonce = nonce
        self._refused = False  # with the nonce
        self._citations = Citations(chunks)
        self._opening = ""  # what may yet turn out to be a thought or a refusal
        self._open = False
        self._sentence = ""  # as written, from its beginning
        self._n_given = 0  # characters of it that were given on
        self._space = ""  # given on when more follows

    def write(self, pieces: Iterable[str]) -> Iterator[str]:
        """What may be given on of the answer, as it comes; joined it is `text`."""
        for piece in pieces:
            if out := self._add(piece):
                yield out
        if not self._open:
            rest = _without_thought(self._opening) or ""
            self._refused = _is_sentinel(rest) and self._nonce.upper() in rest.upper()
            if rest.strip() and not _is_sentinel(rest):
                self._open, self._sentence = True, rest.lstrip()
        if out := self._give(self._citations.check(self._sentence)[self._n_given :]):
            yield out

    def generation(self, usage: Usage, finish: Literal["stop", "length"] = "stop") -> Generation:
        """The whole answer once everything is written; finish is "declined" only of a refusal with the nonce.

        confidence: the share of its sentences with a citation that holds; a measure of form, not of truth.
        """
        notes = self._citations.notes
        if not self.text.strip():
            if self._refused:
                return Generation("", answerable=False, usage=usage, finish="declined", notes=notes)
            notes = (*notes, "the model gave no answer, and not in the words that it was given for that")
            return Generation("", answerable=False, usage=usage, finish="untrusted", notes=notes)
        spans = self._citations.spans()
        if not spans:
            notes = (*notes, "the model cited nothing that holds: check its answer by hand")
        if finish == "length":
            notes = (*notes, "the answer was cut at the most tokens that it may have")
        share = min(1.0, self._citations.n_cited / max(1, self._citations.n_sentences))
        return Generation(self.text, spans, share, usage=usage, finish=finish, notes=notes)

    def _add(self, piece: str) -> str:
        if not self._open:
            self._opening += piece
            answer = _without_thought(self._opening)
            if answer is None or _may_be_sentinel(answer):
                return ""
            self._open, piece = True, answer.lstrip()
        self._sentence += piece
        out = ""
        while end := _end_of_sentence(self._sentence):
            out += self._citations.check(self._sentence[:end])[self._n_given :]
            self._sentence, self._n_given = self._sentence[end:], 0
        bracket = self._sentence.find("[")
        ready = self._sentence if bracket < 0 else self._sentence[:bracket].rstrip(" ")
        if bracket < 0:
            ready = ready.rstrip()
        if len(ready) > self._n_given and not self._sentence.lstrip().startswith("`"):
            out += ready[self._n_given :]
            self._n_given = len(ready)
        return self._give(out)

    def _give(self, text: str) -> str:
        text = self._space + text
        out = text.rstrip()
        self._space = text[len(out) :]
        self.text += out
        return out


def drain(stream: Stream) -> Generation:
    """The whole of a streamed answer."""
    while True:
        try:
            next(stream)
        except StopIteration as stop:
            generation: Generation = stop.value
            return generation


def _end_of_sentence(text: str) -> int:
    """Where the first sentence ends, its citations and white space included; 0 while it may go on."""
    for found in _SENTENCE_END.finditer(text):
        if "\n" in found[0] or text.count('"', 0, found.end()) % 2 == 0:
            return found.end()
    return 0


def _without_thought(text: str) -> str | None:
    """The text behind what the model thought aloud first; None while it still may be thinking."""
    start = text.lstrip()
    if start.startswith(_THOUGHT):
        _, found, rest = start.partition(_THOUGHT_END)
        return rest if found else None
    return None if _THOUGHT.startswith(start) else text


def _may_be_sentinel(text: str) -> bool:
    """Whether the text begins with the sentinel, or may come to."""
    return SENTINEL.startswith(text.strip().lstrip(_AROUND_SENTINEL)[: len(SENTINEL)].upper())


def _is_sentinel(text: str) -> bool:
    return text.lstrip(_AROUND_SENTINEL).upper().startswith(SENTINEL)
