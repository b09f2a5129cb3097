"""A reader without weights: it finds the lines that carry the answer and quotes them.

Three passes. Every chunk is looked at word by word, each distinct word once, for the concepts that it holds. The
chunks that cover the question best are read line by line (by sentence in prose): a line counts for the concepts it
holds itself, less for those around it, in the name of its definition or in its path, and more when it plays the part
that the question's kind asks for (a `raise` for an error, an assignment for a default). The best lines are completed
and quoted (selfroute.models.quoting).
"""

from __future__ import annotations

import heapq
import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from selfroute.models.base import TermWeight
from selfroute.models.matching import Matcher, Weigher
from selfroute.models.question import UNKNOWN_SHARE, Question, parse
from selfroute.models.quoting import Line, quote
from selfroute.models.sentences import Role, Unit, units
from selfroute.models.synonyms import SYNONYMS
from selfroute.types import Chunk, Generation

N_LOOKED_AT = 96  # chunks that are read line by line
# What the first of a list gains that is not in reading order; RANK_SCALE places later it is half of that.
RANK_PRIOR = 0.3
RANK_SCALE = 6

# What a concept counts by where it stands, seen from a line: on it, in its definition's name, N_NEAR lines off, ...
ON_LINE, IN_SYMBOL, NEAR, IN_PATH, IN_CHUNK = 1.0, 0.7, 0.6, 0.35, 0.25
N_NEAR = 2
QUALIFIER = 0.1  # of a qualified name's fit that its qualifier decides
IN_NAME = 0.3  # what a chunk's promise gains by its symbol's fit

# The confidence counts a concept in full when it stands on the line, beside it or in its definition's name.
FURTHER_OFF = 0.7  # ... and this much when it is elsewhere in the chunk or in the path
MIN_CONFIDENCE = 0.5  # below it the chunks do not hold an answer

NO_TERM = "\0"  # its weight is that of any term that the corpus does not hold

# Question kind -> the parts that answer it, and what a line's score gains by playing one.
_WANTED: dict[str, tuple[tuple[Role, float], ...]] = {
    "definition": ((Role.DEFINITION, 1.0), (Role.ASSIGNMENT, 0.5)),
    "default": ((Role.LITERAL, 1.2), (Role.ASSIGNMENT, 0.9)),
    "bases": ((Role.BASES, 1.0), (Role.DEFINITION, 0.3)),
    "raise": ((Role.RAISE, 0.8), (Role.CONDITION, 0.1)),
    "return": ((Role.RETURN, 0.6), (Role.SUMMARY, 0.2)),
    "purpose": ((Role.SUMMARY, 0.9), (Role.DEFINITION, 0.3)),
    "signature": ((Role.DEFINITION, 0.8), (Role.ASSIGNMENT, 0.2)),
    "value": ((Role.NUMBER, 1.0), (Role.LITERAL, 0.8), (Role.ASSIGNMENT, 0.4)),
    "condition": ((Role.CONDITION, 0.3), (Role.RAISE, 0.2), (Role.RETURN, 0.2), (Role.COMMENT, 0.1)),
    "reason": ((Role.COMMENT, 0.3),),
    "place": ((Role.DEFINITION, 0.5), (Role.ASSIGNMENT, 0.1)),
    "way": ((Role.DEFINITION, 0.2), (Role.SUMMARY, 0.2)),
    "": ((Role.DEFINITION, 0.2),),
}
# These parts gain as far as the question asks for the name that they give.
_NAMING = Role.DEFINITION | Role.BASES | Role.ASSIGNMENT | Role.LITERAL | Role.NUMBER
NOTHING_OWN = 0.8  # of a line that plays no part and holds nothing of the question itself
MENTION_FACTOR = 0.4  # of imports and of lists of names
OTHER_DEFINITION = 0.3  # of a part's gain outside of the definition that the question names
LONG_LINE, LONG_LINE_FACTOR = 300, 0.5  # characters; a longer line is data more often than an answer

_TEST_PATH = re.compile(
    r"(^|/)(tests?|testing|specs?|examples?|samples?|demos?|fixtures|benchmarks?)/|(^|/)test_|_test\.\w+$"
)
TEST_FACTOR = 0.6  # of lines of tests and examples, unless the question is about them


