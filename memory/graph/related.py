"""A relational question answered from the graph: the edges that it asks for, the surest first."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from selfroute.memory.graph import question, ways
from selfroute.memory.graph.graph import KnowledgeGraph
from selfroute.memory.graph.nodes import BY_NAME, POSSIBLE, Edge, Node
from selfroute.memory.graph.question import Asked

_MAX_NODES = 8  # of one bare name that many things bear
_MAX_WALKED = 3_000  # nodes that a search for a path looks at


@dataclass(frozen=True, slots=True)
class Related:
    """asked: how the question was understood; nodes: what its name stands for; edges: the answer, the surest first.

    landing: for every edge the chunk, as the store numbers it, that a reader wants to see: the definition that is asked
    for, or the line of the edge.
    """

    asked: Asked
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    landing: tuple[int, ...]


def related(text: str, graph: KnowledgeGraph) -> Related | None:
    """What the graph says to a question; None when it is not relational, or names nothing that the graph knows."""
    asked = question.parse(text, graph.knows)
    if asked is None:
        return None
    nodes = nodes_of(asked.name, asked.within, asked.relation, graph)[:_MAX_NODES]
    if not nodes:
        return None
    if asked.relation == ways.PATH:
        ends = nodes_of(asked.other, "", asked.relation, graph)[:_MAX_NODES]
        if not ends:
            return None
        edges = path(nodes, ends, graph)
    else:
        edges = _EDGES[asked.relation](nodes, graph)
    if not edges and not any(node.path for node in nodes):
        return None
    return _related(asked, nodes, edges, graph)


def related_to(asked: Asked, node: Node, graph: KnowledgeGraph) -> Related | None:
    """The same of a node that was found otherwise, as by a search for what the question describes; no PATH."""
    fits = _FITS.get(asked.relation)
    if asked.relation not in _EDGES or (fits and not fits(node, graph)) or not (graph.kind(node) or not node.name):
        return None
    return _related(replace(asked, name=str(node)), [node], _EDGES[asked.relation]([node], graph), graph)


def nodes_of(name: str, within: str, relation: str, graph: KnowledgeGraph) -> list[Node]:
    """What a name stands for where a relation is asked of it: classes have subclasses, files import."""
    nodes = graph.find(f"{within}.{name}") if within else []
    if within and not nodes:
        owners = graph.find(within)
        nodes = [
            node
            for node in graph.find(name)
            if any(
                node.path == owner.path and f"{node.name}.".startswith(f"{owner.name}." if owner.name else "")
                for owner in owners
            )
        ]
    if not within:
        nodes = graph.find(name) or graph.outside(name)
    fits = _FITS.get(relation)
    return [node for node in nodes if fits(node, graph)] or nodes if fits else nodes


def path(sources: Sequence[Node], targets: Sequence[Node], graph: KnowledgeGraph) -> list[Edge]:
    """The shortest way along calls from any of the sources to any of the targets; nothing when there is none."""
    wanted = set(targets)
    came_by: dict[Node, tuple[Node, Edge] | None] = dict.fromkeys(sources)  # the node looked at then, and its edge
    todo = deque(sources)
    while todo and len(came_by) < _MAX_WALKED:
        node = todo.popleft()
        if node in wanted:
            edges: list[Edge] = []
            while (step := came_by[node]) is not None:
                node, edge = step
                edges.append(edge)
            return edges[::-1]
        for edge in graph.callees(node):
            if edge.certainty >= POSSIBLE and edge.target not in came_by:
                came_by[edge.target] = node, edge
                todo.append(edge.target)
    return []


def _related(asked: Asked, nodes: Sequence[Node], edges: list[Edge], graph: KnowledgeGraph) -> Related:
    edges = _each_once(edges, by_line=asked.relation == ways.IMPORTERS)
    return Related(asked, tuple(nodes), tuple(edges), tuple(_landing(edge, asked.relation, graph) for edge in edges))


def _each_once(edges: list[Edge], *, by_line: bool) -> list[Edge]:
    """One edge for a line and, unless by_line, what it is about there: of a name with several bearers a line once."""
    seen: dict[tuple[str, str, int, str], Edge] = {}
    for edge in edges:
        about = edge.target.name if edge.certainty > BY_NAME and not by_line else ""
        seen.setdefault((edge.relation, edge.path, edge.line, about), edge)
    return list(seen.values())


def _all(
    edges_of: Callable[[KnowledgeGraph, Node], list[Edge]],
) -> Callable[[Sequence[Node], KnowledgeGraph], list[Edge]]:
    def over(nodes: Sequence[Node], graph: KnowledgeGraph) -> list[Edge]:
        return sorted((edge for node in nodes for edge in edges_of(graph, node)), key=lambda edge: -edge.certainty)

    return over


_EDGES: dict[str, Callable[[Sequence[Node], KnowledgeGraph], list[Edge]]] = {
    ways.CALLERS: _all(lambda graph, node: graph.callers(node) + graph.references(node)),
    ways.CALLEES: _all(KnowledgeGraph.callees),
    ways.SUBCLASSES: _all(KnowledgeGraph.subclasses),
    ways.BASES: _all(KnowledgeGraph.bases),
    ways.OVERRIDES: _all(KnowledgeGraph.overrides),
    ways.MEMBERS: _all(KnowledgeGraph.members),
    ways.IMPORTERS: _all(KnowledgeGraph.importers),
    ways.IMPORTS: _all(KnowledgeGraph.imports),
    ways.IMPACT: _all(KnowledgeGraph.into),
}


def _is_class(node: Node, graph: KnowledgeGraph) -> bool:
    return graph.kind(node) == "class" or not node.path


def _has_name(node: Node, graph: KnowledgeGraph) -> bool:
    return bool(node.name)


def _is_callable(node: Node, graph: KnowledgeGraph) -> bool:
    return bool(node.name) and graph.kind(node) not in ("constant", "attribute")


_FITS: dict[str, Callable[[Node, KnowledgeGraph], bool]] = {
    ways.SUBCLASSES: _is_class,
    ways.BASES: _is_class,
    ways.OVERRIDES: _has_name,
    ways.CALLERS: _is_callable,
    ways.CALLEES: _is_callable,
    ways.PATH: _is_callable,
    ways.MEMBERS: lambda node, graph: graph.kind(node) in ("class", "module"),
    ways.IMPORTS: lambda node, graph: not node.name,
}


def _landing(edge: Edge, relation: str, graph: KnowledgeGraph) -> int:
    wanted = None
    if relation in (ways.CALLEES, ways.BASES):
        wanted = edge.target
    elif relation == ways.SUBCLASSES:
        wanted = edge.source
    place = graph.place(wanted) if wanted is not None and wanted.path else None
    return place.row if place is not None else edge.row
