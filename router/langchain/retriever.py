"""The router's search as a langchain-core retriever: one document a chunk, its place in the metadata."""

from __future__ import annotations

from typing import Any

from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from pydantic import ConfigDict

from selfroute.router.router import SelfRouter
from selfroute.types import Hit


class SelfRouteRetriever(BaseRetriever):
    """The top_k best chunks for a question; `invoke(question, top_k=3)` overrides it for one call."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    router: SelfRouter
    top_k: int = 10

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, top_k: int | None = None, **_: Any
    ) -> list[Document]:
        return [as_document(hit) for hit in self.router.search(query, top_k=self.top_k if top_k is None else top_k)]


def as_document(hit: Hit) -> Document:
    """The chunk's text; path, start_line, end_line, symbol, kind, score, via and stale as metadata."""
    chunk = hit.chunk
    return Document(
        id=chunk.id,
        page_content=chunk.text,
        metadata={
            "path": chunk.path,
            "start_line": chunk.start_line,
            "end_line": chunk.end_line,
            "symbol": chunk.symbol,
            "kind": chunk.kind,
            "score": hit.score,
            "via": list(hit.via),
            "stale": hit.stale,
        },
    )
