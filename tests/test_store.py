"""The store, its files of arrays and its lock: what is written is read back exactly, or known to be damaged."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sqlite3
import subprocess
import sys
from dataclasses import replace
from multiprocessing.synchronize import Barrier
from pathlib import Path

import numpy as np
import pytest

from selfroute.errors import IndexCorruptError, SelfRouteError
from selfroute.memory import arrays
from selfroute.memory.base import Skipped
from selfroute.memory.database import DATABASE, remove
from selfroute.memory.lock import WriterLock
from selfroute.memory.store import ROWS_PER_GENERATION, Contents, FileRow, State, Store
from selfroute.types import Chunk

STATE = State(embedder="fake-2", code="1", root="/corpus")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path, create=True)
    made.begin(STATE)
    yield made
    made.close()


def chunk(path: str, n: int, text: str = "x = 1\n") -> Chunk:
    return Chunk(f"id-{path}-{n}", "hash", path, n + 1, n + 1, text, "Class.method", "method", 3)


def file(path: str, first_row: int, n_chunks: int, born: int, content_hash: str = "c0ffee") -> FileRow:
    return FileRow(0, path, path.encode(), 10, 1_000, content_hash, "", first_row, n_chunks, 3 * n_chunks, "", born)


def contents(path: str, n: int, text: str = "x = 1\n") -> Contents:
    chunks = tuple(chunk(path, i, text) for i in range(n))
    vectors = np.arange(2 * n, dtype=np.float32).reshape(n, 2)
    return Contents(chunks, tuple(("A", "A.b") if i == 0 else () for i in range(n)), vectors)


def add(store: Store, path: str, n: int, generation: int, at: int = 0, replaces: FileRow | None = None) -> FileRow:
    row = file(path, generation * ROWS_PER_GENERATION + at, n, generation)
    return store.write(row, contents(path, n), replaces)


def test_a_new_store_has_nothing_in_force(store: Store) -> None:
    assert store.state() == STATE
    assert store.complete() is None


def test_what_is_written_is_in_force_only_after_publish(store: Store) -> None:
    row = add(store, "a.py", 2, 1)
    assert store.complete() is None
    assert store.pending(0)
    store.publish(replace(STATE, generation=1), store.latest(), [Skipped("b.bin", "binary")])
    state, files = store.complete()
    assert (state.generation, files) == (1, [row])
    assert not store.pending(1)
    assert store.skipped() == (Skipped("b.bin", "binary"),)


def test_contents_come_back_as_they_were_written(store: Store) -> None:
    row = add(store, "a.py", 3, 1)
    read = store.contents(row)
    assert read.chunks == contents("a.py", 3).chunks
    assert read.definitions == (("A", "A.b"), (), ())
    assert read.vectors.tolist() == [[0, 1], [2, 3], [4, 5]]


def test_chunks_come_in_the_order_asked(store: Store) -> None:
    row = add(store, "a.py", 3, 1)
    first = row.first_row
    assert [c.start_line for c in store.chunks([first + 2, first, first + 2])] == [3, 1, 3]


def test_a_replaced_file_stays_readable_until_the_next_generation_is_published(store: Store) -> None:
    old = add(store, "a.py", 1, 1)
    published = store.publish(replace(STATE, generation=1), store.latest(), [])
    new = add(store, "a.py", 1, 2, replaces=old)
    assert store.complete()[1] == [old]
    assert store.chunks([old.first_row]) is not None
    store.publish(replace(published, generation=2), store.latest(), [])
    assert store.complete()[1] == [new]
    assert store.chunks([old.first_row]) is None
    assert store.contents(old) is None


def test_files_are_in_path_order_whatever_order_they_came_in(store: Store) -> None:
    add(store, "b.py", 1, 1)
    add(store, "a/z.py", 1, 1, at=1)
    add(store, "a.py", 1, 1, at=2)
    assert [row.path for row in store.latest()] == ["a.py", "a/z.py", "b.py"]


def test_a_file_without_chunks_is_kept(store: Store) -> None:
    row = store.write(file("empty.py", ROWS_PER_GENERATION, 0, 1), contents("empty.py", 0), None)
    assert store.latest() == [row]
    assert store.contents(row).chunks == ()


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE chunks SET text = 'x = 2' WHERE start_line = 1",
        "UPDATE chunks SET symbol = 'Class.other' WHERE start_line = 1",
        "UPDATE chunks SET end_line = 7 WHERE start_line = 1",
        "UPDATE chunks SET checksum = 'f' WHERE start_line = 1",
        "DELETE FROM chunks WHERE start_line = 1",
    ],
)
def test_a_changed_chunk_is_an_error_and_never_a_result(store: Store, tmp_path: Path, change: str) -> None:
    row = add(store, "a.py", 2, 1)
    execute(tmp_path, change)
    with pytest.raises(IndexCorruptError) as raised:
        store.chunks([row.first_row, row.first_row + 1])
    assert raised.value.hint == "selfroute index --rebuild"
    with pytest.raises(IndexCorruptError):
        store.contents(row)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE files SET path = 'c.py'",
        "UPDATE files SET content_hash = 'other'",
        "UPDATE files SET died = 9 WHERE path = 'a.py'",
        "UPDATE files SET died = 1 WHERE path = 'a.py'",
        "UPDATE files SET born = 2 WHERE path = 'a.py'",
        "DELETE FROM files WHERE path = 'a.py'",
        "UPDATE meta SET value = replace(value, '1', '2')",
        "UPDATE meta SET checksum = 'f'",
        "DROP TABLE files",
    ],
)
def test_a_changed_list_of_files_is_an_error_and_never_a_result(store: Store, tmp_path: Path, change: str) -> None:
    add(store, "a.py", 1, 1)
    add(store, "b.py", 1, 1, at=1)
    store.publish(replace(STATE, generation=1), store.latest(), [])
    execute(tmp_path, change)
    with pytest.raises(IndexCorruptError):
        state, files = store.complete()
        assert state.generation == 1
        assert [f.path for f in files] == ["a.py", "b.py"]
        raise IndexCorruptError("harmless")


def test_changed_vectors_are_an_error(store: Store, tmp_path: Path) -> None:
    row = add(store, "a.py", 1, 1)
    execute(tmp_path, "UPDATE vectors SET data = zeroblob(8)")
    with pytest.raises(IndexCorruptError):
        store.contents(row)


def test_a_state_of_another_format_is_known_as_such(store: Store, tmp_path: Path) -> None:
    store.publish(replace(STATE, generation=1, format=99), [], [])
    assert store.state().format == 99
    assert store.complete() is None


def test_a_file_that_is_no_database_is_damage(tmp_path: Path) -> None:
    (tmp_path / DATABASE).write_bytes(b"not a database, but long enough to be looked at" * 100)
    with pytest.raises(IndexCorruptError):
        Store(tmp_path).state()


def test_a_closed_store_says_so(tmp_path: Path) -> None:
    store = Store(tmp_path, create=True)
    store.close()
    with pytest.raises(SelfRouteError, match="is closed"):
        store.state()


def test_a_store_notices_that_another_took_its_place(store: Store, tmp_path: Path) -> None:
    assert not store.replaced
    remove(tmp_path)
    assert store.replaced
    Store(tmp_path, create=True).close()
    assert store.replaced


def test_a_full_disk_is_not_damage(store: Store) -> None:
    store._db.execute("PRAGMA max_page_count = 1")
    with pytest.raises(SelfRouteError, match="full") as raised:
        for i in range(100):
            add(store, f"{i}.py", 50, 1, at=50 * i)
    assert not isinstance(raised.value, IndexCorruptError)


def execute(directory: Path, statement: str) -> None:
    other = sqlite3.connect(directory / DATABASE)
    with other:
        other.execute(statement)
    other.close()


# arrays

SOME = {
    "vectors": np.arange(6, dtype=np.float32).reshape(3, 2),
    "rows": np.array([5, 7], np.int64),
    "names": np.frombuffer(b"abc", np.uint8),
    "none": np.empty((0, 4), np.int32),
}


def _make(directory: Path, start: Barrier) -> None:
    start.wait()
    Store(directory, create=True).close()


def test_processes_that_make_a_store_at_the_same_moment_all_get_it(tmp_path: Path) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["selfroute.memory.store"])
    for attempt in range(15):  # one in five used to fail
        directory = tmp_path / str(attempt)
        directory.mkdir()
        start = context.Barrier(3)
        makers = [context.Process(target=_make, args=(directory, start)) for _ in range(3)]
        for maker in makers:
            maker.start()
        for maker in makers:
            maker.join()
        assert [maker.exitcode for maker in makers] == [0, 0, 0]


def test_arrays_come_back_as_they_were_written(tmp_path: Path) -> None:
    kept = arrays.write(tmp_path, SOME, 7)
    assert (kept.name, kept.generation) == ("arrays-00000007.bin", 7)
    assert kept.n_bytes == (tmp_path / kept.name).stat().st_size
    read = arrays.read(tmp_path, kept)
    assert list(read) == list(SOME)
    for name, array in SOME.items():
        assert read[name].dtype == array.dtype
        assert read[name].shape == array.shape
        assert read[name].tolist() == array.tolist()
        assert not read[name].flags.writeable


def test_arrays_with_any_bit_flipped_are_not_read(tmp_path: Path) -> None:
    kept = arrays.write(tmp_path, SOME, 1)
    path = tmp_path / kept.name
    data = path.read_bytes()
    for at in range(0, 8 * len(data), 37):
        flipped = bytearray(data)
        flipped[at // 8] ^= 1 << at % 8
        path.write_bytes(flipped)
        assert arrays.read(tmp_path, kept) is None
    path.write_bytes(data[:-1])
    assert arrays.read(tmp_path, kept) is None
    path.write_bytes(data)
    assert arrays.read(tmp_path, kept) is not None


def test_missing_arrays_are_not_read(tmp_path: Path) -> None:
    kept = arrays.write(tmp_path, SOME, 1)
    (tmp_path / kept.name).unlink()
    assert arrays.read(tmp_path, kept) is None


def test_sweep_leaves_one_file_of_arrays_and_all_else(tmp_path: Path) -> None:
    arrays.write(tmp_path, SOME, 1)
    kept = arrays.write(tmp_path, SOME, 2)
    (tmp_path / "arrays-00000003.bin.tmp").write_bytes(b"half")
    (tmp_path / DATABASE).write_bytes(b"")
    arrays.sweep(tmp_path, keep=kept.name)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["arrays-00000002.bin", DATABASE]


def test_arrays_of_objects_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="object"):
        arrays.write(tmp_path, {"a": np.array([object()])}, 1)


# the lock


def test_a_lock_is_held_by_one(tmp_path: Path) -> None:
    first, second = WriterLock(tmp_path / "lock"), WriterLock(tmp_path / "lock")
    assert first.acquire()
    assert not second.acquire()
    assert second.holder() == f"process {os.getpid()}"
    first.release()
    first.release()
    assert second.acquire()
    second.release()


HOLD = """
import fcntl, sys
file = open(sys.argv[1], "w")
fcntl.flock(file, fcntl.LOCK_EX)
print(1, flush=True)
sys.stdin.read()
"""


def test_a_lock_is_free_when_its_process_was_killed(tmp_path: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "lock")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdout.readline() == b"1\n"
    lock = WriterLock(tmp_path / "lock")
    assert not lock.acquire()
    assert lock.holder() == "another process"
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    child.stdin.close()
    child.stdout.close()
    assert lock.acquire()
    lock.release()
