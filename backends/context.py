"""A reader's context from search hits: whole definitions within a token budget, the best evidence at the two ends.

Models use what stands at the beginning and the end of a long context better than its middle (Liu et al. 2023, "Lost
in the Middle"), so the best file's chunks come first, the second best file's last, and so on inwards.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from selfroute.models.tokenizer import wordpiece
from selfroute.types import Chunk, Context, Hit

if TYPE_CHECKING:
    from selfroute.memory.index import Index

COMPLETION_SHARE = 8  # a hit's definition is completed by at most this part of the budget: one eighth
N_AROUND = 4  # chunks looked at on either side of a hit for the rest of its definition


def pack(hits: Sequence[Hit], budget_tokens: int, index: Index) -> Context:
    """The context made of the best hits that fit; n_tokens are exactly those of `text`, within the budget."""
    return arrange(choose(hits, budget_tokens, index), budget_tokens)


def choose(hits: Sequence[Hit], budget_tokens: int, index: Index) -> list[Chunk]:
    """The chunks to read, best first: each hit that fits, then what is missing of its definition while that is cheap.

    Equal texts are read once. A chunk that does not fit gives way to smaller ones after it; none is cut.
    """
    shelf = _Shelf(budget_tokens)
    for hit in hits:
        if not shelf.add(hit.chunk):
            continue
        left = budget_tokens // COMPLETION_SHARE
        for chunk in _rest_of_definition(hit.chunk, index):
            cost = _tokens(chunk)
            if cost > left:
                break
            if shelf.add(chunk):
                left -= cost
    return shelf.best_first


def arrange(chunks: Sequence[Chunk], budget_tokens: int) -> Context:
    """Chunks (best first) as one text: a file's in reading order, each run of lines under a line with its location."""
    files: dict[str, list[Chunk]] = {}
    for chunk in chunks:
        files.setdefault(chunk.path, []).append(chunk)
    paths = list(files)
    ordered = [chunk for path in paths[0::2] + paths[1::2][::-1] for chunk in sorted(files[path], key=_place)]
    runs = _runs(ordered)
    text = "".join(_header(run) + "".join(_with_newline(chunk.text) for chunk in run) for run in runs)
    return Context(tuple(ordered), text, sum(map(_cost, runs)), budget_tokens)


class _Shelf:
    """Chunks taken so far, and what they cost together with their headers."""

    def __init__(self, budget_tokens: int) -> None:
        self.best_first: list[Chunk] = []
        self._budget_tokens = budget_tokens
        self._seen: set[str] = set()
        self._files: dict[str, list[Chunk]] = {}
        self._costs: dict[str, int] = {}

    def add(self, chunk: Chunk) -> bool:
        """Takes the chunk if it is new and fits."""
        key = chunk.content_hash or chunk.id
        if key in self._seen:
            return False
        of_file = sorted([*self._files.get(chunk.path, ()), chunk], key=_place)
        cost = sum(map(_cost, _runs(of_file)))
        if sum(self._costs.values()) - self._costs.get(chunk.path, 0) + cost > self._budget_tokens:
            return False
        self._seen.add(key)
        self._files[chunk.path], self._costs[chunk.path] = of_file, cost
        self.best_first.append(chunk)
        return True


def _rest_of_definition(chunk: Chunk, index: Index) -> list[Chunk]:
    """The other chunks of the same symbol around a chunk, without a gap, nearest first, following before preceding."""
    if not chunk.symbol:
        return []
    around = index.neighbours(chunk, before=N_AROUND, after=N_AROUND)
    at = next((i for i, other in enumerate(around) if other.id == chunk.id), None)
    if at is None:
        return []

    def same(others: Iterable[Chunk]) -> list[Chunk]:
        found = []
        for other in others:
            if other.symbol != chunk.symbol:
                break
            found.append(other)
        return found

    after, before = same(around[at + 1 :]), same(reversed(around[:at]))
    ranked = [(i, 0, other) for i, other in enumerate(after)] + [(i, 1, other) for i, other in enumerate(before)]
    return [other for _, _, other in sorted(ranked, key=lambda item: item[:2])]


def _place(chunk: Chunk) -> tuple[int, int, str]:
    return chunk.start_line, chunk.end_line, chunk.id


def _runs(chunks: Sequence[Chunk]) -> list[list[Chunk]]:
    """Chunks in order, split where the file changes or lines are left out."""
    runs: list[list[Chunk]] = []
    for chunk in chunks:
        last = runs[-1][-1] if runs else None
        if last is not None and last.path == chunk.path and chunk.start_line == last.end_line + 1:
            runs[-1].append(chunk)
        else:
            runs.append([chunk])
    return runs


def _header(run: Sequence[Chunk]) -> str:
    first, last = run[0], run[-1]
    lines = f"{first.start_line}-{last.end_line}" if last.end_line != first.start_line else f"{first.start_line}"
    return f"=== {first.path}:{lines} ===\n"


def _with_newline(text: str) -> str:
    return text if text.endswith("\n") else text + "\n"


def _cost(run: Sequence[Chunk]) -> int:
    return wordpiece().count(_header(run)) + sum(map(_tokens, run))


def _tokens(chunk: Chunk) -> int:
    return chunk.n_tokens or wordpiece().count(chunk.text)
