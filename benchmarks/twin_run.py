"""Questions that both built-in routes really answer, the router that is trained on half of them, and the other half.

    python benchmarks/twin_run.py --packages DIR --squad FILE --covid FILE --hotpotqa DIR --out OUT [--jobs N] [--ship]
        [--signals]
    python benchmarks/twin_run.py --install DIR          fills DIR with the packages, from the package registry

One command: makes the corpora (twin_cases.py), runs each route once per case as `selfroute eval` does, fits the router
on the train half, replays every policy on the test half, and leaves sorts of corpora out of training one at a time. It
can be killed and started again. --signals fits on what the global read of pages shows beside retrieval's attempt, too,
which rows have where long context found by pages (SELFROUTE_PAGES=off runs without). --ship writes the router into the
package.

kind: a sort of corpus and the budget that retrieval may pack; the headline covers those in which, on the train half,
the oracle is at least five points above the better fixed route. against_self_route, against_best: points, with 95%
intervals by corpus. left_out: the best fixed route is the one of the sort itself, seen afterwards, or the one that was
best in training (in_training). Training also sees the questions of its half at every other budget: retrieval really run
at each, long context once. A table, then one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import twin_cases
from twin_cases import TEST, TRAIN

from selfroute.registry import names
from selfroute.router.build import make_policy
from selfroute.router.classifier.classifier import Classifier, best_of
from selfroute.router.classifier.examples import Example
from selfroute.router.classifier.fitting import fit
from selfroute.router.classifier.learning import examples_of
from selfroute.router.classifier.shipped import FILE, FOLDER
from selfroute.router.evaluation.cases import Case
from selfroute.router.evaluation.corpora import group_of, make_run_folder
from selfroute.router.evaluation.evaluating import Evaluation, evaluate
from selfroute.router.evaluation.journal import Journal, describe, read_rows
from selfroute.router.evaluation.metrics import figures, paired
from selfroute.router.evaluation.reading import read_cases
from selfroute.router.evaluation.replaying import ORACLE
from selfroute.router.evaluation.report import lines
from selfroute.router.evaluation.rows import Row
from selfroute.router.evaluation.running import run
from selfroute.router.evaluation.writing import write
from selfroute.router.policies.learned import LearnedCascadePolicy, LearnedPolicy
from selfroute.types import LONG_CONTEXT, RETRIEVAL, ROUTES

HEADLINE_GAP = 0.05
MIN_CASES, MIN_GROUPS = 30, 4
MORE = "more"
LEARNED = ("learned", "learned-cascade")


def shard(folder: Path, half: str, number: int, n: int) -> None:
    """Runs every n-th case of a half; of the train half retrieval at every other budget, too."""
    cases = read_cases(folder / half / "cases.jsonl")[number::n]
    kept(folder / "runs" / f"{half}-{number}", cases, ROUTES)
    if half == TRAIN:
        kept(
            folder / "runs" / f"{MORE}-{number}",
            [other for case in cases for other in at_other_budgets(case)],
            (RETRIEVAL,),
        )


def kept(folder: Path, cases: Sequence[Case], routes: Sequence[str]) -> None:
    """Adds the rows that are missing to those of a folder."""
    make_run_folder(folder)
    with Journal(folder, describe(cases, {"routes": list(routes)})) as journal:
        unwanted = {(case.id, route) for case in cases for route in ROUTES if route not in routes}
        for row in run(cases, folder, done=journal.done | unwanted):
            journal.append(row)


def at_other_budgets(case: Case) -> list[Case]:
    """The case with each budget that it was not given."""
    return [
        replace(case, id=f"{case.id}@{budget}", budget_tokens=budget)
        for budget in twin_cases.BUDGETS
        if budget != case.budget_tokens
    ]


def run_all(folder: Path, jobs: int) -> float:
    """Every shard in a process of its own; the seconds it took."""
    began = time.perf_counter()
    for half in (TRAIN, TEST):
        command = [sys.executable, __file__, "--out", str(folder), "--half", half, "--of", str(jobs), "--shard"]
        running = [subprocess.Popen([*command, str(number)]) for number in range(jobs)]
        codes = [process.wait() for process in running]
        if any(codes):
            raise SystemExit(f"a shard of {half} failed; the same command goes on")
    return time.perf_counter() - began


def load(folder: Path, half: str) -> tuple[list[Case], list[Row]]:
    """The cases of a half and what came of them."""
    rows = [row for found in sorted((folder / "runs").glob(f"{half}-[0-9]*")) for row in read_rows(found)]
    return read_cases(folder / half / "cases.jsonl"), rows


def with_budgets(folder: Path, cases: Sequence[Case], rows: Sequence[Row]) -> tuple[list[Case], list[Row]]:
    """The same with the further budgets: retrieval as it was run, long context as it was run once.

    The budget says what retrieval packs; of long context it touches explanations and plain-word questions alone.
    """
    whole = {row.case_id: row for row in rows if row.route == LONG_CONTEXT}
    more = [row for found in sorted((folder / "runs").glob(f"{MORE}-[0-9]*")) for row in read_rows(found)]
    also = [replace(whole[row.case_id.rpartition("@")[0]], case_id=row.case_id, features=row.features) for row in more]
    return [*cases, *(other for case in cases for other in at_other_budgets(case))], [*rows, *more, *also]


def sort_of(case: Case) -> str:
    """code, squad, covid or hotpot."""
    return case.kind.removeprefix("large ").split()[0]


def kind_of(case: Case) -> str:
    """A sort of corpus and a budget."""
    return f"{sort_of(case)}, {case.budget_tokens:,} tokens"


def gaps(found: Evaluation) -> dict[str, list[float]]:
    """kind -> n, retrieval's and long context's share right, the oracle's over the better of both."""
    made = {}
    for kind in sorted({kind_of(case) for case in found.cases}):
        right = [
            [bool(found.scores[case.id][route].right) for route in (RETRIEVAL, LONG_CONTEXT)]
            for case in found.cases
            if kind_of(case) == kind
        ]
        n = len(right)
        one, other, either = (
            sum(x) / n for x in ((a for a, _ in right), (b for _, b in right), (a or b for a, b in right))
        )
        made[kind] = [n, round(one, 4), round(other, 4), round(either - max(one, other), 4)]
    return made


