"""A haystack: pages, questions about them, and where each answer stands; and several of them as padded arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from selfroute.models.training.paged_ragged import Ints, Ragged, offsets_of, stacked

CLS, SEP = 101, 102
READERS = tuple(range(11, 31))  # [unused10] ...: the reading tokens after the text
ROUND_TO = 16
MAX_PAGE = 510  # tokens of a page's text


@dataclass(frozen=True, slots=True)
class Haystack:
    """pages: their text. questions: their text; tokens from split[q] on are what was found so far.

    answers: (n, 5) question, page, first and last token in the page's text, group; answers of one group are one answer
    at several right places. natural: a question in words, which a page is about.
    """

    pages: Ragged
    questions: Ragged
    split: Ints
    answers: Ints
    natural: bool = False

    def shuffled(self, rng: np.random.Generator) -> Haystack:
        """The same with the pages in another order."""
        order = rng.permutation(len(self.pages))
        answers = self.answers.copy()
        answers[:, 1] = np.argsort(order)[answers[:, 1]]
        return replace(self, pages=self.pages.take(order), answers=answers)

    def limited(self, n: int, rng: np.random.Generator) -> Haystack:
        """At most n of the questions."""
        if len(self.questions) <= n:
            return self
        chosen = np.sort(rng.choice(len(self.questions), n, replace=False))
        place = np.full(len(self.questions), -1)
        place[chosen] = np.arange(n)
        answers = self.answers[place[self.answers[:, 0]] >= 0].copy()
        answers[:, 0] = place[answers[:, 0]]
        return replace(self, questions=self.questions.take(chosen), split=self.split[chosen], answers=answers)

    def cut(self, n_pages: int) -> Haystack:
        """The first n pages, and the questions all of whose answers are there."""
        if len(self.pages) <= n_pages:
            return self
        gone = np.zeros(len(self.questions), bool)
        gone[self.answers[self.answers[:, 1] >= n_pages, 0]] = True
        place = np.where(gone, -1, np.cumsum(~gone) - 1)
        answers = self.answers[~gone[self.answers[:, 0]]].copy()
        answers[:, 0] = place[answers[:, 0]]
        kept = np.flatnonzero(~gone)
        pages = self.pages.take(np.arange(n_pages))
        return replace(self, pages=pages, questions=self.questions.take(kept), split=self.split[kept], answers=answers)


def joined(haystacks: Sequence[Haystack]) -> Haystack:
    """One haystack of the pages and the questions of all."""
    pages, questions, found = 0, 0, []
    for haystack in haystacks:
        found.append(haystack.answers + np.array([questions, pages, 0, 0, 0]))
        pages, questions = pages + len(haystack.pages), questions + len(haystack.questions)
    return Haystack(
        stacked([h.pages for h in haystacks]),
        stacked([h.questions for h in haystacks]),
        np.concatenate([h.split for h in haystacks]),
        np.concatenate(found),
        any(h.natural for h in haystacks),
    )


@dataclass(frozen=True, slots=True)
class Batch:
    """Padded arrays of B haystacks of P pages of T tokens, and Q questions of Tq, each with its special tokens.

    pages: (B, P, T) with lengths (B, P). questions: (B, Q, Tq) with question_lengths. asked: (B, Q), false for padding.
    answers: (n, 6) haystack, question, page, first and last place in the page as encoded, group. n_groups: (B, Q), 0
    for a question without answer. natural: (B,).
    """

    pages: NDArray[np.uint16]
    lengths: NDArray[np.int32]
    questions: NDArray[np.uint16]
    question_lengths: NDArray[np.int32]
    asked: NDArray[np.bool_]
    answers: NDArray[np.int32]
    n_groups: NDArray[np.int32]
    natural: NDArray[np.bool_]


def collate(haystacks: Sequence[Haystack], readers: int, n_questions: int | None = None) -> Batch:
    """Padded to the longest, lengths to multiples of 16. n_questions: pads the questions to so many."""
    B = len(haystacks)
    P = max(len(h.pages) for h in haystacks)
    Q = n_questions or max(max(len(h.questions) for h in haystacks), 1)
    T = _up(min(MAX_PAGE, max(int(h.pages.lengths.max()) for h in haystacks)) + 2)
    extra = readers - 1
    Tq = _up(max(int(h.questions.lengths.max(initial=1)) for h in haystacks) + extra + 3)
    pages = np.zeros((B, P, T), np.uint16)
    lengths = np.zeros((B, P), np.int32)
    questions = np.zeros((B, Q, Tq), np.uint16)
    question_lengths = np.full((B, Q), 1, np.int32)
    asked = np.zeros((B, Q), bool)
    n_groups = np.zeros((B, Q), np.int32)
    answers = []
    for b, h in enumerate(haystacks):
        lengths[b, : len(h.pages)] = fill(pages[b], h.pages, 1)
        n = len(h.questions)
        question_lengths[b, :n] = fill(questions[b, :n], with_found(h.questions, h.split), 1, READERS[:extra])
        asked[b, :n] = True
        rows = h.answers[h.answers[:, 3] < MAX_PAGE]
        pairs = np.unique(rows[:, [0, 4]], axis=0)
        np.add.at(n_groups[b], pairs[:, 0], 1)
        answers.append(np.concatenate([np.full((len(rows), 1), b), rows + np.array([0, 0, 1, 1, 0])], 1))
    natural = np.array([h.natural for h in haystacks])
    every = np.concatenate(answers).astype(np.int32)
    return Batch(pages, lengths, questions, question_lengths, asked, every, n_groups, natural)


def fill(into: NDArray[np.uint16], rows: Ragged, first: int, last: Sequence[int] = ()) -> NDArray[np.int32]:
    """Writes [CLS], a row's tokens from `first` on, `last` and [SEP] into each row; their lengths."""
    width = into.shape[1]
    lengths = np.minimum(rows.lengths, width - first - len(last) - 1)
    at = np.arange(width)[None]
    source = rows.offsets[:-1, None] + at - first
    inside = (at >= first) & (at < first + lengths[:, None])
    n = len(rows)
    if len(rows.flat):
        into[:n] = np.where(inside, rows.flat[np.clip(source, 0, len(rows.flat) - 1)], into[:n])
    into[:n, 0] = CLS
    for at_last, token in enumerate((*last, SEP)):
        into[np.arange(n), first + lengths + at_last] = token
    whole: NDArray[np.int32] = (lengths + first + len(last) + 1).astype(np.int32)
    return whole


def with_found(questions: Ragged, split: Ints) -> Ragged:
    """A [SEP] put before what was found."""
    lengths = questions.lengths
    has = split < lengths
    offsets = offsets_of(lengths + has)
    flat = np.full(offsets[-1], SEP, np.uint16)
    place = np.arange(len(questions.flat)) - np.repeat(questions.offsets[:-1], lengths)
    late = place >= np.repeat(split, lengths)
    flat[np.repeat(offsets[:-1], lengths) + place + late] = questions.flat
    return Ragged(flat, offsets)


def _up(n: int) -> int:
    return -(-n // ROUND_TO) * ROUND_TO
