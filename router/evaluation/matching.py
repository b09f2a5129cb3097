"""Whether a text says what a right answer says: exact match, token F1, contained.

Prose is compared as SQuAD does (Rajpurkar et al. 2016): lower case, no punctuation, no articles. An answer that is
spelled as code ("-1", "3.11", "app.run", "x[0]") is compared token by token, every mark a token of its own, since there
the marks are the answer. Any other answer counts by either, since a text of code holds it between marks: "50" in
"size=50". Whole tokens count: "50" is not contained in "1500".
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence

from selfroute.models.training.squad_scores import normalised

_EDGES = " \t\r\n`'\"“”‘’"
# Marks that prose does not have, a sign before a number, and marks within a number or a name.
_CODE = re.compile(r"[_()\[\]{}<>=+*/\\|&^~@#]|^[-.](?=\w)|\d[.:-]\d|\w{2,}(?:\.|::|->)\w{2,}|\w:\w")
_TOKEN = re.compile(r"\d+(?:\.\d+)+|\w+|[^\w\s]")
_UNSPACED = re.compile(
    r"[\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]"
)  # scripts without blanks between words


def exact(text: str, answers: Sequence[str]) -> float:
    """1 when the text is one of the answers."""
    return max((float(tokens(text) == tokens(one)) for one in answers for tokens in _ways(one)), default=0.0)


def f1(text: str, answers: Sequence[str]) -> float:
    """The best overlap in tokens with an answer, 0 to 1."""
    return max((_f1(tokens(text), tokens(one)) for one in answers for tokens in _ways(one)), default=0.0)


def contained(text: str, answers: Sequence[str]) -> float:
    """The share of the answers that the text holds, each as a run of whole tokens."""
    return sum(_holds(text, one) for one in answers) / len(answers) if answers else 0.0


def _prose(text: str) -> list[str]:
    return normalised(text).split()


def _code(text: str) -> list[str]:
    return _TOKEN.findall(text.strip(_EDGES).lower().replace('"', "'"))


def _ways(answer: str) -> tuple[Callable[[str], list[str]], ...]:
    """How a text is compared with an answer, by how that is spelled."""
    bare = answer.strip(_EDGES)
    return (_code,) if _CODE.search(bare) or not normalised(bare) else (_prose, _code)


def _holds(text: str, answer: str) -> bool:
    for tokens in _ways(answer):
        wanted, there = tokens(answer), tokens(text)
        if not wanted:
            continue
        if _UNSPACED.search(answer) and "".join(wanted) in "".join(there):
            return True
        n = len(wanted)
        if any(there[i : i + n] == wanted for i in range(len(there) - n + 1) if there[i] == wanted[0]):
            return True
    return False


def _f1(found: list[str], right: list[str]) -> float:
    common = sum((Counter(found) & Counter(right)).values())
    return 2 * common / (len(found) + len(right)) if common else 0.0
