"""An index follows its folder exactly, says when it does not, and is made again rather than misread."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from selfroute.errors import CorpusError, IndexCorruptError, IndexMissingError, SelfRouteError
from selfroute.memory import store
from selfroute.memory.database import DATABASE
from selfroute.memory.index import Index
from selfroute.models.hashing import HashingEmbedder
from selfroute.types import Chunk, Hit

EMBEDDER = HashingEmbedder(64)
WORDS = (
    "cookie",
    "session",
    "sign",
    "verify",
    "token",
    "parse",
    "render",
    "route",
    "cache",
    "header",
    "socket",
    "stream",
)
QUESTIONS = ("where is the session cookie signed", "decode_token", "render the header of a route", "Stream cache")


def source(seed: str, n: int = 4) -> str:
    """A small module; equal seeds give equal text."""
    pick = random.Random(seed)
    parts = [f'"""About {pick.choice(WORDS)} and {pick.choice(WORDS)}."""\n']
    for _ in range(n):
        verb, noun, other = (pick.choice(WORDS) for _ in range(3))
        parts.append(f"\n\ndef {verb}_{noun}({other}):\n")
        parts += [f"    {pick.choice(WORDS)} = {pick.choice(WORDS)}({other}, {pick.randrange(99)})\n" for _ in range(5)]
        parts.append(f"    return {other}\n")
    return "".join(parts)


def corpus(root: Path, n: int = 12) -> Path:
    for i in range(n):
        path = root / f"package_{i % 3}" / f"{WORDS[i % len(WORDS)]}_{i}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source(str(i)))
    (root / "README.md").write_text(
        "# A project\n\nIt signs cookies.\n\n## Animals\n\nEvery zebra has its own stripes.\n"
    )
    return root


def opened(root: Path, **options: object) -> Index:
    return Index.open(root, embedder=EMBEDDER, **options)  # type: ignore[arg-type]


def results(index: Index) -> list[tuple[str, str, float]]:
    hits = [hit for question in QUESTIONS for hit in index.search(question, top_k=5)]
    return [(hit.chunk.location, hit.chunk.text, hit.score) for hit in hits]


def best(index: Index, question: str) -> Hit:
    return index.search(question)[0]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return corpus(tmp_path / "corpus")


# opening


def test_a_first_open_makes_the_index_and_a_second_reads_it(root: Path) -> None:
    with opened(root) as index:
        assert index.stats.files == 13
        assert index.stats.generation == 1
        assert (index.report.added, index.report.changed, index.report.chunks) == (13, 0, index.stats.chunks)
        assert index.directory == root / ".selfroute"
        assert best(index, "which zebra has stripes").chunk.path == "README.md"
        before = results(index)
    with opened(root) as index:
        assert index.stats.generation == 1
        assert results(index) == before
        assert index.notes == ()
        assert index.age_seconds < 5


def test_an_index_that_is_not_there_is_missing_when_it_may_not_be_made(root: Path) -> None:
    with pytest.raises(IndexMissingError) as raised:
        opened(root, update=False)
    assert raised.value.hint == f"selfroute index --path {root}"
    assert not (root / ".selfroute").exists()


def test_the_hint_names_the_index_dir_when_one_was_named(root: Path, tmp_path: Path) -> None:
    with pytest.raises(IndexMissingError) as raised:
        opened(root, update=False, directory=tmp_path / "a folder")
    assert raised.value.hint == f"selfroute index --path {root} --index-dir '{tmp_path}/a folder'"


def test_an_index_opened_as_it_is_does_not_follow_the_folder(root: Path) -> None:
    opened(root).close()
    (root / "new.py").write_text("def brand_new_name():\n    return 1\n")
    with opened(root, update=False) as index:
        assert index.stats.files == 13
        assert index.report is None
    with opened(root) as index:
        assert index.stats.files == 14


@pytest.mark.parametrize("files", [{}, {"a.bin": b"\0\1\2" * 100, "b.png": b"\x89PNG\r\n\x1a\n\0\0\0"}])
def test_a_folder_without_text_is_a_clear_error(tmp_path: Path, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    for _ in range(2):
        with pytest.raises(CorpusError, match="nothing to index"):
            opened(tmp_path)
    if not files:
        assert list(tmp_path.iterdir()) == []


def test_a_missing_folder_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="no such folder"):
        opened(tmp_path / "none")


def test_a_huge_sparse_file_is_skipped_and_said(root: Path) -> None:
    with (root / "huge.txt").open("wb") as file:
        file.truncate(1 << 30)
    with opened(root) as index:
        assert index.stats.files == 13
        assert [skip.path for skip in index.stats.skipped] == ["huge.txt"]


def test_an_index_dir_outside_of_the_tree_leaves_the_tree_alone(root: Path, tmp_path: Path) -> None:
    with opened(root, directory=tmp_path / "index") as index:
        assert index.directory == tmp_path / "index"
        assert index.search("session cookie")
    assert not (root / ".selfroute").exists()


def test_git_does_not_see_the_index(root: Path) -> None:
    subprocess.run(["git", "init", "-q", str(root)], check=True)
    opened(root).close()
    status = subprocess.run(["git", "-C", str(root), "status", "--porcelain", "-uall"], capture_output=True, text=True)
    assert ".selfroute" not in status.stdout


def test_a_closed_index_says_so(root: Path) -> None:
    index = opened(root)
    index.close()
    with pytest.raises(SelfRouteError, match="closed"):
        index.search("session")


def test_file_names_that_are_not_text_are_indexed(root: Path) -> None:
    name = os.path.join(os.fsencode(root), b"caf\xe9.py")  # noqa: PTH118
    Path(os.fsdecode(name)).write_text("def espresso_machine():\n    return 1\n")
    with opened(root) as index:
        hit = best(index, "espresso_machine")
        assert "espresso_machine" in hit.chunk.text
        assert not hit.stale
    with opened(root) as index:
        assert index.stats.generation == 1


# following the folder


def test_an_update_reads_only_what_changed(root: Path) -> None:
    with opened(root) as index:
        path = root / "package_0" / "cookie_0.py"
        path.write_text(path.read_text() + "\n\ndef freshly_added():\n    return 1\n")
        (root / "README.md").unlink()
        (root / "new.py").write_text("def other_new_thing():\n    return 2\n")
        report = index.update()
        assert (report.files, report.added, report.changed, report.removed) == (13, 1, 1, 1)
        assert report.chunks == index.stats.chunks
        assert best(index, "freshly_added").chunk.path == "package_0/cookie_0.py"
        report = index.update()
        assert (report.added, report.changed, report.removed) == (0, 0, 0)
        assert index.stats.generation == 2


def test_a_change_of_the_same_size_and_second_is_seen(root: Path) -> None:
    path = root / "same.py"
    path.write_text("def first_name():\n    return 1\n")
    with opened(root) as index:
        for name in ("other", "third", "fifth"):
            path.write_text(f"def {name}_name():\n    return 1\n")
            assert index.update().changed == 1
            assert f"{name}_name" in best(index, f"{name}_name").chunk.text


def test_a_touched_file_is_not_indexed_again(root: Path) -> None:
    with opened(root) as index:
        os.utime(root / "README.md", (1_600_000_000, 1_600_000_000))
        report = index.update()
        assert (report.changed, index.stats.generation) == (0, 1)
        assert not index.is_stale("README.md")
    with opened(root) as index:
        assert index.stats.generation == 1
        assert index.notes == ()


def test_a_file_that_becomes_binary_leaves_the_index(root: Path) -> None:
    with opened(root) as index:
        (root / "README.md").write_bytes(b"\0\1\2\3" * 50)
        report = index.update()
        assert (report.files, report.removed) == (12, 1)
        assert "README.md" in [skip.path for skip in report.skipped]
        assert index.update().removed == 0


def test_a_folder_that_lost_all_its_files_is_a_clear_error(root: Path) -> None:
    with opened(root) as index:
        for path in list(root.iterdir()):
            if path.name != ".selfroute":
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        with pytest.raises(CorpusError, match="nothing to index"):
            index.update()
        corpus(root, 3)
        assert index.update().added == 4


def test_a_moved_corpus_keeps_its_index(root: Path, tmp_path: Path) -> None:
    with opened(root) as index:
        before = results(index)
    moved = tmp_path / "moved"
    root.rename(moved)
    with opened(moved) as index:
        assert (index.stats.generation, results(index)) == (1, before)


def test_another_tree_under_the_same_index_dir_is_not_taken_for_the_first(tmp_path: Path) -> None:
    for name in ("first", "other"):
        path = tmp_path / name / "a.py"
        path.parent.mkdir()
        path.write_text(f"def of_the_{name}():\n    return 1\n")
        os.utime(path, (1_600_000_000, 1_600_000_000))
    for name in ("first", "other", "first"):
        with opened(tmp_path / name, directory=tmp_path / "index") as index:
            assert f"of_the_{name}" in best(index, "of_the_first or of_the_other").chunk.text


Edit = tuple[str, int, int]
KINDS = ("add", "change", "delete", "move", "shift")
EDITS = st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 99), st.integers(0, 9)), min_size=1, max_size=6)


def apply(root: Path, edit: Edit) -> None:
    """One edit of the tree, decided by its numbers alone."""
    kind, number, seed = edit
    files = sorted(path for path in root.rglob("*.py") if ".selfroute" not in path.parts)
    chosen = files[number % len(files)]
    if kind == "add":
        path = root / f"package_{number % 4}" / f"added_{number}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(source(f"{number}-{seed}", seed % 4))
    elif kind == "change":
        chosen.write_text(source(f"{number}-{seed}"))
    elif kind == "shift":
        chosen.write_text("# a line above\n" * seed + chosen.read_text())
    elif kind == "delete" and len(files) > 2:
        chosen.unlink()
    elif kind == "move":
        chosen.rename(root / f"moved_{number}_{seed}.py")


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(EDITS, min_size=1, max_size=4))
def test_any_updates_give_the_index_and_ranking_of_a_full_rebuild(
    tmp_path_factory: pytest.TempPathFactory, rounds: list[list[Edit]]
) -> None:
    root = corpus(tmp_path_factory.mktemp("edited"), 6)
    with opened(root) as index:
        for edits in rounds:
            for edit in edits:
                apply(root, edit)
            index.update()
        with opened(root, directory=root.parent / f"{root.name}-rebuilt") as rebuilt:
            assert rebuilt.stats.generation == 1
            assert index.digest() == rebuilt.digest()
            assert results(index) == results(rebuilt)
    with opened(root) as reopened, opened(root, directory=root.parent / f"{root.name}-rebuilt") as rebuilt:
        assert reopened.digest() == rebuilt.digest()
        assert results(reopened) == results(rebuilt)
    shutil.rmtree(root)


def test_many_small_updates_are_merged_into_the_stored_arrays(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("selfroute.memory.update._SMALL_ROWS", 0)  # as if the corpus were large
    with opened(root) as index:
        (root / "README.md").write_text("# Another project\n")
        index.update()
        assert [path.name for path in index.directory.glob("arrays-*")] == ["arrays-00000001.bin"]
        before = index.digest()
    with opened(root, update=False) as index:
        assert index.digest() == before
    with opened(root) as index:
        assert index.digest() == before
        assert [path.name for path in index.directory.glob("arrays-*")] == ["arrays-00000002.bin"]
        assert index.notes == ()


# searching


def test_an_empty_question_finds_nothing(root: Path) -> None:
    with opened(root) as index:
        assert index.search("") == index.search(" \n") == []
        assert index.probe("").hits == ()


def test_a_question_of_100000_characters_is_answered(root: Path) -> None:
    with opened(root) as index:
        assert index.search("session cookie " * 7_000)


def test_top_k_below_one_is_refused(root: Path) -> None:
    with opened(root) as index, pytest.raises(ValueError, match="top_k"):
        index.search("session", top_k=0)


def test_a_probe_holds_the_hits_of_the_search_and_their_coverage(root: Path) -> None:
    with opened(root) as index:
        probe = index.probe("session xylophone", top_k=3)
        assert len(probe.hits) == 3
        assert 0 < probe.coverage < 1
        assert probe.hits == tuple(index.search("session xylophone", top_k=3))


def test_a_hit_is_stale_exactly_when_its_file_changed(root: Path) -> None:
    with opened(root) as index:
        question = "which zebra has stripes"
        assert not best(index, question).stale
        text = (root / "README.md").read_text()
        (root / "README.md").write_text(text.replace("own", "new"))
        assert best(index, question).stale
        assert index.is_stale("README.md")
        (root / "README.md").write_text(text)
        assert not best(index, question).stale
        (root / "README.md").unlink()
        assert best(index, question).stale
        assert index.is_stale("never/was.py")


def test_chunks_are_the_corpus_in_order(root: Path) -> None:
    with opened(root) as index:
        chunks = list(index.chunks())
        assert len(chunks) == index.stats.chunks
        assert sum(chunk.n_tokens for chunk in chunks) == index.stats.tokens
        assert [chunk.path for chunk in chunks] == sorted(chunk.path for chunk in chunks)
        text = "".join(chunk.text for chunk in chunks if chunk.path == "package_0/cookie_0.py")
        assert "def " in text


def test_neighbours_are_of_the_same_document_and_in_order(root: Path) -> None:
    (root / "long.py").write_text(source("long", 40))
    with opened(root) as index:
        document = [chunk for chunk in index.chunks() if chunk.path == "long.py"]
        assert len(document) >= 4
        assert index.neighbours(document[1]) == document[0:3]
        assert index.neighbours(document[0], before=2, after=2) == document[0:3]
        assert index.neighbours(document[-1], before=0) == document[-1:]
        unknown = Chunk("no-such-id", "", "long.py", 1, 1, "")
        assert index.neighbours(unknown) == []
        assert index.neighbours(Chunk("no-such-id", "", "none.py", 1, 1, "")) == []


def test_a_definition_is_found_by_its_name(root: Path) -> None:
    (root / "named.py").write_text("import os\n\n\ndef very_special():\n    return os\n")
    (root / "other.py").write_text("def very_special():\n    return 2\n")
    with opened(root) as index:
        assert [chunk.path for chunk in index.definition("very_special")] == ["named.py", "other.py"]
        assert [chunk.path for chunk in index.definition("very_special", path="other.py")] == ["other.py"]
        assert index.definition("special") == []
        assert index.definition("") == []


def test_read_gives_the_file_as_it_is_now(root: Path) -> None:
    with opened(root) as index:
        (root / "README.md").write_text("changed\n")
        assert index.read("README.md") == "changed\n"
        assert index.read("../outside.txt") is None
        assert index.read("none.md") is None


def test_a_rare_term_weighs_more_than_a_common_one(root: Path) -> None:
    with opened(root) as index:
        assert index.term_weight("project") > index.term_weight("return")


# what cannot be used is made again


class OtherEmbedder:
    """The same vectors under another name."""

    dim = EMBEDDER.dim
    fingerprint = "other"

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return EMBEDDER.encode(texts)


def test_an_index_of_another_embedder_is_rebuilt_and_said(root: Path) -> None:
    opened(root).close()
    with pytest.raises(IndexMissingError, match="not other"):
        Index.open(root, embedder=OtherEmbedder(), update=False)
    with Index.open(root, embedder=OtherEmbedder()) as index:
        assert index.stats.embedder == "other"
        assert "embedder" in index.notes[0]
        assert index.search("session cookie")
    with Index.open(root, embedder=HashingEmbedder(32)) as index:
        assert index.search("session cookie")


def test_an_index_of_another_format_is_rebuilt_and_said(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(root) as index:
        digest = index.digest()
    written = store.FORMAT
    for module in ("store", "keeper"):
        monkeypatch.setattr(f"selfroute.memory.{module}.FORMAT", written + 1)
    with pytest.raises(IndexMissingError, match=f"format {written}"):
        opened(root, update=False)
    with opened(root) as index:
        assert "format" in index.notes[0]
        assert index.digest() == digest


def test_an_index_made_by_other_code_is_rebuilt_and_said(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened(root).close()
    monkeypatch.setattr("selfroute.memory.keeper.CODE_FINGERPRINT", "of a later version")
    with opened(root) as index:
        assert "another version" in index.notes[0]
        assert index.search("session cookie")


def test_a_rebuild_gives_the_same_index(root: Path) -> None:
    with opened(root) as index:
        digest = index.digest()
    with opened(root, rebuild=True) as index:
        assert index.digest() == digest
        assert index.notes == ()


def test_missing_or_damaged_arrays_are_made_again_and_said(root: Path) -> None:
    with opened(root) as index:
        digest, before = index.digest(), results(index)
        path = next(index.directory.glob("arrays-*"))
    data = path.read_bytes()
    for damaged in (None, data[:-7], bytes(len(data))):
        path.unlink() if damaged is None else path.write_bytes(damaged)
        with opened(root, update=False) as index:
            assert index.digest() == digest
            assert "arrays" in index.notes[0]
        with opened(root) as index:
            assert results(index) == before
            assert "arrays" in index.notes[0]
        with opened(root) as index:
            assert index.digest() == digest
            assert index.notes == ()


def test_a_database_that_is_no_database_is_rebuilt_and_said(root: Path) -> None:
    with opened(root) as index:
        digest = index.digest()
    (root / ".selfroute" / DATABASE).write_bytes(b"this was a database once " * 999)
    with pytest.raises(IndexCorruptError) as raised:
        opened(root, update=False)
    assert raised.value.hint == f"selfroute index --path {root} --rebuild"
    with opened(root) as index:
        assert "damaged" in index.notes[0]
        assert index.digest() == digest


def test_damage_that_is_met_in_a_search_is_mended(root: Path) -> None:
    with opened(root) as index, opened(root, update=False) as reader:
        before, digest = results(index), index.digest()
        database = sqlite3.connect(root / ".selfroute" / DATABASE)
        with database:
            database.execute("UPDATE chunks SET text = replace(text, 'return', 'rejoin')")
        database.close()
        with pytest.raises(IndexCorruptError):
            results(reader)
        assert results(index) == before
        assert "damaged" in index.notes[0]
        assert index.digest() == digest


def flipped_copies(directory: Path, work: Path, n: int, seed: int) -> list[tuple[str, Path]]:
    """Copies of an index, each with one bit of one file flipped: every file in turn, every bit as likely."""
    pick = random.Random(seed)
    names = sorted(path.name for path in directory.iterdir() if path.stat().st_size)
    copies = []
    for i in range(n):
        name = names[i % len(names)] if i % 2 else "index.sqlite"
        copy = work / str(i)
        shutil.copytree(directory, copy)
        data = bytearray((copy / name).read_bytes())
        at = pick.randrange(8 * len(data))
        data[at // 8] ^= 1 << at % 8
        (copy / name).write_bytes(data)
        copies.append((f"{name} bit {at}", copy))
    return copies


@pytest.mark.parametrize("open_when_copied", [False, True], ids=["closed", "with-log"])
def test_a_flipped_bit_in_any_stored_file_is_harmless_or_known(tmp_path: Path, open_when_copied: bool) -> None:
    root = corpus(tmp_path / "corpus", 8)
    for path in root.rglob("*"):
        os.utime(path, (1_600_000_000, 1_600_000_000))
    index = opened(root, directory=tmp_path / "index")
    before = results(index)
    (root / "later.py").write_text(source("later"))
    index.update()
    right, digest = results(index), index.digest()
    if not open_when_copied:
        index.close()
    copies = flipped_copies(tmp_path / "index", tmp_path / "work", 100, seed=int(open_when_copied))
    index.close()
    for where, copy in copies:
        try:
            with opened(root, directory=copy, update=False) as reader:
                # A log that breaks off gives the last complete state before that.
                assert results(reader) in (right, before), where
        except SelfRouteError:
            pass
        with opened(root, directory=copy) as mended:
            assert results(mended) == right, where
            assert mended.digest() == digest, where
        with opened(root, directory=copy) as again:
            assert again.notes == (), where
        shutil.rmtree(copy)


READ_WITHOUT_RIGHTS = """
import os, sys
from selfroute.memory.index import Index
from selfroute.models.hashing import HashingEmbedder
embedder = HashingEmbedder(64)
with Index.open(sys.argv[1], directory=sys.argv[2], embedder=embedder, update=False) as index:
    index.search("session cookie")  # loads what is loaded on use: the environment's folder may be closed to others
if os.getuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
with Index.open(sys.argv[1], directory=sys.argv[2], embedder=embedder) as index:
    print(index.notes[0])
    print(index.search("session cookie")[0].chunk.path)
"""


def test_an_index_in_a_folder_that_cannot_be_written_is_read_and_said(root: Path) -> None:
    with tempfile.TemporaryDirectory() as name:  # pytest's own folders are closed to others
        corpus, kept = Path(name) / "corpus", Path(name) / "index"
        Path(name).chmod(0o755)
        shutil.copytree(root, corpus)
        with opened(corpus, directory=kept) as index:
            found = best(index, "session cookie").chunk.path
        for path in kept.iterdir():
            path.chmod(0o444)
        kept.chmod(0o555)
        (corpus / "new.py").write_text("x = 1\n")
        command = [sys.executable, "-c", READ_WITHOUT_RIGHTS, str(corpus), str(kept)]
        run = subprocess.run(command, capture_output=True, text=True, cwd="/", check=False)
        kept.chmod(0o755)
    assert run.returncode == 0, run.stderr
    note, path = run.stdout.splitlines()
    assert "cannot be written: reading the state of" in note
    assert path == found
