"""Questions whose answer takes two places: HotpotQA's, over all of its paragraphs as one corpus.

    python benchmarks/multi_place.py --hotpotqa FOLDER [--route retrieval-apart retrieval pages ...]
        [--half report|develop] [--layout pages|volumes] [--index-dir DIR] [--limit N] [--show]

--hotpotqa: a folder with dev250.jsonl and corpus.jsonl (see two_hop.py, which lays them out). Routes: retrieval;
long-context, which scores every chunk by the joint reader; pages, which is long context with encoded pages; and each
of them with -apart, where the reader reads chunks by themselves only (not as backends/linked.py does). The first one
named is what the others are compared with, question by question. --half: what was tuned on is the questions with
an even first byte of sha256(id), `develop`; the others are for `report`. --index-dir: where the index and the pages are
kept between runs; a temporary folder without it.

EM and F1 are those of SQuAD, over the text of the answer, a decline counted as wrong; a question for yes or no is
one of them, and cannot be quoted. both: that chunks of both gold paragraphs were among those of the last reading; one:
of at least one. 95% intervals: 2,000 bootstrap samples of the questions. Ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from two_hop import Case, bootstrap, found, hotpotqa

from selfroute import SelfRouter
from selfroute.models.span_reader import SpanReader
from selfroute.models.training.squad_scores import exact_match, f1
from selfroute.types import LONG_CONTEXT, RETRIEVAL

APART = "-apart"
ROUTES = {"retrieval": (RETRIEVAL, "off"), "long-context": (LONG_CONTEXT, "off"), "pages": (LONG_CONTEXT, "paged")}
ROUTES |= {name + APART: found for name, found in ROUTES.items()}
GROUPS = ("bridge", "comparison", "yes or no")


class Apart(SpanReader):
    """The trained reader, which cannot be asked to read what was joined."""

    read_joined = None  # type: ignore[assignment]


@dataclass(frozen=True, slots=True)
class Row:
    """What one answer was worth."""

    group: str
    em: float
    f1: float
    declined: bool
    read: tuple[bool, ...]
    seconds: float


def ask(router: SelfRouter, case: Case, answer: str, *, show: bool) -> Row:
    """Asks one question, and compares."""
    began = time.perf_counter()
    made = router.ask(case.question)
    seconds = time.perf_counter() - began
    text = made.text if made.answerable else ""
    read = tuple(found(made.attempts[-1].chunks, place) for place in case.gold)
    row = Row(group_of(case, answer), exact_match(text, [answer]), f1(text, [answer]), not text, read, seconds)
    if show:
        marks = "".join("x" if one else "-" for one in read)
        print(f"{row.f1:.2f} {marks} {case.question!r} {text!r} [{answer}]", file=sys.stderr)
    return row


def group_of(case: Case, answer: str) -> str:
    """bridge, comparison, or yes or no."""
    return "yes or no" if answer in ("yes", "no") else case.group


def report(rows: list[Row], base: list[Row]) -> dict[str, Any]:
    """Means in percent, all questions and each group."""
    told: dict[str, Any] = {}
    for group in ("all", *GROUPS):
        chosen = [i for i, row in enumerate(rows) if group in ("all", row.group)]
        if not chosen:
            continue
        mine, other = [rows[i] for i in chosen], [base[i] for i in chosen]
        differences = [a.f1 - b.f1 for a, b in zip(mine, other, strict=True)]
        told[group] = {
            "n": len(mine),
            "em": percent([row.em for row in mine]),
            "f1": percent([row.f1 for row in mine]),
            "f1_ci95": bootstrap([row.f1 for row in mine]),
            "difference": percent(differences),
            "difference_ci95": bootstrap(differences),
            "declined": percent([float(row.declined) for row in mine]),
            "both": percent([float(all(row.read)) for row in mine]),
            "one": percent([float(any(row.read)) for row in mine]),
        }
    told["seconds_p50"] = round(statistics.median(row.seconds for row in rows), 3)
    return told


def percent(values: list[float]) -> float:
    """The mean in percent."""
    return round(100 * statistics.fmean(values), 1)


def main() -> int:
    """Parses the options, lays out the corpus, asks each route; 2 when the data is absent."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hotpotqa", type=Path, required=True)
    parser.add_argument("--route", nargs="+", choices=ROUTES, default=["retrieval-apart", "retrieval", "pages"])
    parser.add_argument("--half", choices=("report", "develop"), default="report")
    parser.add_argument("--layout", choices=("pages", "volumes"), default="pages")
    parser.add_argument("--index-dir", type=Path)
    parser.add_argument("--limit", type=int, help="questions")
    parser.add_argument("--show", action="store_true", help="print every answer beside the right one")
    args = parser.parse_args()
    if not (args.hotpotqa / "corpus.jsonl").is_file():
        print(f"there is no file {args.hotpotqa / 'corpus.jsonl'}", file=sys.stderr)
        return 2
    lines = (args.hotpotqa / "dev250.jsonl").read_text(encoding="utf-8").splitlines()
    answers = {row["id"]: row["answer"] for row in map(json.loads, lines)}
    rows: dict[str, list[Row]] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        cases = hotpotqa(args.hotpotqa, folder, args.layout)
        store = args.index_dir or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        asked = [case for case in cases if case.tuned == (args.half == "develop")][: args.limit]
        for name in args.route:
            route, pages = ROUTES[name]
            os.environ["SELFROUTE_PAGES"] = pages
            reader = Apart() if name.endswith(APART) else None
            with SelfRouter.from_path(folder, index_dir=store, route=route, reader=reader) as router:
                if pages != "off":
                    router.ask("Which page is read first?")  # what is encoded is encoded now
                rows[name] = [ask(router, case, answers[case.id], show=args.show) for case in asked]
    base = rows[args.route[0]]
    told = {name: report(found, base) for name, found in rows.items()}
    print(json.dumps({"routes": told, "half": args.half, "layout": args.layout, "n": len(base)}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
