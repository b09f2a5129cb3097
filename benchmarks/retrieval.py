"""Retrieval quality and speed: the right file over annotated repositories, the right lines over docstrings.

    python benchmarks/retrieval.py --annotations DIR --repos FILE --corpora DIR [--peer semble]
    python benchmarks/retrieval.py --docstrings PACKAGE_FOLDER ... [--per-package 200]

--annotations: one JSON file a repository, a list of {query, relevant: [path], secondary: [path], category}. --repos: a
list of {name, benchmark_root}. --corpora: one folder a repository. NDCG@10 with binary gain; a target's rank is the
first hit of its file; the mean is over queries. --docstrings asks the first sentence of each public function's
docstring over a copy of the package from which the docstrings that are asked were removed. Data that is absent is
skipped with a line. Ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import baselines
import docstrings
import peer

from selfroute import SelfRouter

TOP_K = 10


def ndcg_at_10(found: Sequence[str], targets: Sequence[str]) -> float:
    """found: the files of the hits, best first, repeats kept."""
    ranks = [found.index(target) + 1 for target in targets if target in found[:TOP_K]]
    ideal = sum(1 / math.log2(i + 2) for i in range(min(len(targets), TOP_K)))
    return sum(1 / math.log2(1 + rank) for rank in ranks) / ideal


def files_of(case: dict[str, list[str | dict[str, str]]], root: str) -> list[str]:
    """The case's target files relative to the indexed folder; a target may be a path or {path, start_line,
    end_line}."""
    targets = (f if isinstance(f, str) else f["path"] for f in case["relevant"] + case["secondary"])
    return list(dict.fromkeys(target.removeprefix(root) for target in targets))


def timed(search: Callable[[str], object], questions: Iterable[str], *, repeats: int = 5) -> list[float]:
    """Milliseconds of each question, the median of `repeats` warm calls."""
    result = []
    for question in questions:
        search(question)
        took = []
        for _ in range(repeats):
            start = time.perf_counter()
            search(question)
            took.append((time.perf_counter() - start) * 1e3)
        result.append(statistics.median(took))
    return result


def annotated(args: argparse.Namespace) -> dict[str, object]:
    """NDCG@10 per repository and system, and the time of a warm query."""
    repos = json.loads(args.repos.read_text())
    scores: dict[str, dict[str, list[float]]] = {}
    by_category: dict[str, list[float]] = {}
    milliseconds: list[float] = []
    peer_report: dict[str, object] = {}
    peer_runs: list[peer.Run] = []
    for repo in sorted(repos, key=lambda r: str(r["name"])):
        name, root = repo["name"], args.corpora / repo["name"] / repo["benchmark_root"]
        annotations = args.annotations / f"{name}.json"
        if not root.is_dir() or not annotations.is_file():
            print(f"skipped {name}: {root} or {annotations} is absent", file=sys.stderr)
            continue
        cases = json.loads(annotations.read_text())
        questions = [case["query"] for case in cases]
        targets = [files_of(case, repo["benchmark_root"] + "/") for case in cases]
        with tempfile.TemporaryDirectory() as store:
            router = SelfRouter.from_path(root, index_dir=store)
            systems = {"selfroute": lambda q, r=router: [h.chunk.path for h in r.search(q, top_k=TOP_K)]}
            systems |= baselines.over(router)
            for system, search in systems.items():
                values = [ndcg_at_10(search(q), t) for q, t in zip(questions, targets, strict=True)]
                scores.setdefault(system, {})[name] = values
                if system == "selfroute":
                    for case, value in zip(cases, values, strict=True):
                        by_category.setdefault(case["category"], []).append(value)
                    if args.verbose:
                        for case, value in zip(cases, values, strict=True):
                            print(f"{value:.2f} {name}: {case['query']}", file=sys.stderr)
            ours = timed(lambda q, r=router: r.search(q, top_k=TOP_K), questions)
            milliseconds += ours
            router.close()
        if args.peer:
            run = peer.run(args.peer, args.peer_python, root, questions)
            values = [ndcg_at_10(found, t) for found, t in zip(run.files, targets, strict=True)]
            scores.setdefault(args.peer, {})[name] = values
            peer_runs.append(run)
    if not scores:
        return {}
    mean = {s: statistics.mean(v for values in repos_.values() for v in values) for s, repos_ in scores.items()}
    if peer_runs:
        theirs = [ms for run in peer_runs for ms in run.query_ms]
        peer_report = {
            "name": args.peer,
            "ndcg10": round(mean[args.peer], 4),
            "query_p50_ms": round(statistics.median(theirs), 3),
            "quality_ratio": round(mean["selfroute"] / mean[args.peer], 3),
            "query_time_ratio": round(statistics.median(milliseconds) / statistics.median(theirs), 2),
        }
    return {
        "ndcg10": round(mean["selfroute"], 4),
        "per_repo": {name: round(statistics.mean(v), 4) for name, v in scores["selfroute"].items()},
        "by_category": {name: round(statistics.mean(v), 4) for name, v in sorted(by_category.items())},
        "baselines": {system: round(value, 4) for system, value in mean.items() if system != "selfroute"},
        "n": sum(map(len, scores["selfroute"].values())),
        "query_p50_ms": round(statistics.median(milliseconds), 3),
        "query_p95_ms": round(sorted(milliseconds)[int(len(milliseconds) * 0.95)], 3),
        **({"peer": peer_report} if peer_report else {}),
    }


def span_recall(args: argparse.Namespace) -> dict[str, object]:
    """Of the functions that docstrings describe: found at rank 1, 5, 10, and the share of their lines in the first
    tokens of hits."""
    reports: dict[str, docstrings.Report] = {}
    for package in args.docstrings:
        if not package.is_dir():
            print(f"skipped {package}: no such folder", file=sys.stderr)
            continue
        reports[package.name] = docstrings.measure(package, per_package=args.per_package, seed=args.seed)
    return docstrings.summary(reports) if reports else {}


def main() -> None:
    """Parses, measures, prints one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--annotations", type=Path)
    parser.add_argument("--repos", type=Path)
    parser.add_argument("--corpora", type=Path)
    parser.add_argument("--docstrings", type=Path, nargs="+", default=[], metavar="PACKAGE")
    parser.add_argument("--per-package", type=int, default=200, help="functions asked of each package, at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--peer", choices=["semble"], help="run this tool beside ours, in a venv of its own")
    parser.add_argument("--peer-python", type=Path, help="python of a venv that holds the peer; without it one is made")
    parser.add_argument("--verbose", action="store_true", help="print each query's score")
    args = parser.parse_args()
    report: dict[str, object] = {}
    if args.annotations and args.repos and args.corpora:
        report |= annotated(args)
    if args.docstrings:
        report["span_recall"] = span_recall(args)
    if not report:
        print("skipped: give --annotations, --repos and --corpora, or --docstrings", file=sys.stderr)
    print(json.dumps(report))


if __name__ == "__main__":
    main()
