"""Batches of whole questions, each with K windows, drawn from the packed arrays without work per sample.

Which examples, which windows and where the answers are is worked out in numpy for a batch at once; the tokens are
gathered on the device, where the pool of all tokens lies. Needs numpy and torch only.
"""

from __future__ import annotations

import io
import lzma
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

CLS, SEP, FIRST_MARK, N_MARKS = 101, 102, 1, 10  # those of selfroute.models.span_windows
MAX_TOKENS = 384
NONE = 0xFFFFFFFF
# Those of reader_store, with how often an example comes in one epoch.
SOURCES = {
    "squad": 1.0,
    "squad-held": 0.0,
    "changed": 1.0,
    "human": 6.0,
    "human-held": 0.0,
    "policy": 1.0,
    "covid": 3.0,
    "code": 1.0,
    "code-held": 0.0,
    "other": 1.0,
    "other-held": 0.0,
}
DROPPED = {"squad": 0.10, "covid": 0.15, "code": 0.06}  # share shown without the windows that answer
CUT = 0.08 / 0.3  # of the questions that have a cut window, shown with it: about 0.08 of SQuAD's
HEADLESS = 0.15  # share shown without headers
STRANGE = 0.15  # share of distractors drawn from all windows
N_WINDOWS = (1, 2, 3, 4, 6, 8, 12)
SHARE_OF_N = (0.30, 0.10, 0.12, 0.18, 0.15, 0.10, 0.05)
ROUND_TO = 16  # tokens

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows are windows, question after question, K each; groups of rows are read together, shorter ones apart.

    order: rows by length. parts: (first, end, T) ranges of `order`. starts, ends: (question, place among K * 384
    positions, group) of right answers' first and last tokens. n_groups: (Q,), 0 for a question that nothing answers.
    """

    question: Ints
    window: Ints
    head: Ints
    order: Ints
    parts: tuple[tuple[int, int, int], ...]
    starts: Ints
    ends: Ints
    n_groups: Ints
    n_windows: int


class Data:
    """The packed arrays."""

    def __init__(self, path: Path) -> None:
        """path: data.npz.xz."""
        with np.load(io.BytesIO(lzma.decompress(path.read_bytes()))) as arrays:
            self.pool = arrays["pool"].astype(np.int32)
            tables = {k: arrays[k].T.astype(np.int64) for k in ("questions", "windows", "examples", "columns", "spans")}
        self.questions, self.windows, self.examples = tables["questions"], tables["windows"], tables["examples"]
        self.columns, self.spans = tables["columns"], tables["spans"]
        counts = np.bincount(self.spans[:, 0], minlength=len(self.examples))
        by_source = [np.unique(self.columns[self.examples[:, 1] == s]) for s in range(len(SOURCES))]
        self._by_source = [windows[windows != NONE] for windows in by_source]
        self.span_offsets = np.concatenate([[0], np.cumsum(counts)])

    def of(self, *names: str) -> Ints:
        """The examples of some sources."""
        wanted = [list(SOURCES).index(name) for name in names]
        return np.flatnonzero(np.isin(self.examples[:, 1], wanted))

    def answerable(self, examples: Ints) -> NDArray[np.bool_]:
        """Whether each has an answer."""
        return self.span_offsets[examples + 1] > self.span_offsets[examples]

    def epochs(self, n_questions: int, seed: int) -> Iterator[Batch]:
        """Batches without end; within some of them questions of like length."""
        rng = np.random.default_rng(seed)
        share = np.array(list(SOURCES.values()))[self.examples[:, 1]]
        size = self.windows[self.columns[:, 0] % NONE % len(self.windows), 3] + self.questions[self.examples[:, 0], 1]
        while True:
            times = np.floor(share + rng.random(len(share))).astype(np.int64)
            chosen = np.repeat(np.arange(len(share)), times)
            rng.shuffle(chosen)
            run = 32 * n_questions
            runs = [chosen[i : i + run] for i in range(0, len(chosen), run)]
            sorted_runs = [r[np.argsort(size[r], kind="stable")] for r in runs]
            batches = [r[i : i + n_questions] for r in sorted_runs for i in range(0, len(r), n_questions)]
            for i in rng.permutation(len(batches)):
                yield self.batch(batches[i], int(rng.choice(N_WINDOWS, p=SHARE_OF_N)), rng)

    def batch(self, examples: Ints, n_windows: int, rng: np.random.Generator | None) -> Batch:
        """Some examples with K windows each. rng: None shows them as they are, the first K windows."""
        columns = self.columns[examples]
        n, width = columns.shape
        source, n_gold, cut = self.examples[examples, 1], self.examples[examples, 2].copy(), self.examples[examples, 3]
        place = np.arange(width)[None, :]
        gold = place < n_gold[:, None]
        key = np.where(gold, -1.0, place.astype(float)) + np.where(columns == NONE, 1e3, 0)
        gone = np.zeros(n, bool)
        cut_now = np.zeros(n, bool)
        if rng is not None:
            key = np.where(gold, rng.random((n, width)) - 2, rng.random((n, width)) + place * 0.08)
            key += np.where(columns == NONE, 1e3, 0)
            answered = self.answerable(examples)
            rate = np.array([DROPPED.get(name, 0.0) for name in SOURCES])[source]
            gone = (rng.random(n) < rate) & answered
            cut_now = (rng.random(n) < CUT) & (cut != NONE) & ~gone
            key = np.where(gold & (gone | cut_now)[:, None], 1e6, key)
        picked = np.argsort(key, axis=1, kind="stable")[:, : min(n_windows, width)]
        if n_windows > width:
            raise ValueError(f"{n_windows} windows of {width}")
        window = np.take_along_axis(columns, picked, 1)
        unusable = (window == NONE) | (np.take_along_axis(key, picked, 1) >= 1e3)
        if rng is not None:
            unusable |= (picked >= n_gold[:, None]) & (rng.random(picked.shape) < STRANGE)
            strange = self._strangers(source, rng, picked.shape)
            window = np.where(unusable, strange, window)
            first = np.argmax(~unusable, axis=1)  # the cut window takes the place of the best distractor
            window[cut_now, first[cut_now]] = cut[cut_now]
            unusable[cut_now, first[cut_now]] = True
        else:
            window = np.where(unusable, -1, window)
        question = np.repeat(self.examples[examples, 0], n_windows)
        heads = np.ones(n, bool) if rng is None else rng.random(n) >= HEADLESS
        head = np.repeat(heads, n_windows) * self.windows[window.ravel(), 1]

        inverse = np.full((n, width), -1)
        rows = np.repeat(np.arange(n)[:, None], picked.shape[1], 1)
        inverse[rows[~unusable], picked[~unusable]] = np.repeat(np.arange(n_windows)[None], n, 0)[~unusable]
        starts, ends, n_groups = self._targets(examples, inverse, question.reshape(n, -1)[:, 0], head.reshape(n, -1))
        length = self._lengths(question, window.ravel(), head)
        order = np.argsort(length, kind="stable")
        return Batch(question, window.ravel(), head, order, _parts(length[order]), starts, ends, n_groups, n_windows)

    def _strangers(self, source: Ints, rng: np.random.Generator, shape: tuple[int, ...]) -> Ints:
        """Windows of other examples of the same source."""
        strange = np.zeros(shape, np.int64)
        for s in np.unique(source).tolist():
            mine = source == s
            pool = self._by_source[s]
            strange[mine] = pool[rng.integers(0, len(pool), (int(mine.sum()), shape[1]))]
        return strange

    def _lengths(self, question: Ints, window: Ints, head: Ints) -> Ints:
        text = self.windows[window, 3] - self.windows[window, 5]
        length: Ints = np.where(window < 0, 3, self.questions[question, 1] + head + text + 3)
        return length

    def _targets(self, examples: Ints, inverse: Ints, question: Ints, head: Ints) -> tuple[Ints, Ints, Ints]:
        counts = self.span_offsets[examples + 1] - self.span_offsets[examples]
        at = np.repeat(self.span_offsets[examples] - (np.cumsum(counts) - counts), counts) + np.arange(counts.sum())
        _, column, first, last, group = self.spans[at].T
        q = np.repeat(np.arange(len(examples)), counts)
        k = inverse[q, column]
        seen = k >= 0
        q, k, first, last, group = q[seen], k[seen], first[seen], last[seen], group[seen]
        base = k * MAX_TOKENS + self.questions[question[q], 1] + head[q, k] + 2
        n_groups = np.zeros(len(examples), np.int64)
        pairs = np.unique(np.stack([q, group], 1), axis=0)
        np.add.at(n_groups, pairs[:, 0], 1)
        starts, ends = (np.unique(np.stack([q, base + token, group], 1), axis=0) for token in (first, last))
        return starts, ends, n_groups


def _parts(length: Ints, n_parts: int = 3) -> tuple[tuple[int, int, int], ...]:
    """Ranges of rows in the order of length, of like numbers of tokens, and the length that each is padded to."""
    total = np.cumsum(length)
    cuts = np.searchsorted(total, total[-1] * np.arange(1, n_parts) / n_parts)
    bounds = sorted({0, len(length), *(cuts if len(length) >= 32 else [])})
    parts = []
    for first, end in pairwise(bounds):
        longest = -(-int(length[end - 1]) // ROUND_TO) * ROUND_TO
        parts.append((int(first), int(end), min(MAX_TOKENS, longest)))
    return tuple(parts)


class OnDevice:
    """The arrays where the model runs; makes the inputs of a batch there."""

    def __init__(self, data: Data, device: str) -> None:
        def put(array: NDArray[np.generic]) -> Tensor:
            return torch.from_numpy(array.astype(np.int32)).to(device)

        self.device = device
        self._pool, self._questions, self._windows = put(data.pool), put(data.questions), put(data.windows)

    def put(self, array: Ints) -> Tensor:
        """An index array on the device."""
        tensor = torch.from_numpy(np.ascontiguousarray(array))
        return tensor.pin_memory().to(self.device, non_blocking=True) if self.device == "cuda" else tensor

    def rows(self, question: Tensor, window: Tensor, head: Tensor, T: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(B, T) tokens, segments, what is no padding, and where an answer may begin or end."""
        q_at, q = self._questions[question].long().T[:, :, None]
        h_at, _, t_at, t, cut_at, cut, _ = self._windows[window].long().T[:, :, None]
        h = head[:, None]
        absent = (window < 0)[:, None]
        t = (t - cut).masked_fill(absent, 0)
        place = torch.arange(T, device=question.device)[None]
        in_text = place - q - h - 2
        in_text_cut = in_text + cut * (in_text >= cut_at)
        at = torch.where(
            place <= q, q_at + place - 1, torch.where(place < q + h + 2, h_at + place - q - 2, t_at + in_text_cut)
        )
        tokens = self._pool[at.clamp(0, len(self._pool) - 1)].long()
        tokens = torch.where((place == q + 1) | (place == q + h + t + 2), SEP, tokens)
        tokens = torch.where(place == 0, CLS, tokens)
        mask = place < q + h + t + 3
        tokens = tokens * mask
        marks = (tokens >= FIRST_MARK) & (tokens < FIRST_MARK + N_MARKS)
        may = (in_text >= 0) & (in_text < t) & ~marks
        return tokens, (place > q + 1).long() * mask, mask, may
