"""A language model says whether an answer is right. Its verdicts are kept, so that none is asked for twice.

The answer and what is right stand fenced in the prompt, as files do in any other (selfroute.models.prompt): an answer
that orders the judge about is data. What is not plainly yes or no is no verdict, and the case unscored.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from hashlib import blake2b

from selfroute.models.base import Generator
from selfroute.router.evaluation.cases import Case
from selfroute.router.evaluation.json_lines import JsonLines
from selfroute.types import Chunk

MAX_NEW_TOKENS = 64
_VERDICT = re.compile(r"\W*(yes|no)\b", re.IGNORECASE)
_ASKED = """\
someone was asked: "{question}"
Chunk 1 is the answer that was given. Chunk 2 holds what is right, one answer a line, each of which alone is enough.
Does chunk 1 say the same as a line of chunk 2, in whatever words, and nothing that contradicts it?
Write one word, yes or no, without citations."""


class ModelJudge:
    """A judge as selfroute.router.evaluation.scoring calls it. failures: what went wrong, by message."""

    def __init__(
        self,
        name: str,
        make: Callable[[], Generator],
        verdicts: JsonLines | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> None:
        """name: of the model, part of what a verdict is kept under. make: the model, loaded when it is first needed.
        verdicts: opened here; none are kept without it. progress: called with the number of verdicts so far."""
        self._name, self._make, self._progress = name, make, progress
        self._verdicts = verdicts
        self._model: Generator | None = None
        self._known: dict[str, bool | None] = {}
        for one in verdicts.open() if verdicts else ():
            if isinstance(one.get("key"), str) and one.get("right") in (True, False, None):
                self._known[one["key"]] = one["right"]
        self.failures: dict[str, int] = {}

    def __call__(self, case: Case, text: str) -> bool | None:
        """Whether the text is right; None when the model does not say, or fails."""
        seen = "\0".join((self._name, case.question, *case.answers, "", text))
        key = blake2b(seen.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()
        if key not in self._known:
            try:
                right = self._ask(case, text)
            except Exception as error:
                why = f"{type(error).__name__}: {error}"
                self.failures[why] = self.failures.get(why, 0) + 1
                return None
            self._known[key] = right
            if self._verdicts:
                self._verdicts.append({"key": key, "right": right})
            if self._progress:
                self._progress(len(self._known))
        return self._known[key]

    def close(self) -> None:
        """Closes the file of verdicts."""
        if self._verdicts:
            self._verdicts.close()

    def _ask(self, case: Case, text: str) -> bool | None:
        if self._model is None:
            self._model = self._make()
        fenced = (_chunk("answer", text), _chunk("right", "\n".join(case.answers)))
        asked = _ASKED.format(question=" ".join(case.question.split()))
        reply = self._model.generate(asked, self._model.prefill(fenced), max_new_tokens=MAX_NEW_TOKENS)
        found = _VERDICT.match(reply.text)
        return None if found is None else found[1].lower() == "yes"


def _chunk(name: str, text: str) -> Chunk:
    return Chunk(name, name, name, 1, max(1, text.count("\n") + 1), text)
