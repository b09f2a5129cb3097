"""What `selfroute doctor` and `selfroute models` tell: the environment, the index, what was left out, what is noted."""

from __future__ import annotations

import platform
import shlex
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from selfroute import __version__
from selfroute.errors import IndexCorruptError, IndexMissingError
from selfroute.memory.base import Progress, Skipped
from selfroute.memory.check import Checked, check, unwritten
from selfroute.memory.hidden import told
from selfroute.memory.location import locate
from selfroute.memory.noteworthy import Noted, noteworthy
from selfroute.memory.repair import repair
from selfroute.memory.walk import walk
from selfroute.registry import BUILT_IN, table
from selfroute.router.build import make_embedder, open_index
from selfroute.router.config import Config
from selfroute.router.render import skipped_line

PACKAGES = ("numpy", "faiss-cpu", "tree-sitter", "langchain-core", "torch", "transformers", "sentence-transformers")
# Registered names that need more than the default installation: the module they look for, and what installs it.
OPTIONAL = {
    "sentence-transformers": ("sentence_transformers", "pip install 'selfroute[transformers]'"),
    "transformers": ("transformers", "pip install 'selfroute[transformers]'"),
    "openai": ("langchain_openai", "pip install 'selfroute[openai]'"),
}
KINDS_OF_MODELS = ("embedder", "reader", "generator")


def environment() -> dict[str, str]:
    """Versions of what selfroute runs on; nothing heavy is imported to find them."""
    return {
        "selfroute": __version__,
        "Python": platform.python_version(),
        "platform": platform.platform(),
        "sqlite": sqlite3.sqlite_version,
        **{name: _version(name) for name in PACKAGES},
    }


def environment_lines() -> Iterator[str]:
    """The same, in two lines."""
    found = environment()
    yield f"selfroute {found.pop('selfroute')}, Python {found.pop('Python')}, {found.pop('platform')}"
    yield ", ".join(f"{name} {number}" for name, number in found.items())


def index_object(config: Config) -> dict[str, Any]:
    """The state of the index, what was skipped, and what is noteworthy in the files. Changes nothing."""
    directory = directory_of(config)
    walked = walk(config.root, max_bytes=config.max_file_bytes)
    state: dict[str, Any] | None
    skipped: tuple[Skipped, ...]
    missing: dict[str, str] = {}
    try:
        with open_index(config, update=False) as index:
            stats, notes = index.stats, index.notes
        state = {
            "files": stats.files,
            "chunks": stats.chunks,
            "tokens": stats.tokens,
            "bytes": sum(file.stat().st_size for file in directory.iterdir() if file.is_file()),
            "generation": stats.generation,
            "built_at": stats.built_at,
            "embedder": stats.embedder,
            "notes": list(notes),
        }
        skipped = stats.skipped
    except IndexMissingError as error:
        state, skipped = None, walked.skipped
        missing = {"message": error.message, "hint": error.hint}
    noted = noteworthy(config.root, walked, max_bytes=config.max_file_bytes)
    return {
        "corpus": str(config.root),
        "directory": str(directory),
        "index": state,
        "missing": missing,
        "skipped": [{"path": skip.path, "reason": skip.reason} for skip in skipped],
        "noted": [{"path": file.path, "masked": file.n_masked, "hidden": dict(file.hidden)} for file in noted],
    }


def index_lines(config: Config) -> Iterator[str]:
    """The state of the index, then every file and folder that was skipped, then what is noteworthy in the files."""
    found = index_object(config)
    yield f"corpus: {found['corpus']}"
    yield f"index: {found['directory']}"
    state = found["index"]
    if state is None:
        yield f"  none: {found['missing']['message']}; make one with: {found['missing']['hint']}"
    else:
        built = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(state["built_at"]))
        counts = ("files", "chunks", "tokens")
        yield f"  {', '.join(f'{state[key]:,} {key}' for key in counts)}, {state['bytes']:,} bytes on disk"
        yield f"  generation {state['generation']} of {built}, embedder {state['embedder']}"
        yield from (f"  note: {note}" for note in state["notes"])
    skipped = [Skipped(skip["path"], skip["reason"]) for skip in found["skipped"]]
    yield skipped_line(skipped)
    yield from (f"  {skip.path}: {skip.reason}" for skip in skipped)
    noted = [Noted(file["path"], file["masked"], Counter(file["hidden"])) for file in found["noted"]]
    if noted:
        yield f"noted in {len(noted):,} files"
        yield from (f"  {file.path}: {_noted(file)}" for file in noted)


def check_index(config: Config) -> Checked:
    """Every stored byte of the index compared with its checksum; see memory.check."""
    directory = directory_of(config)
    with unwritten(directory):
        return check(config.root, directory)


def repair_index(config: Config, progress: Progress | None = None) -> tuple[tuple[str, ...], Checked]:
    """What was mended, and the check afterwards; see memory.repair."""
    mended = repair(
        config.root,
        directory_of(config),
        make_embedder(config),
        max_file_bytes=config.max_file_bytes,
        progress=progress,
    )
    return mended.done, mended.checked


def checked_object(config: Config, checked: Checked, done: tuple[str, ...]) -> dict[str, Any]:
    """What `doctor --check --json` and `doctor --repair --json` give."""
    return {
        "directory": str(directory_of(config)),
        "ok": checked.ok,
        "verified": dict(checked.verified),
        "problems": [{"part": p.part, "path": p.path, "what": p.what} for p in checked.problems],
        "repaired": list(done),
        "notes": list(checked.notes),
    }


def checked_lines(config: Config, checked: Checked, done: tuple[str, ...]) -> Iterator[str]:
    """What was mended, what is wrong, and a count of what is as it was written."""
    yield f"index: {directory_of(config)}"
    yield from (f"repaired: {what}" for what in done)
    yield from (f"wrong: {problem.part}: {problem.what}" for problem in checked.problems)
    yield from (f"note: {note}" for note in checked.notes)
    yield "as written: " + (", ".join(f"{n:,} {what}" for what, n in checked.verified.items()) or "nothing")


def refuse_damage(config: Config, checked: Checked) -> None:
    """Raises IndexCorruptError when something is wrong."""
    if not checked.ok:
        named = f" --index-dir {shlex.quote(config.index_dir)}" if config.index_dir else ""
        raise IndexCorruptError(
            f"{len(checked.problems)} things are wrong with the index in {directory_of(config)}",
            f"selfroute doctor --repair --path {shlex.quote(str(config.root))}{named}",
        )


def directory_of(config: Config) -> Path:
    """The folder of the configured index."""
    return Path(config.index_dir) if config.index_dir else locate(config.root)


def model_lines() -> Iterator[tuple[str, str, str]]:
    """(kind, name, state) of every registered embedder, reader, policy and route."""
    for kind in (*KINDS_OF_MODELS, *sorted(set(BUILT_IN) - set(KINDS_OF_MODELS))):
        for name in sorted(table(kind)):
            module, install = OPTIONAL.get(name, ("", ""))
            yield kind, name, install if module and find_spec(module) is None else "installed"


def _noted(file: Noted) -> str:
    masked = f"{file.n_masked:,} value{'s' if file.n_masked > 1 else ''} masked" if file.n_masked else ""
    hidden = f"hidden characters: {told(file.hidden)}" if file.hidden else ""
    return "; ".join(part for part in (masked, hidden) if part)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
