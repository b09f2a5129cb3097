"""The scripts in examples/ run as their docstrings say."""

import json
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


def cells(*found: tuple[str, str]) -> str:
    """A notebook of these cells, (type, source) each."""
    code = {"outputs": [], "execution_count": None}
    made = [
        {"cell_type": kind, "id": f"c{i}", "metadata": {}, "source": source, **(code if kind == "code" else {})}
        for i, (kind, source) in enumerate(found)
    ]
    return json.dumps({"cells": made, "metadata": {}, "nbformat": 4, "nbformat_minor": 5})


def test_answer_a_notebook(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "jar.py").write_text(JAR)
    notebook, out = tmp_path / "asked.ipynb", tmp_path / "asked-answered.ipynb"
    notebook.write_text(
        cells(
            ("markdown", "# Notes\n\n- Where is sign_cookie defined?"),
            ("code", "# Who won the cup in Uruguay?\nprint('Is this one?')"),
            ("raw", "Is this one?"),
        )
    )
    shown = run("answer_a_notebook.py", str(tmp_path / "src"), str(notebook))
    assert "at jar.py:1" in shown and f"written: {out}" in shown and "Is this one?" not in shown
    once = out.read_text()
    made = json.loads(once)["cells"]
    assert [cell["id"] for cell in made] == ["c0", "selfroute-1", "c1", "selfroute-3", "c2"]
    assert "def sign_cookie(value, key):" in made[1]["source"] and "- `jar.py:1`" in made[1]["source"]
    assert made[1]["metadata"]["selfroute"]["route"] in ("retrieval", "long-context")
    assert " tokens*" in made[1]["source"]
    assert "Not found in this corpus." in made[3]["source"]
    run("answer_a_notebook.py", str(tmp_path / "src"), str(out), "--out", str(out))  # its own answers are replaced
    assert [cell["id"] for cell in json.loads(out.read_text())["cells"]] == [cell["id"] for cell in made]


def test_the_notebook_of_the_examples_holds_questions_and_no_answers() -> None:
    notebook = json.loads((EXAMPLES / "questions.ipynb").read_text())
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    assert len({cell["id"] for cell in notebook["cells"]}) == len(notebook["cells"])
    assert all(set(cell) >= {"cell_type", "id", "metadata", "source"} for cell in notebook["cells"])
    assert all(cell["outputs"] == [] for cell in notebook["cells"] if cell["cell_type"] == "code")


def test_tool_for_an_agent(tmp_path: Path) -> None:
    (tmp_path / "jar.py").write_text(JAR)
    shown = run("tool_for_an_agent.py", str(tmp_path), "Where is sign_cookie defined?", "Who won the cup in Uruguay?")
    calls = [line for line in shown.splitlines() if line.startswith("model calls ask_corpus(")]
    assert len(calls) == 2 and "sign_cookie" in calls[0]
    _, _, answer = shown.partition("\n\n")
    assert answer.startswith("Where is sign_cookie defined?\n") and "Citations:\n- jar.py:1\n" in answer
    assert "Who won the cup in Uruguay?\nNot found in this corpus." in answer


def test_evaluate_and_train(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for i in range(12):
        (corpus / f"part{i}.py").write_text(
            f'"""Part {i}."""\n\nLIMIT_{i} = {10 + i}\n\n\ndef work_{i}(value, *, times={i}):\n'
            f'    """Does the work of part {i}."""\n    return value * times\n'
        )
    command = [sys.executable, str(EXAMPLES / "evaluate_and_train.py"), str(corpus), "--out", str(tmp_path / "out")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*command, "--n", "40"], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("$ selfroute ") == 3
    assert "40 questions, among them:" in done.stdout
    assert "What is the value of LIMIT_0?" in done.stdout
    assert "rules is right in" in done.stdout and "of 40 cases" in done.stdout
    shown = done.stdout.partition("$ selfroute router show")[2]
    assert "in use: " in shown and "kept: " in shown
    assert not (corpus / ".selfroute").exists()
    rows = (tmp_path / "out" / "run" / "rows.jsonl").read_text().splitlines()
    assert len(rows) == 80 and not any(json.loads(row)["error"] for row in rows)
