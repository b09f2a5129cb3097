"""How right an answer is, from 0 to 1: the scorers that need no model.

Declining is right where a case has no answer, and wrong where it has one. Texts are compared without case, quotes and
superfluous blanks; what is contained must stand there as a word, so that 3 is not in 13.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from selfroute.models.training.squad_scores import exact_match, f1
from selfroute.router.evaluation.cases import AUTO, CITATION, CONTAINED, CONTAINED_ALL, EXACT, F1, JUDGE, Case
from selfroute.types import Attempt

RIGHT = 0.5  # a score from which an answer counts as right
_QUOTES = re.compile(r"[`\"'“”‘’]")

Judge = Callable[[Case, Attempt], float | None]
"""A model's verdict on an answer; None when it gave none."""


def score(case: Case, attempt: Attempt, scorer: str = AUTO, judge: Judge | None = None) -> float | None:
    """From 0 to 1; None when it cannot be said."""
    made = attempt.generation
    if case.unanswerable:
        return float(not made.answerable)
    if not made.answerable:
        return 0.0
    scorer = case.scorer or scorer
    if scorer == AUTO:
        scorer = CONTAINED if case.answers else CITATION
    if scorer == JUDGE:
        return judge(case, attempt) if judge else None
    if scorer == CITATION:
        return citation_recall(case, attempt) if case.gold_files else None
    return _BY_TEXT[scorer](made.text, case.answers) if case.answers else None


def citation_recall(case: Case, attempt: Attempt) -> float:
    """The share of the gold files that are cited."""
    cited = {citation.path.partition("#")[0] for citation in attempt.citations}
    return sum(path in cited for path in case.gold_files) / len(case.gold_files)


def contains(text: str, answer: str) -> bool:
    """Whether the answer stands in the text, as a word."""
    wanted = _plain(answer)
    before = r"(?<!\w)" if re.match(r"\w", wanted) else ""
    after = r"(?!\w)" if re.search(r"\w$", wanted) else ""
    return bool(wanted) and re.search(before + re.escape(wanted) + after, _plain(text)) is not None


def _plain(text: str) -> str:
    return " ".join(_QUOTES.sub("", text).casefold().split()).strip(" .,;:")


_BY_TEXT: Mapping[str, Callable[[str, tuple[str, ...]], float]] = {
    EXACT: lambda text, answers: max(exact_match(text, answers), float(_plain(text) in map(_plain, answers))),
    F1: f1,
    CONTAINED: lambda text, answers: float(any(contains(text, answer) for answer in answers)),
    CONTAINED_ALL: lambda text, answers: float(all(contains(text, answer) for answer in answers)),
}
