"""The same run on a Ray cluster: a corpus at a time to a worker, rows as they come.

Workers see the same files, and their indexes are folders of their own. The driver alone writes the journal.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from selfroute.errors import MissingDependencyError, SelfRouteError
from selfroute.router.evaluation.cases import Case
from selfroute.router.evaluation.rows import Row
from selfroute.router.evaluation.running import Progress, Settings, by_corpus, run_corpus

LOCAL = "local"
CASES_A_TASK = 16


def run_on_ray(
    cases: Sequence[Case], done: Mapping[tuple[str, str], Row], settings: Settings, address: str, progress: Progress
) -> Iterator[Row]:
    """address: of a running cluster ("127.0.0.1:6379", "auto"), or "local" for one that is started here.

    Raises MissingDependencyError without Ray, SelfRouteError when there is no cluster.
    """
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise MissingDependencyError("--ray", "ray", "ray") from error
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    started = not ray.is_initialized()
    if started:
        where = {} if address == LOCAL else {"address": address}
        try:
            ray.init(include_dashboard=False, log_to_driver=False, logging_level="ERROR", **where)
        except Exception as error:
            raise SelfRouteError(f"no Ray cluster at {address}: {error}", "--ray local") from error
    try:
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        tasks = list(_tasks(cases, done))
        items = [{"task": json.dumps(task), "settings": _plain(settings)} for task in tasks]
        known = {case.id: sum((case.id, route) in done for route in ("retrieval", "long-context")) for case in cases}
        finished = sum(n > 1 for n in known.values())
        progress("evaluate", finished, len(cases))
        if not items:
            return
        found = ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
            _answered, batch_size=1, zero_copy_batch=False
        )
        for item in found.iter_rows():
            row = Row.from_json(json.loads(item["row"]))
            known[row.case_id] += 1
            if known[row.case_id] == 2:
                finished += 1
                progress("evaluate", finished, len(cases))
            yield row
    finally:
        if started:
            ray.shutdown()


def _tasks(cases: Sequence[Case], done: Mapping[tuple[str, str], Row]) -> Iterator[dict[str, Any]]:
    """Some cases of one corpus, with what is done of each."""
    for key, of_corpus in by_corpus(cases).items():
        left = [case for case in of_corpus if not all((case.id, r) in done for r in ("retrieval", "long-context"))]
        for start in range(0, len(left), CASES_A_TASK):
            part = left[start : start + CASES_A_TASK]
            finished = [[c.id, route] for c in part for route in ("retrieval", "long-context") if (c.id, route) in done]
            yield {"key": key, "cases": [_case_object(case) for case in part], "done": finished}


def _answered(batch: dict[str, Any]) -> dict[str, Any]:
    """One task on a worker: the JSON of its rows."""
    rows = []
    for text, plain in zip(batch["task"], batch["settings"], strict=True):
        task, given = json.loads(str(text)), json.loads(str(plain))
        cases = [
            Case(**{**c, "answers": tuple(c["answers"]), "gold_files": tuple(c["gold_files"])}) for c in task["cases"]
        ]
        done: Any = dict.fromkeys(map(tuple, task["done"]))
        with tempfile.TemporaryDirectory() as folder:
            settings = Settings(Path(folder), given["budget_tokens"], given["options"])
            for found in run_corpus(task["key"], cases, done, settings):
                rows += [json.dumps(row.to_json()) for row in found]
    return {"row": rows}


def _case_object(case: Case) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(replace(case))


def _plain(settings: Settings) -> str:
    return json.dumps({"budget_tokens": settings.budget_tokens, "options": dict(settings.options)})
