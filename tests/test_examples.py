"""The scripts in examples/ run as their docstrings say."""

import os
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
JAR = 'def sign_cookie(value, key):\n    """Sign a cookie with a key."""\n    return value + digest(value, key)\n'


def run(script: str, *arguments: str) -> str:
    """What an example prints; it must end well and say nothing on standard error."""
    command = [sys.executable, str(EXAMPLES / script), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_ask_a_repository(tmp_path: Path) -> None:
    (tmp_path / "jar.py").write_text(JAR)
    shown = run("ask_a_repository.py", str(tmp_path), "Where is sign_cookie defined?", "Who won the cup in Uruguay?")
    assert "def sign_cookie(value, key):" in shown
    assert "at jar.py:1" in shown
    assert "Not found in this corpus." in shown


def test_serve_tiny_model(tmp_path: Path) -> None:
    command = [sys.executable, str(EXAMPLES / "serve_tiny_model.py"), "--folder", "tiny"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("(exit code 0)") == 6
    assert done.stderr.count("cited: [2] limits.py:1\n") == 2
    assert done.stderr.count("note: citation [99] was dropped: there is no chunk 99\n") == 2
    assert " 0 of them read before" in done.stdout


def test_route_a_batch(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    (corpus / "jar.py").write_text(JAR)
    questions = tmp_path / "questions.txt"
    questions.write_text("Where is sign_cookie defined?\n\nHow many functions sign a cookie?\n")
    lines = run("route_a_batch.py", str(corpus), str(questions), "--policy", "always-retrieval").splitlines()
    assert [line.split("\t")[:2] for line in lines[:2]] == [["always-retrieval", "retrieval"]] * 2
    assert lines[2].startswith("always-retrieval: answered ")
    assert "of 2, read" in lines[2]
