"""Relational questions over installed packages: who calls, what is called, who inherits, who imports.

    python benchmarks/relational.py --package requests flask click httpx aiohttp starlette --cache DIR
    python benchmarks/relational.py --package marshmallow jinja2 werkzeug rich tornado attr --wordings tune --cache DIR

A copy of each package is indexed. The answers come from ast and jedi (relations.py), which the product does not use;
without jedi nothing is measured and a line says so. Recall@10 of a question: the places of its answer whose line stands
in one of the first ten hits, over min(10, their number), 1 at most; the mean is over questions. Places: calls for
callers, import statements for importers, the lines of `def` or `class` for callees and direct subclasses. A name that
the package defines more than once is asked with enough of its class or module to have one reading. Names are drawn by
the seed: up to --per-kind a kind and package, those defined more than once first, up to six tenths of it, and then
others; names defined once are left out again until three tenths of a package's names are not. Each question is asked
with the knowledge graph and without. Ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import random
import statistics
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import relations
import wordings

from selfroute import Hit, SelfRouter

TOP_K = 10
AMBIGUOUS_SHARE = 0.3  # of a package's names, at least
AMBIGUOUS_MOST = 0.6  # of a kind's questions, where there are that many
CLASSES_MOST = 0.2  # of the questions for callers: most are about functions
DUNDERS_MOST = 0.1  # of the questions for callees
Answer = tuple[str, tuple[int, ...]]  # a file, and lines of it, any of which shows the place


@dataclass(frozen=True, slots=True)
class Case:
    """A question and its answer."""

    package: str
    kind: str
    question: str
    target: str
    ambiguous: bool
    answers: tuple[Answer, ...]


@dataclass(frozen=True, slots=True)
class Result:
    """Recall@10 of one question, with the graph and without."""

    case: Case
    recall: float
    without: float


class Names:
    """The ways to write the name of a definition so that it has one reading in its package."""

    def __init__(self, made: relations.Relations) -> None:
        self.package = made.package
        self.definitions = {d.name: d for d in made.definitions}
        self.last = Counter(d.last for d in made.definitions)
        self.endings = Counter(ending for d in made.definitions for ending in _endings(d.name))
        self.in_file = Counter((d.path, d.last) for d in made.definitions)
        face = f"{made.package}/__init__.py"
        self.exported = {p.target for p in made.imports if p.path == face}

    def ambiguous(self, name: str) -> bool:
        """Whether the package defines the name, without what stands before it, in two or more places."""
        return self.last[self.definitions[name].last] > 1

    def written(self, name: str, rng: random.Random, *, sentence: bool) -> str:
        """The name as a developer might write it. sentence: whether words may stand around it."""
        d = self.definitions[name]
        mark = rng.choice(("{}", "{}", "`{}`"))
        if d.kind == "module":
            return self._module(d, rng, mark, sentence=sentence)
        parts = name.split(".")
        owned = d.kind in ("method", "property")
        plain = [ending for ending in _endings(name) if self.endings[ending] == 1] or [name]
        near = [ending for ending in plain if ending.count(".") <= (1 if owned else 0)]
        forms = [*(near * 3), *plain[:1], plain[-1]]
        top = parts[-2:] if owned else parts[-1:]
        public = ".".join((self.package, *top))
        if ".".join(parts[: len(parts) - owned]) in self.exported and self.endings[public] in (0, name == public):
            forms += [public] * 2
        calls = "()" if d.kind in ("function", "method") and rng.random() < 0.25 else ""
        if sentence and owned and self.endings[".".join(parts[-2:])] == 1 and rng.random() < 0.15:
            what = "property" if d.kind == "property" else "method"
            return f"the {mark.format(parts[-1] + calls)} {what} of {mark.format(parts[-2])}"
        if sentence and not owned and self.in_file[d.path, d.last] == 1 and rng.random() < 0.12:
            return f"{mark.format(parts[-1] + calls)} ({d.path})"
        form = rng.choice(forms) + calls
        return f"`{form}`" if form.isalpha() and form.islower() else mark.format(form)  # `flash`: else a plain word

    def _module(self, d: relations.Definition, rng: random.Random, mark: str, *, sentence: bool) -> str:
        forms = [d.name, d.name, d.path]
        if self.endings[d.last] == 1:
            forms.append(f"{d.last}.py")
        if sentence and self.endings[d.last] == 1:
            return rng.choice([*map(mark.format, forms), f"the {mark.format(d.last)} module"])
        return mark.format(rng.choice(forms))


def _endings(name: str) -> list[str]:
    """Shortest first: "run", "Flask.run", "app.Flask.run", "flask.app.Flask.run"."""
    parts = name.split(".")
    return [".".join(parts[i:]) for i in range(len(parts) - 1, -1, -1)]


def cases_of(made: relations.Relations, *, per_kind: int, seed: int, half: str) -> list[Case]:
    """The questions of one package: the same for the same relations, seed and half of the wordings."""
    names = Names(made)
    by_kind = {kind: _drawn(made, names, kind, per_kind, seed) for kind in wordings.KINDS}
    while True:
        flat = [(kind, target) for kind, drawn in by_kind.items() for target, _ in drawn]
        if sum(names.ambiguous(t) for _, t in flat) >= AMBIGUOUS_SHARE * len(flat):
            break
        kind, last = max(
            ((kind, i) for kind, drawn in by_kind.items() for i, (t, _) in enumerate(drawn) if not names.ambiguous(t)),
            key=lambda at: (sum(not names.ambiguous(t) for t, _ in by_kind[at[0]]), at[1]),
        )
        del by_kind[kind][last]
    cases: list[Case] = []
    for kind, drawn in by_kind.items():
        rng = random.Random(f"{seed}:{made.package}:{kind}:{half}")
        order: list[str] = []
        for target, answers in drawn:
            order = order or rng.sample(wordings.SETS[half][kind], len(wordings.SETS[half][kind]))
            wording = order.pop()
            written = names.written(target, rng, sentence=not wording.startswith("{x}"))
            question = wording.replace("{x}", written)
            cases.append(Case(made.package, kind, question, target, names.ambiguous(target), tuple(answers)))
    return cases


def _drawn(
    made: relations.Relations, names: Names, kind: str, per_kind: int, seed: int
) -> list[tuple[str, list[Answer]]]:
    """The targets of one kind with their answers: those defined more than once first."""
    answers: dict[str, dict[Answer, None]] = {}
    for place in getattr(made, {"callers": "calls", "callees": "calls", "subclasses": "bases"}.get(kind, "imports")):
        inside, target = names.definitions[place.inside], names.definitions[place.target]
        if kind == "callees":
            if inside.kind in relations.ROUTINES and not inside.several and inside != target:
                answers.setdefault(inside.name, {})[target.path, target.lines] = None
        elif kind == "subclasses":
            if not inside.several:
                answers.setdefault(target.name, {})[inside.path, inside.lines[:1]] = None
        elif kind == "callers" or not target.path.endswith("__init__.py") or target.kind != "module":
            # not a package: whether an import from inside it is one of the package can be read both ways
            answers.setdefault(target.name, {})[place.path, place.lines] = None
    rng = random.Random(f"{seed}:{made.package}:{kind}")
    candidates = sorted(answers)
    rng.shuffle(candidates)
    dunders = [t for t in candidates if names.definitions[t].last.startswith("__")]
    kept = dunders[: int(per_kind * DUNDERS_MOST) if kind == "callees" else 0]
    classes = [t for t in candidates if kind == "callers" and names.definitions[t].kind == "class"]
    refused = {*dunders} - {*kept} | {*classes[int(per_kind * CLASSES_MOST) :]}
    candidates = [t for t in candidates if t not in refused]
    several = [t for t in candidates if names.ambiguous(t)]
    once = [t for t in candidates if not names.ambiguous(t)]
    n = max(int(per_kind * AMBIGUOUS_MOST), per_kind - len(once))
    chosen = several[:n]
    chosen += once[: per_kind - len(chosen)]
    return [(target, list(answers[target])) for target in chosen]


def recall(hits: Sequence[Hit], answers: Iterable[Answer]) -> float:
    """The share of the answers, of ten at most, with a line in one of the hits."""
    answers = list(answers)
    covered = sum(
        any(h.chunk.path == path and any(h.chunk.start_line <= n <= h.chunk.end_line for n in lines) for h in hits)
        for path, lines in answers
    )
    return min(1.0, covered / min(TOP_K, len(answers)))


def without_graph(router: SelfRouter, question: str) -> list[Hit]:
    """The hits of a search that leaves the knowledge graph alone; a version that has none searches as it does."""
    try:
        return router.index.search(question, top_k=TOP_K, graph=False)  # type: ignore[call-arg,unused-ignore]
    except TypeError:
        return router.index.search(question, top_k=TOP_K)


def measure(name: str, args: argparse.Namespace) -> tuple[list[Result], dict[str, int]]:
    """The results of one package, and what the analysis left out; none when it is not installed."""
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder).resolve()
        corpus = scratch / "corpus"
        if relations.copy_package(name, corpus) is None:
            print(f"skipped {name}: it is not an installed package", file=sys.stderr)
            return [], {}
        made = relations.relations(name, corpus, args.cache)
        cases = cases_of(made, per_kind=args.per_kind, seed=args.seed, half=args.wordings)
        results = []
        with SelfRouter.from_path(corpus, index_dir=scratch / "index") as router:
            for case in cases:
                found = router.search(case.question, top_k=TOP_K)
                plain = without_graph(router, case.question)
                results.append(Result(case, recall(found, case.answers), recall(plain, case.answers)))
                if args.verbose:
                    show(results[-1])
        print(f"{name} {made.version}: {len(results)} questions asked", file=sys.stderr)
        return results, made.skipped


def show(result: Result) -> None:
    """Prints a question with its scores and answers."""
    case = result.case
    print(f"{result.recall:.2f} {result.without:.2f} {case.kind}: {case.question}  [{case.target}]", file=sys.stderr)
    for path, lines in case.answers:
        print(f"          {path}:{','.join(map(str, lines))}", file=sys.stderr)


def summary(results: Sequence[Result]) -> dict[str, float | int]:
    """Means over questions."""
    return {
        "recall10": round(statistics.mean(r.recall for r in results), 4),
        "recall10_without_graph": round(statistics.mean(r.without for r in results), 4),
        "n": len(results),
        "share_ambiguous": round(statistics.mean(r.case.ambiguous for r in results), 4),
        "answers_per_question": round(statistics.mean(len(r.case.answers) for r in results), 2),
    }


def table(results: Sequence[Result], packages: Sequence[str]) -> None:
    """Recall@10 with the graph / without it / questions, a row a package."""
    print("recall@10 / without the graph / questions", file=sys.stderr)
    print(f"{'':14}" + "".join(f"{kind:>23}" for kind in (*wordings.KINDS, "all")), file=sys.stderr)
    for package in (*packages, "all"):
        row = f"{package:14}"
        for kind in (*wordings.KINDS, "all"):
            cell = [r for r in results if package in (r.case.package, "all") and kind in (r.case.kind, "all")]
            s = summary(cell) if cell else None
            text = f"{s['recall10']:.3f} / {s['recall10_without_graph']:.3f} / {s['n']:4}" if s else "-"
            row += f"{text:>23}"
        print(row, file=sys.stderr)


def main() -> None:
    """Analyses, asks, prints a table and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--package", nargs="+", required=True, metavar="NAME", help="installed packages, import names")
    parser.add_argument("--wordings", choices=sorted(wordings.SETS), default="report")
    parser.add_argument("--cache", type=Path, help="folder that keeps what jedi found")
    parser.add_argument("--per-kind", type=int, default=80, help="questions of a kind about a package, at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--verbose", action="store_true", help="print each question, its scores and its answers")
    args = parser.parse_args()
    if importlib.util.find_spec("jedi") is None:
        print("skipped: jedi is absent; install it with: pip install -e '.[benchmarks]'", file=sys.stderr)
        print(json.dumps({}))
        return
    measured = {name: measure(name, args) for name in dict.fromkeys(args.package)}
    measured = {name: pair for name, pair in measured.items() if pair[0]}
    results = [r for found, _ in measured.values() for r in found]
    if not results:
        print(json.dumps({}))
        return
    table(results, list(measured))
    skipped: Counter[str] = Counter()
    for _, left_out in measured.values():
        skipped.update(left_out)
    report: dict[str, object] = {
        **summary(results),
        "wordings": args.wordings,
        "by_kind": {kind: summary([r for r in results if r.case.kind == kind]) for kind in wordings.KINDS},
        "by_package": {name: summary(found) for name, (found, _) in measured.items()},
        "ambiguous": summary([r for r in results if r.case.ambiguous]),
        "left_out": dict(sorted(skipped.items())),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
