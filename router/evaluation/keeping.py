"""The cases of a run, kept in its folder as DIR/cases.jsonl: what is right of each, without the texts that it is about.

Training reads them beside the rows, so that a run's folder is all that it takes. The same cases give the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from selfroute.errors import ConfigError, CorpusError
from selfroute.router.evaluation.cases import Case
from selfroute.router.evaluation.corpora import corpus_key, group_of
from selfroute.router.evaluation.journal import RUN, cases_digest
from selfroute.router.evaluation.writing import write

CASES = "cases.jsonl"
CORPUS = "corpus"  # the key of what a case is about: a file of cases by a user has no such field


def check_place(folder: Path) -> None:
    """Raises ConfigError when the folder has a file of that name which no run wrote, such as a user's own cases."""
    content = _there(folder / CASES)
    if content and not _is_kept(content):
        raise ConfigError(
            f"{folder / CASES} was written by no run, and a run keeps its cases under that name",
            "give another folder: --out DIR",
        )


def keep_cases(folder: Path, cases: Sequence[Case]) -> None:
    """Writes them where they are not there yet, or were mended since.

    Raises ConfigError when the file cannot be written, or is one that no run wrote.
    """
    content = "".join(json.dumps(_object(case), separators=(",", ":")) + "\n" for case in cases).encode("ascii")
    if _there(folder / CASES) != content:
        check_place(folder)
        write(folder / CASES, content)


def read_kept(folder: Path) -> list[Case]:
    """The cases of the run in the folder, in their order; those about texts have their groups, and no text.

    Raises CorpusError for what is no folder, ConfigError for one that holds no run, no cases, or others than
    the run's.
    """
    again = f"selfroute eval CASES --out {folder}, as it was run before: what was run is kept"
    if folder.is_file():
        raise CorpusError(f"{folder} is a file, not the folder of a run", f"selfroute eval {folder} --out RUN")
    if not folder.is_dir():
        raise CorpusError(f"no folder {folder}", f"selfroute eval CASES --out {folder}")
    if not (folder / RUN).is_file():
        raise ConfigError(f"{folder} holds no run of selfroute eval", "selfroute eval CASES --out RUN")
    path = folder / CASES
    try:
        lines = path.read_bytes().splitlines()
        digest = json.loads((folder / RUN).read_bytes())["cases"]
    except FileNotFoundError as error:
        raise ConfigError(f"the run in {folder} has no {CASES}: an earlier version made it", again) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"cannot read the run in {folder}: {error}", again) from error
    cases, keys = [], []
    for number, line in enumerate(lines, 1):
        try:
            found = json.loads(line)
            cases.append(_case(found))
            keys.append(str(found[CORPUS]))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConfigError(f"{path}, line {number}: not a case of a run: {error!r}", again) from error
    if cases_digest(cases, keys) != digest:
        raise ConfigError(f"{path} holds other cases than those that were run", again)
    return cases


def _there(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return b""
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}", "give another folder: --out DIR") from error


def _object(case: Case) -> dict[str, Any]:
    return {
        "id": case.id,
        "question": case.question,
        "answers": case.answers,
        "gold_files": case.gold_files,
        "unanswerable": case.unanswerable,
        "path": case.path,
        CORPUS: corpus_key(case.path, case.context),
        "group": group_of(case),
        "kind": case.kind,
        "scorer": case.scorer,
        "budget_tokens": case.budget_tokens,
    }


def _case(found: Mapping[str, Any]) -> Case:
    return Case(
        id=str(found["id"]),
        question=str(found["question"]),
        answers=tuple(map(str, found["answers"])),
        gold_files=tuple(map(str, found["gold_files"])),
        unanswerable=bool(found["unanswerable"]),
        path=str(found["path"]),
        group=str(found["group"]),
        kind=str(found["kind"]),
        scorer=str(found["scorer"]),
        budget_tokens=int(found["budget_tokens"]),
    )


def _is_kept(content: bytes) -> bool:
    """Whether a run wrote it."""
    try:
        return all(CORPUS in json.loads(line) for line in content.splitlines())
    except (ValueError, TypeError):
        return False
