"""`doctor --check` finds whatever is not as it was written; `doctor --repair` mends it from what it was made from."""

from __future__ import annotations

import json
import os
import random
import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from selfroute.errors import IndexCorruptError, IndexLockedError, IndexMissingError, IndexVersionError, SelfRouteError
from selfroute.memory.check import ARRAYS, DATABASE_PART, FILE, MARK, STATE, STRAY, Checked, check, unwritten
from selfroute.memory.database import DATABASE
from selfroute.memory.index import Index
from selfroute.memory.lock import WriterLock
from selfroute.memory.repair import Repaired, repair
from selfroute.memory.store import FORMAT, Store
from selfroute.models.hashing import HashingEmbedder
from selfroute.router.cli import main

EMBEDDER = HashingEmbedder(64)
OLD = 1_600_000_000  # seconds; files of that time are not read again
N_FILES = 12


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "corpus"
    root.mkdir()
    for i in range(N_FILES):
        text = "".join(f"def counter_{i}_{n}(value):\n    return value + {n}\n\n\n" for n in range(8))
        (root / f"module_{i}.py").write_text(text)
        os.utime(root / f"module_{i}.py", (OLD, OLD))
    return root


@pytest.fixture
def digest(root: Path) -> str:
    with Index.open(root, embedder=EMBEDDER) as index:
        return index.digest()


def checked(root: Path) -> Checked:
    with unwritten(root / ".selfroute", wait_seconds=0):
        return check(root, root / ".selfroute")


def repaired(root: Path) -> Repaired:
    return repair(root, root / ".selfroute", EMBEDDER, max_file_bytes=1_000_000, wait_seconds=0)


def execute(root: Path, statement: str) -> None:
    database = sqlite3.connect(root / ".selfroute" / DATABASE)
    with database:
        assert database.execute(statement).rowcount != 0
    database.close()


def test_a_whole_index_is_verified_and_counted(root: Path, digest: str) -> None:
    found = checked(root)
    assert found.ok
    assert found.notes == ()
    with Index.open(root, embedder=EMBEDDER) as index:
        assert found.verified["chunks"] == index.stats.chunks
        assert found.verified["bytes of vectors"] == index.stats.chunks * 64 * 4
    assert found.verified["files"] == N_FILES
    assert found.verified["values of the state"] == 2
    assert found.verified["marker files"] == 2
    (path,) = (root / ".selfroute").glob("arrays-*")
    assert found.verified["bytes of arrays"] == path.stat().st_size


def test_a_check_changes_nothing(root: Path, digest: str) -> None:
    before = {path.name: path.read_bytes() for path in (root / ".selfroute").iterdir() if path.name != "lock"}
    checked(root)
    after = {path.name: path.read_bytes() for path in (root / ".selfroute").iterdir() if path.name != "lock"}
    assert after == before


def arrays_cut(root: Path) -> None:
    (path,) = (root / ".selfroute").glob("arrays-*")
    path.write_bytes(path.read_bytes()[:-1])


def arrays_gone(root: Path) -> None:
    (path,) = (root / ".selfroute").glob("arrays-*")
    path.unlink()


def no_database(root: Path) -> None:
    (root / ".selfroute" / DATABASE).write_bytes(b"no database at all, but long enough" * 400)


def half_a_database(root: Path) -> None:
    path = root / ".selfroute" / DATABASE
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def no_tag(root: Path) -> None:
    (root / ".selfroute" / "CACHEDIR.TAG").unlink()


def another_gitignore(root: Path) -> None:
    (root / ".selfroute" / ".gitignore").write_text("!*\n")


def sql(statement: str) -> Callable[[Path], None]:
    return lambda root: execute(root, statement)


