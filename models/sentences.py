"""What a reader may quote: the whole lines of code, the whole sentences of prose, each with the part that it plays."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Flag, auto

from selfroute.types import Chunk

_NO_NAMES: tuple[str, ...] = ()
_MAX_LOOKED_AT = 240  # characters of a line that may decide its part

PROSE_KINDS = ("section", "text")


class Role(Flag):
    """What a line of code is; several at once are usual."""

    NONE = 0
    DEFINITION = auto()
    BASES = auto()
    ASSIGNMENT = auto()
    LITERAL = auto()  # an assignment of a number, a string, true, false or none
    NUMBER = auto()  # an assignment of a number
    RETURN = auto()
    RAISE = auto()
    CONDITION = auto()
    COMMENT = auto()
    SUMMARY = auto()  # the first sentence of a docstring or of the comment above a definition
    IMPORT = auto()
    NAME_ONLY = auto()  # an entry of __all__ and the like
    EMPTY = auto()  # blank, or brackets and rules


@dataclass(frozen=True, slots=True)
class Unit:
    """Characters [start, end) of a chunk's text, without the line's own end. names: those it defines or assigns."""

    start: int
    end: int
    role: Role
    names: tuple[str, ...] = ()


_MODIFIERS = (
    r"(?:(?:export|default|public|private|protected|internal|static|async|abstract|final|sealed|open|override|inline|virtual"
    r"|extern|unsafe|const|pub(?:\([^)]*\))?|data|suspend|partial|readonly|declare)\s+)*"
)
_DEFINITION = re.compile(
    rf"\s*{_MODIFIERS}(?:def|class|func|fn|fun|function\*?|interface|struct|enum|trait|impl|type|record|protocol|namespace"
    r"|module|object|macro_rules!)\s+(?:\([^)]*\)\s*)?(?:self\.)?([A-Za-z_$][\w$]*)"
)
_TYPE_WORD = re.compile(r"[A-Za-z_*&~][\w:<>,*&\[\]?~]*")
_NOT_A_TYPE = frozenset(
    """return else new throw if for while switch await yield raise assert not in and or import from print del with
    except case elif go defer echo goto""".split()
)
_BASES = re.compile(
    r"\s*(?:\w+\s+)*(?:class\s+\w+\s*(?:\[[^\]]*\])?\([^)]|.*\b(?:extends|implements)\b|class\s+\w+\s*(?:<|:)\s*\w)"
)
_ASSIGNMENT = re.compile(
    r"\s*(?:(?:export|const|let|var|val|static|final|public|private|readonly|#\s*define|pub|mut)\s+)*(?:[\w<>\[\]]+\s+)?"
    r"[`\"']?(?:[A-Za-z_$][\w$]*\.)*([A-Za-z_$][\w$-]*)[`\"']?\]?\s*(?::\s*[^=]{1,80}?)?\s*(?::=|=(?![=>])|:(?=\s*\S))"
)
_DEFINE = re.compile(r"\s*#\s*define\s+(\w+)\s+\S")
_KEYWORD = re.compile(
    r"[(,]\s*([A-Za-z_]\w*)\s*(?::[^=,()]{1,60})?=(?!=)|^\s+([A-Za-z_]\w*)\s*(?::[^=,()]{1,60})?=(?!=)[^=].*,\s*$"
)
_LITERAL = re.compile(r"[=:]\s*(?:[-+]?[\d.]|[rbuf]?['\"`]|true\b|false\b|none\b|null\b|nil\b)|#\s*define", re.I)
_NUMBER = re.compile(r"[=:]\s*[-+]?[\d.]|#\s*define\s+\w+\s+\(?\d", re.I)
_RETURN = re.compile(r"\s*(?:return|yield)\b|\s*:returns?:|\s*@returns?\b|\s*Returns?\b", re.I)
_RAISE = re.compile(
    r"\b(?:raise|throw|throws|panic!?|bail!|reject|abort|die)\b|\berrors\.New\b|\bfmt\.Errorf\b|\bErr\("
)
_CONDITION = re.compile(r"\s*(?:\}?\s*else\s+)?(?:if|elif|elsif|unless|when|case|except|catch|rescue|match|while)\b")
_IMPORT = re.compile(
    r"\s*(?:import\b|from\s+\S+\s+import\b|#\s*include\b|using\s+[\w.]+;|use\s+[\w:]+|require\b|package\s)"
)
_NAME_ONLY = re.compile(r"\s*['\"][\w.]*['\"]\s*,?\s*[\])]?\s*$|\s*__all__\b|\s*[A-Za-z_]\w*,\s*$")
_EMPTY = re.compile(r"[\W_]*$")
_COMMENT = re.compile(r"\s*(?:#(?!\s*(?:include|define|if|endif|pragma)\b)|//|/\*|\*(?:\s|/|$)|--\s|;;|<!--)")
_TRIPLE = re.compile(r'"""|\'\'\'')
_STRING = re.compile(r"\s*[rbfuRBFU]{0,2}(?:\"\"\"|\'\'\')")
_OPENING = (":", "(", ",", "=", "[", "{", "+")
_SENTENCE_END = re.compile(
    r"(?<=[.!?])[\"')\]]*\s+(?=[\"'(\[`*]*[A-Z0-9])|(?<=[。！？])|\n\s*\n|\n(?=\s*(?:[-*+•]|\d+[.)]|#|=|>|\|)\s?)"
)
_ABBREVIATION = re.compile(r"(?:\b(?:e\.g|i\.e|etc|vs|cf|Mr|Mrs|Dr|St|No|Fig|approx)|\b[A-Z])\.$")
_MARK_UP = re.compile(r"\s*(?:```|~~~|::\s*$|\.\. )")


