"""Brings a store up to date with a folder: what changed, by size, time and content hash, is chunked and embedded."""

from __future__ import annotations

import gc
import time
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from operator import itemgetter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from selfroute.errors import IndexCorruptError
from selfroute.memory import arrays
from selfroute.memory.base import Definition, Document, Progress, Skipped
from selfroute.memory.graph.facts import Fact
from selfroute.memory.snapshot import Snapshot
from selfroute.memory.store import ROWS_PER_GENERATION, Contents, FileRow, State, Store
from selfroute.memory.view import View, assemble
from selfroute.memory.walk import FileEntry, Walk
from selfroute.models.base import Embedder
from selfroute.types import Chunk

# A file that changed this shortly before it was read may change again without its time showing it (FAT counts in 2 s),
# so its time is not kept and its content is hashed again the next time.
RACY_NS = 2_000_000_000
_UNTRUSTED = -1
_BATCH_CHUNKS = 512  # embedded at once

# Writing the file of arrays takes longer than the rest of an update of one file. So it is written when it is small,
# when an eighth of its rows would have to be merged in at the next start, and when nothing else has to be done.
_SMALL_ROWS = 2_000
_REWRITE_SHARE = 8


@dataclass(frozen=True, slots=True)
class UpdateReport:
    """What an update found and did. files, chunks, tokens: in the index now."""

    files: int
    chunks: int
    tokens: int
    added: int
    changed: int
    removed: int
    skipped: tuple[Skipped, ...]
    seconds: float
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Changes:
    """What differs between a folder and a store. todo: files to read, and what is known of each; gone: not there."""

    todo: tuple[tuple[FileEntry, FileRow | None], ...]
    gone: tuple[FileRow, ...]


@dataclass(slots=True)
class Written:
    """What write_changes did. fresh: contents by first row, so that they need not be read back."""

    added: int = 0
    changed: int = 0
    removed: int = 0
    touched: list[FileRow] = field(default_factory=list)
    fresh: dict[int, Contents] = field(default_factory=dict)


def bring_up_to_date(
    store: Store,
    state: State,
    held: View | None,
    walked: Walk,
    embedder: Embedder,
    *,
    root: Path,
    directory: Path,
    progress: Progress | None,
) -> tuple[View, Written]:
    """Writes the next generation and puts it in force, when there is anything to write; returns the one in force then.

    held: the one in force now. Only for the one who holds the writer's lock. Goes on from what a killed run wrote.
    """
    generation = state.generation + 1
    known = store.latest()
    changes = compare(walked.files, known, trust_times=state.root == str(root))
    first_row = max(generation * ROWS_PER_GENERATION, *(file.first_row + file.n_chunks for file in known), 0)
    with _uncollected():
        written = write_changes(
            store, root, changes, embedder, generation=generation, first_row=first_row, progress=progress
        )
    pending = store.pending(state.generation) or not state.generation
    if written.touched or state.root != str(root):
        state = store.touch(written.touched, replace(state, root=str(root)))
    files = store.latest()
    base, n_behind = (held.snapshot, held.n_behind) if held else (Snapshot.empty(embedder.dim), 0)
    if pending:
        assembled = assemble(store, files, base, generation, written.fresh)
        if assembled is None:
            raise IndexCorruptError(
                f"the index in {directory} has lost rows", f"selfroute index --path {root} --rebuild"
            )
        base, n_behind = assembled[0], n_behind + assembled[1]
        state = replace(state, generation=generation, built_at=time.time())
    rewritten = n_behind > 0 and (
        not pending or base.n_chunks < _SMALL_ROWS or n_behind > base.n_chunks // _REWRITE_SHARE
    )
    if rewritten:
        state = replace(state, arrays=arrays.write(directory, base.to_arrays(), state.generation))
        n_behind = 0
    if pending or rewritten:
        state = store.publish(state, files, walked.skipped)
    if rewritten and state.arrays is not None:
        arrays.sweep(directory, keep=state.arrays.name)
    return View(state, tuple(files), base, n_behind), written


