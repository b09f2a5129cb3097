"""Questions about code that describe what they are about and do not name it: "where is the session cookie signed?".

The trained reader knows code by its names. Where it finds no answer to such a question, the lines that hold the
question's words are shown as one, by the evidence reader, when they hold nearly all of them.
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

MIN_COVER = 0.75  # of the question's weight, on the best line and around it
NOTE = "these lines hold the question's words; the confidence is their share of them"

_NAMED = re.compile(r"[`\"'_<>()]|\w\.\w|::|[a-z][A-Z]|--")


def is_described(question: str) -> bool:
    """Whether it is put in plain words, without a name of code."""
    return not _NAMED.search(question)


def with_described(question: str, read: Generation, chunks: Sequence[Chunk], index: Index) -> Generation:
    """The generation, or the lines of code that cover such a question when it was declined. chunks: best first."""
    if read.answerable or not is_described(question):
        return read
    found = EvidenceReader(index.term_weight).read(question, chunks)
    if not found.spans or found.confidence < MIN_COVER or chunks[found.spans[0].chunk].kind in PROSE_KINDS:
        return read
    return replace(found, threshold=MIN_COVER, notes=(NOTE,))