def units(chunk: Chunk) -> list[Unit]:
    """The units of a chunk in order: sentences of prose, else lines."""
    return _sentences(chunk.text) if chunk.kind in PROSE_KINDS else _lines(chunk.text)


def _sentences(text: str) -> list[Unit]:
    """Sentences without the blanks around them. Fenced code inside prose goes by lines."""
    found: list[Unit] = []
    start, fenced = 0, False
    bounds = [m.end() for m in _SENTENCE_END.finditer(text)]
    if "```" in text or "~~~" in text:
        place = 0
        for line in text.splitlines(keepends=True):
            fence = bool(_MARK_UP.match(line)) and line.lstrip()[:3] in ("```", "~~~")
            if fence or fenced:
                bounds += [place, place + len(line)]
            fenced ^= fence
            place += len(line)
    for end in [*sorted(set(bounds)), len(text)]:
        piece = text[start:end]
        if _ABBREVIATION.search(piece.rstrip()) and end < len(text) and "\n\n" not in piece[-3:]:
            continue
        first = start + len(piece) - len(piece.lstrip())
        last = start + len(piece.rstrip())
        start = end
        if first < last:
            body = text[first:last]
            found.append(Unit(first, last, Role.EMPTY if _EMPTY.match(body) or _MARK_UP.match(body) else Role.NONE))
    return found


def _lines(text: str) -> list[Unit]:
    """Lines end at \\n; a \\r before it belongs to the end, not to the quote."""
    raw = text.split("\n")
    if len(raw) > 1 and not raw[-1]:
        raw.pop()  # the text ended with its last line's end
    bodies = [line.removesuffix("\r") for line in raw]
    inside = _strings(bodies)
    parts = [_part(body, in_string) for body, in_string in zip(bodies, inside, strict=True)]
    for n in _summaries(bodies, inside, [role for role, _ in parts]):
        parts[n] = parts[n][0] | Role.SUMMARY, parts[n][1]
    found = []
    place = 0
    for line, body, (role, names) in zip(raw, bodies, parts, strict=True):
        found.append(Unit(place, place + len(body), role, names))
        place += len(line) + 1
    return found


