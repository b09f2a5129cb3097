"""A card: what a question that no single quote answers is about, made of quotes and graph facts alone.

At most three subjects, each a definition (or, in prose, a section) that the question's words find: what it is, the few
lines that do it, what it calls, who uses it. Nothing is worded but the labels; every quote stands behind its place.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from selfroute.backends.surroundings import Fact, facts_of, head_of
from selfroute.memory.graph.nodes import Node
from selfroute.models.evidence import MIN_CONFIDENCE, Reading
from selfroute.models.question import parse
from selfroute.models.quoting import Line
from selfroute.models.sentences import PROSE_KINDS, Role
from selfroute.types import Chunk, Generation, Span

if TYPE_CHECKING:
    from selfroute.memory.graph.graph import KnowledgeGraph
    from selfroute.memory.index import Index

MAX_SUBJECTS = 3
MAX_LINES = 24  # of a card
N_LOOKED_AT = 80  # lines, best first, whose definitions may become subjects
N_LINES = 3  # of a subject that say what it does; sentences of prose
N_ALONE = 6  # ... of the only subject
N_FACTS = 3  # edges of a subject
N_HELD = 6  # concepts that one place may be asked to hold; a long question names more than any place does
FURTHER_LINE = 0.3  # of the rank of a subject's second to fourth line that counts for it beside its first
SECOND = 0.5  # of the first subject's worth, for a further one
KNOWN = 0.5  # of a subject's worth that does not depend on what it holds beyond the subjects before it


@dataclass(frozen=True, slots=True)
class Card:
    """generation: its spans point into chunks, those that were read first. notes: how the card came about."""

    generation: Generation
    chunks: tuple[Chunk, ...]
    notes: tuple[str, ...]


def card(question: str, chunks: Sequence[Chunk], index: Index) -> Card | None:
    """The card for a question; None when the chunks do not cover it. chunks: best first. Deterministic.

    confidence: as the evidence reader's, the share of the question's weight that stands on the best line and around it,
    but of the N_HELD weightiest concepts at most: it differs for questions that name more.
    """
    reading = Reading(parse(question), chunks, index.term_weight)
    lines = reading.best_lines()
    confidence = _confidence(lines[0], reading) if lines else 0.0
    if confidence < MIN_CONFIDENCE:
        return None

    def find(graph: KnowledgeGraph) -> tuple[list[_Subject], list[list[Fact]]]:
        subjects = _choose(_subjects(lines[:N_LOOKED_AT], chunks, reading, graph), reading)
        shown = {subject.node for subject in subjects}
        return subjects, [facts_of(subject.node, shown, reading, graph) for subject in subjects]

    subjects, facts = index.from_graph(find)
    rows = list(dict.fromkeys(fact.row for of_one in facts for fact in of_one))
    stored = index.chunks_at(rows) if rows else []
    if stored is None:  # rewritten this moment: the reader answers
        return None
    deck = _Deck(chunks, dict(zip(rows, stored, strict=True)))
    n_lines = N_ALONE if len(subjects) == 1 else N_LINES
    for subject, of_one in zip(subjects, facts, strict=True):
        deck.tell(subject, of_one, n_lines)
    generation = Generation("\n".join(deck.told), tuple(dict.fromkeys(deck.spans)), confidence)
    names = ", ".join(str(subject.node) for subject in subjects)
    return Card(generation, tuple(deck.chunks), (f"a card made of quotes about {names}",))


def _confidence(line: Line, reading: Reading) -> float:
    """The line's cover, measured against the N_HELD weightiest concepts of the question."""
    most = sum(sorted(reading.weight.weights)[-N_HELD:])
    return min(1.0, line.cover * reading.weight.total / most)


@dataclass(slots=True)
class _Subject:
    """A definition, a section or a file, with the lines of it that the question finds, best first."""

    node: Node
    lines: list[Line] = field(default_factory=list)
    mask: int = 0

    @property
    def worth(self) -> float:
        first, *more = (line.rank for line in self.lines[:4])
        return first + FURTHER_LINE * sum(more) / 3


def _subjects(
    lines: Sequence[Line], chunks: Sequence[Chunk], reading: Reading, graph: KnowledgeGraph
) -> list[_Subject]:
    found: dict[Node, _Subject] = {}
    for line in lines:
        chunk = chunks[line.chunk]
        node = _node(chunk, _line_number(chunk, line), graph)
        subject = found.setdefault(node, _Subject(node, [], reading.matcher.mask(node.name)))
        subject.lines.append(line)
        unit = line.units[line.unit]
        subject.mask |= reading.matcher.mask(chunk.text[unit.start : unit.end])
    return list(found.values())


def _node(chunk: Chunk, line: int, graph: KnowledgeGraph) -> Node:
    """What a line belongs to: the innermost definition of code, the section of prose."""
    if chunk.kind in PROSE_KINDS:
        return Node(chunk.path, chunk.symbol)
    return graph.enclosing(chunk.path, line)