class EvidenceReader:
    """Quotes the lines that carry the answer. Deterministic; keeps nothing between questions.

    term_weight: rarity of a stemmed term in the corpus; without it, the rarity among the chunks that are read.
    """

    def __init__(self, term_weight: TermWeight | None = None) -> None:
        self._term_weight = term_weight

    def read(self, question: str, chunks: Sequence[Chunk]) -> Generation:
        """The best lines, at most 6 of at most 3 places, best first; declined when they do not cover the question.

        chunks: in reading order, or best first, and then the first ones have a small advantage. Spans cover whole
        lines, or sentences of prose; their score does not depend on the place in the list. confidence: the share of
        the question's weight that stands on the best line and around it, also when it is declined.
        """
        asked = parse(question)
        lines = Reading(asked, chunks, self._term_weight).best_lines()
        confidence = lines[0].cover if lines else 0.0
        if confidence < MIN_CONFIDENCE:
            return Generation("", confidence=confidence, answerable=False, finish="declined", threshold=MIN_CONFIDENCE)
        spans, text = quote(lines, chunks, asked.kind)
        return Generation(text, spans, confidence, threshold=MIN_CONFIDENCE)


@dataclass(frozen=True, slots=True)
class _View:
    """What a chunk holds of the question, as masks: in its text, symbol and path. fit: of its symbol, in [0, 1]."""

    text: int
    symbol: int
    path: int
    fit: float

    @property
    def around(self) -> int:
        """Text and symbol."""
        return self.text | self.symbol

    @property
    def all(self) -> int:
        """Text, symbol and path."""
        return self.text | self.symbol | self.path


