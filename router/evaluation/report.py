"""The report as text: a table of all policies, and a sentence on the first of them with what the cases can tell."""

from __future__ import annotations

from collections.abc import Iterator

from selfroute.router.evaluation.corpora import corpora_of
from selfroute.router.evaluation.evaluating import Evaluation
from selfroute.router.evaluation.metrics import Figures, Paired, paired
from selfroute.router.evaluation.replaying import ORACLE

NOTHING = "-"


def lines(found: Evaluation, *, times: bool = True) -> Iterator[str]:
    """The whole report. times: whether seconds are shown; without them two runs over the same cases say the same."""
    heads = ["policy", "n", "right %", "tokens", "of LC %"]
    heads += ["seconds"] if times else []
    heads += ["dollars"] if priced(found) else []
    heads += ["LC %", "gap rec. %", "regret", "APGR", "CPT50", "ECE", "against best fixed", "p"]
    table = [heads, *(_cells(one, found, times) for one in found.figures)]
    widths = [max(len(row[i]) for row in table) for i in range(len(heads))]
    for row in table:
        yield "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
    yield ""
    yield verdict(found)
    yield from notes(found, times=times)


def verdict(found: Evaluation) -> str:
    """What can be said of the first policy beside the best fixed route."""
    first, best = found.first, f"always-{found.best_fixed}"
    if first.accuracy is None:
        return f"{first.policy} has no scored case: nothing can be said of it."
    begin = f"{first.policy} is right in {_percent(first.accuracy)} of {first.n:,} cases{_bounds(first.interval)}"
    if first.policy == best:
        return f"{begin}; it is the best fixed route itself."
    beside = first.paired
    if beside is None:
        return f"{begin}; no case is scored for both it and {best}."
    return f"{begin}, {_beside(beside, best)}."


def notes(found: Evaluation, *, times: bool = True) -> Iterator[str]:
    """What a reader of the figures has to know."""
    if times and (seconds := encode_seconds(found)):
        yield f"note: encoding what long context reads took {seconds:.1f} s once, beside the seconds above"
    unscored = sum(one.right is None for one in found.outcomes[found.first.policy].values())
    if unscored:
        of = f"{unscored:,} of {len(found.cases):,} cases"
        yield f"note: {of} are unscored under {found.first.policy}; they count nowhere"
    if found.first.n_groups == 1:
        yield "note: all cases are of one group: the intervals speak of further questions about it, of no other"
    elif 1 < found.first.n_groups < 10:
        yield f"note: the cases are of {found.first.n_groups} groups: few, so that the intervals are wide"
    if any(one.ece is not None for one in found.figures):
        yield "note: APGR, CPT50 and ECE are of policies that predict; the others give no probabilities of their own"


def encode_seconds(found: Evaluation) -> float:
    """Of the pages of all corpora."""
    return sum(
        max((row.encode_seconds for case in corpus.cases for row in found.rows[case.id].values()), default=0.0)
        for corpus in corpora_of(found.cases)
    )


def by_name(found: Evaluation, policy: str, other: str) -> Paired | None:
    """Two policies of the report side by side, ORACLE included."""
    of = {**found.outcomes, **{f"always-{route}": one for route, one in found.fixed.items()}, ORACLE: found.oracle}
    return paired(of[policy], of[other])


def priced(found: Evaluation) -> bool:
    """Whether anything cost dollars, so that they are worth a column."""
    return any(one.dollars for one in found.figures)


def _beside(beside: Paired, best: str) -> str:
    points = 100 * beside.difference
    side = "above" if points > 0 else "below"
    than = f"the best fixed route, {best}" if beside.interval is None else f"{best}, the best fixed route"
    told = f"{abs(points):.1f} points {side} {than}" if points else f"as often as {than}"
    if beside.interval is None or beside.noise is None:
        return told
    low, high = (100 * bound for bound in beside.interval)
    shown = f"{told} [{low:+.1f}, {high:+.1f}]"
    if low > 0 or high < 0:
        return f"{shown}: more than the noise of {beside.n:,} cases"
    floor = 100 * beside.noise
    return f"{shown}: within the noise of {beside.n:,} cases (a difference below {floor:.1f} points cannot be told)"


def _cells(one: Figures, found: Evaluation, times: bool) -> list[str]:
    beside = one.paired
    is_best = one.policy == f"always-{found.best_fixed}"
    cells = [one.policy, f"{one.n:,}", _share(one.accuracy) + _bounds(one.interval), _number(one.tokens, ",.0f")]
    cells.append(_share(one.token_share))
    cells += [_number(one.seconds, ".2f")] if times else []
    cells += [_number(one.dollars, ".2g")] if priced(found) else []
    cells += [_share(one.long_context_share), _share(one.gap_recovered), _number(one.regret, ".3f")]
    cells += [_number(value, ".3f") for value in (one.apgr, one.cpt50, one.ece)]
    if is_best or beside is None:
        return [*cells, "is it" if is_best else NOTHING, NOTHING]
    bounds = "" if beside.interval is None else " [{:+.1f}, {:+.1f}]".format(*(100 * b for b in beside.interval))
    return [*cells, f"{100 * beside.difference:+.1f}{bounds}", _number(beside.p, ".3f")]


def _percent(value: float) -> str:
    return f"{100 * value:.1f}%"


def _share(value: float | None) -> str:
    return NOTHING if value is None else f"{100 * value:.1f}"


def _number(value: float | None, form: str) -> str:
    return NOTHING if value is None else format(value, form)


def _bounds(interval: tuple[float, float] | None) -> str:
    return "" if interval is None else " [{:.1f}, {:.1f}]".format(*(100 * bound for bound in interval))
