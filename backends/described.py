"""Places in code that a question describes and does not name: "where is the session cookie signed?".

The trained reader knows places by names. Where it finds no answer, the lines that hold the question's words are one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from selfroute.models.evidence import EvidenceReader
from selfroute.models.sentences import PROSE_KINDS
from selfroute.types import Chunk, Generation

if TYPE_CHECKING:
    from selfroute.memory.index import Index

MIN_COVER = 0.8  # of the question's weight, on the best line and around it

_WHERE = re.compile(
    r"^\W*(?:so |and |but )?(?:where|in (?:which|what) (?:file|module|place|function|class|part))\b", re.I
)
_NAMED = re.compile(r"[`\"'_<>()]|\w\.\w|::|[a-z][A-Z]|--")
NOTE = "these lines hold the question's words; the confidence is their share of them"


def asks_for_described_place(question: str) -> bool:
    """Whether it asks where something is done, in plain words."""
    return bool(_WHERE.search(question)) and not _NAMED.search(question)


def with_described_place(question: str, read: Generation, chunks: Sequence[Chunk], index: Index) -> Generation:
    """The generation, or the lines of code that cover such a question when it was declined. chunks: best first."""
    if read.answerable or not asks_for_described_place(question):
        return read
    found = EvidenceReader(index.term_weight).read(question, chunks)
    in_code = [span for span in found.spans if chunks[span.chunk].kind not in PROSE_KINDS]
    if not in_code or in_code[0] != found.spans[0] or found.confidence < MIN_COVER:
        return read
    return replace(found, threshold=MIN_COVER, notes=(NOTE,))
