"""What a question asks: its kind, and its concepts, the words in it that carry weight."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise

from selfroute.models.lexing import WORD, question_terms, terms_of

MAX_CHARACTERS = 20_000  # of a question; a pasted file is one too, and its beginning says enough
MAX_CONCEPTS = 48

# What a concept's rarity is multiplied by.
GENERIC_SHARE = 0.25  # words that say what form the answer has, not what it is about
WHOLE_SHARE = 0.7  # a compound name, beside its parts
PARTS_SHARE = 0.5  # a compound name's parts together
UNKNOWN_SHARE = 1.3  # a word that the corpus does not hold in any form: what was not said cannot be quoted
DIGIT_SHARE = 0.3  # a number of one or two digits, which stands everywhere
ASKERS_SHARE = 0.8  # "signed", "sending": the asker's way of putting it more than a name that must be there

# A question is of the first kind whose pattern it holds; names of code are left out of the question before.
_KINDS = (
    (
        "definition",
        r"\b(where|which (file|module|class|place))\b.*\b(defin|declar|implement|locat|live|stand|found)"
        r"|\b(which|what)\b.*\b(defines?|declares?|defined|declared)\b|\bdefinition of\b",
    ),
    ("default", r"\bdefaults?\b"),
    (
        "bases",
        r"\b(inherits?|subclass(es)?|extends?|derived?|derives|(base|parent|super) ?class(es)?)\b",
    ),
    ("raise", r"\b(raises?|raised|raising|throws?|thrown|exceptions?|errors?)\b"),
    ("return", r"\b(returns?|returned|yields?|gives? back|result of)\b"),
    (
        "purpose",
        r"^\W*what (does|do|is|are)\b.*\b(do|for|mean|purpose)\W*$|\bpurpose of\b|^\W*(describe|explain)\b"
        r"|^\W*what (is|are) (an? |the )?[`'\"]?[\w.]+[`'\"]?\W*$",
    ),
    ("signature", r"\b(arguments?|parameters?|signature|accepts?|keywords?)\b"),
    (
        "value",
        r"\bhow (long|large|big|many|much|often|deep|far)\b|\b(max|min)imum\b|\b(limit|constant|version|port)\b"
        r"|\bvalue of\b|\b(what|which) (is |are )?(the )?(\w+ )?(value|number|size|status|code|name|format|type)\b",
    ),
    ("condition", r"^\W*when\b|\b(under|in) (what|which) (condition|case|circumstance)|\bwhat happens\b"),
    ("reason", r"\bwhy\b|\breason\b"),
    ("place", r"\bwhere\b|\b(which|what) (file|module|class|function|method|code|part)\b|^\W*who\b"),
    ("way", r"\bhow\b"),
)
_KIND_PATTERNS = tuple((kind, re.compile(pattern, re.IGNORECASE)) for kind, pattern in _KINDS)
_KIND_CHARACTERS = 1_000  # of a question that say its kind
_CODE = re.compile(r"`[^`]*`|\b\w+(?:(?:\.|::|->)\w+)+(?:\(\))?|\b\w*_\w*|\b\w+\(\)|\b\w*[a-z][A-Z]\w*")

_GENERIC_WORDS = """
function method class file module code package library project codebase implementation implement implemented define
defined declare declared declaration definition default return returned raise raised throw exception error argument
parameter option value name type kind use used using call called happen happens work works handle handled look provide
support supported get set given take come make made there many much thing way place located found live first different
available purpose explain describe mean inherit subclass base parent extend derive result accept accepted allow
allowed pass passed stand numeric exact exactly actual actually please may might must not never always only any all
each every some one also about else like difference compare versus list show tell between within during through
whether other such both same per via upon without against after before over up out off just really very too own
anything something nothing everything
"""
_GENERIC = frozenset(term for word in _GENERIC_WORDS.split() for term in terms_of(word))
_ASKERS_FORM = re.compile(r"(ed|ing|ly|able)$")
_TEST_TERMS = frozenset(("test", "unittest", "fixtur", "exampl", "sampl", "demo", "benchmark"))


@dataclass(frozen=True, slots=True)
class Concept:
    """One thing that the question names. term: its stem. share: what its rarity is multiplied by.

    generic: it says what form the answer has. is_name: it is spelled as a name, not as a word. is_part: of a compound
    name.
    """

    term: str
    share: float
    generic: bool
    is_name: bool
    is_part: bool


@dataclass(frozen=True, slots=True)
class Question:
    """Concepts in the order of the question, each once, and the kind ("" when none is recognised).

    aliases: terms that stand for several concepts at once, as masks of them: "time out" written timeout, "SQLite" as
    sqlite.
    """

    concepts: tuple[Concept, ...]
    kind: str
    aliases: tuple[tuple[str, int], ...]

    @property
    def has_name(self) -> bool:
        """Whether it names something as code does, so that the answer stands in what bears the name."""
        return any(concept.is_name and not concept.generic for concept in self.concepts)

    @property
    def about_tests(self) -> bool:
        """Whether it asks about tests or examples, which otherwise count for less."""
        return any(concept.term in _TEST_TERMS for concept in self.concepts)


def parse(text: str) -> Question:
    """The question's concepts and kind; one without a single word has no concepts."""
    text = text[:MAX_CHARACTERS]
    wanted = set(question_terms(text))
    concepts: dict[str, Concept] = {}
    words: list[tuple[str, tuple[str, ...]]] = []
    for i, word in enumerate(WORD.findall(text)):
        terms = terms_of(word)
        if not terms or terms[0] not in wanted:
            continue
        if len(concepts) + len(terms) > MAX_CONCEPTS:
            break
        words.append((word, terms))
        for concept in _concepts(word, terms, first=i == 0):
            concepts.setdefault(concept.term, concept)
    plain = _CODE.sub(" x ", text[:_KIND_CHARACTERS])
    kind = next((kind for kind, pattern in _KIND_PATTERNS if pattern.search(plain)), "")
    return Question(
        tuple(concepts.values()), kind, tuple(_aliases(words, {term: i for i, term in enumerate(concepts)}))
    )


