"""The second hop of a question over prose: from what a search found to what that names.

"Which team did the host of the show play for?" is answered in the paragraph about the host, which may share no word
with the question; the paragraph about the show names him. So a hit lends a share of its score to the text whose title
it names, and the text that a hit is about lends one to those that name it. Texts titled by what the question itself
names are raised a little, so that a comparison keeps both of its sides. Single questions lose nothing by it: what is
lent is small beside what the words of a question give. How it was measured: benchmarks/two_hop.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import log1p
from typing import Protocol

from selfroute.memory.graph.entities import entities, key_of
from selfroute.models.lexing import STOPWORDS

MAX_WORDS = 64  # of a question
MAX_NAME_WORDS = 6  # of a name that a question may spell without capitals


@dataclass(frozen=True, slots=True)
class Named:
    """What a row names, and the titles of what it begins or is part of, as keys."""

    mentions: tuple[str, ...]
    titles: tuple[str, ...]


class EntityIndex(Protocol):
    """Who names what. Rows are those of the hits; keys are those of entities.key_of. Unknown keys are left out."""

    def __len__(self) -> int:
        """Rows, prose or not."""
        ...

    def prose(self, rows: Sequence[int]) -> set[int]:
        """Those of the rows that take part; code and data do not."""
        ...

    def named(self, rows: Sequence[int]) -> Mapping[int, Named]:
        """What each prose row names."""
        ...

    def titled(self, keys: Sequence[str]) -> Mapping[str, Sequence[int]]:
        """The rows where something of that title begins, ascending."""
        ...

    def mentioning(self, keys: Sequence[str]) -> Mapping[str, Sequence[int]]:
        """The rows that name each key, in a title or elsewhere, ascending."""
        ...

    def counts(self, keys: Sequence[str]) -> Mapping[str, int]:
        """How many rows `mentioning` would give."""
        ...


@dataclass(frozen=True, slots=True)
class ExpansionWeights:
    """What is lent, in shares of the best hit's score; tuned on half of the questions of benchmarks/two_hop.py.

    lent: by a hit as good as the best, for a name that is nowhere else. asked: to what the question names. n_hops: hits
    that lend. n_kept: first hits that stay where they are. max_titled: a title of more rows than this ("History") names
    nothing in particular. max_mentioned: nor does one that more rows than this name, when its text looks for them.
    common: a single word of the question whose rarity is below this is a word, not a name.
    """

    lent: float = 0.5
    asked: float = 0.3
    n_hops: int = 3
    n_kept: int = 2
    max_titled: int = 5
    max_mentioned: int = 20
    common: float = 0.4


EXPANSION = ExpansionWeights()


@dataclass(frozen=True, slots=True)
class Expanded:
    """A row of the new ranking. bridge: the key of the name that raised it, "" when its own score did."""

    row: int
    score: float
    bridge: str = ""


def expand(
    question: str,
    hits: Sequence[tuple[int, float]],
    index: EntityIndex,
    *,
    top_k: int,
    weights: ExpansionWeights = EXPANSION,
) -> list[Expanded]:
    """The top_k rows after the second hop, best first, scores not rising.

    hits: (row, score) of a first search, best first, scores not rising, N_POOL of them or so. What is not prose keeps
    its rank; when that is the first hit, or most of the first top_k, nothing changes at all. Raises ValueError when
    top_k < 1.
    """
    if top_k < 1:
        raise ValueError(f"top_k must be at least 1, got {top_k}")
    plain = [Expanded(row, score) for row, score in hits]
    takes_part = index.prose([row for row, _ in hits])
    prose = [(row, score) for row, score in hits if row in takes_part]
    n_prose = sum(row in takes_part for row, _ in hits[:top_k])
    if not prose or prose[0] != hits[0] or hits[0][1] <= 0 or 2 * n_prose < min(top_k, len(hits)):
        return plain[:top_k]
    ranked = iter(_ranked(question, prose, index, weights))
    moved = [next(ranked) if hit.row in takes_part else hit for hit in plain]
    lowest = moved[0].score
    result = []
    for hit in (*moved, *ranked):
        lowest = min(lowest, hit.score)
        result.append(Expanded(hit.row, lowest, hit.bridge))
    return result[:top_k]


def _ranked(
    question: str, hits: Sequence[tuple[int, float]], index: EntityIndex, weights: ExpansionWeights
) -> list[Expanded]:
    """Prose hits and what they bring in, in their new order."""
    best, floor = hits[0][1], hits[-1][1]
    asked = _asked(question, index, weights)
    links = _links(hits[: weights.n_hops], set(asked), index, weights)
    place = {row: i for i, (row, _) in enumerate(hits)}
    score = dict(hits)
    for row, (share, _) in links.items():
        score[row] = score.get(row, floor) + weights.lent * share
    for key, rows in index.titled(list(asked)).items():
        for row in rows if len(rows) <= weights.max_titled else ():
            score[row] = score.get(row, floor) + weights.asked * asked[key] * best
    order = sorted(score, key=lambda row: (-score[row], place.get(row, len(hits)), row))
    kept = [row for row, _ in hits[: weights.n_kept]]
    order = [*kept, *(row for row in order if row not in kept)]
    raised = {row for i, row in enumerate(order) if row not in place or i < place[row]}
    return [Expanded(row, score[row], links[row][1] if row in links and row in raised else "") for row in order]


def _links(
    hops: Sequence[tuple[int, float]], asked: set[str], index: EntityIndex, weights: ExpansionWeights
) -> dict[int, tuple[float, str]]:
    """Row -> the most that a hop lends it, and the name that leads there."""
    named = index.named([row for row, _ in hops])
    keys = list(dict.fromkeys(key for names in named.values() for key in (*names.mentions, *names.titles)))
    titled = {key: rows for key, rows in index.titled(keys).items() if len(rows) <= weights.max_titled}
    rarity = _rarity(list(titled), index)
    own = {key for row, names in named.items() for key in names.titles if row in titled.get(key, ())}
    n_named = index.counts(list(own))
    about = index.mentioning([key for key in own if n_named.get(key, 0) <= weights.max_mentioned])
    links: dict[int, tuple[float, str]] = {}
    for hop, score in hops:
        names = named.get(hop, Named((), ()))
        forward = ((key, titled.get(key, ())) for key in names.mentions if key not in asked and key not in names.titles)
        back = ((key, about.get(key, ())) for key in names.titles if hop in titled.get(key, ()))
        for key, rows in (*forward, *back):
            for row in rows:
                share = score * rarity[key]
                if row != hop and share > links.get(row, (0.0, ""))[0]:
                    links[row] = (share, key)
    return links


def _asked(question: str, index: EntityIndex, weights: ExpansionWeights) -> dict[str, float]:
    """The names in a question, by capitals or because something has that title -> their rarity."""
    words = [key for word in question.split()[:MAX_WORDS] if (key := key_of(word))]
    spelt = index.titled(list(dict.fromkeys(_runs(words))))
    written = {entity.key for entity in entities(question)}
    rarity = _rarity([*written, *(key for key in spelt if key not in written)], index)
    return {key: rare for key, rare in rarity.items() if key in written or " " in key or rare >= weights.common}


def _runs(words: Sequence[str]) -> Iterator[str]:
    """All runs of up to MAX_NAME_WORDS neighbouring words, but those of one stop word."""
    for start in range(len(words)):
        for end in range(start + 1, min(start + MAX_NAME_WORDS, len(words)) + 1):
            if end > start + 1 or words[start] not in STOPWORDS:
                yield " ".join(words[start:end])


def _rarity(keys: Sequence[str], index: EntityIndex) -> dict[str, float]:
    """Inverse document frequency, scaled so that a name that nothing holds has 1."""
    counts, n = index.counts(keys), len(index)
    return {key: log1p(n / (1 + counts.get(key, 0))) / log1p(n) for key in keys} if n else {}
