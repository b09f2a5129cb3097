"""From what came of cases to what the classifier is fitted on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from selfroute.router.classifier.examples import Example
from selfroute.router.classifier.seen import FIRST, LAST, SECOND, numbers_of
from selfroute.router.evaluation.cases import Case
from selfroute.router.evaluation.corpora import group_of
from selfroute.router.evaluation.evaluating import Evaluation
from selfroute.router.evaluation.rows import Row
from selfroute.types import LONG_CONTEXT, RETRIEVAL


def examples_of(found: Evaluation) -> list[Example]:
    """One for each case of an evaluation that both routes were scored on."""
    made = []
    for case in found.cases:
        right = {route: score.right for route, score in found.scores[case.id].items()}
        made.append(example_of(case, found.rows[case.id], right))
    return [example for example in made if example]


def example_of(case: Case, rows: Mapping[str, Row], right: Mapping[str, bool | None]) -> Example | None:
    """None without a score of both routes, and where less was read than should have been.

    A kind such as "code look-up" is a sort of corpus and, its last word, what is asked.
    """
    attempts = {route: row.attempt for route, row in rows.items()}
    first, second = attempts.get(RETRIEVAL), attempts.get(LONG_CONTEXT)
    known = {route: right.get(route) for route in (RETRIEVAL, LONG_CONTEXT)}
    if first is None or second is None or first.degraded or second.degraded or None in known.values():
        return None
    features = rows[RETRIEVAL].features
    estimates = {route: row.estimate for route, row in rows.items()}
    sort, _, kind = case.kind.rpartition(" ")
    return Example(
        id=case.id,
        question=case.question,
        group=group_of(case),
        numbers={
            FIRST: numbers_of(features, estimates),
            SECOND: numbers_of(features, estimates, (first,)),
            LAST: numbers_of(features, estimates, (first, second)),
        },
        right={route: float(bool(value)) for route, value in known.items()},
        tokens={RETRIEVAL: first.usage.prompt_tokens, LONG_CONTEXT: second.usage.prompt_tokens},
        stratum=sort,
        kind=kind,
        model=rows[RETRIEVAL].model,
    )


def by_case(rows: Iterable[Row]) -> dict[str, dict[str, Row]]:
    """case -> route -> row."""
    found: dict[str, dict[str, Row]] = {}
    for row in rows:
        found.setdefault(row.case_id, {})[row.route] = row
    return found
