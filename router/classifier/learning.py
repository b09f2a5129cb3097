"""From what came of cases to what the classifier is fitted on."""

from __future__ import annotations

from collections.abc import Iterable

from selfroute.router.classifier.examples import Example
from selfroute.router.classifier.seen import FIRST, LAST, SECOND, numbers_of
from selfroute.router.evaluation.replaying import Scored
from selfroute.types import LONG_CONTEXT, RETRIEVAL


def examples_of(scored: Iterable[Scored]) -> list[Example]:
    """One for each case that both routes were scored on; degraded attempts are left out, since less was read."""
    made = []
    for one in scored:
        attempts = {route: row.attempt for route, row in one.rows.items()}
        first, second = attempts.get(RETRIEVAL), attempts.get(LONG_CONTEXT)
        if not one.whole or first is None or second is None or first.degraded or second.degraded:
            continue
        features = one.rows[RETRIEVAL].features
        estimates = {route: row.estimate for route, row in one.rows.items()}
        sort, _, kind = one.case.kind.rpartition(" ")
        made.append(
            Example(
                id=one.case.id,
                question=one.case.question,
                group=one.group,
                numbers={
                    FIRST: numbers_of(features, estimates),
                    SECOND: numbers_of(features, estimates, (first,)),
                    LAST: numbers_of(features, estimates, (first, second)),
                },
                right={route: float(one.right(route)) for route in attempts},
                tokens={route: float(one.rows[route].attempt.usage.prompt_tokens) for route in attempts},  # type: ignore[union-attr]
                stratum=sort,
                kind=kind,
                model=one.rows[RETRIEVAL].model,
            )
        )
    return made
