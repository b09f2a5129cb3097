"""Training pairs read out of source code and SQuAD: what a person would ask, and the text that answers it."""

from __future__ import annotations

import ast
import gzip
import importlib.util
import json
import re
import sysconfig
import tarfile
import tempfile
import warnings
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from selfroute.errors import CorpusError

MAX_TEXT = 1600  # characters of an answering text that are kept: about one chunk of the index
MAX_FILE_BYTES = 400_000  # what is larger is generated
MIN_QUESTION_WORDS = 3
MAX_QUESTION_WORDS = 40
SKIPPED_FOLDERS = frozenset(
    {"_vendor", "_vendored_packages", "vendored", "vendor", "third_party", "extern", "externals", "node_modules"}
    | {
        "tests",
        "test",
        "testing",
        "dist",
        "build",
        "site-packages",
        "dist-packages",
        "__pycache__",
        "idlelib",
        "lib2to3",
        "locale",
    }
)
# Line comments before a definition, or a /** block: Rust, Go, Java, JavaScript, TypeScript, C and what looks like them.
CURLY_SUFFIXES = frozenset({".js", ".mjs", ".cjs", ".ts", ".java", ".rs", ".go"})

_SENTENCE_END = re.compile(r"(?<=[a-z0-9)`'\"])[.!?](?:\s|$)")
_DOC_BLOCK = re.compile(r"/\*\*(.*?)\*/[ \t]*\n((?:[ \t]*\S.*\n?){1,60})", re.S)
_DOC_LINES = re.compile(r"((?:^[ \t]*//[/!]? ?\S.*\n)+)((?:[ \t]*[^\s/].*\n?){2,40})", re.M)
_CODE_LIKE = re.compile(r"[;{}=]|\w\(|https?:|eslint|istanbul|todo|fixme|xxx|pylint|noqa|type:", re.I)
_LEGAL = re.compile(r"copyright|licen[cs]e", re.I)
_MARKUP = re.compile(r"<[^>]+>|\{@\w+\s+([^}]*)\}")


@dataclass(frozen=True, slots=True)
class Pair:
    """A question in a person's words and a text that answers it; group: what it comes from (package or article)."""

    question: str
    text: str
    group: str
    kind: str  # docstring, name, comment, block, squad


def python_pairs(source: str, group: str) -> Iterator[Pair]:
    """Docstring -> definition without it, name -> body, comment -> the lines below; nothing when it does not parse."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return
    lines = source.split("\n")
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        text = without_docstring(node, lines)
        question = first_sentence(ast.get_docstring(node) or "")
        if question:
            yield Pair(question, text[:MAX_TEXT], group, "docstring")
        words = name_in_words(node.name)
        if len(words) >= 2 and text.count("\n") >= 3 and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = re.sub(rf"\b{re.escape(node.name)}\b", "_", text)
            yield Pair(" ".join(words), body[:MAX_TEXT], group, "name")
    yield from _comment_pairs(lines, group)


def without_docstring(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef, lines: list[str]) -> str:
    """The source lines of a definition, decorators included, its docstring left out."""
    first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
    kept = range(first, (node.end_lineno or first) + 1)
    if ast.get_docstring(node, clean=False) is not None:
        doc = node.body[0]
        gone = range(doc.lineno, (doc.end_lineno or doc.lineno) + 1)
        if node.lineno not in gone:
            return "\n".join(lines[i - 1] for i in kept if i not in gone)
    return "\n".join(lines[i - 1] for i in kept)


def first_sentence(doc: str) -> str:
    """The first sentence of a documentation text when it reads as one of 3 to 40 words, else nothing."""
    paragraph = re.split(r"\n\s*\n|\n\s*[:@.\-*]", doc.strip(), maxsplit=1)[0]
    sentence = _SENTENCE_END.split(" ".join(paragraph.split()), maxsplit=1)[0].rstrip(".")
    n = len(sentence.split())
    return sentence if MIN_QUESTION_WORDS <= n <= MAX_QUESTION_WORDS and sentence.isascii() else ""


def name_in_words(name: str) -> list[str]:
    """`getCookie_value` -> get, cookie, value."""
    return [part.lower() for part in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+", name)]


def _comment_pairs(lines: list[str], group: str) -> Iterator[Pair]:
    """Whole-line comments and at most ten lines of code below them, up to the next blank line."""
    starts = {i for i, line in enumerate(lines, 1) if line.lstrip().startswith("#")}
    for first in sorted(starts):
        if first - 1 in starts:
            continue
        last = first
        while last + 1 in starts:
            last += 1
        comment = first_sentence(" ".join(lines[i - 1].strip().lstrip("#: ") for i in range(first, last + 1)))
        below: list[str] = []
        for line in lines[last : last + 10]:
            if not line.strip() or line.lstrip().startswith("#"):
                break
            below.append(line)
        if len(below) >= 2 and _is_prose(comment):
            yield Pair(comment, "\n".join(below)[:MAX_TEXT], group, "comment")


def curly_pairs(source: str, group: str) -> Iterator[Pair]:
    """Documentation comment -> the code below it, for languages with // and /** */ comments."""
    for match in _DOC_BLOCK.finditer(source):
        doc = "\n".join(re.sub(r"^\s*\*? ?(@(desc\w*|summary)\s+)?", "", line) for line in match[1].split("\n"))
        question = first_sentence(_MARKUP.sub(r"\1", doc))
        if question and not question.startswith("@") and not _LEGAL.search(question):
            yield Pair(question, match[2][:MAX_TEXT], group, "block")
    for match in _DOC_LINES.finditer(source):
        question = first_sentence("\n".join(line.strip().lstrip("/! ") for line in match[1].split("\n")))
        if _is_prose(question):
            yield Pair(question, match[2][:MAX_TEXT], group, "block")


