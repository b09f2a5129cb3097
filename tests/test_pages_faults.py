"""A flipped bit costs one page, a full disk what would have been written, a lost table what was in it: never an answer
from bytes that are not what was written."""

import multiprocessing
import os
import random
import resource
import signal
import sqlite3
from pathlib import Path

import pytest

from selfroute.errors import IndexCorruptError, IndexLockedError, IndexVersionError, SelfRouteError
from selfroute.memory.lock import WriterLock
from selfroute.memory.pages import writing
from selfroute.memory.pages.base import MissingPages
from selfroute.memory.pages.made import is_made, made_hash, made_layout, made_page
from selfroute.memory.pages.segments import Segments
from selfroute.memory.pages.store import PageStore
from selfroute.memory.pages.table import FILE, PageTable

LAYOUT = made_layout()
HASHES = [made_hash(str(i)) for i in range(60)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A store of all pages, closed."""
    made = tmp_path / "pages"
    with PageStore.open(made) as store:
        put(store, HASHES)
    return made


def put(store: PageStore, hashes: list[str]) -> None:
    store.put(LAYOUT, (made_page(LAYOUT, name) for name in hashes))


def right(store: PageStore, hashes: list[str], names: list[str] | None = None) -> bool:
    found = store.gather(LAYOUT, hashes, names)
    return is_made(LAYOUT, hashes, found.lengths.tolist(), found.arrays)


def flip(path: Path, at: int, bit: int = 0) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1 << bit]))


def places(folder: Path) -> dict[str, tuple[int, int]]:
    """Hash -> offset and size in the only segment."""
    database = sqlite3.connect(folder / FILE)
    found = {name: (offset, size) for name, offset, size in database.execute("SELECT hash, offset, size FROM pages")}
    database.close()
    return found


def test_a_flipped_bit_costs_one_page_each(folder: Path) -> None:
    pick = random.Random(1)
    segment = Segments(folder).path(1)
    hurt = pick.sample(HASHES, 8)
    at = places(folder)
    for name in hurt:
        offset, size = at[name]
        flip(segment, offset + pick.randrange(size), pick.randrange(8))
    with PageStore.open(folder) as store:
        assert len(store.check_integrity().problems) == len(hurt)
        with pytest.raises(MissingPages) as caught:
            while True:  # each request finds those of the first piece that it reads
                store.gather(LAYOUT, sorted(store.have("00", HASHES)))
                assert store.have("00", HASHES) == set(HASHES) - set(hurt)
                store.gather(LAYOUT, HASHES)
        assert set(caught.value.hashes) <= set(hurt)


@pytest.mark.parametrize("part", ["vector", "keys"])
def test_a_flipped_bit_is_found_by_whoever_reads_that_part(folder: Path, part: str) -> None:
    offset, size = places(folder)[HASHES[7]]
    flip(Segments(folder).path(1), offset + (3 if part == "vector" else size - 70))
    with PageStore.open(folder) as store:
        other = "keys" if part == "vector" else "vector"
        assert right(store, HASHES, [other])
        with pytest.raises(MissingPages) as caught:
            store.gather(LAYOUT, HASHES, [part])
        assert caught.value.hashes == (HASHES[7],)
        assert store.have("00", HASHES) == {*HASHES} - {HASHES[7]}
        put(store, [HASHES[7]])
        assert right(store, HASHES)
        store.flush()
        assert right(store, HASHES)
        assert store.check_integrity().ok
    with PageStore.open(folder) as store:
        assert right(store, HASHES)


@pytest.mark.parametrize(
    "change",
    [
        "n_tokens = n_tokens + 1",
        "n_tokens = -1",
        "n_tokens = 1 << 60",
        "size = size + 64",
        "offset = offset + 64",
        "offset = -64",
        "offset = 1 << 62",
        "offset = 1 << 30",
        "segment = 99",
        "head_sum = head_sum + 1",
        "body_sum = body_sum + 1",
        "hash = 'another'",
        "hash = x'00'",
        "n_tokens = 'many'",
    ],
)
def test_a_row_that_is_not_what_was_written_gives_no_page(folder: Path, change: str) -> None:
    database = sqlite3.connect(folder / FILE)
    with database:
        database.execute(f"UPDATE pages SET {change} WHERE hash = ?", (HASHES[5],))
    database.close()
    others = [name for name in HASHES if name != HASHES[5]]
    with PageStore.open(folder) as store:
        with pytest.raises(MissingPages) as caught:
            store.gather(LAYOUT, [*HASHES, *store.have("00", ["another"])])
        assert set(caught.value.hashes) <= {HASHES[5], "another"}
        assert right(store, others)
        put(store, [HASHES[5]])
        store.flush()
        assert right(store, HASHES)


def test_pages_that_changed_places_are_not_taken_for_each_other(folder: Path) -> None:
    database = sqlite3.connect(folder / FILE)
    with database:
        database.execute("UPDATE pages SET hash = 'x' WHERE hash = ?", (HASHES[0],))
        database.execute("UPDATE pages SET hash = ? WHERE hash = ?", (HASHES[0], HASHES[1]))
        database.execute("UPDATE pages SET hash = ? WHERE hash = 'x'", (HASHES[1],))
    database.close()
    with PageStore.open(folder) as store:
        with pytest.raises(MissingPages):
            store.gather(LAYOUT, HASHES)
        assert right(store, HASHES[2:])


@pytest.mark.parametrize("left", [0, 1, 5_000])
def test_a_segment_that_was_cut_off_gives_what_is_whole(folder: Path, left: int) -> None:
    os.truncate(Segments(folder).path(1), left)
    whole = [name for name, (offset, size) in places(folder).items() if offset + size <= left]
    with PageStore.open(folder) as store:
        assert not store.check_integrity().ok
        with pytest.raises(MissingPages):
            store.gather(LAYOUT, HASHES)
        assert store.have("00", HASHES) == set(whole)
        assert right(store, whole)
        put(store, HASHES)
        store.flush()
        assert right(store, HASHES)


def test_a_segment_that_is_gone_is_encoded_again(folder: Path) -> None:
    Segments(folder).path(1).unlink()
    with PageStore.open(folder) as store:
        assert not store.check_integrity(mend=True).ok
        assert store.have("00", HASHES) == set()
        put(store, HASHES)
        store.flush()
        assert right(store, HASHES)
        assert store.check_integrity().ok


@pytest.mark.parametrize("damage", ["empty", "text", "header", "pages", "foreign"])
def test_a_table_that_cannot_be_read_is_made_anew(folder: Path, damage: str) -> None:
    path = folder / FILE
    if damage == "empty":
        path.write_bytes(b"")
    elif damage == "text":
        path.write_bytes(b"This is no database." * 1000)
    elif damage == "header":
        flip(path, 3)
    elif damage == "pages":
        data = bytearray(path.read_bytes())
        data[4096:] = bytes(len(data) - 4096)
        path.write_bytes(data)
    else:
        path.unlink()
        database = sqlite3.connect(path)
        database.execute("CREATE TABLE t (a)")
        database.close()
    with PageStore.open(folder) as store:
        assert store.have("00", HASHES) == set()
        put(store, HASHES)
        store.flush()
        assert right(store, HASHES)
        assert store.check_integrity().ok
    with PageStore.open(folder) as store:
        assert right(store, HASHES)
        assert store.notes == ()


def test_a_table_that_is_damaged_while_it_is_open(folder: Path) -> None:
    with PageStore.open(folder) as store:
        assert right(store, HASHES[:5])
        data = bytearray((folder / FILE).read_bytes())
        data[4096:] = random.Random(1).randbytes(len(data) - 4096)
        (folder / FILE).write_bytes(data)
        database = sqlite3.connect(folder / FILE)  # has others look at it again
        database.execute("PRAGMA user_version = 1")
        database.close()
        for _ in range(2):
            try:
                put(store, HASHES)
                store.flush()
            except SelfRouteError as error:
                assert error.hint
        assert right(store, HASHES)


def test_a_table_that_says_it_may_not_be_written_is_read_and_then_made_anew(folder: Path) -> None:
    flip(folder / FILE, 18, 4)  # the version of SQLite that may write it
    with PageStore.open(folder) as store:
        assert right(store, HASHES)
        put(store, [made_hash("new")])
        with pytest.raises(IndexCorruptError):
            store.flush()
        put(store, HASHES)
        store.flush()
        assert right(store, HASHES)
        assert store.check_integrity().ok


def test_a_store_that_is_deleted_while_it_is_open(folder: Path) -> None:
    with PageStore.open(folder) as store:
        assert right(store, HASHES)
        for path in folder.iterdir():
            path.unlink()
        put(store, HASHES[:30])
        store.flush()
        assert right(store, HASHES[:30])
    with PageStore.open(folder) as store:
        assert store.have("00", HASHES) == set(HASHES[:30])


def test_a_newer_store_is_left_alone(folder: Path) -> None:
    database = sqlite3.connect(folder / FILE)
    database.execute("PRAGMA user_version = 99")
    database.close()
    before = (folder / FILE).read_bytes()
    with pytest.raises(IndexVersionError) as caught:
        PageStore.open(folder)
    assert caught.value.hint
    assert (folder / FILE).read_bytes() == before


def test_links_that_a_corpus_brings_along_lead_nowhere(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (tmp_path / "pages").symlink_to(outside)
    with pytest.raises(SelfRouteError, match="link"):
        PageStore.open(tmp_path / "pages")
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / FILE).symlink_to(outside / "table")
    (folder / "00000001.seg").symlink_to(outside / "segment")
    with PageStore.open(folder) as store:
        put(store, HASHES[:5])
        store.flush()
        assert right(store, HASHES[:5])
    assert list(outside.iterdir()) == []


def test_what_a_kill_left_in_a_segment_is_written_over(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(BaseException):
        """Stands for the end of the process."""

    def killed(*args: object) -> None:
        raise Killed

    more = [made_hash(f"more {i}") for i in range(10)]
    size = Segments(folder).path(1).stat().st_size
    with monkeypatch.context() as patch, pytest.raises(Killed), PageStore.open(folder) as store:
        patch.setattr(PageTable, "add_pages", killed)
        put(store, more)
        store.flush()
    assert Segments(folder).path(1).stat().st_size > size
    with PageStore.open(folder) as store:
        assert store.have("00", more) == set()
        assert store.check_integrity().ok
        put(store, more[:1])
        store.flush()
        assert places(folder)[more[0]][0] == size
        assert right(store, [*HASHES, more[0]])


def test_a_kill_between_moving_and_deleting_leaves_nothing_twice(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(BaseException):
        """Stands for the end of the process."""

    def killed(*args: object) -> None:
        raise Killed

    for method in ("drop_segment", "move"):
        with monkeypatch.context() as patch, PageStore.open(folder) as store, pytest.raises(Killed):
            patch.setattr(PageTable, method, killed)
            store.collect(HASHES[: 6 if method == "move" else 20])
    with PageStore.open(folder) as store:
        store.collect(HASHES[:6])
        assert right(store, HASHES[:6])
        assert store.check_integrity().problems == ()
        assert store.stats().pages == 6
        assert len(list(folder.glob("*.seg"))) == store.stats().segments == 1


def fill(folder: Path, limit: int, ended: str) -> None:
    """Puts pages until the disk takes no more, which the limit on the size of a file stands for."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    writing.MAX_BYTES = 1 << 30
    with PageStore.open(folder, word="w") as store:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        errors = []
        for first in range(0, len(HASHES), 5):
            put(store, HASHES[first : first + 5])
            try:
                store.flush()
            except SelfRouteError as error:
                assert "cannot be kept" in error.message
                assert error.hint
                errors.append(first)
        assert errors
        there = [name for name in HASHES if name in store.have("00", HASHES)]
        assert len(there) >= 5
        assert right(store, there)
        Path(ended).write_text(f"{len(there)}")


@pytest.mark.parametrize("limit", [100_000, 250_000])
def test_a_full_disk_is_one_clear_error_and_tears_nothing(tmp_path: Path, limit: int) -> None:
    processes = multiprocessing.get_context("forkserver")
    folder, ended = tmp_path / "pages", tmp_path / "ended"
    process = processes.Process(target=fill, args=(folder, limit, str(ended)))
    process.start()
    process.join()
    assert process.exitcode == 0
    with PageStore.open(folder, word="w") as store:
        there = [name for name in HASHES if name in store.have("00", HASHES)]
        assert len(there) == int(ended.read_text())
        assert right(store, there)
        assert store.check_integrity().problems == ()
        put(store, HASHES)
        store.flush()
        assert right(store, HASHES)


def test_who_waits_for_another_writer_in_vain_is_told(folder: Path) -> None:
    lock = WriterLock(folder / "lock")
    assert lock.acquire()
    try:
        with PageStore.open(folder, wait_seconds=0.05) as store:
            put(store, [made_hash("new")])
            assert right(store, [*HASHES, made_hash("new")])  # reading never waits
            with pytest.raises(IndexLockedError, match=str(os.getpid())):
                store.flush()
            assert right(store, HASHES)
    finally:
        lock.release()
