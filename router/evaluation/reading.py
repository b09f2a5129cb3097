"""Case files: JSON lines, a JSON list, CSV, parquet, and SQuAD's, each by its name's ending, gzipped or not.

JSON lines, one case a line: {id, question, answers | answer, gold_files, unanswerable, path | context, group, kind,
scorer}. CSV and parquet: columns of these names; in CSV answers and gold_files are separated by |. SQuAD 1.1 and 2.0
(Rajpurkar et al. 2016, 2018): an article is a corpus and a group, its paragraphs one text.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import sys
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from selfroute.errors import ConfigError, MissingDependencyError
from selfroute.router.evaluation.case_fields import EXAMPLE, Fields
from selfroute.router.evaluation.cases import Case

LISTS = ("answers", "gold_files")
SEPARATOR = "|"
Records = Iterator[tuple[str, Mapping[str, Any]]]


def read_cases(file: str | Path, root: str | Path | None = None) -> list[Case]:
    """The cases of a file, in order. root: the corpus of cases that name none; relative paths are below it, and below
    the file's own folder without it.

    Raises ConfigError with file, line and field for what cannot be used, CorpusError for a folder that is missing,
    MissingDependencyError for parquet without pyarrow.
    """
    path = Path(file).expanduser()
    base = Path(root).expanduser() if root else path.absolute().parent
    fields = Fields(base, base if root else None)
    cases: list[Case] = []
    places: dict[str, str] = {}
    for number, (place, record) in enumerate(_records(path), 1):
        case = fields.case(record, place, number)
        if case.id in places:
            raise ConfigError(
                f"{place}: the id {case.id!r} is that of {places[case.id]}, too", "give each case its own"
            )
        places[case.id] = place
        cases.append(case)
    if not cases:
        raise ConfigError(f"{path} holds no case", f"a case is a line like this: {EXAMPLE}")
    return cases


def _records(path: Path) -> Records:
    """(place, record) of each case."""
    name = path.name.lower().removesuffix(".gz")
    if name.endswith(".parquet"):
        return _parquet(path)
    text = _text(path)
    if name.endswith(".csv"):
        return _csv(text, path)
    if name.endswith(".json"):
        return _json(text, path)
    return _json_lines(text, path)


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
        if path.name.lower().endswith(".gz"):
            content = gzip.decompress(content)
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ConfigError(f"{path}, line {line}: not UTF-8", f"iconv -t UTF-8 {path}") from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ConfigError(f"{path} is no whole gzip file: {error}", f"gzip -t {path}") from error
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}", f"ls -l {path}") from error


def _json_lines(text: str, path: Path) -> Records:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            place = f"{path}, line {number}"
            yield place, _object(_parsed(line, place), place)


def _json(text: str, path: Path) -> Records:
    """SQuAD's form, or a list of cases."""
    found = _parsed(text, str(path)) if text.strip() else []
    if isinstance(found, dict) and isinstance(found.get("data"), list):
        return _squad(found["data"], path)
    if not isinstance(found, list):
        raise ConfigError(
            f"{path} is neither a list of cases nor a file as SQuAD's", f"one case a line, as in: {EXAMPLE}"
        )
    return ((place, _object(one, place)) for place, one in _numbered(found, path, "case"))


def _parsed(text: str, place: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{place}: not JSON: {error}", f"a case looks like this: {EXAMPLE}") from error


def _object(value: Any, place: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ConfigError(f"{place}: not an object", f"a case looks like this: {EXAMPLE}")
    return value


def _csv(text: str, path: Path) -> Records:
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    reader = csv.DictReader(io.StringIO(text, newline=""))
    try:
        for record in reader:
            place = f"{path}, line {reader.line_num}"
            if None in record:
                raise ConfigError(f"{place}: more columns than the first line names", "put texts with commas in quotes")
            yield place, {name: _split(value) if name in LISTS else value for name, value in record.items() if value}
    except csv.Error as error:
        raise ConfigError(
            f"{path}, line {reader.line_num}: not CSV: {error}", "put texts with commas in quotes"
        ) from error


def _split(value: str) -> list[str]:
    return [part.strip() for part in value.split(SEPARATOR) if part.strip()]


def _parquet(path: Path) -> Records:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise MissingDependencyError("reading parquet", "pyarrow", "eval") from error
    try:
        rows = parquet.read_table(path).to_pylist()
    except (OSError, pyarrow.ArrowException) as error:
        raise ConfigError(f"cannot read {path}: {error}", "give a parquet file with a column question") from error
    return ((place, {k: v for k, v in row.items() if v is not None}) for place, row in _numbered(rows, path, "row"))


def _squad(articles: list[Any], path: Path) -> Records:
    for n_article, article in enumerate(articles, 1):
        place = f"{path}, article {n_article}"
        try:
            context = "\n\n".join(paragraph["context"].strip() for paragraph in article["paragraphs"])
            title = str(article.get("title") or n_article)
            for paragraph in article["paragraphs"]:
                for qa in paragraph["qas"]:
                    answers = [answer["text"] for answer in qa.get("answers") or ()]
                    none = bool(qa.get("is_impossible")) or not answers
                    record = {"id": qa.get("id"), "question": qa["question"], "context": context, "group": title}
                    known = {"unanswerable": True} if none else {"answers": list(dict.fromkeys(answers))}
                    yield f"{place}, question {qa.get('id')!r}", {**record, **known}
        except (KeyError, TypeError, AttributeError) as error:
            raise ConfigError(
                f"{place}: not as in SQuAD: {type(error).__name__}: {error}",
                '{"data": [{"title": ..., "paragraphs": [{"context": ..., "qas": [{"id", "question", "answers"}]}]}]}',
            ) from error


def _numbered(found: Iterable[Any], path: Path, what: str) -> Iterator[tuple[str, Any]]:
    for number, one in enumerate(found, 1):
        yield f"{path}, {what} {number}", one
