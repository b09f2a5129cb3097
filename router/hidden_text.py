"""A note on an attempt whose citations hold characters that a reader does not see."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from selfroute.memory.hidden import hidden_kinds, told
from selfroute.types import Attempt

HIDDEN_NOTE = "hidden characters in the cited text"


def noted(attempt: Attempt) -> Attempt:
    """The attempt, with a note of the hidden characters in the text that it cites, if there are any."""
    kinds: Counter[str] = Counter()
    where: list[str] = []
    for citation in attempt.citations:
        if found := hidden_kinds(citation.text):
            kinds += found
            where.append(citation.location)
    if not kinds:
        return attempt
    note = f"{HIDDEN_NOTE}: {told(kinds)}, in {', '.join(dict.fromkeys(where))}"
    return replace(attempt, notes=(*attempt.notes, note))
