"""What the classifier is fitted on: a question, what could be seen of it, and which routes were right."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


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
