"""How often the intervals hold the truth, by simulation over groups of cases that resemble each other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from selfroute.router.evaluation.intervals import difference_interval, share_interval


@dataclass(frozen=True, slots=True)
class Setting:
    """groups of about size cases each. p: the share right; worth: how much better the other one is; spread: standard
    deviation of a group's own difficulty, on the scale of p."""

    groups: int
    size: int
    p: float
    worth: float
    spread: float


SETTINGS = tuple(
    Setting(groups, size, p, worth, spread)
    for groups, size in ((400, 1), (100, 4), (40, 10), (20, 20), (10, 40))
    for p, worth in ((0.5, 0.0), (0.7, 0.05), (0.9, 0.02))
    for spread in (0.0, 0.1, 0.2)
)


def simulate(setting: Setting, n: int = 1_000, seed: int = 0) -> tuple[float, float]:
    """(share, difference): how many of n intervals each hold the truth.

    Each group draws its size (from half to one and a half times), its difficulty, and how much better the other is in
    it (with half the spread); each case is then right or wrong by both, with half of the cases' luck shared.
    """
    drawing = np.random.default_rng(seed)
    held = [0, 0]
    for _ in range(n):
        low, high = max(1, setting.size // 2), max(1, setting.size + setting.size // 2)
        sizes = drawing.integers(low, high + 1, setting.groups)
        width = np.sqrt(3.0) * min(setting.spread, (1 - setting.p - setting.worth) / 1.8, setting.p / 1.8)
        base = setting.p + drawing.uniform(-width, width, setting.groups)
        gain = setting.worth + drawing.uniform(-width, width, setting.groups) / 2
        group = np.repeat(np.arange(setting.groups), sizes)
        luck = drawing.uniform(size=len(group))
        other_luck = np.where(drawing.uniform(size=len(group)) < 0.5, luck, drawing.uniform(size=len(group)))
        one, other = luck < base[group], other_luck < np.clip(base + gain, 0, 1)[group]
        names = group.tolist()
        share = share_interval(one.tolist(), names)
        difference = difference_interval((other.astype(int) - one.astype(int)).tolist(), names)
        assert share is not None and difference is not None
        held[0] += share[0] <= setting.p <= share[1]
        held[1] += difference[0] <= setting.worth <= difference[1]
    return held[0] / n, held[1] / n