def _strings(bodies: Sequence[str]) -> list[bool]:
    """For every line whether it begins inside a string of several lines."""
    marks = [_TRIPLE.findall(body) for body in bodies]
    quote = next((found[0] for found in marks if found), "")
    if sum(map(len, marks)) % 2 == 0 or _opens(bodies):
        quote = ""  # otherwise one too many, and none opened it: the chunk begins inside of a string
    inside = []
    for found in marks:
        inside.append(bool(quote))
        for mark in found:
            quote = "" if quote == mark else quote or mark
    return inside


def _opens(bodies: Sequence[str]) -> bool:
    """Whether the first quotes open a string: they begin the text, or follow a colon, an assignment or a bracket."""
    above = ":"
    for body in bodies:
        before, mark, _ = body.partition(next(iter(_TRIPLE.findall(body)), "\0"))
        if mark:
            before = before.rstrip("rbfuRBFU ").strip()
            return before.endswith(_OPENING) if before else above.endswith(_OPENING)
        above = body.strip() or above
    return True


def _part(body: str, in_string: bool) -> tuple[Role, tuple[str, ...]]:
    if _EMPTY.match(body):
        return Role.EMPTY | (Role.COMMENT if in_string else Role.NONE), ()
    if in_string or _STRING.match(body):
        return Role.COMMENT | (Role.RETURN if _RETURN.match(body) else Role.NONE), ()
    if _COMMENT.match(body):
        return Role.COMMENT, ()
    return _code_role(body)


def _summaries(bodies: Sequence[str], inside: Sequence[bool], roles: Sequence[Role]) -> list[int]:
    """Lines that begin what is said of a definition: of its docstring, or of the comment right above it."""
    found = []
    block = -1  # the first line of the comment that is being read
    for n, role in enumerate(roles):
        if not inside[n] and _STRING.match(bodies[n]):
            # quotes on a line of their own: the first line after them that says something
            found.append(next((m for m in range(n, len(roles)) if not roles[m] & Role.EMPTY), n))
        if role & Role.COMMENT and not inside[n] and not _STRING.match(bodies[n]):
            block = n if block < 0 else block
        else:
            if block >= 0 and role & (Role.DEFINITION | Role.ASSIGNMENT):
                found.append(block)
            block = -1
    return found


def _code_role(line: str) -> tuple[Role, tuple[str, ...]]:
    role, body = Role.NONE, line[:_MAX_LOOKED_AT]
    names: list[str] = []
    definition = _DEFINITION.match(body)
    defined = definition[1] if definition else _typed_definition(body)
    if defined:
        role |= Role.DEFINITION
        names.append(defined)
        if _BASES.match(body):
            role |= Role.BASES
    elif _IMPORT.match(body):
        return Role.IMPORT, ()
    elif _NAME_ONLY.match(body):
        return Role.NAME_ONLY, ()
    else:
        assignment = _DEFINE.match(body) or _ASSIGNMENT.match(body)
        if assignment:
            role |= Role.ASSIGNMENT
            names.append(assignment[1])
    keywords = [one or other for one, other in _KEYWORD.findall(body)]
    if keywords:
        role |= Role.ASSIGNMENT
        names += keywords
    if role & Role.ASSIGNMENT and _LITERAL.search(body):
        role |= Role.LITERAL
        role |= Role.NUMBER if _NUMBER.search(body) else Role.NONE
    if _RETURN.match(body):
        role |= Role.RETURN
    if _RAISE.search(body):
        role |= Role.RAISE
    if _CONDITION.match(body):
        role |= Role.CONDITION
    return role, tuple(dict.fromkeys(names))


def _typed_definition(body: str) -> str:
    """The name that a line of C, C++, Java or C# defines: types, a name, an argument list, and no `;` or `=`."""
    head, bracket, _ = body.partition("(")
    words = head.split()
    if not bracket or not 2 <= len(words) <= 8 or words[0] in _NOT_A_TYPE or ";" in body or "=" in body:
        return ""
    return words[-1].lstrip("*&") if all(map(_TYPE_WORD.fullmatch, words)) else ""
