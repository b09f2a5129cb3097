"""Prose cut by heading and paragraph: Markdown, reStructuredText and plain text.

A chunk's symbol is the trail of headings above it, "Guide > Sessions". Fenced code is one piece, so that it is cut only
when it is over the limit.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from selfroute.memory.chunking.pieces import Outline, Piece, Policy, Source

_ATX = re.compile(r" {0,3}(#{1,6})(?:[ \t]+(.*?))?(?:[ \t]+#+)?[ \t\r]*$")
_SETEXT = re.compile(r" {0,3}(=+|-+)[ \t\r]*$")
_FENCE = re.compile(r"\s{0,12}(`{3,}|~{3,})")
_UNDERLINE = re.compile(r"""([!-/:-@\[-`{-~])\1{2,}[ \t\r]*$""")
_ITEM = re.compile(r"\s*(?:[-*+]|\d{1,3}[.)]|#\.)\s")
_SENTENCE_END = re.compile(r"""[.!?:;]["')\]]*\s*$""")
_IMAGE = re.compile(r"!\[[^\]]*\]\([^()]*\)")
_LINK = re.compile(r"\[([^\[\]]*)\]\([^()]*\)|:\w+:(?=`)|[`*]|<[^<>]*>")
_INNER_WEIGHT = 3  # a border inside a paragraph
_MAX_TITLE = 80  # characters of a heading that go into a symbol
_SEPARATOR = " > "


@dataclass(frozen=True, slots=True)
class _Heading:
    """A title that begins at `row`; its text ends before `end`. level: 1 is the highest."""

    row: int
    end: int
    level: int
    title: str


def outline_markdown(source: Source, policy: Policy) -> Outline:
    """The sections and paragraphs of Markdown."""
    fenced = _fenced_rows(source.lines)
    return _outline(source, policy, list(_markdown_headings(source.lines, fenced)), fenced, "section")


def outline_rst(source: Source, policy: Policy) -> Outline:
    """The sections and paragraphs of reStructuredText."""
    return _outline(source, policy, list(_rst_headings(source.lines)), set(), "section")


def outline_text(source: Source, policy: Policy) -> Outline:
    """The paragraphs of plain text."""
    return _outline(source, policy, [], set(), "text")


def _fenced_rows(lines: list[str]) -> set[int]:
    """Rows inside a fence, the opening line apart; front matter counts as one."""
    inside: set[int] = set()
    fence = "---" if lines[0].rstrip() == "---" else ""
    for row, line in enumerate(lines):
        if fence:
            if row:
                inside.add(row)
            text = line.strip()
            if row and text.startswith(fence) and not text.strip(fence[0]):
                fence = ""
        elif found := _FENCE.match(line):
            fence = found.group(1)
    return inside


def _markdown_headings(lines: list[str], fenced: set[int]) -> Iterator[_Heading]:
    for row, line in enumerate(lines):
        if row in fenced or not line.strip():
            continue
        if found := _ATX.match(line):
            yield _Heading(row, row + 1, len(found.group(1)), found.group(2) or "")
        elif row + 1 < len(lines) and row + 1 not in fenced and (under := _SETEXT.match(lines[row + 1])):
            # Below a paragraph of several lines, or a list item or table, dashes are a rule.
            alone = row == 0 or not lines[row - 1].strip()
            if (
                alone
                and not _ITEM.match(line)
                and not line.lstrip().startswith(("|", ">", "<"))
                and line.strip("-= \t\r")
            ):
                yield _Heading(row, row + 2, 1 if under.group(1)[0] == "=" else 2, line)


def _rst_headings(lines: list[str]) -> Iterator[_Heading]:
    """Levels are numbered in the order in which the styles of underlining are first met."""
    styles: dict[str, int] = {}
    last = len(lines) - 1
    row = 0
    while row < last:
        title, under = lines[row].rstrip(), _UNDERLINE.match(lines[row + 1])
        free = row == 0 or not lines[row - 1].strip()
        over = _UNDERLINE.match(lines[row])
        if over and row + 2 <= last and lines[row + 1].strip() and lines[row + 2].rstrip() == title:
            style, end, text = "over" + title[0], row + 3, lines[row + 1]
        elif under and title and not over and free and not title[0].isspace() and len(under.group()) >= 3:
            style, end, text = under.group(1), row + 2, title
        else:
            row += 1
            continue
        yield _Heading(row, end, styles.setdefault(style, len(styles) + 1), text)
        row = end


def _outline(source: Source, policy: Policy, headings: list[_Heading], fenced: set[int], kind: str) -> Outline:
    pieces: list[Piece] = []
    stops = [*(heading.row for heading in headings[1:]), source.n_lines]
    if not headings or headings[0].row:
        pieces += _paragraphs(source, 0, headings[0].row if headings else source.n_lines, fenced, 0, "", kind)
    trail: list[tuple[int, str]] = []
    group = 0
    joins = False
    for heading, stop in zip(headings, stops, strict=False):  # without headings there is still one stop
        while trail and trail[-1][0] >= heading.level:
            trail.pop()
        trail = [*trail[-7:], (heading.level, _plain(heading.title))]
        symbol = _SEPARATOR.join(title for _, title in trail if title)
        # A short section, often only a title above its first subsection, joins the next one.
        joins, joined = not policy.stands_alone(source.tokens(heading.row, stop)), joins
        if not joined:
            group += 1
        pieces.append(Piece(heading.row, group, 0, symbol, kind, not joins))
        pieces += _paragraphs(source, heading.end, stop, fenced, group, symbol, kind)
    return Outline(pieces, [])


def _plain(title: str) -> str:
    """A title without badges, link targets and markup."""
    return " ".join(_LINK.sub(r"\1", _IMAGE.sub("", title[:2_000])).split())[:_MAX_TITLE]


def _paragraphs(
    source: Source, start: int, stop: int, fenced: set[int], group: int, symbol: str, kind: str
) -> Iterator[Piece]:
    """A piece for each paragraph and list item, and one for each line of a paragraph, at a higher weight."""
    lines = source.lines
    blank, first = True, True
    indentation = 0
    for row in range(start, stop):
        line = lines[row]
        text = line.lstrip()
        if row in fenced:
            continue
        if not text:
            blank = True
            continue
        if blank or _ITEM.match(line):
            indentation = len(line) - len(text)
            weight = min(3, indentation // 2) + (_INNER_WEIGHT if first else 0)
        else:
            weight = _INNER_WEIGHT + (0 if _SENTENCE_END.search(lines[row - 1][-12:]) else 2)
        yield Piece(row, group, weight, symbol, kind)
        blank = first = False
