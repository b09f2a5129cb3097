"""Docstrings as questions: does the search find the function, and its lines, once the docstring is gone?

The first sentence of a public function's docstring describes what it does in its author's words. The docstrings that
are asked are removed from a copy of the package, so only names, code and comments can be matched.
"""

from __future__ import annotations

import ast
import random
import re
import shutil
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from selfroute import SelfRouter
from selfroute.memory.lexical import Postings
from selfroute.memory.query import parse

MIN_WORDS = 4  # of a sentence, to be a question at all
MIN_BODY_LINES = 2  # of a function without its docstring: a bare stub cannot be told from others
RANKS = (1, 5, 10)
BUDGETS = (2_000, 4_000)  # WordPiece tokens
WINDOW = 40  # lines of the plain baseline's windows


@dataclass(frozen=True, slots=True)
class Case:
    """A question and the lines of the function that answers it, in the copy without docstrings."""

    question: str
    path: str
    name: str
    start_line: int
    end_line: int


@dataclass(slots=True)
class Report:
    """Counts over the cases of one package."""

    n: int = 0
    found: dict[int, int] = field(default_factory=lambda: dict.fromkeys(RANKS, 0))
    baseline: dict[int, int] = field(default_factory=lambda: dict.fromkeys(RANKS, 0))
    lines: dict[int, list[float]] = field(default_factory=lambda: {budget: [] for budget in BUDGETS})


def measure(package: Path, *, per_package: int, seed: int) -> Report:
    """Asks at most per_package functions of the package, chosen by the seed."""
    report = Report()
    with tempfile.TemporaryDirectory() as scratch:
        corpus = Path(scratch) / package.name
        cases = without_docstrings(package, corpus, per_package, seed)
        router = SelfRouter.from_path(corpus, index_dir=Path(scratch) / "index")
        windows = _windows(corpus)
        postings = Postings.empty().merged(-1 - np.arange(len(windows)), [[(text, 1)] for *_, text in windows])
        for case in cases:
            hits = [
                (h.chunk.path, h.chunk.start_line, h.chunk.end_line, h.chunk.n_tokens)
                for h in router.search(case.question, top_k=60)
            ]
            plain = np.argsort(-postings.bm25(dict.fromkeys(parse(case.question).core, 1.0)), kind="stable")[:10]
            report.n += 1
            for rank in RANKS:
                report.found[rank] += any(_overlaps(case, *hit[:3]) for hit in hits[:rank])
                report.baseline[rank] += any(_overlaps(case, *windows[i][:3]) for i in plain[:rank].tolist())
            for budget in BUDGETS:
                report.lines[budget].append(_lines_within(case, hits, budget))
        router.close()
    return report


def summary(reports: dict[str, Report]) -> dict[str, object]:
    """Totals over all questions, and per package."""
    n = sum(r.n for r in reports.values())
    total: dict[str, object] = {"n": n}
    for rank in RANKS:
        total[f"recall@{rank}"] = round(sum(r.found[rank] for r in reports.values()) / n, 4)
    for rank in RANKS:
        total[f"plain_bm25_recall@{rank}"] = round(sum(r.baseline[rank] for r in reports.values()) / n, 4)
    for budget in BUDGETS:
        total[f"lines_within_{budget}"] = round(
            statistics.mean(x for r in reports.values() for x in r.lines[budget]), 4
        )
    total["per_package"] = {
        name: {
            "n": r.n,
            **{f"recall@{rank}": round(r.found[rank] / r.n, 3) for rank in RANKS},
            "plain_bm25_recall@10": round(r.baseline[10] / r.n, 3),
        }
        for name, r in reports.items()
        if r.n
    }
    return total


def without_docstrings(package: Path, corpus: Path, per_package: int, seed: int) -> list[Case]:
    """Copies the package's Python files, the asked docstrings replaced by nothing, and gives the questions."""
    candidates: list[tuple[Path, ast.FunctionDef | ast.AsyncFunctionDef, str]] = []
    sources: dict[Path, str] = {}
    for path in sorted(package.rglob("*.py")):
        try:
            source = path.read_text()
            tree = ast.parse(source)
        except (SyntaxError, UnicodeDecodeError):
            continue
        sources[path] = source
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_"):
                question = first_sentence(ast.get_docstring(node) or "")
                doc = node.body[0]
                body = (node.end_lineno or 0) - (doc.end_lineno or 0)
                if len(question.split()) >= MIN_WORDS and body >= MIN_BODY_LINES and doc.lineno > node.lineno:
                    candidates.append((path, node, question))
    asked_once = {q for _, _, q in candidates if sum(q == other for _, _, other in candidates) == 1}
    candidates = [c for c in candidates if c[2] in asked_once]
    chosen = random.Random(seed).sample(candidates, min(per_package, len(candidates)))
    cases: list[Case] = []
    for path, source in sources.items():
        mine = [(node, question) for file, node, question in chosen if file == path]
        gone = {line for node, _ in mine for line in range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1)}
        lines = source.split("\n")
        number = np.cumsum([i + 1 not in gone for i in range(len(lines))])
        target = corpus / path.relative_to(package)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text("\n".join(line for i, line in enumerate(lines) if i + 1 not in gone))
        for node, question in mine:
            first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
            start, end = int(number[first - 1]), int(number[(node.end_lineno or first) - 1])
            cases.append(Case(question, path.relative_to(package).as_posix(), node.name, start, end))
    shutil.rmtree(corpus / "__pycache__", ignore_errors=True)
    return cases


def first_sentence(docstring: str) -> str:
    """The first sentence of the first paragraph, on one line."""
    paragraph = " ".join(docstring.strip().split("\n\n")[0].split())
    return re.split(r"(?<=[.!?:])\s", paragraph)[0].rstrip(".:")


def _overlaps(case: Case, path: str, start: int, end: int) -> bool:
    return path == case.path and start <= case.end_line and end >= case.start_line


def _lines_within(case: Case, hits: Sequence[tuple[str, int, int, int]], budget: int) -> float:
    """The share of the function's lines in the hits that fit the budget, taken in order until one does not."""
    seen: set[int] = set()
    for path, start, end, n_tokens in hits:
        budget -= n_tokens
        if budget < 0:
            break
        if path == case.path:
            seen.update(range(max(start, case.start_line), min(end, case.end_line) + 1))
    return len(seen) / (case.end_line - case.start_line + 1)


def _windows(corpus: Path) -> list[tuple[str, int, int, str]]:
    windows = []
    for path in sorted(corpus.rglob("*.py")):
        lines = path.read_text().split("\n")
        for start in range(0, len(lines), WINDOW):
            text = "\n".join(lines[start : start + WINDOW])
            windows.append((path.relative_to(corpus).as_posix(), start + 1, min(start + WINDOW, len(lines)), text))
    return windows
