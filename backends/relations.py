"""A relational question answered by the knowledge graph: its edges as text, each line of them quoted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from selfroute.backends.naming import NAMING, named, wanted
from selfroute.backends.surroundings import naming_line
from selfroute.memory.graph import ways
from selfroute.memory.graph.nodes import CERTAIN, Edge, Node
from selfroute.memory.graph.related import Related
from selfroute.types import Chunk, Generation, Span

if TYPE_CHECKING:
    from selfroute.memory.index import Index

GUESSED = 0.5  # confidence, at most, where a search had to find what a question describes
MAX_NAMED = 60  # names in an answer that is names alone
MAX_SHOWN = 20  # edges in an answer; the rest are counted
# How a relation is told, of some places and of none; the name stands between backquotes.
_TOLD = {
    ways.CALLERS: ("{name} is used in {n}:", "Nothing in this corpus is seen to use {name}."),
    ways.CALLEES: ("{name} calls {n}:", "{name} is not seen to call anything of this corpus."),
    ways.SUBCLASSES: ("{name} is the base of {n}:", "Nothing in this corpus inherits from {name}."),
    ways.BASES: ("", "{name} names no base."),  # some are told by their names
    ways.OVERRIDES: ("{name} is overridden in {n}:", "Nothing in this corpus overrides {name}."),
    ways.MEMBERS: ("", "{name} defines nothing further."),
    ways.IMPORTERS: ("{name} is imported in {n}:", "Nothing in this corpus imports {name}."),
    ways.IMPORTS: ("{name} imports {n}:", "{name} imports nothing."),
    ways.IMPACT: ("{n} would notice a change of {name}:", "Nothing in this corpus is seen to depend on {name}."),
    ways.PATH: ("{name} reaches {other} in {n}:", "No way along calls leads from {name} to {other}."),
}
_UNITS = {ways.PATH: ("call", "calls")}


@dataclass(frozen=True, slots=True)
class GraphAnswer:
    """generation: its spans point into chunks. notes: what a reader should know of how it was found."""

    generation: Generation
    chunks: tuple[Chunk, ...]
    notes: tuple[str, ...]


def from_graph(text: str, index: Index) -> GraphAnswer | None:
    """The graph's answer; None when the question is not relational, or names nothing that the corpus knows.

    That there are no edges is an answer too, and the definition of what was asked about is its quote.
    """
    found = index.related(text)
    if found is None:
        return None
    shown = found.edges[:MAX_SHOWN]
    if found.asked.relation in NAMING and shown:
        return _naming(text, found, index)
    places = [(edge.row, edge.line) for edge in shown] or _definitions(found, index)
    chunks = index.chunks_at(list(dict.fromkeys(row for row, _ in places)))
    if chunks is None or not places:  # rewritten this moment, or nothing to quote: the words decide
        return None
    by_row = dict(zip(dict.fromkeys(row for row, _ in places), enumerate(chunks), strict=True))
    spans = [_span(*by_row[row], line) for row, line in places]
    quotes = [chunks[span.chunk].text[span.start : span.end] for span in spans]
    certainty = sum(edge.certainty for edge in shown) / len(shown) if shown else CERTAIN
    if found.asked.described:
        certainty = min(certainty, GUESSED)
    return GraphAnswer(
        Generation(_told(found, quotes), tuple(dict.fromkeys(spans)), round(certainty, 3)),
        tuple(chunks),
        tuple(_notes(found)),
    )


def _naming(text: str, found: Related, index: Index) -> GraphAnswer | None:
    """Names, one a line, each with the line that shows it as its quote."""
    edges = found.edges
    kinds = index.from_graph(lambda graph: [graph.kind(edge.target) for edge in edges])
    rows = list(dict.fromkeys(edge.row for edge in edges))
    chunks = index.chunks_at(rows)
    if chunks is None:
        return None
    at = {row: n for n, row in enumerate(rows)}
    decorators = [_quote(_span(at[edge.row], chunks[at[edge.row]], edge.line), chunks) for edge in edges]
    order = sorted(wanted(text, found.asked.relation, edges, kinds, decorators), key=lambda i: _order(edges[i]))
    spans, names = [], []
    for edge in (edges[i] for i in order[:MAX_NAMED]):
        chunk = chunks[at[edge.row]]
        line = naming_line(chunk, edge.line, edge.target.last) if found.asked.relation == ways.MEMBERS else edge.line
        spans.append(_span(at[edge.row], chunk, line))
        names.append(named(edge, _quote(spans[-1], chunks)))
    certainty = sum(edges[i].certainty for i in order) / len(order)
    if found.asked.described:
        certainty = min(certainty, GUESSED)
    names = list(dict.fromkeys(names))
    if len(order) > MAX_NAMED:
        names.append(f"and {len(order) - MAX_NAMED} more")
    told = "\n".join(names)
    return GraphAnswer(
        Generation(told, tuple(dict.fromkeys(spans)), round(certainty, 3)), tuple(chunks), tuple(_notes(found))
    )


def _order(edge: Edge) -> tuple[float, str, int]:
    return -edge.certainty, edge.path, edge.line


def _quote(span: Span, chunks: Sequence[Chunk]) -> str:
    return chunks[span.chunk].text[span.start : span.end]


def _definitions(found: Related, index: Index) -> list[tuple[int, int]]:
    """(row, line) of each thing asked about."""
    places = index.from_graph(lambda graph: [graph.place(node) for node in found.nodes])
    return [(placed.row, placed.fact.line) for placed in places if placed is not None]


def _span(at: int, chunk: Chunk, line: int) -> Span:
    """One line of a chunk without the space around it, the whole chunk when it does not reach that line."""
    lines = chunk.text.split("\n")
    n = line - chunk.start_line
    if not 0 <= n < len(lines):
        return Span(at, 0, len(chunk.text), 1.0)
    start = sum(len(before) + 1 for before in lines[:n])
    text = lines[n]
    return Span(at, start + len(text) - len(text.lstrip()), start + len(text.rstrip()), 1.0)


def _told(found: Related, quotes: list[str]) -> str:
    asked = found.asked
    some, none = _TOLD[asked.relation]
    name, other = f"`{asked.name}`", f"`{asked.other}`"
    if not found.edges:
        return none.format(name=name, other=other)
    one, several = _UNITS.get(asked.relation, ("place", "places"))
    n = len(found.edges)
    lines = [some.format(name=name, other=other, n=f"{n} {one if n == 1 else several}")]
    for edge, quote in zip(found.edges, quotes, strict=False):
        about = _about(edge, asked.relation)
        unsure = "" if edge.certainty == CERTAIN else " (perhaps: its owner's type is not known)"
        lines.append(f"  {edge.path}:{edge.line}{f' {about}' if about else ''}: {quote}{unsure}")
    if n > len(quotes):
        lines.append(f"  and {n - len(quotes)} more")
    return "\n".join(lines)


def _about(edge: Edge, relation: str) -> str:
    """The end of the edge that the question does not name."""
    if relation in (ways.CALLEES, ways.IMPORTS):
        return _short(edge.target)
    if relation == ways.PATH:
        return f"{_short(edge.source)} -> {_short(edge.target)}"
    return _short(edge.source) if edge.source.name else ""


def _short(node: Node) -> str:
    return node.name or node.path


def _notes(found: Related) -> list[str]:
    where = ", ".join(f"{node}" + (f" ({node.path})" if node.path and node.name else "") for node in found.nodes[:4])
    if found.asked.described:
        where = f"{where}, taken for {found.asked.described!r}"
    more = f" and {len(found.nodes) - 4} more" if len(found.nodes) > 4 else ""
    n = len(found.edges)
    edges = f"{n} edges" if n != 1 else "1 edge"
    notes = [f"answered from the knowledge graph, {edges}; {found.asked.name!r} is {where}{more}"]
    unsure = sum(edge.certainty < CERTAIN for edge in found.edges)
    if unsure:
        notes.append(f"{unsure} of them by name: the type of what the name is looked up on is not known")
    return notes