def _is_prose(comment: str) -> bool:
    return len(comment.split()) >= 4 and not _CODE_LIKE.search(comment) and not _LEGAL.search(comment)


def folder_pairs(folder: Path, group: str, excluded: frozenset[str]) -> Iterator[Pair]:
    """The pairs of every source file under a folder, in path order; no file whose path names an excluded package."""
    for path in sorted(folder.rglob("*")):
        parts = {part.lower() for part in path.relative_to(folder).parts} | {path.stem.lower()}
        if parts & (SKIPPED_FOLDERS | excluded) or not path.is_file() or path.stat().st_size > MAX_FILE_BYTES:
            continue
        if path.suffix != ".py" and (path.suffix not in CURLY_SUFFIXES or path.name.endswith((".min.js", ".d.ts"))):
            continue
        source = path.read_text(encoding="utf-8", errors="replace").replace("\r\n", "\n")
        yield from (python_pairs if path.suffix == ".py" else curly_pairs)(source, group)


def source_pairs(source: str, excluded: frozenset[str]) -> Iterator[Pair]:
    """The pairs of "stdlib", of an installed package, of a folder, or of a downloaded .whl or .tgz.

    An installed package is found by its name and never imported. Raises CorpusError when there is no such thing.
    """
    path = Path(source)
    if source == "stdlib":
        yield from folder_pairs(Path(sysconfig.get_path("stdlib")), source, excluded)
    elif path.suffix in (".whl", ".tgz"):
        with tempfile.TemporaryDirectory() as folder:
            _unpack(path, Path(folder))
            yield from folder_pairs(Path(folder), path.name.split("-")[0].lower(), excluded)
    elif path.is_dir():
        yield from folder_pairs(path, path.name, excluded)
    else:
        spec = importlib.util.find_spec(source)
        if spec is None or not spec.submodule_search_locations:
            raise CorpusError(f"no package, folder or archive {source!r}", f"pip download --no-deps {source}")
        yield from folder_pairs(Path(spec.submodule_search_locations[0]), source, excluded)


def _unpack(archive: Path, folder: Path) -> None:
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            wheel.extractall(folder, [name for name in wheel.namelist() if name.endswith(".py")])
    else:
        with tarfile.open(archive) as package:
            members = [member for member in package if member.isfile() and Path(member.name).suffix in CURLY_SUFFIXES]
            package.extractall(folder, members, filter="data")


def squad_pairs(path: Path) -> Iterator[Pair]:
    """Question -> paragraph from a SQuAD file in its published JSON form, gzipped or not."""
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
        articles = json.load(file)["data"]
    for article in articles:
        for paragraph in article["paragraphs"]:
            for qa in paragraph["qas"]:
                yield Pair(qa["question"].strip(), paragraph["context"], f"squad:{article['title']}", "squad")
