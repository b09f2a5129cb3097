"""A langchain-core VectorStore over the FAISS store: exact search, documents replaced by id, kept in memory or in a
folder."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import VectorStore
from numpy.typing import NDArray

from selfroute.errors import IndexMissingError
from selfroute.memory.vectors import FaissVectorStore


class SelfRouteVectorStore(VectorStore):
    """Documents by id, in the order of their first adding; scores are cosine similarity in [-1, 1]."""

    def __init__(self, embedding: Embeddings) -> None:
        self._embedding = embedding
        self._documents: dict[str, Document] = {}
        self._rows: dict[str, NDArray[np.float32]] = {}
        self._store: FaissVectorStore | None = None

    @property
    def embeddings(self) -> Embeddings:
        """What turns texts into vectors."""
        return self._embedding

    def add_texts(
        self,
        texts: Iterable[str],
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        **kwargs: Any,
    ) -> list[str]:
        """Adds texts, or replaces those whose id is there already. Raises ValueError when the lists differ in
        length."""
        wanted = list(texts)
        metadatas, keys = metadatas or [{} for _ in wanted], list(ids or [""] * len(wanted))
        if not len(wanted) == len(metadatas) == len(keys):
            raise ValueError(f"{len(wanted)} texts, {len(metadatas)} metadatas, {len(keys)} ids")
        keys = [key or str(uuid.uuid4()) for key in keys]
        for key, text, metadata, row in zip(keys, wanted, metadatas, self._embed(wanted), strict=True):
            self._documents[key] = Document(id=key, page_content=text, metadata=metadata)
            self._rows[key] = row
        self._store = None
        return keys

    def delete(self, ids: list[str] | None = None, **kwargs: Any) -> bool:
        """Forgets the ids that are there; all of them when none are given."""
        for key in list(self._documents) if ids is None else ids:
            self._documents.pop(key, None)
            self._rows.pop(key, None)
        self._store = None
        return True

    def get_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """The documents that are there, in the order asked."""
        return [_copy(self._documents[key]) for key in ids if key in self._documents]

    def similarity_search(self, query: str, k: int = 4, **kwargs: Any) -> list[Document]:
        """The k nearest documents, best first."""
        return [document for document, _ in self.similarity_search_with_score(query, k)]

    def similarity_search_with_score(self, query: str, k: int = 4, **kwargs: Any) -> list[tuple[Document, float]]:
        """The k nearest documents and their cosine similarity, best first."""
        return self._nearest(self._embed([query])[0], k)

    def similarity_search_by_vector(self, embedding: list[float], k: int = 4, **kwargs: Any) -> list[Document]:
        """The k documents nearest to a vector, best first."""
        return [document for document, _ in self._nearest(np.array(embedding, np.float32), k)]

    def _select_relevance_score_fn(self) -> Any:
        return lambda cosine: (cosine + 1) / 2

    @classmethod
    def from_texts(
        cls,
        texts: list[str],
        embedding: Embeddings,
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        **kwargs: Any,
    ) -> SelfRouteVectorStore:
        """A store that holds the texts."""
        store = cls(embedding)
        store.add_texts(texts, metadatas, ids=ids)
        return store

    def save(self, folder: Path) -> None:
        """Writes documents as JSON and vectors in FAISS's format."""
        folder.mkdir(parents=True, exist_ok=True)
        documents = [{"id": k, "text": d.page_content, "metadata": d.metadata} for k, d in self._documents.items()]
        (folder / "documents.json").write_text(json.dumps(documents))
        if self._rows:
            self._index().save(folder / "vectors.faiss")

    @classmethod
    def load(cls, folder: Path, embedding: Embeddings) -> SelfRouteVectorStore:
        """Reads what save wrote. Raises IndexMissingError when nothing is there."""
        if not (folder / "documents.json").is_file():
            raise IndexMissingError(f"no vector store in {folder}", "save one there first")
        store = cls(embedding)
        documents = json.loads((folder / "documents.json").read_text())
        rows = (
            FaissVectorStore.load(folder / "vectors.faiss").rows.copy() if documents else np.empty((0, 1), np.float32)
        )
        for saved, row in zip(documents, rows, strict=True):
            store._documents[saved["id"]] = Document(
                id=saved["id"], page_content=saved["text"], metadata=saved["metadata"]
            )
            store._rows[saved["id"]] = row
        return store

    def _embed(self, texts: list[str]) -> NDArray[np.float32]:
        rows = np.array(self._embedding.embed_documents(texts) if texts else np.empty((0, 1)), np.float32)
        unit: NDArray[np.float32] = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
        return unit

    def _index(self) -> FaissVectorStore:
        if self._store is None:
            rows = np.stack(list(self._rows.values()))
            self._store = FaissVectorStore(rows.shape[1])
            self._store.add(rows)
        return self._store

    def _nearest(self, vector: NDArray[np.float32], k: int) -> list[tuple[Document, float]]:
        if not self._rows or k < 1:
            return []
        scores, found = self._index().search(vector[None], top_k=k)
        keys = list(self._documents)
        return [
            (_copy(self._documents[keys[i]]), score)
            for i, score in zip(found[0].tolist(), scores[0].tolist(), strict=True)
        ]


def _copy(document: Document) -> Document:
    return Document(id=document.id, page_content=document.page_content, metadata=dict(document.metadata))
