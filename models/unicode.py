"""Characters that a person does not see and a model reads: found, and taken out of what a model is shown.

Taken out:
- tag characters U+E0000-E007F, but for the three flags that are written with them (England, Scotland, Wales);
- controls of the writing direction: embeddings, overrides, isolates and marks. Right-to-left letters stay, in the order
  in which they are read;
- zero-width characters, fillers, soft hyphens and what else Unicode calls ignorable. A zero-width joiner stays between
  two emoji (a family, a flag), a joiner or non-joiner between two letters of a script that spells with it (Persian,
  the Indic scripts);
- variation selectors, but for one that asks for the emoji or the text form of the character before it;
- control characters other than tab, line feed, vertical tab, form feed and carriage return, and halves of surrogate
  pairs.
What stays is shown unchanged: letters that look alike, private-use icons and unusual spaces can be seen.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_KINDS = {
    "tag": "\U000e0000-\U000e007f",
    "bidi control": "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069",
    "variation selector": "\ufe00-\ufe0f\U000e0100-\U000e01ef\u180b-\u180d\u180f",
    "control": "\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff",
    "zero width": "\u00ad\u034f\u115f\u1160\u17b4\u17b5\u180e\u200b-\u200d\u2060-\u2065\u206a-\u206f\u3164\ufeff\uffa0"
    "\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0080-\U000e00ff\U000e01f0-\U000e0fff",
}
_SUSPECT = re.compile("[" + "".join(_KINDS.values()) + "]")
_KIND = tuple((kind, re.compile(f"[{characters}]")) for kind, characters in _KINDS.items())

_PICTURE = (
    "\u00a9\u00ae\u203c\u2049\u2122\u2139\u2194-\u21aa\u231a-\u23ff\u25aa-\u27bf\u2934-\u2b55\u3030\u303d\u3297\u3299"
)
_EMOJI = rf"[{_PICTURE}\U0001f000-\U0001faff]"
_JOINED = "[\u0600-\u08ff\u0900-\u0dff\u0f00-\u0fff\u1000-\u109f\u1780-\u17b3\u17b6-\u17ff\u1800-\u180a\u1810-\u18af]"
_FLAGS = "|".join("".join(chr(0xE0000 + ord(c)) for c in flag) for flag in ("gbeng", "gbsct", "gbwls"))
_ALLOWED = re.compile(
    "|".join(
        (
            f"\U0001f3f4(?:{_FLAGS})\U000e007f",
            rf"(?<={_EMOJI})[\ufe0e\ufe0f]?\u200d(?={_EMOJI})",
            rf"(?<={_EMOJI})[\ufe0e\ufe0f](?![\ufe00-\ufe0f])",
            r"(?<=[0-9#*])\ufe0f(?=\u20e3)",
            f"(?<={_JOINED})[\u200c\u200d](?={_JOINED})",
        )
    )
)


@dataclass(frozen=True, slots=True)
class Hidden:
    """Characters [start, end) of a text, of one kind: tag, bidi control, variation selector, control, zero width."""

    start: int
    end: int
    kind: str


def find_hidden(text: str) -> tuple[Hidden, ...]:
    """The runs of characters that strip_hidden takes out, in order; neighbours of one kind are one run."""
    if not _SUSPECT.search(text):
        return ()
    allowed = {i for found in _ALLOWED.finditer(text) for i in range(*found.span())}
    runs: list[Hidden] = []
    for found in _SUSPECT.finditer(text):
        at = found.start()
        if at in allowed:
            continue
        kind = next(kind for kind, characters in _KIND if characters.match(found[0]))
        if runs and runs[-1].end == at and runs[-1].kind == kind:
            runs[-1] = Hidden(runs[-1].start, at + 1, kind)
        else:
            runs.append(Hidden(at, at + 1, kind))
    return tuple(runs)


def strip_hidden(text: str) -> str:
    """The text without its hidden characters; the same text when it has none."""
    kept, last = [], 0
    for run in find_hidden(text):
        kept.append(text[last : run.start])
        last = run.end
    return "".join([*kept, text[last:]]) if last else text
