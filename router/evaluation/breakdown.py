"""Shares right of every policy by kind of question and by size of corpus."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from selfroute.router.evaluation.cases import Case
from selfroute.router.evaluation.corpora import group_of
from selfroute.router.evaluation.evaluating import Evaluation
from selfroute.router.evaluation.intervals import Interval, share_interval

SIZES = (
    (2_000, "up to 2K"),
    (8_000, "2K to 8K"),
    (32_000, "8K to 32K"),
    (128_000, "32K to 128K"),
    (1_000_000, "128K to 1M"),
)
LARGEST = "over 1M"
NO_KIND = "no kind given"


@dataclass(frozen=True, slots=True)
class Cell:
    """One policy over one part of the cases."""

    n: int
    accuracy: float | None
    interval: Interval | None


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the cases, and each policy over it."""

    name: str
    n: int
    cells: dict[str, Cell]


def by_kind(found: Evaluation) -> list[Part]:
    """By what the cases say of themselves, else whether they have an answer; the largest part first."""
    parts = _parts(found, lambda case: case.kind or ("unanswerable" if case.unanswerable else NO_KIND))
    return sorted(parts, key=lambda part: (-part.n, part.name))


def by_size(found: Evaluation) -> list[Part]:
    """By the tokens of the corpus, the smallest first."""

    def size(case: Case) -> str:
        tokens = next(iter(found.rows[case.id].values())).features.corpus_tokens
        return next((name for most, name in SIZES if tokens <= most), LARGEST)

    order = [*(name for _, name in SIZES), LARGEST]
    return sorted(_parts(found, size), key=lambda part: order.index(part.name))


def _parts(found: Evaluation, name_of: Callable[[Case], str]) -> list[Part]:
    parts: dict[str, list[Case]] = {}
    for case in found.cases:
        parts.setdefault(name_of(case), []).append(case)
    return [
        Part(
            name,
            len(cases),
            {policy: _cell([of[case.id].right for case in cases], cases) for policy, of in found.outcomes.items()},
        )
        for name, cases in parts.items()
    ]


def _cell(right: list[bool | None], cases: list[Case]) -> Cell:
    scored = [(one, group_of(case)) for one, case in zip(right, cases, strict=True) if one is not None]
    values = [one for one, _ in scored]
    share = sum(values) / len(values) if values else None
    return Cell(len(values), share, share_interval(values, [group for _, group in scored]))
