"""Intervals that know of groups: questions about one corpus are right or wrong together.

Shares: Wilson's interval (1927) at the effective number of cases, n over the design effect (Kish 1965). Differences of
paired shares: the mean over cases with a cluster-robust standard error (Liang and Zeger 1986, with the small-sample
factor G / (G - 1)) and Student's t at G - 1 degrees of freedom. Where every group is one case, both are the usual ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import comb, sqrt

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.95


def share(right: Sequence[float], groups: Sequence[str], level: float = LEVEL) -> tuple[float, float]:
    """The bounds of a share's interval; (0, 1) of nothing."""
    values = np.asarray(right, np.float64)
    n = len(values)
    if not n:
        return 0.0, 1.0
    mean, n_groups = float(values.mean()), len(set(groups))
    effect = 1.0
    if n_groups > 1 and 0 < mean < 1:
        effect = max(1.0, _variance(values, groups) / (mean * (1 - mean) / n))
    n_effective = n / effect
    z = quantile(level, n_groups - 1 if n_groups > 1 else n - 1)
    centre = (mean + z * z / (2 * n_effective)) / (1 + z * z / n_effective)
    half = z / (1 + z * z / n_effective) * sqrt(mean * (1 - mean) / n_effective + z * z / (4 * n_effective**2))
    return max(0.0, centre - half), min(1.0, centre + half)


def difference(
    one: Sequence[float], other: Sequence[float], groups: Sequence[str], level: float = LEVEL
) -> tuple[float, float, float]:
    """Mean of one - other over paired cases, and the bounds of its interval."""
    values = np.asarray(one, np.float64) - np.asarray(other, np.float64)
    if not len(values):
        return 0.0, 0.0, 0.0
    mean, n_groups = float(values.mean()), len(set(groups))
    if n_groups < 2:
        return mean, -1.0, 1.0
    half = quantile(level, n_groups - 1) * sqrt(_variance(values, groups))
    return mean, max(-1.0, mean - half), min(1.0, mean + half)


def mcnemar(one: Sequence[float], other: Sequence[float]) -> float:
    """Two-sided exact p that both are right equally often (McNemar 1947)."""
    gained = sum(a > b for a, b in zip(one, other, strict=True))
    lost = sum(a < b for a, b in zip(one, other, strict=True))
    n, fewer = gained + lost, min(gained, lost)
    return min(1.0, 2.0 * sum(comb(n, k) for k in range(fewer + 1)) / 2**n) if n else 1.0


def coverage(
    n_groups: int, per_group: int, *, spread: float, n_samples: int = 1_000, seed: int = 0
) -> dict[str, float]:
    """How often the 95% intervals hold the truth, by simulation: groups whose own shares are drawn from a beta.

    spread: the standard deviation of a group's share around 0.7; the second of a pair is right in 0.65.
    """
    rng = np.random.default_rng(seed)
    held = {"share": 0, "difference": 0}
    precision = max(0.5, 0.7 * 0.3 / spread**2 - 1) if spread else 1e6
    for _ in range(n_samples):
        own = rng.beta(0.7 * precision, 0.3 * precision, n_groups)
        sizes = rng.integers(max(1, per_group // 2), per_group + per_group // 2 + 1, n_groups)
        groups = np.repeat(np.arange(n_groups), sizes)
        drawn = rng.random(len(groups))
        one = (drawn < own[groups]).astype(float)
        other = np.where(rng.random(len(groups)) < 0.8, one, rng.random(len(groups)) < 0.45).astype(float)
        names = [str(g) for g in groups]
        low, high = share(one.tolist(), names)
        held["share"] += low <= 0.7 <= high
        # E[other] = 0.8 E[one] + 0.2 * 0.45
        _, low, high = difference(one.tolist(), other.tolist(), names)
        held["difference"] += low <= 0.7 - (0.8 * 0.7 + 0.2 * 0.45) <= high
    return {name: count / n_samples for name, count in held.items()}


def quantile(level: float, degrees: int) -> float:
    """Of Student's t, two-sided; a normal's from 1,000 degrees on."""
    from scipy.stats import t

    return float(t.ppf((1 + level) / 2, max(1, min(degrees, 1_000))))


def _variance(values: NDArray[np.float64], groups: Sequence[str]) -> float:
    """Of the mean, by the sums of the groups' deviations."""
    index = {name: i for i, name in enumerate(dict.fromkeys(groups))}
    at = np.fromiter((index[name] for name in groups), int, len(groups))
    sums = np.bincount(at, weights=values - values.mean(), minlength=len(index))
    factor = len(index) / (len(index) - 1)
    return float(factor * (sums**2).sum() / len(values) ** 2)
