"""The command line. Answers go to standard output, everything else to standard error; errors are printed here, once.

Each command imports what it needs when it runs, so that --help stays quick.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from selfroute import __version__
from selfroute.router import cli_eval, cli_pages, cli_router
from selfroute.router.cli_ending import run
from selfroute.router.options import (
    Budget,
    Debug,
    Embedder,
    IndexDir,
    Json,
    Kv,
    MaxBytes,
    MaxCost,
    MaxSeconds,
    MaxTokens,
    Model,
    PathOption,
    Policy,
    Prefer,
    PriceIn,
    PriceOut,
    Question,
    Reader,
    Route,
    TopK,
    Update,
    Window,
)
from selfroute.router.options import configured as _config

app = typer.Typer(
    help="Answers questions about a codebase: each one is routed to retrieval or to long context, and every answer is"
    " cited.\n\nExample: selfroute ask 'Where is the session cookie signed?' --path ~/code/flask",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"selfroute {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    debug: Debug = False,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="The version.")] = False,
) -> None:
    pass


@app.command()
def index(
    path: Annotated[str, typer.Argument(help="Folder of the corpus.", metavar="[PATH]", show_default=False)] = "",
    path_option: Annotated[str, typer.Option("--path", help="The same, as an option.", metavar="DIR")] = ".",
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Make the index from nothing.")] = False,
    pages: Annotated[bool, typer.Option("--pages", help="Encode what long context reads, too.")] = False,
    embedder: Embedder = None,
    index_dir: IndexDir = None,
    max_file_bytes: MaxBytes = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Index a folder, or bring its index up to date.

    Example: selfroute index ~/code/flask
    """
    from selfroute.router import render
    from selfroute.router.build import encode_now, index_now

    config = _config(path or path_option, embedder=embedder, index_dir=index_dir, max_file_bytes=max_file_bytes)
    with render.progress_bar() as progress:
        report, directory = index_now(config, rebuild=rebuild, progress=progress)
        encoded = encode_now(config, progress=progress) if pages else None
    if json:
        counts = {} if encoded is None else {"pages": encoded[0], "pages_encoded": encoded[1]}
        render.put({**render.report_object(report, str(directory)), **counts})
    else:
        for line in render.report_lines(report, str(directory)):
            render.say(line, to=sys.stdout)
        if encoded:
            render.say(f"{encoded[0]:,} pages, {encoded[1]:,} of them encoded now", to=sys.stdout)
    _note(report.notes)


