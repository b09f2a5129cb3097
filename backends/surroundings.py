"""What stands around a definition: its own first lines, what it calls and inherits from, and who uses it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
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
MAX_EDGES = 6
MAX_HEAD = 8  # lines of a signature, and of what is said first
N_BELOW = 2  # lines after a signature in which that begins

# What an edge is worth beside the share of the question's weight that its other end names.
NEW_FILE = 0.4  # it leads into a file that the card does not speak of yet
CERTAINTY = 0.5


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


def facts_of(node: Node, paths: Collection[str], reading: Reading, graph: KnowledgeGraph) -> list[Fact]:
    """The definition itself, then at most MAX_EDGES edges of it, the best of each kind in turn.

    Of many edges those count that lead to what the question speaks of, then those out of `paths`. Nothing for what the
    graph does not define, such as a section.
    """
    placed = graph.place(node) if node.name else None
    if placed is None:
        return []
    weight = reading.weight

    def worth(fact: Fact) -> float:
        other = fact.node
        said = weight[reading.matcher.mask(f"{other.name} {other.path}")] / (weight.total or 1.0)
        return said + CERTAINTY * fact.certainty + (NEW_FILE if other.path not in paths else 0.0)

    kind = graph.kind(node)
    sides = [
        sorted(_shown(side, node, reading.asked.about_tests), key=worth, reverse=True)
        for side in _sides(node, kind, graph)
    ]
    taken: dict[Node, Fact] = {}
    while any(sides) and len(taken) < MAX_EDGES:
        for side in sides:
            if side and len(taken) < MAX_EDGES:
                fact = side.pop(0)
                taken.setdefault(fact.node, fact)
    return [Fact("", node, placed.row, placed.fact.line, kind), *taken.values()]


def _shown(side: list[Fact], node: Node, about_tests: bool) -> list[Fact]:
    """The edges that are sure enough; of sources alone when there are such and the question is not about tests."""
    sure = [fact for fact in side if fact.certainty >= POSSIBLE and fact.node != node]
    sources = [fact for fact in sure if path_kind(fact.node.path) == SOURCE]
    return sure if about_tests or not sources else sources


def _sides(node: Node, kind: str, graph: KnowledgeGraph) -> list[list[Fact]]:
    used = [_at(USED, edge.source, edge) for edge in graph.callers(node) + graph.references(node)]
    if kind != "class":
        return [_targets(CALLS, graph.callees(node), graph), used]
    extended = [_at(EXTENDED, edge.source, edge) for edge in graph.subclasses(node)]
    return [_targets(INHERITS, graph.bases(node), graph), used, extended]


def _at(relation: str, other: Node, edge: Edge) -> Fact:
    """An edge with the line that shows it."""
    return Fact(relation, other, edge.row, edge.line, "", edge.certainty)


def _targets(relation: str, edges: Sequence[Edge], graph: KnowledgeGraph) -> list[Fact]:
    """Edges with the line that defines their target, for that leads on; none to what the corpus does not define."""
    places = [(edge, graph.place(edge.target)) for edge in edges if edge.target.path]
    return [
        Fact(relation, edge.target, placed.row, placed.fact.line, "", edge.certainty)
        for edge, placed in places
        if placed
    ]


def head_of(chunk: Chunk, line: int, name: str) -> list[tuple[int, int]]:
    """(start, end) of a definition's signature and of the first sentence said of it, as they stand.

    line: where the definition begins, with its decorators. The signature is whole when it takes at most MAX_HEAD lines.
    """
    pieces = units(chunk)
    at = _naming(pieces, line - chunk.start_line, name)
    if chunk.kind in PROSE_KINDS or at is None:
        return []
    last = _signature_end(pieces, at, chunk.text)
    found = [(pieces[at].start, pieces[last].end)]
    below = range(last + 1, min(len(pieces), last + 1 + N_BELOW))
    said = next((n for n in (*below, *_comment_above(pieces, at, chunk.text)) if pieces[n].role & Role.SUMMARY), None)
    if said is not None:
        first, end = completed(Line(0.0, 0.0, 0.0, 0, said, pieces), chunk.text, "", MAX_HEAD)
        found.append((pieces[first].start, pieces[end].end))
    return sorted(found)


def _comment_above(pieces: Sequence[Unit], at: int, text: str) -> list[int]:
    """The lines of the comment that ends right above a definition."""
    found = []
    for n in range(at - 1, max(-1, at - 1 - MAX_HEAD), -1):
        body = text[pieces[n].start : pieces[n].end].strip()
        if not body or not pieces[n].role & (Role.COMMENT | Role.EMPTY) or body.endswith(('"""', "'''")):
            break
        found.append(n)
    return found


def naming_line(chunk: Chunk, line: int, name: str) -> int:
    """The line that names what is defined at a line, below its decorators."""
    at = None if chunk.kind in PROSE_KINDS else _naming(units(chunk), line - chunk.start_line, name)
    return line if at is None else chunk.start_line + at


def _naming(pieces: Sequence[Unit], first: int, name: str) -> int | None:
    """None when the first line is not among the pieces; the first line when none of the next names it."""
    if not 0 <= first < len(pieces):
        return None
    return next((n for n in range(first, min(len(pieces), first + MAX_HEAD)) if name in pieces[n].names), first)


def _signature_end(pieces: Sequence[Unit], at: int, text: str) -> int:
    """The unit that closes the parentheses opened on this one, when it is near; else the unit itself."""
    depth = 0
    for n in range(at, min(len(pieces), at + MAX_HEAD)):
        body = text[pieces[n].start : pieces[n].end]
        depth += body.count("(") + body.count("[") - body.count(")") - body.count("]")
        if depth <= 0:
            return n
    return at