LAST = "(SELECT max(row) FROM chunks)"
STRAY_CHUNK = (
    "INSERT INTO chunks SELECT 77, id, content_hash, path, 1, 1, text, symbol, kind, 1, '', checksum FROM chunks"
)
DAMAGE: list[tuple[str, Callable[[Path], None], str, str]] = [
    ("arrays-cut", arrays_cut, ARRAYS, "made the arrays again from the database"),
    ("arrays-gone", arrays_gone, ARRAYS, "made the arrays again from the database"),
    (
        "text-changed",
        sql(f"UPDATE chunks SET text = text || 'x' WHERE row = {LAST}"),
        FILE,
        "read 1 damaged files again",
    ),
    ("chunk-gone", sql(f"DELETE FROM chunks WHERE row = {LAST}"), FILE, "read 1 damaged files again"),
    ("vector-gone", sql("DELETE FROM vectors WHERE first_row = (SELECT max(first_row) FROM vectors)"), FILE, "read 1"),
    ("vectors-zero", sql("UPDATE vectors SET data = zeroblob(length(data))"), FILE, f"read {N_FILES} damaged files"),
    ("stray-chunk", sql(f"{STRAY_CHUNK} LIMIT 1"), STRAY, "dropped 1 chunks, 0 chunks' edges and 0 blocks"),
    (
        "stray-edge",
        sql("INSERT INTO edges VALUES (77, 0, 'calls', '', 'f', 'f', '', 1, 1, 0)"),
        STRAY,
        "dropped 0 chunks, 1 chunks' edges",
    ),
    ("edge-changed", sql("UPDATE edges SET line = line + 1"), FILE, f"read {N_FILES} damaged files"),
    (
        "stray-vector",
        sql("INSERT INTO vectors VALUES (77, x'00')"),
        STRAY,
        "dropped 0 chunks, 0 chunks' edges and 1 blocks",
    ),
    ("file-row-changed", sql("UPDATE files SET size = size + 1 WHERE file_id = 3"), STATE, "made the whole index anew"),
    ("file-row-gone", sql("DELETE FROM files WHERE file_id = 3"), STATE, "made the whole index anew"),
    ("state-changed", sql("UPDATE meta SET value = replace(value, '1', '2')"), STATE, "made the whole index anew"),
    (
        "skipped-changed",
        sql("UPDATE meta SET checksum = 'x' WHERE key = 'skipped'"),
        STATE,
        "made the whole index anew",
    ),
    ("state-gone", sql("DELETE FROM meta"), STATE, "made the whole index anew"),
    ("no-table", sql("DROP TABLE chunks"), FILE, "made the whole index anew"),
    ("no-database", no_database, DATABASE_PART, "made the whole index anew"),
    ("half-a-database", half_a_database, DATABASE_PART, "made the whole index anew"),
    ("no-tag", no_tag, MARK, "wrote the marker files again"),
    ("another-gitignore", another_gitignore, MARK, "wrote the marker files again"),
]


@pytest.mark.parametrize(("damage", "part", "done"), [case[1:] for case in DAMAGE], ids=[case[0] for case in DAMAGE])
def test_damage_is_found_and_mended(
    root: Path, digest: str, damage: Callable[[Path], None], part: str, done: str
) -> None:
    corpus = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in root.glob("*.py")}
    damage(root)
    found = checked(root)
    assert not found.ok
    assert part in {problem.part for problem in found.problems}
    mended = repaired(root)
    assert any(done in what for what in mended.done), mended.done
    assert mended.checked.ok
    assert checked(root).ok
    with Index.open(root, embedder=EMBEDDER, update=False) as index:
        assert index.digest() == digest
        assert index.notes == ()
    assert {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in root.glob("*.py")} == corpus
    assert repaired(root).done == ()


def test_damaged_arrays_and_a_damaged_file_are_mended_at_once(root: Path, digest: str) -> None:
    arrays_cut(root)
    execute(root, "UPDATE chunks SET symbol = 'x' WHERE row % 7 = 1")
    mended = repaired(root)
    assert {problem.part for problem in mended.checked.problems} == set()
    assert "made the whole index anew from the files" not in mended.done
    with Index.open(root, embedder=EMBEDDER, update=False) as index:
        assert index.digest() == digest


def test_a_repair_reads_only_what_was_damaged(root: Path, digest: str) -> None:
    class Counting:
        dim, fingerprint, texts = EMBEDDER.dim, EMBEDDER.fingerprint, 0

        def encode(self, texts):  # type: ignore[no-untyped-def]
            self.texts += len(texts)
            return EMBEDDER.encode(texts)

    execute(root, f"UPDATE chunks SET text = 'x' WHERE row = {LAST}")
    counting = Counting()
    repair(root, root / ".selfroute", counting, max_file_bytes=1_000_000)
    with Index.open(root, embedder=EMBEDDER) as index:
        assert 0 < counting.texts < index.stats.chunks
        assert index.digest() == digest


