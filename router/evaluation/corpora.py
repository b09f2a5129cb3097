"""The corpora of a run: each folder or text that cases are about, and where its index lies.

Everything is below the folder of the run, never in the corpus: DIR/corpora/KEY/index, and for a text DIR/corpora/KEY/
files/context.txt. What an index keeps there of one case must not make another one cheaper, so no reader's scores are.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path

from selfroute.errors import ConfigError
from selfroute.memory.location import prepare
from selfroute.router.evaluation.cases import Case
from selfroute.router.evaluation.writing import write

CONTEXT_FILE = "context.txt"
FOLDER = "corpora"


@dataclass(frozen=True, slots=True)
class Corpus:
    """One corpus and its cases in their order. path: "" for a text."""

    key: str
    path: str
    context: str
    cases: tuple[Case, ...] = field(repr=False)

    def root(self, run: Path) -> Path:
        """The folder that is indexed; a text is written there first. Raises ConfigError when that cannot be done."""
        if self.path:
            return Path(self.path)
        folder = run / FOLDER / self.key / "files"
        file, content = folder / CONTEXT_FILE, self.context.encode("utf-8", "replace")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            same = file.is_file() and file.read_bytes() == content
        except OSError as error:
            raise ConfigError(f"cannot write {file}: {error.strerror}", "give another folder: --out DIR") from error
        if not same:
            write(file, content)
        return folder

    def index_directory(self, run: Path) -> Path:
        """Where its index lies."""
        return run / FOLDER / self.key / "index"


def corpora_of(cases: Iterable[Case]) -> list[Corpus]:
    """The corpora in the order in which cases first name them."""
    found: dict[tuple[str, str], list[Case]] = {}
    for case in cases:
        found.setdefault((case.path, "" if case.path else case.context), []).append(case)
    return [Corpus(corpus_key(path, context), path, context, tuple(of)) for (path, context), of in found.items()]


def group_of(case: Case) -> str:
    """The group that a case belongs to: the corpus, when it names none."""
    return case.group or corpus_key(case.path, case.context)


def make_run_folder(run: Path) -> None:
    """Makes the folder of a run, marked so that neither git nor an index of what it lies in takes it up."""
    try:
        prepare(run)
    except ConfigError as error:
        raise ConfigError(
            f"no run can be kept in {run}: {error.__cause__}", "give another folder: --out DIR"
        ) from error


def corpus_key(path: str, context: str) -> str:
    """Short, and the same for the same folder or text."""
    seen = f"path\0{path}" if path else f"context\0{context}"
    return blake2b(seen.encode("utf-8", "surrogatepass"), digest_size=10).hexdigest()