def _choose(subjects: list[_Subject], reading: Reading) -> list[_Subject]:
    """At most MAX_SUBJECTS: the best, then those that hold most of what the ones before lack of the question."""
    weight, total = reading.weight, reading.weight.total
    chosen: list[_Subject] = []
    covered = 0
    while subjects and len(chosen) < MAX_SUBJECTS:

        def gain(subject: _Subject, covered: int = covered) -> float:
            new = (weight[covered | subject.mask] - weight[covered]) / total
            return subject.worth * (KNOWN + (1 - KNOWN) * new)

        best = max(subjects, key=gain)
        if chosen and best.worth < SECOND * chosen[0].worth:
            break
        subjects.remove(best)
        chosen.append(best)
        covered |= best.mask
    return chosen


class _Deck:
    """The card as it grows: its lines, the spans that they quote, and the chunks that those point into."""

    def __init__(self, read: Sequence[Chunk], by_row: dict[int, Chunk]) -> None:
        self.chunks = list(read)
        self.told: list[str] = []
        self.spans: list[Span] = []
        self._by_row = by_row
        self._places = {chunk.id: i for i, chunk in enumerate(self.chunks)}
        self._quoted: set[tuple[str, int]] = set()

    def tell(self, subject: _Subject, facts: Sequence[Fact], n_lines: int) -> None:
        """A heading, the subject's own lines as they stand, then its edges."""
        own = [fact for fact in facts if not fact.relation]
        told = [self._told("", head, span) for fact in own for head, span in self._head(fact)]
        picked: list[tuple[int, Span]] = []
        for line in subject.lines:
            chunk, unit = self.chunks[line.chunk], line.units[line.unit]
            number = _line_number(chunk, line)
            if len(picked) == n_lines or unit.role & (Role.IMPORT | Role.NAME_ONLY):
                continue
            if (chunk.path, number) not in self._quoted:
                self._quoted.add((chunk.path, number))
                picked.append((number, _trimmed(chunk, Span(line.chunk, unit.start, unit.end, line.score))))
        told += [self._told("", self.chunks[span.chunk], span) for _, span in sorted(picked)]
        for fact in facts:
            if fact.relation:
                chunk = self._by_row[fact.row]
                span = _line_of(chunk, fact.line, self._place(chunk), fact.certainty)
                if span is not None:
                    told.append(self._told(_label(fact), chunk, span))
        if told and len(self.told) + 2 <= MAX_LINES:
            self.told += [_heading(subject.node, own), *told][: MAX_LINES - len(self.told)]

    def _head(self, fact: Fact) -> list[tuple[Chunk, Span]]:
        chunk = self._by_row[fact.row]
        at = self._place(chunk)
        spans = [_trimmed(chunk, Span(at, start, end, 1.0)) for start, end in head_of(chunk, fact.line, fact.node.last)]
        for span in spans:
            first = chunk.start_line + chunk.text.count("\n", 0, span.start)
            last = chunk.start_line + chunk.text.count("\n", 0, span.end)
            self._quoted |= {(chunk.path, number) for number in range(first, last + 1)}
        return [(chunk, span) for span in spans]

    def _place(self, chunk: Chunk) -> int:
        if chunk.id not in self._places:
            self._places[chunk.id] = len(self.chunks)
            self.chunks.append(chunk)
        return self._places[chunk.id]

    def _told(self, label: str, chunk: Chunk, span: Span) -> str:
        """`  label path:line: quote`, a quote of several lines as one."""
        self.spans.append(span)
        first = chunk.start_line + chunk.text.count("\n", 0, span.start)
        last = chunk.start_line + chunk.text.count("\n", 0, span.end)
        place = f"{chunk.path}:{first}" + (f"-{last}" if last > first else "")
        return f"  {label + ' ' if label else ''}{place}: {_on_one_line(chunk.text[span.start : span.end])}"


def _heading(node: Node, own: Sequence[Fact]) -> str:
    kind = next((fact.kind for fact in own), "")
    return f"`{node}`" + (f", {kind}" if kind else "")


def _label(fact: Fact) -> str:
    return f"{fact.relation} `{fact.node}`," if fact.node.name else f"{fact.relation} the file itself,"


def _line_number(chunk: Chunk, line: Line) -> int:
    return chunk.start_line + chunk.text.count("\n", 0, line.units[line.unit].start)


def _line_of(chunk: Chunk, line: int, at: int, score: float) -> Span | None:
    """One line of a chunk, None when it is not in it."""
    lines = chunk.text.split("\n")
    n = line - chunk.start_line
    if not 0 <= n < len(lines) or not lines[n].strip():
        return None
    start = sum(len(before) + 1 for before in lines[:n])
    return _trimmed(chunk, Span(at, start, start + len(lines[n]), score))


_OPENING = re.compile(r"\s*(?:[rbfuRBFU]{0,2}(?:\"\"\"|''')\s*)?")
_CLOSING = re.compile(r"\s*(?:\"\"\"|''')?\s*$")


def _trimmed(chunk: Chunk, span: Span) -> Span:
    """The span without the space around it and without a docstring's quotes, when something is left."""
    text = chunk.text[span.start : span.end]
    opening, closing = _OPENING.match(text), _CLOSING.search(text)
    assert opening and closing
    start, end = span.start + opening.end(), span.start + closing.start()
    return Span(span.chunk, start, end, span.score) if start < end else span


def _on_one_line(text: str) -> str:
    return re.sub(r"\s*\n\s*", " ", text.strip())
