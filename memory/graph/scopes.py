"""The facts of one Python file by what is looked up in them: the names of each scope, definitions, bases, returns."""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

from selfroute.memory.graph.facts import BARE, BINDS, DEFINES, IMPORTS, INHERITS, RETURNS, STAR, Fact
from selfroute.memory.graph.nodes import Placed

_ADDING = frozenset({"@overload", "overload", "setter", "deleter", "getter"})  # to a definition of the same name


class Binding(NamedTuple):
    """How a scope comes by a name. how: DEFINES, IMPORTS or BINDS. scope: where expr is to be evaluated."""

    how: str
    expr: str
    scope: str


class File:
    """One file's facts, by what is looked up in them."""

    def __init__(self, path: str, placed: list[Placed]) -> None:
        self.path = path
        self.definitions: dict[str, Placed] = {}  # by qualified name; the last of several, as at run time
        self.names: dict[str, dict[str, list[Binding]]] = defaultdict(lambda: defaultdict(list))  # scope -> name
        self.bases: dict[str, list[str]] = defaultdict(list)
        self.returns: dict[str, list[str]] = defaultdict(list)
        self.stars: list[str] = []
        for item in placed:
            self._take(item)

    def _take(self, item: Placed) -> None:
        fact = item.fact
        if fact.relation == DEFINES:
            qualified = qualified_name(fact)
            if any(word.rpartition(".")[2] in _ADDING for word in fact.expr.split()[1:]):
                self.definitions.setdefault(qualified, item)
            else:
                self.definitions[qualified] = item
            if not fact.expr.startswith(("constant", "attribute")):
                self.names[fact.scope][fact.name].append(Binding(DEFINES, qualified, fact.scope))
        elif fact.relation == IMPORTS:
            if fact.alias == STAR:
                self.stars.append(fact.expr)
            elif fact.alias != BARE:
                local = fact.alias or fact.expr.partition(".")[0]
                expr = fact.expr if fact.alias else local
                self.names[fact.scope][local].append(Binding(IMPORTS, expr, fact.scope))
        elif fact.relation == BINDS:
            self.names[fact.scope][fact.name].append(Binding(BINDS, fact.expr, fact.alias or fact.scope))
        elif fact.relation == INHERITS:
            self.bases[fact.scope].append(fact.expr)
        elif fact.relation == RETURNS:
            self.returns[fact.scope].append(fact.expr)

    def kind(self, qualified: str) -> str:
        """`class`, `function`, `method`, `constant`, or "" when it is not defined here."""
        placed = self.definitions.get(qualified)
        return placed.fact.expr.partition(" ")[0] if placed else ""

    def decorators(self, qualified: str) -> list[str]:
        """The last names of a definition's decorators."""
        placed = self.definitions.get(qualified)
        words = placed.fact.expr.split()[1:] if placed else []
        return [word.removeprefix("@").rpartition(".")[2] for word in words]


def qualified_name(fact: Fact) -> str:
    """Of what a DEFINES fact defines."""
    return f"{fact.scope}.{fact.name}" if fact.scope else fact.name
