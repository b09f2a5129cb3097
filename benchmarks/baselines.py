"""Plain searches over the same index: what each part of the ranking has to beat."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from selfroute import SelfRouter
from selfroute.memory.lexical import Postings
from selfroute.memory.query import parse

Search = Callable[[str], Sequence[str]]


def over(router: SelfRouter) -> dict[str, Search]:
    """Name -> search, each giving the files of its ten best chunks: raw BM25, lexical with ranking, vectors alone."""
    index = router.index
    snapshot, embedder = index.snapshot, index.embedder
    paths = [snapshot.catalog.paths[i] for i in snapshot.catalog.file_of_row.tolist()]
    texts = Postings.empty().merged(-1 - np.arange(len(paths)), [[(chunk.text, 1)] for chunk in index.chunks()])

    def top(scores: NDArray[np.float32]) -> list[str]:
        order = np.argsort(-scores, kind="stable")[:10]
        return [paths[i] for i in order.tolist() if scores[i] > 0]

    def bm25(question: str) -> list[str]:
        return top(texts.bm25(dict.fromkeys(parse(question).core, 1.0)))

    def ranked(question: str) -> list[str]:
        return [paths[row] for row in snapshot.search(question, None, top_k=10).rows]

    def vectors(question: str) -> list[str]:
        return [paths[row] for row in snapshot.vectors.search(embedder.encode([question]), top_k=10)[1][0].tolist()]

    return {"raw_bm25": bm25, "lexical_and_ranking": ranked, "vectors_alone": vectors}
