"""A search led by the graph: the chunks that hold edges, and the texts that a first hit names."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from selfroute.memory.graph.expand import EntityIndex, expand
from selfroute.memory.graph.nodes import BY_NAME
from selfroute.memory.graph.related import Related
from selfroute.memory.query import parse
from selfroute.memory.snapshot import Ranked

GRAPH = "graph"  # in Hit.via
N_BEFORE_BY_NAME = 3  # hits of the words that stand before edges which are known by name alone


def lead(ranked: Ranked, led: Related, rowids: NDArray[np.int64], top_k: int) -> Ranked:
    """The ranking with the rows of the edges in front, the surest first. rowids: (N,), the store's number of each row.

    A row of the graph scores above every other by its certainty. Rows that the snapshot does not have are left out.
    """
    sure: dict[int, float] = {}
    by_name: dict[int, float] = {}
    for row, certainty in _landings(led):
        (sure if certainty > BY_NAME else by_name).setdefault(row, certainty)
    place = {int(rowid): at for at, rowid in enumerate(rowids.tolist()) if rowid in sure or rowid in by_name}
    via = dict(zip(ranked.rows, ranked.via, strict=True))
    plain = dict(zip(ranked.rows, ranked.scores, strict=True))
    best = max(ranked.scores, default=1.0)
    scores: dict[int, float] = {}
    for row, certainty in sure.items():
        if row in place:
            scores.setdefault(place[row], best * (1 + certainty))
    for row in ranked.rows[:N_BEFORE_BY_NAME]:
        scores.setdefault(row, plain[row])
    for row in by_name:
        if row in place:
            scores.setdefault(place[row], 0.0)
    for row in ranked.rows:
        scores.setdefault(row, plain[row])
    rows = list(scores)[:top_k]
    of_graph = {place[row] for row in (*sure, *by_name) if row in place}
    found = [((GRAPH,) if row in of_graph else ()) + via.get(row, ()) for row in rows]
    falling = np.minimum.accumulate(_without_holes([scores[row] for row in rows])).tolist() if rows else []
    return replace(ranked, rows=rows, scores=falling, via=found)


def second_hop(query: str, ranked: Ranked, entities: EntityIndex, top_k: int) -> Ranked:
    """The ranking with what the first hits of prose name; code, and questions that are one name, stay as they are."""
    if parse(query).symbol or not ranked.rows:
        return ranked.first(top_k)
    via = dict(zip(ranked.rows, ranked.via, strict=True))
    expanded = expand(query, list(zip(ranked.rows, ranked.scores, strict=True)), entities, top_k=top_k)
    return replace(
        ranked,
        rows=[hit.row for hit in expanded],
        scores=[hit.score for hit in expanded],
        via=[((GRAPH,) if hit.bridge or hit.row not in via else ()) + via.get(hit.row, ()) for hit in expanded],
    )


def _landings(led: Related) -> Iterator[tuple[int, float]]:
    """Where the answers stand, then the lines that show them."""
    for edge, row in zip(led.edges, led.landing, strict=True):
        yield row, edge.certainty
    for edge in led.edges:
        yield edge.row, edge.certainty


def _without_holes(scores: list[float]) -> list[float]:
    """An edge by name alone has no score of its own: it takes that of the hit before it."""
    for at, score in enumerate(scores):
        if score == 0.0:
            scores[at] = scores[at - 1] if at else 0.0
    return scores
