"""What stands around a node: every edge into it and out of it, by what it says."""

from __future__ import annotations

from dataclasses import dataclass

from selfroute.memory.graph.graph import KnowledgeGraph
from selfroute.memory.graph.nodes import BY_NAME, Edge, Node, Placed

MAX_EDGES = 200  # of a further hop: a drawing that holds more shows nothing


@dataclass(frozen=True, slots=True)
class Surroundings:
    """kind: of the node; place: where it is defined, None for a file or what is outside of the corpus.

    groups: title -> edges, only those that have any.
    """

    node: Node
    kind: str
    place: Placed | None
    groups: dict[str, list[Edge]]

    @property
    def edges(self) -> list[Edge]:
        """All of them, each once."""
        return list(dict.fromkeys(edge for edges in self.groups.values() for edge in edges))


def surroundings(graph: KnowledgeGraph, node: Node) -> Surroundings:
    """One node and its edges; edges that are known by name alone are left out."""
    kind = graph.kind(node)
    groups = {"imported by": graph.importers(node)}
    if node.name:
        groups |= {"called by": graph.callers(node), "referred to by": graph.references(node)}
    if kind in ("class", ""):
        groups |= {"base of": graph.subclasses(node)}
    if node.path:
        groups |= {"documented in": graph.documents(node)}
        if kind == "class":
            groups |= {"inherits from": graph.bases(node)}
        if kind in ("class", "module"):
            groups |= {"defines": graph.members(node)}
        if node.name:
            groups |= {"calls": graph.callees(node), "overridden by": graph.overrides(node)}
        else:
            groups |= {"imports": graph.imports(node)}
    known = {title: [edge for edge in edges if edge.certainty > BY_NAME] for title, edges in groups.items()}
    return Surroundings(node, kind, graph.place(node), {title: edges for title, edges in known.items() if edges})


def further(graph: KnowledgeGraph, around: Surroundings, hops: int) -> list[Edge]:
    """The edges within a number of hops of a node, nearest first, about MAX_EDGES at most."""
    edges = dict.fromkeys(around.edges)
    seen = {around.node}
    for _ in range(hops - 1):
        beyond = {end for edge in edges for end in (edge.source, edge.target) if end.path} - seen
        for node in sorted(beyond):
            if len(edges) >= MAX_EDGES:
                return list(edges)
            seen.add(node)
            edges |= dict.fromkeys(surroundings(graph, node).edges)
    return list(edges)
