"""What `selfroute doctor` and `selfroute models` tell: the environment, the index, what was left out, what there is."""

from __future__ import annotations

import platform
import sqlite3
import time
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from selfroute import __version__
from selfroute.errors import IndexMissingError
from selfroute.memory.base import Skipped
from selfroute.memory.location import locate
from selfroute.memory.walk import walk
from selfroute.registry import BUILT_IN, table
from selfroute.router.build import open_index
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


def environment_lines() -> Iterator[str]:
    """Versions of what selfroute runs on; nothing heavy is imported to find them."""
    yield f"selfroute {__version__}, Python {platform.python_version()}, {platform.platform()}"
    yield f"sqlite {sqlite3.sqlite_version}, " + ", ".join(f"{name} {_version(name)}" for name in PACKAGES)


def index_lines(config: Config) -> Iterator[str]:
    """The state of the index, then every file and folder that was skipped. Changes nothing."""
    directory = Path(config.index_dir) if config.index_dir else locate(config.root)
    yield f"corpus: {config.root}"
    yield f"index: {directory}"
    skipped: tuple[Skipped, ...]
    try:
        with open_index(config, update=False) as index:
            stats, notes = index.stats, index.notes
        built = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(stats.built_at))
        n_bytes = sum(file.stat().st_size for file in directory.iterdir() if file.is_file())
        yield f"  {stats.files:,} files, {stats.chunks:,} chunks, {stats.tokens:,} tokens, {n_bytes:,} bytes on disk"
        yield f"  generation {stats.generation} of {built}, embedder {stats.embedder}"
        yield from (f"  note: {note}" for note in notes)
        skipped = stats.skipped
    except IndexMissingError as error:
        yield f"  none: {error.message}; make one with: {error.hint}"
        skipped = walk(config.root, max_bytes=config.max_file_bytes).skipped
    yield skipped_line(skipped)
    yield from (f"  {skip.path}: {skip.reason}" for skip in skipped)


def model_lines() -> Iterator[tuple[str, str, str]]:
    """(kind, name, state) of every registered embedder, reader, policy and route."""
    for kind in (*KINDS_OF_MODELS, *sorted(set(BUILT_IN) - set(KINDS_OF_MODELS))):
        for name in sorted(table(kind)):
            module, install = OPTIONAL.get(name, ("", ""))
            yield kind, name, install if module and find_spec(module) is None else "installed"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
