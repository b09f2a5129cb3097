"""The lines of a chunk that a statement rests on."""

from __future__ import annotations

from collections.abc import Sequence

from selfroute.models.lexing import question_terms, terms

MIN_TERMS = 2  # of the statement that the chunk holds, to tell its lines apart
SHARE = 0.75  # of their weight, which the lines must hold
MAX_SHARE = 0.6  # of the chunk's lines; more than that is no choice


def support(text: str, statements: Sequence[str], quotes: Sequence[tuple[int, int]] = ()) -> tuple[int, int]:
    """Characters [start, end) of the fewest whole lines that hold the statements' words; all lines when unclear.

    quotes: characters that the statements quote; then the lines from the first to the last of them.
    Words count by their rarity among the lines. Of two equal runs of lines the upper one is taken.
    """
    lines = _lines(text)
    if quotes:
        start, end = min(start for start, _ in quotes), max(end for _, end in quotes)
        return _span(text, [line for line in lines if line[1] > start and line[0] < end] or lines)
    wanted = {term for statement in statements for term in question_terms(statement)}
    held = [wanted.intersection(terms(text[start:end])) for start, end in lines]
    n_lines_with = {term: sum(term in line for line in held) for line in held for term in line}
    weight = {term: 1 / n for term, n in n_lines_with.items()}
    if len(weight) < MIN_TERMS:
        return _span(text, lines)
    enough, most = SHARE * sum(weight.values()), max(1, int(MAX_SHARE * len(lines)))
    for n in range(1, most + 1):
        runs = [(sum(weight[t] for t in set().union(*held[i : i + n])), -i) for i in range(len(lines) - n + 1)]
        best, place = max(runs)
        if best >= enough:
            return _span(text, lines[-place : n - place])
    return _span(text, lines)


def _lines(text: str) -> list[tuple[int, int]]:
    """Characters of every line, without its end."""
    lines, start = [], 0
    for line in text.splitlines(keepends=True):
        lines.append((start, start + len(line.rstrip("\r\n"))))
        start += len(line)
    return lines or [(0, 0)]


def _span(text: str, lines: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """From the first to the last line that is not blank."""
    filled = [line for line in lines if text[line[0] : line[1]].strip()] or lines
    return filled[0][0], filled[-1][1]