def policies(classifier: Classifier, model: str) -> dict[str, Any]:
    """Every registered policy, with this router, and the oracle."""
    made: dict[str, Any] = {name: make_policy(name) for name in names("policy") if name not in LEARNED}
    made["learned"] = LearnedPolicy(classifier, model)
    made["learned-cascade"] = LearnedCascadePolicy(classifier, model)
    made[ORACLE] = None
    return made


def part(found: Evaluation, ids: set[str]) -> Evaluation:
    """The evaluation of some of the cases."""
    outcomes = {name: {i: o for i, o in of.items() if i in ids} for name, of in found.outcomes.items()}
    fixed = {route: {i: o for i, o in of.items() if i in ids} for route, of in found.fixed.items()}
    best = {i: o for i, o in found.oracle.items() if i in ids}
    return replace(
        found,
        cases=tuple(case for case in found.cases if case.id in ids),
        outcomes=outcomes,
        fixed=fixed,
        oracle=best,
        figures=tuple(figures(name, of, fixed, best) for name, of in outcomes.items()),
    )


def told(found: Evaluation) -> dict[str, Any]:
    """The figures that are asked of the learned policies, beside those of the rest."""
    made: dict[str, Any] = {"best_fixed": found.best_fixed, "n": len(found.cases)}
    for f in found.figures:
        beside = paired(found.outcomes[f.policy], found.outcomes["self-route"])
        made[f.policy] = {
            "accuracy": f.accuracy,
            "token_share": f.token_share,
            "seconds": f.seconds,
            "long_context": f.long_context_share,
            "gap_recovered": f.gap_recovered,
            "against_best": None if f.paired is None else [f.paired.difference, *(f.paired.interval or ())],
            "against_self_route": None if beside is None else [beside.difference, *(beside.interval or ())],
            "ece": f.ece,
            "apgr": f.apgr,
        }
    return rounded(made)


def rounded(value: Any) -> Any:
    """Floats to four digits, inside of anything."""
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, Mapping):
        return {key: rounded(one) for key, one in value.items()}
    return [rounded(one) for one in value] if isinstance(value, list | tuple) else value


def leave_out(
    examples: Sequence[Example], asked: Sequence[tuple[Sequence[Case], Sequence[Row]]], model: str
) -> dict[str, Any]:
    """sort -> what routers that saw none of it recover of the gap on all of it."""
    found = {}
    cases = [case for of, _ in asked for case in of]
    rows = [row for _, of in asked for row in of]
    for sort in sorted({sort_of(case) for case in cases}):
        inside = [e for e in examples if e.stratum.removeprefix("large ") != sort]
        outside = [case for case in cases if sort_of(case) == sort]
        if len({e.group for e in inside}) < MIN_GROUPS or len(outside) < MIN_CASES:
            continue
        classifier = fit(inside)
        made = evaluate(outside, rows, {n: p for n, p in policies(classifier, model).items() if n in LEARNED})
        own = best_of(classifier.base[model])
        found[sort] = {"n": len(outside), "best_fixed": made.best_fixed, "best_in_training": own} | {
            f.policy: {
                "gap_recovered": f.gap_recovered,
                "against_best": None if f.paired is None else [f.paired.difference, *(f.paired.interval or ())],
                "against_best_in_training": _against(made, f.policy, own),
                "gap_recovered_in_training": _recovered(made, f.policy, own),
            }
            for f in made.figures
        }
    return found


