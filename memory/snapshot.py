"""One generation of everything that search needs, immutable and in memory; made from the one before, stored as plain
arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from selfroute.memory import query as lexical_query
from selfroute.memory.catalog import Catalog, path_text, stem_text
from selfroute.memory.lexical import Postings
from selfroute.memory.ranking import N_LEXICAL, N_VECTOR, Fields, rank
from selfroute.memory.vectors import FaissVectorStore
from selfroute.models.lexing import terms_of
from selfroute.types import Chunk

PATH_COUNT = 2  # how often the words of a chunk's path count in its text
NAME_COUNT = 2  # and those of the names that it defines


@dataclass(frozen=True, slots=True)
class Ranked:
    """Rows best first, and the shape of the search; see memory.base.Probe."""

    rows: list[int]
    scores: list[float]
    via: list[tuple[str, ...]]
    coverage: float
    agreement: float

    def first(self, n: int) -> Ranked:
        """The best n of them."""
        return replace(self, rows=self.rows[:n], scores=self.scores[:n], via=self.via[:n])


class Snapshot:
    """Rows are chunks: files by path, chunks in document order. rowids: (N,) int64, the SQLite rowid of each row's
    chunk."""

    def __init__(
        self,
        generation: int,
        content: Postings,
        names: Postings,
        catalog: Catalog,
        vectors: FaissVectorStore,
        rowids: NDArray[np.int64],
    ) -> None:
        self.generation, self.content, self.names, self.catalog = generation, content, names, catalog
        self.vectors, self.rowids = vectors, rowids

    @classmethod
    def empty(cls, dim: int) -> Snapshot:
        """Generation 0: no rows; vectors of width dim."""
        none = np.empty(0, np.int64)
        return cls(0, Postings.empty(), Postings.empty(), Catalog.empty(), FaissVectorStore(dim), none)

    @property
    def n_chunks(self) -> int:
        """Rows."""
        return len(self.rowids)

    @cached_property
    def _fields(self) -> Fields:
        paths = self.catalog.paths
        stems = Postings.empty().merged(-1 - np.arange(len(paths)), [[(stem_text(path), 1)] for path in paths])
        return Fields(self.content, self.names, stems, self.catalog)

    def merged(
        self,
        origin: NDArray[np.int64],
        chunks: Sequence[Chunk],
        definitions: Sequence[Sequence[str]],
        vectors: NDArray[np.float32],
        rowids: NDArray[np.int64],
        generation: int,
    ) -> Snapshot:
        """The snapshot whose row i is old row origin[i], or added chunk -origin[i] - 1 where origin[i] is negative.

        definitions: the qualified names that start in each added chunk. vectors: (added, D). rowids: of all rows.
        Equal, array for array, to one made from nothing but the same rows. Does not change this one.
        """
        named = list(zip(chunks, definitions, strict=True))
        texts = [
            [(c.text, 1), (path_text(c.path), PATH_COUNT), (" ".join((c.symbol, *defined)), NAME_COUNT)]
            for c, defined in named
        ]
        lasts = [[(" ".join(name.rpartition(".")[2] for name in defined), 1)] for _, defined in named]
        rows = np.empty((len(origin), self.vectors.dim), np.float32)
        old = origin >= 0
        rows[old] = self.vectors.rows[origin[old]]
        rows[~old] = vectors[-origin[~old] - 1]
        store = FaissVectorStore(self.vectors.dim)
        store.add(rows)
        catalog = self.catalog.merged(
            origin, [(c.path, c.n_tokens, "\x1f".join(defined), c.symbol) for c, defined in named]
        )
        return Snapshot(
            generation, self.content.merged(origin, texts), self.names.merged(origin, lasts), catalog, store, rowids
        )

    def to_arrays(self) -> dict[str, NDArray[np.generic]]:
        """Everything, to be stored."""
        return {
            "generation": np.array([self.generation], np.int64),
            "rowids": self.rowids,
            "vectors": self.vectors.rows,
            **self.content.to_arrays("content"),
            **self.names.to_arrays("names"),
            **self.catalog.to_arrays("catalog"),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[np.generic]]) -> Snapshot:
        """The inverse of to_arrays."""
        vectors = FaissVectorStore(arrays["vectors"].shape[1])
        vectors.add(arrays["vectors"])  # type: ignore[arg-type]
        return cls(
            int(arrays["generation"][0]),
            Postings.from_arrays(arrays, "content"),
            Postings.from_arrays(arrays, "names"),
            Catalog.from_arrays(arrays, "catalog"),
            vectors,
            arrays["rowids"],  # type: ignore[arg-type]
        )

    def term_weight(self, term: str) -> float:
        """Inverse document frequency of a stemmed term over the chunks."""
        return self.content.idf(term)

    def knows(self, word: str) -> bool:
        """Whether a word, as it is or run together, stands in a chunk, its path or a name that it defines."""
        whole, together = terms_of(word)[:1], terms_of(word.lower().replace("_", ""))[:1]
        return any(self.content.n_rows_with(term) for term in (*whole, *together))

    def search(self, text: str, query_vector: NDArray[np.float32] | None, *, top_k: int) -> Ranked:
        """The best rows for a question. query_vector: (D,) unit float32, or None for lexical search alone."""
        query = lexical_query.parse(text)
        if not self.n_chunks or top_k < 1:
            return Ranked([], [], [], 0.0, 0.0)
        lexical = self.content.bm25(query.weights)
        by_words = _best(lexical, max(N_LEXICAL, 2 * top_k))
        vector = np.zeros(self.vectors.dim, np.float32) if query_vector is None else query_vector
        by_vector = np.empty(0, np.int64)
        if vector.any():
            by_vector = self.vectors.search(vector[None], top_k=max(N_VECTOR, top_k))[1][0]
        candidates = np.union1d(by_words, by_vector)
        for term in query.core if query.symbol else ():
            candidates = np.union1d(candidates, self.names.of(term)[0])
        if not len(candidates):
            return Ranked([], [], [], 0.0, 0.0)
        cosine = self.vectors.rows[candidates] @ vector
        rows, scores = rank(query, self._fields, lexical, candidates, cosine, top_k=top_k)
        lexical_set, vector_set = set(by_words.tolist()), set(by_vector.tolist())
        via = [
            tuple(name for name, found in (("lexical", lexical_set), ("vector", vector_set)) if row in found)
            or ("name",)
            for row in rows
        ]
        return Ranked(rows, scores, via, self._coverage(query, rows[:1]), _agreement(via))

    def _coverage(self, query: lexical_query.LexicalQuery, rows: list[int]) -> float:
        """The share of the question's term weight that the row holds."""
        weight = {term: self.content.idf(term) * query.weights[term] for term in query.core}
        held = sum(w for term, w in weight.items() if rows and rows[0] in self.content.of(term)[0])
        return float(held / (sum(weight.values()) or 1.0))


def _best(scores: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """The rows of the k largest positive scores, ascending; ties at the cut go to the lower rows."""
    positive = np.flatnonzero(scores > 0)
    if len(positive) <= k:
        return positive
    cut = -np.partition(-scores[positive], k - 1)[k - 1]
    above, level = positive[scores[positive] > cut], positive[scores[positive] == cut]
    return np.sort(np.concatenate([above, level[: k - len(above)]]))


def _agreement(via: list[tuple[str, ...]]) -> float:
    """The share of the top ten that both searches found."""
    top = via[:10]
    return sum(len(found) > 1 for found in top) / len(top) if top else 0.0
