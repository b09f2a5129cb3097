"""A text as a model is shown it, with the way back: every character knows where it stood in the original."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from selfroute.models.unicode import find_hidden

# How chat templates and tokenizers of the known families write their control tokens.
CONTROL_TOKEN = re.compile(
    r"<\|[^\s<>|]{1,40}\|>|<[\uff5c|][^<>]{1,40}[\uff5c|]>|\[/?(?:INST|SYSTEM_PROMPT|TOOL_CALLS|TOOL_RESULTS|AVAILABLE_TOOLS)\]"
    r"|</?s>|<</?SYS>>|</?(?:bos|eos|pad|unk|mask|think|tool_call|tool_response|start_of_turn|end_of_turn|start_of_image)>",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Shown:
    """text: what is shown. offsets: of each of its characters, and of its end, in the original; None: all the same."""

    text: str
    offsets: tuple[int, ...] | None = None

    def original(self, start: int, end: int) -> tuple[int, int]:
        """The characters of the original that [start, end) was made from."""
        if self.offsets is None:
            return start, end
        return self.offsets[start], (self.offsets[end - 1] + 1 if end > start else self.offsets[start])

    def edited(self, edits: Iterable[tuple[int, int, str]]) -> Shown:
        """With [start, end) replaced for each edit; in order, without overlaps."""
        pieces: list[str] = []
        places: list[int] = []
        last = 0
        for start, end, new in edits:
            pieces += (self.text[last:start], new)
            places += [*range(last, start), *([start] * len(new))]
            last = end
        if not pieces:
            return self
        pieces.append(self.text[last:])
        places += range(last, len(self.text) + 1)
        if self.offsets is not None:
            places = [self.offsets[i] for i in places]
        return Shown("".join(pieces), tuple(places))


def shown(text: str, *, escape: bool = False) -> Shown:
    """A text without hidden characters. escape: control tokens are broken by a space behind their first character.

    escape is for servers, which may read such a token for what it says; who tokenizes the text here can do better.
    """
    seen = Shown(text).edited((run.start, run.end, "") for run in find_hidden(text))
    if escape:
        seen = seen.edited((found.start() + 1, found.start() + 1, " ") for found in CONTROL_TOKEN.finditer(seen.text))
    return seen
