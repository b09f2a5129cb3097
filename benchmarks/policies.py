"""Policies side by side: what each gets right, declines, reads and waits for, over the same questions.

    python benchmarks/policies.py --package NAME_OR_FOLDER ... [--squad FILE] [--n 200] [--policy a,b,c] [--reader NAME]

Half of the questions are about the packages' code (code_cases.py; each asked over its own package), half about the
articles of a SQuAD file, which are one corpus; all of one sort without the other. A share of both has no answer: code
questions after what a package does not hold, and questions about --left-out of the articles, which the corpus lacks.

right: code, the answer holds what was asked for (all of it, of a list); SQuAD, word F1 of at least 0.5. holds: the
answer holds it, for both. exact: it is nothing else. sound: right, or declined where there is no answer. rescued: of
those escalated, the right ones. chunks: read, by all attempts together; all of the corpus, by long-context. seconds:
of the whole call.

Each route answers a question at most once, whatever the number of policies, and is replayed with its seconds, as it
would have been had the policy been alone. The estimates that the policies see are those before any of it. Intervals:
95%, 2,000 bootstrap samples of the questions. A table, then one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from code_cases import copy_package, generated, is_contained, is_exact
from open_qa import write_corpus

from selfroute import Answer, SelfRouter
from selfroute.backends.base import Backend
from selfroute.models.training.squad_scores import cases, exact_match, f1, normalised
from selfroute.registry import resolve
from selfroute.types import LONG_CONTEXT, Attempt, Estimate, Query

POLICIES = "always-retrieval,always-long-context,rules,self-route,random"
RIGHT_F1 = 0.5
N_SAMPLES = 2_000
CODE, SQUAD = "code", "squad"


@dataclass(frozen=True, slots=True)
class Asked:
    """A question over a corpus. answers: none when it has none there. match: as in code_cases, "f1" for SQuAD."""

    sort: str
    corpus: str
    question: str
    answers: tuple[str, ...]
    match: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one policy made of one question."""

    asked: Asked
    right: bool
    holds: bool
    exact: bool
    declined: bool
    escalated: bool
    read_all: bool
    n_chunks: int
    seconds: float

    @property
    def sound(self) -> bool:
        """Right, or declined where there is no answer."""
        return self.right if self.asked.answers else self.declined


class Once:
    """A backend that answers each question once, and gives the same attempt and estimate for it afterwards."""

    def __init__(self, backend: Backend) -> None:
        self.name, self._backend = backend.name, backend
        self._estimates: dict[str, Estimate] = {}
        self._attempts: dict[str, tuple[Attempt, float]] = {}
        self.seconds = 0.0  # of this call and the calls before it, as measured when they were made
        self.waited = 0.0  # what really passed

    def estimate(self, query: Query) -> Estimate:
        """That of the first time."""
        if query.text not in self._estimates:
            self._estimates[query.text] = self._backend.estimate(query)
        return self._estimates[query.text]

    def answer(self, query: Query, *, after: Attempt | None = None) -> Attempt:
        """The first attempt at it. after: changes what counts as cached, and no answer."""
        if query.text not in self._attempts:
            began = time.perf_counter()
            attempt = self._backend.answer(query, after=after)
            self._attempts[query.text] = attempt, time.perf_counter() - began
            self.waited += self._attempts[query.text][1]
        attempt, seconds = self._attempts[query.text]
        self.seconds += seconds
        return attempt


def outcome(asked: Asked, answer: Answer, n_corpus_chunks: int, seconds: float) -> Outcome:
    """An answer judged."""
    text = answer.text if answer.answerable else ""
    given = answer.answerable and bool(asked.answers)
    if asked.match == "f1":
        right, exact = f1(text, asked.answers) >= RIGHT_F1, exact_match(text, asked.answers) == 1
        holds = any(normalised(one) in normalised(text) for one in asked.answers)
    else:
        right = holds = is_contained(text, asked.answers, asked.match)
        exact = is_exact(text, asked.answers, asked.match)
    routes = [attempt.route for attempt in answer.attempts]
    return Outcome(
        asked,
        right=given and right,
        holds=given and holds,
        exact=given and exact,
        declined=not answer.answerable,
        escalated=len(routes) > 1,
        read_all=LONG_CONTEXT in routes,
        n_chunks=sum(n_corpus_chunks if a.route == LONG_CONTEXT else len(a.chunks) for a in answer.attempts),
        seconds=seconds,
    )


