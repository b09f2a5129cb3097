"""`selfroute eval`: cases run on every route, policies compared on what came of it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from selfroute.models.base import Generator
    from selfroute.router.config import Config
    from selfroute.router.evaluation.cases import Case
    from selfroute.router.evaluation.evaluating import Evaluation
    from selfroute.router.evaluation.journal import Journal
    from selfroute.router.evaluation.rows import Row

FILES = "cases.jsonl, rows.jsonl, report.json, report.html, junit.xml"


def eval_cases(
    cases: Annotated[str, typer.Argument(help="JSON lines, CSV, parquet, or SQuAD's JSON.", metavar="CASES")],
    policy: Annotated[
        str, typer.Option(help="Names, separated by commas; all by default.", metavar="A,B,C", show_default=False)
    ] = "",
    out: Annotated[
        str, typer.Option(help="Folder of the run; beside the cases by default.", metavar="DIR", show_default=False)
    ] = "",
    path: Annotated[
        str, typer.Option("--path", help="Corpus of cases that name none.", metavar="DIR", show_default=False)
    ] = "",
    gate: Annotated[
        str,
        typer.Option(help='"accuracy>=0.8 and seconds<=2", first policy.', metavar="EXPR", show_default=False),
    ] = "",
    scorer: Annotated[
        str, typer.Option(help="auto, exact, f1, contained, contained-all, citation, judge.", metavar="S")
    ] = "auto",
    judge: Annotated[
        str, typer.Option(help="The model that judges, named as --model is.", metavar="MODEL", show_default=False)
    ] = "",
    ray: Annotated[
        str, typer.Option(help='Run on a Ray cluster; "local" starts one here.', metavar="ADDRESS", show_default=False)
    ] = "",
    report_only: Annotated[bool, typer.Option("--report-only", help="Run nothing: report on what was run.")] = False,
    no_times: Annotated[bool, typer.Option("--no-times", help="Leave the clock out of the report.")] = False,
    model: Annotated[str | None, typer.Option(help="A language model that answers.", show_default=False)] = None,
    window_tokens: Annotated[int | None, typer.Option(help="As for ask.", show_default=False)] = None,
    budget_tokens: Annotated[int | None, typer.Option(help="As for ask.", show_default=False)] = None,
    max_tokens: Annotated[int | None, typer.Option(help="As for ask.", show_default=False)] = None,
    embedder: Annotated[str | None, typer.Option(help="As for ask.", show_default=False)] = None,
    reader: Annotated[str | None, typer.Option(help="As for ask.", show_default=False)] = None,
    max_file_bytes: Annotated[int | None, typer.Option(help="As for index.", show_default=False)] = None,
    price_in: Annotated[float | None, typer.Option(help="As for ask.", show_default=False)] = None,
    price_out: Annotated[float | None, typer.Option(help="As for ask.", show_default=False)] = None,
    json: Annotated[bool, typer.Option("--json", help="The report as one JSON object.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Compare policies on questions of your own: each route answers each question once, and every policy is replayed on
    the answers. A run that was cut short goes on with the same command. A missed gate ends with exit code 6.

    A case is a line {"id", "question", "answers" or "gold_files" or "unanswerable", "path" or "context"}.

    Example: selfroute eval questions.jsonl --path ~/code/flask --policy rules,self-route --gate "accuracy>=0.8"
    """
    from selfroute.router import render
    from selfroute.router.evaluation import exports, html, report
    from selfroute.router.evaluation.gate import EXIT_CODE, missed, parse_gate
    from selfroute.router.evaluation.writing import write

    conditions = parse_gate(gate) if gate else ()
    options = {
        "model": model,
        "window_tokens": window_tokens,
        "budget_tokens": budget_tokens,
        "max_tokens": max_tokens,
        "embedder": embedder,
        "reader": reader,
        "max_file_bytes": max_file_bytes,
        "price_in": price_in,
        "price_out": price_out,
    }
    wanted = [name.strip() for name in policy.split(",") if name.strip()]
    folder = Path(out).expanduser().absolute() if out else default_folder(cases)
    found = _evaluated(cases, path, folder, options, wanted, scorer, judge, ray, report_only)
    notes = exports.write_report(found, folder, times=not no_times)
    write(folder / html.FILE, html.page(found, times=not no_times))
    if json:
        render.put(exports.report_object(found, times=not no_times))
    else:
        for line in report.lines(found, times=not no_times):
            render.say(line, to=sys.stdout)
    for note in notes:
        render.say(f"note: {note}")
    render.say(f"note: {FILES} in {folder}")
    if why := missed(conditions, found.first) if conditions else []:
        for one in why:
            render.say(f"gate missed by {found.first.policy}: {one}")
        raise typer.Exit(EXIT_CODE)


