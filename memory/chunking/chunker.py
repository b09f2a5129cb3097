"""A document cut into chunks, and what it defines."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b

from selfroute.memory.base import Definition, Document
from selfroute.memory.chunking.code import outline_code
from selfroute.memory.chunking.config import outline_json, outline_sections, outline_yaml
from selfroute.memory.chunking.grammars import ALIASES, grammar_of
from selfroute.memory.chunking.lines import outline_lines
from selfroute.memory.chunking.pack import Span, pack
from selfroute.memory.chunking.pieces import DEFAULT_POLICY, Outline, Policy, Source
from selfroute.memory.chunking.prose import outline_markdown, outline_rst, outline_text
from selfroute.memory.graph import prose
from selfroute.memory.graph.facts import Fact
from selfroute.types import Chunk

_OUTLINES: dict[str, Callable[[Source, Policy], Outline]] = {
    "markdown": outline_markdown,
    "mdx": outline_markdown,
    "rst": outline_rst,
    "restructuredtext": outline_rst,
    "text": outline_text,
    "plaintext": outline_text,
    "toml": outline_sections,
    "ini": outline_sections,
    "cfg": outline_sections,
    "yaml": outline_yaml,
    "json": outline_json,
    "jsonc": outline_json,
    "json5": outline_json,
}
_CPP_HEADER = re.compile(r"^\s*(?:class \w|namespace\b|template ?<|public:|using \w)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class ChunkedDocument:
    """chunks: in order, disjoint, each non-blank line in exactly one. definitions: by first line. facts: by line."""

    chunks: tuple[Chunk, ...]
    definitions: tuple[Definition, ...]
    facts: tuple[Fact, ...] = ()


def chunk_document(document: Document, policy: Policy = DEFAULT_POLICY) -> ChunkedDocument:
    """The chunks and definitions of any text, the same for the same text and path; never raises for what is in it.

    Lines end at "\\n" alone. A chunk has at most policy.limit tokens, except that one line is never cut: a longer line
    is a chunk by itself, and its n_tokens says how long it is. A language that is not known, or code that cannot be
    parsed in reasonable time, is cut into windows of lines.
    """
    source = Source(document.text)
    outline = _outline(document, source, policy)
    line_floor = 0
    if outline is None or not outline.pieces:
        outline = outline_lines(source)
        line_floor = -(-policy.limit // policy.line_window)
    pieces = sorted(outline.pieces, key=lambda piece: piece.row)
    spans = pack(pieces, source, policy, line_floor=line_floor)
    facts = outline.facts or prose.facts(document.text, document.language)
    return ChunkedDocument(tuple(_chunks(document.path, source, spans)), tuple(outline.definitions), tuple(facts))


def _outline(document: Document, source: Source, policy: Policy) -> Outline | None:
    language = document.language
    if language == "c" and document.path.endswith(".h") and _CPP_HEADER.search(document.text):
        language = "cpp"
    if (grammar := grammar_of(language)) is not None:
        return outline_code(source, ALIASES.get(language, language), grammar, policy)
    outline = _OUTLINES.get(language)
    return outline(source, policy) if outline is not None else None


def _chunks(path: str, source: Source, spans: list[Span]) -> list[Chunk]:
    seen: Counter[str] = Counter()
    chunks = []
    for span in spans:
        text = "\n".join(source.lines[span.start : span.end])
        content_hash = blake2b(text.encode("utf-8", "replace"), digest_size=16).hexdigest()
        key = f"{path}\0{content_hash}\0{seen[content_hash]}".encode("utf-8", "replace")
        seen[content_hash] += 1
        chunks.append(
            Chunk(
                id=blake2b(key, digest_size=16).hexdigest(),
                content_hash=content_hash,
                path=path,
                start_line=span.start + 1,
                end_line=span.end,
                text=text,
                symbol=span.symbol,
                kind=span.kind,
                n_tokens=source.tokens(span.start, span.end),
            )
        )
    return chunks
