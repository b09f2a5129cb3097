"""The cases of a run, beside its rows: what they ask, what is right, and which routes were, by the report's scores."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from selfroute.errors import ConfigError
from selfroute.router.evaluation.cases import Case
from selfroute.router.evaluation.corpora import group_of
from selfroute.router.evaluation.scoring import Score
from selfroute.router.evaluation.writing import write

FILE = "cases.jsonl"
RIGHT = "right"
_LISTS = ("answers", "gold_files")
_BLANK = Case("", "")


@dataclass(frozen=True, slots=True)
class KeptCase:
    """case: without the text that it is about, and with its group. right: of each route; None where it is unscored."""

    case: Case
    right: Mapping[str, bool | None]


def keep_cases(folder: Path, cases: Sequence[Case], scores: Mapping[str, Mapping[str, Score]]) -> None:
    """Writes them into the folder of a run, in place of those of an earlier turn. scores: case -> route -> score.

    Raises ConfigError when it cannot be written.
    """
    lines = []
    for case in cases:
        said = asdict(case) | {"context": "", "group": group_of(case)}
        found = {name: value for name, value in said.items() if value}
        found[RIGHT] = {route: score.right for route, score in scores[case.id].items()}
        lines.append(json.dumps(found, separators=(",", ":")) + "\n")
    write(folder / FILE, "".join(lines))


def kept_cases(folder: Path) -> list[KeptCase]:
    """Those of a run, in order. Raises ConfigError when there are none, or they are not as keep_cases leaves them."""
    path, again = folder / FILE, f"selfroute eval CASES --out {folder}"
    try:
        return [_kept(json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]
    except OSError as error:
        raise ConfigError(f"no evaluated cases in {folder}: {error.strerror}", again) from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ConfigError(f"{path} is damaged: {error!r}", again) from error


def _kept(found: dict[str, Any]) -> KeptCase:
    right = found.pop(RIGHT)
    if any(value not in (True, False, None) for value in right.values()):
        raise ValueError(f"right is {right!r}")
    found.update({name: tuple(map(str, found[name])) for name in _LISTS if name in found})
    case = Case(**found)
    for field in fields(Case):
        if type(getattr(case, field.name)) is not type(getattr(_BLANK, field.name)):
            raise ValueError(f"{field.name} is {getattr(case, field.name)!r}")
    return KeptCase(case, right)