def _concepts(word: str, terms: tuple[str, ...], *, first: bool) -> list[Concept]:
    """Those of one word; a compound name's whole comes before its parts. first: its capital says nothing."""
    is_code = "_" in word or any(c.isupper() for c in word[1:])
    is_name = is_code or any(c.isdigit() for c in word) or (word[0].isupper() and not first)
    compound = len(terms) > 1 and word.isascii()
    found = []
    for n, term in enumerate(terms):
        is_part = compound and n > 0
        generic = term in _GENERIC and not (is_code and not is_part)
        share = PARTS_SHARE / (len(terms) - 1) if is_part else WHOLE_SHARE if compound else 1.0
        share *= GENERIC_SHARE if generic else DIGIT_SHARE if term.isdigit() and len(term) < 3 else 1.0
        share *= ASKERS_SHARE if not is_name and _ASKERS_FORM.search(word) else 1.0
        found.append(Concept(term, share, generic, is_name and not is_part, is_part))
    return found


def _aliases(words: list[tuple[str, tuple[str, ...]]], place: dict[str, int]) -> list[tuple[str, int]]:
    def mask(terms: tuple[str, ...]) -> int:
        return sum(1 << place[term] for term in set(terms) if term in place)

    run_together = [
        (one + other, mask((*a, *b))) for (one, a), (other, b) in pairwise(words) if one.isalpha() and other.islower()
    ]
    written_small = [(word.replace("_", ""), mask(terms)) for word, terms in words if len(terms) > 1 and word.isascii()]
    return [(terms_of(word.lower())[0], bits) for word, bits in run_together + written_small if terms_of(word.lower())]
