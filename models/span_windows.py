"""What the span reader sees of a question and a chunk: word pieces, marks for line ends, windows, character offsets.

WordPiece drops white space, and with it where a line of code ends and how deep it stands. So the first token of every
further line is preceded by a mark, one of BERT's unused tokens, which tells the line's indentation.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from selfroute.models.tokenizer import WordPiece

CLS, SEP, COLON = 101, 102, 1024
FIRST_MARK, N_MARKS = 1, 10  # [unused0] ... [unused9]: a new line, indented by 0, 1, ... 9 and more steps
STEP = 4  # characters of indentation in a step; a tab is one step

MAX_TOKENS = 384
MAX_QUESTION, MAX_HEADER, MAX_TEXT = 57, 24, 300  # with [CLS] and two [SEP] they are MAX_TOKENS
OVERLAP = 75  # tokens that two windows of one text share
MAX_SYMBOL = 12  # tokens of the header's; the path has the rest

_LINE_START = re.compile(r"\n([ \t]*)(?=[^\s])")


@dataclass(frozen=True, slots=True)
class Pieces:
    """The tokens of a text; token i stands for its characters [starts[i], ends[i]), a line's mark for none."""

    ids: list[int]
    starts: list[int]
    ends: list[int]

    def __len__(self) -> int:
        return len(self.ids)

    def tokens_of(self, start: int, end: int) -> tuple[int, int]:
        """The first and the last token that share a character with [start, end); last < first when none does."""
        first, last = bisect_left(self.ends, start + 1), bisect_left(self.starts, end) - 1
        while first <= last and is_mark(self.ids[first]):
            first += 1
        while last >= first and is_mark(self.ids[last]):
            last -= 1
        return first, last


def is_mark(token: int) -> bool:
    """Whether a token is a line's mark, which no answer begins or ends with."""
    return FIRST_MARK <= token < FIRST_MARK + N_MARKS


def read_text(tokenizer: WordPiece, text: str) -> Pieces:
    """The tokens of a chunk's text, with a mark before each line but the first."""
    ids, starts, ends = tokenizer.pieces(text)
    merged = Pieces([], [], [])
    at = 0
    for line in _LINE_START.finditer(text):
        upto = bisect_left(starts, line.end(), at)
        merged.ids.extend(ids[at:upto])
        merged.starts.extend(starts[at:upto])
        merged.ends.extend(ends[at:upto])
        steps = line[1].count("\t") + line[1].count(" ") // STEP
        merged.ids.append(FIRST_MARK + min(steps, N_MARKS - 1))
        merged.starts.append(line.end())
        merged.ends.append(line.end())
        at = upto
    merged.ids.extend(ids[at:])
    merged.starts.extend(starts[at:])
    merged.ends.extend(ends[at:])
    return merged


def read_question(tokenizer: WordPiece, question: str) -> list[int]:
    """The tokens of a question; of a long one its beginning and its end."""
    ids = tokenizer.pieces(question)[0]
    if len(ids) > MAX_QUESTION:
        head = MAX_QUESTION // 2
        ids = ids[:head] + ids[head - MAX_QUESTION :]
    return ids


def read_header(tokenizer: WordPiece, path: str, symbol: str) -> list[int]:
    """The tokens that say where a chunk stands: the ends of its path and symbol, and a colon; none for neither."""
    named = tokenizer.pieces(symbol)[0][-MAX_SYMBOL:]
    room = MAX_HEADER - 1 - len(named)
    ids = tokenizer.pieces(path)[0][-room:] + named
    return [*ids, COLON] if ids else []


def windows(n_tokens: int) -> list[tuple[int, int]]:
    """The ranges of a text's tokens that are read one at a time, of at most MAX_TEXT, overlapping."""
    spans = [(0, min(n_tokens, MAX_TEXT))]
    while spans[-1][1] < n_tokens:
        start = spans[-1][1] - OVERLAP
        spans.append((start, min(n_tokens, start + MAX_TEXT)))
    return spans


def assemble(question: Sequence[int], header: Sequence[int], text: Sequence[int]) -> list[int]:
    """One input of the model. Its text begins at len(question) + len(header) + 2."""
    return [CLS, *question, SEP, *header, *text, SEP]
