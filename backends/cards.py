"""A card: the answer to a question that no single quote answers, made of quotes and graph facts alone.

Each of its subjects is told by what it is (signature, first sentence of what is said of it), the few lines of it that
the question finds, and its edges: what it calls or inherits from, who uses or extends it. Nothing is worded but the
labels; every quote stands behind its place.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from selfroute.backends.subjects import Subject, is_spelled, line_number, subjects
from selfroute.backends.surroundings import CALLS, INHERITS, Fact, facts_of, head_of, naming_line
from selfroute.memory.graph.nodes import CERTAIN, Node
from selfroute.models.evidence import MIN_CONFIDENCE, Reading
from selfroute.models.explaining import about, asks_to_explain
from selfroute.models.question import parse
from selfroute.models.quoting import Line, completed
from selfroute.models.sentences import PROSE_KINDS, Role
from selfroute.types import Chunk, Generation, Span

if TYPE_CHECKING:
    from selfroute.memory.graph.graph import KnowledgeGraph
    from selfroute.memory.index import Index

MAX_LINES = 24  # of a card
N_SEE_ALSO = 3  # of them for lines of further files; the subjects have equal parts of the rest
SEE_ALSO = 0.5  # of the best line's rank, that such a line has at least
N_OWN = (8, 5, 3)  # quotes from inside a subject, when there is one, when there are two, three
MAX_QUOTE_LINES = 4  # of a statement or a sentence
MAX_CHARACTERS = 240  # of a quote; a longer one is cut at a word
N_HELD = 6  # concepts that one place may be asked to hold; a long question names more than any place does

NEW_WORDS = 6  # a line that says as many as the card does not say yet counts in full
NOTHING_NEW = 0.4  # ... and one that says none counts this much


@dataclass(frozen=True, slots=True)
class Card:
    """generation: its spans point into chunks, those that were read first. notes: what the card is about."""

    generation: Generation
    chunks: tuple[Chunk, ...]
    notes: tuple[str, ...] = ()


def explained(question: str, chunks: Sequence[Chunk], index: Index) -> Card | None:
    """The card for a question that asks for an explanation; None for any other, and when the chunks do not cover it."""
    return card(question, chunks, index) if asks_to_explain(question) else None


def card(question: str, chunks: Sequence[Chunk], index: Index) -> Card | None:
    """The card for a question; None when the chunks do not cover it. chunks: best first. Deterministic.

    confidence: as the evidence reader's, the share of the question's weight that stands on the best line and around it,
    with three differences. At most the N_HELD weightiest concepts are asked for, since a long question names more than
    any place holds; a name of code that the question spells counts where the card tells its definition; and the words
    that only ask for an explanation count for nothing.
    """
    reading = Reading(parse(about(question)), chunks, index.term_weight)
    lines = reading.best_lines()
    if not lines:
        return None

    def find(graph: KnowledgeGraph) -> list[tuple[Subject, list[Fact]]]:
        chosen = subjects(lines, chunks, reading, graph)
        paths = {subject.node.path for subject in chosen}
        return [(subject, facts_of(subject.node, paths, reading, graph)) for subject in chosen]

    found = index.from_graph(find)
    confidence = _confidence(lines[0], chunks, [subject.node for subject, _ in found], reading)
    if confidence < MIN_CONFIDENCE:
        return None
    rows = list(dict.fromkeys(fact.row for _, facts in found for fact in facts))
    stored = index.chunks_at(rows) if rows else []
    if stored is None:  # rewritten this moment: the reader answers
        return None
    deck = _Deck(chunks, dict(zip(rows, stored, strict=True)))
    for n, (subject, facts) in enumerate(found, 1):
        deck.tell(subject, facts, N_OWN[len(found) - 1], (MAX_LINES - N_SEE_ALSO) * n // len(found))
    deck.see_also(lines)
    if not deck.spans:
        return None
    names = ", ".join(str(subject.node) for subject, _ in found)
    generation = Generation("\n".join(deck.told), tuple(dict.fromkeys(deck.spans)), confidence)
    return Card(generation, tuple(deck.chunks), (f"a card made of quotes about {names}",))


def _confidence(best: Line, chunks: Sequence[Chunk], nodes: Sequence[Node], reading: Reading) -> float:
    weight, mask = reading.weight, reading.matcher.mask
    chunk = chunks[best.chunk]
    near = mask(chunk.text) | mask(chunk.symbol) | mask(chunk.path)
    told = near
    for node in nodes:
        told |= mask(node.last) if is_spelled(node, reading) else 0
    most = sum(sorted(weight.weights)[-N_HELD:])
    return min(1.0, (best.cover * weight.total + weight[told] - weight[near]) / most) if most else 0.0


class _Deck:
    """The card as it grows: its lines, the spans that they quote, and the chunks that those point into."""

    def __init__(self, read: Sequence[Chunk], by_row: dict[int, Chunk]) -> None:
        self.chunks = list(read)
        self.told: list[str] = []
        self.spans: list[Span] = []
        self._by_row = by_row
        self._places = {chunk.id: i for i, chunk in enumerate(self.chunks)}
        self._quoted: set[tuple[str, int]] = set()  # path and line
        self._said: set[str] = set()

    def tell(self, subject: Subject, facts: Sequence[Fact], n_own: int, end: int) -> None:
        """A heading, the subject's own lines as they stand, its edges; the card has at most `end` lines then."""
        itself = next((fact for fact in facts if not fact.relation), None)
        own = self._head(itself) if itself else []
        own += self._pick(subject.lines, n_own)
        if not own:
            return
        self.told.append(f"`{subject.node}`" + (f", {itself.kind}" if itself else ""))
        for span in sorted(own, key=lambda span: (line_number(self.chunks[span.chunk], span.start), span.start)):
            self._quote("", span)
        edges = [fact for fact in facts if fact.relation][: max(0, end - len(self.told))]
        for fact in sorted(edges, key=lambda fact: (fact.relation, fact.certainty < CERTAIN)):
            chunk, at = self._chunk(fact.row)
            perhaps = "perhaps " if fact.certainty < CERTAIN else ""
            name = f"`{fact.node}`" if fact.node.name else "the top of the file"
            self._quote(f"{perhaps}{fact.relation} {name}, ", _one_line(chunk, fact, at))

    def see_also(self, lines: Sequence[Line]) -> None:
        """The best lines of files that the card does not quote yet, one a file. lines: best first."""
        paths = {self.chunks[span.chunk].path for span in self.spans}
        end = min(MAX_LINES, len(self.told) + N_SEE_ALSO)
        for line in lines:
            if len(self.told) == end or line.rank < SEE_ALSO * lines[0].rank:
                return
            path, unit = self.chunks[line.chunk].path, line.units[line.unit]
            if path not in paths and not self._says_nothing(line):
                paths.add(path)
                self._quote("see also ", Span(line.chunk, unit.start, unit.end, line.score))

    def _head(self, itself: Fact) -> list[Span]:
        """A definition's signature and what is said of it first."""
        chunk, at = self._chunk(itself.row)
        bounds = (_bare(chunk.text, *bounds) for bounds in head_of(chunk, itself.line, itself.node.last))
        spans = [Span(at, start, end, 1.0) for start, end in bounds]
        for span in spans:
            self._take(span)
        return spans

    def _pick(self, lines: Sequence[Line], n: int) -> list[Span]:
        """The n best of the lines that are not quoted yet; of two good ones, that which says something new."""
        left = [line for line in lines if not self._says_nothing(line)]
        picked: list[Span] = []
        while left and len(picked) < n:
            best = max(left, key=lambda line: line.rank * self._novelty(self._unit_text(line)))
            left.remove(best)
            chunk = self.chunks[best.chunk]
            first, last = completed(best, chunk.text, "", MAX_QUOTE_LINES)
            span = Span(best.chunk, best.units[first].start, best.units[last].end, best.score)
            if self._take(span):
                picked.append(span)
        return picked

    def _take(self, span: Span) -> bool:
        """Whether no line of the span was quoted before; they all are from now on."""
        chunk = self.chunks[span.chunk]
        first, last = line_number(chunk, span.start), line_number(chunk, span.end)
        lines = {(chunk.path, number) for number in range(first, last + 1)}
        if chunk.kind not in PROSE_KINDS and lines & self._quoted:
            return False
        self._quoted |= lines
        self._said |= _words(chunk.text[span.start : span.end])
        return True

    def _quote(self, label: str, span: Span) -> None:
        """`  label path:line: quote`; a quote of several lines is told on one, a long one to a word's end."""
        chunk = self.chunks[span.chunk]
        start, end = _bare(chunk.text, span.start, span.end)
        cut = _cut(chunk.text, start, end)
        first, last = line_number(chunk, start), line_number(chunk, cut)
        self._said |= _words(chunk.text[start:cut])
        self.spans.append(Span(span.chunk, start, cut, span.score))
        place = f"{chunk.path}:{first}" + (f"-{last}" if last > first else "")
        text = re.sub(r"\s*\n\s*", " ", chunk.text[start:cut]) + (" ..." if cut < end else "")
        self.told.append(f"  {label}{place}: {text}")

    def _chunk(self, row: int) -> tuple[Chunk, int]:
        """A stored chunk and its place among self.chunks."""
        chunk = self._by_row[row]
        if chunk.id not in self._places:
            self._places[chunk.id] = len(self.chunks)
            self.chunks.append(chunk)
        return chunk, self._places[chunk.id]

    def _says_nothing(self, line: Line) -> bool:
        """Of imports, lists of names, addresses alone, and titles, which the heading gives."""
        chunk, text = self.chunks[line.chunk], self._unit_text(line)
        mention = bool(line.units[line.unit].role & (Role.IMPORT | Role.NAME_ONLY))
        title = chunk.kind in PROSE_KINDS and text.strip("#=-~*_ \r\n") in chunk.symbol
        return mention or title or not _words(_ADDRESS.sub("", text))

    def _unit_text(self, line: Line) -> str:
        unit = line.units[line.unit]
        return self.chunks[line.chunk].text[unit.start : unit.end]

    def _novelty(self, text: str) -> float:
        new = min(1.0, len(_words(text) - self._said) / NEW_WORDS)
        return NOTHING_NEW + (1 - NOTHING_NEW) * new


