"""A run on a Ray cluster: the same rows as a serial run makes, from as many processes as the cluster has cores.

The cases go out by corpus, some at a time, through Ray Data; rows come back as they are made, and the driver alone
writes the journal. selfroute and the corpora have to be there on every node, under the same paths; a node that does not
see the folder of the run keeps its indexes in its temporary folder. Seconds are those of routes that ran beside others.
"""

from __future__ import annotations

import json
import logging
import os
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selfroute import errors
from selfroute.errors import ConfigError, MissingDependencyError, SelfRouteError
from selfroute.registry import names
from selfroute.router.evaluation.cases import Case
from selfroute.router.evaluation.corpora import Corpus, corpora_of, make_run_folder
from selfroute.router.evaluation.rows import Row
from selfroute.router.evaluation.running import is_begun, run_corpus

if TYPE_CHECKING:
    from selfroute.models.base import Generator

LOCAL = "local"
N_CASES = 16  # that a worker takes at a time: what is lost of a run that is killed
ENVIRONMENT = "SELFROUTE_"


class Worker:
    """Runs on a node: loads each model once."""

    def __init__(self, folder: str, name: str, options: Mapping[str, Any]) -> None:
        """folder: of the run, where the node sees it. name: of the temporary one, where it does not."""
        shared = Path(folder)
        self._folder = shared if shared.is_dir() else Path(tempfile.gettempdir()) / f"selfroute-{os.getuid()}" / name
        if self._folder is not shared:
            make_run_folder(self._folder)
        self._options = dict(options)
        self._models: dict[str, Generator | None] = {}

    def __call__(self, task: dict[str, Any]) -> Iterator[dict[str, str]]:
        """{"row": JSON} of each row of {"task": JSON}; {"error": JSON} when the corpus cannot be run."""
        asked = json.loads(task["task"])
        cases = tuple(_case(one) for one in asked["cases"])
        corpus = Corpus(asked["key"], asked["path"], asked["context"], cases)
        done = {(id_, route) for id_, route in asked["done"]}
        try:
            rows = run_corpus(corpus, self._folder, self._options, done=done, models=self._models, begun=asked["begun"])
            for row in rows:
                yield {"row": json.dumps(row.to_json()), "error": ""}
        except SelfRouteError as error:
            yield {"row": "", "error": json.dumps([type(error).__name__, error.message, error.hint, error.exit_code])}


def run_on_ray(
    cases: Sequence[Case],
    run_folder: Path,
    options: Mapping[str, Any],
    address: str,
    *,
    done: Collection[tuple[str, str]] = (),
) -> Iterator[Row]:
    """The rows that are not done, as they come. address: of a cluster, "auto", or "local" for one that is started here.

    Raises MissingDependencyError without Ray, ConfigError when the cluster cannot be reached, and as `run`.
    """
    tasks = list(_tasks(cases, done))
    if not tasks:
        return
    with _cluster(address):
        from ray import cluster_resources, data

        data.DataContext.get_current().enable_progress_bars = False
        n_cores = max(1, int(cluster_resources().get("CPU", 1)))
        arguments = {"folder": str(run_folder), "name": run_folder.name, "options": dict(options)}
        rows = data.from_items(tasks, override_num_blocks=len(tasks)).flat_map(
            Worker,
            fn_constructor_kwargs=arguments,
            compute=data.ActorPoolStrategy(size=min(n_cores, len(tasks))),
            num_cpus=1,
        )
        for made in rows.iter_rows():
            if made["error"]:
                raise _error(*json.loads(made["error"]))
            yield Row.from_json(json.loads(made["row"]))


def _tasks(cases: Sequence[Case], done: Collection[tuple[str, str]]) -> Iterator[dict[str, str]]:
    """What is missing of each corpus, some cases at a time."""
    routes = names("backend")
    for corpus in corpora_of(cases):
        missing = [case for case in corpus.cases if any((case.id, route) not in done for route in routes)]
        for start in range(0, len(missing), N_CASES):
            taken = missing[start : start + N_CASES]
            task = {
                "key": corpus.key,
                "path": corpus.path,
                "context": corpus.context,
                "cases": [asdict(case) | {"context": ""} for case in taken],
                "done": [(case.id, route) for case in taken for route in routes if (case.id, route) in done],
                "begun": is_begun(corpus, done),
            }
            yield {"task": json.dumps(task)}


@contextmanager
def _cluster(address: str) -> Iterator[None]:
    """Connected to the cluster, quietly; one that was started here is stopped."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # it writes past the log to standard error
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise MissingDependencyError("running on a cluster", "ray", "ray") from error
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.ERROR)
    if ray.is_initialized():
        yield
        return
    settings = {name: value for name, value in os.environ.items() if name.startswith(ENVIRONMENT)}
    own = {"include_dashboard": False, "_node_ip_address": "127.0.0.1"}
    given: dict[str, Any] = own if address == LOCAL else {"address": address}
    try:
        ray.init(
            **given,
            log_to_driver=False,
            logging_level=logging.ERROR,
            runtime_env={"env_vars": {**settings, "RAY_USAGE_STATS_ENABLED": "0"}},
        )
    except (ConnectionError, ValueError, RuntimeError, OSError) as error:
        hint = f"RAY_AUTH_MODE=token where the cluster wants one; --ray {LOCAL} starts a cluster here"
        raise ConfigError(f"no Ray cluster at {address}: {error}", hint) from error
    try:
        yield
    finally:
        ray.shutdown()


def _case(found: dict[str, Any]) -> Case:
    return Case(**{**found, "answers": tuple(found["answers"]), "gold_files": tuple(found["gold_files"])})


def _error(name: str, message: str, hint: str, exit_code: int) -> SelfRouteError:
    """The error that a worker met; of its own kind where that is made of a message and a hint."""
    kind = getattr(errors, name, SelfRouteError)
    made = kind(message, hint) if kind.__init__ is SelfRouteError.__init__ else SelfRouteError(message, hint)
    made.exit_code = exit_code
    return made
