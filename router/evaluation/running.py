"""Every route answers every case once, corpus after corpus, and each row is kept as soon as there is one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from selfroute.errors import SelfRouteError
from selfroute.memory.reader_scores import forget
from selfroute.router.evaluation.cases import Case
from selfroute.router.evaluation.rows import Row
from selfroute.types import DEFAULT_BUDGET_TOKENS, Query

if TYPE_CHECKING:
    from selfroute.router.router import SelfRouter

CORPORA = "corpora"
TEXT = "context.txt"

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Settings:
    """What is the same for every case. options: settings of selfroute.router.config. folder: of the run."""

    folder: Path
    budget_tokens: int = DEFAULT_BUDGET_TOKENS
    options: Mapping[str, Any] = field(default_factory=dict)


def by_corpus(cases: Iterable[Case]) -> dict[str, list[Case]]:
    """Cases by the key of their corpus, in the order in which each comes first."""
    found: dict[str, list[Case]] = {}
    for case in cases:
        found.setdefault(corpus_key(case), []).append(case)
    return found


def corpus_key(case: Case) -> str:
    """Names the corpus: the folder's place, or the text."""
    return blake2b(f"{case.path}\0{case.context}".encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()


def run(
    cases: Sequence[Case], done: Mapping[tuple[str, str], Row], settings: Settings, progress: Progress
) -> Iterator[Row]:
    """The rows that are not done, each as it ends. progress: ("evaluate", cases done, cases)."""
    n_done = 0
    for key, of_corpus in by_corpus(cases).items():
        for rows in run_corpus(key, of_corpus, done, settings):
            yield from rows
            n_done += 1
            progress("evaluate", n_done, len(cases))


def run_corpus(
    key: str, cases: Sequence[Case], done: Mapping[tuple[str, str], Row], settings: Settings
) -> Iterator[list[Row]]:
    """The new rows of each case of one corpus; none of a case that is done. Nothing is opened when all are."""
    from selfroute.registry import names

    routes = names("backend")
    if all((case.id, route) in done for case in cases for route in routes):
        yield from ([] for _ in cases)
        return
    try:
        router = _opened(key, cases[0], settings)
    except SelfRouteError as error:
        for case in cases:
            yield [_failed(case, route, error) for route in routes if (case.id, route) not in done]
        return
    with router:
        model = str(router.model)
        for case in cases:
            missing = [route for route in router.backends if (case.id, route) not in done]
            yield list(_asked(case, missing, router, settings, model)) if missing else []


def _asked(case: Case, routes: Sequence[str], router: SelfRouter, settings: Settings, model: str) -> Iterator[Row]:
    """Each route by itself, over an index that remembers no earlier case."""
    query = Query(case.question, case.budget_tokens or settings.budget_tokens)
    forget(router.index.directory)
    features, estimates = router.observe(query)
    for route in routes:
        forget(router.index.directory)
        began = perf_counter()
        attempt, error = None, ""
        try:
            attempt = router.backends[route].answer(query)
        except SelfRouteError as failed:
            error = f"{type(failed).__name__}: {failed.message}"
        except Exception as failed:  # a model's library may raise anything; the row says so, and the run goes on
            error = f"{type(failed).__name__}: {failed}"
        seconds = perf_counter() - began
        yield Row(case.id, route, features, estimates[route], attempt, seconds, error, model)


def _opened(key: str, case: Case, settings: Settings) -> SelfRouter:
    from selfroute.router.build import build
    from selfroute.router.config import load

    home = settings.folder / CORPORA / key
    root = Path(case.path)
    if case.context:
        root = home / "text"
        root.mkdir(parents=True, exist_ok=True)
        (root / TEXT).write_text(case.context, encoding="utf-8", errors="backslashreplace")
    index = home / "index"
    index.mkdir(parents=True, exist_ok=True)
    return build(load(root, {**settings.options, "index_dir": str(index)}), keep_updated=False)


def _failed(case: Case, route: str, error: SelfRouteError) -> Row:
    from selfroute.types import Estimate, Features

    nothing = Features(0, *(False,) * 6, 0.0, 0.0, 0, 0.0, 0.0, 0, 0, case.budget_tokens)
    return Row(case.id, route, nothing, Estimate(0.0, 0.0, 0), None, 0.0, f"{type(error).__name__}: {error.message}")
