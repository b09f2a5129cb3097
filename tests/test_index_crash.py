"""A run that is killed at any moment leaves nothing torn: the next one goes on and ends as if nothing had happened."""

from __future__ import annotations

import multiprocessing
import random
import shutil
import sqlite3
import time
from collections import Counter
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest

from selfroute.errors import IndexCorruptError, IndexMissingError
from selfroute.memory.check import check, unwritten
from selfroute.memory.database import DATABASE
from selfroute.memory.index import Index
from selfroute.memory.repair import repair
from selfroute.models.hashing import HashingEmbedder

EMBEDDER = HashingEmbedder(64)
N_FILES = 60
INDEX, UPDATE, REPAIR = KINDS = ("index", "update", "repair")
QUESTION = "where is the counter kept"


@dataclass(frozen=True)
class Trial:
    """A corpus in two versions, the index of each, and the digests of both when nobody is killed.

    seconds: that a run takes, by its kind.
    """

    root: Path
    first_index: Path
    second_index: Path
    first_digest: str
    second_digest: str
    processes: ForkServerContext
    seconds: dict[str, float] = field(default_factory=dict)

    def prepare(self, kind: str, directory: Path) -> None:
        """What a run of a kind starts from: nothing, the index of the first version, or a damaged one."""
        if kind == UPDATE:
            shutil.copytree(self.first_index, directory)
        elif kind == REPAIR:
            shutil.copytree(self.second_index, directory)
            damage(directory)

    def start(self, kind: str, directory: Path) -> multiprocessing.process.BaseProcess:
        """Begins to index or to repair in another process."""
        process = self.processes.Process(target=run, args=(kind, self.root, directory))
        process.start()
        return process


def run(kind: str, root: Path, directory: Path) -> None:
    if kind == REPAIR:
        repair(root, directory, EMBEDDER, max_file_bytes=1_000_000)
    else:
        Index.open(root, directory=directory, embedder=EMBEDDER).close()


def damage(directory: Path) -> None:
    """Every third file's chunks, some vectors and the arrays."""
    database = sqlite3.connect(directory / DATABASE)
    with database:
        database.execute("UPDATE chunks SET text = text || ' ' WHERE row % 3 = 0")
        database.execute("UPDATE vectors SET data = zeroblob(length(data)) WHERE first_row % 5 = 0")
    database.close()
    for path in directory.glob("arrays-*"):
        path.write_bytes(path.read_bytes()[:-9])


def write(root: Path, name: str, version: int, n: int = 6) -> None:
    lines = [
        f"def counter_{name}_{i}(value):\n    total_{version} = value + {i}\n    return total_{version}\n\n\n"
        for i in range(n)
    ]
    path = root / f"part_{name[-1]}" / f"module_{name}.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(lines))


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> Trial:
    folder = tmp_path_factory.mktemp("crash")
    root, first_index = folder / "corpus", folder / "first"
    for i in range(N_FILES):
        write(root, str(i), 1)
    with Index.open(root, directory=first_index, embedder=EMBEDDER) as index:
        first_digest = index.digest()
    # The second version: half of the files changed, some gone, some new.
    for i in range(0, N_FILES, 2):
        write(root, str(i), 2)
    for i in range(1, N_FILES, 10):
        (root / f"part_{str(i)[-1]}" / f"module_{i}.py").unlink()
    for i in range(N_FILES, N_FILES + 5):
        write(root, str(i), 2)
    with Index.open(root, directory=folder / "second", embedder=EMBEDDER) as index:
        second_digest = index.digest()

    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["selfroute.memory.repair", "selfroute.models.hashing"])
    made = Trial(root, first_index, folder / "second", first_digest, second_digest, processes)
    made.start(INDEX, folder / "warm").join()  # the server starts once
    for kind in KINDS:
        directory = folder / f"timed-{kind}"
        made.prepare(kind, directory)
        started = time.perf_counter()
        process = made.start(kind, directory)
        process.join()
        assert process.exitcode == 0
        made.seconds[kind] = time.perf_counter() - started
    return made


