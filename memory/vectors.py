"""Exact nearest neighbours with FAISS: a flat index, as fast as memory can be read, with ties that repeat."""

from __future__ import annotations

from pathlib import Path

import faiss
import numpy as np
from numpy.typing import NDArray

from selfroute.errors import DimensionError, IndexCorruptError


class _Memory:
    """A FAISS index's rows for numpy. The array refers to this object, and this to the index that owns the memory:
    a bare pointer from FAISS outlives the index that it points into."""

    def __init__(self, index: faiss.IndexFlatIP) -> None:
        self._owner = index
        self.__array_interface__ = {
            "data": (int(index.get_xb()), True),
            "shape": (int(index.ntotal), int(index.d)),
            "typestr": "<f4",
            "version": 3,
        }


class FaissVectorStore:
    """A VectorStore over faiss.IndexFlatIP. Rows are kept as float32."""

    def __init__(self, dim: int) -> None:
        self._index = faiss.IndexFlatIP(dim)

    @property
    def dim(self) -> int:
        """D, the width of the vectors."""
        return int(self._index.d)

    def __len__(self) -> int:
        return int(self._index.ntotal)

    @property
    def rows(self) -> NDArray[np.float32]:
        """(N, D) float32: a read-only view that is valid until the next add; it keeps the store's memory alive."""
        if not len(self):
            return np.empty((0, self.dim), np.float32)
        return np.asarray(_Memory(self._index))

    def add(self, vectors: NDArray[np.float32]) -> None:
        """Appends (n, D) rows. Raises DimensionError."""
        self._check(vectors)
        if len(vectors):
            self._index.add(np.ascontiguousarray(vectors, np.float32))

    def search(self, queries: NDArray[np.float32], *, top_k: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Nearest rows by inner product, best first; see memory.base.VectorStore."""
        self._check(queries)
        if top_k < 1:
            raise ValueError(f"top_k must be at least 1, got {top_k}")
        k = min(top_k, len(self))
        if not k or not len(queries):
            return np.empty((len(queries), k), np.float32), np.empty((len(queries), k), np.int64)
        # One row at a time: FAISS switches to a matrix product for many queries, whose last bits differ.
        found = [self._search_one(query[None], k) for query in np.ascontiguousarray(queries, np.float32)]
        return np.stack([scores for scores, _ in found]), np.stack([ids for _, ids in found])

    def _search_one(self, query: NDArray[np.float32], k: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        wanted = min(k + 1, len(self))
        while True:
            scores, ids = self._index.search(query, wanted)
            # A tie across the cut: FAISS may have kept any of the equals, so look until the tie ends.
            if wanted == len(self) or scores[0, -1] < scores[0, k - 1]:
                break
            wanted = min(wanted * 4, len(self))
        order = np.lexsort((ids[0], -scores[0]))[:k]
        return scores[0, order], ids[0, order]

    def _check(self, vectors: NDArray[np.float32]) -> None:
        if vectors.ndim != 2 or vectors.shape[1] != self.dim:
            raise DimensionError(int(vectors.shape[-1]), self.dim)

    def save(self, path: Path) -> None:
        """Writes the index in FAISS's own format."""
        faiss.write_index(self._index, str(path))

    @classmethod
    def load(cls, path: Path) -> FaissVectorStore:
        """Reads what save wrote. Raises IndexCorruptError when FAISS cannot read it; it does not notice a flipped
        bit."""
        try:
            index = faiss.read_index(str(path))
        except RuntimeError as error:
            raise IndexCorruptError(f"{path} is not a FAISS index", "index again: selfroute index --rebuild") from error
        store = cls(int(index.d))
        store.add(index.reconstruct_n(0, index.ntotal))
        return store
