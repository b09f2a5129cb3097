"""Text of no known structure cut into windows of lines that end at blank lines or at the margin where one is near."""

from __future__ import annotations

from selfroute.memory.chunking.pieces import Outline, Piece, Source

_INDENTED_WEIGHT = 2  # a border above an indented line


def outline_lines(source: Source) -> Outline:
    """One piece a line."""
    return Outline(
        [
            Piece(row, 0, _INDENTED_WEIGHT if line[:1].isspace() else 0)
            for row, line in enumerate(source.lines)
            if line.strip()
        ],
        [],
    )
