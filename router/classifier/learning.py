"""From what came of cases to what the classifier is fitted on."""

from __future__ import annotations

from dataclasses import replace

from selfroute.router.classifier.examples import Example
from selfroute.router.classifier.seen import FIRST, LAST, SECOND, numbers_of
from selfroute.router.evaluation.corpora import group_of
from selfroute.router.evaluation.evaluating import Evaluation
from selfroute.types import LONG_CONTEXT, RETRIEVAL


def examples_of(found: Evaluation, *, signals: bool = False) -> list[Example]:
    """One for each case that both routes were scored on; degraded attempts are left out, since less was read.

    signals: whether those of a global read by pages are among the numbers, where rows have them.

    A kind such as "code look-up" is a sort of corpus and, its last word, what is asked.
    """
    made = []
    for case in found.cases:
        rows, scores = found.rows[case.id], found.scores[case.id]
        attempts = {route: row.attempt for route, row in rows.items()}
        first, second = attempts.get(RETRIEVAL), attempts.get(LONG_CONTEXT)
        right = {route: score.right for route, score in scores.items()}
        if first is None or second is None or first.degraded or second.degraded or None in right.values():
            continue
        if not signals:
            first, second = replace(first, signals={}), replace(second, signals={})
        features = rows[RETRIEVAL].features
        estimates = {route: row.estimate for route, row in rows.items()}
        sort, _, kind = case.kind.rpartition(" ")
        made.append(
            Example(
                id=case.id,
                question=case.question,
                group=group_of(case),
                numbers={
                    FIRST: numbers_of(features, estimates),
                    SECOND: numbers_of(features, estimates, (first,)),
                    LAST: numbers_of(features, estimates, (first, second)),
                },
                right={route: float(bool(value)) for route, value in right.items()},
                tokens={RETRIEVAL: first.usage.prompt_tokens, LONG_CONTEXT: second.usage.prompt_tokens},
                stratum=sort,
                kind=kind,
                model=rows[RETRIEVAL].model,
            )
        )
    return made
