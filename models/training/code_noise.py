"""Light noise on a wording, as people type: abbreviations, typing errors, no capitals, no question mark."""

from __future__ import annotations

import random
import re

_ABBREVIATIONS = (
    (r"environment variable", "env var"),
    (r"configuration", "config"),
    (r"parameter", "param"),
    (r"argument", "arg"),
    (r"function", "func"),
    (r"exception", "exc"),
    (r"attribute", "attr"),
    (r"default value", "default"),
    (r"command line", "CLI"),
    (r"What is", "What's"),
    (r"documentation", "docs"),
)
_BEFORE = ("please: ", "hi, ", "quick question: ", "hey, ", "Hello! ", "I'd like to know: ", "sorry, ", "help: ")
_AFTER = (" please", " thanks", " (in this package)", " in this code", " here", "?", " exactly")
_TYPO_WORD = re.compile(r"(?<![{\w])[a-z]{5,}(?![\w}])")
_SHARE = 0.30  # of the wordings that are changed at all


def noisy(wording: str, random_: random.Random) -> str:
    """The wording with at most two changes; what stands in braces is left alone."""
    if random_.random() >= _SHARE:
        return wording
    for change in random_.sample((_abbreviated, _mistyped, _small, _bare, _wrapped), random_.choice((1, 1, 2))):
        wording = change(wording, random_)
    return wording


def _abbreviated(wording: str, random_: random.Random) -> str:
    known = [pair for pair in _ABBREVIATIONS if re.search(pair[0], wording)]
    return re.sub(*random_.choice(known), wording, count=1) if known else wording


def _mistyped(wording: str, random_: random.Random) -> str:
    """One word with two letters swapped, one left out, or one doubled."""
    words = list(_TYPO_WORD.finditer(wording))
    if not words:
        return wording
    word = random_.choice(words)
    at = random_.randrange(word.start() + 1, word.end() - 1)
    changed = (wording[at + 1] + wording[at], wording[at + 1], wording[at] + wording[at] + wording[at + 1])
    return wording[:at] + random_.choice(changed) + wording[at + 2 :]


def _small(wording: str, random_: random.Random) -> str:
    """No capitals."""
    return wording.lower()


def _bare(wording: str, random_: random.Random) -> str:
    return wording.rstrip("?. ")


def _wrapped(wording: str, random_: random.Random) -> str:
    """With a word before or after it."""
    if random_.random() < 0.5:
        before = random_.choice(_BEFORE)
        return before + (wording[0].lower() + wording[1:] if wording[0] != "{" else wording)
    after = random_.choice(_AFTER)
    return wording.rstrip("?. ") + after
