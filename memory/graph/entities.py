"""The entities that prose names: people, organisations, places, works, terms and code names.

Found by their form alone: capitals, headings, quotes, backticks, parentheses. No model, and no word list but those of
stop words and dates, so it is fast and misses what only meaning would tell. Two mentions are of one entity when their
keys are equal.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from operator import attrgetter

from selfroute.models.lexing import STOPWORDS

MAX_SURFACE = 80  # characters; what is longer is a sentence
MAX_PARTS = 3  # names joined by "of", "and" ... that may also be one name together


@dataclass(frozen=True, slots=True)
class Entity:
    """A mention: `surface` is text[start:end], `key` what it is looked up by.

    kind: "title" for what begins here, "part" for the title of what is continued here, else "name", "quote" or "code".
    A title that was given, not read, has start == end == 0. One place may give several: "Bank of England" is also
    "Bank" and "England".
    """

    key: str
    surface: str
    start: int
    end: int
    kind: str = "name"


_UPPER = "".join(chr(c) for c in (*range(0x590), *range(0x1E00, 0x2000)) if chr(c).isupper())
_GAP = r"(?>[ \t]+(?:\n[ \t]*)?|\n[ \t]*)"
# What may follow the capital that a name begins with: more initials, the rest of an abbreviation, or that of a word.
_REST = (
    rf"(?>\.(?:[{_UPPER}]\.)*(?=[ \t\n-]*[{_UPPER}])"
    r"|\w\.(?<=(?:Dr|Mr|Ms|St|Mt|Ft|Jr|Sr|Fr|Lt)\.)|\w\w\.(?<=(?:Mrs|Ste|Gen|Col|Sgt|Rev|Sen|Gov)\.)"
    r"|\w*+(?:(?:[-&./]|[’'](?!s\b))\w++)*+)"
)
_JOINER = r"of the|and the|in the|for the|of|and|in|for|on|to|from|the|with|&"
_PARTICLE = r"de la|de los|de|del|della|di|da|do|dos|du|des|la|le|van der|van den|van|von|der|den|al|el|bin|ibn|y|af|zu"
_RUN = re.compile(
    rf"[{_UPPER}](?<![\w@/#.\\-].){_REST}"
    rf"(?:{_GAP}(?:(?:{_JOINER}|{_PARTICLE}){_GAP})?[{_UPPER}]{_REST}){{0,11}}+(?:[ \t]\d{{1,4}}(?![\w%]|[,.]\d))?"
)
_JOINER_WORDS = frozenset(re.split(r"[ |]", _JOINER))
_JOINED = re.compile(rf"{_GAP}(?:{_JOINER}){_GAP}(?=[{_UPPER}])")
_QUOTE = re.compile(rf"\"([{_UPPER}\d][^\"\n]{{1,{MAX_SURFACE}}})\"|“([{_UPPER}\d][^“”\n]{{1,{MAX_SURFACE}}})”")
_TICKED = re.compile(r"`([^`\n]{2,60})`")
_SNAKE = re.compile(r"\b[a-z][a-z0-9]*_\w+")
_APART = re.compile(
    r"^ {0,3}(?:#{1,6}[ \t]++(?P<title>[^\n]++)|(?P<fence>```|~~~)(?s:.*?)(?:^ {0,3}(?P=fence)|\Z))",
    re.MULTILINE,
)
_CLOSING = re.compile(r"[ \t]#+$")
_NUMBER = re.compile(r"[ \t]\d{1,4}$")
_ACRONYM = re.compile(rf"\s*\(([{_UPPER}][\w.&]{{1,7}})\)")
_YEAR_BEFORE = re.compile(r"(?<!\d)(?:1\d|20)\d\d[ \t]$")
_DISAMBIGUATION = re.compile(r"(?<=\S)\s*\([^()]*\)\s*$")
_DASH = re.compile(r"(?<=\w)[-–—/](?=\w)")
_NOT_KEY = re.compile(r"[^\w\s&+#]+")

_DATES = frozenset(
    """
    january february march april may june july august september october november december jan feb mar apr jun jul aug
    sep sept oct nov dec monday tuesday wednesday thursday friday saturday sunday ad bc ce bce am pm
    """.split()
)
_OPENERS = frozenset(  # beside the stop words, what opens sentences without naming anything
    """
    after all although also among another because before between both despite due during each early every following he
    her here his however including instead its later like many most much no not now once one only other over see she
    since several some such though through throughout together two under until unlike upon very well whether within
    without yet yes
    """.split()
)
_ARTICLES = ("the", "a", "an")
_EMPTY = STOPWORDS | _OPENERS
_OPENING = re.compile(rf"(?:(?:{'|'.join(sorted(word.capitalize() for word in _EMPTY))})(?:\s+|$))+")


def entities(text: str, title: str = "", *, continued: bool = False) -> list[Entity]:
    """The mentions in a text, in the order in which they stand; dates, and what stands in fenced code, are left out.

    title: of what the text begins or, with continued=True, goes on with; Markdown headings in the text are titles too.
    A last name, or the letters of an acronym, that the text or a title has explained ("Ed Wood ... Wood", "Marvel
    Cinematic Universe (MCU) ... MCU") stands for the whole name. Offsets are characters of the text.
    """
    reader = _Reader(text)
    reader.titled(title, 0, 0, "part" if continued else "title")
    at = 0
    for apart in _APART.finditer(text):
        reader.read(at, apart.start())
        if heading := _CLOSING.sub("", (apart["title"] or "").rstrip()).rstrip():
            reader.titled(heading, apart.start("title"), apart.start("title") + len(heading), "title")
        at = apart.end()
    reader.read(at, len(text))
    return reader.entities()


@lru_cache(maxsize=1 << 16)
def key_of(surface: str) -> str:
    """What a mention is looked up by: case, accents, punctuation, a first article and a possessive dropped.

    "" for what is no name: nothing but punctuation, or longer than MAX_SURFACE.
    """
    if len(surface) > MAX_SURFACE:
        return ""
    if not surface.isascii():
        surface = "".join(c for c in unicodedata.normalize("NFKD", surface) if not unicodedata.combining(c))
        surface = surface.replace("’", "'")
    text = surface.casefold()
    if text.isalnum():
        return text
    words = text.split()
    if not "".join(words).isalnum():
        words = _NOT_KEY.sub("", _DASH.sub(" ", text.removesuffix("'s"))).split()
    return " ".join(words[1:] if len(words) > 1 and words[0] in _ARTICLES else words)


def title_keys(title: str) -> list[str]:
    """The keys of a title, the whole one first: "Ed Wood (film)" is also "Ed Wood", "Salem, Ohio" also "Salem"."""
    title = title.strip()
    if len(title) > MAX_SURFACE:
        return []
    plain = _DISAMBIGUATION.sub("", title)
    forms = (title, plain, plain.partition(",")[0])
    return [key for key in dict.fromkeys(map(key_of, forms)) if key]


@lru_cache(maxsize=1 << 14)
def _forms(surface: str) -> tuple[tuple[int, str, str, str], ...]:
    """The names that a run of capitalised words may be: (offset, surface, key, word that may stand for it)."""
    letters = surface.replace(" ", "")
    if letters.isascii() and letters.isalpha() and surface.istitle():  # most of them
        words = surface.lower().split()
        if words[0] not in _ARTICLES:
            if words[-1] in _DATES or (len(words) == 1 and (len(surface) < 2 or words[0] in _EMPTY)):
                return ()
            return ((0, surface, " ".join(words), words[-1] if len(words) > 1 else ""),)
    forms = [(0, surface)]
    joined = list(_JOINED.finditer(surface)) if not _JOINER_WORDS.isdisjoint(surface.split()) else []
    if joined:
        stops = [*(match.start() for match in joined), len(surface)]
        parts = [(at, surface[at:stop]) for at, stop in zip([0, *(m.end() for m in joined)], stops, strict=True)]
        forms = [*(forms if len(parts) <= MAX_PARTS else []), *parts]
    if surface[-1:].isdigit() and (number := _NUMBER.search(surface)):
        forms.append((0, surface[: number.start()]))
    found = []
    for at, form in forms:
        key = key_of(form)
        words = key.split()
        if not words or words[-1] in _DATES or (words[-1].isdigit() and (len(words) < 2 or words[-2] in _DATES)):
            continue
        if len(words) == 1 and (len(key) < 2 or key in _EMPTY):
            continue
        found.append((at, form, key, "" if len(words) == 1 or (joined and form is surface) else words[-1]))
    return tuple(found)


def _last_word(key: str) -> str:
    return key.rpartition(" ")[2] if " " in key else ""


class _Reader:
    """Reads one text from its beginning, and remembers the names that it has explained."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.found: list[Entity] = []
        self.doubtful: list[Entity] = []  # one word with a capital that may be due to its place only
        self.certain: set[str] = set()  # single words that are names wherever they stand
        self.full: dict[str, str] = {}  # last word, or acronym -> key of the whole name

    def entities(self) -> list[Entity]:
        """All that was found, in order."""
        self.found += (entity for entity in self.doubtful if entity.key in self.certain)
        return sorted(self.found, key=attrgetter("start"))

    def titled(self, title: str, start: int, end: int, kind: str) -> None:
        """Takes note of a title."""
        for key in title_keys(title):
            self.found.append(Entity(key, title if end == 0 else self.text[start:end], start, end, kind))
            self.certain.add(key)
            if last := _last_word(key):
                self.full.setdefault(last, key)

    def read(self, start: int, end: int) -> None:
        """Reads text[start:end], which has no title in it."""
        text = self.text
        for pattern, kind, mark in ((_QUOTE, "quote", ""), (_TICKED, "code", "`"), (_SNAKE, "code", "_")):
            for match in pattern.finditer(text, start, end) if text.find(mark, start, end) >= 0 else ():
                self._add(text[slice(*match.span(match.lastindex or 0))], match.start(match.lastindex or 0), kind)
        for match in _RUN.finditer(text, start, end):
            self._run(match)

    def _run(self, match: re.Match[str]) -> None:
        """The entities of one run of capitalised words."""
        surface, start = match[0], match.start()
        opens = self._opens_sentence(start)
        if opens:
            opening = _OPENING.match(surface)
            if opening:
                opens, start, surface = False, start + opening.end(), surface[opening.end() :]
        for at, form, key, last in _forms(surface):
            if " " in key:
                self._name(form, start + at, key, last)
            else:
                self._word(form, start + at, key, opens and at == 0)
        if start > 4 and self.text[start - 2].isdigit() and _YEAR_BEFORE.search(self.text, max(0, start - 6), start):
            surface = self.text[start - 5 : start] + surface
            self.found.append(Entity(key_of(surface), surface, start - 5, start - 5 + len(surface)))

    def _name(self, surface: str, start: int, key: str, last: str) -> None:
        end = start + len(surface)
        self.found.append(Entity(key, surface, start, end))
        if last:
            self.full.setdefault(last, key)
        if self.text.startswith(" (", end) and (short := _ACRONYM.match(self.text, end)):
            # The letters begin words of the name, in this order.
            initials = iter(word[0].casefold() for word in re.findall(r"\w+", surface))
            if all(letter in initials for letter in short[1].casefold() if letter.isalpha()):
                self.full.setdefault(key_of(short[1]), key)

    def _word(self, surface: str, start: int, key: str, opens: bool) -> None:
        end = start + len(surface)
        if full := self.full.get(key):
            self.found.append(Entity(full, surface, start, end))
            if key not in self.certain:
                return
        entity = Entity(key, surface, start, end)
        if opens and surface[1:].islower():
            self.doubtful.append(entity)
        else:
            self.found.append(entity)
            self.certain.add(key)

    def _add(self, surface: str, start: int, kind: str) -> None:
        surface = surface.rstrip(" .,;:!?")
        if key := key_of(surface):
            self.found.append(Entity(key, surface, start, start + len(surface), kind))

    def _opens_sentence(self, start: int) -> bool:
        """Whether the capital at `start` may be due to its place only."""
        if start > 1 and self.text[start - 1] == " " and self.text[start - 2].isalnum():
            return False
        before = self.text[max(0, start - 4) : start].rstrip(" \t\"“'(*_>-")
        return not before or before[-1] in ".!?:\n;"
