"""Reads two chunks as one where one names what the other is about: for answers that take both.

"What office did the woman who played Corliss Archer hold?": the text about the film says who she is, and the text about
her, which shares no word with the question but "office", says the rest. A reader of single chunks answers with her name
or not at all. So a chunk whose title another one names is read once more below the sentences that name it. What that
finds counts more by the share of the question's terms that only the first text holds; where nothing is linked, the
reader's own answer stands unchanged. How it was measured: benchmarks/multi_place.py; what else was tried: section 16 of
docs/benchmarks.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from selfroute.memory.graph.mentions import EntityTable, title_of
from selfroute.models.base import JoinedReader, Reader
from selfroute.models.lexing import question_terms, terms
from selfroute.models.sentences import PROSE_KINDS
from selfroute.models.span_joined import Joined
from selfroute.types import Chunk, Generation

MAX_PAIRS = 12  # those of the best chunks
BONUS = 12.0  # of a reading whose first text holds all of the question's terms, and the second none; tuned
MAX_NAMING = 2  # sentences
GAP = "\n\n"

_SENTENCE = re.compile(r"(?<=[.!?])\s+")


def read(reader: Reader, question: str, chunks: Sequence[Chunk]) -> Generation:
    """The reader's answer over the chunks, best first, and over the linked ones of them together."""
    if isinstance(reader, JoinedReader) and (joined := joined_of(question, chunks)):
        return reader.read_joined(question, chunks, joined)
    return reader.read(question, chunks)


def joined_of(question: str, chunks: Sequence[Chunk]) -> list[Joined]:
    """The second text of each of the best pairs, below the sentences of the first that name it."""
    asked = set(question_terms(question))
    held: dict[int, set[str]] = {}

    def holds(n: int) -> set[str]:
        if n not in held:
            held[n] = asked.intersection(terms(chunks[n].text))
        return held[n]

    found = []
    for first, second, keys in links(chunks)[:MAX_PAIRS]:
        naming = list(_naming(chunks[first].text, keys))[:MAX_NAMING]
        before = f"{title_of(chunks[first])}: {' '.join(naming)}{GAP}"
        found.append(Joined(second, before, BONUS * len(holds(first) - holds(second)) / max(1, len(asked))))
    return found


def links(chunks: Sequence[Chunk]) -> list[tuple[int, int, frozenset[str]]]:
    """Of each two chunks of prose where the first names the title of the second: both, and the titles; best first."""
    order = sorted((n for n, chunk in enumerate(chunks) if chunk.kind in PROSE_KINDS), key=lambda n: _place(chunks[n]))
    table = EntityTable([chunks[n] for n in order])
    named = table.named(range(len(order)))
    pairs: dict[tuple[int, int], set[str]] = {}
    for row, names in named.items():
        for key, rows in table.titled(names.mentions).items():
            for other in rows:
                if other != row and key not in names.titles:
                    pairs.setdefault((order[row], order[other]), set()).add(key)
    ranked = sorted(pairs, key=lambda pair: (sum(pair), pair))
    return [(first, second, frozenset(pairs[first, second])) for first, second in ranked]


def _naming(text: str, keys: frozenset[str]) -> Iterator[str]:
    lasts = {key.split()[-1] for key in keys if key.split()}
    for sentence in _SENTENCE.split(text):
        if any(last in sentence.casefold() for last in lasts):
            yield sentence


def _place(chunk: Chunk) -> tuple[str, int, str]:
    return chunk.path, chunk.start_line, chunk.id
