"""The nouns of the graph: what a node is, where it is defined, and an edge with the line that shows it."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from selfroute.memory.graph.facts import Fact

N_POOL = 50  # hits that a second hop chooses from; more changes nothing that was measured
CERTAIN = 1.0  # resolved to its target
POSSIBLE = 0.5  # resolved to what its target overrides, or the only thing of that name
BY_NAME = 0.25  # of the same name, the rest could not be resolved


class Node(NamedTuple):
    """A definition by its file and qualified name; a file (a module, a document) has the name ""."""

    path: str
    name: str

    @property
    def last(self) -> str:
        """`make_response` of `Flask.make_response`."""
        return self.name.rpartition(".")[2]

    def __str__(self) -> str:
        return self.name or self.path


class Placed(NamedTuple):
    """A fact and where it stands. row: of the chunk, as the store numbers it."""

    path: str
    row: int
    fact: Fact


class Edge(NamedTuple):
    """source --relation--> target, shown by a line of source's file. certainty: in (0, 1], see the constants above.

    row: of the chunk that the line is in, as the store numbers it.
    """

    source: Node
    relation: str
    target: Node
    path: str
    line: int
    row: int
    certainty: float = CERTAIN


class FactTable(Protocol):
    """The facts of the files of one generation."""

    @property
    def root(self) -> str:
        """The name of the folder that the paths are in."""
        ...

    @property
    def paths(self) -> list[str]:
        """Every document, in order."""
        ...

    def of(self, path: str) -> list[Placed]:
        """What a document states, by line."""
        ...

    def named(self, name: str) -> list[Placed]:
        """What any document states about a name; facts of HELPERS apart."""
        ...
