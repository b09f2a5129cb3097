"""The same rows from a local cluster of two workers as from a serial run."""

import json
from pathlib import Path

import pytest

from selfroute.errors import ConfigError, CorpusError, MissingDependencyError
from selfroute.router.evaluation.cases import Case
from selfroute.router.evaluation.on_ray import _error, _tasks, run_on_ray
from selfroute.router.evaluation.rows import Row, without_clock
from selfroute.router.evaluation.running import row_keys, run

TEXT = "The bridge was built by Ada Ferrin in {year}.\n\nThe mill was built by Tom Hale. It stands in the harbour."
OPTIONS = {"reader": "evidence"}


def some_cases() -> list[Case]:
    """Eight over four texts."""
    asked = ("Who built the bridge?", "Who built the lighthouse of Varen?")
    return [
        Case(f"{year} {i}", question, context=TEXT.format(year=year), answers=("Ada Ferrin",))
        for year in range(1801, 1805)
        for i, question in enumerate(asked)
    ]


def shown(rows: list[Row]) -> list[str]:
    return sorted(json.dumps(without_clock(row.to_json()), sort_keys=True) for row in rows)


def test_the_rows_of_a_cluster_are_those_of_a_serial_run(tmp_path: Path) -> None:
    ray = pytest.importorskip("ray")
    cases = some_cases()
    for name in ("serial", "cluster"):
        (tmp_path / name).mkdir()
    serial = list(run(cases, tmp_path / "serial", OPTIONS))
    done = {(row.case_id, row.route) for row in serial[:3]}
    found = list(run_on_ray(cases, tmp_path / "cluster", OPTIONS, "local", done=done))
    assert not ray.is_initialized()
    assert shown(found) == shown(serial[3:])
    assert list(run_on_ray(cases, tmp_path / "cluster", OPTIONS, "local", done=row_keys(cases))) == []


def test_tasks_hold_what_is_missing() -> None:
    cases = some_cases()
    keys = row_keys(cases)
    tasks = [json.loads(task["task"]) for task in _tasks(cases, set(keys[:3]))]
    assert [len(task["cases"]) for task in tasks] == [1, 2, 2, 2]
    assert tasks[0]["done"] == [list(keys[2])] and tasks[0]["begun"] and not tasks[1]["begun"]


def test_errors_of_workers_keep_their_kind() -> None:
    made = _error("CorpusError", "nothing to index", "--path DIR", 3)
    assert isinstance(made, CorpusError) and (made.message, made.hint, made.exit_code) == (
        "nothing to index",
        "--path DIR",
        3,
    )
    assert _error("ContextOverflowError", "too much", "less", 5).exit_code == 5


def test_without_ray_there_is_the_line_that_installs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(MissingDependencyError) as found:
        list(run_on_ray(some_cases(), tmp_path, OPTIONS, "local"))
    assert "selfroute[ray]" in found.value.hint


def test_a_cluster_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray")

    def refuse(**options: object) -> None:
        raise ConnectionError("nobody there")

    monkeypatch.setattr(ray, "init", refuse)
    with pytest.raises(ConfigError, match="nobody there"):
        list(run_on_ray(some_cases(), tmp_path, OPTIONS, "127.0.0.1:1"))
