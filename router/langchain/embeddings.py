"""Any selfroute Embedder as langchain-core Embeddings."""

from __future__ import annotations

from typing import Any

from langchain_core.embeddings import Embeddings

from selfroute.models.base import Embedder
from selfroute.registry import resolve


class SelfRouteEmbeddings(Embeddings):
    """The static vectors that the package ships, or the embedder that is given; runs here, sends nothing."""

    def __init__(self, embedder: Embedder | None = None, **_: Any) -> None:
        self.embedder: Embedder = embedder or resolve("embedder", "static")()

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """(n, D) as lists of floats, unit length."""
        rows: list[list[float]] = self.embedder.encode(texts).tolist()
        return rows

    def embed_query(self, text: str) -> list[float]:
        """(D,) as a list of floats, unit length."""
        return self.embed_documents([text])[0]
