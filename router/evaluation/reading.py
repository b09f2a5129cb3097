"""Cases out of files: JSON lines, CSV, parquet, and SQuAD's own format. What cannot be used is named with its line."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

from selfroute.errors import ConfigError, MissingDependencyError, UnknownNameError
from selfroute.router.evaluation.cases import SCORERS, Case

FIELDS = tuple(f.name for f in fields(Case))
ALSO = {"answer": "answers", "gold_file": "gold_files"}
_LISTS = ("answers", "gold_files")
_SEPARATOR = "|"  # between the answers of one cell
_EXAMPLE = '{"id": "1", "question": "Which port is used?", "answers": ["8080"], "path": "my-project"}'


def read_cases(file: Path, *, path: Path | None = None) -> list[Case]:
    """Every case, in order. path: the corpus of cases that name none.

    JSON lines (.jsonl), CSV (.csv, several answers separated by |), parquet (.parquet), SQuAD 1.1 and 2.0 (.json,
    .json.gz: one corpus and one group an article). A relative path is one beside the file. Raises ConfigError, which
    names the line and the field, UnknownNameError for a field that does not exist, MissingDependencyError without
    pyarrow for parquet.
    """
    if not file.is_file():
        raise ConfigError(f"no such file: {file}", f"a file of lines like {_EXAMPLE}")
    name = file.name.removesuffix(".gz")
    try:
        content = b"" if name.endswith(".parquet") else file.read_bytes()
        text = (gzip.decompress(content) if file.suffix == ".gz" else content).decode("utf-8-sig")
        if name.endswith(".parquet"):
            found = list(_checked(file, enumerate(_parquet(file), 1)))
        elif name.endswith(".csv"):
            found = list(_checked(file, _csv(text)))
        elif name.endswith(".json"):
            found = list(_squad(json.loads(text)))
        else:
            found = list(_checked(file, _lines(file, text)))
    except (UnicodeDecodeError, gzip.BadGzipFile, EOFError, OSError) as error:
        raise ConfigError(f"{file} cannot be read: {error}", "a UTF-8 file of cases") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{file} is neither JSON lines nor SQuAD: {error!r}", "name it .jsonl, .csv or .parquet"
        ) from error
    if not found:
        raise ConfigError(f"{file} holds no case", f"a line like {_EXAMPLE}")
    return [_placed(case, file, path) for case in found]


def _lines(file: Path, text: str) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except ValueError as error:
                raise ConfigError(f"{file}:{number} is not JSON: {error}", f"a line like {_EXAMPLE}") from error


def _csv(text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    reader = csv.DictReader(io.StringIO(text, newline=""))
    for row in reader:
        yield reader.line_num, {key: value for key, value in row.items() if key and value}


def _parquet(file: Path) -> list[dict[str, Any]]:
    try:
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise MissingDependencyError("reading parquet", "pyarrow", "eval") from error
    try:
        rows: list[dict[str, Any]] = parquet.read_table(file).to_pylist()
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file} is no parquet file: {error}", "a file of columns question, answers, path") from error
    return [{key: value for key, value in row.items() if value is not None} for row in rows]


def _checked(file: Path, rows: Iterable[tuple[int, Any]]) -> Iterator[Case]:
    seen: dict[str, int] = {}
    for number, row in rows:
        where = f"{file}:{number}"
        if not isinstance(row, Mapping):
            raise ConfigError(f"{where} is no object", f"a line like {_EXAMPLE}")
        case = _case(where, {ALSO.get(key, key): value for key, value in row.items()}, str(number))
        if case.id in seen:
            raise ConfigError(f"{where} has the id {case.id!r} of line {seen[case.id]}", "give every case its own id")
        seen[case.id] = number
        yield case


def _case(where: str, row: Mapping[str, Any], number: str) -> Case:
    made: dict[str, Any] = {"id": number}
    for key, value in row.items():
        if key not in FIELDS:
            raise UnknownNameError(f"field in {where}:", key, FIELDS)
        if key in _LISTS:
            made[key] = _list(where, key, value)
        elif key == "unanswerable":
            made[key] = _truth(where, key, value)
        elif key == "budget_tokens":
            made[key] = _whole(where, key, value)
        elif isinstance(value, str | int | float) and not isinstance(value, bool):
            made[key] = str(value)
        else:
            raise ConfigError(f"{where}: {key} must be a text, got {value!r}", f'"{key}": "..."')
    case = Case(**{"question": "", **made})
    if not case.question.strip():
        raise ConfigError(f"{where} has no question", f"a line like {_EXAMPLE}")
    if not (case.answers or case.gold_files or case.unanswerable):
        raise ConfigError(
            f"{where} does not say what is right", '"answers": [...], "gold_files": [...] or "unanswerable": true'
        )
    if case.unanswerable and case.answers:
        raise ConfigError(f"{where} is unanswerable and has answers", "leave one of the two out")
    if case.path and case.context:
        raise ConfigError(f"{where} has both path and context", "leave one of the two out")
    if case.scorer and case.scorer not in SCORERS:
        raise UnknownNameError(f"scorer in {where}:", case.scorer, SCORERS)
    return case


def _list(where: str, key: str, value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        value = value.split(_SEPARATOR)
    if not isinstance(value, list | tuple) or not all(isinstance(one, str | int | float) for one in value):
        raise ConfigError(f"{where}: {key} must be a list of texts, got {value!r}", f'"{key}": ["..."]')
    return tuple(str(one).strip() for one in value if str(one).strip())


def _truth(where: str, key: str, value: Any) -> bool:
    meant = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}.get(str(value).lower())
    if meant is None:
        raise ConfigError(f"{where}: {key} must be true or false, got {value!r}", f'"{key}": true')
    return meant


def _whole(where: str, key: str, value: Any) -> int:
    if isinstance(value, bool) or not str(value).isdecimal():
        raise ConfigError(f"{where}: {key} must be a whole number, got {value!r}", f'"{key}": 2000')
    return int(value)


def _squad(found: Any) -> Iterator[Case]:
    for article in found["data"]:
        context = "\n\n".join(paragraph["context"] for paragraph in article["paragraphs"])
        title = str(article.get("title", ""))
        for paragraph in article["paragraphs"]:
            for qa in paragraph["qas"]:
                answers = () if qa.get("is_impossible") else tuple(dict.fromkeys(a["text"] for a in qa["answers"]))
                yield Case(
                    id=str(qa["id"]),
                    question=qa["question"].strip(),
                    answers=answers,
                    unanswerable=not answers,
                    context=context,
                    group=title,
                    kind="answerable" if answers else "unanswerable",
                    scorer="f1" if answers else "",
                )


def _placed(case: Case, file: Path, path: Path | None) -> Case:
    """The case with its corpus, absolute, and its group: the corpus, unless it says another."""
    if case.context:
        digest = blake2b(case.context.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()
        return replace(case, group=case.group or f"context-{digest}")
    if not case.path and path is None:
        raise ConfigError(
            f"case {case.id!r} in {file} names no corpus", "--path DIR, or a path or a context in each case"
        )
    root = (file.parent / Path(case.path).expanduser()) if case.path else path
    assert root is not None
    root = root.resolve()
    if not root.is_dir():
        raise ConfigError(
            f"case {case.id!r} in {file}: no such folder: {root}", "a path beside the file, or an absolute one"
        )
    return replace(case, path=str(root), group=case.group or case.path)
