"""A case: a question over a corpus, and what is right."""

from __future__ import annotations

from dataclasses import dataclass

AUTO, EXACT, F1, CONTAINED, CONTAINED_ALL, CITATION, JUDGE = (
    "auto", "exact", "f1", "contained", "contained-all", "citation", "judge",
)  # fmt: skip
SCORERS = (AUTO, EXACT, F1, CONTAINED, CONTAINED_ALL, CITATION, JUDGE)


@dataclass(frozen=True, slots=True)
class Case:
    """One question. answers: each alone is right, but for the scorer "contained-all", which wants every one of them.

    gold_files: paths in the corpus that an answer has to cite. unanswerable: declining is right. path: the folder of
    the corpus, absolute; context: its text instead, a corpus of one file. group: cases of one group are never split
    between fitting and testing. kind: for the breakdown. scorer, budget_tokens: instead of the run's own.
    """

    id: str
    question: str
    answers: tuple[str, ...] = ()
    gold_files: tuple[str, ...] = ()
    unanswerable: bool = False
    path: str = ""
    context: str = ""
    group: str = ""
    kind: str = ""
    scorer: str = ""
    budget_tokens: int = 0