class Reading:
    """One question, parsed, over some chunks. matcher, weight: which concepts a text holds, and what they weigh."""

    def __init__(self, asked: Question, chunks: Sequence[Chunk], term_weight: TermWeight | None) -> None:
        self.asked, self._chunks = asked, chunks
        self.matcher = Matcher(asked)
        self._views = self._look()
        self.weight = Weigher(self._weights(term_weight))

    def best_lines(self) -> list[Line]:
        """Lines of the chunks that hold most of the question, best first."""
        promising = [i for i, view in enumerate(self._views) if view.around]
        if len(promising) > N_LOOKED_AT:
            promising = heapq.nlargest(N_LOOKED_AT, promising, key=lambda i: (self._promise(i), -i))
        ranked = not _in_reading_order(self._chunks)
        found = [
            line for i in promising for line in self._lines(i, 1 + RANK_PRIOR / (1 + i / RANK_SCALE) if ranked else 1.0)
        ]
        found.sort(key=lambda line: (-line.rank, line.chunk, line.unit))
        return found

    def _look(self) -> list[_View]:
        mask = self.matcher.mask
        of_path: dict[str, int] = {}
        of_symbol: dict[str, tuple[int, float]] = {}
        views = []
        for chunk in self._chunks:
            if chunk.path not in of_path:
                of_path[chunk.path] = mask(chunk.path)
            if chunk.symbol not in of_symbol:
                of_symbol[chunk.symbol] = mask(chunk.symbol), self._fit(chunk.symbol)
            symbol, fit = of_symbol[chunk.symbol]
            views.append(_View(mask(chunk.text), symbol, of_path[chunk.path], fit))
        return views

    def _fit(self, symbol: str) -> float:
        """How far the question asks for a qualified name: by its last part, a little less when the rest differs."""
        qualifier, _, last = symbol.rpartition(".")
        fit = self.matcher.fit(last)
        return fit * (1 - QUALIFIER * (1 - self.matcher.fit(qualifier))) if qualifier.isidentifier() else fit

    def _weights(self, term_weight: TermWeight | None) -> list[float]:
        """The weight of each concept: the root of its inverse document frequency times its share.

        With term_weight it is that of the commonest of its term and its synonyms in the corpus, otherwise that of the
        concept, in all its forms, among the chunks. What stands nowhere counts for more than any rare word.
        """
        n, n_chunks = len(self.asked.concepts), len(self._views)
        counts = Counter(view.all for view in self._views)
        weights = []
        for i, concept in enumerate(self.asked.concepts):
            n_held = sum(count for mask, count in counts.items() if mask >> i & 1 or mask >> (n + i) & 1)
            if term_weight is None:
                rarity = math.log(2 + (n_chunks - n_held + 0.5) / (n_held + 0.5))
            else:
                rarity = min(map(term_weight, (concept.term, *SYNONYMS.get(concept.term, ()))))
            nowhere = not n_held and (term_weight is None or rarity >= term_weight(NO_TERM))
            share = concept.share * (UNKNOWN_SHARE if nowhere and not concept.generic else 1.0)
            weights.append(share * math.sqrt(rarity))
        return weights

    def _promise(self, i: int) -> float:
        """How much of the question a chunk holds, before its lines are looked at."""
        view, weight = self._views[i], self.weight
        near = weight[view.around]
        held = near + IN_PATH * (weight[view.all] - near) + IN_NAME * view.fit * weight[view.symbol]
        return held * self._path_factor(i)

    def _path_factor(self, i: int) -> float:
        return TEST_FACTOR if not self.asked.about_tests and _TEST_PATH.search(self._chunks[i].path) else 1.0

    def _lines(self, i: int, prior: float) -> list[Line]:
        """Every line of a chunk with its score; a line without a concept of its own lives on what stands around it."""
        text, view, weight = self._chunks[i].text, self._views[i], self.weight
        pieces = units(self._chunks[i])
        masks = [self.matcher.mask(text[unit.start : unit.end]) for unit in pieces]
        # Inside the very definition that is asked about, its name need not be repeated on the line.
        in_symbol = ON_LINE if view.fit >= 1 - QUALIFIER else IN_SYMBOL
        everything, total = weight[view.all], weight.total
        if not total:
            return []
        lines = []
        for n, unit in enumerate(pieces):
            if unit.role & Role.EMPTY:
                continue
            here = near = masks[n]
            for mask in masks[max(0, n - N_NEAR) : n + N_NEAR + 1]:
                near |= mask
            own, named, beside = weight[here], weight[here | view.symbol], weight[near | view.symbol]
            with_path = weight[near | view.symbol | view.path]
            score = ON_LINE * own + in_symbol * (named - own) + NEAR * (beside - named)
            score += IN_PATH * (with_path - beside) + IN_CHUNK * (everything - with_path)
            score *= self._part(unit, view, here) * self._path_factor(i) / total
            cover = (beside + FURTHER_OFF * (everything - beside)) / total
            lines.append(Line(score, score * prior, min(1.0, cover), i, n, pieces))
        return lines

    def _part(self, unit: Unit, view: _View, here: int) -> float:
        """What a line's score is multiplied by for the part that it plays."""
        factor = LONG_LINE_FACTOR if unit.end - unit.start > LONG_LINE else 1.0
        if unit.role & (Role.IMPORT | Role.NAME_ONLY):
            factor *= MENTION_FACTOR
        gain = self._gain(unit, view)
        return factor * (1 + gain if here or gain else NOTHING_OWN)

    def _gain(self, unit: Unit, view: _View) -> float:
        """What the line's part is worth to this kind of question."""
        best = 0.0
        for role, gain in _WANTED[self.asked.kind]:
            if not unit.role & role:
                continue
            if role & _NAMING:
                gain *= max(map(self.matcher.fit, unit.names), default=0.0)
            elif self.asked.has_name:
                gain *= OTHER_DEFINITION + (1 - OTHER_DEFINITION) * view.fit
            best = max(best, gain)
        return best


def _in_reading_order(chunks: Sequence[Chunk]) -> bool:
    """Whether the order of the chunks says nothing of their worth: files by path, lines from above."""

    def place(chunk: Chunk) -> tuple[str, int, int]:
        path, _, cell = chunk.path.partition("#cell-")
        return path, int(cell) if cell.isdecimal() else 0, chunk.start_line

    return all(place(one) <= place(other) for one, other in pairwise(chunks))
