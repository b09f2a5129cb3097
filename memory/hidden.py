"""Characters that a reader does not see and a machine reads: text direction, zero width, tags."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

BIDI, ZERO_WIDTH, TAG = "bidi control", "zero width", "tag"
_HIDDEN = re.compile(
    r"(?P<bidi>[\u202a-\u202e\u2066-\u2069\u200e\u200f\u061c])"
    r"|(?P<zero>[\u200b-\u200d\u2060]|(?<=[\s\S])\ufeff)"
    r"|(?P<tag>[\U000e0000-\U000e007f])"
)
_KINDS = {"bidi": BIDI, "zero": ZERO_WIDTH, "tag": TAG}


@dataclass(frozen=True, slots=True)
class Hidden:
    """One such character: its place in the text, in characters, and its kind."""

    start: int
    kind: str
    char: str


def find_hidden(text: str) -> tuple[Hidden, ...]:
    """Every hidden character of a text, in order; a byte order mark at its start is none."""
    if text.isascii():
        return ()
    return tuple(Hidden(found.start(), _KINDS[found.lastgroup or ""], found[0]) for found in _HIDDEN.finditer(text))


def strip_hidden(text: str) -> str:
    """The text without them."""
    return text if text.isascii() else _HIDDEN.sub("", text)


def show_hidden(text: str) -> str:
    """The text with each of them as \\uNNNN."""
    return text if text.isascii() else _HIDDEN.sub(lambda found: _escaped(found[0]), text)


def hidden_kinds(text: str) -> Counter[str]:
    """How many there are of each kind."""
    return Counter(hidden.kind for hidden in find_hidden(text))


def told(kinds: Counter[str]) -> str:
    """`2 bidi controls, 1 zero width`."""
    plural = {BIDI: "s", TAG: "s"}
    return ", ".join(f"{n:,} {kind}{plural.get(kind, '') if n > 1 else ''}" for kind, n in sorted(kinds.items()))


def _escaped(char: str) -> str:
    return f"\\u{ord(char):04x}" if ord(char) < 0x10000 else f"\\U{ord(char):08x}"
