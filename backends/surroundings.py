"""What stands around a definition: its own first lines, what it calls and inherits from, and who uses it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from selfroute.memory.catalog import SOURCE, path_kind
from selfroute.memory.graph.nodes import POSSIBLE, Edge, Node
from selfroute.models.evidence import Reading
from selfroute.models.quoting import Line, completed
from selfroute.models.sentences import PROSE_KINDS, Role, Unit, units
from selfroute.types import Chunk

if TYPE_CHECKING:
    from selfroute.memory.graph.graph import KnowledgeGraph

CALLS, INHERITS, USED, EXTENDED = "calls", "inherits from", "used by", "extended by"
N_EDGES = 3  # of a definition that a card has room for
MAX_HEAD = 8  # lines of a signature, and of a docstring's first sentence
N_BELOW = 2  # lines between a signature and what is said of it
NEW_FILE = 0.15  # what an edge gains by leading to a file that the card does not name yet
NOT_SOURCE = 0.4  # what an edge loses in a test, an example or a document


class Fact(NamedTuple):
    """A line that says something of a definition, and what it says: relation is "" for the definition itself.

    node: the other end, or the definition. row: of the chunk, as the store numbers it.
    """

    relation: str
    node: Node
    row: int
    line: int
    kind: str = ""
    certainty: float = 1.0


def facts_of(node: Node, shown: set[Node], reading: Reading, graph: KnowledgeGraph) -> list[Fact]:
    """The definition itself, then at most N_EDGES edges of it. shown: what the card shows anyway.

    Of many edges those count that lead to what the question speaks of, then those into other files.
    """
    placed = graph.place(node) if node.name else None
    if placed is None:
        return []
    kind = graph.kind(node)
    paths = {other.path for other in shown}

    def worth(fact: Fact) -> float:
        said = reading.weight[reading.matcher.mask(f"{fact.node.name} {fact.node.path}")] / (reading.weight.total or 1.0)
        new = NEW_FILE if fact.node.path and fact.node.path not in paths else 0.0
        return said + new + 0.1 * fact.certainty - (NOT_SOURCE if path_kind(fact.node.path) != SOURCE else 0.0)

    ranked = [
        sorted((fact for fact in side if fact.certainty >= POSSIBLE and fact.node != node), key=worth, reverse=True)
        for side in _sides(node, kind, graph)
    ]
    taken: dict[Node, tuple[int, Fact]] = {}
    while any(ranked) and len(taken) < N_EDGES:  # the best of each side in turn
        for n, side in enumerate(ranked):
            if side and len(taken) < N_EDGES:
                fact = side.pop(0)
                taken.setdefault(fact.node, (n, fact))
    edges = [fact for _, fact in sorted(taken.values(), key=lambda item: item[0])]
    return [Fact("", node, placed.row, placed.fact.line, kind), *edges]


def _sides(node: Node, kind: str, graph: KnowledgeGraph) -> list[list[Fact]]:
    used = [_at(USED, edge.source, edge) for edge in graph.callers(node) + graph.references(node)]
    if kind != "class":
        return [[_where(CALLS, edge, graph) for edge in graph.callees(node)], used]
    bases = [_where(INHERITS, edge, graph) for edge in graph.bases(node)]
    return [bases, used, [_at(EXTENDED, edge.source, edge) for edge in graph.subclasses(node)]]


def _at(relation: str, other: Node, edge: Edge) -> Fact:
    """The edge with the line that shows it."""
    return Fact(relation, other, edge.row, edge.line, "", edge.certainty)


def _where(relation: str, edge: Edge, graph: KnowledgeGraph) -> Fact:
    """The edge with the line that defines its target, which leads on; its own line is the definition's."""
    placed = graph.place(edge.target) if edge.target.path else None
    if placed is None:
        return _at(relation, edge.target, edge)
    return Fact(relation, edge.target, placed.row, placed.fact.line, "", edge.certainty)


def head_of(chunk: Chunk, line: int, name: str) -> list[tuple[int, int]]:
    """(start, end) of a definition's signature and of the first sentence that is said of it, as far as they are there.

    line: where the definition begins, with its decorators. The signature is whole when it takes at most MAX_HEAD lines.
    """
    if chunk.kind in PROSE_KINDS:
        return []
    pieces = units(chunk)
    n_first = max(0, line - chunk.start_line)
    at = next((n for n in range(n_first, len(pieces)) if name in pieces[n].names), min(n_first, len(pieces) - 1))
    _, last = completed(_line(at, pieces), chunk.text, "raise", MAX_HEAD)
    found = [(pieces[at].start, pieces[last].end)]
    below = range(last + 1, min(len(pieces), last + 1 + N_BELOW))
    above = range(at - 1, max(-1, at - 1 - MAX_HEAD), -1)
    said = next((n for n in (*below, *above) if pieces[n].role & Role.SUMMARY), None)
    if said is not None:
        first, end = completed(_line(said, pieces), chunk.text, "", MAX_HEAD)
        found.append((pieces[first].start, pieces[end].end))
    return found


def _line(at: int, pieces: Sequence[Unit]) -> Line:
    return Line(0.0, 0.0, 0.0, 0, at, pieces)
