"""What a reader scored, kept beside an index: found again, bounded, shared by processes, thrown away when damaged."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from math import inf
from pathlib import Path

import pytest

from selfroute.memory import reader_scores
from selfroute.memory.reader_scores import FILE, ReaderScores, can_keep, chunk_key
from selfroute.types import Chunk

QUESTION, READER = "What is the default timeout?", "span:0123"
ONE = Chunk("id", "hash", "net.py", 1, 3, "timeout = 30", "connect")
SCORES = {chunk_key(replace(ONE, text=f"timeout = {n}")): n / 4 for n in range(40)}


@pytest.fixture
def scores(tmp_path: Path) -> Iterator[ReaderScores]:
    with ReaderScores(tmp_path, READER) as opened:
        yield opened


def test_a_question_is_told_what_was_kept_for_it(scores: ReaderScores, tmp_path: Path) -> None:
    scores.keep(QUESTION, SCORES)
    scores.keep(QUESTION, {chunk_key(ONE): -inf})
    for again in (scores, ReaderScores(tmp_path, READER)):
        assert again.known(QUESTION) == {**SCORES, chunk_key(ONE): -inf}
        assert again.n_known(QUESTION) == 41
    assert scores.known("Another?") == {} == ReaderScores(tmp_path, "span:4567").known(QUESTION)
    assert scores.n_known("Another?") == 0


def test_a_moved_chunk_is_the_same_one_and_a_changed_one_is_not() -> None:
    moved = replace(ONE, id="other", start_line=90, end_line=92)
    assert chunk_key(moved) == chunk_key(ONE)
    changed = [replace(ONE, text="timeout = 31"), replace(ONE, path="net2.py"), replace(ONE, symbol="Net.connect")]
    assert len({chunk_key(ONE), *map(chunk_key, changed)}) == 4
    assert chunk_key(replace(ONE, path="ab", symbol="c")) != chunk_key(replace(ONE, path="a", symbol="bc"))
    assert chunk_key(replace(ONE, path="\udcff"))  # a file's name need not be text


def test_the_pace_is_the_readers_own(scores: ReaderScores, tmp_path: Path) -> None:
    assert scores.tokens_per_second is None
    scores.keep(QUESTION, SCORES, 2000.0)
    scores.keep(QUESTION, SCORES)
    assert scores.tokens_per_second == 2000.0
    assert ReaderScores(tmp_path, "span:4567").tokens_per_second is None


def test_no_question_can_be_read_from_the_file(scores: ReaderScores, tmp_path: Path) -> None:
    scores.keep("where is the password hunter2", SCORES)
    scores.close()
    assert b"hunter2" not in (tmp_path / FILE).read_bytes()


def test_the_oldest_questions_make_room(tmp_path: Path) -> None:
    limit = 128 << 10
    with ReaderScores(tmp_path, READER, max_bytes=limit) as scores:
        for n in range(300):
            scores.keep(f"question {n}", SCORES)
            if n == 100:
                assert scores.known("question 40")  # asked again
        assert scores.known("question 299") == SCORES
        assert not scores.known("question 0")
        kept = [n for n in range(300) if scores.n_known(f"question {n}")]
        assert kept == list(range(kept[0], 300))
    assert 20 < len(kept) < 200
    assert (tmp_path / FILE).stat().st_size < 1.2 * limit


def test_a_question_that_was_asked_again_is_not_the_oldest(tmp_path: Path) -> None:
    with ReaderScores(tmp_path, READER, max_bytes=128 << 10) as scores:
        for n in range(150):
            scores.keep(f"question {n}", SCORES)
            assert scores.known("question 0")


def test_one_question_too_large_for_the_limit_keeps_what_fits(tmp_path: Path) -> None:
    with ReaderScores(tmp_path, READER, max_bytes=64 << 10) as scores:
        for n in range(200):
            scores.keep(QUESTION, {chunk_key(replace(ONE, text=f"{n} {i}")): 1.0 for i in range(32)})
        assert 32 < scores.n_known(QUESTION) < 200 * 32
    assert (tmp_path / FILE).stat().st_size <= 80 << 10


def foreign_database(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE batches (question, data, checksum)")
    db.close()


def later_version(path: Path) -> None:
    ReaderScores(path.parent, READER).close()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()


def lost_table(path: Path) -> None:
    ReaderScores(path.parent, READER).close()
    with sqlite3.connect(path) as db:
        db.execute("DROP TABLE batches")
    db.close()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(b"not a database, but longer than the header of one" * 90),
        lambda path: path.write_bytes(b"x"),
        foreign_database,
        later_version,
        lost_table,
    ],
)
def test_a_file_that_is_not_ours_is_thrown_away(tmp_path: Path, spoil: object) -> None:
    spoil(tmp_path / FILE)  # type: ignore[operator]
    with ReaderScores(tmp_path, READER) as scores:
        assert scores.known(QUESTION) == {}
        scores.keep(QUESTION, SCORES)
        assert scores.known(QUESTION) == SCORES


def test_no_cut_and_no_flipped_byte_gives_a_wrong_score(tmp_path: Path) -> None:
    with ReaderScores(tmp_path, READER) as scores:
        scores.keep(QUESTION, SCORES, 5.0)
    whole = (tmp_path / FILE).read_bytes()
    cut = [whole[: len(whole) * n // 9] for n in range(9)]
    flipped = [
        whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :] for at in (*range(100), *range(100, len(whole), 97))
    ]
    for content in (*cut, *flipped):
        (tmp_path / FILE).write_bytes(content)
        with ReaderScores(tmp_path, READER) as scores:
            assert scores.known(QUESTION) in (SCORES, {})
            scores.n_known(QUESTION)
            scores.keep(QUESTION, SCORES)
            assert scores.known(QUESTION) == SCORES


def test_a_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    target, folder = tmp_path / "precious", tmp_path / "index"
    target.write_bytes(b"")
    folder.mkdir()
    (folder / FILE).symlink_to(target)
    with ReaderScores(folder, READER) as scores:
        scores.keep(QUESTION, SCORES)
        assert scores.known(QUESTION) == SCORES
    assert target.read_bytes() == b""


def test_nothing_is_kept_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "taken" / FILE).mkdir(parents=True)  # a folder of the file's name
    for folder in (tmp_path / "nowhere", tmp_path / "taken"):
        with ReaderScores(folder, READER) as scores:
            scores.keep(QUESTION, SCORES, 3.0)
            assert (scores.known(QUESTION), scores.n_known(QUESTION), scores.tokens_per_second) == ({}, 0, None)
    assert not can_keep(tmp_path / "nowhere")


WITHOUT_RIGHTS = """
import os, sys
from pathlib import Path
from selfroute.memory.reader_scores import ReaderScores
if os.getuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
with ReaderScores(Path(sys.argv[1]), "r") as scores:
    scores.keep("q", {bytes(16): 1.0})
    print(scores.known("q"), os.listdir(sys.argv[1]))
