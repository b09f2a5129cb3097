"""How well predicted probabilities order cases, and how far they can be believed."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby, pairwise

N_BINS = 15


def quality_curve(gains: Sequence[float], retrieval: Sequence[float], long_context: Sequence[float]) -> list[float]:
    """The share right when the k cases of the largest predicted gain are read whole, k = 0 to n.

    retrieval, long_context: 1 where that route is right. Cases of equal gain are taken in no order: in equal parts.
    """
    n = len(gains)
    order = sorted(range(n), key=lambda i: -gains[i])
    curve = [sum(retrieval)]
    for _, tied in groupby(order, key=lambda i: gains[i]):
        found = list(tied)
        step = sum(long_context[i] - retrieval[i] for i in found) / len(found)
        curve += [curve[-1] + step * k for k in range(1, len(found) + 1)]
    return [float(value) / n for value in curve]


def area(curve: Sequence[float]) -> float:
    """Under a curve over the shares 0 to 1, by trapezoids."""
    return sum((a + b) / 2 for a, b in pairwise(curve)) / (len(curve) - 1)


def apgr(gains: Sequence[float], retrieval: Sequence[float], long_context: Sequence[float]) -> float | None:
    """Average performance gap recovered (after Ong et al. 2024, RouteLLM): the area under the quality curve, where
    drawing by lot is 0 and the oracle's order 1. None when the routes never differ."""
    if not gains:
        return None
    lot = (sum(retrieval) + sum(long_context)) / 2 / len(gains)
    true_gains = [after - before for before, after in zip(retrieval, long_context, strict=True)]
    best = area(quality_curve(true_gains, retrieval, long_context)) - lot
    return (area(quality_curve(gains, retrieval, long_context)) - lot) / best if best > 1e-12 else None


def cpt50(gains: Sequence[float], retrieval: Sequence[float], long_context: Sequence[float]) -> float | None:
    """The share of cases that are read whole when half of the most that this order can gain over retrieval is had
    (call-performance threshold, after RouteLLM). None when nothing is gained at any share."""
    if not gains:
        return None
    curve = quality_curve(gains, retrieval, long_context)
    most = max(curve) - curve[0]
    if most <= 1e-12:
        return None
    return next(k for k, value in enumerate(curve) if value - curve[0] >= most / 2 - 1e-12) / len(gains)


def bins(p: Sequence[float], right: Sequence[bool], n_bins: int = N_BINS) -> list[tuple[float, float, int]]:
    """(mean p, share right, number) of bins of about equal number, by p; equal p are never parted."""
    pairs = sorted(zip(p, right, strict=True))
    found: list[tuple[float, float, int]] = []
    first = 0
    for end in range(1, len(pairs) + 1):
        full = end * n_bins >= len(pairs) * (len(found) + 1)
        if end == len(pairs) or (full and pairs[end][0] > pairs[end - 1][0]):
            taken = pairs[first:end]
            found.append((sum(x for x, _ in taken) / len(taken), sum(y for _, y in taken) / len(taken), len(taken)))
            first = end
    return found


def calibration_error(p: Sequence[float], right: Sequence[bool], n_bins: int = N_BINS) -> float | None:
    """Expected calibration error over bins of equal number (Naeini et al. 2015; Nguyen & O'Connor 2015)."""
    if not p:
        return None
    return sum(abs(mean - share) * n for mean, share, n in bins(p, right, n_bins)) / len(p)
