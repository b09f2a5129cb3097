"""Options that several commands share, and the settings that they make."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from selfroute.router.config import Config

# `model` in the contract; every other option is a setting of selfroute.router.config under the same name.
Question = Annotated[str, typer.Argument(help="- reads it from standard input.", metavar="QUESTION")]
PathOption = Annotated[str, typer.Option("--path", help="Folder of the corpus.", metavar="DIR")]
Route = Annotated[str | None, typer.Option(help="auto, retrieval or long-context.", show_default=False)]
Policy = Annotated[
    str | None, typer.Option(help="What chooses the route: rules, random, always-...", show_default=False)
]
Model = Annotated[
    str | None,
    typer.Option(help="A language model: a folder, a hub name, or openai:URL#NAME.", show_default=False),
]
Window = Annotated[
    int | None, typer.Option(help="The most that a model's prompt and answer may take.", show_default=False)
]
Kv = Annotated[
    str | None,
    typer.Option("--kv", help="Pack a local model's keys and values: k8v8, k4v8, k4v4.", show_default=False),
]
Budget = Annotated[int | None, typer.Option(help="Tokens of context to answer from.", show_default=False)]
MaxTokens = Annotated[int | None, typer.Option(help="The most tokens that a question may read.", show_default=False)]
TopK = Annotated[int | None, typer.Option(help="Hits to return.", show_default=False)]
Embedder = Annotated[
    str | None, typer.Option(help="static, hashing, or sentence-transformers:NAME.", show_default=False)
]
Reader = Annotated[str | None, typer.Option(help="What reads the context.", show_default=False)]
IndexDir = Annotated[str | None, typer.Option(help="Folder of the index.", metavar="DIR", show_default=False)]
MaxBytes = Annotated[int | None, typer.Option(help="Larger files are not indexed.", show_default=False)]
Update = Annotated[
    bool | None, typer.Option("--update/--no-update", help="Index changed files first.", show_default=False)
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
Prefer = Annotated[
    str | None, typer.Option(help="What an answer is worth: balanced, quality, speed or cost.", show_default=False)
]
MaxSeconds = Annotated[
    float | None, typer.Option(help="The most seconds that a question may take.", show_default=False)
]
MaxCost = Annotated[float | None, typer.Option(help="The most dollars that a question may cost.", show_default=False)]
PriceIn = Annotated[
    float | None, typer.Option(help="Dollars for a million tokens that the model reads.", show_default=False)
]
PriceOut = Annotated[
    float | None, typer.Option(help="Dollars for a million tokens that the model writes.", show_default=False)
]


def configured(path: str, **options: Any) -> Config:
    """The settings for a corpus, with these options."""
    from selfroute.router.config import load

    return load(path, options)
