"""`selfroute eval` as it is typed: run, stopped, gone on with, reported."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from selfroute.router.cli import main
from selfroute.router.evaluation.reading import read_cases
from selfroute.router.evaluation.rows import without_clock
from selfroute.router.evaluation.running import row_keys, run

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
REPORTS = ("report.json", "report.html", "junit.xml")
Run = Callable[..., tuple[int, str, str]]


def load_checks() -> Any:
    spec = importlib.util.spec_from_file_location("eval_checks", BENCHMARKS / "eval_checks.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


checks = load_checks()


@pytest.fixture
def cases(tmp_path: Path) -> Path:
    """Four cases over a folder, six over a text."""
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "jar.py").write_text('def sign(value):\n    """Sign a cookie."""\n    return value + KEY\n')
    (tmp_path / "src" / "oven.py").write_text("def bake(minutes=12):\n    return minutes * 60\n")
    about = {"path": "src", "kind": "code"}
    found = [
        {"id": "a", "question": "Where is sign defined?", "gold_files": ["jar.py"], **about},
        {"id": "b", "question": "What is the default of minutes?", "answers": ["12"], **about},
        {"id": "c", "question": "Compare sign and bake", "gold_files": ["jar.py", "oven.py"], **about},
        {"id": "d", "question": "What is the colour of the Submarine?", "unanswerable": True, **about},
        *checks.make_cases(6, 0),
    ]
    file = tmp_path / "questions.jsonl"
    file.write_text("".join(json.dumps(case) + "\n" for case in found))
    return file


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Run:
    def calling(*arguments: object) -> tuple[int, str, str]:
        code = main(["eval", *map(str, arguments)])
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return calling


def test_a_run_and_its_report(cases: Path, call: Run) -> None:
    code, out, err = call(cases, "--reader", "evidence", "--policy", "rules,oracle")
    assert code == 0, err
    folder = cases.with_name("questions-eval")
    assert out.splitlines()[0].startswith("policy") and "rules is right in" in out
    assert f"report.html, junit.xml in {folder}" in err
    rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]
    assert [(row["case"], row["route"]) for row in rows] == row_keys(read_cases(cases))
    assert not any(row["error"] for row in rows)
    assert not (cases.with_name("src") / ".selfroute").exists()
    assert list(folder.rglob("reader_scores.sqlite")) == []
    before = (folder / "rows.jsonl").read_bytes()
    code, again, _ = call(cases, "--report-only", "--reader", "evidence", "--policy", "rules,oracle")
    assert (code, again) == (0, out)
    code, found, _ = call(cases, "--reader", "evidence", "--json", "--no-times", "--scorer", "f1")
    assert json.loads(found)["n_cases"] == 10
    assert (folder / "rows.jsonl").read_bytes() == before  # policies and scorers need no other rows


def test_a_gate_sets_the_exit_code(cases: Path, call: Run) -> None:
    given = (cases, "--reader", "evidence", "--policy", "always-retrieval")
    assert call(*given, "--gate", "n>=1 and n_unscored<=0")[0] == 0
    code, out, err = call(*given, "--gate", "accuracy>=0.1 and tokens<=0")
    assert code == 6 and "gate missed by always-retrieval: tokens is" in err and out
    code, _, err = call(*given, "--gate", "acuracy>1")
    assert code == 2 and "did you mean 'accuracy'" in err


def test_another_run_in_the_same_folder_is_an_error(cases: Path, call: Run) -> None:
    assert call(cases, "--reader", "evidence")[0] == 0
    code, _, err = call(cases, "--reader", "evidence", "--budget-tokens", "500")
    assert code == 2 and "its budget_tokens is 8000, and now it is 500" in err and "--out" in err
    with cases.open("a") as file:
        file.write(json.dumps({"id": "new", "question": "q?", "unanswerable": True, "path": "src"}) + "\n")
    code, _, err = call(cases, "--reader", "evidence")
    assert code == 2 and "10 cases that are not these 11" in err


def test_a_corpus_that_changed_within_a_run_is_an_error(cases: Path, call: Run) -> None:
    assert call(cases, "--reader", "evidence")[0] == 0
    rows = cases.with_name("questions-eval") / "rows.jsonl"
    rows.write_text("".join(rows.read_text().splitlines(keepends=True)[:3]))
    (cases.with_name("src") / "oven.py").write_text("def bake(minutes=99):\n    return minutes\n")
    code, _, err = call(cases, "--reader", "evidence")
    assert code == 2 and "changed since this run began" in err
    assert "stopped after 3 of 20 rows, which are kept: the same command goes on" in err


def test_what_is_wrong_is_said_without_a_traceback(cases: Path, call: Run, tmp_path: Path) -> None:
    for arguments, code, says in (
        ((tmp_path / "nothing.jsonl",), 2, "cannot read"),
        ((cases, "--policy", "ruels"), 2, "unknown policy"),
        ((cases, "--scorer", "exakt"), 2, "unknown scorer"),
        ((cases, "--scorer", "judge"), 2, "--judge MODEL"),
        ((cases, "--report-only"), 2, "no run in"),
        ((cases, "--out", cases), 2, "no run can be kept"),
        ((cases, "--reader", "spam"), 2, "unknown reader"),
    ):
        found, _, err = call(*arguments)
        assert found == code and says in err and "Traceback" not in err, err


def test_a_route_that_fails_is_unscored(cases: Path, call: Run) -> None:
    code, out, _ = call(cases, "--reader", "evidence", "--budget-tokens", "20", "--json")
    report = json.loads(out)
    assert code == 0
    assert {one["route"] for one in report["unscored"]} == {"long-context"}
    assert "ContextOverflowError" in report["unscored"][0]["why"]
    by_name = {one["policy"]: one for one in report["policies"]}
    assert by_name["always-long-context"]["accuracy"] is None
    assert by_name["always-retrieval"]["n"] == 10


def test_verdicts_are_kept_for_the_next_report(cases: Path, call: Run) -> None:
    given = (cases, "--reader", "evidence", "--policy", "always-retrieval", "--json")
    code, out, err = call(*given, "--judge", "scripted:decline")
    assert code == 0, err
    report = json.loads(out)
    assert report["scorer"] == "judge"
    assert {one["why"] for one in report["unscored"]} == {"the judge did not say"}
    verdicts = (cases.with_name("questions-eval") / "verdicts.jsonl").read_text().splitlines()
    assert verdicts and all(json.loads(line)["right"] is None for line in verdicts)
    code, again, _ = call(*given, "--judge", "scripted:decline", "--report-only")
    assert again == out


def test_an_interrupted_run_says_how_to_go_on_and_ends_as_an_unbroken_one(cases: Path, tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    subprocess.run(checks.command(cases, whole, "evidence"), check=True, capture_output=True)
    process = subprocess.Popen(
        checks.command(cases, broken, "evidence"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    while process.poll() is None and not checks._lines(broken / "rows.jsonl"):
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGINT)
    _, err = process.communicate()
    if process.returncode:  # it was not quicker than the signal
        assert process.returncode == 130
        assert "rows, which are kept: the same command goes on" in err and "Traceback" not in err
    subprocess.run(checks.command(cases, broken, "evidence"), check=True, capture_output=True)
    assert checks.hashes(whole) == checks.hashes(broken)
    assert checks.row_set(whole) == checks.row_set(broken)


def test_a_killed_run_ends_as_an_unbroken_one() -> None:
    found = checks.check_kills(20, 2, "evidence", 1)
    assert found["same_report"] and found["same_rows"]
    assert found["rows"] == 40 and set(REPORTS) <= found["sha256"].keys()


def test_a_case_is_run_as_if_it_were_the_first(tmp_path: Path) -> None:
    """The same question twice, and the cases the other way round: the same rows."""
    made = checks.make_cases(4, 3)
    made.append({**made[0], "id": "again"})
    found = []
    for name, order in (("a", made), ("b", made[::-1])):
        file = tmp_path / f"{name}.jsonl"
        file.write_text("".join(json.dumps(case) + "\n" for case in order))
        (tmp_path / name).mkdir()
        found.append([row.to_json() for row in run(read_cases(file), tmp_path / name, {"reader": "span"})])
    one, other = (sorted(json.dumps(without_clock(row)) for row in rows) for rows in found)
    assert one == other
    first, again = ([without_clock(row) for row in found[0] if row["case"] == id_] for id_ in (made[0]["id"], "again"))
    assert [{**row, "case": ""} for row in first] == [{**row, "case": ""} for row in again]


def test_the_command_stands_in_the_help() -> None:
    code = "import sys; from selfroute.router.cli import main; sys.exit(main())"
    done = subprocess.run([sys.executable, "-c", code, "eval", "--help"], capture_output=True, text=True, check=True)
    assert "Example: selfroute eval" in done.stdout and "--gate" in done.stdout and "exit code 6" in done.stdout
