"""Questions that both built-in routes really answer, the router that is trained on half of them, and the other half.

    python benchmarks/twin_run.py --packages DIR --squad FILE --covid FILE --hotpotqa DIR --out OUT [--jobs N] [--ship]
    python benchmarks/twin_run.py --install DIR          fills DIR with the packages, from the package registry

One command: makes the corpora (twin_cases.py), runs each route once per case as `selfroute eval` does, fits the router
on the train half, replays every policy on the test half, and leaves sorts of corpora out of training one at a time. It
can be killed and started again. --ship writes the router into the package.

kind: a sort of corpus and the budget that retrieval may pack; the headline covers those in which, on the train half,
the oracle is at least five points above the better fixed route. against_self_route, against_best: points, with 95%
intervals by corpus. The fixed route to compare with is the one that was best on the train half. A table, then one line
of JSON.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import twin_cases
from twin_cases import TEST, TRAIN

from selfroute.registry import names
from selfroute.router.build import make_policy
from selfroute.router.classifier.classifier import Classifier, best_of
from selfroute.router.classifier.fitting import fit
from selfroute.router.classifier.learning import examples_of
from selfroute.router.classifier.shipped import FILE, FOLDER
from selfroute.router.evaluation import intervals
from selfroute.router.evaluation.cases import Case
from selfroute.router.evaluation.journal import Journal, fingerprint, read_rows, write_file
from selfroute.router.evaluation.metrics import Figures, figures
from selfroute.router.evaluation.reading import read_cases
from selfroute.router.evaluation.replaying import ORACLE, Outcome, Scored, replay_all, scored_cases
from selfroute.router.evaluation.report import table
from selfroute.router.evaluation.running import Settings, run
from selfroute.router.evaluation.scoring import score
from selfroute.router.policies.learned import LearnedCascadePolicy, LearnedPolicy
from selfroute.types import LONG_CONTEXT, RETRIEVAL

HEADLINE_GAP = 0.05
MIN_CASES = 30
LEARNED = ("learned", "learned-cascade")


def shard(folder: Path, half: str, number: int, n: int) -> None:
    """Runs every n-th case of a half."""
    cases = read_cases(folder / half / "cases.jsonl")[number::n]
    with Journal(folder / "runs" / f"{half}-{number}", {"cases": fingerprint(cases)}) as journal:
        settings = Settings(folder / "runs" / f"{half}-{number}")
        for row in run(cases, dict(journal.done), settings, lambda stage, done, total: None):
            journal.add(row)


def run_all(folder: Path, jobs: int) -> float:
    """Every shard in a process of its own, `jobs` at a time; the seconds it took."""
    began = time.perf_counter()
    for half in (TRAIN, TEST):
        command = [sys.executable, __file__, "--out", str(folder), "--half", half, "--of", str(jobs), "--shard"]
        running = [subprocess.Popen([*command, str(number)]) for number in range(jobs)]
        if any(process.wait() for process in running):
            raise SystemExit(f"a shard of {half} failed; the same command goes on")
    return time.perf_counter() - began


def load(folder: Path, half: str) -> list[Scored]:
    """What came of a half."""
    rows = [row for found in sorted((folder / "runs").glob(f"{half}-*")) for row in read_rows(found)]
    return scored_cases(read_cases(folder / half / "cases.jsonl"), rows, score)


def sort_of(case: Case) -> str:
    """code, squad, covid or hotpot."""
    return case.kind.removeprefix("large ").split()[0]


def kind_of(case: Case) -> str:
    """A sort of corpus and a budget."""
    return f"{sort_of(case)}, {case.budget_tokens:,} tokens"


def gaps(scored: Sequence[Scored]) -> dict[str, tuple[int, float, float, float]]:
    """kind -> n, retrieval's and long context's share right, the oracle's over the better of both."""
    found = {}
    for kind in sorted({kind_of(one.case) for one in scored}):
        of = [one for one in scored if kind_of(one.case) == kind and one.whole]
        n = max(1, len(of))
        one, other = (sum(s.right(route) for s in of) / n for route in (RETRIEVAL, LONG_CONTEXT))
        either = sum(s.right(RETRIEVAL) or s.right(LONG_CONTEXT) for s in of) / n
        found[kind] = len(of), round(one, 4), round(other, 4), round(either - max(one, other), 4)
    return found


def policies(classifier: Classifier, model: str) -> dict[str, Any]:
    """Every registered policy, with this router, and the oracle."""
    made: dict[str, Any] = {name: make_policy(name) for name in names("policy") if name not in LEARNED}
    made["learned"] = LearnedPolicy(classifier, model)
    made["learned-cascade"] = LearnedCascadePolicy(classifier, model)
    made[ORACLE] = None
    return made


