"""What a trained router is worth on questions that it was not fitted on, with how sure that is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from selfroute.router.classifier.choosing import MIN_GAP, PRICE, paired_share
from selfroute.router.classifier.examples import Example
from selfroute.router.evaluation.curves import calibration_error
from selfroute.router.evaluation.intervals import difference_interval
from selfroute.types import LONG_CONTEXT, RETRIEVAL

N_SAMPLES = 300
Told = tuple[float, float, float]
"""A figure and its 95% interval."""


@dataclass(frozen=True, slots=True)
class Worth:
    """Of one candidate, on questions that it was not fitted on. value: right, less a price for what is read.

    accuracy, regret: at the stage after retrieval's attempt; regret is what the oracle has more. token_share,
    fixed_share: of always-long-context's tokens, what is read, and what the best fixed route reads. gap_recovered: of
    what lies between that route and the oracle; None where nothing does. against_best: accuracy minus that of the route
    that was best in the training folds. ece: calibration error of the route taken.
    """

    name: str
    value: float
    accuracy: float
    token_share: float
    fixed_share: float
    gap_recovered: Told | None
    regret: Told
    against_best: Told
    ece: Told | None

    def line(self) -> str:
        """For people."""
        gap = "-" if self.gap_recovered is None else _told(self.gap_recovered, "{:.0f}", 100) + "%"
        error = "-" if self.ece is None else _told(self.ece, "{:.3f}")
        return (
            f"{self.name:<8} right {100 * self.accuracy:.1f}%, regret {_told(self.regret, '{:.1f}', 100)} points, gap"
            f" recovered {gap}, {100 * self.token_share:.0f}% of long context's tokens, ECE {error}, against the best"
            f" fixed route {_told(self.against_best, '{:+.1f}', 100)} points"
        )

    def verdict(self) -> str:
        """Whether it is worth having, in a sentence."""
        _, low, high = self.against_best
        figures = f"{_told(self.against_best, '{:+.1f}', 100)} points against the best fixed route"
        if self.gap_recovered is None:
            found = f"no choice of routes makes more of these questions right than the best fixed route: {figures}"
        elif low > 0:
            found = f"worth it on these questions: {figures}"
        elif high < 0:
            found = f"less often right on these questions: {figures}"
        else:
            found = f"whether it is right more often cannot be told from these questions: {figures}"
        reads, fixed = (f"{100 * share:.0f}%" for share in (self.token_share, self.fixed_share))
        return f"{found}; it reads {reads} of long context's tokens, that route {fixed}"


def worth_of(
    name: str,
    found: Sequence[Example],
    takes: NDArray[np.bool_],
    p: NDArray[np.float64],
    fixed: NDArray[np.float64],
    fixed_tokens: NDArray[np.float64],
) -> Worth:
    """takes: (n,) whether long context is read after retrieval's attempt. p: (n, 2) probabilities of both routes.

    fixed, fixed_tokens: (n,) what the best fixed route of other questions makes of each, and reads. Intervals are over
    groups; that of the gap is of a ratio (Cochran 1977).
    """
    groups = [e.group for e in found]
    right = {r: np.array([e.right[r] for e in found]) for r in (RETRIEVAL, LONG_CONTEXT)}
    tokens = {r: np.array([e.tokens.get(r, 1.0) for e in found]) for r in right}
    kept, top = np.where(takes, right[LONG_CONTEXT], right[RETRIEVAL]), np.maximum(*right.values())
    spent = tokens[RETRIEVAL] + np.where(takes, tokens[LONG_CONTEXT], 0)
    whole = max(1.0, float(tokens[LONG_CONTEXT].sum()))
    share = float(spent.sum()) / whole
    chosen = np.where(takes, p[:, 1], p[:, 0])
    return Worth(
        name,
        float(kept.mean()) - PRICE * share,
        float(kept.mean()),
        share,
        float(fixed_tokens.sum()) / whole,
        _gap_recovered(kept, fixed, top, groups),
        _difference(top, kept, groups, least=0.0),
        _difference(kept, fixed, groups),
        _calibration(chosen, kept > 0.5, groups),
    )


def _difference(
    one: NDArray[np.float64], other: NDArray[np.float64], groups: Sequence[str], *, least: float = -1.0
) -> Told:
    """Of right or wrong, as in a report of selfroute eval; of shares right, cluster-robust."""
    whole = (one - other).tolist()
    if all(value in (-1, 0, 1) for value in whole):
        found = difference_interval([int(value) for value in whole], groups)
        low, high = found if found else (-1.0, 1.0)
        mean = float((one - other).mean())
    else:
        mean, low, high = paired_share(one, other, groups)
    return mean, max(least, min(mean, low)), max(mean, high)


def _gap_recovered(
    kept: NDArray[np.float64], fixed: NDArray[np.float64], top: NDArray[np.float64], groups: Sequence[str]
) -> Told | None:
    gap = float((top - fixed).mean())
    if gap <= MIN_GAP:
        return None
    ratio = float((kept - fixed).mean()) / gap
    _, low, high = paired_share(kept - fixed, ratio * (top - fixed), groups)
    return ratio, ratio + low / gap, ratio + high / gap


def _calibration(p: NDArray[np.float64], right: NDArray[np.bool_], groups: Sequence[str]) -> Told | None:
    """The calibration error and its basic bootstrap interval over groups (Davison & Hinkley 1997), which takes off what
    a sample adds to the error by chance."""
    error = calibration_error(p.tolist(), right.tolist())
    if error is None:
        return None
    of: dict[str, list[int]] = {}
    for i, group in enumerate(groups):
        of.setdefault(group, []).append(i)
    parts = [np.array(places) for places in of.values()]
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(N_SAMPLES):
        at = np.concatenate([parts[k] for k in rng.integers(0, len(parts), len(parts))])
        drawn.append(calibration_error(p[at].tolist(), right[at].tolist()) or 0.0)
    low, high = np.quantile(drawn, (0.025, 0.975))
    return error, max(0.0, min(error, 2 * error - float(high))), max(error, 2 * error - float(low))


def _told(told: Told, form: str, times: float = 1.0) -> str:
    mean, low, high = (form.format(times * x) for x in told)
    return f"{mean} [{low}, {high}]"
