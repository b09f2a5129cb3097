"""Code-aware ranking: lexical and vector scores, the names a chunk defines, its file's name, and its file's other
chunks.

Each signal is scaled to [0, 1] over the candidates, weighted and summed; files that are rarely the answer (examples,
change logs) count for less unless the question asks for them. The first hits favour different files, the later ones go
by score alone: whoever reads a few wants to see every place, whoever reads on wants the rest of the best ones. The
weights were tuned as docs/benchmarks.md says, on repositories other than those reported.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from selfroute.memory import catalog as kinds
from selfroute.memory.catalog import Catalog
from selfroute.memory.lexical import Postings
from selfroute.memory.query import LexicalQuery
from selfroute.models.lexing import terms_of

N_LEXICAL = 150  # candidates from each search
N_VECTOR = 100


@dataclass(frozen=True, slots=True)
class RankingWeights:
    """What each signal counts; lexical is the unit."""

    vector: float = 0.5
    name: float = 1.5
    stem: float = 0.7
    coherence: float = 1.0
    symbol: float = 2.0
    test: float = 0.7
    example: float = 0.5
    docs: float = 0.7
    compat: float = 0.8
    declarations: float = 0.7
    log: float = 0.4


NAMED_FILE = 3.0  # how much more the name of a file counts when the question is one name
NEIGHBOUR = 0.2  # of the lexical score of the chunks beside a chunk
N_COHERENT = 5  # best chunks of a file that speak for it
N_SPREAD = 7  # first hits that favour different files
REPEAT = 0.6  # what each earlier hit of its file leaves of a chunk's score among them

WEIGHTS = RankingWeights()

_ASKED_FOR = {
    kinds.TEST: ("test", "unittest", "fixtur"),
    kinds.EXAMPLE: ("exampl", "sampl", "demo", "tutori", "benchmark"),
    kinds.DOCS: ("doc", "document", "readm", "guid"),
    kinds.COMPAT: ("compat", "legaci", "deprec", "vendor"),
    kinds.DECLARATIONS: ("declar", "stub", "type"),
    kinds.LOG: ("changelog", "chang", "histori", "releas", "version"),
}


@dataclass(frozen=True, slots=True)
class Fields:
    """What is searched: chunks by text and by defined names, files by the words of their names."""

    content: Postings
    names: Postings
    stems: Postings
    catalog: Catalog


def rank(
    query: LexicalQuery,
    fields: Fields,
    lexical: NDArray[np.float32],
    rows: NDArray[np.int64],
    cosine: NDArray[np.float32],
    *,
    top_k: int,
    weights: RankingWeights = WEIGHTS,
) -> tuple[list[int], list[float]]:
    """The best rows and their scores, best first; ties break on the lower row.

    lexical: (N,) BM25 of all rows. rows: (C,) candidates, ascending. cosine: (C,) float32.
    """
    idf = {term: fields.content.idf(term) for term in query.core}
    total = sum(idf[term] * query.weights[term] for term in query.core) or 1.0
    shares = {term: idf[term] * query.weights[term] / total for term in query.core}
    files = fields.catalog.file_of_row[rows]

    relevance = _with_neighbours(lexical, fields.catalog.file_of_row)[rows]
    relevance /= float(relevance.max()) or 1.0
    likeness = _above_median(cosine)
    score = relevance + weights.vector * likeness
    score += weights.name * _overlap(fields.names, shares)[rows]
    score += weights.stem * (NAMED_FILE if query.symbol else 1.0) * _overlap(fields.stems, shares)[files]
    if query.symbol:
        score += weights.symbol * _defines(query.symbol, fields.catalog, rows)
    score += weights.coherence * _coherence(relevance + likeness, files)
    score *= _factors(query, weights)[fields.catalog.kinds[files]]
    return _spread(rows, files, score.astype(np.float64), top_k)


def _with_neighbours(lexical: NDArray[np.float32], file_of_row: NDArray[np.int32]) -> NDArray[np.float32]:
    """(N,): each row's score, and a share of those before and after it in its file."""
    blended = lexical.copy()
    share = np.float32(NEIGHBOUR) * (file_of_row[1:] == file_of_row[:-1])
    blended[1:] += share * lexical[:-1]
    blended[:-1] += share * lexical[1:]
    return blended


def _above_median(cosine: NDArray[np.float32]) -> NDArray[np.float32]:
    """(C,) in [0, 1]: how far each stands above the median candidate, on the way to the best."""
    median = np.median(cosine)
    scaled: NDArray[np.float32] = np.clip((cosine - median) / (float(cosine.max() - median) or 1.0), 0, 1)
    return scaled


def _coherence(relevance: NDArray[np.float32], files: NDArray[np.int32]) -> NDArray[np.float64]:
    """(C,) in [0, 1]: the summed relevance of the best chunks of each candidate's file, by that of the best file."""
    order = np.lexsort((-relevance, files))
    grouped = files[order]
    best = order[np.arange(len(order)) - np.searchsorted(grouped, grouped) < N_COHERENT]
    in_file = np.bincount(files[best], weights=relevance[best])
    return (in_file / (in_file.max() or 1.0))[files]


def _overlap(field: Postings, shares: dict[str, float]) -> NDArray[np.float32]:
    """(N,) in [0, 1]: geometric mean of the question's share in a row's name and the name's in the question."""
    found = field.matched(shares)
    n_matched = field.matched(dict.fromkeys(shares, 1.0))
    return np.sqrt(found * np.minimum(n_matched / np.maximum(field.lengths, 1), 1.0))


def _defines(symbol: str, catalog: Catalog, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """(C,): 1 where the chunk defines exactly the name, 0.7 but for its case, 0.4 but for its ending."""
    folded = symbol.lower().strip("_")
    stem = terms_of(symbol)[:1]

    def fit(name: str) -> float:
        last = name.rpartition(".")[2]
        if last == symbol:
            return 1.0
        if last.lower().strip("_") == folded:
            return 0.7
        return 0.4 if terms_of(last)[:1] == stem else 0.0

    return np.array([max(map(fit, catalog.names(row)), default=0.0) for row in rows.tolist()], np.float32)


def _factors(query: LexicalQuery, weights: RankingWeights) -> NDArray[np.float64]:
    """(kinds,): what a score is multiplied by; 1 for a kind of file that the question asks for."""
    table = (1.0, weights.test, weights.example, weights.docs, weights.compat, weights.declarations, weights.log)
    asked = {kind for kind, words in _ASKED_FOR.items() if any(word in query.core for word in words)}
    return np.array([1.0 if kind in asked else factor for kind, factor in enumerate(table)])


def _spread(
    rows: NDArray[np.int64], files: NDArray[np.int32], scores: NDArray[np.float64], top_k: int
) -> tuple[list[int], list[float]]:
    """First the best with each file's later chunks damped, then the others by score. Scores given never rise."""
    order = np.lexsort((rows, -scores))
    n_before: Counter[int] = Counter()
    damped = np.empty(len(order))
    for place, (i, file) in enumerate(zip(order.tolist(), files[order].tolist(), strict=True)):
        damped[place] = scores[i] * REPEAT ** n_before[file]
        n_before[file] += 1
    head = np.argsort(-damped, kind="stable")[:N_SPREAD]
    rest = np.delete(np.arange(len(order)), head)
    places = np.concatenate([head, rest])[:top_k]
    final = np.concatenate([damped[head], scores[order][rest]])[:top_k]
    return rows[order[places]].tolist(), np.minimum.accumulate(final).tolist()
