"""A GraphStore on networkx: neighbours by hops, and personalised PageRank from seeds."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import networkx as nx

DAMPING = 0.85  # Page et al. 1999, "The PageRank Citation Ranking"


class NetworkxGraph:
    """Edges with a relation between named nodes, kept in memory."""

    def __init__(self) -> None:
        import networkx as nx

        self._graph: nx.MultiDiGraph[str] = nx.MultiDiGraph()

    @property
    def graph(self) -> nx.MultiDiGraph[str]:
        """The networkx graph itself; edges are keyed by their relation."""
        return self._graph

    def add(self, edges: Sequence[tuple[str, str, str]]) -> None:
        """Appends (source, relation, target) edges; an edge that is there already changes nothing."""
        for source, relation, target in edges:
            self._graph.add_edge(source, target, key=relation)

    def neighbours(self, node: str, *, relation: str = "", hops: int = 1) -> list[str]:
        """Nodes within `hops` edges in either direction, nearest first, then by name; none for an unknown node."""
        if node not in self._graph:
            return []
        distance = {node: 0}
        todo = deque([node])
        while todo:
            here = todo.popleft()
            if distance[here] == hops:
                continue
            beyond = [(t, key) for _, t, key in self._graph.out_edges(here, keys=True)]
            beyond += [(s, key) for s, _, key in self._graph.in_edges(here, keys=True)]
            for other, key in beyond:
                if other not in distance and relation in ("", key):
                    distance[other] = distance[here] + 1
                    todo.append(other)
        del distance[node]
        return sorted(distance, key=lambda other: (distance[other], other))

    def rank(self, seeds: Sequence[str], *, top_k: int) -> list[tuple[str, float]]:
        """Personalised PageRank from the seeds, best first, over the edges in both directions.

        Seeds that are no nodes do not count; without any, every node is a seed. Ties break on the name.
        """
        import networkx as nx

        known = {seed: 1.0 for seed in seeds if seed in self._graph}
        if not len(self._graph):
            return []
        scores = nx.pagerank(nx.Graph(self._graph), alpha=DAMPING, personalization=known or None)
        return sorted(scores.items(), key=lambda item: (-item[1], item[0]))[:top_k]