def _against(found: Evaluation, policy: str, route: str) -> list[float] | None:
    beside = paired(found.outcomes[policy], found.fixed[route])
    return None if beside is None else [beside.difference, *(beside.interval or ())]


def _recovered(made: Evaluation, policy: str, route: str) -> float | None:
    """Of the gap between the route that was best in training and the oracle."""
    to_policy, to_oracle = (paired(outcomes, made.fixed[route]) for outcomes in (made.outcomes[policy], made.oracle))
    if to_policy is None or to_oracle is None or to_oracle.difference <= 0:
        return None
    return to_policy.difference / to_oracle.difference


def main() -> int:
    """Runs what is missing, fits, reports."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--packages", type=Path, metavar="DIR")
    parser.add_argument("--squad", type=Path, metavar="FILE", help="train-v1.1.json.gz")
    parser.add_argument("--covid", type=Path, metavar="FILE")
    parser.add_argument("--hotpotqa", type=Path, metavar="DIR")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--jobs", type=int, default=1, help="processes; each uses the reader's threads")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--ship", action="store_true", help="write the router into the package")
    parser.add_argument("--signals", action="store_true", help="fit with the signals of a global read by pages, too")
    parser.add_argument("--install", type=Path, metavar="DIR", help="only fetch the packages")
    parser.add_argument("--run-only", action="store_true", help="fit and report nothing")
    parser.add_argument("--half", choices=(TRAIN, TEST), help=argparse.SUPPRESS)
    parser.add_argument("--shard", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--of", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.install:
        wanted = [twin_cases.DISTRIBUTIONS.get(n, n) for n in (*twin_cases.PACKAGES, *twin_cases.LARGE_PACKAGES)]
        command = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-deps",
            "--target",
            str(args.install),
            *wanted,
        ]
        return subprocess.call(command)
    if args.out is None:
        parser.error("give --out DIR")
    if args.shard is not None:
        shard(args.out, args.half, args.shard, args.of)
        return 0
    if not (args.out / TEST / "cases.jsonl").is_file():
        sources = (args.packages, args.squad, args.covid, args.hotpotqa)
        if not all(source is not None and source.exists() for source in sources):
            print(json.dumps({"skipped": "--packages, --squad, --covid and --hotpotqa have to be there"}))
            return 0
        twin_cases.write(twin_cases.build(*sources, args.seed), args.out)
    seconds = run_all(args.out, args.jobs)
    if args.run_only:
        print(json.dumps({"seconds": round(seconds)}))
        return 0
    train, test = load(args.out, TRAIN), load(args.out, TEST)
    examples = examples_of(evaluate(*with_budgets(args.out, *train), {}), signals=args.signals)
    classifier = fit(examples, seed=args.seed)
    if args.ship:
        content = classifier.to_json()
        write(FOLDER / FILE, content)
        write(FOLDER / "sha256.json", json.dumps({FILE: sha256(content.encode()).hexdigest()}) + "\n")
    model = train[1][0].model
    of_train, found = evaluate(*train, {}), evaluate(*test, policies(classifier, model))
    kinds = [kind for kind, (n, _, _, gap) in gaps(of_train).items() if gap >= HEADLINE_GAP and n >= MIN_CASES]
    headline = part(found, {case.id for case in found.cases if kind_of(case) in kinds})
    for title, of in (("all", found), ("; ".join(kinds), headline)):
        if of.cases:
            print(f"test half, {title}:")
            print("\n".join(lines(of)) + "\n")
    print(
        json.dumps(
            rounded(
                {
                    "cases": {TRAIN: len(train[0]), TEST: len(test[0])},
                    "groups": {TRAIN: len({group_of(c) for c in train[0]}), TEST: len({group_of(c) for c in test[0]})},
                    "examples": len(examples),
                    "kinds": dict(Counter(case.kind for case in (*train[0], *test[0]))),
                    "route_seconds": round(sum(row.seconds for row in (*train[1], *test[1]))),
                    "headline_kinds": kinds,
                    "headline": told(headline) if kinds else None,
                    "all": told(found),
                    "by_kind": by_kind(found),
                    "train_gaps": gaps(of_train),
                    "test_gaps": gaps(found),
                    "left_out": leave_out(examples, (train, test), model),
                    "held_out": classifier.summary["held_out"],
                    "margins": {name: stage.margin for name, stage in classifier.stages.items()},
                }
            )
        )
    )
    return 0


def by_kind(found: Evaluation) -> dict[str, list[float]]:
    """kind of question -> n, retrieval's, long context's, the cascade's share right."""
    made = {}
    for kind in sorted({case.kind for case in found.cases}):
        ids = [case.id for case in found.cases if case.kind == kind]
        of = [found.fixed[RETRIEVAL], found.fixed[LONG_CONTEXT], found.outcomes["learned-cascade"]]
        made[kind] = [len(ids), *(sum(bool(one[i].right) for i in ids) / len(ids) for one in of)]
    return made


if __name__ == "__main__":
    raise SystemExit(main())
