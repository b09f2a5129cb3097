"""Chooses calibration and margin on questions that heads were not fitted on, and says what they are worth there.

What is chosen is chosen on predictions for groups that were left out, and the reported figures are with the margin of
the other folds. Each model has its own calibration: an outcome is mostly the question's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selfroute.router.classifier.classifier import size_factor
from selfroute.router.classifier.examples import Questions
from selfroute.router.classifier.heads import CLIP, Calibration, Vector, round_number
from selfroute.types import LONG_CONTEXT, RETRIEVAL, ROUTES

N_FOLDS = 4
MAX_SHARE = 0.3  # of always-long-context's tokens, that the margin may lead to in training
PRICE = 0.05  # of accuracy, for reading everything: of two margins that are as good, the cheaper
MARGINS = np.arange(0.0, 0.405, 0.005)
MIN_GAP = 0.002  # between the oracle and the best fixed route, below which nothing can be recovered of it


@dataclass(frozen=True, slots=True)
class Terms:
    """What a margin is chosen under: the most of long context's tokens, and the accuracy that all of them cost."""

    max_share: float = MAX_SHARE
    price: float = PRICE


def _log_odds(values: Vector) -> Vector:
    clipped = np.clip(values, CLIP, 1 - CLIP)
    return np.asarray(np.log(clipped / (1 - clipped)))


def calibrated(
    data: Questions, held: Mapping[str, Vector], inside: NDArray[np.intp] | None = None
) -> tuple[dict[str, dict[str, Calibration]], dict[str, Vector]]:
    """model -> route -> curve, and route -> (n, models) probabilities. inside: fitted on these alone."""
    from sklearn.linear_model import LogisticRegression

    inside = np.arange(len(data.ids)) if inside is None else inside
    n_models = len(data.models)
    curves: dict[str, dict[str, Calibration]] = {model: {} for model in data.models}
    p = {}
    for route in ROUTES:
        x, right = _log_odds(held[route]), data.right[route]
        rows, models = np.nonzero(~np.isnan(right[inside]))
        own = np.zeros((len(rows), n_models + 1))
        own[np.arange(len(rows)), models] = 1
        own[:, -1] = x[inside][rows]
        y = right[inside][rows, models]
        soft = np.concatenate([own, own]), np.r_[np.ones(len(y)), np.zeros(len(y))], np.r_[y, 1 - y] + 1e-9
        fitted = LogisticRegression(C=10.0, fit_intercept=False, max_iter=500).fit(soft[0], soft[1], soft[2])
        slope = max(0.0, float(fitted.coef_[0, -1]))
        for j, model in enumerate(data.models):
            curves[model][route] = Calibration(round_number(slope), round_number(float(fitted.coef_[0, j])))
        p[route] = np.array([[curves[m][route].p(v) for m in data.models] for v in held[route]])
    return curves, p


def best_margin(data: Questions, p: Mapping[str, Vector], inside: NDArray[np.intp], terms: Terms, stage: str) -> float:
    """The gain from which long context is taken: most right, at most max_share of its tokens."""
    gain = (p[LONG_CONTEXT] - p[RETRIEVAL])[inside]
    by_size = _by_size(data)[inside][:, None]
    right = {route: data.right[route][inside] for route in ROUTES}
    best = (-np.inf, 0.0)
    for margin in MARGINS:
        takes = gain > margin * by_size
        share = _share(data, takes, inside, stage)
        if share <= terms.max_share or margin == MARGINS[-1]:
            value = float(np.nanmean(np.where(takes, right[LONG_CONTEXT], right[RETRIEVAL]))) - terms.price * share
            best = max(best, (value, float(margin)))
    return round_number(best[1])


def _by_size(data: Questions) -> Vector:
    """(n,) what the margin is multiplied with, by how much long context would read."""
    typical = float(data.tokens[LONG_CONTEXT].mean())
    return np.array([size_factor(n, typical) for n in data.tokens[LONG_CONTEXT].tolist()])


def _share(data: Questions, takes: NDArray[np.bool_], inside: NDArray[np.intp], stage: str) -> float:
    """Of the tokens of always-long-context; after a first attempt, retrieval's are spent already."""
    whole, few = data.tokens[LONG_CONTEXT][inside][:, None], data.tokens[RETRIEVAL][inside][:, None]
    spent = np.where(takes, whole + (few if stage != "first" else 0), few)
    return float(spent.sum() / max(1.0, (whole * np.ones_like(takes)).sum()))