@app.command()
def search(
    query: Annotated[str, typer.Argument(help="- reads it from standard input.", metavar="QUERY")],
    path: PathOption = ".",
    top_k: TopK = None,
    embedder: Embedder = None,
    index_dir: IndexDir = None,
    update: Update = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Find the places that a query is about, best first.

    Example: selfroute search "where are cookies signed" --top-k 5
    """
    from selfroute.router import render
    from selfroute.router.build import open_index

    config = _config(path, top_k=top_k, embedder=embedder, index_dir=index_dir, update=update)
    with render.progress_bar() as progress:
        opened = open_index(config, progress=progress)
    with opened:
        hits = opened.search(_text(query), top_k=config.top_k)
        _note(opened.notes)
    for hit in hits:
        if json:
            render.put(render.hit_object(hit))
        else:
            for line in render.hit_lines(hit):
                render.say(line, to=sys.stdout)
    if not hits:
        render.say("note: nothing found")
    elif stale := sum(hit.stale for hit in hits):
        render.say(f"note: the files of {stale} hits changed since they were indexed")


@app.command()
def ask(
    question: Question,
    path: PathOption = ".",
    route: Route = None,
    policy: Policy = None,
    model: Model = None,
    window_tokens: Window = None,
    kv: Kv = None,
    prefer: Prefer = None,
    budget_tokens: Budget = None,
    max_tokens: MaxTokens = None,
    max_seconds: MaxSeconds = None,
    max_cost: MaxCost = None,
    price_in: PriceIn = None,
    price_out: PriceOut = None,
    embedder: Embedder = None,
    reader: Reader = None,
    index_dir: IndexDir = None,
    update: Update = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Answer a question with quotes from the corpus, or with what a language model makes of it. One without an answer
    there is said to have none.

    Example: selfroute ask "Where is the session cookie signed?" --path ~/code/flask
    """
    from contextlib import ExitStack

    from selfroute.router import render
    from selfroute.router.build import build
    from selfroute.router.events import AnswerEvent, DecisionEvent, TokensEvent

    config = _config(
        path,
        route=route,
        policy=policy,
        model=model,
        window_tokens=window_tokens,
        kv=kv,
        prefer=prefer,
        budget_tokens=budget_tokens,
        max_tokens=max_tokens,
        max_seconds=max_seconds,
        max_cost=max_cost,
        price_in=price_in,
        price_out=price_out,
        embedder=embedder,
        reader=reader,
        index_dir=index_dir,
        update=update,
    )
    text = _text(question)
    with (
        ExitStack() as bar,
        build(config, progress=bar.enter_context(render.progress_bar()), keep_updated=False) as router,
    ):
        for event in router.stream(text):
            if isinstance(event, DecisionEvent) and event.ahead:
                render.say(event.ahead)
            elif isinstance(event, TokensEvent) and not json:
                bar.close()
                render.give(event.text)
            elif isinstance(event, AnswerEvent):
                bar.close()
                answer = event.answer
        nearest = () if answer.answerable else router.nearest(text, answer)
        notes = router.index.notes
    if json:
        render.put(render.answer_object(answer))
        _note(render.hidden_notes(answer))
    else:
        render.say(to=sys.stdout)
        sys.stdout.flush()
        for line in render.answer_lines(answer):
            render.say(line)
        if not answer.answerable:
            for line in render.nearest_lines(nearest):
                render.say(line)
    _note(notes)


@app.command()
def explain(
    question: Question,
    path: PathOption = ".",
    route: Route = None,
    policy: Policy = None,
    prefer: Prefer = None,
    budget_tokens: Budget = None,
    max_tokens: MaxTokens = None,
    max_seconds: MaxSeconds = None,
    max_cost: MaxCost = None,
    index_dir: IndexDir = None,
    update: Update = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Show which route a question would take, and why; nothing is answered."""
    from selfroute.router import render
    from selfroute.router.build import build

    config = _config(
        path,
        route=route,
        policy=policy,
        prefer=prefer,
        budget_tokens=budget_tokens,
        max_tokens=max_tokens,
        max_seconds=max_seconds,
        max_cost=max_cost,
        index_dir=index_dir,
        update=update,
    )
    text = _text(question)
    with render.progress_bar() as progress:
        router = build(config, progress=progress, keep_updated=False)
    with router:
        decision, features = router.explain(text), router.features(text)
        _note(router.index.notes)
    if json:
        render.put(render.decision_object(decision, features))
    else:
        for line in render.decision_lines(decision, features):
            render.say(line, to=sys.stdout)


@app.command()
def graph(
    name: Annotated[str, typer.Argument(help="A function, class, module or file.", metavar="NAME")],
    path: PathOption = ".",
    html: Annotated[
        str, typer.Option("--html", help="Draw it into this file.", metavar="FILE", show_default=False)
    ] = "",
    hops: Annotated[int, typer.Option(help="How far the drawing reaches.", min=1, max=3)] = 1,
    embedder: Embedder = None,
    index_dir: IndexDir = None,
    update: Update = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Show what calls, imports, extends or mentions a name, and what it calls itself.

    Example: selfroute graph Flask.make_response --html flask.html
    """
    from selfroute.router import graphing, render
    from selfroute.router.build import open_index

    config = _config(path, embedder=embedder, index_dir=index_dir, update=update)
    with render.progress_bar() as progress:
        opened = open_index(config, progress=progress)
    with opened:
        found = graphing.around(opened, name)
        drawn = graphing.drawing(opened, name, hops) if html else ""
        _note(opened.notes)
    for one in found:
        if json:
            for edge in one.edges:
                render.put(graphing.edge_object(edge))
        else:
            for line in graphing.lines(one):
                render.say(line, to=sys.stdout)
    if html:
        render.write_file(html, drawn)
        render.say(f"note: drawn into {html}")


@app.command()
def doctor(
    path: PathOption = ".",
    check: Annotated[bool, typer.Option("--check", help="Verify every stored byte of the index.")] = False,
    repair: Annotated[bool, typer.Option("--repair", help="The same, and mend what is wrong.")] = False,
    embedder: Embedder = None,
    index_dir: IndexDir = None,
    max_file_bytes: MaxBytes = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Show the environment, the index, what was not indexed and why, what is masked or hidden in the files.

    --check and --repair end with exit code 0 when the index is whole, and with 3 when it is not, is not there, or stays
    locked by another process. The corpus is never written.
    """
    from selfroute.router import doctor as telling
    from selfroute.router import render

    config = _config(path, embedder=embedder, index_dir=index_dir, max_file_bytes=max_file_bytes)
    if not (check or repair):
        if json:
            render.put({"environment": telling.environment(), **telling.index_object(config)})
            return
        for line in (*telling.environment_lines(), *telling.index_lines(config)):
            render.say(line, to=sys.stdout)
        return
    with render.progress_bar() as progress:
        done, found = telling.repair_index(config, progress) if repair else ((), telling.check_index(config))
    if json:
        render.put(telling.checked_object(config, found, done))
    else:
        for line in telling.checked_lines(config, found, done):
            render.say(line, to=sys.stdout)
    telling.refuse_damage(config, found)


@app.command()
def config(path: PathOption = ".", json: Json = False, debug: Debug = False) -> None:
    """Show every setting, its value, and where that came from."""
    from selfroute.router import render
    from selfroute.router.config import SETTINGS, shown_value

    settings = _config(path)
    for key in SETTINGS:
        value, origin = getattr(settings, key), settings.origin(key)
        if json:
            render.put({"key": key, "value": value, "origin": origin})
        else:
            render.say(f"{key} = {shown_value(value)}  # {origin}", to=sys.stdout)


@app.command()
def models(
    hf_cache: Annotated[
        str, typer.Option("--hf-cache", help="Folder of the Hugging Face cache.", metavar="DIR", show_default=False)
    ] = "",
    fit: Annotated[
        str,
        typer.Option(help="Tell what this model takes, at each preset of --kv.", metavar="NAME", show_default=False),
    ] = "",
    tokens: Annotated[int, typer.Option(help="Of context, for --fit.", min=1)] = 131_072,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """List what is registered, what can be installed, and which models on this disk fit into memory.

    Example: selfroute models --fit ibm-granite/granite-4.0-h-350m --tokens 1000000
    """
    from itertools import chain
    from pathlib import Path

    from selfroute.router import render
    from selfroute.router.doctor import model_lines
    from selfroute.router.inventory import cached_lines, fits, hub_cache

    cache = Path(hf_cache) if hf_cache else hub_cache()
    if fit:
        for one in fits(fit, tokens, cache):
            if json:
                render.put(one.to_json())
            else:
                render.say(one.line(), to=sys.stdout)
        return
    for kind, name, state in chain(model_lines(), cached_lines(cache)):
        if json:
            render.put({"kind": kind, "name": name, "state": state})
        else:
            render.say(f"{kind:<13} {name:<22} {state}", to=sys.stdout)


app.command("eval")(cli_eval.eval_cases)
app.command()(cli_pages.pages)
app.add_typer(cli_router.app, name="router")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit code; prints what went wrong as `error:` and `hint:`."""
    return run(app, list(sys.argv[1:] if argv is None else argv) or ["--help"])


def _text(argument: str) -> str:
    """The argument, or standard input for -."""
    return sys.stdin.buffer.read().decode("utf-8", "replace").strip() if argument == "-" else argument


def _note(notes: Sequence[str]) -> None:
    from selfroute.router.render import say

    for note in notes:
        say(f"note: {note}")


if __name__ == "__main__":
    sys.exit(main())
