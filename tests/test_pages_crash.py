"""A process that is killed while it encodes, evicts or moves pages loses one batch at most, and leaves nothing torn."""

from __future__ import annotations

import multiprocessing
import random
import shutil
import time
from collections import Counter
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest

from selfroute.memory.pages import writing
from selfroute.memory.pages.made import is_made, made_hash, made_layout, made_page
from selfroute.memory.pages.store import PageStore

LAYOUT = made_layout()
HASHES = [made_hash(str(i)) for i in range(100)]
BATCH = 10
N_BATCHES = len(HASHES) // BATCH
ENCODE, EVICT, COLLECT = KINDS = ("encode", "evict", "collect")
WORD = "a word"


def work(kind: str, folder: Path, telling: Connection) -> None:
    """Puts pages, batch by batch, or drops and moves them and puts them back; tells of each batch that is kept."""
    writing.MAX_BYTES = 120_000
    with PageStore.open(folder, word=WORD) as store:
        for first in range(0, len(HASHES), BATCH):
            if kind == EVICT:
                store.evict(store.stats().n_bytes * 2 // 3)
            elif kind == COLLECT:
                store.collect(HASHES[first // 2 :: 2])
            store.put(LAYOUT, (made_page(LAYOUT, name) for name in HASHES[first : first + BATCH]))
            store.flush()
            telling.send_bytes(b".")


@dataclass(frozen=True)
class Trial:
    """full: a store of all pages. seconds: that a batch takes, by the kind of run."""

    processes: ForkServerContext
    full: Path
    seconds: dict[str, float]

    def run(self, kind: str, folder: Path, batches: int | None, moment: float = 0.0) -> tuple[int, int | None]:
        """A run that is killed `moment` of a batch after it told of so many, or is not: batches that it told of, its
        exit code."""
        if kind != ENCODE:
            shutil.copytree(self.full, folder)
        told, telling = self.processes.Pipe(duplex=False)
        process = self.processes.Process(target=work, args=(kind, folder, telling))
        process.start()
        telling.close()
        n_kept = told_more(told)
        started = time.perf_counter()
        while (batches is None or n_kept < batches) and told_more(told):
            n_kept += 1
        if batches is None:
            self.seconds[kind] = (time.perf_counter() - started) / N_BATCHES
        else:
            time.sleep(moment * self.seconds[kind])
            process.kill()
        process.join()
        while told_more(told):
            n_kept += 1
        return n_kept, process.exitcode


def told_more(told: Connection) -> int:
    """1 after another batch was told of, 0 when there is none to come."""
    try:
        return len(told.recv_bytes())
    except EOFError:
        return 0


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> Trial:
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["pytest", "selfroute.memory.pages.made", "selfroute.memory.pages.store"])
    folder = tmp_path_factory.mktemp("pages")
    made = Trial(processes, folder / ENCODE, {})
    for kind in KINDS:
        assert made.run(kind, folder / kind, None) == (N_BATCHES, 0)
    return made


def kill(trial: Trial, kind: str, folder: Path, batches: int, moment: float) -> str:
    """One run that is killed; returns how it ended."""
    n_kept, code = trial.run(kind, folder, batches, moment)
    with PageStore.open(folder, word=WORD) as store:
        checked = store.check_integrity()
        assert checked.problems == ()
        there = [name for name in HASHES if name in store.have("00", HASHES)]
        found = store.gather(LAYOUT, there)
        assert is_made(LAYOUT, there, found.lengths.tolist(), found.arrays)
        if kind == ENCODE:
            assert there == HASHES[: len(there)]
            assert n_kept * BATCH <= len(there) <= (n_kept + 1) * BATCH
        # Goes on as if nothing had happened.
        store.put(LAYOUT, (made_page(LAYOUT, name) for name in HASHES))
        store.flush()
        store.collect(HASHES)
        found = store.gather(LAYOUT, HASHES)
        assert is_made(LAYOUT, HASHES, found.lengths.tolist(), found.arrays)
        after = store.check_integrity()
        assert after.problems == after.notes == ()
        assert store.notes == ()
    shutil.rmtree(folder)
    return f"{kind}: {'ended' if code == 0 else 'killed'}"


def kill_many(trial: Trial, folder: Path, n: int, seed: int) -> Counter[str]:
    pick = random.Random(seed)
    ends: Counter[str] = Counter()
    for i in range(n):
        kind = KINDS[i % len(KINDS)]
        ends[kill(trial, kind, folder / str(i), pick.randrange(1, N_BATCHES), pick.uniform(0.0, 1.5))] += 1
    assert {f"{kind}: killed" for kind in KINDS} <= set(ends), "no run was killed before its end"
    return ends


def test_20_kills_at_random_moments_tear_nothing(trial: Trial, tmp_path: Path) -> None:
    print(dict(kill_many(trial, tmp_path, 20, seed=1)))


@pytest.mark.slow
def test_200_kills_at_random_moments_tear_nothing(trial: Trial, tmp_path: Path) -> None:
    print(dict(kill_many(trial, tmp_path, 200, seed=2)))


def test_a_run_that_is_killed_again_and_again_ends_whole(trial: Trial, tmp_path: Path) -> None:
    folder = tmp_path / "again"
    n_there = 0
    for batches in (1, 3, 5, 7):
        trial.run(ENCODE, folder, batches, 0.5)
        with PageStore.open(folder, word=WORD) as store:
            assert len(store.have("00", HASHES)) >= n_there
            n_there = len(store.have("00", HASHES))
    assert trial.run(ENCODE, folder, None)[1] == 0
    with PageStore.open(folder, word=WORD) as store:
        assert store.have("00", HASHES) == set(HASHES)
        assert store.check_integrity().problems == ()
