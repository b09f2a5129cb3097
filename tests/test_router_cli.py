"""`selfroute router` as it is typed: trained on runs of selfroute eval, shown, put in use."""

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from selfroute.router.classifier import fitting
from selfroute.router.cli import main
from selfroute.router.evaluation.kept_cases import FILE, kept_cases

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
SMALL = ("--budget-tokens", "60", "--max-tokens", "100000", "--reader", "evidence", "--policy", "rules")
Run = Callable[..., tuple[int, str, str]]


def make_cases(n: int) -> list[dict[str, Any]]:
    spec = importlib.util.spec_from_file_location("eval_checks", BENCHMARKS / "eval_checks.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return list(module.make_cases(n, 0))


@pytest.fixture(autouse=True)
def small_forests(monkeypatch: pytest.MonkeyPatch) -> None:
    """For speed."""
    monkeypatch.setattr(fitting, "N_TREES", 4)
    monkeypatch.setattr(fitting, "N_FORESTS", 1)


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Run:
    def calling(*arguments: object) -> tuple[int, str, str]:
        code = main([*map(str, arguments)])
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return calling


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 80 cases over 8 texts."""
    folder = tmp_path_factory.mktemp("questions")
    file = folder / "questions.jsonl"
    file.write_text("".join(json.dumps(case) + "\n" for case in make_cases(80)))
    assert main(["eval", str(file), *SMALL]) == 0
    return folder / "questions-eval"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    root = tmp_path / "home"
    root.mkdir()
    (root / "jar.py").write_text('def sign(value):\n    """Sign a cookie."""\n    return value + KEY\n')
    return root


def alone(run: Path, folder: Path, change: Callable[[int, dict[str, Any]], dict[str, Any]]) -> Path:
    """The same run with other cases."""
    folder.mkdir()
    for name in ("run.json", "rows.jsonl"):
        (folder / name).write_bytes((run / name).read_bytes())
    lines = [json.loads(line) for line in (run / FILE).read_text().splitlines()]
    (folder / FILE).write_text("".join(json.dumps(change(i, line)) + "\n" for i, line in enumerate(lines)))
    return folder


def test_a_run_keeps_its_cases_with_what_was_right(run: Path) -> None:
    kept = kept_cases(run)
    assert len(kept) == 80 and len({one.case.group for one in kept}) == 8
    assert all(set(one.right) == {"retrieval", "long-context"} and not one.case.context for one in kept)
    outcomes = [value for one in kept for value in one.right.values()]
    assert True in outcomes and False in outcomes


def test_training_says_what_each_router_is_worth_and_keeps_the_better(run: Path, home: Path, call: Run) -> None:
    code, out, err = call("router", "show", "--path", home)
    assert code == 0 and out.startswith("in use: shipped") and "kept: none of your own" in out, err
    code, out, err = call("router", "train", run, "--path", home, "--force")
    assert code == 0, err
    first, *worths, last = out.splitlines()
    assert first == "80 questions of 8 groups; on left-out groups:"
    assert [worth.split(" right ")[0].strip() for worth in worths] == ["in use", "adapted", "new"]
    assert all("regret" in worth and "gap recovered" in worth and "ECE" in worth for worth in worths)
    assert last.startswith("router-0001.json is in use now; ") and "worth it" in last
    code, before, err = call("router", "show", "--path", home)
    assert code == 0 and "in use: router-0001.json" in before, err
    assert "by 80 questions of 8 groups of your own" in before
    asked = ("explain", "Where is sign defined?", "--path", home, "--policy", "learned")
    code, out, err = call(*asked, "--json")
    assert code == 0 and json.loads(out)["route"] in ("retrieval", "long-context"), err

    code, out, _ = call("router", "train", run, "--path", home, "--json")
    assert code == 0
    found = json.loads(out)
    values = {worth["name"]: worth["value"] for worth in found["worths"]}
    assert bool(found["kept"]) == (max(values.values()) > values["in use"] + 1e-9)
    if not found["kept"]:
        assert "it stays" in found["why"] and call("router", "show", "--path", home)[1] == before

    code, out, _ = call("router", "show", "--path", home, "--use", "shipped")
    assert code == 0 and out.startswith("in use: shipped")
    code, out, _ = call("router", "show", "--path", home, "--json")
    assert "router-0001.json" in json.loads(out)["versions"]
    code, _, err = call("router", "show", "--path", home, "--use", "router-0009.json")
    assert code != 0 and "router-0001.json" in err


def test_questions_of_one_corpus_are_left_out_one_by_one_and_it_says_so(
    run: Path, home: Path, tmp_path: Path, call: Run
) -> None:
    one = alone(run, tmp_path / "one", lambda i, case: {**case, "group": "mine"})
    code, out, err = call("router", "train", one, "--path", home, "--force")
    assert code == 0, err
    assert out.startswith("80 questions of 1 group; on left-out questions (too few groups: of other corpora")
    _, out, _ = call("router", "show", "--path", home)
    assert "on left-out questions (too few groups" in out


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda run: (run / FILE).unlink(), "no evaluated cases"),
        (lambda run: (run / FILE).write_text("{\n"), "is damaged"),
        (lambda run: (run / FILE).write_text('{"id":1,"question":"?","right":{}}\n'), "is damaged"),
        (lambda run: (run / FILE).write_text('{"id":"a","question":"?","colour":"red","right":{}}\n'), "is damaged"),
        (lambda run: (run / "run.json").unlink(), "no run in"),
        (lambda run: (run / FILE).write_text(""), "0 questions that both routes were scored on are too few"),
    ],
)
def test_what_is_no_run_is_refused_with_what_to_type(
    run: Path, home: Path, tmp_path: Path, call: Run, spoil: Callable[[Path], object], told: str
) -> None:
    folder = alone(run, tmp_path / "spoilt", lambda i, case: case)
    spoil(folder)
    code, out, err = call("router", "train", folder, "--path", home)
    assert code == 2 and told in err and "hint: " in err and not out
    code, _, err = call("router", "train", tmp_path / "nowhere", "--path", home)
    assert code == 2 and "selfroute eval CASES --out" in err


def test_a_case_may_stand_in_one_run_only(run: Path, home: Path, tmp_path: Path, call: Run) -> None:
    again = alone(run, tmp_path / "again", lambda i, case: case)
    code, _, err = call("router", "train", run, again, "--path", home)
    assert code == 2 and "stands in two runs" in err
