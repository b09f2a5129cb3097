"""Questions about code as cases to be asked, and how an answer to one is judged."""

from __future__ import annotations

import json
import random
import re
import shutil
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from selfroute import Answer
from selfroute.models.training.code_absent import absent_questions
from selfroute.models.training.code_package import Package
from selfroute.models.training.code_questions import CodeQuestion, questions_of
from selfroute.types import Chunk, Citation

KEPT_FILES = ("METADATA", "entry_points.txt")
TEST_FOLDERS = frozenset({"tests", "test", "testing"})
_BETWEEN = re.compile(r"[\0\s,;.`'\"()*•-]|\band\b")
_EDGES = " \t\n`'\".,;:"


@dataclass(frozen=True, slots=True)
class Evidence:
    """The definition that holds the answer: lines from 1, inclusive."""

    path: str
    start_line: int
    end_line: int


@dataclass(frozen=True, slots=True)
class Case:
    """A question. answers: none when the corpus has no answer; match: whether each alone is right, or all together.

    package: the corpus that it is about, "" when there is but one.
    """

    id: str
    kind: str
    question: str
    answers: tuple[str, ...]
    match: str
    evidence: tuple[Evidence, ...]
    package: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one answer was worth. read: a chunk of the definition was read. seconds: of the whole call."""

    case: Case
    exact: bool
    contained: bool
    cited: bool
    read: bool
    declined: bool
    seconds: float
    text: str = ""


def judged(case: Case, answer: Answer, seconds: float) -> Verdict:
    """Compares the answer with the case; a decline is neither exact nor cited."""
    declined = not answer.answerable
    text = "" if declined else answer.text
    return Verdict(
        case,
        exact=not declined and is_exact(text, case.answers, case.match),
        contained=not declined and is_contained(text, case.answers, case.match),
        cited=not declined and any(_overlaps(c, e) for c in answer.citations for e in case.evidence),
        read=any(_overlaps(c, e) for attempt in answer.attempts for c in attempt.chunks for e in case.evidence),
        declined=declined,
        seconds=seconds,
        text=text,
    )


def normalised(text: str) -> str:
    """One blank between words; no quotes, backticks or punctuation at the ends."""
    return " ".join(text.split()).strip(_EDGES)


def is_exact(text: str, answers: Sequence[str], match: str) -> bool:
    """Whether the text is one of the answers, or, for match "all", a list of exactly these in any order."""
    wanted = [normalised(answer) for answer in answers]
    if match != "all":
        return normalised(text) in wanted
    left = text
    for answer in sorted(map(str.strip, answers), key=len, reverse=True):
        if answer not in left:
            break
        left = left.replace(answer, "\0", 1)
    listed = left.count("\0") == len(answers) and not _BETWEEN.sub("", left)
    return listed or (len(wanted) == 1 and normalised(text) == wanted[0])


def is_contained(text: str, answers: Sequence[str], match: str) -> bool:
    """Whether the text holds one of the answers, or all."""
    there = normalised(text)
    found = [normalised(answer) in there for answer in answers]
    return (all if match == "all" else any)(found) if found else False


def _overlaps(place: Chunk | Citation, evidence: Evidence) -> bool:
    in_file = place.path == evidence.path
    return in_file and place.start_line <= evidence.end_line and place.end_line >= evidence.start_line


def copy_package(name: str, target: Path) -> bool:
    """Copies an installed distribution, with its metadata, or a folder; False when there is none of that name."""
    if Path(name).is_dir():
        shutil.copytree(name, target, ignore=shutil.ignore_patterns(".git", "__pycache__", ".venv"))
        return True
    try:
        found = distribution(name)
    except PackageNotFoundError:
        return False
    for entry in found.files or ():
        source = Path(str(found.locate_file(entry)))
        inside = not entry.as_posix().startswith("..") and "__pycache__" not in entry.parts
        wanted = not entry.parts[0].endswith(".dist-info") or entry.name in KEPT_FILES
        if inside and wanted and source.is_file():
            inner = entry.as_posix().replace(".dist-info/", "/")  # a folder of that name is never indexed
            (target / inner).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target / inner)
    return target.is_dir()


def generated(corpora: dict[str, Path], *, per_kind: int, n_absent: int, seed: int, noise: bool = True) -> list[Case]:
    """Cases in wordings that are held out from training: per_kind of each kind over all packages, as evenly as can be.

    corpora: package -> its folder. What the packages' own tests define is part of the corpus, and not asked about.
    """
    by_kind: dict[str, dict[str, list[CodeQuestion]]] = defaultdict(lambda: defaultdict(list))
    cases: list[Case] = []
    for number, (name, folder) in enumerate(corpora.items()):
        package = Package.of(_files(folder))
        for path in package.files:
            if not TEST_FOLDERS & set(Path(path).parts):
                for question in questions_of(
                    package.files[path], path, package=package, split="heldout", seed=seed, noise=noise
                ):
                    by_kind[question.kind][name].append(question)
        share = n_absent // len(corpora) + (number < n_absent % len(corpora))
        absent = absent_questions(package, share, split="heldout", seed=seed, noise=noise)
        cases += [_case(question, name, f"{name}-absent-{i}") for i, question in enumerate(absent)]
    for kind, found in sorted(by_kind.items()):
        left = per_kind
        smallest_first = sorted(found.items(), key=lambda item: (len(item[1]), item[0]))
        for done, (name, questions) in enumerate(smallest_first):
            take = min(len(questions), left // (len(smallest_first) - done))
            left -= take
            chosen = random.Random(f"{seed} {kind} {name}").sample(questions, take)
            cases += [_case(question, name, f"{name}-{kind}-{i}") for i, question in enumerate(chosen)]
    return cases


def _case(question: CodeQuestion, package: str, id_: str) -> Case:
    evidence = () if question.absent else (Evidence(question.path, *question.lines),)
    return Case(id_, question.kind, question.question, question.answers, question.match, evidence, package)


def _files(folder: Path) -> dict[str, str]:
    """Path -> text of the Python and project files of a corpus."""
    files = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and (path.suffix == ".py" or path.name in (*KEPT_FILES, "pyproject.toml", "setup.cfg")):
            try:
                files[path.relative_to(folder).as_posix()] = path.read_bytes().decode("utf-8")
            except UnicodeDecodeError:
                continue
    return files


def read_cases(path: Path) -> list[Case]:
    """Cases out of a JSON list or of JSON lines: {id, kind, question, answers, match, evidence}."""
    text = path.read_text(encoding="utf-8")
    rows = (
        json.loads(text) if text.lstrip().startswith("[") else [json.loads(x) for x in text.splitlines() if x.strip()]
    )
    return [
        Case(
            str(row.get("id", number)),
            str(row.get("kind", "")),
            row["question"],
            tuple(row.get("answers") or ()),
            row.get("match", "any"),
            tuple(Evidence(e["path"], e["start_line"], e["end_line"]) for e in row.get("evidence") or ()),
            row.get("package", ""),
        )
        for number, row in enumerate(rows)
    ]


def write_cases(cases: Iterable[Case], path: Path) -> None:
    """A line a case."""
    path.write_text("".join(json.dumps(asdict(case), ensure_ascii=False) + "\n" for case in cases), encoding="utf-8")
