"""Random budgets of seconds, tokens and dollars: are they ever passed, and how near are predicted seconds to real ones?

    python benchmarks/budgets.py --corpus PACKAGE_OR_FOLDER [--n 1000] [--plot FILE.svg] [--seed 0]

Questions about the package (code_cases.py), under policies and forced routes that are drawn with the budget: seconds
from a hundredth of one to 20, tokens from 100 to twice the corpus, dollars for a scripted model with prices; one or
more at once; a third of the questions asked before, so that what was read is kept; each in its own router, a tenth
of them cold, with the reader not loaded. violation: more seconds by the clock around `ask`, tokens in all prompts, or
dollars than were allowed. late: refusals that came after the seconds were over, which happens where a hundredth of one
is too little to look at the question. stopped: attempts that were ended by the clock, or read less for its sake.
needless: of the refusals for want of seconds, those whose route (retrieval, where a policy chooses) was then asked
without a limit and kept it. ratio: real over predicted seconds of single attempts; covered: real within seconds_high.
The rates are learned from nothing, in a cache of this run's own. Ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from code_cases import copy_package, generated

from selfroute import SelfRouter
from selfroute.errors import ContextOverflowError, LimitsError
from selfroute.models.span_reader import SpanReader
from selfroute.types import Limits

POLICIES = ("rules", "self-route", "random", "always-retrieval", "always-long-context", "learned", "learned-cascade")
ROUTES = ("auto", "auto", "retrieval", "long-context")
PRICES = {"price_in": "2.0", "price_out": "8.0"}  # dollars for a million tokens


@dataclass(frozen=True, slots=True)
class Asked:
    """One question under one budget, and what it took. refused: the error's name."""

    limits: Limits
    policy: str
    route: str
    priced: bool
    seconds: float
    tokens: int
    dollars: float
    refused: str = ""
    predicted: float = 0.0
    high: float = 0.0
    single: bool = False
    stopped: bool = False

    @property
    def late(self) -> bool:
        """Whether it was refused after its time."""
        limit = self.limits.max_seconds
        return bool(self.refused) and limit is not None and self.seconds > limit

    @property
    def broken(self) -> list[str]:
        """The limits that were passed."""
        found = []
        if self.limits.max_seconds is not None and self.seconds > self.limits.max_seconds and not self.refused:
            found.append("seconds")
        if self.limits.max_tokens is not None and self.tokens > self.limits.max_tokens:
            found.append("tokens")
        if self.limits.max_dollars is not None and self.dollars > self.limits.max_dollars:
            found.append("dollars")
        return found


def drawn(rng: random.Random, n_tokens: int, priced: bool) -> Limits:
    """One to three limits, evenly over their logarithms."""

    def between(low: float, high: float) -> float:
        return math.exp(rng.uniform(math.log(low), math.log(high)))

    wanted = rng.sample(["seconds", "tokens", *(["dollars"] if priced else [])], rng.choice((1, 1, 2, 2 + priced)))
    return Limits(
        between(0.01, 20) if "seconds" in wanted else None,
        round(between(100, 2 * n_tokens)) if "tokens" in wanted else None,
        between(1e-5, 4e-6 * n_tokens) if "dollars" in wanted else None,
    )


def ask(
    root: Path,
    store: Path,
    question: str,
    limits: Limits,
    policy: str,
    route: str,
    priced: bool,
    reader: SpanReader | None,
) -> Asked:
    """Asks once, and measures from outside."""
    options = {"model": "scripted"} if priced else {"reader": reader}
    with SelfRouter.from_path(
        root, index_dir=store, policy=policy, update=False, max_seconds=limits.max_seconds,
        max_tokens=limits.max_tokens, max_cost=limits.max_dollars, **options,  # type: ignore[arg-type]
    ) as router:  # fmt: skip
        router.index.related("who calls main")  # the graph is loaded once in a process that stays
        began = time.perf_counter()
        try:
            answer = router.ask(question, route=route)
        except (LimitsError, ContextOverflowError) as error:
            seconds = time.perf_counter() - began
            return Asked(limits, policy, route, priced, seconds, 0, 0.0, type(error).__name__)
        seconds = time.perf_counter() - began
        used = answer.usage
        one = len(answer.attempts) == 1
        estimate = answer.decision.estimates[answer.attempts[0].route]
        return Asked(
            limits, policy, route, priced, seconds, used.prompt_tokens, used.dollars, "", estimate.seconds,
            estimate.most_seconds, one and not answer.attempts[0].degraded,
            any(attempt.degraded for attempt in answer.attempts),
        )  # fmt: skip


