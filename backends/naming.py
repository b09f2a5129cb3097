"""What a relation is answered with when names are asked for: the bases of a class as it spells them, its methods."""

from __future__ import annotations

import re
from collections.abc import Sequence

from selfroute.memory.graph import ways
from selfroute.memory.graph.facts import INHERITS
from selfroute.memory.graph.nodes import Edge

NAMING = frozenset({ways.BASES, ways.MEMBERS})  # relations whose other ends are the answer

_CALLABLE = frozenset({"function", "method"})
_METHODS = re.compile(r"\b(?:methods?|functions?)\b", re.I)
_VALUES = re.compile(r"\b(?:attributes?|fields?|propert(?:y|ies)|variables?|constants?)\b", re.I)
_HIDDEN_TOO = re.compile(r"\b(?:all|every|private|dunder|magic|special|internal)\b|__", re.I)
_BRACKETS = {"(": 1, "[": 1, "{": 1, ")": -1, "]": -1, "}": -1}


def wanted(
    question: str, relation: str, edges: Sequence[Edge], kinds: Sequence[str], quotes: Sequence[str]
) -> list[int]:
    """Which edges name what is asked for, by place; all of them when nothing is left of a choice.

    kinds: what each edge leads to. Methods are asked for without properties, and without what begins with an
    underscore, unless the question says so.
    """
    if relation != ways.MEMBERS:
        return list(range(len(edges)))
    kept = list(range(len(edges)))
    if _METHODS.search(question) and not _VALUES.search(question):
        kept = [i for i in kept if kinds[i] in _CALLABLE and "property" not in quotes[i]]
    elif _VALUES.search(question) and not _METHODS.search(question):
        kept = [i for i in kept if kinds[i] not in _CALLABLE or "property" in quotes[i]]
    if not _HIDDEN_TOO.search(question):
        kept = [i for i in kept if not edges[i].target.last.startswith("_")]
    return kept or list(range(len(edges)))


def named(edge: Edge, quote: str) -> str:
    """The other end's name: a base as the class statement spells it, a member by its last name."""
    last = edge.target.last.removesuffix("[]") or edge.target.path
    if edge.relation == INHERITS:
        for argument in arguments(quote):
            if re.split(r"[\[(<]", argument)[0].rpartition(".")[2].strip() == last:
                return argument
    return last


def arguments(statement: str) -> list[str]:
    """What stands between the first parentheses, split at the commas outside of brackets; keywords left out."""
    _, opened, rest = statement.partition("(")
    found, depth, current = [], 1, ""
    for character in rest if opened else "":
        depth += _BRACKETS.get(character, 0)
        if depth == 0:
            break
        if character == "," and depth == 1:
            found.append(current)
            current = ""
        else:
            current += character
    found.append(current)
    return [argument.strip() for argument in found if argument.strip() and not re.match(r"\s*\w+\s*=", argument)]
