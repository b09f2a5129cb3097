"""`selfroute eval`: what each policy would make of one's own questions."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from selfroute.router.options import Budget, Debug, Embedder, Json, MaxBytes, Model, Reader, Window

if TYPE_CHECKING:
    from selfroute.router.evaluation.cases import Case
    from selfroute.router.evaluation.journal import Journal
    from selfroute.router.evaluation.replaying import Scored
    from selfroute.router.evaluation.running import Settings

DEFAULT_OUT = "selfroute-eval"
ORACLE = "oracle"


def evaluate(
    cases: Annotated[str, typer.Argument(help="A .jsonl, .csv, .parquet or SQuAD .json file.", metavar="CASES")],
    policy: Annotated[
        str, typer.Option(help="Names, separated by commas; all of them and the oracle otherwise.", show_default=False)
    ] = "",
    out: Annotated[str, typer.Option(help="Folder of the rows and the report.", metavar="DIR")] = DEFAULT_OUT,
    path: Annotated[
        str, typer.Option("--path", help="Corpus of cases that name none.", metavar="DIR", show_default=False)
    ] = "",
    scorer: Annotated[str, typer.Option(help="auto, exact, f1, contained, contained-all, citation or judge.")] = "auto",
    judge: Annotated[
        str, typer.Option(help="The model that judges: as --model.", metavar="MODEL", show_default=False)
    ] = "",
    gate: Annotated[
        str, typer.Option(help='Exit code 6 when missed: "accuracy>=0.8".', metavar="EXPR", show_default=False)
    ] = "",
    ray: Annotated[
        str, typer.Option(help="Address of a Ray cluster, or local.", metavar="ADDRESS", show_default=False)
    ] = "",
    report_only: Annotated[bool, typer.Option("--report-only", help="Run nothing, report on the rows.")] = False,
    no_times: Annotated[
        bool, typer.Option("--no-times", help="Leave the clock out: the same rows, the same bytes.")
    ] = False,
    model: Model = None,
    window_tokens: Window = None,
    budget_tokens: Budget = None,
    embedder: Embedder = None,
    reader: Reader = None,
    max_file_bytes: MaxBytes = None,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Compare routing policies on questions of your own: each route answers each case once, and every policy is
    replayed on what came of it. A run that was ended goes on when it is started again.

    Example: selfroute eval cases.jsonl --policy rules,learned-cascade --gate "accuracy>=0.8"
    """
    from selfroute.router import render
    from selfroute.router.evaluation import gate as gates
    from selfroute.router.evaluation.exports import HTML, export
    from selfroute.router.evaluation.reading import read_cases
    from selfroute.router.evaluation.replaying import replay_all
    from selfroute.router.evaluation.report import make_report, table
    from selfroute.router.evaluation.running import Settings

    bounds = gates.bounds(gate) if gate else []
    names = _policies(policy)
    read = read_cases(Path(cases), path=Path(path) if path else None)
    _check_scorer(scorer, judge, read)
    options = {
        "model": model,
        "window_tokens": window_tokens,
        "embedder": embedder,
        "reader": reader,
        "max_file_bytes": max_file_bytes,
    }
    settings = Settings(Path(out), **({"budget_tokens": budget_tokens} if budget_tokens else {}), options=options)
    with _journal(settings, read, report_only) as journal:
        if not report_only:
            with _bar() as progress:
                _run(read, journal, settings, ray, progress)
        scored = _scored(read, list(journal.done.values()), scorer, judge, Path(out), options)
        made = {name: None if name == ORACLE else _made(name, scored) for name in names}
        report = make_report(scored, replay_all(made, scored), times=not no_times)
        notes = export(report, Path(out), times=not no_times)
    if json:
        render.put({"out": out, **report.to_json()})
    else:
        render.say(table(report), to=sys.stdout)
        render.say(to=sys.stdout)
        render.say(report.verdict, to=sys.stdout)
    for note in (*_unscored(report.unscored), *notes, f"the report is {Path(out) / HTML}"):
        render.say(f"note: {note}")
    missed = [bound.missed(report.figures[names[0]]) for bound in bounds if names[0] in report.figures]
    if bounds and names[0] not in report.figures:
        missed = ["no case could be scored"]
    for what in filter(None, missed):
        render.say(f"gate: {what}")
    return gates.MISSED if any(missed) else 0


