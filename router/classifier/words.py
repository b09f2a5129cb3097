"""A question's words as TF-IDF over a vocabulary of training: single words and pairs, in lower case.

What a corpus names is no word of a question: names that are spelled as code spells them and numbers become one word
each, so that nothing is learned of a package's own names. A word with a typo is one unknown word.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import log, sqrt
from typing import Any

from selfroute.router.features import MAX_CHARACTERS, unnamed

NAME, NUMBER = "codename", "numeral"
MIN_QUESTIONS, MAX_TERMS = 3, 4_000
_WORD = re.compile(r"[^\W_]+", re.UNICODE)


def words_of(question: str) -> list[str]:
    """In their order."""
    plain = unnamed(question[:MAX_CHARACTERS], NAME)
    return [NUMBER if word.isdecimal() else word for word in _WORD.findall(plain.casefold())]


def terms_of(question: str) -> list[str]:
    """Words, and pairs of neighbours."""
    words = words_of(question)
    return words + [f"{one} {other}" for one, other in pairwise(words)]


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """terms: sorted. idf: of each, smoothed; a question's vector has unit length (Salton and Buckley 1988)."""

    terms: tuple[str, ...]
    idf: tuple[float, ...]
    _at: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_at", {term: i for i, term in enumerate(self.terms)})

    @classmethod
    def of(cls, questions: Sequence[str]) -> Vocabulary:
        """Terms of at least three questions, the most frequent first to be kept."""
        n = Counter(term for question in questions for term in set(terms_of(question)))
        kept = sorted((t for t, k in n.items() if k >= MIN_QUESTIONS), key=lambda t: (-n[t], t))[:MAX_TERMS]
        kept.sort()
        return cls(tuple(kept), tuple(round(1 + log((1 + len(questions)) / (1 + n[t])), 4) for t in kept))

    def vector(self, question: str) -> dict[int, float]:
        """Place of a term -> weight; empty when none is known."""
        counts = Counter(self._at[term] for term in terms_of(question) if term in self._at)
        raw = {i: (1 + log(n)) * self.idf[i] for i, n in sorted(counts.items())}
        length = sqrt(sum(x * x for x in raw.values()))
        return {i: x / length for i, x in raw.items()} if length else {}

    def unknown_share(self, question: str) -> float:
        """Of its words, those that no training question had often enough; 1 of none."""
        words = words_of(question)
        return sum(word not in self._at for word in words) / len(words) if words else 1.0

    def to_json(self) -> dict[str, Any]:
        """What `from_json` reads."""
        return {"terms": list(self.terms), "idf": list(self.idf)}

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> Vocabulary:
        """Raises ValueError, KeyError or TypeError for anything else."""
        terms, idf = tuple(map(str, found["terms"])), tuple(map(float, found["idf"]))
        if len(terms) != len(idf) or len(set(terms)) != len(terms):
            raise ValueError("a vocabulary with as many weights as terms")
        return cls(terms, idf)


def matrix(vocabulary: Vocabulary, questions: Iterable[str]) -> Any:
    """(n, terms) scipy sparse rows."""
    from scipy import sparse  # type: ignore[import-untyped]

    rows = [vocabulary.vector(question) for question in questions]
    starts, columns, values = [0], [], []
    for row in rows:
        columns += list(row)
        values += list(row.values())
        starts.append(len(columns))
    return sparse.csr_matrix((values, columns, starts), shape=(len(rows), len(vocabulary.terms)))
