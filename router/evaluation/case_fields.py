"""One record of a case file made into a Case, with an error that says where and which field it is about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from selfroute.errors import ConfigError, CorpusError, SelfRouteError, UnknownNameError
from selfroute.memory.location import resolve_root
from selfroute.router.evaluation.cases import SCORERS, Case
from selfroute.router.evaluation.corpora import corpus_key

FIELDS = (
    "id", "question", "answers", "answer", "gold_files", "unanswerable", "path", "context", "group", "kind", "scorer",
    "budget_tokens"
)  # fmt: skip
EXAMPLE = '{"id": "1", "question": "Where is the cookie signed?", "gold_files": ["src/sessions.py"]}'
_WORDS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False, "": False}


@dataclass(slots=True)
class Fields:
    """Makes cases of the records of one file. base: what a relative path is below. root: of cases that name no corpus.

    Raises ConfigError, UnknownNameError and CorpusError, each with the place.
    """

    base: Path
    root: Path | None
    _folders: dict[str, str] = field(default_factory=dict)

    def case(self, record: Mapping[str, Any], place: str, number: int) -> Case:
        """place: for messages, "cases.jsonl, line 3". number: names a case that has no id."""
        for name in record:
            if name not in FIELDS:
                error = UnknownNameError("field", str(name), FIELDS)
                raise ConfigError(f"{place}: {error.message}", error.hint or f"a case looks like this: {EXAMPLE}")
        question = _text(record, "question", place)
        if not question.strip():
            raise ConfigError(f"{place}: no question", f"a case looks like this: {EXAMPLE}")
        answers, gold = self._answers(record, place), _texts(record, "gold_files", place)
        unanswerable = _flag(record, "unanswerable", place)
        if unanswerable and (answers or gold):
            has = "answers" if answers else "gold_files"
            raise ConfigError(
                f"{place}: unanswerable, and yet it has {has}", f"take one of them away: {has}, unanswerable"
            )
        if not (answers or gold or unanswerable):
            raise ConfigError(
                f"{place}: neither answers nor gold_files nor unanswerable: nothing says what is right",
                '"answers": ["..."], or "gold_files": ["src/a.py"], or "unanswerable": true',
            )
        scorer = _text(record, "scorer", place)
        if scorer and scorer not in SCORERS:
            error = UnknownNameError("scorer", scorer, SCORERS)
            raise ConfigError(f"{place}: {error.message}", error.hint)
        path, context = self._corpus(record, place)
        return Case(
            _text(record, "id", place) or str(number),
            question.strip(),
            answers,
            gold,
            unanswerable,
            path,
            context,
            _text(record, "group", place) or path or corpus_key(path, context),
            _text(record, "kind", place),
            scorer,
            _whole(record, "budget_tokens", place),
        )

    def _answers(self, record: Mapping[str, Any], place: str) -> tuple[str, ...]:
        both = [name for name in ("answers", "answer") if record.get(name) not in (None, "", [])]
        if len(both) > 1:
            raise ConfigError(f"{place}: both answers and answer", "put all of them into answers")
        return _texts(record, both[0], place) if both else ()

    def _corpus(self, record: Mapping[str, Any], place: str) -> tuple[str, str]:
        """(path, context) of a case: one of them is empty."""
        path, context = _text(record, "path", place), _text(record, "context", place)
        if path and context:
            raise ConfigError(f"{place}: both path and context", "a case is about one of them")
        if context:
            if not context.strip():
                raise ConfigError(f"{place}: context holds no text", "give the text, or a path")
            return "", context
        if not path and self.root is None:
            raise ConfigError(
                f"{place}: neither path nor context", "name the folder that the cases are about: --path DIR"
            )
        name = str(self.base / path) if path else str(self.root)
        if name not in self._folders:
            try:
                self._folders[name] = str(resolve_root(name))
            except SelfRouteError as error:
                raise CorpusError(f"{place}: {error.message}", error.hint) from error
        return self._folders[name], ""


def clean(text: str) -> str:
    """The text without what UTF-8 cannot hold."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _text(record: Mapping[str, Any], name: str, place: str) -> str:
    value = record.get(name)
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ConfigError(f"{place}: {name} must be a text, got {_shown(value)}", f'"{name}": "..."')
    return clean(str(value))


def _texts(record: Mapping[str, Any], name: str, place: str) -> tuple[str, ...]:
    value = record.get(name)
    if value is None:
        return ()
    found = list(value) if isinstance(value, list | tuple) else [value]
    for one in found:
        if isinstance(one, bool) or not isinstance(one, str | int | float) or not str(one).strip():
            raise ConfigError(f"{place}: {name} must be texts, got {_shown(one)}", f'"{name}": ["..."]')
    return tuple(clean(str(one)) for one in found)


def _whole(record: Mapping[str, Any], name: str, place: str) -> int:
    value = record.get(name)
    if value in (None, ""):
        return 0
    if not isinstance(value, bool) and str(value).isdecimal():
        return int(str(value))
    raise ConfigError(f"{place}: {name} must be a whole number, got {_shown(value)}", f'"{name}": 2000')


def _flag(record: Mapping[str, Any], name: str, place: str) -> bool:
    value = record.get(name)
    if value is None or isinstance(value, bool):
        return bool(value)
    if str(value).strip().lower() in _WORDS:
        return _WORDS[str(value).strip().lower()]
    raise ConfigError(f"{place}: {name} must be true or false, got {_shown(value)}", f'"{name}": true')


def _shown(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else shown[:57] + "..."
