"""Intervals for shares and for paired differences, over cases that come in groups.

Questions about one corpus resemble each other, so a hundred about each of ten corpora say less than a thousand about as
many. Variances are those of a ratio of group totals (Cochran 1977), the degrees of freedom the groups less one. A share
has Wilson's interval (1927) at the number of independent cases that its variance is worth (Korn & Graubard 1998). A
difference of paired right-or-wrong has the adjusted interval of Agresti & Min (2005), which adds half a case to each of
the four cells, widened by the same design effect. Where all cases are of one group, it speaks of further questions
about that one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence
from math import comb, sqrt

LEVEL = 0.95
Interval = tuple[float, float]


def share_interval(right: Sequence[bool], groups: Sequence[Hashable]) -> Interval | None:
    """The 95% interval of a share; None of nothing."""
    n = len(right)
    if not n:
        return None
    share = sum(right) / n
    effect, freedom = _design([float(one) for one in right], groups)
    quantile = _t(freedom)
    worth = n / effect
    centre = (share + quantile**2 / (2 * worth)) / (1 + quantile**2 / worth)
    half = quantile / (1 + quantile**2 / worth) * sqrt(share * (1 - share) / worth + quantile**2 / (4 * worth**2))
    return max(0.0, centre - half), min(1.0, centre + half)


def difference_interval(differences: Sequence[int], groups: Sequence[Hashable]) -> Interval | None:
    """The 95% interval of a mean of paired differences of -1, 0 and 1; None of fewer than two."""
    n = len(differences)
    if n < 2:
        return None
    effect, freedom = _design([float(one) for one in differences], groups)
    mean = sum(differences) / (n + 2)
    variance = ((sum(one * one for one in differences) + 1) / (n + 2) - mean * mean) / (n + 2)
    half = _t(freedom) * sqrt(effect * variance)
    return max(-1.0, mean - half), min(1.0, mean + half)


def mcnemar(differences: Sequence[int]) -> float | None:
    """The exact two-sided p of McNemar's test (1947): how likely so uneven a split of the cases that differ is by
    chance. None when none differ. It takes cases as independent of each other."""
    better, worse = sum(one > 0 for one in differences), sum(one < 0 for one in differences)
    n = better + worse
    if not n:
        return None
    tail = sum(comb(n, k) for k in range(min(better, worse) + 1))
    return float(min(1.0, 2 * (tail / 2**n if n < 1000 else _log_tail(min(better, worse), n))))


def n_groups(groups: Sequence[Hashable]) -> int:
    """How many there are."""
    return len(set(groups))


def _design(values: Sequence[float], groups: Sequence[Hashable]) -> tuple[float, float]:
    """(design effect, degrees of freedom): the variance of the mean over that of independent values.

    Never below 1: that groups differ less than by chance is chance itself.
    """
    n = len(values)
    totals: dict[Hashable, float] = defaultdict(float)
    mean = sum(values) / n
    for value, group in zip(values, groups, strict=True):
        totals[group] += value - mean
    n_of = len(totals)
    if n_of in (1, n):
        return 1.0, n - 1.0
    simple = sum((value - mean) ** 2 for value in values) / (n - 1) / n
    if simple == 0:
        return 1.0, n_of - 1.0
    clustered = n_of / (n_of - 1) * sum(total * total for total in totals.values()) / n**2
    return max(1.0, clustered / simple), n_of - 1.0


def _t(freedom: float) -> float:
    from scipy.stats import t  # type: ignore[import-untyped]

    return float(t.ppf(0.5 + LEVEL / 2, max(1.0, freedom)))


def _log_tail(k: int, n: int) -> float:
    from scipy.stats import binom

    return float(binom.cdf(k, n, 0.5))
