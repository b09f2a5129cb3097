"""The pieces that chunks are made of, and what decides which of them may share a chunk.

Each splitter (code, prose, config, lines) says only where a piece begins and what it belongs to; a piece reaches to the
next one, so that nothing between them is lost. pack.py makes chunks of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import accumulate

from selfroute.memory.base import Definition
from selfroute.memory.graph.facts import Fact
from selfroute.models.tokenizer import wordpiece

LIMIT_TOKENS = 256  # a chunk's: what MiniLM was trained to read at once


@dataclass(frozen=True, slots=True)
class Policy:
    """How chunks are made, in WordPiece tokens.

    limit: no chunk is larger, a single line apart. target: small neighbours (imports, constants, keys, paragraphs) are
    merged up to about this, and what is over the limit is cut into parts of about this. own: a section of at least
    this many shares its chunks with no sibling; with limit + 1, everything merges. own_definition: likewise a function
    or class; smaller ones are found better together (docs/benchmarks.md). own_constant: likewise a constant, or the
    comment that a file begins with. tiny: a leftover smaller than this joins the chunk before it, and a class's head
    its first member. line_window: the most lines of a window over text without other structure.
    """

    limit: int = LIMIT_TOKENS
    target: int = 192
    own: int = 24
    own_definition: int = 100
    own_constant: int = 64
    tiny: int = 16
    line_window: int = 25

    def stands_alone(self, n_tokens: int, kind: str = "") -> bool:
        """Whether something of this size shares its chunks with no sibling."""
        return n_tokens >= {"constant": self.own_constant, "definition": self.own_definition}.get(kind, self.own)


DEFAULT_POLICY = Policy()


@dataclass(slots=True)
class Piece:
    """A run of lines that starts at `row` (from 0) and ends where the next piece starts.

    group: neighbours of one group may share a chunk. weight: how bad a border above it is inside its group, 0 the best.
    defines: it is the first piece of a definition, whose name a chunk takes before its surroundings' name.
    """

    row: int
    group: int
    weight: int = 0
    symbol: str = ""
    kind: str = "lines"
    defines: bool = False


@dataclass(slots=True)
class Outline:
    """What a splitter found in one document, pieces in any order."""

    pieces: list[Piece]
    definitions: list[Definition]
    facts: list[Fact] = field(default_factory=list)


class Source:
    """A document's lines, and the number of tokens before each of them."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.lines = text.split("\n")
        self.n_lines = len(self.lines)
        self.before = list(accumulate(wordpiece().line_counts(text), initial=0))

    def tokens(self, start: int, end: int) -> int:
        """Of the rows [start, end)."""
        return self.before[end] - self.before[start]
