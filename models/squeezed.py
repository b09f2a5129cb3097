"""Names compared by their letters and digits."""

from __future__ import annotations


def squeezed(text: str) -> str:
    """The letters and digits of a text, without regard to case."""
    return "".join(character for character in text.casefold() if character.isalnum())
