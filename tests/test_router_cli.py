"""`selfroute router` as it is typed: trained on runs of selfroute eval, shown, refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from selfroute.router.classifier import fitting
from selfroute.router.cli import main

THINGS = "lighthouse bridge mill harbour library chapel market brewery archive theatre canal".split()
PLACES = "Orvane Belmont Tarsk Quillon Ashby Varen Kestrel Lomond".split()
N = 44  # questions of each of two runs
Train = Callable[..., tuple[int, str, str]]


def call(*arguments: object) -> tuple[int, str, str]:
    """Exit code, standard output, standard error."""
    out, err = StringIO(), StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main([str(one) for one in arguments])
    return code, out.getvalue(), err.getvalue()


def make_cases(corpus: Path) -> list[dict[str, Any]]:
    """Every other question has a budget that retrieval can put nothing into, and other words: those are long
    context's."""
    corpus.mkdir()
    cases: list[dict[str, Any]] = []
    for i, place in enumerate(PLACES):
        lines = []
        for j, thing in enumerate(THINGS):
            year = 1500 + 17 * j + 61 * i
            lines.append(f"The {thing} of {place} was built in {year} by the {thing} guild.")
            wide = len(cases) % 2
            asked = f"when the {thing} of {place} was built"
            question = f"Compare {asked}" if wide else f"Tell {asked}"
            budget = 1 if wide else 300
            about = {"kind": "compare" if wide else "when", "budget_tokens": budget}
            cases.append({"id": f"{i}-{j}", "question": question, "answers": [str(year)], **about})
        (corpus / f"{place.lower()}.md").write_text(f"# {place}\n\n" + "\n\n".join(lines) + "\n")
    return cases


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a corpus and the runs `one` and `two` over it."""
    folder = tmp_path_factory.mktemp("runs")
    cases = make_cases(folder / "corpus")
    for name, part in (("one", cases[:N]), ("two", cases[N:])):
        file = folder / f"{name}.jsonl"
        file.write_text("".join(json.dumps(case) + "\n" for case in part))
        given = ("--path", folder / "corpus", "--out", folder / name, "--reader", "evidence", "--policy", "rules")
        code, _, err = call("eval", file, *given)
        assert code == 0, err
    return folder


@pytest.fixture
def train(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Train:
    """`router train`, with heads of a few trees."""
    monkeypatch.setattr(fitting, "N_TREES", 3)
    monkeypatch.setattr(fitting, "N_FORESTS", 1)

    def training(*arguments: object) -> tuple[int, str, str]:
        return call("router", "train", *arguments, "--path", runs / "corpus", "--index-dir", tmp_path / "index")

    return training


def show(runs: Path, tmp_path: Path, *more: object) -> tuple[int, str, str]:
    return call("router", "show", "--path", runs / "corpus", "--index-dir", tmp_path / "index", *more)


def test_a_better_router_is_used_kept_and_shown_and_a_worse_one_is_not(
    runs: Path, train: Train, tmp_path: Path
) -> None:
    code, out, err = show(runs, tmp_path)
    assert code == 0 and "in use: shipped" in out and "kept: none of your own" in out, err
    code, out, err = train(runs / "one")
    assert code == 0, err
    lines = out.splitlines()
    assert lines[0] == f"{N} questions of 1 group"
    assert lines[1] == "split by question: one corpus, so nothing is known of other corpora"
    assert [line.split()[0] for line in lines if line.startswith("  ")] == ["in", "adapted", "new"]
    for figure in ("regret", "gap recovered", "ECE", "tokens", "against the best fixed route"):
        assert figure in lines[3]
    assert lines[-1].startswith("router-0001.json is in use now; ")
    assert "points against the best fixed route" in lines[-1] and "of long context's tokens" in lines[-1]

    code, out, err = show(runs, tmp_path)
    assert code == 0, err
    assert "in use: router-0001.json" in out and "kept: router-0001.json" in out
    assert "split by question: one corpus, so nothing is known of other corpora" in out
    assert "when it was trained, on left-out questions of your own" in out
    code, shown, _ = show(runs, tmp_path, "--json")
    found = json.loads(shown)
    assert code == 0 and found["in_use"] == "router-0001.json" and "learned" not in found["summary"]
    assert found["summary"]["on_own_questions"]["regret"][0] <= 0.1

    before = (tmp_path / "index" / "router" / "router-0001.json").read_bytes()
    code, out, _ = train(runs / "one")  # it learned these
    assert code == 0 and "trained on all but 0 of these questions" in out and "it stays" in out
    code, out, _ = train(runs / "one", runs / "two", "--json")  # as good on those that it did not
    found = json.loads(out)
    assert code == 0 and (found["chosen"], found["kept"]) == ("in use", "") and found["n_fresh"] == N
    assert "it stays" in found["why"] and "a new one: " in found["why"]
    assert show(runs, tmp_path)[1].splitlines()[-1] == "kept: router-0001.json"

    code, out, _ = train(runs / "one", "--force")
    assert code == 0 and "router-0002.json is in use now; it was not compared with the one before" in out
    assert (tmp_path / "index" / "router" / "router-0001.json").read_bytes() == before
    code, out, _ = show(runs, tmp_path, "--use", "router-0001.json")
    assert code == 0 and "in use: router-0001.json" in out and "kept: router-0001.json, router-0002.json" in out
    code, out, _ = show(runs, tmp_path, "--use", "shipped")
    assert code == 0 and "in use: shipped" in out
    code, _, err = show(runs, tmp_path, "--use", "router-0009.json")
    assert code == 2 and "no router 'router-0009.json'" in err and "one of router-0001.json" in err


def test_what_is_no_run_is_said_with_what_to_type(runs: Path, train: Train, tmp_path: Path) -> None:
    old, other = tmp_path / "old", tmp_path / "other"
    for folder in (old, other):
        folder.mkdir()
        for name in ("run.json", "rows.jsonl"):
            shutil.copy(runs / "one" / name, folder / name)
    shutil.copy(runs / "two" / "cases.jsonl", other / "cases.jsonl")
    torn = tmp_path / "torn"
    shutil.copytree(runs / "one", torn)
    (torn / "cases.jsonl").write_bytes((runs / "one" / "cases.jsonl").read_bytes()[:-20])
    for given, code, says, hint in (
        (tmp_path / "nothing", 3, "no folder", f"--out {tmp_path / 'nothing'}"),
        (runs / "one.jsonl", 3, "is a file", "one.jsonl --out RUN"),
        (runs / "corpus", 2, "holds no run of selfroute eval", "selfroute eval CASES --out RUN"),
        (old, 2, "has no cases.jsonl: an earlier version made it", f"selfroute eval CASES --out {old}"),
        (other, 2, "other cases than those that were run", f"selfroute eval CASES --out {other}"),
        (torn, 2, f"line {N}: not a case of a run", f"selfroute eval CASES --out {torn}"),
    ):
        found, out, err = train(given)
        assert found == code and not out and says in err and hint in err and "Traceback" not in err, err
    code, _, err = train(runs / "one", runs / "one")
    assert code == 2 and "stands in two runs" in err
    code, _, err = train()
    assert code == 2 and "RUN" in err
    assert not (tmp_path / "index" / "router").exists()


def test_too_few_questions_are_refused(runs: Path, train: Train, tmp_path: Path) -> None:
    cases = (runs / "one.jsonl").read_text().splitlines(keepends=True)
    file = tmp_path / "few.jsonl"
    file.write_text("".join(cases[:6]))
    assert call("eval", file, "--path", runs / "corpus", "--reader", "evidence", "--policy", "rules")[0] == 0
    code, _, err = train(tmp_path / "few-eval")
    assert code == 2 and "6 questions" in err and "at least 40" in err and "selfroute eval with more cases" in err


def test_the_cases_of_a_run_are_kept_without_texts_and_the_same_when_it_goes_on(runs: Path, tmp_path: Path) -> None:
    fact = "The pier of Sarrow was built in 1877 by the pier guild."
    made = {"id": "x", "question": "When was the pier built?", "answers": ["1877"], "context": fact, "group": "texts"}
    file, folder = tmp_path / "texts.jsonl", tmp_path / "texts-eval"
    file.write_text(json.dumps(made) + "\n")
    given = (file, "--reader", "evidence", "--policy", "rules")
    assert call("eval", *given)[0] == 0
    kept = folder / "cases.jsonl"
    before, stat = kept.read_bytes(), kept.stat()
    found = json.loads(before)
    assert found["answers"] == ["1877"] and found["group"] == "texts" and fact not in before.decode()
    (folder / "rows.jsonl").write_text("")
    assert call("eval", *given)[0] == 0
    assert kept.read_bytes() == before and kept.stat().st_mtime_ns == stat.st_mtime_ns
    kept.unlink()  # as of an earlier version
    assert call("eval", *given, "--report-only")[0] == 0
    assert kept.read_bytes() == before
    file.write_text(json.dumps({**made, "answers": ["1877", "in 1877"]}) + "\n")  # mended
    assert call("eval", *given)[0] == 0
    assert json.loads(kept.read_bytes())["answers"] == ["1877", "in 1877"]


def test_a_users_own_file_is_not_written_over(tmp_path: Path) -> None:
    file = tmp_path / "run" / "cases.jsonl"
    file.parent.mkdir()
    text = json.dumps({"id": "x", "question": "When?", "answers": ["1877"], "context": "It was built in 1877."}) + "\n"
    file.write_text(text)
    code, _, err = call("eval", file, "--out", file.parent, "--reader", "evidence")
    assert code == 2 and "was written by no run" in err and "--out DIR" in err
    assert file.read_text() == text
    assert [path.name for path in file.parent.iterdir()] == ["cases.jsonl"]