def ask_all(router: SelfRouter, policies: Sequence[str], questions: Sequence[Asked]) -> dict[str, list[Outcome]]:
    """The outcomes of one corpus, by policy."""
    once = {route: Once(backend) for route, backend in router.backends.items()}
    asking = {name: SelfRouter(router.index, once, resolve("policy", name)(), update=False) for name in policies}
    found: dict[str, list[Outcome]] = {name: [] for name in policies}
    n_chunks = router.index.stats.chunks
    for asked in questions:
        for name, one in asking.items():
            before = [(backend.seconds, backend.waited) for backend in once.values()]
            began = time.perf_counter()
            answer = one.ask(asked.question)
            seconds = time.perf_counter() - began
            for backend, (counted, waited) in zip(once.values(), before, strict=True):
                seconds += (backend.seconds - counted) - (backend.waited - waited)
            found[name].append(outcome(asked, answer, n_chunks, seconds))
    return found


def in_turn(groups: Mapping[Hashable, Sequence[Asked]], n: int, drawing: random.Random) -> list[Asked]:
    """n questions, one of each group in turn while it has any, drawn without repeats."""
    left = [drawing.sample(list(found), len(found)) for _, found in sorted(groups.items(), key=lambda g: str(g[0]))]
    taken: list[Asked] = []
    while len(taken) < n and any(left):
        taken += [found.pop() for found in left if found][: n - len(taken)]
    return taken


def code_questions(corpora: Mapping[str, Path], n: int, n_absent: int, seed: int) -> list[Asked]:
    """n questions about code, every kind alike as far as it goes, n_absent of them without an answer."""
    by_kind: dict[Hashable, list[Asked]] = defaultdict(list)
    absent = []
    for case in generated(dict(corpora), per_kind=n, n_absent=n_absent, seed=seed):
        asked = Asked(CODE, case.package, case.question, case.answers, case.match)
        (by_kind[case.kind] if case.answers else absent).append(asked)
    return in_turn(by_kind, n - len(absent), random.Random(seed)) + absent


def squad_questions(
    file: Path, folder: Path, n: int, n_absent: int, seed: int, *, left_out: float, n_articles: int | None
) -> list[Asked]:
    """n questions of the file, n_absent of them about articles that are not written to the folder."""
    everything = [case for case in cases(file) if case.answers]
    titles = sorted({case.title for case in everything})
    drawing = random.Random(seed)
    titles = drawing.sample(titles, min(len(titles), n_articles or len(titles)))
    gone = set(titles[: max(1, round(left_out * len(titles)))])
    kept = set(titles) - gone
    write_corpus([case for case in everything if case.title in kept], folder)
    groups: dict[bool, dict[Hashable, list[Asked]]] = {True: defaultdict(list), False: defaultdict(list)}
    for case in everything:
        if case.title in kept or case.title in gone:
            there = case.title in kept
            answers = case.answers if there else ()
            groups[there][case.title].append(Asked(SQUAD, SQUAD, case.question, answers, "f1"))
    return in_turn(groups[True], n - n_absent, drawing) + in_turn(groups[False], n_absent, drawing)


def interval(values: Sequence[float], seed: int = 0) -> tuple[float, float, float] | None:
    """Mean, and the bounds of its 95% bootstrap interval; None of nothing."""
    if not len(values):
        return None
    found = np.asarray(values, np.float64)
    means = found[np.random.default_rng(seed).integers(0, len(found), (N_SAMPLES, len(found)))].mean(1)
    low, high = np.percentile(means, (2.5, 97.5))
    return round(float(found.mean()), 4), round(float(low), 4), round(float(high), 4)


def report(outcomes: Sequence[Outcome], seed: int = 0) -> dict[str, object]:
    """Every figure of one policy."""
    has = [o for o in outcomes if o.asked.answers]
    has_none = [o for o in outcomes if not o.asked.answers]

    def share(name: str, of: Iterable[Outcome]) -> tuple[float, float, float] | None:
        return interval([float(getattr(o, name)) for o in of], seed)

    return {
        "n": len(outcomes),
        "n_no_answer": len(has_none),
        "sound": share("sound", outcomes),
        "right": share("right", has),
        "holds": share("holds", has),
        "exact": share("exact", has),
        "declined_answerable": share("declined", has),
        "declined_no_answer": share("declined", has_none),
        "escalated": share("escalated", outcomes),
        "rescued": share("right", (o for o in outcomes if o.escalated)),
        "read_all": share("read_all", outcomes),
        "chunks": share("n_chunks", outcomes),
        "seconds": share("seconds", outcomes),
        "seconds_p50": round(float(np.median([o.seconds for o in outcomes])), 4) if outcomes else None,
    }


