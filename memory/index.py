"""The index of a folder: opened, brought up to date, searched, by several threads and processes at once.

SQLite (store.py) is the truth. The snapshot that search works on is derived from it and kept in a file of arrays, which
may be some updates behind: what it lacks is merged in when it is read. Whatever is damaged is made again from what it
was derived from, in the end from the files of the folder, and a note says so.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from pathlib import Path
from threading import RLock
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

from selfroute.memory import location
from selfroute.memory.base import Probe, Progress, Skipped
from selfroute.memory.graph.hint import may_be_relational
from selfroute.memory.graph.nodes import N_POOL, Node
from selfroute.memory.keeper import Keeper, nothing_to_index
from selfroute.memory.pointed import ahead, pointed_at
from selfroute.memory.snapshot import Ranked, Snapshot
from selfroute.memory.store import FileRow
from selfroute.memory.update import UpdateReport
from selfroute.memory.view import View
from selfroute.models.base import Embedder
from selfroute.types import Chunk, Hit

if TYPE_CHECKING:
    from selfroute.memory.graph.graph import KnowledgeGraph
    from selfroute.memory.graph.related import Related

T = TypeVar("T")
N_SEEDS = 10  # hits from which the edges of a relational question are ranked


@dataclass(frozen=True, slots=True)
class IndexStats:
    """What the index holds. built_at: seconds since 1970, when its generation was completed."""

    files: int
    chunks: int
    tokens: int
    generation: int
    built_at: float
    directory: Path
    embedder: str
    skipped: tuple[Skipped, ...]


class Index:
    """The chunks of a folder and their search. Made by open(); any thread may use it."""

    def __init__(self, keeper: Keeper) -> None:
        self.root, self.directory = keeper.root, keeper.directory
        self.keeps_scores = True  # whether scores and rates of readers are kept beside the index for the next time
        self._keeper = keeper
        self._report: UpdateReport | None = None
        self._graph: tuple[View, KnowledgeGraph] | None = None
        self._graph_lock = RLock()
        self._last_related: tuple[View, str, Related | None] | None = None

    @classmethod
    def open(
        cls,
        root: str | Path,
        *,
        directory: Path | None = None,
        embedder: Embedder | None = None,
        max_file_bytes: int = 1_000_000,
        update: bool = True,
        rebuild: bool = False,
        wait_seconds: float = 30.0,
        progress: Progress | None = None,
    ) -> Index:
        """The index of a folder, made or brought up to date; with update=False as it is.

        rebuild: makes it from nothing. wait_seconds: for another process that is making the first index of this folder.
        Raises CorpusError for a folder that is missing or holds nothing to index, IndexMissingError and
        IndexCorruptError with update=False, IndexLockedError when another process did not finish in time.
        """
        path = location.resolve_root(root)
        if embedder is None:
            from selfroute.models.static import StaticEmbedder

            embedder = StaticEmbedder()
        directory = location.locate(path, directory)
        keeper = Keeper(path, directory, embedder, max_file_bytes=max_file_bytes, wait_seconds=wait_seconds)
        index = cls(keeper)
        try:
            if update or rebuild:
                index._update(progress, rebuild=rebuild)
            else:
                keeper.open_as_it_is()
        except BaseException:
            index.close()
            raise
        return index

    def update(self, progress: Progress | None = None) -> UpdateReport:
        """Brings the index up to date with the folder; files that did not change are not read.

        When another process is doing that already, the last complete state stays in use and a note says so.
        Raises CorpusError when the folder is gone or holds nothing to index any more.
        """
        return self._update(progress, rebuild=False)

    @property
    def report(self) -> UpdateReport | None:
        """What the last update did, the one of open() included; None for an index that was opened as it is."""
        return self._report

    @property
    def embedder(self) -> Embedder:
        """What the vectors were made with."""
        return self._keeper.embedder

    @property
    def snapshot(self) -> Snapshot:
        """The arrays that search works on, of the generation in force."""
        return self._keeper.current().snapshot

    # reading

    def search(self, query: str, *, top_k: int = 10, graph: bool = True) -> list[Hit]:
        """The best chunks for a question, best first; none for an empty one. Raises ValueError when top_k < 1.

        graph: whether a relational question ("who calls X") is led by what the knowledge graph says.
        """
        return self._search(query, top_k, graph)[0]

    def probe(self, query: str, *, top_k: int = 10) -> Probe:
        """A search and its shape, by words and vectors alone."""
        hits, ranked = self._search(query, top_k, graph=False)
        return Probe(tuple(hits), ranked.coverage, ranked.agreement)

    def related(self, query: str) -> Related | None:
        """What the knowledge graph says to a question; None when it is not relational or names nothing it knows.

        Of many edges those come first that are near to what the question's words find.
        """
        if not may_be_relational(query):
            return None
        view, last = self._keeper.current(), self._last_related
        if last is None or last[0] is not view or last[1] != query:  # one decision asks several times
            self._last_related = last = view, query, self._find_related(query)
        return last[2]

    def _find_related(self, query: str) -> Related | None:
        from selfroute.memory.graph.prominence import FEW, by_prominence
        from selfroute.memory.graph.related import related

        found = self.from_graph(partial(related, query)) or self._described(query)
        if found is None or len(found.edges) <= FEW:
            return found
        return by_prominence(found, self._seeds(query))

    def from_graph(self, ask: Callable[[KnowledgeGraph], T]) -> T:
        """What is made of the graph of the generation in force; asked again when another took its place meanwhile."""
        from selfroute.memory.graph.graph import KnowledgeGraph
        from selfroute.memory.graph.table import StoredFacts

        def answer(view: View) -> tuple[T] | None:
            with self._graph_lock:
                if self._graph is None or self._graph[0] is not view:
                    self._graph = view, KnowledgeGraph(StoredFacts(view, self._keeper.store()))
                found = ask(self._graph[1])
            state = self._keeper.store().state()
            return (found,) if state is not None and state.generation == view.state.generation else None

        return self._keeper.reading(answer)[0]

    def chunks_at(self, rows: Sequence[int]) -> list[Chunk] | None:
        """The chunks that edges name by the store's numbers, in that order; None when one is gone by now."""
        return self._keeper.store().chunks(rows)

    def chunks(self) -> Iterator[Chunk]:
        """Every chunk: files by path, chunks in document order. One that is replaced meanwhile gives its new ones."""
        for file in self._keeper.current().files:
            if file.n_chunks:
                yield from self._keeper.reading(partial(self._chunks_of, file.raw_path))

    def neighbours(self, chunk: Chunk, *, before: int = 1, after: int = 1) -> list[Chunk]:
        """The chunks of its document around a chunk, in order, itself included; none when the index lacks it."""

        def around(view: View) -> list[Chunk] | None:
            found = self._chunks_at(view, view.rows_of(chunk.path))
            if found is None:
                return None
            at = next((i for i, other in enumerate(found) if other.id == chunk.id), None)
            return [] if at is None else found[max(0, at - before) : at + after + 1]

        return self._keeper.reading(around)

    def definition(self, symbol: str, path: str = "") -> list[Chunk]:
        """The chunks of what a qualified or last name defines, in order; of one file when path is given."""
        return self._keeper.reading(lambda view: self._chunks_at(view, view.rows_defining(symbol, path)))

    def term_weight(self, term: str) -> float:
        """Inverse document frequency of a stemmed term over the chunks."""
        return self._keeper.reading(lambda view: view.snapshot.term_weight(term))

    def knows(self, word: str) -> bool:
        """Whether a word, in whatever form, stands in any chunk, its path or a name that it defines."""
        return self._keeper.reading(lambda view: view.snapshot.knows(word))

    def read(self, path: str) -> str | None:
        """The text of a document as it is now, or None when it is gone or outside of the root."""
        from selfroute.memory.text import read_document  # with the patterns of secrets: 50 ms that a search can spare

        return read_document(self.root, path, max_bytes=self._keeper.max_file_bytes)

    def is_stale(self, path: str) -> bool:
        """Whether a document's file is another than when it was indexed, gone, or not indexed at all."""

        def stale(view: View) -> bool:
            file = view.file(path)
            return file is None or self._changed(file)

        return self._keeper.reading(stale)

    @property
    def stats(self) -> IndexStats:
        """What the index holds, and what was left out."""
        view = self._keeper.current()
        return IndexStats(
            files=view.n_indexed,
            chunks=view.snapshot.n_chunks,
            tokens=view.n_tokens,
            generation=view.state.generation,
            built_at=view.state.built_at,
            directory=self.directory,
            embedder=view.state.embedder,
            skipped=self._skipped(view),
        )

    @property
    def age_seconds(self) -> float:
        """Seconds since the index was last compared with the folder by this object, or completed by any."""
        return max(0.0, time.time() - max(self._keeper.checked_at, self._keeper.current().state.built_at))

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know about the state that is read: mended, rebuilt, behind another process."""
        return tuple(self._keeper.notes)

    def digest(self) -> str:
        """A hash of all that the index holds, free of times, row numbers and generations: equal for equal contents."""
        return self._keeper.reading(self._digest)

    def close(self) -> None:
        """Closes the database; what needs it afterwards raises SelfRouteError."""
        self._keeper.close()

    def __enter__(self) -> Index:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # inside

    def _seeds(self, query: str) -> list[Node]:
        """What the best hits of a search belong to."""
        hits = self._search(query, N_SEEDS, graph=False)[0]
        return list(dict.fromkeys(Node(hit.chunk.path, hit.chunk.symbol) for hit in hits if hit.chunk.symbol))

    def _described(self, query: str) -> Related | None:
        """What the graph says of the definition that a question describes without naming it: the best that is found."""
        from selfroute.memory.graph.question import parse_described
        from selfroute.memory.graph.related import related_to

        asked = parse_described(query)
        if asked is None:
            return None
        seeds = self._seeds(asked.described)
        found = (self.from_graph(lambda graph, seed=seed: related_to(asked, seed, graph)) for seed in seeds)  # type: ignore[misc]
        return next((one for one in found if one is not None and one.edges), None)

    def _update(self, progress: Progress | None, *, rebuild: bool) -> UpdateReport:
        started = time.perf_counter()
        written = self._keeper.update(progress, rebuild=rebuild)
        stats = self.stats
        if not stats.files:
            raise nothing_to_index(self.root, stats.skipped)
        counts = (written.added, written.changed, written.removed)
        seconds = time.perf_counter() - started
        self._report = UpdateReport(
            stats.files, stats.chunks, stats.tokens, *counts, stats.skipped, seconds, self.notes
        )
        return self._report

    def _search(self, query: str, top_k: int, graph: bool) -> tuple[list[Hit], Ranked]:
        if top_k < 1:
            raise ValueError(f"top_k must be at least 1, got {top_k}")
        if not query.strip():
            return [], Ranked([], [], [], 0.0, 0.0)
        vector = self._keeper.embedder.encode([query])[0]
        led = self.related(query) if graph else None
        n_ranked = max(top_k, N_POOL) if graph else top_k

        def found(view: View) -> tuple[list[Hit], Ranked] | None:
            ranked = view.snapshot.search(query, vector, top_k=n_ranked)
            if graph:
                ranked = self._second_hop(query, view, ranked, top_k)
                pointed = pointed_at(query, view.snapshot, lambda rows: self._chunks_at(view, rows))
                ranked = ahead(ranked, pointed, top_k)
            if led is not None:
                from selfroute.memory.graph.leading import lead

                ranked = lead(ranked, led, view.snapshot.rowids, top_k)
            chunks = self._chunks_at(view, ranked.rows)
            if chunks is None:
                return None
            files = [view.file_of(row) for row in ranked.rows]
            changed = {file.first_row: self._changed(file) for file in {f.first_row: f for f in files}.values()}
            hits = zip(chunks, ranked.scores, ranked.via, files, strict=True)
            return [Hit(chunk, score, via, changed[file.first_row]) for chunk, score, via, file in hits], ranked

        return self._keeper.reading(found)

    def _second_hop(self, query: str, view: View, ranked: Ranked, top_k: int) -> Ranked:
        """The best top_k with what the first of them name, when the first is prose."""
        first = view.snapshot.rowids[ranked.rows[:1]].tolist()
        if not self._keeper.store().edges.naming(first):
            return ranked.first(top_k)
        from selfroute.memory.graph.leading import second_hop
        from selfroute.memory.graph.table import StoredEntities

        return second_hop(query, ranked, StoredEntities(view, self._keeper.store()), top_k)

    def _chunks_at(self, view: View, rows: list[int] | range) -> list[Chunk] | None:
        return self._keeper.store().chunks(view.snapshot.rowids[list(rows)].tolist()) if rows else []

    def _chunks_of(self, raw_path: bytes, view: View) -> list[Chunk] | None:
        file = view.files_by_name.get(raw_path)
        if file is None:
            return []
        return self._keeper.store().chunks(range(file.first_row, file.first_row + file.n_chunks))

    def _digest(self, view: View) -> str | None:
        hashed = blake2b(digest_size=16)
        for file in view.files:
            contents = self._keeper.store().contents(file)
            if contents is None:
                return None
            hashed.update(repr((file.path, file.raw_path, file.content_hash, file.reason, file.n_tokens)).encode())
            hashed.update(repr((contents.chunks, contents.definitions, contents.facts)).encode())
            hashed.update(contents.vectors.tobytes())
        for name, array in sorted(view.snapshot.to_arrays().items()):
            if name not in ("generation", "rowids"):
                hashed.update(name.encode() + array.tobytes())
        return hashed.hexdigest()

    def _changed(self, file: FileRow) -> bool:
        name = os.path.join(os.fsencode(self.root), file.raw_path)  # noqa: PTH118 (names are bytes, not always text)
        try:
            now = os.stat(name)  # noqa: PTH116
            if now.st_size != file.size or now.st_mtime_ns == file.mtime_ns:
                return now.st_size != file.size
            with open(name, "rb") as opened:  # noqa: PTH123
                return blake2b(opened.read(), digest_size=16).hexdigest() != file.content_hash
        except OSError:
            return True

    def _skipped(self, view: View) -> tuple[Skipped, ...]:
        walked = self._keeper.walked
        left_out = walked.skipped if walked is not None else self._keeper.store().skipped()
        read = (Skipped(file.path, file.reason) for file in view.files if file.reason)
        return tuple(sorted((*left_out, *read), key=lambda skip: skip.path))
