"""Hidden characters told of and shown. What they are, models/unicode.py says."""

from __future__ import annotations

from collections import Counter

from selfroute.models.unicode import find_hidden

BYTE_ORDER_MARK = "\ufeff"  # at the start of a file it is none of them
_COUNTABLE = frozenset({"bidi control", "control", "tag", "variation selector"})


def hidden_kinds(text: str) -> Counter[str]:
    """How many there are of each kind; a byte order mark at the start does not count."""
    kinds: Counter[str] = Counter()
    if not text.isascii() or not text.isprintable():
        for run in find_hidden(text.removeprefix(BYTE_ORDER_MARK)):
            kinds[run.kind] += run.end - run.start
    return kinds


def show_hidden(text: str) -> str:
    """The text with each of them as \\xNN, \\uNNNN or \\UNNNNNNNN."""
    shown: list[str] = []
    last = 0
    for run in find_hidden(text):
        shown += (text[last : run.start], *map(_escaped, text[run.start : run.end]))
        last = run.end
    return "".join((*shown, text[last:]))


def told(kinds: Counter[str]) -> str:
    """`2 bidi controls, 1 zero width`."""
    return ", ".join(f"{n:,} {kind}{'s' if n > 1 and kind in _COUNTABLE else ''}" for kind, n in sorted(kinds.items()))


def _escaped(char: str) -> str:
    code = ord(char)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