def told(outcomes: Mapping[str, Sequence[Outcome]], best: str) -> dict[str, Any]:
    """The figures that are asked of the learned policies, beside those of the rest."""
    found: dict[str, Any] = {}
    rest = outcomes["self-route"]
    for name, of in outcomes.items():
        f = figures(of, best)
        against = intervals.difference(
            [float(o.right) for o in of], [float(o.right) for o in rest], [o.scored.group for o in of]
        )
        found[name] = {
            "accuracy": round(f.accuracy, 4),
            "token_share": None if f.token_share is None else round(f.token_share, 4),
            "seconds": round(f.seconds, 3),
            "long_context": round(f.long_context, 4),
            "gap_recovered": None if f.gap_recovered is None else round(f.gap_recovered, 4),
            "against_best": [round(100 * x, 2) for x in f.against_best],
            "against_self_route": [round(100 * x, 2) for x in against],
            "ece": None if f.ece is None else round(f.ece, 4),
            "apgr": None if f.apgr is None else round(f.apgr, 4),
        }
    return found


def shown(outcomes: Mapping[str, Sequence[Outcome]], best: str) -> str:
    """The table of `selfroute eval`, against the fixed route of the train half."""
    made: dict[str, Figures] = {name: figures(of, best) for name, of in outcomes.items()}
    return table(_Shown(made))  # type: ignore[arg-type]


class _Shown:
    def __init__(self, made: Mapping[str, Figures]) -> None:
        self.figures = made


def leave_out(train: Sequence[Scored], test: Sequence[Scored], model: str, best: str) -> dict[str, Any]:
    """sort -> what routers that saw none of it recover of the gap on it."""
    found = {}
    for sort in sorted({sort_of(one.case) for one in (*train, *test)}):
        inside = [one for one in train if sort_of(one.case) != sort]
        outside = [one for one in (*train, *test) if sort_of(one.case) == sort and one.whole]
        if len({one.group for one in inside}) < 4 or len(outside) < MIN_CASES:
            continue
        classifier = fit(examples_of(inside))
        outcomes = replay_all({n: p for n, p in policies(classifier, model).items() if n in LEARNED}, outside)
        own = best_of(classifier.base[model])
        found[sort] = {"n": len(outside)} | {
            name: {
                "gap_recovered": figures(of, own).gap_recovered,
                "against_best": [round(100 * x, 2) for x in figures(of, own).against_best],
            }
            for name, of in outcomes.items()
        }
    return found


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
    classifier = fit(examples_of(train), seed=args.seed)
    if args.ship:
        content = classifier.to_json()
        write_file(FOLDER / FILE, content)
        write_file(FOLDER / "sha256.json", json.dumps({FILE: sha256(content.encode()).hexdigest()}) + "\n")
    model = next(row.model for one in train for row in one.rows.values())
    best = best_of(classifier.base[model])
    outcomes = replay_all(policies(classifier, model), test)
    kinds = [k for k, (n, _, _, gap) in gaps(train).items() if gap >= HEADLINE_GAP and n >= MIN_CASES]
    headline = {n: [o for o in of if kind_of(o.scored.case) in kinds] for n, of in outcomes.items()}
    print(f"test half, all:\n{shown(outcomes, best)}\n")
    if kinds:
        print(f"test half, {'; '.join(kinds)}:\n{shown(headline, best)}\n")
    by_kind = {}
    for kind in sorted({one.case.kind for one in test}):
        of = [one for one in test if one.case.kind == kind and one.whole]
        by_kind[kind] = [
            len(of),
            *(round(sum(s.right(r) for s in of) / max(1, len(of)), 4) for r in (RETRIEVAL, LONG_CONTEXT)),
        ]
    print(
        json.dumps(
            {
                "cases": {TRAIN: len(train), TEST: len(test)},
                "unscored": sum(not one.whole for one in (*train, *test)),
                "kinds": dict(Counter(one.case.kind for one in (*train, *test))),
                "route_seconds": round(sum(row.seconds for one in (*train, *test) for row in one.rows.values())),
                "best_fixed": best,
                "headline_kinds": kinds,
                "headline": told(headline, best) if kinds else None,
                "all": told(outcomes, best),
                "by_kind": by_kind,
                "train_gaps": gaps(train),
                "test_gaps": gaps(test),
                "left_out": leave_out(train, test, model, best),
                "held_out": classifier.summary["held_out"],
                "margins": {name: stage.margin for name, stage in classifier.stages.items()},
            }
        )
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
