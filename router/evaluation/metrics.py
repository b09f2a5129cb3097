"""The figures of one policy over the cases of a run, beside the best fixed route and the oracle.

Unscored cases count nowhere. Comparisons are over the cases that all who are compared have scored. The best fixed route
is the one that is right most often over the cases that every fixed route has scored, retrieval on ties; chosen on these
very cases, so it is a little better than it would be on others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from selfroute.router.evaluation.corpora import group_of
from selfroute.router.evaluation.curves import apgr, calibration_error, cpt50
from selfroute.router.evaluation.intervals import Interval, difference_interval, mcnemar, n_groups, share_interval
from selfroute.router.evaluation.replaying import Outcome
from selfroute.types import LONG_CONTEXT, RETRIEVAL

ByCase = Mapping[str, Outcome]
"""Outcomes of one policy by the id of their case."""


@dataclass(frozen=True, slots=True)
class Paired:
    """A policy beside the best fixed route: the mean difference, its 95% interval, McNemar's exact p."""

    n: int
    difference: float
    interval: Interval | None
    p: float | None

    @property
    def noise(self) -> float | None:
        """Half the width of the interval: a smaller difference cannot be told from none."""
        return None if self.interval is None else (self.interval[1] - self.interval[0]) / 2


@dataclass(frozen=True, slots=True)
class Figures:
    """Means over the scored cases; None where it cannot be said. token_share: of what always-long-context reads."""

    policy: str
    n: int
    n_unscored: int
    n_groups: int
    accuracy: float | None
    interval: Interval | None
    tokens: float | None
    token_share: float | None
    seconds: float | None
    dollars: float | None
    long_context_share: float | None
    declined_share: float | None
    gap_recovered: float | None
    regret: float | None
    apgr: float | None
    cpt50: float | None
    ece: float | None
    paired: Paired | None


def best_fixed(fixed: Mapping[str, ByCase]) -> str:
    """The route that is right most often, by its outcomes under each fixed route; retrieval on ties."""
    common = _common(*fixed.values())
    return max(
        fixed, key=lambda route: (sum(bool(fixed[route][id_].right) for id_ in common), route == RETRIEVAL, route)
    )


def figures(policy: str, found: ByCase, fixed: Mapping[str, ByCase], oracle: ByCase) -> Figures:
    """Every figure of a policy. fixed: outcomes of always taking each route, by route."""
    scored = [outcome for outcome in found.values() if outcome.right is not None]
    groups = [group_of(outcome.case) for outcome in scored]
    best = fixed[best_fixed(fixed)]
    return Figures(
        policy,
        len(scored),
        len(found) - len(scored),
        n_groups(groups),
        _mean([float(bool(outcome.right)) for outcome in scored]),
        share_interval([bool(outcome.right) for outcome in scored], groups),
        _mean([float(outcome.tokens) for outcome in scored]),
        _token_share(found, fixed),
        _mean([outcome.seconds for outcome in scored]),
        _mean([outcome.dollars for outcome in scored]),
        _mean([float(outcome.long_context) for outcome in scored]),
        _mean([float(outcome.declined) for outcome in scored]),
        _gap(found, best, oracle),
        _difference(oracle, found),
        *_ordering(found, fixed),
        _ece(scored),
        paired(found, best),
    )


def paired(found: ByCase, other: ByCase) -> Paired | None:
    """A policy beside another one over the cases that both have scored."""
    common = _common(found, other)
    if not common:
        return None
    differences = [int(bool(found[id_].right)) - int(bool(other[id_].right)) for id_ in common]
    groups = [group_of(found[id_].case) for id_ in common]
    return Paired(
        len(common),
        sum(differences) / len(common),
        difference_interval(differences, groups),
        mcnemar(differences),
    )


def _gap(found: ByCase, best: ByCase, oracle: ByCase) -> float | None:
    """(policy - best fixed) / (oracle - best fixed) in shares right; None when the oracle is no better."""
    common = _common(found, best, oracle)
    of_best = sum(bool(best[id_].right) for id_ in common)
    reachable = sum(bool(oracle[id_].right) for id_ in common) - of_best
    return (sum(bool(found[id_].right) for id_ in common) - of_best) / reachable if reachable > 0 else None


def _difference(more: ByCase, less: ByCase) -> float | None:
    common = _common(more, less)
    return _mean([float(bool(more[id_].right)) - float(bool(less[id_].right)) for id_ in common])


def _token_share(found: ByCase, fixed: Mapping[str, ByCase]) -> float | None:
    if LONG_CONTEXT not in fixed:
        return None
    whole = fixed[LONG_CONTEXT]
    common = _common(found, whole)
    total = sum(whole[id_].tokens for id_ in common)
    return sum(found[id_].tokens for id_ in common) / total if total else None


def _ordering(found: ByCase, fixed: Mapping[str, ByCase]) -> tuple[float | None, float | None]:
    """(APGR, CPT50) of a policy that predicts both routes."""
    if not {RETRIEVAL, LONG_CONTEXT} <= fixed.keys():
        return None, None
    short, whole = fixed[RETRIEVAL], fixed[LONG_CONTEXT]
    common = [id_ for id_ in _common(short, whole) if id_ in found]
    if not common or any(not {RETRIEVAL, LONG_CONTEXT} <= found[id_].p.keys() for id_ in common):
        return None, None
    gains = [found[id_].p[LONG_CONTEXT] - found[id_].p[RETRIEVAL] for id_ in common]
    of_short = [float(bool(short[id_].right)) for id_ in common]
    of_whole = [float(bool(whole[id_].right)) for id_ in common]
    return apgr(gains, of_short, of_whole), cpt50(gains, of_short, of_whole)


def _ece(scored: Sequence[Outcome]) -> float | None:
    told = [(outcome.p_chosen, bool(outcome.right)) for outcome in scored if outcome.p_chosen is not None]
    return calibration_error([p for p, _ in told], [right for _, right in told])


def _common(*found: ByCase) -> list[str]:
    """The cases that all have scored, in the order of the first."""
    return [
        id_
        for id_, outcome in (found[0] if found else {}).items()
        if outcome.right is not None and all(id_ in other and other[id_].right is not None for other in found[1:])
    ]


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
