"""Questions that a paragraph answers, changed so that it no longer does.

Another number, another name, another word of the paragraph itself (which leaves an answer that looks right), the
opposite, a negation.
"""

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
_LOWER = re.compile(r"(?<![\w-])[a-z]{4,}(?![\w-])")
_SUFFIX = re.compile(r"(?:tions?|ments?|ness|ity|ities|ies|ers?|ists?|ing|ed|ly|al|ic|ous|ive|able|s)$")
# Words of a question that say what form the answer has, and those that bind the others.
_BINDING = frozenset(
    "what which when where whom whose that this these those there their they them then than with from into onto over"
    " under after before between during about does have been were will would could should might must name type kind"
    " sort term word year date time number amount percent percentage part many much long often also only other first"
    " last most more less some such each both main used called known given made following".split()
)
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


def with_name_of_paragraph(question: str, paragraph: str, answers: list[str], rng: random.Random) -> str | None:
    """The question with one of its names replaced by another one that the paragraph holds, which no answer does."""
    low = paragraph.lower()
    found = [match for match in _NAME.finditer(question) if match[0].lower() in low]
    answered = " ".join(answers).lower()
    others = [o for o in dict.fromkeys(names_in(paragraph)) if o not in question and o.lower() not in answered]
    if not found or not others:
        return None
    match = rng.choice(found)
    alike = [other for other in others if abs(other.count(" ") - match[0].count(" ")) <= 1]
    alike = [
        other for other in alike if other.lower() not in match[0].lower() and match[0].lower() not in other.lower()
    ]
    return question[: match.start()] + rng.choice(alike) + question[match.end() :] if alike else None


def with_word_of_paragraph(question: str, paragraph: str, answers: list[str], rng: random.Random) -> str | None:
    """The question with one of its common words replaced by one of like ending that stands in the paragraph."""
    found = [m for m in _LOWER.finditer(question) if m[0] not in _BINDING and m.start()]
    answered = " ".join(answers).lower()
    asked = question.lower()
    by_suffix: dict[str, list[str]] = {}
    for word in dict.fromkeys(_LOWER.findall(paragraph)):
        if word not in _BINDING and word[:5] not in asked and word not in answered:
            by_suffix.setdefault(_ending(word), []).append(word)
    found = [m for m in found if _ending(m[0]) in by_suffix]
    if not found:
        return None
    match = rng.choice(found)
    return question[: match.start()] + rng.choice(by_suffix[_ending(match[0])]) + question[match.end() :]


def _ending(word: str) -> str:
    match = _SUFFIX.search(word)
    return match[0] if match else ""


def negated(question: str) -> str | None:
    """The question with a `not`, or without the one that it has."""
    if re.search(r"\bnot\b", question):
        return re.sub(r"\bnot ", "", question, count=1)
    # Where a `not` comes after the subject, only a parser could tell its place.
    match = _CAN_BE_NEGATED.search(question)
    return question[: match.end()] + " not" + question[match.end() :] if match else None


def changed(question: str, paragraph: str, answers: list[str], others: list[str], rng: random.Random) -> str | None:
    """One changed question, of a kind chosen among those that fit; None when none does. others: names near by."""
    kinds = ["number", "name", "name here", "name here", "word here", "word here", "opposite", "opposite", "negation"]
    rng.shuffle(kinds)
    for kind in kinds:
        if kind == "number":
            text = with_other_number(question, paragraph, rng)
        elif kind == "name":
            text = with_other_name(question, paragraph, others, rng)
        elif kind == "name here":
            text = with_name_of_paragraph(question, paragraph, answers, rng)
        elif kind == "word here":
            text = with_word_of_paragraph(question, paragraph, answers, rng)
        elif kind == "opposite":
            text = with_opposite(question, rng)
        else:
            text = negated(question) if rng.random() < 0.4 else None
        if text:
            return text
    return None
