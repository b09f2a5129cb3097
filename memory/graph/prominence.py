"""Edges in the order in which they matter to a question: by personalised PageRank from what its words find."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise

from selfroute.memory.catalog import SOURCE, path_kind
from selfroute.memory.graph.networkx import NetworkxGraph
from selfroute.memory.graph.nodes import Node
from selfroute.memory.graph.related import Related

FEW = 10  # edges that a reader looks at all of, in any order


def by_prominence(found: Related, seeds: Iterable[Node]) -> Related:
    """The same edges, those of equal certainty ordered by how near their far ends are to the seeds, sources first.

    Walks go along the edges and along what contains what: a caller beside a seed, in its class or file, is near.
    """
    if len(found.edges) <= FEW:
        return found
    store = NetworkxGraph()
    seeds = list(seeds)
    far = [edge.source if edge.source not in found.nodes else edge.target for edge in found.edges]
    store.add([(str_of(edge.source), edge.relation, str_of(edge.target)) for edge in found.edges])
    for node in dict.fromkeys((*seeds, *far, *found.nodes)):
        store.add(_containment(node))
    score = dict(store.rank([str_of(node) for node in (*seeds, *found.nodes)], top_k=len(store.graph)))
    order = sorted(
        range(len(far)),
        key=lambda at: (
            -found.edges[at].certainty,
            path_kind(found.edges[at].path) != SOURCE,
            -round(score.get(str_of(far[at]), 0.0), 12),
            at,
        ),
    )
    return replace(
        found,
        edges=tuple(found.edges[at] for at in order),
        landing=tuple(found.landing[at] for at in order),
    )


def str_of(node: Node) -> str:
    """A node's name in a GraphStore: `src/app.py::Flask.run`."""
    return f"{node.path}::{node.name}"


def _containment(node: Node) -> list[tuple[str, str, str]]:
    """The edges from a definition up to its file."""
    parts = node.name.split(".") if node.name else []
    chain = [Node(node.path, ".".join(parts[:n])) for n in range(len(parts), -1, -1)]
    return [(str_of(outer), "contains", str_of(inner)) for inner, outer in pairwise(chain)]