def held_out(
    data: Questions, held: Mapping[str, Vector], fold: NDArray[np.intp], terms: Terms, stage: str
) -> dict[str, Any]:
    """What the stage is worth on left-out groups, with calibration and margin of the others."""
    from selfroute.router.evaluation.curves import calibration_error

    takes = np.zeros_like(data.right[RETRIEVAL], bool)
    fixed = np.zeros_like(data.right[RETRIEVAL])
    p = {route: np.zeros_like(fixed) for route in ROUTES}
    for k in range(N_FOLDS):
        inside, outside = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
        _, of_all = calibrated(data, held, inside)
        margin = best_margin(data, of_all, inside, terms, stage)
        takes[outside] = ((of_all[LONG_CONTEXT] - of_all[RETRIEVAL]) > margin * _by_size(data)[:, None])[outside]
        for j in range(len(data.models)):
            means = {route: np.nanmean(data.right[route][inside, j]) for route in ROUTES}
            best = LONG_CONTEXT if means[LONG_CONTEXT] > means[RETRIEVAL] else RETRIEVAL
            fixed[outside, j] = data.right[best][outside, j]
        for route in ROUTES:
            p[route][outside] = of_all[route][outside]
    kept = np.where(takes, data.right[LONG_CONTEXT], data.right[RETRIEVAL])
    top = np.fmax(data.right[LONG_CONTEXT], data.right[RETRIEVAL])
    accuracy, best_fixed, oracle = (float(np.nanmean(x)) for x in (kept, fixed, top))
    mean, low, high = paired_share(np.nanmean(kept, 1), np.nanmean(fixed, 1), data.groups)
    known = ~np.isnan(kept)
    chosen = np.where(takes, p[LONG_CONTEXT], p[RETRIEVAL])
    error = calibration_error(chosen[known].tolist(), (kept[known] > 0.5).tolist())
    gap = oracle - best_fixed
    return {
        "accuracy": round_number(accuracy, 4),
        "best_fixed": round_number(best_fixed, 4),
        "oracle": round_number(oracle, 4),
        "against_best": [round_number(x, 4) for x in (mean, low, high)],
        "gap_recovered": round_number((accuracy - best_fixed) / gap, 4) if gap > MIN_GAP else None,
        "regret": round_number(oracle - accuracy, 4),
        "token_share": round_number(_share(data, takes, np.arange(len(data.ids)), stage), 4),
        "ece": None if error is None else round_number(error, 4),
    }


def paired_share(one: Vector, other: Vector, groups: Sequence[str]) -> tuple[float, float, float]:
    """Mean of one - other, and its 95% interval: cluster-robust, Student's t at one degree less than there are groups.

    Unlike selfroute.router.evaluation.intervals for means over several models as well, which lie between -1 and 1.
    """
    from scipy.stats import t  # type: ignore[import-untyped]

    values = np.asarray(one - other, np.float64)
    sums: dict[str, float] = {}
    mean = float(values.mean())
    for value, group in zip(values.tolist(), groups, strict=True):
        sums[group] = sums.get(group, 0.0) + value - mean
    n = len(sums)
    if n < 2:
        return mean, -1.0, 1.0
    error = float(np.sqrt(n / (n - 1) * sum(x * x for x in sums.values()))) / len(values)
    half = float(t.ppf(0.975, n - 1)) * error
    return mean, mean - half, mean + half


def folds(groups: Sequence[str], n_folds: int, seed: int = 0) -> NDArray[np.intp]:
    """(n,) fold of each question: whole groups, of which the largest are dealt out first."""
    sizes: dict[str, int] = {}
    for group in groups:
        sizes[group] = sizes.get(group, 0) + 1

    def drawn(group: str) -> bytes:
        return blake2b(f"{seed} {group}".encode("utf-8", "surrogatepass"), digest_size=8).digest()

    filled, fold = [0] * n_folds, {}
    for group in sorted(sizes, key=lambda g: (-sizes[g], drawn(g))):
        fold[group] = min(range(n_folds), key=lambda k: (filled[k], k))
        filled[fold[group]] += sizes[group]
    return np.array([fold[group] for group in groups], np.intp)