def table(rows: Mapping[str, Mapping[str, object]], title: str) -> str:
    """One line a policy, figures with their intervals; shares in percent."""
    shares = {
        "sound": "sound",
        "right": "right",
        "holds": "holds",
        "declined_answerable": "declined, has one",
        "declined_no_answer": "declined, has none",
        "escalated": "escalated",
        "read_all": "read all",
    }
    numbers = {"chunks": ("chunks", "{:,.0f}"), "seconds": ("seconds", "{:.2f}")}
    heads = [title, *shares.values(), *(name for name, _ in numbers.values()), "p50 s"]
    lines = [heads]
    for policy, figures in rows.items():
        cells = [policy]
        cells += [_cell(figures[key], "{:.0f}", 100) for key in shares]
        cells += [_cell(figures[key], form, 1) for key, (_, form) in numbers.items()]
        lines.append([*cells, f"{figures['seconds_p50']:.2f}"])
    widths = [max(len(line[i]) for line in lines) for i in range(len(heads))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)


def _cell(figure: object, form: str, factor: int) -> str:
    if not isinstance(figure, tuple):
        return "-"
    mean, low, high = (form.format(factor * value) for value in figure)
    return f"{mean} [{low}, {high}]"


def main() -> int:
    """Draws the questions, asks them under every policy, prints the tables and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--package", nargs="+", default=[], metavar="NAME", help="a distribution, or a folder")
    parser.add_argument("--squad", type=Path, metavar="FILE")
    parser.add_argument("--n", type=int, default=200, help="questions, about half of each sort")
    parser.add_argument("--no-answer", type=float, default=0.3, help="share of the questions that have none")
    parser.add_argument("--articles", type=int, help="articles of the file that are taken, kept and left out together")
    parser.add_argument("--left-out", type=float, default=0.25, help="share of the articles that the corpus lacks")
    parser.add_argument("--policy", default=POLICIES, help="names, separated by commas")
    parser.add_argument("--reader", help="evidence, span, ...")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if not args.package and not args.squad:
        parser.error("give --package NAME ..., or --squad FILE, or both")
    if args.squad and not args.squad.is_file():
        parser.error(f"no such file: {args.squad}")
    policies = args.policy.split(",")
    found: dict[str, list[Outcome]] = {name: [] for name in policies}
    n_code = 0 if not args.package else args.n // 2 if args.squad else args.n
    with tempfile.TemporaryDirectory() as scratch:
        corpora: dict[str, Path] = {}
        for name in args.package:
            folder = Path(scratch) / "code" / Path(name).name
            if not copy_package(name, folder):
                parser.error(f"no such package or folder: {name}")
            corpora[folder.name] = folder
        questions: list[Asked] = []
        if corpora:
            questions += code_questions(corpora, n_code, round(args.no_answer * n_code), args.seed)
        if args.squad:
            corpora[SQUAD] = Path(scratch) / "articles"
            corpora[SQUAD].mkdir()
            n = args.n - n_code
            questions += squad_questions(
                args.squad,
                corpora[SQUAD],
                n,
                round(args.no_answer * n),
                args.seed,
                left_out=args.left_out,
                n_articles=args.articles,
            )
        sizes = {}
        for name, folder in corpora.items():
            with ExitStack() as closing:
                store = closing.enter_context(tempfile.TemporaryDirectory())
                router = closing.enter_context(SelfRouter.from_path(folder, index_dir=store, reader=args.reader))
                sizes[name] = router.index.stats.chunks
                print(f"{name}: {sizes[name]:,} chunks", file=sys.stderr)
                of_corpus = ask_all(router, policies, [asked for asked in questions if asked.corpus == name])
                for policy, outcomes in of_corpus.items():
                    found[policy] += outcomes
    result: dict[str, dict[str, dict[str, object]]] = {}
    for sort in (CODE, SQUAD, "all"):
        chosen = {p: [o for o in outcomes if sort in (o.asked.sort, "all")] for p, outcomes in found.items()}
        if all(chosen.values()):
            result[sort] = {p: report(outcomes, args.seed) for p, outcomes in chosen.items()}
            print(table(result[sort], f"{sort} ({len(chosen[policies[0]])})") + "\n")
    print(json.dumps({"reader": args.reader, "seed": args.seed, "chunks": sizes, "policies": result}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
