"""What a run comes to: the figures of every policy, the breakdowns, the worst regrets, and one sentence of verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import sqrt
from typing import Any

from selfroute.router.evaluation import intervals
from selfroute.router.evaluation.metrics import Figures, best_fixed, by_slice, figures, quality_curve
from selfroute.router.evaluation.replaying import ORACLE, Outcome, Scored, without_clock
from selfroute.types import LONG_CONTEXT, RETRIEVAL

N_WORST = 25
LENGTHS = ((8_000, "under 8k"), (32_000, "8k to 32k"), (128_000, "32k to 128k"), (512_000, "128k to 512k"))
LONGEST = "over 512k"
FIXED = {RETRIEVAL: "always-retrieval", LONG_CONTEXT: "always-long-context"}


@dataclass(frozen=True, slots=True)
class Report:
    """figures: by policy. slices: "kind" or "length" -> its name -> policy -> (accuracy, n). unscored: case -> why.

    curve: policy -> accuracy by the share sent to long context, at 51 points. calibration: policy -> (p, share right,
    n) of bins. best: the better of the two fixed routes.
    """

    n_cases: int
    best: str
    figures: Mapping[str, Figures]
    slices: Mapping[str, Mapping[str, Mapping[str, tuple[float, int]]]]
    curve: Mapping[str, Sequence[float]]
    calibration: Mapping[str, Sequence[tuple[float, float, int]]]
    outcomes: Mapping[str, Sequence[Outcome]]
    unscored: Mapping[str, str]
    verdict: str

    def to_json(self) -> dict[str, Any]:
        """All but the outcomes."""
        return {
            "cases": self.n_cases,
            "best_fixed": self.best,
            "verdict": self.verdict,
            "policies": {name: asdict(found) for name, found in self.figures.items()},
            "slices": self.slices,
            "unscored": dict(self.unscored),
        }


def make_report(scored: Sequence[Scored], outcomes: Mapping[str, Sequence[Outcome]], *, times: bool = True) -> Report:
    """times: False leaves out what the clock said, so that two runs of the same cases give the same report."""
    if not times:
        outcomes = {name: [without_clock(o) for o in found] for name, found in outcomes.items()}
    some = next(iter(outcomes.values()), [])
    best = best_fixed(some) if some else RETRIEVAL
    made = {name: figures(found, best) for name, found in outcomes.items()} if some else {}
    return Report(
        n_cases=len(scored),
        best=best,
        figures=made,
        slices={"kind": _slices(outcomes, _kind), "length": _slices(outcomes, _length)},
        curve={n: _thinned(quality_curve(found)) for n, found in outcomes.items() if made and made[n].apgr is not None},
        calibration={n: _bins(found) for n, found in outcomes.items() if made and made[n].ece is not None},
        outcomes=outcomes,
        unscored={one.case.id: _why(one) for one in scored if not one.whole},
        verdict=_verdict(made, best, outcomes),
    )


def worst(outcomes: Sequence[Outcome], n: int = N_WORST) -> list[Outcome]:
    """Cases that a route got right and the policy did not, those with the largest predicted probability first."""
    lost = [o for o in outcomes if not o.right and any(o.scored.right(route) for route in (RETRIEVAL, LONG_CONTEXT))]
    return sorted(lost, key=lambda o: (-o.p.get(o.route, 0.0), o.scored.case.id))[:n]


def table(report: Report) -> str:
    """One line a policy."""
    heads = (
        "policy", "n", "right", "95%", "declined", "tokens", "seconds", "dollars", "long ctx", "gap rec.", "regret",
        "APGR", "CPT50", "ECE", "vs best fixed", "p",
    )  # fmt: skip
    rows = [heads]
    for name, f in report.figures.items():
        difference = "{:+.1f} [{:+.1f}, {:+.1f}]".format(*(100 * x for x in f.against_best))
        rows.append(
            (
                name, f"{f.n:,}", _percent(f.accuracy), "[{}, {}]".format(*map(_percent, f.ci95)), _percent(f.declined),
                f"{f.tokens:,.0f}", f"{f.seconds:.2f}" if f.seconds else "-", f"{f.dollars:.4f}" if f.dollars else "-",
                _percent(f.long_context), _number(f.gap_recovered), f"{100 * f.regret:.1f}", _number(f.apgr),
                _number(f.cpt50), _number(f.ece, 3), difference, f"{f.p:.3f}",
            )
        )  # fmt: skip
    widths = [max(len(row[i]) for row in rows) for i in range(len(heads))]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows)


def _verdict(made: Mapping[str, Figures], best: str, outcomes: Mapping[str, Sequence[Outcome]]) -> str:
    """Which policy to take, in a sentence, and what difference these cases can tell at all."""
    fixed = FIXED[best]
    others = [name for name in made if name not in (ORACLE, *FIXED.values())]
    if not made:
        return "No case could be scored on both routes."
    gap = made[ORACLE].accuracy - _of_fixed(made, outcomes, best) if ORACLE in made else None
    if not others:
        return f"{fixed} is the better of the two routes; no other policy was compared."
    first = max(others, key=lambda name: (made[name].accuracy, -made[name].tokens))
    mean, low, high = made[first].against_best
    n = made[first].n
    floor = (high - low) / 2 if high > low else _floor(outcomes[first])
    told = (
        f"{first} is {abs(100 * mean):.1f} points {'above' if mean >= 0 else 'below'} {fixed}"
        f" [{100 * low:+.1f}, {100 * high:+.1f}] over {n:,} cases"
    )
    if low > 0:
        told += f": better, and beyond the noise (differences under {100 * floor:.1f} points cannot be told here)"
    elif high < 0:
        told += f": worse, beyond the noise (differences under {100 * floor:.1f} points cannot be told here)"
    else:
        told += f": within the noise, since differences under {100 * floor:.1f} points cannot be told here"
    share = made[first].token_share
    cost = "" if share is None else f"; it reads {100 * share:.0f}% of what always reading everything reads"
    top = "" if gap is None else f". Choosing between the routes can gain at most {100 * gap:.1f} points"
    return f"{told}{cost}{top}."


def _of_fixed(made: Mapping[str, Figures], outcomes: Mapping[str, Sequence[Outcome]], best: str) -> float:
    if FIXED[best] in made:
        return made[FIXED[best]].accuracy
    some = next(iter(outcomes.values()))
    return sum(o.scored.right(best) for o in some) / len(some)


def _floor(outcomes: Sequence[Outcome]) -> float:
    """Half an interval of a difference in a tenth of the cases."""
    n = max(2, len(outcomes))
    return intervals.quantile(intervals.LEVEL, n - 1) * sqrt(0.1 / n)


def _slices(outcomes: Mapping[str, Sequence[Outcome]], name_of: Any) -> dict[str, dict[str, tuple[float, int]]]:
    names = {o.scored.case.id: name_of(o.scored) for found in outcomes.values() for o in found}
    found = by_slice(outcomes, names)
    order = [*(name for _, name in LENGTHS), LONGEST]
    keys = sorted(found, key=lambda name: (order.index(name) if name in order else -1, name))
    return {
        key: {policy: (sum(o.right for o in of) / len(of), len(of)) for policy, of in found[key].items()}
        for key in keys
    }


def _kind(scored: Scored) -> str:
    return scored.case.kind or "all"


def _length(scored: Scored) -> str:
    n_tokens = next(iter(scored.rows.values())).features.corpus_tokens
    return next((name for bound, name in LENGTHS if n_tokens < bound), LONGEST)


def _thinned(curve: Sequence[float], n: int = 51) -> list[float]:
    return [curve[round(i * (len(curve) - 1) / (n - 1))] for i in range(n)]


def _bins(outcomes: Sequence[Outcome], n_bins: int = 10) -> list[tuple[float, float, int]]:
    """Of the predicted probability of the kept route, by equal width."""
    bins: list[list[tuple[float, bool]]] = [[] for _ in range(n_bins)]
    for o in outcomes:
        if o.route in o.p:
            bins[min(n_bins - 1, int(o.p[o.route] * n_bins))].append((o.p[o.route], o.right))
    return [(sum(p for p, _ in b) / len(b), sum(r for _, r in b) / len(b), len(b)) for b in bins if b]


def _why(scored: Scored) -> str:
    errors = [f"{route}: {row.error}" for route, row in scored.rows.items() if row.error]
    return "; ".join(errors) or ("it was not run on both routes" if len(scored.rows) < 2 else "no scorer could say")


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


def _number(value: float | None, digits: int = 2) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