def plot(found: list[Asked], path: Path) -> None:
    """Predicted against real seconds, both as logarithms; the line is where they agree."""
    points = [(math.log10(max(a.predicted, 1e-3)), math.log10(max(a.seconds, 1e-3))) for a in found]
    low, high = -2.0, 1.5

    def at(value: float) -> float:
        return 50 + (value - low) / (high - low) * 400

    drawn_ = [
        f'<circle cx="{at(x):.1f}" cy="{500 - at(y):.1f}" r="2.5" fill="#2563eb" fill-opacity=".5"/>' for x, y in points
    ]
    ticks = "".join(
        f'<text x="{at(k)}" y="468" text-anchor="middle">{10**k:g}</text>'
        f'<text x="44" y="{504 - at(k)}" text-anchor="end">{10**k:g}</text>'
        for k in (-2, -1, 0, 1)
    )
    path.write_text(
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 480 490" font-family="sans-serif" font-size="12">'
        '<rect width="480" height="490" fill="#fff"/><rect x="50" y="50" width="400" height="400" fill="none" '
        'stroke="#999"/><line x1="50" y1="450" x2="450" y2="50" stroke="#999" stroke-dasharray="4 4"/>'
        f'{ticks}<text x="250" y="484" text-anchor="middle">predicted seconds</text>'
        f'<text x="50" y="40">real seconds</text>{"".join(drawn_)}</svg>\n',
        encoding="utf-8",
    )


def main() -> int:
    """Draws, asks, counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", required=True, metavar="PACKAGE_OR_FOLDER")
    parser.add_argument("--n", type=int, default=1_000)
    parser.add_argument("--plot", type=Path, metavar="FILE.svg")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--log", type=argparse.FileType("w"), metavar="FILE", help="every question asked, as JSON")
    args = parser.parse_args()
    rng = random.Random(args.seed)
    found: list[Asked] = []
    needless = tried = 0
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["XDG_CACHE_HOME"] = f"{scratch}/cache"
        root, store = Path(scratch) / "corpus", Path(scratch) / "index"
        if not copy_package(args.corpus, root):
            print(json.dumps({"skipped": f"no such package or folder: {args.corpus}"}))
            return 0
        (root / "selfroute.toml").write_text("".join(f"{key} = {value}\n" for key, value in PRICES.items()))
        cases = generated({"corpus": root}, per_kind=8, n_absent=20, seed=args.seed)
        with SelfRouter.from_path(root, index_dir=store) as router:
            n_tokens = router.index.stats.tokens
            for case in cases[:12]:
                router.ask(case.question, route="retrieval")
        kept = SpanReader()
        kept.score("Is it loaded?", ())
        asked: list[str] = []
        for number in range(args.n):
            question = rng.choice(asked) if asked and rng.random() < 0.33 else rng.choice(cases).question
            asked.append(question)
            priced = rng.random() < 0.3
            limits, policy, route = drawn(rng, n_tokens, priced), rng.choice(POLICIES), rng.choice(ROUTES)
            reader = None if rng.random() < 0.1 else kept
            one = ask(root, store, question, limits, policy, route, priced, reader)
            found.append(one)
            if one.refused == "LimitsError" and limits == Limits(limits.max_seconds):
                forced = "retrieval" if route == "auto" else route
                again = ask(root, store, question, Limits(), policy, forced, priced, reader)
                tried += 1
                needless += again.seconds <= (limits.max_seconds or 0)
            if args.log:
                args.log.write(json.dumps([asdict(one), question]) + "\n")
            if number % 100 == 99:
                print(f"{number + 1} asked, {sum(bool(a.broken) for a in found)} violations", file=sys.stderr)
    measured = [a for a in found if a.single and not a.priced and a.predicted > 0]
    ratios = np.array([a.seconds / a.predicted for a in measured])
    if args.plot:
        plot(measured, args.plot)
    refused = [a for a in found if a.refused]
    print(
        json.dumps(
            {
                "n": len(found),
                "corpus_tokens": n_tokens,
                "violations": sum(bool(a.broken) for a in found),
                "broken": dict(Counter(name for a in found for name in a.broken)),
                "with_limit_on": {
                    name: sum(getattr(a.limits, name) is not None for a in found)
                    for name in ("max_seconds", "max_tokens", "max_dollars")
                },
                "refused": len(refused),
                "refusals": dict(Counter(a.refused for a in refused)),
                "late": sum(a.late for a in found),
                "stopped": sum(a.stopped for a in found),
                "refused_for_seconds_and_asked_again": tried,
                "needless": needless,
                "ratio_p10_p50_p90": [round(float(x), 3) for x in np.percentile(ratios, (10, 50, 90))],
                "covered": round(float(np.mean([a.seconds <= a.high for a in measured])), 4),
                "n_measured": len(measured),
            }
        )
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