def test_any_flipped_bit_is_found_or_harmless(root: Path, digest: str, tmp_path: Path) -> None:
    pick = random.Random(5)
    pristine = tmp_path / "pristine"
    shutil.copytree(root / ".selfroute", pristine)
    names = [DATABASE, DATABASE, next(pristine.glob("arrays-*")).name, "CACHEDIR.TAG", ".gitignore"]
    n_found = 0
    for i in range(150):
        shutil.rmtree(root / ".selfroute")
        shutil.copytree(pristine, root / ".selfroute")
        path = root / ".selfroute" / names[i % len(names)]
        data = bytearray(path.read_bytes())
        at = pick.randrange(8 * len(data))
        data[at // 8] ^= 1 << at % 8
        path.write_bytes(data)
        if checked(root).ok:  # a free byte of a page, a counter of SQLite's
            with Index.open(root, embedder=EMBEDDER, update=False) as index:
                assert index.digest() == digest, (path.name, at)
        else:
            n_found += 1
            if i % 5 == 0:
                assert repaired(root).checked.ok, (path.name, at)
                with Index.open(root, embedder=EMBEDDER, update=False) as index:
                    assert index.digest() == digest, (path.name, at)
    assert n_found > 90


def test_what_a_killed_run_left_is_a_note_and_no_damage(root: Path, digest: str) -> None:
    (root / ".selfroute" / "arrays-00000009.bin.tmp").write_bytes(b"half")
    found = checked(root)
    assert found.ok
    assert found.notes == ("left by a run that was cut short, removed by the next: arrays-00000009.bin.tmp",)


def test_without_an_index_there_is_nothing_to_check(root: Path) -> None:
    with pytest.raises(IndexMissingError):
        checked(root)
    with pytest.raises(IndexMissingError):
        repaired(root)


def test_while_another_writes_nothing_is_checked_or_repaired(root: Path, digest: str) -> None:
    lock = WriterLock(root / ".selfroute" / "lock")
    assert lock.acquire()
    with pytest.raises(IndexLockedError, match=f"process {os.getpid()}"):
        checked(root)
    with pytest.raises(IndexLockedError):
        repaired(root)
    lock.release()
    assert checked(root).ok


# formats


def set_format(root: Path, number: int) -> None:
    store = Store(root / ".selfroute")
    state = store.state()
    assert state is not None
    store.begin(replace(state, format=number))
    store.close()


def test_an_index_of_a_newer_format_is_refused_and_left_alone(root: Path, digest: str) -> None:
    set_format(root, FORMAT + 7)
    before = (root / ".selfroute" / DATABASE).read_bytes()
    for update in (True, False):
        with pytest.raises(IndexVersionError) as raised:
            Index.open(root, embedder=EMBEDDER, update=update)
        assert f"format {FORMAT + 7}" in raised.value.message
        assert f"this version knows {FORMAT}" in raised.value.message
        assert raised.value.hint.endswith(f"selfroute index --path {root} --rebuild")
        assert raised.value.exit_code == 3
    assert not checked(root).ok
    with pytest.raises(IndexVersionError):
        repaired(root)
    assert (root / ".selfroute" / DATABASE).read_bytes() == before
    with Index.open(root, embedder=EMBEDDER, rebuild=True) as index:
        assert index.digest() == digest


def test_an_index_of_an_older_format_is_made_anew_and_said(root: Path, digest: str) -> None:
    set_format(root, FORMAT - 1)
    with Index.open(root, embedder=EMBEDDER) as index:
        assert index.notes == (f"the index is of format {FORMAT - 1}, this version uses {FORMAT}: made anew",)
        assert index.digest() == digest


# the command

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("SELFROUTE_EMBEDDER", "hashing")

    def call(*arguments: object) -> tuple[int, str, str]:
        code = main([str(argument) for argument in arguments])
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return call


def test_doctor_checks_and_repairs_with_exit_codes(root: Path, run: Run) -> None:
    assert run("doctor", "--check", "--path", root)[0] == 3
    assert run("index", root)[0] == 0
    code, out, err = run("doctor", "--check", "--path", root)
    assert (code, err) == (0, "")
    assert out.startswith(f"index: {root}/.selfroute\nas written: 2 marker files, ")
    arrays_cut(root)
    code, out, err = run("doctor", "--check", "--path", root)
    assert code == 3
    assert "\nwrong: arrays: arrays-00000001.bin is missing or is not what was written\n" in out
    assert err.splitlines()[1] == f"hint: selfroute doctor --repair --path {root}"
    code, out, _ = run("doctor", "--check", "--path", root, "--json")
    told = json.loads(out)
    assert (code, told["ok"], told["problems"][0]["part"]) == (3, False, "arrays")
    code, out, err = run("doctor", "--repair", "--path", root)
    assert (code, err) == (0, "")
    assert "\nrepaired: made the arrays again from the database\n" in out
    code, out, _ = run("doctor", "--repair", "--path", root, "--json")
    told = json.loads(out)
    assert (code, told["ok"], told["repaired"]) == (0, True, [])
    assert list(told) == ["directory", "ok", "verified", "problems", "repaired", "notes"]
    assert "exit code 0" in run("doctor", "--help")[1]


def test_doctor_as_json_is_one_object(root: Path, run: Run) -> None:
    code, out, err = run("doctor", "--path", root, "--json")
    assert (code, err, out.count("\n")) == (0, "", 1)
    told = json.loads(out)
    assert list(told) == ["environment", "corpus", "directory", "index", "missing", "skipped", "noted"]
    assert told["index"] is None
    run("index", root)
    told = json.loads(run("doctor", "--path", root, "--json")[1])
    assert (told["index"]["files"], told["index"]["generation"]) == (N_FILES, 1)


def test_damage_outside_of_a_file_is_no_traceback(root: Path, digest: str) -> None:
    no_database(root)
    with pytest.raises(SelfRouteError) as raised:
        Index.open(root, embedder=EMBEDDER, update=False)
    assert isinstance(raised.value, IndexCorruptError)