def _policies(text: str) -> list[str]:
    from selfroute.errors import UnknownNameError
    from selfroute.registry import is_known, names

    if not text:
        return [*names("policy"), ORACLE]
    wanted = [name.strip() for name in text.split(",") if name.strip()]
    for name in wanted:
        if name != ORACLE and not is_known("policy", name):
            raise UnknownNameError("policy", name, (*names("policy"), ORACLE))
    return list(dict.fromkeys(wanted))


def _made(name: str, scored: Sequence[Scored]) -> Any:
    from selfroute.router.build import make_policy

    model = next((row.model for one in scored for row in one.rows.values()), "")
    return make_policy(name, model)


def _check_scorer(scorer: str, judge: str, cases: Sequence[Case]) -> None:
    from selfroute.errors import ConfigError, UnknownNameError
    from selfroute.router.evaluation.cases import JUDGE, SCORERS

    if scorer not in SCORERS:
        raise UnknownNameError("scorer", scorer, SCORERS)
    if not judge and (scorer == JUDGE or any(case.scorer == JUDGE for case in cases)):
        raise ConfigError("the scorer judge needs a model", "--judge openai:http://127.0.0.1:8000/v1#name")


def _journal(settings: Settings, cases: Sequence[Case], report_only: bool) -> Journal:
    from selfroute.router.evaluation.journal import Journal, fingerprint, read_rows

    if report_only:
        read_rows(settings.folder)
    told = {key: value for key, value in settings.options.items() if value is not None}
    return Journal(
        settings.folder,
        {"cases": fingerprint(cases), "budget_tokens": settings.budget_tokens, "settings": told},
    )


def _run(cases: Sequence[Case], journal: Journal, settings: Settings, ray: str, progress: Any) -> None:
    from selfroute.router import render
    from selfroute.router.evaluation import running

    if ray:
        from selfroute.router.evaluation.on_ray import run_on_ray

        rows = run_on_ray(cases, dict(journal.done), settings, ray, progress)
    else:
        rows = running.run(cases, dict(journal.done), settings, progress)
    try:
        for row in rows:
            journal.add(row)
    except KeyboardInterrupt:
        render.say(f"stopped: {len(journal.done):,} rows are kept in {settings.folder}; the same command goes on")
        raise


def _scored(
    cases: Sequence[Case], rows: Sequence[Any], scorer: str, judge: str, out: Path, options: Mapping[str, Any]
) -> list[Scored]:
    from selfroute.router.evaluation.replaying import scored_cases
    from selfroute.router.evaluation.scoring import score

    verdict = None
    if judge:
        from selfroute.router.evaluation.judge import ModelJudge

        verdict = ModelJudge.configured(judge, out, options)
    return scored_cases(cases, rows, lambda case, attempt: score(case, attempt, scorer, verdict))


def _unscored(found: Mapping[str, str]) -> Iterator[str]:
    for number, (case_id, why) in enumerate(found.items()):
        if number == 5:
            yield f"and {len(found) - 5:,} more cases are unscored"
            return
        yield f"case {case_id} is unscored: {why}"


@contextmanager
def _bar() -> Iterator[Any]:
    """Cases done, their rate and the remaining time, on a terminal; nothing elsewhere."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda stage, done, total: None
        return
    columns = (TextColumn("evaluating"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"))
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as bar:
        task = bar.add_task("evaluate", total=None, rate="")

        def show(stage: str, done: int, total: int) -> None:
            speed = bar.tasks[0].speed
            bar.update(task, completed=done, total=total, rate=f"{speed:.1f} cases/s" if speed else "")

        yield show
