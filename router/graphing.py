"""What `selfroute graph NAME` tells: what bears the name, and the edges around it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from selfroute.errors import UnknownNameError
from selfroute.memory.graph.graph import KnowledgeGraph
from selfroute.memory.graph.nodes import CERTAIN, Edge, Node
from selfroute.memory.graph.surroundings import Surroundings, further, surroundings

if TYPE_CHECKING:
    from selfroute.memory.index import Index

N_SHOWN = 12  # edges of a group; --json gives all
N_NODES = 4  # of one name


def around(index: Index, name: str) -> list[Surroundings]:
    """The surroundings of each thing that bears a name. Raises UnknownNameError with the nearest name."""

    def ask(graph: KnowledgeGraph) -> list[Surroundings]:
        nodes = graph.find(name) or graph.outside(name)
        return [surroundings(graph, node) for node in nodes[:N_NODES]]

    found = index.from_graph(ask)
    if not found:
        names = index.snapshot.catalog.all_names()
        last = name.rpartition(".")[2]
        raise UnknownNameError("name", name, sorted(other for other in names if _near(other, last)))
    return found


def drawing(index: Index, name: str, hops: int) -> str:
    """The HTML of the first thing that bears the name."""
    from selfroute.router.drawing import page

    first = around(index, name)[0]
    edges = index.from_graph(lambda graph: further(graph, first, hops))
    return page(f"{first.node} in {index.root.name}", first.node, edges)


def lines(found: Surroundings) -> Iterator[str]:
    """A head, and the groups with the first of their edges."""
    place = found.place
    where = (
        f"{place.path}:{place.fact.line}-{place.fact.end_line}" if place is not None else found.node.path or "outside"
    )
    yield f"{found.node}  {found.kind or 'not of this corpus'}  {where}"
    for title, edges in found.groups.items():
        yield f"  {title} ({len(edges)})"
        for edge in edges[:N_SHOWN]:
            perhaps = "" if edge.certainty == CERTAIN else "  perhaps"
            yield f"    {edge.path}:{edge.line}  {_far_end(edge, found.node)}{perhaps}"
        if len(edges) > N_SHOWN:
            yield f"    and {len(edges) - N_SHOWN} more"
    if not found.groups:
        yield "  no edges"


def edge_object(edge: Edge) -> dict[str, Any]:
    """An edge as `graph --json` gives it, one a line."""
    return {
        "source": {"path": edge.source.path, "name": edge.source.name},
        "relation": edge.relation,
        "target": {"path": edge.target.path, "name": edge.target.name},
        "path": edge.path,
        "line": edge.line,
        "certainty": edge.certainty,
    }


def _far_end(edge: Edge, node: Node) -> str:
    far = edge.target if edge.source == node or f"{edge.source.name}.".startswith(f"{node.name}.") else edge.source
    return far.name or far.path


def _near(name: str, wanted: str) -> bool:
    """Worth comparing: a tenth of a second is too much for a list of a hundred thousand names."""
    return abs(len(name) - len(wanted)) <= 3 and name[:1].lower() == wanted[:1].lower()
