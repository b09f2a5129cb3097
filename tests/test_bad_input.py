"""What a user's disk and hands come up with: each ends in an answer, or in one line that says what to do."""

import ctypes
import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from selfroute.router.cli import main

PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 24, 1, 2
SIGNING = "def sign_cookie(value, key):\n    return value + digest(value, key)\n"
CLI = "import sys; from selfroute.router.cli import main; sys.exit(main())"


Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def selfroute(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """The command line in this process; with options, as a process of its own."""

    def run(*arguments: object, stdin: str = "", **options: Any) -> subprocess.CompletedProcess[str]:
        words = [str(argument) for argument in arguments]
        if options:
            command = [sys.executable, "-c", CLI, *words]
            return subprocess.run(command, cwd="/", capture_output=True, text=True, check=False, timeout=60, **options)
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        code = main(words)
        return subprocess.CompletedProcess(words, code, *capsys.readouterr())

    return run


def refused(done: subprocess.CompletedProcess[str], code: int) -> str:
    """The error of a run that ended with that code, one error and one hint, nothing on standard output."""
    lines = done.stderr.splitlines()
    assert (done.returncode, done.stdout, len(lines)) == (code, "", 2), done.stderr
    assert lines[0].startswith("error: ")
    assert lines[1].startswith("hint: ")
    return lines[0]


def without_privileges(home: Path) -> dict[str, Any]:
    """Options for a process that permissions apply to; for root's they do once it has lost two capabilities."""
    environment = {key: value for key, value in os.environ.items() if key != "XDG_CACHE_HOME"}
    options: dict[str, Any] = {"env": {**environment, "HOME": str(home)}}
    if os.geteuid() == 0:
        options["preexec_fn"] = drop_capabilities
    return options


def drop_capabilities() -> None:
    """Gives up what lets root read and write everything, for the program that is executed next (capabilities(7))."""
    libc = ctypes.CDLL(None, use_errno=True)
    for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
        if libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0):
            raise OSError(ctypes.get_errno(), "prctl")


@pytest.mark.parametrize("command", [["index"], ["search", "x", "--path"], ["ask", "x", "--path"]])
def test_a_path_that_is_not_there(selfroute: Run, tmp_path: Path, command: list[str]) -> None:
    assert "no such folder" in refused(selfroute(*command, tmp_path / "none"), 3)


def test_a_path_that_is_a_file(selfroute: Run, tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(SIGNING)
    assert "is a file, and a corpus is a folder" in refused(selfroute("index", tmp_path / "a.py"), 3)


@pytest.mark.parametrize("command", [["index"], ["search", "x", "--path"], ["ask", "x", "--path"]])
def test_an_empty_folder(selfroute: Run, tmp_path: Path, command: list[str]) -> None:
    assert "nothing to index" in refused(selfroute(*command, tmp_path), 3)
    assert list(tmp_path.iterdir()) in ([], [tmp_path / ".selfroute"])


def test_a_folder_of_binaries_only(selfroute: Run, tmp_path: Path) -> None:
    for name in ("a.png", "b.dat", "c"):
        (tmp_path / name).write_bytes(bytes(range(256)) * 8)
    error = refused(selfroute("ask", "x", "--path", tmp_path), 3)
    assert "nothing to index" in error
    assert "binary" in error


def test_a_sparse_file_of_a_gigabyte(selfroute: Run, tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(SIGNING)
    with (tmp_path / "huge.txt").open("wb") as huge:
        huge.truncate(1 << 30)
    done = selfroute("index", tmp_path)
    assert done.returncode == 0
    assert "skipped 1: 1 larger than 1,000,000 bytes" in done.stdout
    assert "huge.txt: larger than 1,000,000 bytes" in selfroute("doctor", "--path", tmp_path).stdout


def test_a_folder_without_permission(selfroute: Run, tmp_path: Path) -> None:
    home, closed = tmp_path / "home", tmp_path / "closed"
    home.mkdir()
    closed.mkdir()
    (closed / "a.py").write_text(SIGNING)
    options = without_privileges(home)
    closed.chmod(0o000)
    try:
        done = selfroute("index", closed, **options)
    finally:
        closed.chmod(0o755)
    assert "no permission to read" in refused(done, 3)


def test_a_file_without_permission_is_skipped_and_named(selfroute: Run, tmp_path: Path) -> None:
    home, corpus = tmp_path / "home", tmp_path / "corpus"
    home.mkdir()
    corpus.mkdir()
    (corpus / "a.py").write_text(SIGNING)
    (corpus / "secret.py").write_text(SIGNING)
    options = without_privileges(home)
    (corpus / "secret.py").chmod(0o000)
    done = selfroute("index", corpus, **options)
    assert done.returncode == 0, done.stderr
    assert "indexed 1 files" in done.stdout
    assert "skipped 1: 1 no permission\n" in done.stdout


def test_a_tree_that_cannot_be_written(selfroute: Run, tmp_path: Path) -> None:
    home, corpus = tmp_path / "home", tmp_path / "corpus"
    home.mkdir()
    corpus.mkdir()
    (corpus / "a.py").write_text(SIGNING)
    options = without_privileges(home)
    corpus.chmod(0o555)
    try:
        done = selfroute("ask", "Where is sign_cookie defined?", "--path", corpus, **options)
        again = selfroute("search", "sign_cookie", "--path", corpus, "--no-update", **options)
    finally:
        corpus.chmod(0o755)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("def sign_cookie")
    assert again.stdout.startswith("a.py:1")
    assert [path.name for path in corpus.iterdir()] == ["a.py"]


def test_an_index_folder_that_cannot_be_made(selfroute: Run, tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(SIGNING)
    error = refused(selfroute("index", tmp_path, "--index-dir", tmp_path / "a.py" / "store"), 2)
    assert "no index can be kept in" in error


def test_an_index_that_is_not_there_and_may_not_be_made(selfroute: Run, tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(SIGNING)
    done = selfroute("search", "x", "--path", tmp_path, "--no-update")
    assert "there is no index" in refused(done, 3)
    assert done.stderr.splitlines()[1] == f"hint: selfroute index --path {tmp_path}"


@pytest.mark.parametrize(
    "question",
    ["", "where " * 17_000, "署名はどこ", "где подпись", "أين", "\x00\x01", "'; DROP TABLE chunks; --", "a\nb\nc"],
    ids=["empty", "long", "japanese", "russian", "arabic", "control", "sql", "lines"],
)
def test_a_question_of_any_kind(selfroute: Run, tmp_path: Path, question: str) -> None:
    (tmp_path / "a.py").write_text(SIGNING)
    for command in ("search", "ask", "explain"):
        done = selfroute(command, "-", "--path", tmp_path, stdin=question)
        assert done.returncode == 0, done.stderr
        assert "error" not in done.stderr


def test_a_question_that_is_not_text(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(SIGNING)
    command = [sys.executable.encode(), b"-c", CLI.encode(), b"ask", b"caf\xe9 \xff", b"--path", os.fsencode(tmp_path)]
    done = subprocess.run(command, cwd="/", capture_output=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr


def test_a_broken_configuration_file(selfroute: Run, tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(SIGNING)
    (tmp_path / "selfroute.toml").write_text("top_k = = 3")
    assert "is not valid TOML" in refused(selfroute("ask", "x", "--path", tmp_path), 2)
    (tmp_path / "selfroute.toml").write_bytes(b"\xff\xfe")
    assert "is not valid TOML" in refused(selfroute("config", "--path", tmp_path), 2)
