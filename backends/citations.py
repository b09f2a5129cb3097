"""Quotes to citations: each one is looked for in its file as it is now, character for character."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from selfroute.models.sentences import units
from selfroute.types import Chunk, Citation, Generation, Span

if TYPE_CHECKING:
    from selfroute.memory.index import Index

NOWHERE = -1  # start_byte and end_byte of a quote that its file does not hold any more


def verify(
    generation: Generation, chunks: Sequence[Chunk], index: Index, *, whole: bool = False
) -> tuple[Citation, ...]:
    """A citation for each span, in the order of the spans, each place once. chunks: those that the spans point into.

    whole: cite the lines, in prose the sentences, that a span stands in: a word or a number alone shows nothing, and
    would be found anywhere in a file that changed.

    A quote that stands where it was indexed is cited there. If it moved, the nearest place that holds it is cited, at
    the line borders that it had; if it is gone, the indexed lines are, with NOWHERE for its bytes: both are stale, as
    are all quotes of a file that changed. Reads each file once; raises nothing for a file that is gone.
    """
    documents: dict[str, _Document] = {}
    found: dict[Citation, None] = {}
    for span in generation.spans:
        path = chunks[span.chunk].path
        if path not in documents:
            documents[path] = _Document(index.read(path), index.is_stale(path))
        if whole:
            span = _whole(span, chunks[span.chunk])
        found[_cite(span, chunks[span.chunk], documents[path])] = None
    return tuple(found)


@dataclass(frozen=True, slots=True)
class _Document:
    """A file's text now, None when it is gone. stale: another one than was indexed."""

    text: str | None
    stale: bool


def _cite(span: Span, chunk: Chunk, document: _Document) -> Citation:
    quote = chunk.text[span.start : span.end]
    first_line = chunk.start_line + chunk.text.count("\n", 0, span.start)
    start = _locate(span, chunk, document.text) if document.text is not None else None
    if start is None or document.text is None:
        last_line = first_line + quote.count("\n")
        return Citation(chunk.path, first_line, last_line, NOWHERE, NOWHERE, quote, stale=True)
    line = document.text.count("\n", 0, start) + 1
    start_byte = _n_bytes(document.text[:start])
    return Citation(
        chunk.path,
        line,
        line + quote.count("\n"),
        start_byte,
        start_byte + _n_bytes(quote),
        quote,
        stale=document.stale or line != first_line,
    )


def _whole(span: Span, chunk: Chunk) -> Span:
    touched = [unit for unit in units(chunk) if unit.start < span.end and span.start < unit.end]
    if not touched:
        return span
    return replace(span, start=min(span.start, touched[0].start), end=max(span.end, touched[-1].end))


def _n_bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


def _locate(span: Span, chunk: Chunk, text: str) -> int | None:
    """Where in the text the span's quote begins: at its indexed place, else with its chunk, else alone, else None."""
    place = _line_start(text, chunk.start_line)
    if text.startswith(chunk.text, place):
        return place + span.start
    moved = _nearest(chunk.text, text, place, at_line_start=True, at_line_end=False)
    if moved is not None:
        return moved + span.start
    quote, after = chunk.text[span.start : span.end], chunk.text[span.end : span.end + 1]
    return _nearest(
        quote,
        text,
        place + span.start,
        at_line_start=span.start == 0 or chunk.text[span.start - 1] == "\n",
        at_line_end=after in ("", "\n", "\r"),
    )


def _line_start(text: str, line: int) -> int:
    """The offset of a line, from 1; the end of the text when it has fewer."""
    place = 0
    for _ in range(line - 1):
        place = text.find("\n", place) + 1
        if not place:
            return len(text)
    return place


def _nearest(quote: str, text: str, place: int, *, at_line_start: bool, at_line_end: bool) -> int | None:
    """The occurrence of the quote nearest to a place, the earlier one of two; None when there is none."""
    best: int | None = None
    at = text.find(quote) if quote else -1
    while at >= 0:
        starts = not at_line_start or at == 0 or text[at - 1] == "\n"
        ends = not at_line_end or text[at + len(quote) : at + len(quote) + 1] in ("", "\n", "\r")
        if starts and ends and (best is None or abs(at - place) < abs(best - place)):
            best = at
        at = text.find(quote, at + 1)
    return best
