"""Questions about code with exact answers: are they answered, cited, and declined when there is no answer?

    python benchmarks/code_qa.py --package NAME_OR_FOLDER ... [--per-kind 100] [--absent 300] [--write-cases FILE]
    python benchmarks/code_qa.py --cases FILE --corpus DIR

--package: questions are made of installed packages that were never trained on, in wordings held out from training;
each is asked over the whole package, its tests and metadata included. --cases: JSON lines, or a list, of {id, kind,
question, answers, match: any|all, evidence: [{path, start_line, end_line}]}, empty answers meaning that there is none;
--write-cases writes such a file, whose cases also name their package, for --cases FILE --package NAME ...

exact: the answer's text equals one of the answers (match any) or is a list of all of them; blanks between words,
quotes, backticks and punctuation at the ends do not count. contained: they stand in it. cited: a citation overlaps the
lines of the definition. accuracy (exact), contained and citation_recall are means over kinds, of those with at
least --min-kind questions when there are any; a decline is wrong. read: the definition
was among what was read. Ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from code_cases import Case, Verdict, copy_package, generated, judged, read_cases, write_cases

from selfroute import SelfRouter


def asked(cases: Iterable[Case], folder: Path, args: argparse.Namespace) -> list[Verdict]:
    """The verdicts of one corpus; its index is made first, in a folder of its own."""
    verdicts = []
    with (
        tempfile.TemporaryDirectory() as store,
        SelfRouter.from_path(
            folder, index_dir=store, route=args.route, policy=args.policy, reader=args.reader
        ) as router,
    ):
        for case in cases:
            started = time.perf_counter()
            answer = router.ask(case.question)
            verdicts.append(judged(case, answer, time.perf_counter() - started))
            if args.verbose:
                print(shown(verdicts[-1]), file=sys.stderr)
    return verdicts


def shown(verdict: Verdict) -> str:
    """One line about one answer."""
    case = verdict.case
    mark = "declined" if verdict.declined else "exact" if verdict.exact else "within" if verdict.contained else "wrong"
    cited = "cited" if verdict.cited else "-"
    return f"{mark:8} {cited:5} {case.kind:20} {case.question!r} wants {list(case.answers)}: {verdict.text[:160]!r}"


def report(verdicts: list[Verdict], min_kind: int) -> dict[str, object]:
    """Means over kinds, each kind, and how often it declined."""
    answerable = [v for v in verdicts if v.case.answers]
    absent = [v for v in verdicts if not v.case.answers]
    kinds: dict[str, list[Verdict]] = {}
    for verdict in answerable:
        kinds.setdefault(verdict.case.kind, []).append(verdict)
    counted = [found for found in kinds.values() if len(found) >= min_kind] or list(kinds.values())

    def over_kinds(name: str) -> float | None:
        return mean(mean_of(name, found) for found in counted)

    return {
        "accuracy": over_kinds("exact"),
        "contained": over_kinds("contained"),
        "citation_recall": over_kinds("cited"),
        "declined_unanswerable": mean_of("declined", absent) if absent else None,
        "declined_answerable": mean_of("declined", answerable) if answerable else None,
        "n": len(verdicts),
        "n_unanswerable": len(absent),
        "n_kinds": len(counted),
        "micro": {name: mean_of(name, answerable) for name in ("exact", "contained", "cited", "read")}
        if answerable
        else {},
        "seconds_p50": round(statistics.median(v.seconds for v in verdicts), 4) if verdicts else None,
        "by_kind": {
            kind: {
                "n": len(found),
                **{name: mean_of(name, found) for name in ("exact", "contained", "cited", "read", "declined")},
            }
            for kind, found in sorted(kinds.items())
        },
    }


def mean_of(name: str, verdicts: list[Verdict]) -> float:
    """The share of verdicts with this mark."""
    return round(statistics.mean(bool(getattr(v, name)) for v in verdicts), 4)


def mean(values: Iterable[float]) -> float | None:
    """Rounded; None of nothing."""
    found = list(values)
    return round(statistics.mean(found), 4) if found else None


def main() -> None:
    """Makes or reads the cases, asks them, prints one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--package", nargs="+", default=[], metavar="NAME", help="an installed distribution, or a folder"
    )
    parser.add_argument("--cases", type=Path)
    parser.add_argument("--corpus", type=Path, help="what the cases are about")
    parser.add_argument("--per-kind", type=int, default=100, help="answerable questions of one kind, at most")
    parser.add_argument("--absent", type=int, default=300, help="questions without an answer")
    parser.add_argument("--min-kind", type=int, default=80, help="questions that a kind needs to count")
    parser.add_argument("--limit", type=int, help="ask no more than this many, drawn evenly")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-noise", action="store_true", help="no typing errors and abbreviations")
    parser.add_argument("--route", default="retrieval")
    parser.add_argument("--policy")
    parser.add_argument("--reader")
    parser.add_argument("--write-cases", type=Path, metavar="FILE")
    parser.add_argument("--verbose", action="store_true", help="print each question and what came of it")
    args = parser.parse_args()
    verdicts: list[Verdict] = []
    with tempfile.TemporaryDirectory() as scratch:
        corpora: dict[str, Path] = {}
        for name in args.package:
            folder = Path(scratch) / Path(name).name
            if copy_package(name, folder):
                corpora[Path(name).name] = folder
            else:
                print(f"skipped {name}: no such package or folder: pip install {name}", file=sys.stderr)
        if args.cases:
            if not args.cases.is_file():
                parser.error(f"no such file: {args.cases}")
            cases = read_cases(args.cases)
            if args.corpus:
                corpora = {"": args.corpus}
        else:
            cases = generated(
                corpora, per_kind=args.per_kind, n_absent=args.absent, seed=args.seed, noise=not args.no_noise
            )
        if args.corpus and not args.corpus.is_dir():
            parser.error(f"no such folder: {args.corpus}")
        if not corpora:
            parser.error("give --package NAME ..., or --cases FILE --corpus DIR")
        if args.write_cases:
            write_cases(cases, args.write_cases)
        if args.limit and args.limit < len(cases):
            cases = [cases[i * len(cases) // args.limit] for i in range(args.limit)]
        for name, folder in corpora.items():
            verdicts += asked([case for case in cases if not name or case.package == name], folder, args)
    print(json.dumps(report(verdicts, 0 if args.cases else args.min_kind)))


if __name__ == "__main__":
    main()
