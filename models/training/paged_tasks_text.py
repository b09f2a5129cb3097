"""Tasks of running text: what follows a few words, and prepared questions over many passages."""

from __future__ import annotations

import io
import lzma
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from selfroute.models.training.paged_haystack import MAX_PAGE, Haystack
from selfroute.models.training.paged_material import Material, any_of_two
from selfroute.models.training.paged_ragged import Ints, Ragged, pack
from selfroute.models.training.paged_tasks_keys import NEWLINE, Size, Split, ask_all, room, wordings

ASK_NEXT = """{k}~what follows "{k}"?~{k} ...~continue: {k}||what comes after {k}~go on from {k}"""
CORPUS = "data.npz.xz"
NONE = 0xFFFFFFFF
# Those of reader_store, by what they are about.
SOURCES = (
    *("squad", "squad-held", "changed", "human", "human-held", "policy", "covid", "code", "code-held"),
    *("other", "other-held"),
)
KINDS = {
    "prose": ("squad", "changed", "human"),
    "policy": ("policy",),
    "covid": ("covid",),
    "code": ("code",),
    "prose-held": ("squad-held",),
    "code-held": ("code-held",),
}


def continued(material: Material, rng: np.random.Generator, size: Size, split: Split = "train") -> Haystack:
    """Running prose or code: a few tokens in a row are given, those right after them are the answer."""
    source = any_of_two(rng, material.prose, material.code)
    n = room(size, float(source.lengths.mean()))
    start = int(rng.integers(0, max(1, len(source) - n)))
    units = source.take((start + np.arange(n)) % len(source))
    pages, _, _ = pack(units, size.page_tokens, NEWLINE)
    pages = pages.take(np.arange(min(len(pages), size.pages)))
    given, following = int(rng.integers(6, 13)), int(rng.integers(1, 7))
    given = max(1, min(given, int(pages.lengths.max()) - following - 1))
    usable = np.flatnonzero(pages.lengths > given + following)
    page = rng.choice(usable, min(size.questions, 4 * len(usable)))
    first = (rng.random(len(page)) * (pages.lengths[page] - given - following)).astype(np.int64)
    at = pages.offsets[page] + first
    asked = Ragged(pages.flat[(at[:, None] + np.arange(given)).ravel()], np.arange(len(page) + 1) * given)
    questions, order = ask_all(wordings(ASK_NEXT, split), asked, np.arange(len(page)), rng)
    begin = first[order] + given
    end = begin + following - 1
    answers = np.stack([np.arange(len(order)), page[order], begin, end, np.zeros_like(begin)], 1)
    return Haystack(pages, questions, questions.lengths, answers)


class Corpus:
    """Prepared questions (reader_data's arrays): passages of articles or files in their order, and who asks of them."""

    def __init__(self, path: Path) -> None:
        """path: data.npz.xz."""
        with np.load(io.BytesIO(lzma.decompress(path.read_bytes()))) as arrays:
            self.pool = arrays["pool"].astype(np.uint16)
            names = ("questions", "windows", "examples", "columns", "spans")
            tables = {name: arrays[name].T.astype(np.int64) for name in names}
        self.questions, self.windows, self.examples = tables["questions"], tables["windows"], tables["examples"]
        self.columns, self.spans = tables["columns"], tables["spans"]
        counts = np.bincount(self.spans[:, 0], minlength=len(self.examples))
        self.span_offsets = np.concatenate([[0], np.cumsum(counts)])
        self.gold: dict[str, Ints] = {}
        self.by_kind: dict[str, tuple[Ints, Ints]] = {}
        for kind, sources in KINDS.items():
            mine = np.flatnonzero(np.isin(self.examples[:, 1], [SOURCES.index(s) for s in sources]))
            if len(mine):
                gold = np.unique(self.columns[mine, 0])
                self.by_kind[kind] = mine, gold[gold != NONE]

    @property
    def kinds(self) -> list[str]:
        """What there are questions about."""
        return list(self.by_kind)

    def haystack(self, kind: str, rng: np.random.Generator, size: Size) -> Haystack:
        """Runs of neighbouring passages from several articles, and questions whose answers are all among them."""
        examples, windows = self.by_kind[kind]
        n = min(size.pages, len(windows))
        run = int(rng.integers(4, 33))
        starts = rng.integers(0, len(windows), -(-2 * n // run))
        picked = np.unique((starts[:, None] + np.arange(run)).ravel() % len(windows))
        begin = int(rng.integers(len(picked)))
        chosen = windows[np.roll(picked, -begin)[:n]]
        place = np.full(len(self.windows), -1)
        place[chosen] = np.arange(len(chosen))
        columns = self.columns[examples]
        n_gold = self.examples[examples, 2]
        gold = (np.arange(columns.shape[1])[None] < n_gold[:, None]) & (columns != NONE)
        inside = np.where(gold, place[np.where(columns == NONE, 0, columns)] >= 0, True).all(1) & gold.any(1)
        mine = rng.permutation(examples[inside])[: size.questions]
        asked = _rows(self.pool, self.questions[self.examples[mine, 0]])
        pages = _rows(self.pool, self.windows[chosen][:, 2:4])
        return Haystack(pages, asked, asked.lengths, self._answers(mine, place), natural=True).shuffled(rng)

    def _answers(self, examples: Ints, place: Ints) -> Ints:
        counts = self.span_offsets[examples + 1] - self.span_offsets[examples]
        at = np.repeat(self.span_offsets[examples] - (np.cumsum(counts) - counts), counts) + np.arange(counts.sum())
        _, column, first, last, group = self.spans[at].T
        q = np.repeat(np.arange(len(examples)), counts)
        page = place[self.columns[examples[q], column]]
        kept = (page >= 0) & (last < MAX_PAGE)
        rows: Ints = np.stack([q, page, first, last, group], 1)[kept]
        return rows


def _rows(pool: NDArray[np.uint16], places: Ints) -> Ragged:
    """The rows (start, length) of a pool."""
    offsets = np.concatenate([[0], np.cumsum(places[:, 1])])
    at = np.repeat(places[:, 0] - offsets[:-1], places[:, 1]) + np.arange(offsets[-1])
    return Ragged(pool[at], offsets)
