"""Which concepts of a question a text holds, as bit masks, and what the masks weigh.

Bit i of a mask says that concept i stands there; bit n + i, n the number of concepts, that a word related to it does.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from selfroute.models.lexing import WORD, terms_of
from selfroute.models.question import Question
from selfroute.models.synonyms import SYNONYMS, are_kin

RELATED_WEIGHT = 0.7  # of a synonym or another form of the word, where the word itself counts 1
_MIN_HALF = 3  # letters of either half of a word that is two words written as one
_ALMOST = 0.7  # how well a name fits whose parts all stand in the question, but not as one name
_NEGATIONS = ("non", "un", "in", "dis")


class Matcher(dict[str, int]):
    """Words of a text to masks. Fills itself: a word is looked at once however often it stands in a corpus."""

    def __init__(self, question: Question) -> None:
        super().__init__()
        self.n = len(question.concepts)
        self._exact: dict[str, int] = {}
        self._related: dict[str, int] = {}
        self._by_beginning: dict[str, list[tuple[str, int]]] = {}
        self._whole = {concept.term for concept in question.concepts if not concept.is_part}
        for i, concept in enumerate(question.concepts):
            self._exact[concept.term] = 1 << i
            for other in SYNONYMS.get(concept.term, ()):
                self._related[other] = self._related.get(other, 0) | 1 << (self.n + i)
            if len(concept.term) >= 4:
                self._by_beginning.setdefault(concept.term[:4], []).append((concept.term, i))
        for term, mask in question.aliases:
            self._exact[term] = self._exact.get(term, 0) | mask

    def __missing__(self, word: str) -> int:
        mask = 0
        terms = terms_of(word)
        if len(terms) > 1 and word.isascii():
            # open_WebSocket holds websocket, and so does WebSocket
            run_together = (one + other for one, other in pairwise(terms[1:]))
            terms = (*terms, *run_together, *terms_of(word.replace("_", "").lower())[:1])
        elif word.isascii():
            mask = self._of_halves(word.lower())
        for term in terms:
            mask |= self._of_term(term)
        self[word] = mask
        return mask

    def mask(self, text: str) -> int:
        """All concepts that the text holds."""
        mask = 0
        for word in set(WORD.findall(text)):
            mask |= self[word]
        return mask

    def fit(self, name: str) -> float:
        """How far the question asks for a name, in [0, 1]: 1 when it spells it out, else by the parts it holds."""
        terms = terms_of(name)
        if not terms:
            return 0.0
        if terms[0] in self._whole:
            return 1.0
        if len(terms) == 1:
            return _ALMOST if self[name] else 0.0
        held = sum(self._of_term(part) != 0 for part in terms[1:])
        return _ALMOST * (held / (len(terms) - 1)) ** 2

    def _of_term(self, term: str) -> int:
        mask = self._exact.get(term, 0) | self._related.get(term, 0)
        for stem, i in self._by_beginning.get(term[:4], ()):
            if term != stem and are_kin(term, stem):
                mask |= 1 << (self.n + i)
        for negation in _NEGATIONS:
            if term.startswith(negation) and len(term) - len(negation) > 3:
                exact = self._exact.get(term[len(negation) :], 0)
                mask |= (exact & ((1 << self.n) - 1)) << self.n
        return mask

    def _of_halves(self, word: str) -> int:
        """MAXLINE, filename: two words of the question, or their short forms, written as one."""
        word = word.strip("_")
        for cut in range(_MIN_HALF, len(word) - _MIN_HALF + 1):
            first = self._exact.get(word[:cut], 0) | self._related.get(word[:cut], 0)
            if first:
                rest = terms_of(word[cut:])
                second = self._exact.get(rest[0], 0) | self._related.get(rest[0], 0) if rest else 0
                if second:
                    return first | second
        return 0


class Weigher(dict[int, float]):
    """Masks to the summed weight of their concepts, whose weights it is given; a related word counts RELATED_WEIGHT."""

    def __init__(self, weights: Sequence[float]) -> None:
        super().__init__()
        self.weights = tuple(weights)
        self.total = sum(weights)

    def __missing__(self, mask: int) -> float:
        n = len(self.weights)
        weight = 0.0
        for i, full in enumerate(self.weights):
            weight += full if mask >> i & 1 else full * RELATED_WEIGHT if mask >> (n + i) & 1 else 0.0
        self[mask] = weight
        return weight
