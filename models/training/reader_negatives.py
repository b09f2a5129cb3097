"""Questions that a paragraph answers, changed so that it no longer does: another number, another name, the opposite."""

from __future__ import annotations

import random
import re

_NUMBER = re.compile(r"(?<![\w.,])\d{1,4}(?:,\d{3})*(?![\w])")
_NAME = re.compile(r"(?<=[a-z,] )[A-Z][\w'’-]+(?: (?:of |the |de |van )?[A-Z][\w'’-]+)*")
_CAN_BE_NEGATED = re.compile(
    r"^(?:who|which \w+|what \w+|what) (?:is|are|was|were|has|have|had|can|could|will|would|should)\b(?! not\b)"
    r"|\b(?:who|that) (?:is|are|was|were|has|have|had|can|could|will|would)\b(?! not\b)",
    re.I,
)
_WORD = re.compile(r"[A-Za-z]+")
_PAIRS = (
    "first last|largest smallest|biggest smallest|highest lowest|most least|before after|north south|east west"
    "|northern southern|eastern western|increase decrease|increased decreased|oldest youngest|maximum minimum"
    "|earliest latest|more fewer|male female|men women|begin end|began ended|started ended|longest shortest|best worst"
    "|larger smaller|higher lower|older younger|majority minority|won lost|win lose|rich poor|upper lower|left right"
    "|enter leave|entered left|rise fall|rose fell|gain lose|gained lost|above below|allowed forbidden|birth death"
    "|born buried|father mother|son daughter|brother sister|husband wife|king queen|buy sell|bought sold"
    "|internal external"
    "|public private|positive negative|advantage disadvantage|advantages disadvantages|strongest weakest|common rare"
    "|fastest slowest|major minor|heavier lighter|support oppose|supported opposed|accept reject|accepted rejected"
    "|include exclude|included excluded|inside outside|arrive depart|arrived departed|top bottom|modern ancient"
)
OPPOSITES: dict[str, str] = {}
for _pair in _PAIRS.split("|"):
    _one, _other = _pair.split(" ")
    OPPOSITES.setdefault(_one, _other)
    OPPOSITES.setdefault(_other, _one)


def names_in(text: str) -> list[str]:
    """Capitalised names within sentences, in order."""
    return _NAME.findall(text)


def with_other_number(question: str, paragraph: str, rng: random.Random) -> str | None:
    """The question with one of its numbers replaced by one that the paragraph does not hold."""
    found = list(_NUMBER.finditer(question))
    if not found:
        return None
    match = rng.choice(found)
    value = int(match[0].replace(",", ""))
    for _ in range(20):
        step = rng.choice((1, 2, 3, 5, 10, 12, 20, 37, 50))
        other = value + rng.choice((-1, 1)) * (step if value >= 1000 or value < 20 else step * max(1, value // 20))
        text = f"{other:,}" if "," in match[0] else str(other)
        if other > 0 and other != value and text not in paragraph and text not in question:
            return question[: match.start()] + text + question[match.end() :]
    return None


def with_other_name(question: str, paragraph: str, others: list[str], rng: random.Random) -> str | None:
    """The question with a name that the paragraph holds replaced by one of `others` that it does not hold."""
    low = paragraph.lower()
    found = [match for match in _NAME.finditer(question) if match[0].lower() in low]
    if not found or not others:
        return None
    match = rng.choice(found)
    n_words = match[0].count(" ")
    for _ in range(30):
        other = rng.choice(others)
        if abs(other.count(" ") - n_words) <= 1 and other.lower() not in low and other not in question:
            return question[: match.start()] + other + question[match.end() :]
    return None


def with_opposite(question: str, rng: random.Random) -> str | None:
    """The question with one of its words replaced by the opposite one."""
    found = [match for match in _WORD.finditer(question) if match[0].lower() in OPPOSITES]
    if not found:
        return None
    match = rng.choice(found)
    return question[: match.start()] + OPPOSITES[match[0].lower()] + question[match.end() :]


def negated(question: str) -> str | None:
    """The question with a `not`, or without the one that it has."""
    if re.search(r"\bnot\b", question):
        return re.sub(r"\bnot ", "", question, count=1)
    # Where a `not` comes after the subject, only a parser could tell its place.
    match = _CAN_BE_NEGATED.search(question)
    return question[: match.end()] + " not" + question[match.end() :] if match else None


def changed(question: str, paragraph: str, others: list[str], rng: random.Random) -> str | None:
    """One changed question, of a kind chosen among those that fit; None when none does."""
    kinds = ["number", "name", "name", "opposite", "negation"]
    rng.shuffle(kinds)
    for kind in kinds:
        if kind == "number":
            text = with_other_number(question, paragraph, rng)
        elif kind == "name":
            text = with_other_name(question, paragraph, others, rng)
        elif kind == "opposite":
            text = with_opposite(question, rng)
        else:
            text = negated(question) if rng.random() < 0.4 else None
        if text:
            return text
    return None
