"""From rows to the figures of each policy: scored, replayed, compared."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from selfroute.errors import ConfigError, UnknownNameError
from selfroute.registry import names
from selfroute.router.base import Policy
from selfroute.router.build import make_policy
from selfroute.router.evaluation.cases import Case
from selfroute.router.evaluation.metrics import Figures, best_fixed, figures
from selfroute.router.evaluation.replaying import ORACLE, Knowing, Outcome, fixed, oracle, replay
from selfroute.router.evaluation.rows import Row
from selfroute.router.evaluation.scoring import Judge, Score, score
from selfroute.types import Limits

Policies = Mapping[str, Policy | Knowing | None]
"""By name; None for the oracle that is built in."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """All that a report is made of. outcomes: policy -> case -> outcome; figures: in the order of the policies.

    features: of each case, by its id, those of any of its rows.
    """

    cases: tuple[Case, ...]
    rows: Mapping[str, Mapping[str, Row]]
    scores: Mapping[str, Mapping[str, Score]]
    outcomes: Mapping[str, Mapping[str, Outcome]]
    fixed: Mapping[str, Mapping[str, Outcome]]
    oracle: Mapping[str, Outcome]
    figures: tuple[Figures, ...]
    best_fixed: str
    scorer: str

    @property
    def first(self) -> Figures:
        """Of the policy that was named first: the gate and the verdict are about it."""
        return self.figures[0]


def evaluate(
    cases: Sequence[Case],
    rows: Iterable[Row],
    policies: Policies,
    *,
    scorer: str = "auto",
    judge: Judge | None = None,
    limits: Callable[[Case], Limits] | None = None,
) -> Evaluation:
    """Scores the rows and replays the policies on them. limits: of a question, none by default.

    Cases without any row are left out, as of a run that goes on.

    Raises ConfigError when no case has a row.
    """
    found: dict[str, dict[str, Row]] = {case.id: {} for case in cases}
    for row in rows:
        if row.case_id in found:
            found[row.case_id][row.route] = row
    asked = [case for case in cases if found[case.id]]
    if not asked:
        raise ConfigError("no case has been run", "run it first, without --report-only")
    by_case = {case.id: dict(sorted(found[case.id].items())) for case in asked}
    scores = {
        case.id: {route: score(case, row, scorer, judge) for route, row in by_case[case.id].items()} for case in asked
    }
    routes = sorted({route for of in by_case.values() for route in of})
    of_route = {route: {c.id: fixed(route, c, by_case[c.id], scores[c.id]) for c in asked} for route in routes}
    best = {case.id: oracle(case, by_case[case.id], scores[case.id]) for case in asked}
    outcomes: dict[str, Mapping[str, Outcome]] = {}
    for name, policy in policies.items():
        outcomes[name] = (
            best
            if policy is None
            else {
                case.id: replay(policy, case, by_case[case.id], scores[case.id], limits(case) if limits else None)
                for case in asked
            }
        )
    return Evaluation(
        tuple(asked),
        by_case,
        scores,
        outcomes,
        of_route,
        best,
        tuple(figures(name, of, of_route, best) for name, of in outcomes.items()),
        best_fixed(of_route),
        scorer,
    )


def make_policies(
    wanted: Sequence[str] | None = None, model: str = "", directory: Path | None = None
) -> dict[str, Policy | Knowing | None]:
    """The named policies; without names all that are registered and can be made with nothing, and the oracle.

    model: names what answered. directory: of an index, where its own trained router may lie.

    Raises UnknownNameError, and whatever making a named one raises.
    """
    known = names("policy")
    made: dict[str, Policy | Knowing | None] = {}
    for name in wanted or (*sorted(known, key=_usual), ORACLE):
        if name in made:
            raise ConfigError(f"policy {name} is named twice", "name each once: --policy a,b,c")
        if name == ORACLE and ORACLE not in known:
            made[name] = None
        elif name not in known:
            raise UnknownNameError("policy", name, {*known, ORACLE})
        else:
            try:
                made[name] = make_policy(name, model, directory)
            except Exception:
                if wanted:
                    raise
    return made


def _usual(name: str) -> tuple[bool, bool, str]:
    """The default policy first, the fixed ones and the lot last: the report is about the first."""
    return name != "rules", name.startswith("always-") or name == "random", name
