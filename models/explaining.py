"""Whether a question asks for an explanation, which no single quote gives, or for a fact, which one does."""

from __future__ import annotations

import re
from difflib import get_close_matches

MAX_CHARACTERS = 2_000  # of a question; what it asks for stands at its beginning

# Words that the ways below hang on, as people mistype them; longer ones are found by their likeness.
_MISTYPED = {
    "hwo": "how", "hw": "how", "hoe": "how", "hows": "how is", "how's": "how is",
    "wy": "why", "whyy": "why", "whys": "why is", "why's": "why is",
    "waht": "what", "wat": "what", "wht": "what", "whats": "what is", "what's": "what is",
    "deos": "does", "dose": "does", "doe": "does", "dos": "does", "dont": "do not", "doesnt": "does not",
    "wrok": "work", "wokr": "work", "wroks": "works", "wen": "when", "whn": "when", "teh": "the",
}  # fmt: skip
_SPELLED = tuple(
    """explain explanation describe happens happening mechanism relationship interaction difference rationale
    architecture influence consequences implications responsibility dependencies integration""".split()
)
_LIKENESS = 0.85  # of a mistyped word to the one that was meant; letters in common
_MIN_LIKE = 6  # letters of a word that may be one of them

_AUX = "(does|do|is|are|can|could|should|would|might|may|must|will|has|have|to|come|exactly|actually|internally)"
_IDEA = (
    "(roles?|responsibilit(y|ies)|mechanisms?|relation(ship)?s?|interactions?|interplay|process|workflow"
    "|((control|data) ?)?flow|life ?cycle|sequence|rationale|reason(ing|s)?|motivation|trade-?offs?|architecture|design"
    "|strategy|approach|algorithm|logic|idea|effects?|impacts?|influence|consequences?|implications?|ramifications"
    "|dependenc(y|ies)|dependency chain|inter-?dependenc(y|ies)|integration|reliance|differences?|distinction"
    "|separation|propagation|coordination|internal calls)"
)
_FURTHER = "(name|number|version|file|class|type|code|id|string|flag|option|method|function|module|pattern)s?"
_WAYS = tuple(
    re.compile(way)
    for way in (
        rf"^((so|and|but|in \w+( \w+)?,?|inside \w+,?) )?how (the \w+ )?{_AUX}\b",
        r"\bhow ([\w.`()]+ ){1,6}?(works?|working|happens?|interacts?|fits?|behaves?|operates?)\b",
        r"\bhow\b.*\b(work|interact|fit together|hang together|come about|go about|evolve|influenced?|affect(ed)?)\W*$",
        r"^\W*((so|but|and) |.*, )?why\b|\breasons? (why|for|behind|that)\b|\bhow come\b",
        r"\bwhat( exactly)?( (would|will|might|does|can))? (happens?|goes on|is going on|is happening)\b",
        r"\b(explain|elaborate|clarify|walk (me|us) through|talk me through|under the hood|step by step"
        r"|in (what|which) ways?|by (what|which) (means|mechanism))\b",
        r"^\W*((please|can|could|would|you|kindly) )*(describe|outline)\b|\btell me (more )?about\b",
        r"\b(what|which)( (is|are|was|would be|does|do))?( (the|a|an|any|kind of|sort of|some))?"
        rf"( (?!(in|of|that|did|from|by|to)\b)[\w'-]+){{0,3}}? {_IDEA}\b(?! ({_FURTHER}|did)\b)",
        r"\bwhat (causes?|leads? to|determines|governs|drives|makes|ensures|enables|prevents|triggers)\b",
        r"\bthe relation(ship)? between\b",
    )
)
_ASKING = tuple(
    re.compile(rf"\b({words})\b", re.IGNORECASE)
    for words in (
        r"what happens|in (what|which) ways?|by what means|how come|(walk|talk) (me|us) through|tell me about"
        r"|explain(ed)?|elaborate|clarify|describe|outline|under the hood|step by step|rationale"
        r"|(hangs?|fits?|works?|belongs?) together|interacts?|comes? about|architectural|conceptual",
        rf"{_IDEA}(?= (of|in|by|between|that|for|which|with|from|on|behind|does|do|is|are)\b)",
        r"plays?(?= (in|for)\b|\W*$)",
    )
)
# What is asked of one thing: a number, a name, a line of its documentation. Such a question has a span for an answer.
_ONE_THING = "(parameter|argument|param|arg|keyword|field|constant|option|flag|switch)s?"
_HOW_IT_IS = r"\bhow (is|are|was|do you|does one|should i|to|do i|can i|can you)\b.{0,60}\b"
_FACTS = tuple(
    re.compile(fact)
    for fact in (
        r"\bhow (long|large|big|many|much|often|deep|far|old|high|tall|fast|wide|late|early|frequently)\b",
        rf"{_HOW_IT_IS}(annotated|decorated|documented|worded|spell(ed)?|spelt|pronounced?|abbreviated?|pinned)\b",
        rf"{_HOW_IT_IS}(described|named|called|typed|written)\b(?! (by|when|on|in) (a|the|each|every)\b)",
        r"^\W*how (is|are) [\w.-]+ (set|pinned|annotated) (for|by|in)( the \w+)? [\w.]+\W*$",
        r"\bhow does the (\w+ )?(documentation|docstring|docs?|text) (describe|say|put)",
        r"\b(briefly|in (one|a single) (sentence|word|line)|in a (word|nutshell))\b",
        r"\b(why (would|does|do|did|might|could|can)|what makes)( [\w.`()]+){1,2} (raise|throw)s? [\w.`]+\W*$",
        r"^\W*what triggers [\w.`]+ in [\w.`]+\W*$|\bwhat environment variables?\b",
        r"\b(describe|explain|(role|meaning|effect) of)( what)?( (the|an?))?( [\w.`'\"-]+){0,3} "
        rf"{_ONE_THING}\b(?! (passing|parsing|handling))",
        rf"\b(describe|explain)( what)?( the)? {_ONE_THING} [\w.`'\"-]+\W*$|\bon the command line\W*$",
        r"\b(describe|explain) (\w+ )?(return|default)(ed)? (value|type)\b",
    )
)
_CODE = re.compile(r"`[^`]*`|\b\w+(?:(?:\.|::|->)\w+)+(?:\(\))?|\b\w*_\w*|\b\w+\(\)|\b\w*[a-z][A-Z]\w*")


def asks_to_explain(question: str) -> bool:
    """Whether it asks how or why something works, what happens when, or what part one thing plays for another.

    False for what has a short answer: a name, a value, a place, one sentence of documentation. English only.
    """
    text = _mended(_CODE.sub("it", question[:MAX_CHARACTERS]).lower())
    return not any(fact.search(text) for fact in _FACTS) and any(way.search(text) for way in _WAYS)


def about(question: str) -> str:
    """The question without the words that say how it is to be explained, which no corpus need hold: "the role of"."""
    left = question[:MAX_CHARACTERS]
    for asking in _ASKING:
        left = asking.sub(" ", left)
    return left + question[MAX_CHARACTERS:] if re.search(r"\w", left) else question


def _mended(text: str) -> str:
    """The text with one space between words, and what is mistyped of the words that decide spelled right."""
    return " ".join(_MISTYPED.get(word) or _near(word) for word in text.split())


def _near(word: str) -> str:
    if len(word) < _MIN_LIKE or not word.isalpha() or word.startswith(_SPELLED):
        return word
    return next(iter(get_close_matches(word, _SPELLED, 1, _LIKENESS)), word)
