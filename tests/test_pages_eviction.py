"""Which pages stay within a budget, and that what is dropped gives its bytes back to the disk."""

import sqlite3
from pathlib import Path

import numpy as np
import pytest

from selfroute.memory.pages import eviction, table, writing
from selfroute.memory.pages.made import is_made, made_hash, made_layout, made_page
from selfroute.memory.pages.store import PageStore

LAYOUT = made_layout()
HASHES = [made_hash(str(i)) for i in range(150)]
DAY = 86_400.0


class Clock:
    """Stands for the system's in the page table."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(table, "time", made)
    monkeypatch.setattr(writing, "MAX_BYTES", 100_000)
    return made


def put(store: PageStore, hashes: list[str], seconds: float = 1e-4) -> None:
    store.put(LAYOUT, (made_page(LAYOUT, name, seconds) for name in hashes))
    store.flush()


def right(store: PageStore, hashes: list[str]) -> bool:
    found = store.gather(LAYOUT, hashes)
    return is_made(LAYOUT, hashes, found.lengths.tolist(), found.arrays)


def file_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*.seg"))


def p(uses: float, age: float, silence: float) -> float:
    return float(eviction.p_reuse(*(np.array([value]) for value in (uses, age * DAY, silence * DAY)))[0])


def test_the_probability_of_reuse() -> None:
    assert p(0, 0, 0) == pytest.approx(7 / 8)  # the prior alone: 1 - ALPHA / (ALPHA + HORIZON)
    assert p(0, 0, 0) > p(0, 3, 3) > p(0, 100, 100) > 0
    assert p(10, 10, 0) > p(1, 10, 0) > p(0, 10, 10)
    assert p(10, 10, 0) > p(10, 10, 5) > p(10, 10, 9.9)  # used as often, and not lately
    assert p(50, 60, 50) < p(1, 60, 50)  # work that is done, and a page that is needed now and then
    assert 0 <= p(1e6, 1e4, 9e3) <= p(1e6, 1e4, 0) <= 1


def test_value_grows_with_seconds_and_falls_with_bytes() -> None:
    none, sizes = np.zeros(3), np.array([100, 100, 1000])
    value = eviction.values(none, none, none, np.array([1.0, 2.0, 2.0]), sizes)
    assert value[1] == 2 * value[0] == 10 * value[2]
    everything = np.ones(3, bool)
    assert eviction.worst(value, sizes, 1, everything).tolist() == [2]
    assert eviction.worst(value, sizes, 1001, everything).tolist() == [2, 0]
    assert eviction.worst(value, sizes, 1, np.array([True, True, False])).tolist() == [0]
    assert eviction.worst(value, sizes, 0, everything).tolist() == []


def test_what_was_used_lately_and_often_stays(tmp_path: Path, clock: Clock) -> None:
    with PageStore.open(tmp_path / "pages") as store:
        put(store, HASHES)
        for _ in range(5):
            clock.now += DAY
            store.touch("00", HASHES[50:100])
        all_bytes = store.stats().n_bytes
        assert store.evict(all_bytes // 2) > 0
        there = store.have("00", HASHES)
        assert there >= set(HASHES[50:100])
        assert all_bytes // 3 < store.stats().disk_bytes == file_bytes(store.folder) <= all_bytes // 2
        assert right(store, [name for name in HASHES if name in there])
        assert store.check_integrity().ok


def test_what_costs_more_to_encode_stays(tmp_path: Path, clock: Clock) -> None:
    with PageStore.open(tmp_path / "pages") as store:
        put(store, HASHES)
        slow = made_layout("01")
        store.put(slow, (made_page(slow, name, 1e-2) for name in HASHES))
        store.flush()
        store.evict(store.stats().n_bytes // 3)
        assert store.have("00", HASHES) == set()
        assert len(store.have("01", HASHES)) > 75
        assert store.check_integrity().ok


def test_the_noise_in_what_encoding_took_decides_nothing(tmp_path: Path, clock: Clock) -> None:
    with PageStore.open(tmp_path / "pages") as store:
        for i, name in enumerate(HASHES[:30]):
            put(store, [name], seconds=1e-4 * (1 + i % 3))
            clock.now += DAY
        store.evict(store.stats().n_bytes // 2)
        kept = sorted(HASHES.index(name) for name in store.have("00", HASHES))
        assert kept == list(range(kept[0], 30))  # the newer


def test_pinned_pages_are_neither_evicted_nor_collected(tmp_path: Path, clock: Clock) -> None:
    with PageStore.open(tmp_path / "pages") as store:
        put(store, HASHES)
        store.pin("00", HASHES[:10])
        store.pin("00", HASHES[5:10])
        store.evict(0)
        assert store.have("00", HASHES) == set(HASHES[:10])
        store.unpin("00", HASHES[:10])
        store.collect(())
        assert store.have("00", HASHES) == set(HASHES[5:10])
        assert right(store, HASHES[5:10])
        store.unpin("00", HASHES[5:10])
        assert store.evict(0) == 5
        assert file_bytes(store.folder) == 0


def test_the_budget_holds_and_what_came_first_stays(tmp_path: Path, clock: Clock) -> None:
    with PageStore.open(tmp_path / "a") as whole:
        put(whole, HASHES)
        budget = whole.stats().n_bytes // 2
    with PageStore.open(tmp_path / "pages", budget_bytes=budget) as store:
        for again in range(3):
            for first in range(0, len(HASHES), 10):
                put(store, HASHES[first : first + 10])
                assert file_bytes(store.folder) <= budget
                clock.now += 10
            there = store.have("00", HASHES)
            if not again:
                kept = there
        assert there >= kept  # a second and third reading of too large a corpus push nothing out
        assert store.stats().n_bytes > budget * 0.8
        assert right(store, sorted(there))


def test_what_is_worth_more_takes_the_place_of_what_is_not_used(tmp_path: Path, clock: Clock) -> None:
    with PageStore.open(tmp_path / "a") as whole:
        put(whole, HASHES)
        budget = whole.stats().n_bytes // 2
    with PageStore.open(tmp_path / "pages", budget_bytes=budget) as store:
        put(store, HASHES[:75])
        clock.now += 30 * DAY
        for first in range(75, 150, 5):
            put(store, HASHES[first : first + 5])
            assert file_bytes(store.folder) <= budget
        assert len(store.have("00", HASHES[75:])) > 60
        assert right(store, sorted(store.have("00", HASHES)))
        assert store.check_integrity().ok


def test_a_page_that_is_larger_than_the_budget_is_not_kept(tmp_path: Path) -> None:
    with PageStore.open(tmp_path / "pages", budget_bytes=1000) as store:
        put(store, HASHES[:3])
        assert store.have("00", HASHES) == set()
        assert file_bytes(store.folder) == 0


def test_collecting_keeps_what_lives_of_every_model(tmp_path: Path, clock: Clock) -> None:
    other = made_layout("01")
    with PageStore.open(tmp_path / "pages") as store:
        put(store, HASHES)
        store.put(other, (made_page(other, name) for name in HASHES))
        live = set(HASHES[::4])
        assert store.collect(live, "00") == len(HASHES) - len(live)
        assert store.have("00", HASHES) == live
        assert store.have("01", HASHES) == set(HASHES)
        store.collect(live)
        assert store.have("01", HASHES) == live
        assert store.collect(live) == 0
        stats = store.stats()
        assert file_bytes(store.folder) == stats.disk_bytes < 2.1 * stats.n_bytes
        assert right(store, HASHES[::4])


def test_uses_are_counted_once_however_they_are_noted(tmp_path: Path, clock: Clock) -> None:
    with PageStore.open(tmp_path / "pages") as store:
        put(store, HASHES)
        for i in range(450):  # more than are kept before they are added up
            clock.now += 1
            store.touch("00", [HASHES[i % 3], HASHES[7], HASHES[7], "nothing"], encoded=i % 2)
        with PageStore.open(tmp_path / "pages") as other:
            other.touch("00", HASHES)
        made = table.PageTable(tmp_path / "pages", create=False)
        worth = made.worth()
        uses = dict(zip(worth.hashes, worth.uses.tolist(), strict=True))
        assert [uses[name] for name in HASHES[:9]] == [151, 151, 151, 1, 1, 1, 1, 451, 1]
        assert worth.silences.max() == 0
        made.close()
        (model,) = store.stats().models
        assert model.encoded == 225
        assert model.found["disk"] == 450 * 4 + len(HASHES)


def test_a_disk_without_room_even_for_saying_so_is_given_a_segment_back(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    drop, failures = table.PageTable.drop, []

    def full(self: table.PageTable, rows: list[int]) -> None:
        if not failures:
            failures.append(sqlite3.OperationalError("database or disk is full"))
            failures[0].sqlite_errorcode = sqlite3.SQLITE_FULL
            raise failures[0]
        drop(self, rows)

    with PageStore.open(tmp_path / "pages") as store:
        put(store, HASHES)
        store.pin("00", HASHES[:10])
        before = store.stats()
        monkeypatch.setattr(table.PageTable, "drop", full)
        store.evict(before.disk_bytes // 2)
        assert failures
        assert 0 < store.stats().disk_bytes == file_bytes(store.folder) <= before.disk_bytes // 2
        there = store.have("00", HASHES)
        assert there >= set(HASHES[:10])
        assert right(store, sorted(there))
        assert store.check_integrity().ok
