"""`selfroute router`: train the router on runs of one's own, and see which one is in use."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from selfroute.router.options import Debug, IndexDir, Json, PathOption, configured

app = typer.Typer(help="Train the router on your own questions, and see which one is in use.", no_args_is_help=True)


@app.command()
def train(
    runs: Annotated[list[str], typer.Argument(help="Folders that selfroute eval wrote.", metavar="RUN...")],
    path: PathOption = ".",
    scorer: Annotated[str, typer.Option(help="As in selfroute eval.")] = "auto",
    force: Annotated[bool, typer.Option("--force", help="Use the new router even if it is not better.")] = False,
    signals: Annotated[
        bool, typer.Option("--signals", help="Learn from the global read of pages, too, where runs have it.")
    ] = False,
    index_dir: IndexDir = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Fit the router on runs of selfroute eval, and use it for this corpus if it is better than the one in use.

    Example: selfroute router train questions-eval --path ~/code/flask
    """
    from selfroute.router import render
    from selfroute.router.classifier.training import train_router

    config = configured(path, index_dir=index_dir)
    done = train_router(
        [Path(run).expanduser() for run in runs],
        directory=_directory(config),
        scorer=scorer,
        force=force,
        signals=signals,
    )
    if json:
        render.put(done.to_json())
    else:
        for line in done.lines():
            render.say(line, to=sys.stdout)


@app.command()
def show(
    path: PathOption = ".",
    use: Annotated[
        str, typer.Option(help="Put this version in use, or: shipped.", metavar="NAME", show_default=False)
    ] = "",
    index_dir: IndexDir = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Show which router is in use for a corpus, what it was trained on, and which others are kept."""
    from selfroute.router import render
    from selfroute.router.classifier.training import router_lines, router_object
    from selfroute.router.classifier.versions import Versions

    directory = _directory(configured(path, index_dir=index_dir))
    versions = Versions(directory)
    if use:
        versions.use("" if use == "shipped" else use)
    if json:
        render.put(router_object(versions))
    else:
        for line in router_lines(versions):
            render.say(line, to=sys.stdout)


def _directory(config: Any) -> Path:
    from selfroute.memory.location import locate

    return Path(config.index_dir) if config.index_dir else locate(config.root)