def _one_line(chunk: Chunk, fact: Fact, at: int) -> Span:
    """The fact's line of a chunk, of a definition the one that names it; the whole chunk when it is not in it."""
    lines = chunk.text.split("\n")
    line = naming_line(chunk, fact.line, fact.node.last) if fact.relation in (CALLS, INHERITS) else fact.line
    n = line - chunk.start_line
    if not 0 <= n < len(lines):
        return Span(at, 0, len(chunk.text), fact.certainty)
    start = sum(len(before) + 1 for before in lines[:n])
    return Span(at, start, start + len(lines[n]), fact.certainty)


_ADDRESS = re.compile(r"\w+://\S+")
_WORD = re.compile(r"[^\W\d_]{4,}")
_OPENING = re.compile(r"\s*(?:[rbfuRBFU]{0,2}(?:\"\"\"|''')\s*)?")
_QUOTES = ('"""', "'''")


def _words(text: str) -> set[str]:
    return set(_WORD.findall(text.lower()))


def _bare(text: str, start: int, end: int) -> tuple[int, int]:
    """The bounds without the space around and without a docstring's quotes, unless nothing else is there."""
    opening = _OPENING.match(text, start, end)
    inner = opening.end() if opening else start
    last = inner + len(text[inner:end].rstrip())
    for quotes in _QUOTES:
        if text.endswith(quotes, inner, last) and text.count(quotes, inner, last) % 2:
            last = inner + len(text[inner : last - len(quotes)].rstrip())
    return (inner, last) if inner < last else (start, end)


def _cut(text: str, start: int, end: int) -> int:
    """Where a quote ends: at its end, or before the word that is too much."""
    if end - start <= MAX_CHARACTERS:
        return end
    place = max(text.rfind(space, start, start + MAX_CHARACTERS) for space in " \n\t")
    return len(text[:place].rstrip()) if place > start else start + MAX_CHARACTERS
