"""Every single write of a page store fails once, or is the last before a kill: nothing torn is ever found."""

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace

import pytest

from selfroute.errors import SelfRouteError
from selfroute.memory.pages import segments, writing
from selfroute.memory.pages.made import is_made, made_hash, made_layout, made_page
from selfroute.memory.pages.store import PageStore
from selfroute.memory.pages.table import PageTable

LAYOUT = made_layout()
HASHES = [made_hash(str(i)) for i in range(24)]


class Killed(BaseException):
    """Stands for the end of the process."""


class Writes:
    """Counts writes of bytes, flushes, deletions and transactions; the one whose number is `fails` does not happen."""

    def __init__(self, patch: pytest.MonkeyPatch, fails: int, how: str) -> None:
        self.n, self.fails, self.how = 0, fails, how
        own = SimpleNamespace(**vars(os))  # not that of the lock, which a kill gives back
        for name in ("pwrite", "fsync", "ftruncate"):
            setattr(own, name, self.counted(getattr(os, name), OSError(28, "No space left on device")))
        patch.setattr(segments, "os", own)
        patch.setattr(segments.Segments, "delete", self.counted(segments.Segments.delete, None))
        full = sqlite3.OperationalError("database or disk is full")
        full.sqlite_errorcode = sqlite3.SQLITE_FULL
        transaction = PageTable.transaction

        @contextmanager
        def counted(table: PageTable) -> Iterator[None]:
            with transaction(table):
                yield
                self.count(full)  # nothing of it is committed

        patch.setattr(PageTable, "transaction", counted)

    def counted(self, call: Callable[..., object], error: Exception | None) -> Callable[..., object]:
        def counting(*arguments: object) -> object:
            self.count(error)
            return call(*arguments)

        return counting

    def count(self, error: Exception | None) -> None:
        self.n += 1
        if self.n == self.fails:
            if self.how == "kill":
                raise Killed
            if error is not None:
                raise error


def put(store: PageStore, hashes: list[str]) -> None:
    with suppress(SelfRouteError):
        store.put(LAYOUT, (made_page(LAYOUT, name) for name in hashes))
        store.flush()


def right(store: PageStore) -> bool:
    there = sorted(store.have("00", HASHES))
    found = store.gather(LAYOUT, there)
    return is_made(LAYOUT, there, found.lengths.tolist(), found.arrays)


def work(folder: Path) -> None:
    """Everything that writes; goes on after errors."""
    with suppress(SelfRouteError), PageStore.open(folder) as store:
        for first in range(0, len(HASHES), 8):
            put(store, HASHES[first : first + 8])
        store.touch("00", HASHES[:4])
        with suppress(SelfRouteError):
            store.evict(store.stats().disk_bytes * 2 // 3)
        assert right(store)
        put(store, HASHES)
        with suppress(SelfRouteError):
            store.collect(HASHES[::3])
        assert right(store)
        put(store, HASHES[:12])
        assert right(store)


@pytest.mark.parametrize("how", ["error", "kill"])
def test_some_writes_fail_once(tmp_path: Path, how: str) -> None:
    fail(tmp_path, how, first=3, step=11)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["error", "kill"])
def test_each_write_fails_once(tmp_path: Path, how: str) -> None:
    print(how, fail(tmp_path, how, first=1, step=1))


def fail(tmp_path: Path, how: str, *, first: int, step: int) -> int:
    """Returns how many writes there are."""
    fails, done = first, False
    while not done:
        folder = tmp_path / str(fails)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(writing, "MAX_BYTES", 40_000)
            writes = Writes(patch, fails, how)
            with suppress(Killed):
                work(folder)
            done = writes.n < fails
        with PageStore.open(folder) as store:
            assert store.notes == ()
            assert store.check_integrity().problems == ()
            assert right(store)
            put(store, HASHES)
            store.collect(HASHES)
            assert store.have("00", HASHES) == set(HASHES)
            assert right(store)
            checked = store.check_integrity()
            assert checked.problems == checked.notes == ()
        fails += step
    assert writes.n > 30
    return writes.n
