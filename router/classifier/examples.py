"""What the classifier is fitted on: a question, what could be seen of it, and which routes were right."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from selfroute.router.classifier.heads import Vector
from selfroute.types import ROUTES


@dataclass(frozen=True, slots=True)
class Example:
    """One question on which every route was really run.

    group: never split between fitting and testing. stratum: the sort of corpus, to leave one out. kind: of the
    question, known of training questions alone. numbers: stage -> name -> value, what could be seen. right: route -> 0
    to 1. tokens: route -> tokens that it read. model: what answered.
    """

    id: str
    question: str
    group: str
    numbers: Mapping[str, Mapping[str, float]]
    right: Mapping[str, float]
    tokens: Mapping[str, float] = field(default_factory=dict)
    stratum: str = ""
    kind: str = ""
    model: str = ""


@dataclass(frozen=True, slots=True)
class Questions:
    """Examples by question. right: (n, models), NaN where a model has none; tokens: (n,)."""

    ids: tuple[str, ...]
    text: tuple[str, ...]
    groups: tuple[str, ...]
    kinds: tuple[str, ...]
    numbers: Mapping[str, tuple[Mapping[str, float], ...]]
    models: tuple[str, ...]
    right: Mapping[str, Vector]
    tokens: Mapping[str, Vector]

    @classmethod
    def of(cls, examples: Iterable[Example]) -> Questions:
        """In the order of their ids. Stages are those that every example has."""
        by_id: dict[str, list[Example]] = {}
        for example in examples:
            by_id.setdefault(example.id, []).append(example)
        ids = sorted(by_id)
        first = [by_id[i][0] for i in ids]
        models = tuple(sorted({e.model for found in by_id.values() for e in found}))
        at = {model: j for j, model in enumerate(models)}
        right = {route: np.full((len(ids), len(models)), np.nan) for route in ROUTES}
        for i, name in enumerate(ids):
            for e in by_id[name]:
                for route in ROUTES:
                    right[route][i, at[e.model]] = e.right[route]
        stages = [s for s in first[0].numbers if all(s in e.numbers for e in first)] if first else []
        return cls(
            ids=tuple(ids),
            text=tuple(e.question for e in first),
            groups=tuple(e.group for e in first),
            kinds=tuple(e.kind for e in first),
            numbers={s: tuple(e.numbers[s] for e in first) for s in stages},
            models=models,
            right=right,
            tokens={r: np.array([e.tokens.get(r, 1.0) for e in first], float) for r in ROUTES},
        )
