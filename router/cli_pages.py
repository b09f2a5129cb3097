"""`selfroute pages`: what is kept of a corpus as models have encoded it, and how often that was of use."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from selfroute.router.options import Debug, IndexDir, Json, PathOption, configured

if TYPE_CHECKING:
    from selfroute.memory.check import Checked
    from selfroute.memory.pages.stats import ModelStats, Stats


def pages(
    path: PathOption = ".",
    check: Annotated[bool, typer.Option("--check", help="Verify every stored byte.")] = False,
    repair: Annotated[bool, typer.Option("--repair", help="The same, and drop what is damaged.")] = False,
    clean: Annotated[bool, typer.Option("--clean", help="Drop what is not read any more.")] = False,
    index_dir: IndexDir = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Show the pages that are kept of a corpus: how many, their size, how often they were found, by model.

    --check ends with exit code 3 when something is not as it was written. --repair drops that; it is encoded again when
    it is needed. --clean drops the pages of texts that are gone, and of other models: an earlier version's, for one.
    """
    from selfroute.memory.pages.opening import FOLDER
    from selfroute.memory.pages.store import PageStore
    from selfroute.memory.pages.table import FILE
    from selfroute.router import render
    from selfroute.router.build import clean_pages

    config = configured(path, index_dir=index_dir)
    folder = _directory(config) / FOLDER
    if not (folder / FILE).exists():
        if json:
            render.put({"folder": str(folder), "pages": 0, "models": []})
        else:
            render.say(_nothing(folder), to=sys.stdout)
        return
    dropped = clean_pages(config) if clean else None
    with PageStore.open(folder) as store:
        checked = store.check_integrity(mend=repair) if check or repair else None
        told = store.stats()
        for note in store.notes:
            render.say(f"note: {note}")
    if json:
        counts = {} if dropped is None else {"dropped": dropped}
        render.put({**stats_object(told), **counts, **({} if checked is None else checked_object(checked))})
    else:
        if dropped is not None:
            render.say(f"dropped {dropped:,} pages", to=sys.stdout)
        for line in (*stats_lines(told), *(() if checked is None else checked_lines(checked))):
            render.say(line, to=sys.stdout)
    if checked is not None and not checked.ok and not repair:
        from selfroute.errors import IndexCorruptError

        raise IndexCorruptError(
            f"{len(checked.problems)} things are wrong with the pages in {folder}", "selfroute pages --repair"
        )


def stats_object(stats: Stats) -> dict[str, Any]:
    """What `pages --json` gives."""
    models = [
        {
            "fingerprint": model.fingerprint,
            "pages": model.pages,
            "tokens": model.tokens,
            "bytes": model.n_bytes,
            "encode_seconds": model.seconds,
            "found": dict(model.found),
            "encoded": model.encoded,
            "hit_rate": model.hit_rate,
        }
        for model in stats.models
    ]
    return {
        "folder": str(stats.folder),
        "pages": stats.pages,
        "bytes": stats.n_bytes,
        "disk_bytes": stats.disk_bytes,
        "segments": stats.segments,
        "models": models,
    }


def stats_lines(stats: Stats) -> Iterator[str]:
    """The same for people."""
    if not stats.models:
        yield _nothing(stats.folder)
        return
    yield f"pages: {stats.folder}"
    yield (
        f"{stats.pages:,} pages, {_size(stats.n_bytes)};"
        f" {_size(stats.disk_bytes)} on the disk in {stats.segments:,} segments"
    )
    for model in stats.models:
        yield from _model_lines(model)


def _nothing(folder: Path) -> str:
    return f"no pages are kept in {folder}: selfroute index --pages makes them"


def checked_object(checked: Checked) -> dict[str, Any]:
    """What `pages --check --json` adds."""
    problems = [{"part": problem.part, "what": problem.what} for problem in checked.problems]
    return {"ok": checked.ok, "verified": dict(checked.verified), "problems": problems, "notes": list(checked.notes)}


def checked_lines(checked: Checked) -> Iterator[str]:
    """The same for people."""
    yield from (f"wrong: {problem.part}: {problem.what}" for problem in checked.problems)
    yield from (f"note: {note}" for note in checked.notes)
    yield "as written: " + (", ".join(f"{n:,} {what}" for what, n in checked.verified.items()) or "nothing")


def _model_lines(model: ModelStats) -> Iterator[str]:
    each = f", {model.n_bytes / model.tokens:,.0f} bytes a token" if model.tokens else ""
    size = f"{model.pages:,} pages, {model.tokens:,} tokens, {_size(model.n_bytes)}{each}"
    yield f"model {model.fingerprint[:16]}: {size}"
    tiers = ", ".join(f"{n:,} {_TIERS[tier]}" for tier, n in model.found.items() if n) or "none"
    rate = "" if model.hit_rate is None else f"; hit rate {model.hit_rate:.1%}"
    yield f"  asked for and found: {tiers}; encoded: {model.encoded:,} in {model.seconds:,.1f} s{rate}"


_TIERS = {"disk": "on the disk", "host": "in memory", "device": "on the device"}


def _size(n: int) -> str:
    """1,234 B, 12.3 MB, 4.56 GB."""
    for unit, size in (("GB", 10**9), ("MB", 10**6)):
        if n >= size:
            return f"{n / size:.3g} {unit}"
    return f"{n:,} B"


def _directory(config: Any) -> Path:
    from selfroute.memory.location import locate

    return Path(config.index_dir) if config.index_dir else locate(config.root)