"""


def test_a_folder_without_write_permission_is_left_alone() -> None:
    with tempfile.TemporaryDirectory() as name:  # pytest's own folders are closed to others
        Path(name).chmod(0o555)
        command = [sys.executable, "-c", WITHOUT_RIGHTS, name]
        found = subprocess.run(command, capture_output=True, text=True, cwd="/", check=False)
        Path(name).chmod(0o755)
    assert (found.stdout, found.stderr) == ("{} []\n", "")


def test_only_reading_makes_no_file(tmp_path: Path) -> None:
    with ReaderScores(tmp_path, READER, create=False) as scores:
        assert scores.n_known(QUESTION) == 0
    assert list(tmp_path.iterdir()) == []


def test_a_closed_file_knows_nothing(scores: ReaderScores) -> None:
    scores.keep(QUESTION, SCORES)
    scores.close()
    scores.keep(QUESTION, SCORES)
    assert scores.known(QUESTION) == {}


def test_a_file_that_stays_locked_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader_scores, "_BUSY_SECONDS", 0.01)
    with ReaderScores(tmp_path, READER) as scores:
        scores.keep(QUESTION, SCORES)
        other = sqlite3.connect(tmp_path / FILE, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        assert scores.known(QUESTION) == SCORES  # a reader need not wait
        scores.keep(QUESTION, {chunk_key(ONE): 1.0})
        assert scores.known(QUESTION) == {}
        other.close()
    assert ReaderScores(tmp_path, READER).known(QUESTION) == SCORES


WRITER = """
import sys
from pathlib import Path
from selfroute.memory.reader_scores import ReaderScores
folder, number, n = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
sys.stdin.read(1)
with ReaderScores(folder, "r") as scores:
    for i in range(n):
        scores.keep("q", {number.to_bytes(8, "big") + i.to_bytes(8, "big"): float(i)}, 1.0)
"""


def test_processes_that_ask_at_once_keep_what_all_of_them_read(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITER, str(tmp_path)]
    running = [
        subprocess.Popen([*command, str(k), "60"], stdin=subprocess.PIPE, env=dict(os.environ)) for k in range(3)
    ]
    for process in running:
        assert process.stdin
        process.stdin.write(b"g")
        process.stdin.close()
    assert [process.wait(60) for process in running] == [0, 0, 0]
    assert len(ReaderScores(tmp_path, "r").known("q")) == 180
