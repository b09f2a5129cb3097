"""No name, link, question or setting that comes with a corpus leads out of it, to read or to write."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest

from selfroute.backends.citations import verify
from selfroute.errors import ConfigError, SelfRouteError
from selfroute.memory.check import check, unwritten
from selfroute.memory.index import Index
from selfroute.memory.text import read_document
from selfroute.models.hashing import HashingEmbedder
from selfroute.router.cli import main
from selfroute.router.config import load
from selfroute.router.router import SelfRouter
from selfroute.types import Chunk, Generation, Span

EMBEDDER = HashingEmbedder(64)
OUTSIDE = "OUTSIDE_MARKER = 'never to be read'\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "corpus"
    (root / "sub").mkdir(parents=True)
    (root / "a.py").write_text("def sign_cookie(value):\n    return value\n")
    (root / "sub" / "b.py").write_text("def bake(minutes):\n    return minutes\n")
    (tmp_path / "outside.py").write_text(OUTSIDE)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "c.py").write_text(OUTSIDE)
    return root


def tricks(root: Path) -> list[str]:
    outside = root.parent / "outside.py"
    return [
        str(outside),
        f"/{outside}",
        "../outside.py",
        "sub/../../outside.py",
        "./../outside.py",
        "a.py/../../outside.py",
        "sub//../../outside.py",
        "..\\outside.py",
        "%2e%2e/outside.py",
        "..%2foutside.py",
        "\\x2e\\x2e/outside.py",
        "\\x2e\\x2e\\x2foutside.py",
        "../outside.py#cell-1",
        f"{outside}#cell-1",
        "#cell-1",
        "..#cell-1",
        "a.py#cell-1",
        "a.py#cell-0",
        "nb.ipynb#cell-99999999999999999999",
        "nb.ipynb#cell-1#cell-1",
        "../outside.py\0",
        "a.py\0.txt",
        "\0",
        "",
        ".",
        "..",
        "/",
        "//",
        "~/outside.py",
        "~root/.bashrc",
        f"file://{outside}",
        "/proc/self/environ",
        "/dev/stdin",
        "x" * 5_000,
        "x/" * 5_000,
        "../" * 500 + "etc/passwd",
        "a.py\n../outside.py",
        "\ud800",
        "link.py",
        "folder/c.py",
        "loop/loop/loop/a.py",
        ".selfroute/index.sqlite",
        ".git/config",
    ]


@pytest.fixture
def linked(root: Path) -> Path:
    (root / "link.py").symlink_to(root.parent / "outside.py")
    (root / "folder").symlink_to(root.parent / "outside")
    (root / "loop").symlink_to(".")
    (root / "sub" / "up").symlink_to("..")
    (root / "x1").symlink_to("x2")
    (root / "x2").symlink_to("x1")
    return root


def test_no_name_is_read_outside_of_the_root(linked: Path) -> None:
    for name in tricks(linked):
        assert read_document(linked, name) is None, name


def test_no_citation_is_taken_from_outside(linked: Path, tmp_path: Path) -> None:
    with Index.open(linked, directory=tmp_path / "index", embedder=EMBEDDER) as index:
        for name in tricks(linked):
            forged = Chunk("id", "hash", name, 1, 1, OUTSIDE, "", "lines", 9)
            (citation,) = verify(Generation("", (Span(0, 0, len(OUTSIDE)),)), [forged], index)
            assert (citation.start_byte, citation.end_byte, citation.stale) == (-1, -1, True), name


def test_links_and_loops_of_links_are_left_out_and_named(linked: Path, tmp_path: Path) -> None:
    with Index.open(linked, directory=tmp_path / "index", embedder=EMBEDDER) as index:
        assert {chunk.path for chunk in index.chunks()} == {"a.py", "sub/b.py"}
        reasons = {skip.path: skip.reason for skip in index.stats.skipped}
    assert reasons["link.py"] == reasons["folder"] == "link that leaves the folder"
    assert reasons["x1"] == "broken link"
    assert reasons["loop"].startswith("link to ")


def test_no_question_reads_outside_of_the_root(linked: Path, tmp_path: Path) -> None:
    with SelfRouter.from_path(linked, index_dir=tmp_path / "index", embedder=EMBEDDER) as router:
        for name in tricks(linked):
            for route in ("retrieval", "long-context"):
                answer = router.ask(f"Show the contents of {name}", route=route)
                assert "never to be read" not in repr(answer)
                assert all(citation.path in ("a.py", "sub/b.py") for citation in answer.citations)


@pytest.mark.parametrize(
    "name",
    [
        b"new\nline.py",
        b"esc\x1b[31m.py",
        b"bell\x07.py",
        b"caf\xe9.py",
        b"-rf.py",
        b"$(touch x).py",
        b"a;b.py",
        b"%s%n.py",
        b" .py",
        b"A.PY",
        b"a.py#cell-1",
        b"x" * 250 + b".py",
        "\u202egnp.py".encode(),
        "日本.py".encode(),
    ],
)
def test_a_file_of_any_name_is_indexed_read_and_shown_harmlessly(
    root: Path, tmp_path: Path, name: bytes, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    with open(os.path.join(os.fsencode(root), name), "wb") as file:  # noqa: PTH118, PTH123 (names are bytes)
        file.write(b"def peculiar_zebra(stripes):\n    return stripes\n")
    with Index.open(root, directory=tmp_path / "index", embedder=EMBEDDER) as index:
        hit = index.search("peculiar_zebra")[0]
        assert "peculiar_zebra" in hit.chunk.text
        assert hit.chunk.path.isprintable()
        assert (index.read(hit.chunk.path) or "").rstrip("\n") == hit.chunk.text
        assert not hit.stale
    options = ("--path", str(root), "--index-dir", str(tmp_path / "index2"))
    assert main(["search", "peculiar_zebra", *options]) == 0
    assert main(["doctor", *options]) == 0
    shown = capsysbinary.readouterr()
    assert not set(shown.out + shown.err) & (set(range(32)) - {10})
    assert sorted(path.name for path in root.iterdir() if path.name == "x") == []


def test_names_that_differ_in_case_are_two_files(root: Path, tmp_path: Path) -> None:
    (root / "A.py").write_text("def upper_case_only():\n    return 1\n")
    if (root / "a.py").read_text() != "def sign_cookie(value):\n    return value\n":
        pytest.skip("this file system does not tell a.py from A.py")
    assert read_document(root, "A.py") != read_document(root, "a.py")
    assert read_document(root, "SUB/b.py") is None
    with Index.open(root, directory=tmp_path / "index", embedder=EMBEDDER) as index:
        assert index.search("upper_case_only")[0].chunk.path == "A.py"


# settings and folders that come with a corpus


@pytest.mark.parametrize(
    "value",
    [
        "../outside",
        "/tmp/elsewhere",
        "sub/../../outside",
        "folder",
        "folder/deeper",
        "~/elsewhere",
        "sub/up/../outside",
    ],
)
def test_an_index_dir_of_the_corpus_may_not_leave_it(linked: Path, value: str) -> None:
    (linked / "selfroute.toml").write_text(f'index_dir = "{value}"\n')
    before = sorted(path.name for path in (linked.parent / "outside").iterdir())
    with pytest.raises(ConfigError, match="outside of the corpus") as raised:
        load(linked, {})
    assert "--index-dir" in raised.value.hint
    assert main(["index", str(linked)]) == 2
    assert sorted(path.name for path in (linked.parent / "outside").iterdir()) == before


def test_an_index_folder_that_is_a_link_is_not_followed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / ".selfroute").symlink_to(root.parent / "outside")
    monkeypatch.setenv("XDG_CACHE_HOME", str(root.parent / "cache"))
    with Index.open(root, embedder=EMBEDDER) as index:
        assert index.directory.is_relative_to(root.parent / "cache")
        assert index.search("sign_cookie")
    assert [path.name for path in (root.parent / "outside").iterdir()] == ["c.py"]


LINKS = (
    "lock",
    "index.sqlite",
    "index.sqlite-wal",
    "index.sqlite-shm",
    "arrays-00000001.bin",
    "arrays-00000001.bin.tmp",
)


@pytest.mark.parametrize("name", LINKS)
def test_links_in_the_index_folder_are_not_written_through(root: Path, tmp_path: Path, name: str) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious\n" * 10)
    (root / ".selfroute").mkdir()
    (root / ".selfroute" / name).symlink_to(victim)
    try:
        with Index.open(root, embedder=EMBEDDER) as index:
            assert index.search("sign_cookie")
    except SelfRouteError as error:
        assert name == "lock"
        assert "cannot open" in error.message
        assert error.hint
    else:
        with unwritten(root / ".selfroute"):
            assert not [p for p in check(root, root / ".selfroute").problems if p.part != "marker file"]
    assert victim.read_text() == "precious\n" * 10


READ_ONLY = """
import os, sys
from pathlib import Path
from selfroute.memory.check import check, unwritten
assert not os.access(sys.argv[2], os.W_OK)
root, directory = Path(sys.argv[1]), Path(sys.argv[2])
with unwritten(directory):
    found = check(root, directory)
print(found.ok, found.verified["files"])
"""


def without_privileges() -> None:
    """Gives up what lets root write everything, for the program that is executed next (capabilities(7))."""
    if os.geteuid() == 0:
        for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
            assert ctypes.CDLL(None).prctl(24, capability, 0, 0, 0) == 0  # PR_CAPBSET_DROP


def test_an_index_that_cannot_be_written_is_checked_all_the_same(root: Path, tmp_path: Path) -> None:
    Index.open(root, directory=tmp_path / "index", embedder=EMBEDDER).close()
    for path in (tmp_path / "index").iterdir():
        path.chmod(0o444)
    (tmp_path / "index").chmod(0o555)
    command = [sys.executable, "-c", READ_ONLY, str(root), str(tmp_path / "index")]
    done = subprocess.run(command, cwd="/", capture_output=True, text=True, check=False, preexec_fn=without_privileges)
    (tmp_path / "index").chmod(0o755)
    assert (done.stdout, done.stderr) == ("True 2\n", "")
