"""What a model costs in an evaluation: the dollars of each attempt, in rows, replays and reports."""

import json
from pathlib import Path

import pytest

from selfroute.errors import ConfigError
from selfroute.router.cli import main
from selfroute.router.evaluation import html, report
from selfroute.router.evaluation.evaluating import evaluate, make_policies
from selfroute.router.evaluation.journal import RUN, Journal, describe
from selfroute.router.evaluation.reading import read_cases
from selfroute.router.evaluation.rows import Row
from selfroute.router.evaluation.running import Settings, run
from selfroute.types import LONG_CONTEXT, RETRIEVAL

PRICED = {"model": "scripted", "price_in": 2.0, "price_out": 10.0}  # dollars for a million tokens


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Two cases over a folder."""
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "jar.py").write_text('def sign(value):\n    """Sign a cookie."""\n    return value + KEY\n')
    (tmp_path / "src" / "oven.py").write_text("def bake(minutes=12):\n    return minutes * 60\n")
    cases = tmp_path / "questions.jsonl"
    cases.write_text(
        '{"question": "Where is sign defined?", "gold_files": ["jar.py"], "path": "src"}\n'
        '{"question": "What is the default of minutes?", "answers": ["12"], "path": "src"}\n'
    )
    return cases


def rows_of(file: Path, name: str, **options: object) -> list[Row]:
    (file.parent / name).mkdir()
    return list(run(read_cases(file), file.parent / name, options))


def test_each_row_has_the_dollars_of_its_attempt(file: Path) -> None:
    rows = rows_of(file, "run", **PRICED)
    assert len(rows) == 4
    for row in rows:
        assert row.attempt is not None and row.estimate.dollars > 0
        used = row.attempt.usage
        assert used.dollars == pytest.approx(used.prompt_tokens * 2e-6 + used.new_tokens * 1e-5)
        back = Row.from_json(json.loads(json.dumps(row.to_json())))
        assert back.attempt is not None and back.attempt.usage.dollars == used.dollars
        packed = row.to_json()
        del packed["attempt"]["usage"]["dollars"]  # as an earlier version wrote it
        assert (earlier := Row.from_json(packed).attempt) is not None and earlier.usage.dollars == 0.0


def test_replays_and_reports_count_what_was_paid(file: Path) -> None:
    rows = rows_of(file, "run", **PRICED)
    paid = {(row.case_id, row.route): row.attempt.usage.dollars for row in rows if row.attempt}
    found = evaluate(read_cases(file), rows, make_policies(["always-long-context", "self-route", "oracle"]))
    for id_, outcome in found.outcomes["always-long-context"].items():
        assert outcome.dollars == found.fixed[LONG_CONTEXT][id_].dollars == paid[id_, LONG_CONTEXT] > 0
    for id_, outcome in found.outcomes["self-route"].items():
        assert outcome.dollars > 0
        assert outcome.dollars == pytest.approx(sum(paid[id_, route] for route in outcome.attempts))
        assert outcome.attempts[0] == RETRIEVAL
    first = found.first
    assert first.dollars == pytest.approx(sum(paid[id_, LONG_CONTEXT] for id_ in ("1", "2")) / 2)
    assert "dollars" in next(report.lines(found)) and ">dollars</th>" in html.page(found)


def test_without_prices_nothing_is_paid_and_no_column_says_so(file: Path) -> None:
    rows = rows_of(file, "run", model="scripted")
    assert all(row.attempt is not None and row.attempt.usage.dollars == 0 for row in rows)
    found = evaluate(read_cases(file), rows, make_policies(["rules"]))
    assert found.first.dollars == 0
    assert "dollars" not in next(report.lines(found)) and ">dollars</th>" not in html.page(found)


def test_the_command_takes_prices_and_a_gate_on_dollars(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["eval", str(file), "--model", "scripted", "--price-in", "2", "--price-out", "10", "--policy", "rules"]
    assert main([*given, "--gate", "dollars<=1 and dollars>0"]) == 0
    assert "dollars" in capsys.readouterr().out.splitlines()[0]
    figures = json.loads((file.with_name("questions-eval") / "report.json").read_text())["policies"][0]
    assert 0 < figures["dollars"] < 1
    assert main([*given, "--gate", "dollars<=0"]) == 6
    assert "gate missed by rules: dollars is" in capsys.readouterr().err
    given[given.index("--price-in") + 1] = "3"
    assert main(given) == 2
    assert "its price_in is 2.0, and now it is 3.0" in capsys.readouterr().err


def test_a_run_of_before_prices_is_one_without(file: Path) -> None:
    cases, folder = read_cases(file), file.parent / "run"
    folder.mkdir()
    free = describe(cases, Settings.of(cases, folder, {"model": "scripted"}).shown())
    earlier = {key: value for key, value in free["settings"].items() if not key.startswith("price")}
    (folder / RUN).write_text(json.dumps({**free, "settings": earlier}))
    Journal(folder, free).close()
    with pytest.raises(ConfigError, match=r"its price_in is 0\.0, and now it is 2\.0"):
        Journal(folder, describe(cases, Settings.of(cases, folder, PRICED).shown()))
