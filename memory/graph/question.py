"""Relational questions: which relation a question asks for, and of what.

Names are found first (quoted, spelled as code, or standing where a relation wants one) and put out of the way as X0,
X1; what is left is matched against the ways in which people ask. A question of no such way is none: it is answered as
any other.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from selfroute.memory.graph.ways import IMPACT, PATH, WAYS

MAX_CHARACTERS = 400  # of a question; a longer one tells a story
MAX_PLAIN_WORDS = 12  # of a question in which a word like "send" may be a name

_QUOTED = re.compile(r"`([^`\s]{1,200}(?: ?\(\))?)`|[\"'‘“]([\w./:#-]{1,200}(?:\(\))?)[\"'’”]")
_CODE = re.compile(
    r"(?<![\w./])(?:[\w-]+/)+[\w.-]+\.\w+|(?<![\w.])[A-Za-z_]\w*(?:(?:\.|::|->|#)[A-Za-z_]\w*)+(?:\(\))?"
    r"|(?<!\w)[A-Za-z_]\w*\(\)|(?<!\w)_+[A-Za-z]\w*|(?<!\w)[A-Za-z]+_\w+|(?<!\w)[A-Za-z]*[a-z][A-Z]\w*|(?<!\w)[A-Z]{2,}[a-z]\w*"
)
_NAME = re.compile(rf"{_QUOTED.pattern}|{_CODE.pattern}|(?<!\w)[A-Za-z_]\w*")
_MAX_NAMES = 9
# What stands behind a name of whatever spelling: "the add method of Map".
_MEMBER = re.compile(
    r" (?:(?:class|static|async) ?)?(?:method|property|attribute|function|coroutine)\b(?= (?:of|on|in|from)\b)"
)
_PUNCTUATION = re.compile(r"[,;!:]|(?<!\w)please(?!\w)|(?<=X\d)\(\)")
_ABBREVIATIONS = frozenset({"e.g", "i.e", "etc", "vs"})
# The end of a question, where a word of the asking is a name after all: "who calls run?", "who uses the get method".
_AT_END = re.compile(
    r"(?: (?:function|method|class|coroutine))?"
    r"(?: (?:in|of|from|on) (?:the )?(?:(?:class|file|module) )?\S*[./_`]\S+)?\W*$"
)
_POINTING = frozenset(
    "a all an any anything everything he her him it its me one our she something that the them".split()
)
_POINTING |= frozenset("these they thing things this those us we what where which who whom you your".split())
# Words of the asking itself, which a corpus may well define too.
_ASKING = frozenset(
    """
    a about across actually after all an and any anything anywhere are around as at base bases be been before between
    body break breaks broken by call called caller callers calling calls can change changed changes changing child
    children class classes code codebase come comes could count define defined defines definition delete deleted
    depend dependencies dependency dependent depends derive derived derives descend descendants did different direct
    directly do does done each else end every everything everywhere exactly extend extended extends file files find
    for from function functions get gets getting give given go goes happen happens has have helper how i if implement
    implementation implementations implemented implementing implements import imported importer importers imported
    importing imports in inherit inheritance inherited inherits inside instances internally into invoke invoked invokes
    invoking is it its kind know lead leads library list live look lookup made make makes many me method methods
    modify module modules my name names need needs of on one ones or other our out over overridden override overrides
    package packages parent parents part parts path place places please point points project pull pulled pulls reach
    reached reaches refer reference referenced references rely relies remove removed rename renamed repo repository
    rely rest return returns run runs safe see show site sites so some somebody someone something somewhere source
    statement statements subclass subclassed subclasses subclassing such super superclass superclasses take takes tell
    test tests than that the their them there these they thing things this those through to touch trigger triggered
    triggers turn type types under up upon us usage usages use used user users uses using want was way we were what
    whatever when where whether which who whoever whole whom whose why will with within without would you your
    """.split()
)

_KIND = (
    r"(?:abstract |base |parent |helper |async |static |class |private |public |property )*"
    r"(?:function|method|class(?:es)?|module|file|package|protocol|interface|trait|helper|constructor|decorator|symbol|routine|"
    r"property|mixin|exception|struct|type|submodule|script|api|definition|coroutine|generator|hook|name|object)s?"
)
# Asked of how a thing works or is to be used, not of who uses it.
_OF_USE = re.compile(
    r"\b(?:what happens (?:when|if|after|before|once)|what does it mean"
    r"|how (?:do|can|could|should|would|shall) (?:i|we|you|one)|how to|why)\b"
    r"|\b(?:can|could|should|must) (?:i|we|you|one) (?:import|use|call|extend|run)\b|\bdo (?:i|we|you|one) need\b"
    r"|X\d (?:(?:is|are|was|be) )?(?:used?|run) (?:for|to|on|as|instead)\b"
    r"|^(?:when|how)\b(?! many)"
)
# Asked of a value, or of where a name was got from: one line says it, which is no edge.
_OF_VALUE = re.compile(
    r"\bdefaults?\b(?! (?:method|implementation|class))|\bX\d (?:set|assign|initiali[sz]e|bind)s? X\d to\b"
    r"|\b(?:set|assigned|initiali[sz]ed|bound) (?:X\d )?to\b|\bimport(?:s|ed)? X\d from\W*$"
    r"|\b(?:from|out of) (?:which|what) (?:module|package|library|place|file)\b"
    r"|\b(?:which|what) (?!(?:(?:other|helper|private|public) )?(?:functions?|methods?|helpers?|class(?:es)?|things?"
    r"|code|parts?|routines?|names?|symbols?|definitions?|modules?|files?|packages?|librar(?:y|ies)|utilit(?:y|ies)"
    r"|tools?|api)\b)"
    r"[a-z]+ (?:does|do|did) X\d use\W*$"
)
# "X0 of X1", "X0 as defined in the module X1": what a name is of is not what is asked about.
_QUALIFIED = re.compile(
    r"X(\d)(?:'s)? (?:(?:as )?(?:defined|declared|living|that lives|found|located|implemented)? ?"
    r"(?:of|on|from|in|inside|within|under)|\(?(?:from|in|of)) (?:the )?"
    rf"(?:{_KIND} )?X(\d)(?: {_KIND}\b)?\)?"
)
_IN_PARENTHESES = re.compile(r"X(\d) ?\((?:from |in |of )?X(\d)\)")
# "X0: what does it call?"
_IT = re.compile(r"^(?:for |in |about |given |regarding |concerning )?(X\d)\W+(?=.*\b(?:it|its|that|this)\b)(.*)$")
_DESCRIBED = re.compile(
    r"\b(?:the|a|an|whatever|any) (?:\w+ )?(?:function|method|class|module|code|helper|thing|part|routine)s? "
    r"(?:that|which|for|responsible for|in charge of|to) .{3,}$",
    re.IGNORECASE,
)
_STAND_IN = "x_0"  # for what is described
_POSSESSIVE = re.compile(rf"X(\d)'s? (?:own )?(?:{_KIND} )?X(\d)")
_DRESSED = re.compile(
    rf"\b(?:(?:the|a|an|our|this|that|its) )?(?:{_KIND} )?(?:(?:named|called) )?"
    rf"(X\d)(?:\(\))?(?: {_KIND}\b)?"
)


@dataclass(frozen=True, slots=True)
class Asked:
    """A relation that a question asks for. name: of what; within: what the name is of, "" when not said.

    other: the far end of a PATH. described: that it was not named but described, and how.
    """

    relation: str
    name: str
    within: str = ""
    other: str = ""
    described: str = ""


def parse(text: str, known: Callable[[str], bool]) -> Asked | None:
    """What a question asks of the graph, None when it asks something else. known: whether the corpus defines a word.

    What is quoted, or spelled as code or with a capital, is a name; only in a short question do plain words count too.
    """
    given = " ".join(text.split())
    if not given or len(given) > MAX_CHARACTERS:
        return None
    text, of_code = _named(given, lambda word: word[0].isupper() and known(word))
    if found := _match(text, of_code):
        inner = _match(*_named(given, known)) if given.count(" ") < MAX_PLAIN_WORDS else None
        return inner if inner is not None and inner.within == found.name else found  # "who calls get in `api.py`"
    if given.count(" ") >= MAX_PLAIN_WORDS:
        return None
    found = _match(*_named(given, known))
    if found and of_code and found.relation != PATH and not {found.name, found.within} & set(of_code):
        return None  # a word beside a name is a word
    return found


def parse_described(text: str) -> Asked | None:
    """The relation asked of something that is described, not named: "what calls the function that signs cookies"."""
    found = _DESCRIBED.search(" ".join(text.split()))
    if found is None or len(text) > MAX_CHARACTERS:
        return None
    asked = parse(f"{text[: found.start()]}`{_STAND_IN}`", lambda word: False)
    return replace(asked, name="", described=found[0].rstrip("?!. ")) if asked and asked.name == _STAND_IN else None


def _named(text: str, known: Callable[[str], bool]) -> tuple[str, list[str]]:
    """The question in lower case with its names as X0, X1, ..., and the names."""
    names: list[str] = []
    kept: list[str] = []
    end = 0
    for found in _NAME.finditer(text):
        inner = next(filter(None, found.groups()), "")
        is_code = bool(inner or _CODE.fullmatch(found[0])) and found[0].lower() not in _ABBREVIATIONS
        is_capital = found[0][0].isupper() and found.start() > 0
        is_plain = is_capital or found[0].lower() not in _ASKING or _is_asked_of(text, found)
        is_word = not is_code and is_plain and known(found[0])
        is_member = bool(_MEMBER.match(text, found.end())) and text[: found.start()].lower().endswith("the ")
        if (is_code or is_word or is_member) and len(names) < _MAX_NAMES:
            kept += (text[end : found.start()].lower(), f"X{len(names)}")
            names.append((inner or found[0]).replace(" ", ""))
            end = found.end()
    return "".join((*kept, text[end:].lower())), names


def _is_asked_of(text: str, word: re.Match[str]) -> bool:
    """Whether a word of the asking stands where only a name can."""
    before = text[: word.start()].lower().split()[-1:]
    ending = _AT_END.match(text, word.end())
    if ending is None or word[0].lower() in _POINTING or not before:
        return False
    return before[0] not in _POINTING or (before[0] == "the" and " " in ending[0])


def _match(text: str, names: list[str]) -> Asked | None:
    if not names or _OF_VALUE.search(text):
        return None
    within: dict[int, int] = {}

    def owned(found: re.Match[str]) -> str:
        within[int(found[1])] = int(found[2])
        return f"X{found[1]}"

    def owning(found: re.Match[str]) -> str:
        within[int(found[2])] = int(found[1])
        return f"X{found[2]}"

    if leading := _IT.match(text):
        text = re.sub(r"\b(?:it|its|that|this)\b", leading[1], leading[2], count=1)
    text = _DRESSED.sub(r"\1", text)
    text = _IN_PARENTHESES.sub(owned, text)
    text = _POSSESSIVE.sub(owning, text)
    text = _QUALIFIED.sub(owned, text)
    left = [int(digit) for digit in dict.fromkeys(re.findall(r"X(\d)", text))]
    if not left:
        return None
    text = re.sub(r"X(\d)", lambda found: f"X{left.index(int(found[1]))}", text)
    text = " ".join(_PUNCTUATION.sub(" ", text).split())
    if text.startswith("why "):
        return None
    of_use = bool(_OF_USE.search(text))
    for relation, pattern in WAYS:
        if of_use and relation not in (IMPACT, PATH):
            continue
        if pattern.search(text) and (relation != PATH or len(left) > 1):
            other = names[left[1]] if relation == PATH and len(left) > 1 else ""
            return Asked(relation, names[left[0]], names[within[left[0]]] if left[0] in within else "", other)
    return None