def default_folder(cases: str) -> Path:
    """Beside the cases, named after them: questions.jsonl has questions-eval."""
    file = Path(cases).expanduser().absolute()
    return file.with_name(f"{file.name.partition('.')[0] or file.name}-eval")


def _evaluated(
    cases: str,
    path: str,
    folder: Path,
    options: Mapping[str, Any],
    wanted: Sequence[str],
    scorer: str,
    judge: str,
    ray: str,
    report_only: bool,
) -> Evaluation:
    """Runs what is missing, and evaluates all that is there."""
    from selfroute.errors import ConfigError, UnknownNameError
    from selfroute.memory.masking import mask
    from selfroute.router.build import answering_name
    from selfroute.router.evaluation.cases import SCORERS
    from selfroute.router.evaluation.corpora import make_run_folder
    from selfroute.router.evaluation.evaluating import evaluate, make_policies
    from selfroute.router.evaluation.journal import Journal, describe, read_rows
    from selfroute.router.evaluation.keeping import check_place, keep_cases
    from selfroute.router.evaluation.reading import read_cases
    from selfroute.router.evaluation.running import Settings

    if scorer not in SCORERS:
        raise UnknownNameError("scorer", scorer, SCORERS)
    make_policies(wanted)  # a name that does not exist is told before anything is run
    asked = read_cases(cases, path or None)
    if not judge and (scorer == "judge" or any(case.scorer == "judge" for case in asked)):
        raise ConfigError("the scorer judge needs a model", "--judge MODEL, named as --model is")
    check_place(folder)
    if not report_only or not folder.is_dir():
        make_run_folder(folder)
    settings = Settings.of(asked, folder, options)
    description = describe(asked, settings.shown())
    config = settings.any()
    policies = make_policies(wanted, mask(answering_name(config)), _index_of(path))
    if report_only and not judge:
        rows = read_rows(folder, description)
        keep_cases(folder, asked)
        return evaluate(asked, rows, policies, scorer=scorer, limits=settings.limits)
    with Journal(folder, description) as journal:
        keep_cases(folder, asked)
        if not report_only:
            _run(asked, folder, options, journal, ray)
        if not judge:
            return evaluate(asked, journal.rows, policies, scorer=scorer, limits=settings.limits)
        return _judged(asked, journal, judge, settings.any(model=judge), policies, scorer, settings.limits)


def _index_of(path: str) -> Path | None:
    """The folder of the index of --path, where a router of its own may lie."""
    from selfroute.memory.location import locate, resolve_root

    return locate(resolve_root(path)) if path else None


def _run(cases: Sequence[Case], folder: Path, options: Mapping[str, Any], journal: Journal, ray: str) -> None:
    """Makes the rows that are missing; says how to go on when it is stopped."""
    from selfroute.router.evaluation.running import row_keys, run
    from selfroute.router.evaluation.showing import progress
    from selfroute.router.render import say

    total = len(row_keys(cases))
    try:
        with progress("rows", len(journal.rows), total) as show:

            def keep(row: Row) -> None:
                journal.append(row)
                show(len(journal.rows))

            if ray:
                from selfroute.router.evaluation.on_ray import run_on_ray

                rows = run_on_ray(cases, folder, options, ray, done=journal.done)
            else:
                rows = run(cases, folder, options, done=journal.done)
            for row in rows:
                keep(row)
    except BaseException:
        say(f"stopped after {len(journal.rows):,} of {total:,} rows, which are kept: the same command goes on")
        raise


def _judged(
    cases: Sequence[Case],
    journal: Journal,
    name: str,
    config: Config,
    policies: Any,
    scorer: str,
    limits: Callable[[Case], Any],
) -> Evaluation:
    """Evaluates with a model as the judge of those cases that want one; of all, when no scorer was named."""
    from selfroute.memory.masking import mask
    from selfroute.router.build import make_generator
    from selfroute.router.evaluation.evaluating import evaluate
    from selfroute.router.evaluation.journal import VERDICTS
    from selfroute.router.evaluation.json_lines import JsonLines
    from selfroute.router.evaluation.judge import ModelJudge
    from selfroute.router.evaluation.showing import progress
    from selfroute.router.render import say

    def make() -> Generator:
        made = make_generator(config)
        assert made is not None
        return made

    with progress("verdicts", 0, len(journal.rows)) as show:
        judging = ModelJudge(mask(name), make, JsonLines(journal.folder / VERDICTS), show)
        try:
            by = "judge" if scorer == "auto" else scorer
            return evaluate(cases, journal.rows, policies, scorer=by, judge=judging, limits=limits)
        finally:
            judging.close()
            for why, times in judging.failures.items():
                say(mask(f"note: {times:,} answers could not be judged: {why}"))
