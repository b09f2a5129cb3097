"""What a question is about: at most three definitions of code, or sections of prose, that its words find together.

Each line that the evidence reader finds belongs to the innermost definition around it. The best of these is the first
subject; a further one is taken for what it holds of the question that the subjects before it lack.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from selfroute.memory.graph.nodes import Node
from selfroute.models.evidence import Reading
from selfroute.models.lexing import terms_of
from selfroute.models.quoting import Line
from selfroute.models.sentences import PROSE_KINDS
from selfroute.types import Chunk

if TYPE_CHECKING:
    from selfroute.memory.graph.graph import KnowledgeGraph

MAX_SUBJECTS = 3
N_LOOKED_AT = 160  # lines, best first, whose definitions may become subjects
N_COUNTED = 4  # lines of a subject that its worth is made of
FURTHER_LINES = 0.3  # what the mean rank of its second to last counted line adds to the rank of its best
SPELLED = 1.0  # what a subject's worth gains, times itself, when the question spells its name as code does
SECOND = 0.5  # of the first subject's worth, that a further one has at least
NEW = 0.03  # of the question's weight, that a further one holds at least beyond those before it
KNOWN = 0.2  # of a subject's worth that does not depend on how much of that there is


@dataclass(slots=True)
class Subject:
    """A definition, a section or a file, with the lines of it that the question finds, best first.

    mask: the concepts (selfroute.models.matching) that its name and these lines hold.
    """

    node: Node
    mask: int
    is_spelled: bool = False
    lines: list[Line] = field(default_factory=list)

    @property
    def worth(self) -> float:
        """The rank of its best line, somewhat more for good lines after it, and for a name that the question spells."""
        first, *more = (line.rank for line in self.lines[:N_COUNTED])
        return (first + FURTHER_LINES * sum(more) / (N_COUNTED - 1)) * (1 + SPELLED * self.is_spelled)


def subjects(lines: Sequence[Line], chunks: Sequence[Chunk], reading: Reading, graph: KnowledgeGraph) -> list[Subject]:
    """At most MAX_SUBJECTS, the best first. lines: of the chunks, best first, at least one."""
    found = _all(lines[:N_LOOKED_AT], chunks, reading, graph)
    weight, total = reading.weight, reading.weight.total
    chosen: list[Subject] = []
    covered = 0
    while found and len(chosen) < MAX_SUBJECTS:
        new = [(weight[covered | subject.mask] - weight[covered]) / total for subject in found]
        gains = [subject.worth * (KNOWN + (1 - KNOWN) * share) for subject, share in zip(found, new, strict=True)]
        best = max(range(len(found)), key=lambda i: gains[i])
        if chosen and (new[best] < NEW or found[best].worth < SECOND * chosen[0].worth):
            break
        chosen.append(found.pop(best))
        covered |= chosen[-1].mask
    return chosen


def is_spelled(node: Node, reading: Reading) -> bool:
    """Whether the question spells the last part of a node's name, as a name and not as a word."""
    name = terms_of(node.last)[:1]
    return any(concept.is_name and concept.term in name for concept in reading.asked.concepts)


def line_number(chunk: Chunk, place: int) -> int:
    """The line, in its file, of a place in a chunk's text."""
    return chunk.start_line + chunk.text.count("\n", 0, place)


def _all(lines: Sequence[Line], chunks: Sequence[Chunk], reading: Reading, graph: KnowledgeGraph) -> list[Subject]:
    found: dict[Node, Subject] = {}
    for line in lines:
        chunk, unit = chunks[line.chunk], line.units[line.unit]
        node = _around(chunk, line_number(chunk, unit.start), graph)
        subject = found.setdefault(node, Subject(node, reading.matcher.mask(node.name), is_spelled(node, reading)))
        subject.lines.append(line)
        subject.mask |= reading.matcher.mask(chunk.text[unit.start : unit.end])
    return list(found.values())


def _around(chunk: Chunk, line: int, graph: KnowledgeGraph) -> Node:
    if chunk.kind in PROSE_KINDS:
        return Node(chunk.path, chunk.symbol)
    return graph.enclosing(chunk.path, line)
