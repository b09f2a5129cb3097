"""What a policy is worth beside the others: right, cost, and how much of what choosing could gain it has gained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from selfroute.router.evaluation import intervals
from selfroute.router.evaluation.replaying import Outcome, forced, oracle
from selfroute.types import LONG_CONTEXT, RETRIEVAL

N_BINS = 15
MIN_GAP = 0.002  # between the oracle and the best fixed route, below which nothing can be recovered of it


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one policy. Shares are of 1, tokens and seconds per case; None where it cannot be said.

    token_share: tokens read, of those that always-long-context reads. gap_recovered: (accuracy - best fixed) / (oracle
    - best fixed). apgr: the area under accuracy over the share sent to long context, in the order of the policy's own
    prediction, 0 for a random order and 1 for the oracle's. cpt50: the share of long context that half of the best gain
    takes in that order. ece: of the predicted probability of the route that was kept, 15 bins of equal mass.
    against_best: accuracy minus that of the best fixed route on the same cases, with its interval; p: McNemar's.
    """

    n: int
    accuracy: float
    ci95: tuple[float, float]
    declined: float
    tokens: float
    token_share: float | None
    seconds: float
    dollars: float
    long_context: float
    gap_recovered: float | None
    regret: float
    apgr: float | None
    cpt50: float | None
    ece: float | None
    against_best: tuple[float, float, float]
    p: float


def figures(outcomes: Sequence[Outcome], best: str | None = None) -> Figures:
    """best: the fixed route to compare with, chosen elsewhere; of these cases' own accuracies when it is None."""
    scored = [outcome.scored for outcome in outcomes]
    groups = [one.group for one in scored]
    best = best or best_fixed(outcomes)
    right = [float(outcome.right) for outcome in outcomes]
    fixed = [float(forced(one, best).right) for one in scored]
    known = [float(oracle(one).right) for one in scored]
    everything = sum(forced(one, LONG_CONTEXT).tokens for one in scored)
    accuracy, gap = _mean(right), _mean(known) - _mean(fixed)
    apgr, cpt50 = curve_figures(outcomes)
    return Figures(
        n=len(outcomes),
        accuracy=accuracy,
        ci95=intervals.share(right, groups),
        declined=_mean([float(o.declined) for o in outcomes]),
        tokens=_mean([float(o.tokens) for o in outcomes]),
        token_share=sum(o.tokens for o in outcomes) / everything if everything else None,
        seconds=_mean([o.seconds for o in outcomes]),
        dollars=_mean([o.dollars for o in outcomes]),
        long_context=_mean([float(o.read_all) for o in outcomes]),
        gap_recovered=(accuracy - _mean(fixed)) / gap if gap > MIN_GAP else None,
        regret=_mean(known) - accuracy,
        apgr=apgr,
        cpt50=cpt50,
        ece=ece([o.p[o.route] for o in outcomes if o.route in o.p], [o.right for o in outcomes if o.route in o.p]),
        against_best=intervals.difference(right, fixed, groups),
        p=intervals.mcnemar(right, fixed),
    )


def best_fixed(outcomes: Sequence[Outcome]) -> str:
    """The route that is right more often on these cases; retrieval on ties."""
    scored = [outcome.scored for outcome in outcomes]
    n = {route: sum(one.right(route) for one in scored) for route in (RETRIEVAL, LONG_CONTEXT)}
    return LONG_CONTEXT if n[LONG_CONTEXT] > n[RETRIEVAL] else RETRIEVAL


def quality_curve(outcomes: Sequence[Outcome]) -> list[float]:
    """Accuracy with the k cases of the largest predicted gain on long context, k from 0 to n."""
    gains = [o.p[LONG_CONTEXT] - o.p[RETRIEVAL] for o in outcomes]
    order = sorted(range(len(outcomes)), key=lambda i: (-gains[i], outcomes[i].scored.case.id))
    return _curve([_gain(outcomes[i]) for i in order], outcomes)


def curve_figures(outcomes: Sequence[Outcome]) -> tuple[float | None, float | None]:
    """APGR and CPT50; None where the policy predicts nothing, or the oracle has nothing to gain."""
    if not outcomes or not all({RETRIEVAL, LONG_CONTEXT} <= set(o.p) for o in outcomes):
        return None, None
    if len({round(o.p[LONG_CONTEXT] - o.p[RETRIEVAL], 12) for o in outcomes}) < 2:
        return None, None
    curve = np.asarray(quality_curve(outcomes))
    best = np.asarray(_curve(sorted((_gain(o) for o in outcomes), reverse=True), outcomes))
    random = np.linspace(curve[0], curve[-1], len(curve))
    most = float((best - random).mean())
    apgr = float((curve - random).mean()) / most if most > 1e-12 else None
    gain = float(curve.max() - curve[0])
    reached = np.flatnonzero(curve >= curve[0] + gain / 2) if gain > 0 else []
    return apgr, float(reached[0]) / (len(curve) - 1) if len(reached) else None


def ece(p: Sequence[float], right: Sequence[bool], n_bins: int = N_BINS) -> float | None:
    """Expected calibration error over bins of equal mass (Nixon et al. 2019); None of nothing."""
    if not p or len(set(p)) < 2:
        return None
    order = np.argsort(np.asarray(p), kind="stable")
    found, hit = np.asarray(p)[order], np.asarray(right, float)[order]
    gaps = [abs(found[part].sum() - hit[part].sum()) for part in np.array_split(np.arange(len(found)), n_bins)]
    return float(sum(gaps)) / len(found)


def _gain(outcome: Outcome) -> int:
    return int(outcome.scored.right(LONG_CONTEXT)) - int(outcome.scored.right(RETRIEVAL))


def _curve(gains: Sequence[int], outcomes: Sequence[Outcome]) -> list[float]:
    start = sum(o.scored.right(RETRIEVAL) for o in outcomes)
    return [float(x) for x in (start + np.concatenate([[0], np.cumsum(gains)])) / len(outcomes)]


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if len(values) else 0.0


def by_slice(
    outcomes: Mapping[str, Sequence[Outcome]], slice_of: Mapping[str, str]
) -> dict[str, dict[str, list[Outcome]]]:
    """slice -> policy -> outcomes. slice_of: case id -> slice."""
    found: dict[str, dict[str, list[Outcome]]] = {}
    for policy, of_policy in outcomes.items():
        for outcome in of_policy:
            name = slice_of[outcome.scored.case.id]
            found.setdefault(name, {}).setdefault(policy, []).append(outcome)
    return found
