"""What a question asks the lexical index for: its terms, their weights, and whether it is the name of one thing."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise

from selfroute.models.lexing import STOPWORDS, WORD, terms_of
from selfroute.models.synonyms import SYNONYMS

MAX_TERMS = 64  # of a question; a pasted file is a question too, and its first terms say enough
PART_WEIGHT = 0.6  # of the parts of a compound name, when the whole name is asked for as well
SYNONYM_WEIGHT = 0.35
PAIR_WEIGHT = 0.5  # of two neighbouring words as one name: "error handlers" -> error_handler, errorhandler

_SYMBOL = re.compile(r"[A-Za-z_$][\w$]*(?:(?:\.|::|->|#|/)[A-Za-z_$][\w$]*)*(?:\(\))?")


@dataclass(frozen=True, slots=True)
class LexicalQuery:
    """weights: term -> weight, in the order of the question. core: the terms that the question itself holds.

    symbol: the name, when the whole question is one ("Flask.make_response" -> "make_response"), else "".
    """

    weights: dict[str, float]
    core: tuple[str, ...]
    symbol: str


def parse(text: str) -> LexicalQuery:
    """Terms and weights of a question; nothing in it gives an empty query."""
    stripped = text.strip()[:20_000]
    words = WORD.findall(stripped)
    kept = [word for word in words if word.lower() not in STOPWORDS] or words
    core: dict[str, float] = {}
    for word in kept:
        whole, *parts = terms_of(word) or ("",)
        if whole:
            core.setdefault(whole, 1.0)
        for part in parts:
            core.setdefault(part, PART_WEIGHT)
        if len(core) >= MAX_TERMS:
            break
    weights = dict(core)
    for first, second in pairwise(kept[:MAX_TERMS]):
        joined = "_".join((*terms_of(first)[-1:], *terms_of(second)[-1:]))
        for term in (joined, *terms_of(f"{first}{second}".lower())):
            weights.setdefault(term, PAIR_WEIGHT)
    for term in core:
        for other in sorted(SYNONYMS.get(term, ())):
            weights.setdefault(other, SYNONYM_WEIGHT * core[term])
    return LexicalQuery(weights, tuple(core), _symbol(stripped))


def _symbol(text: str) -> str:
    if not _SYMBOL.fullmatch(text):
        return ""
    return re.split(r"\.|::|->|#|/", text.removesuffix("()"))[-1]
