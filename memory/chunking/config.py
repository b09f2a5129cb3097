"""Configuration cut by section and key: TOML and INI by their headers, YAML and JSON by their indentation.

Nothing is parsed, so that a broken file is cut as well as a sound one. A chunk's symbol is its key path,
"tool.ruff.lint".
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from selfroute.memory.chunking.pieces import Outline, Piece, Policy, Source

_HEADER = re.compile(r"\s*\[{1,2}\s*([^\[\]]{1,120}?)\s*\]{1,2}\s*(?:[#;].*)?$")
_SETTING = re.compile(r"""["']?[\w.-][\w.\-"' ]{0,80}?\s*[=:]""")
_YAML_KEY = re.compile(r"""(\s*)(["']?)([^\s#"'\[\]{}&*!|>%@`,:-][^"'#:]{0,80}?)\2\s*:(?=\s|$)""")
_JSON_KEY = re.compile(r'(\s*)(")((?:[^"\\]|\\.){1,80})"\s*:')
_ITEM = re.compile(r"(\s*)-(?=\s|$)")
_COMMENTS = ("#", ";", "//")
_MAX_LINE = 400  # characters that are looked at
_SPLIT_WEIGHT = 2  # a border between keys of the second level


@dataclass(frozen=True, slots=True)
class _Key:
    """A key on `row`, `depth` columns in, or an item of a list, which has no name and is deeper than its key."""

    row: int
    depth: int
    name: str


def outline_sections(source: Source, policy: Policy) -> Outline:
    """TOML and INI: each header begins a section, and settings are where a long one may be cut."""
    heads: list[Piece] = []
    inner: list[Piece] = []
    symbol = ""
    for row, line in enumerate(source.lines):
        if found := _HEADER.match(line[:_MAX_LINE]):
            symbol = found.group(1).replace('"', "").replace("'", "")
            heads.append(Piece(_with_comment(source.lines, row), 0, 0, symbol, "config", True))
        elif _SETTING.match(line[:_MAX_LINE]):
            top = _with_comment(source.lines, row)
            if heads:
                inner.append(Piece(top, 0, _SPLIT_WEIGHT, symbol, "config"))
            else:
                heads.append(Piece(top, 0, 0, "", "config"))
    return _outline(heads, inner, source, policy)


def outline_yaml(source: Source, policy: Policy) -> Outline:
    """YAML by the keys of its first level, and of the second where one is over the limit."""
    return _outline_keys(_keys(source, _YAML_KEY), source, policy)


def outline_json(source: Source, policy: Policy) -> Outline:
    """Indented JSON likewise; what is on one line stays on one line."""
    return _outline_keys(_keys(source, _JSON_KEY), source, policy)


def _keys(source: Source, pattern: re.Pattern[str]) -> list[_Key]:
    keys: list[_Key] = []
    for row, line in enumerate(source.lines):
        if found := pattern.match(line[:_MAX_LINE]):
            keys.append(_Key(row, len(found.group(1)), found.group(3).strip()))
        elif found := _ITEM.match(line[:_MAX_LINE]):
            keys.append(_Key(row, len(found.group(1)) + 1, ""))
    return keys


def _outline_keys(keys: list[_Key], source: Source, policy: Policy) -> Outline:
    heads: list[Piece] = []
    inner: list[Piece] = []
    for first, end in _siblings(keys, 0, len(keys)):
        symbol = keys[first].name
        heads.append(Piece(_with_comment(source.lines, keys[first].row), 0, 0, symbol, "config", bool(symbol)))
        stop = keys[end].row if end < len(keys) else source.n_lines
        if source.tokens(keys[first].row, stop) > policy.limit:
            for below, _ in _siblings(keys, first + 1, end):
                path = ".".join(filter(None, (symbol, keys[below].name)))
                top = _with_comment(source.lines, keys[below].row)
                inner.append(Piece(top, 0, _SPLIT_WEIGHT, path, "config", path != symbol))
    return _outline(heads, inner, source, policy)


def _siblings(keys: list[_Key], start: int, stop: int) -> Iterator[tuple[int, int]]:
    """(first, end) of the parts of keys[start:stop], each begun by one of its outermost keys."""
    if start < stop:
        depth = min(key.depth for key in keys[start:stop])
        heads = [i for i in range(start, stop) if keys[i].depth == depth]
        yield from zip(heads, [*heads[1:], stop], strict=True)


def _outline(heads: list[Piece], inner: list[Piece], source: Source, policy: Policy) -> Outline:
    """Gives each section that is large enough a group of its own, and small neighbours one together."""
    stops = [head.row for head in heads[1:]] + [source.n_lines]
    pieces = {piece.row: piece for piece in [*inner, *heads]}  # a head takes its row from a key
    group, shared = 0, False
    for head, stop in zip(heads, stops, strict=False):
        alone = policy.stands_alone(source.tokens(head.row, stop))
        group += alone or not shared
        shared = not alone
        head.group = group
    group = 0
    for row in sorted(pieces):
        piece = pieces[row]
        group = piece.group = piece.group or group
    return Outline(list(pieces.values()), [])


def _with_comment(lines: list[str], row: int) -> int:
    """The row of the comment block directly above a row, or the row itself."""
    while row and lines[row - 1].lstrip().startswith(_COMMENTS):
        row -= 1
    return row