def kill_and_resume(trial: Trial, kind: str, directory: Path, moment: float) -> str:
    """One run killed after `moment` seconds. Returns what it left: nothing, the first or second version, or damage."""
    trial.prepare(kind, directory)
    process = trial.start(kind, directory)
    time.sleep(moment)
    process.kill()
    process.join()

    if (directory / DATABASE).exists():
        database = sqlite3.connect(directory / DATABASE)
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        database.close()
    try:
        with Index.open(trial.root, directory=directory, embedder=EMBEDDER, update=False) as left:
            digest = left.digest()
            assert left.search(QUESTION)
            assert left.notes == ()
        found = {trial.first_digest: "first", trial.second_digest: "second"}[digest]
    except IndexMissingError:
        found = "nothing"
    except IndexCorruptError:
        found = "damage"
    assert found in {INDEX: ("nothing", "second"), UPDATE: ("first", "second"), REPAIR: ("damage", "second")}[kind]

    if kind == REPAIR:
        assert repair(trial.root, directory, EMBEDDER, max_file_bytes=1_000_000).checked.ok
    with Index.open(trial.root, directory=directory, embedder=EMBEDDER) as resumed:
        assert resumed.notes == ()
        assert resumed.digest() == trial.second_digest
        if kind != REPAIR:
            assert resumed.stats.generation == (2 if kind == UPDATE else 1)
    with unwritten(directory):
        assert check(trial.root, directory).problems == ()
    shutil.rmtree(directory)
    return found


def kill_many(trial: Trial, folder: Path, n: int, seed: int) -> Counter[str]:
    pick = random.Random(seed)
    ends: Counter[str] = Counter()
    for i in range(n):
        kind = KINDS[i % len(KINDS)]
        moment = pick.uniform(0.1, 1.0) * trial.seconds[kind]
        ends[f"{kind}: {kill_and_resume(trial, kind, folder / str(i), moment)}"] += 1
    unfinished = {f"{INDEX}: nothing", f"{UPDATE}: first", f"{REPAIR}: damage"}
    assert unfinished <= set(ends), "no run was killed before its end: the moments are badly chosen"
    return ends


def test_24_kills_at_random_moments_tear_nothing(trial: Trial, tmp_path: Path) -> None:
    kill_many(trial, tmp_path, 24, seed=1)


@pytest.mark.slow
def test_200_kills_at_random_moments_tear_nothing(trial: Trial, tmp_path: Path) -> None:
    print(dict(kill_many(trial, tmp_path, 200, seed=2)))


def test_a_run_that_is_killed_again_and_again_still_ends_whole(trial: Trial, tmp_path: Path) -> None:
    directory = tmp_path / "again"
    for share in (0.3, 0.5, 0.6, 0.7, 0.8, 0.9):
        process = trial.start(INDEX, directory)
        time.sleep(share * trial.seconds[INDEX])
        process.kill()
        process.join()
    with Index.open(trial.root, directory=directory, embedder=EMBEDDER) as index:
        assert index.digest() == trial.second_digest


def test_what_a_killed_run_wrote_is_not_embedded_again(trial: Trial, tmp_path: Path) -> None:
    class Killed(Exception):
        """Stands for the end of the process."""

    class Counting:
        """Counts what it embeds; ends the run at its second call when it is told to."""

        dim, fingerprint = EMBEDDER.dim, EMBEDDER.fingerprint

        def __init__(self, *, dies: bool) -> None:
            self.dies, self.n_texts, self.n_calls = dies, 0, 0

        def encode(self, texts):  # type: ignore[no-untyped-def]
            self.n_calls += 1
            if self.dies and self.n_calls == 2:
                raise Killed
            self.n_texts += len(texts)
            return EMBEDDER.encode(texts)

    whole, broken, resumed = Counting(dies=False), Counting(dies=True), Counting(dies=False)
    for i in range(200):
        write(tmp_path / "corpus", str(i), 1, n=20)
    with Index.open(tmp_path / "corpus", directory=tmp_path / "whole", embedder=whole) as index:
        digest = index.digest()
    with pytest.raises(Killed):
        Index.open(tmp_path / "corpus", directory=tmp_path / "index", embedder=broken)
    with Index.open(tmp_path / "corpus", directory=tmp_path / "index", embedder=resumed) as index:
        assert index.digest() == digest
    assert 0 < broken.n_texts < whole.n_texts
    assert broken.n_texts + resumed.n_texts == whole.n_texts
