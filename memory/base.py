"""What is remembered, as nouns and protocols: documents, searches, stores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from selfroute.types import Hit

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Progress = Callable[[str, int, int], None]
"""Called with (stage, done, total) as work goes on."""


@dataclass(frozen=True, slots=True)
class Document:
    """Text as the loader decodes it, newlines kept as they are: a whole file, or one cell of a notebook.

    path: relative to the root, POSIX; a notebook's cell is path#cell-N, N from 1. language: "python", "markdown", ...
    or "".
    """

    path: str
    text: str
    language: str = ""


@dataclass(frozen=True, slots=True)
class Definition:
    """Something that a document defines: lines from 1, inclusive. name is qualified ("Flask.make_response")."""

    name: str
    kind: str
    start_line: int
    end_line: int


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file or folder that was not indexed, and why, in a few words ("binary", "larger than 1,000,000 bytes")."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class Probe:
    """A search and its shape, the cheap evidence that routing works from.

    coverage: share in [0, 1] of the question's term weight that the best chunk holds. agreement: share in [0, 1] of
    the top hits that both lexical and vector search found.
    """

    hits: tuple[Hit, ...]
    coverage: float
    agreement: float


@runtime_checkable
class VectorStore(Protocol):
    """Unit vectors, searched by inner product; row i is the i-th vector that was added."""

    @property
    def dim(self) -> int:
        """D, the width of the vectors."""
        ...

    def __len__(self) -> int: ...

    def add(self, vectors: NDArray[np.float32]) -> None:
        """Appends (n, D) rows. Raises DimensionError."""
        ...

    def search(self, queries: NDArray[np.float32], *, top_k: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Nearest rows by inner product, best first.

        queries: (Q, D) float32, unit rows. Returns scores (Q, K) float32 in [-1, 1] and row ids (Q, K) int64,
        K = min(top_k, len(self)). Ties break on the lower id, so results repeat from run to run. Does not change the
        store. Raises DimensionError when D differs from the store's; ValueError when top_k < 1.
        """
        ...


@runtime_checkable
class GraphStore(Protocol):
    """Typed edges between named nodes."""

    def add(self, edges: Sequence[tuple[str, str, str]]) -> None:
        """Appends (source, relation, target) edges; an edge that is there already changes nothing."""
        ...

    def neighbours(self, node: str, *, relation: str = "", hops: int = 1) -> list[str]:
        """Nodes within `hops` edges, nearest first, then by name."""
        ...

    def rank(self, seeds: Sequence[str], *, top_k: int) -> list[tuple[str, float]]:
        """Personalised PageRank from the seeds, best first."""
        ...
