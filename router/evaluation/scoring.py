"""What an attempt is worth: right, wrong, or unscored when it cannot be said.

To decline is right where a case has no answer, and wrong where it has one; to answer is wrong where there is none. A
route that failed is unscored, and so is an answer whose judge failed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from selfroute.errors import UnknownNameError
from selfroute.router.evaluation import matching
from selfroute.router.evaluation.cases import SCORERS, Case
from selfroute.router.evaluation.rows import Row
from selfroute.types import Attempt

RIGHT_F1 = 0.5
RIGHT_CITED = 0.5

Judge = Callable[[Case, str], bool | None]
"""Whether an answer's text is right; None when the judge cannot say."""


@dataclass(frozen=True, slots=True)
class Score:
    """right: None when unscored. value: 0 to 1, what the scorer measured. by: the scorer. why: of an unscored one."""

    right: bool | None
    value: float
    by: str
    why: str = ""
    declined: bool = False


def score(case: Case, row: Row, scorer: str = "auto", judge: Judge | None = None) -> Score:
    """The score of a row. scorer: for cases that do not name their own."""
    if row.attempt is None:
        return Score(None, 0.0, "none", row.error or "the route made no attempt")
    return score_attempt(case, row.attempt, scorer, judge)


def score_attempt(case: Case, attempt: Attempt, scorer: str = "auto", judge: Judge | None = None) -> Score:
    """The score of an attempt, as if its answer had been given; one without an answer is a decline."""
    declined = not attempt.generation.answerable
    if case.unanswerable or declined:
        right = case.unanswerable and declined
        return Score(right, float(right), "declining", declined=declined)
    by = scorer_of(case, scorer)
    text = attempt.generation.text
    if by == "judge":
        said = judge(case, text) if judge else None
        why = "" if said is not None else "the judge did not say" if judge else "no judge was given: --judge MODEL"
        return Score(said, float(bool(said)), by, why)
    if by == "citation":
        value = cited(case, attempt)
        return Score(value >= RIGHT_CITED, value, by)
    if by == "exact":
        value = matching.exact(text, case.answers)
        return Score(value == 1.0, value, by)
    if by == "f1":
        value = matching.f1(text, case.answers)
        return Score(value >= RIGHT_F1, value, by)
    value = matching.contained(text, case.answers)
    if by == "contained-all":
        return Score(value == 1.0, value, by)
    return Score(value > 0.0, float(value > 0.0), by)


def scorer_of(case: Case, scorer: str = "auto") -> str:
    """The scorer of an answerable case: its own, or the run's; answers, or else files, where it lacks what that needs.

    Raises UnknownNameError.
    """
    by = case.scorer or scorer
    if by not in SCORERS:
        raise UnknownNameError("scorer", by, SCORERS)
    lacking = not (case.gold_files if by == "citation" else case.answers)
    if by == "auto" or lacking:
        return "contained" if case.answers else "citation"
    return by


def cited(case: Case, attempt: Attempt) -> float:
    """The share of the gold files that are cited, 0 without any."""
    wanted = {_plain(path) for path in case.gold_files}
    there = {_plain(citation.path) for citation in attempt.citations}
    return len(wanted & there) / len(wanted) if wanted else 0.0


def _plain(path: str) -> str:
    """A path without ./ before it and without a notebook's cell behind it."""
    path = path.replace("\\", "/")
    head, mark, _ = path.partition("#cell-")
    return (head if mark else path).removeprefix("./")
