"""Several processes and threads on one index: one writes, the others read the last complete state and say so."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing.context import ForkServerContext
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from selfroute.errors import IndexLockedError
from selfroute.memory.index import Index
from selfroute.memory.lock import WriterLock
from selfroute.models.hashing import HashingEmbedder

EMBEDDER = HashingEmbedder(64)
QUESTION = "the marker of the module"


def write(root: Path, version: int, n: int = 20) -> None:
    """Every file of a version bears its number, so that a result of two versions shows."""
    root.mkdir(exist_ok=True)
    for i in range(n):
        text = f'"""The marker of the module."""\n\n\ndef function_{i}(value):\n    return value + {i}\n\n\n'
        text += f'MARKER = "v{version}"\n'
        (root / f"module_{i}.py").write_text(text)


def versions(index: Index) -> set[str]:
    """The versions that the hits come from."""
    hits = index.search(QUESTION, top_k=20)
    assert hits
    return {hit.chunk.text.rpartition('"v')[2].rstrip('"\n') for hit in hits}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write(tmp_path / "corpus", 1)
    return tmp_path / "corpus"


@pytest.fixture(scope="module")
def processes() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["selfroute.memory.index", "selfroute.models.hashing"])
    return context


def opened(root: Path, **options: object) -> Index:
    return Index.open(root, embedder=EMBEDDER, **options)  # type: ignore[arg-type]


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """As if another process were indexing."""
    directory.mkdir(exist_ok=True)
    lock = WriterLock(directory / "lock")
    assert lock.acquire()
    try:
        yield
    finally:
        lock.release()


class Slow:
    """Embeds only when it is let."""

    dim, fingerprint = EMBEDDER.dim, EMBEDDER.fingerprint

    def __init__(self) -> None:
        self.waits, self.go = threading.Event(), threading.Event()

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        if len(texts) > 1:
            self.waits.set()
            assert self.go.wait(20)
        return EMBEDDER.encode(texts)


def test_while_another_writes_the_last_complete_state_is_read_at_once_and_said(root: Path) -> None:
    opened(root).close()
    write(root, 2)
    with locked(root / ".selfroute"), opened(root) as index:
        assert versions(index) == {"1"}
        (note,) = index.notes
        assert note.startswith(f"process {os.getpid()} is indexing: reading the state of 20")
        assert index.search(QUESTION)[0].stale
    with opened(root) as index:
        assert versions(index) == {"2"}
        assert index.notes == ()


def test_an_index_that_is_up_to_date_needs_no_lock(root: Path) -> None:
    for path in root.iterdir():
        os.utime(path, (1_600_000_000, 1_600_000_000))
    opened(root).close()
    with locked(root / ".selfroute"), opened(root) as index:
        assert index.notes == ()


def test_while_another_makes_the_first_index_there_is_nothing_to_read(root: Path) -> None:
    with locked(root / ".selfroute"), pytest.raises(IndexLockedError) as raised:
        opened(root, wait_seconds=0.2)
    assert f"process {os.getpid()}" in raised.value.message
    assert raised.value.hint


def test_the_first_index_is_waited_for(root: Path) -> None:
    slow = Slow()
    with ThreadPoolExecutor(2) as pool:
        writer = pool.submit(Index.open, root, embedder=slow)
        assert slow.waits.wait(20)
        waiter = pool.submit(opened, root)
        time.sleep(0.2)
        assert not waiter.done()
        slow.go.set()
        with writer.result() as first, waiter.result() as second:
            assert first.digest() == second.digest()
            assert second.stats.generation == 1


def test_readers_keep_the_last_complete_state_until_the_next_is_complete(root: Path) -> None:
    slow = Slow()
    slow.go.set()
    with opened(root) as reader, Index.open(root, embedder=slow) as writer:
        write(root, 2)
        slow.go.clear()
        slow.waits.clear()
        with ThreadPoolExecutor(1) as pool:
            update = pool.submit(writer.update)
            assert slow.waits.wait(20)
            assert versions(reader) == {"1"}
            assert versions(writer) == {"1"}  # its own searches go on as well
            assert reader.stats.generation == 1
            slow.go.set()
            assert update.result().changed == 20
        assert versions(reader) == {"2"}
        assert reader.stats.generation == 2


def test_two_processes_that_make_the_first_index_at_once_both_end_well(
    root: Path, processes: ForkServerContext, tmp_path: Path
) -> None:
    write(root, 1, n=120)
    with opened(root, directory=tmp_path / "alone") as index:
        digest = index.digest()
    for attempt in range(5):
        directory = tmp_path / f"together-{attempt}"
        options = {"directory": directory, "embedder": EMBEDDER}
        both = [processes.Process(target=Index.open, args=(root,), kwargs=options) for _ in range(3)]
        for process in both:
            process.start()
        for process in both:
            process.join()
        assert [process.exitcode for process in both] == [0, 0, 0]
        with opened(root, directory=directory, update=False) as index:
            assert index.digest() == digest
            assert index.stats.generation == 1


def test_searches_during_updates_by_another_process_are_never_of_two_versions(
    root: Path, processes: ForkServerContext, tmp_path: Path
) -> None:
    options = {"directory": tmp_path / "index", "embedder": EMBEDDER}
    seen: list[set[str]] = []
    with opened(root, directory=tmp_path / "index") as reader:
        for version in range(2, 7):
            write(root, version)
            process = processes.Process(target=Index.open, args=(root,), kwargs=options)
            process.start()
            while process.is_alive():
                seen.append(versions(reader))
            assert process.exitcode == 0
            assert versions(reader) == {str(version)}
    assert len(seen) > 20
    assert all(len(found) == 1 for found in seen)


def test_many_threads_search_while_one_updates(root: Path) -> None:
    stop = threading.Event()

    def search(index: Index) -> int:
        n = 0
        while not stop.is_set():
            assert len(versions(index)) == 1
            assert sum(1 for _ in index.chunks()) >= 20
            n += 1
        return n

    with opened(root) as index, ThreadPoolExecutor(4) as pool:
        searches = [pool.submit(search, index) for _ in range(4)]
        for version in range(2, 8):
            write(root, version)
            index.update()
            time.sleep(0.05)
        stop.set()
        assert all(search.result() > 0 for search in searches)
        assert versions(index) == {"7"}


def test_a_rebuild_by_another_leaves_readers_their_state(root: Path) -> None:
    with opened(root) as reader:
        write(root, 2)
        with opened(root, rebuild=True) as other:
            assert versions(other) == {"2"}
            assert versions(reader) == {"1"}
        reader.update()
        assert versions(reader) == {"2"}
        assert reader.notes == ()
    with opened(root) as again:
        assert versions(again) == {"2"}
