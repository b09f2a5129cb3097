"""Whether a page store is, to the last stored byte, what was written."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Mapping

from selfroute.memory.check import Checked, Problem
from selfroute.memory.pages.checksums import body_sum, head_sum, seed
from selfroute.memory.pages.segments import Segments
from selfroute.memory.pages.table import FILE, ModelRow, PageRow, PageTable
from selfroute.models.paged.layout import Layout

TABLE, PAGE, SEGMENT = "page table", "page", "segment"


def check_pages(table: PageTable, segments: Segments) -> tuple[Checked, list[PageRow]]:
    """What was found, and the rows of pages that are not what was written. Nothing is changed.

    SQLite's own check of the table; of every page its row, its place in a segment and both checksums; that no two pages
    lie over each other, and that files and table know the same segments. Pages of another user's models are compared
    by their own mark. Raises sqlite3.Error where the table cannot be read to its end.
    """
    verified: Counter[str] = Counter()
    problems = [Problem(TABLE, what) for what in table.wrong()]
    if n_unsound := table.n_unsound():
        problems.append(Problem(TABLE, f"{n_unsound:,} rows cannot be what was written"))
    damaged: list[PageRow] = []
    known = table.segments()
    places: dict[int, list[tuple[int, int]]] = {}
    for model in table.models():
        try:
            layout = Layout.from_json(model.fingerprint, model.layout)
        except ValueError as error:
            problems.append(Problem(TABLE, f"model {model.model}: {error}"))
            continue
        for row in table.pages(model.model):
            what = _wrong(row, model, layout, known, segments)
            if what:
                damaged.append(row)
                problems.append(Problem(PAGE, f"{row.hash} of {model.fingerprint}: {what}"))
                continue
            verified["pages"] += 1
            verified["bytes"] += row.size
            places.setdefault(row.segment, []).append((row.offset, row.offset + row.size))
    problems += _overlaps(places)
    files = segments.on_disk()
    for segment, (_, used, live) in known.items():
        if live and files.get(segment, -1) < used:
            problems.append(Problem(SEGMENT, f"{segments.path(segment).name} is not there or too short"))
    strays = sorted(set(files) - set(known))
    notes = [f"{segments.path(segment).name} holds no pages: a run that was killed left it" for segment in strays]
    verified["segments"] = len(known)
    return Checked(verified, tuple(problems), tuple(notes)), damaged


def unreadable(error: sqlite3.Error | str) -> Checked:
    """What a check says of a table that cannot be read."""
    return Checked({}, (Problem(TABLE, f"{FILE}: {error}"),))


def _wrong(
    row: PageRow, model: ModelRow, layout: Layout, known: Mapping[int, tuple[int, int, int]], segments: Segments
) -> str:
    """Why a page is not what was written, or ""."""
    owner, used, _ = known.get(row.segment, (0, 0, 0))
    end = row.offset + row.size
    if not 0 <= row.n_tokens < 1 << 32 or row.size != layout.record_bytes(row.n_tokens):
        return f"{row.size} bytes for {row.n_tokens} tokens"
    if owner != model.model or row.offset < 0 or end > used:
        return "lies outside of its model's segments"
    if not row.size:
        return ""
    mapped = segments.mapped(row.segment, end)
    if mapped is None or len(mapped) < end:
        return f"{segments.path(row.segment).name} is not there or too short"
    middle = row.offset + layout.head_bytes
    own = seed(model.mark, row.hash, row.n_tokens)
    if head_sum(mapped.bytes[row.offset : middle], own) != row.head_sum:
        return "its own part is not what was written"
    if body_sum(mapped.bytes[middle:end], own) != row.body_sum:
        return "its tokens' part is not what was written"
    return ""


def _overlaps(places: Mapping[int, list[tuple[int, int]]]) -> list[Problem]:
    found = []
    for segment, ranges in places.items():
        ranges.sort()
        last = 0
        for start, end in ranges:
            if start < last:
                found.append(Problem(SEGMENT, f"{segment}: two pages lie over each other at byte {start}"))
            last = max(last, end)
    return found