@contextmanager
def _uncollected() -> Iterator[None]:
    """Without the cyclic garbage collector: indexing makes many objects, no cycles, and is up to a fifth faster."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def compare(entries: Sequence[FileEntry], known: Iterable[FileRow], *, trust_times: bool) -> Changes:
    """What has to be read: files that are new, or whose size or time is another than when they were read."""
    rows = {row.raw_path: row for row in known}
    todo = []
    for entry in entries:
        row = rows.pop(entry.raw_path, None)
        same = row is not None and (row.size, row.mtime_ns) == (entry.size, entry.mtime_ns)
        if not (same and trust_times):
            todo.append((entry, row))
    return Changes(tuple(todo), tuple(rows.values()))


def write_changes(
    store: Store,
    root: Path,
    changes: Changes,
    embedder: Embedder,
    *,
    generation: int,
    first_row: int,
    progress: Progress | None = None,
) -> Written:
    """Reads, chunks, embeds and stores what changed as files of the generation, their rows from first_row on."""
    written = Written()
    pending: list[tuple[FileRow, FileRow | None, _Chunked]] = []
    n_pending = 0

    def flush() -> None:
        nonlocal n_pending
        vectors = _embedded(embedder, [_named(chunk) for _, _, chunked in pending for chunk in chunked.chunks])
        start = 0
        for file, replaces, chunked in pending:
            end = start + file.n_chunks
            contents = Contents(chunked.chunks, chunked.definitions, vectors[start:end], chunked.facts)
            store.write(file, contents, replaces)
            if file.n_chunks:
                written.fresh[file.first_row] = contents
            start = end
        pending.clear()
        n_pending = 0

    for done, (entry, row) in enumerate(changes.todo):
        if progress is not None:
            progress("index", done, len(changes.todo))
        file, chunked = _read(root, entry, row)
        if chunked is None:
            if row is not None and file != row:
                written.touched.append(file)
            continue
        indexed_before = row is not None and not row.reason
        written.added += not file.reason and not indexed_before
        written.changed += not file.reason and indexed_before
        written.removed += bool(file.reason) and indexed_before
        file = file._replace(first_row=first_row, born=generation)
        first_row += file.n_chunks
        n_pending += file.n_chunks
        pending.append((file, row, chunked))
        if n_pending >= _BATCH_CHUNKS:
            flush()
    flush()
    store.retire(changes.gone, generation)
    written.removed += sum(not row.reason for row in changes.gone)
    if progress is not None:
        progress("index", len(changes.todo), len(changes.todo))
    return written


@dataclass(frozen=True, slots=True)
class _Chunked:
    chunks: tuple[Chunk, ...]
    definitions: tuple[tuple[str, ...], ...]
    facts: tuple[tuple[int, Fact], ...]


def _read(root: Path, entry: FileEntry, row: FileRow | None) -> tuple[FileRow, _Chunked | None]:
    """The file as it is now, and its chunks, or None when its contents are what is known already."""
    from selfroute.memory.text import load

    now = time.time_ns()
    loaded = load(root, entry)
    content_hash, reason = "", ""
    size, mtime_ns = entry.size, entry.mtime_ns
    documents: tuple[Document, ...] = ()
    if isinstance(loaded, Skipped):
        reason = loaded.reason
    else:
        content_hash, documents = loaded.content_hash, loaded.documents
        size, mtime_ns = loaded.size, loaded.mtime_ns
    if mtime_ns > now - RACY_NS:
        mtime_ns = _UNTRUSTED
    if row is not None and (row.content_hash, row.reason, row.path) == (content_hash, reason, entry.path):
        return row._replace(size=size, mtime_ns=mtime_ns), None
    chunked = _chunked(documents)
    n_tokens = sum(chunk.n_tokens for chunk in chunked.chunks)
    n_chunks = len(chunked.chunks)
    file = FileRow(0, entry.path, entry.raw_path, size, mtime_ns, content_hash, reason, 0, n_chunks, n_tokens, "", 0)
    return file, chunked


def _chunked(documents: Iterable[Document]) -> _Chunked:
    # here, as load: 50 ms that a search without changes does not need
    from selfroute.memory.chunking import chunk_document
    from selfroute.memory.graph.mentions import ABOUT_CODE, mention_facts

    chunks: list[Chunk] = []
    definitions: list[tuple[str, ...]] = []
    facts: list[tuple[int, Fact]] = []
    for document in documents:
        result = chunk_document(document)
        ends = [chunk.end_line for chunk in result.chunks]
        facts += ((len(chunks) + at, fact) for fact in result.facts if (at := bisect_left(ends, fact.line)) < len(ends))
        if document.language not in ABOUT_CODE:
            facts += ((len(chunks) + at, fact) for at, fact in mention_facts(result.chunks))
        chunks += result.chunks
        definitions += _names_by_chunk(result.chunks, result.definitions)
    facts.sort(key=itemgetter(0))  # of one chunk they stay in the order of their lines
    return _Chunked(tuple(chunks), tuple(definitions), tuple(facts))


def _names_by_chunk(chunks: Sequence[Chunk], definitions: Iterable[Definition]) -> list[tuple[str, ...]]:
    """For each chunk of a document the names that start in it, each in the first chunk that reaches its line."""
    names: list[list[str]] = [[] for _ in chunks]
    at = 0
    for definition in sorted(definitions, key=lambda d: (d.start_line, d.end_line, d.name)):
        while at < len(chunks) and chunks[at].end_line < definition.start_line:
            at += 1
        if at < len(chunks):
            names[at].append(definition.name)
    return [tuple(dict.fromkeys(found)) for found in names]


def _named(chunk: Chunk) -> str:
    """What is embedded of a chunk: the name that it belongs to, then its text."""
    return f"{chunk.symbol.replace('.', ' ')}\n{chunk.text}" if chunk.symbol else chunk.text


def _embedded(embedder: Embedder, texts: Sequence[str]) -> NDArray[np.float32]:
    if not texts:
        return np.empty((0, embedder.dim), np.float32)
    return np.ascontiguousarray(embedder.encode(texts), dtype=np.float32)
