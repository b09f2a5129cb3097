"""A question's global read in numpy: global layers, pointer, spans. Exact over the pages it is given.

Tokens are read in blocks of a fixed size, in the order of the pages given. So the same pages in the same order give the
same bits, however they were loaded; whoever sorts them by key has that for every order of loading.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from selfroute.models.paged.config import PagedConfig
from selfroute.models.paged.fields import END, PAGE, START, Arrays, Row

BLOCK = 8192  # tokens
NEGLIGIBLE = 30.0  # a value whose score is so far below the best adds less than 1e-13 of it
MAX_ANSWER = 60  # tokens
N_STARTS = 256  # best starts that spans are sought from

Floats = NDArray[np.float32]
Weights = Mapping[str, Floats]


@dataclass(frozen=True, slots=True)
class PageSpan:
    """A quote: tokens first to last of a page's text, the page by its place among those read.

    probability: of its start among all tokens and the null option. score: its start's logit less the null option's.
    """

    page: int
    first: int
    last: int
    probability: float
    score: float


@dataclass(frozen=True, slots=True)
class Reading:
    """What a question found. spans: best first. pages: (P,) logits of the pages, logsumexp of their tokens' starts.

    null: the probability that nothing answers. mass: what the pages of the best span and of the next 7 have of the
    probability. entropy: of the pages, in nats. attended: (n_global,) the share of the first reading token's attention
    that the best page has in each global layer.
    """

    spans: tuple[PageSpan, ...]
    pages: Floats
    null: float
    mass: float
    entropy: float
    attended: tuple[float, ...]

    def best_pages(self, n: int) -> list[int]:
        """The n best pages' places, best first."""
        order = np.argsort(-self.pages, kind="stable")
        return [int(i) for i in order[:n]]


class GlobalRead:
    """The weights of the global layers and the pointer."""

    def __init__(self, config: PagedConfig, weights: Weights, rows: Mapping[str, Row]) -> None:
        self.config, self.rows = config, rows
        self._w = {name: np.ascontiguousarray(array, np.float32) for name, array in weights.items()}

    def kept(self, states: Floats) -> dict[str, NDArray[np.generic]]:
        """What is kept of a page whose tokens have these states (T, width): arrays by name."""
        config = self.config
        found: dict[str, NDArray[np.generic]] = {}
        T = len(states)
        for n in range(config.n_global):
            k = _unit(self._linear(f"reads.{n}.key", states).reshape(T, config.kv_heads, config.head_dim))
            v = self._linear(f"reads.{n}.value", states).reshape(T, config.kv_heads, config.head_dim)
            found |= self.rows[f"k{n}"].packed(k)
            found |= self.rows[f"v{n}"].packed(v)
        found |= self.rows[START].packed(_unit(self._linear("pointer.start_key", states)))
        found |= self.rows[END].packed(_unit(self._linear("pointer.end_key", states)))
        page = _unit(self._linear("pointer.page_key", states.mean(0, dtype=np.float32)[None]))
        found[PAGE] = page[0].astype(np.float16)
        return found

    def read(self, x: Floats, lengths: NDArray[np.int32], arrays: Arrays, n_spans: int = 8) -> Reading:
        """x: (readers, width), a question's states. lengths: (P,) tokens of the pages, [CLS] and [SEP] among them."""
        offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
        size = math.log(max(2, int(offsets[-1]))) if self.config.log_n else math.log(8192)
        attended: list[Floats] = []
        for n in range(self.config.n_global):
            x, first = self._attend(n, x, size, arrays, offsets)
            attended.append(first)
        return self._point(x, size, offsets, arrays, attended, n_spans)

    def _attend(
        self, n: int, x: Floats, size: float, arrays: Arrays, offsets: NDArray[np.int64]
    ) -> tuple[Floats, Floats]:
        """(R, width) after a global layer, and (P,) what each page had of the first token's attention."""
        config, at = self.config, f"reads.{n}."
        R = len(x)
        q = _unit(
            self._linear(at + "query", self._norm(at + "norm", x)).reshape(R, config.query_heads, config.head_dim)
        )
        q = q * (np.exp(self._w[at + "sharpness"]) * np.float32(size))[:, None]
        group = config.query_heads // config.kv_heads
        found = np.empty((R, config.query_heads, config.head_dim), np.float32)
        of_pages = np.zeros(len(offsets) - 1, np.float32)
        for head in range(config.kv_heads):
            asked = q[:, head * group : (head + 1) * group].reshape(R * group, -1)
            scores = self._scores(f"k{n}", asked, arrays, head)
            most = scores.max(1)
            read = np.flatnonzero((scores > (most - NEGLIGIBLE)[:, None]).any(0))
            p = np.exp(scores[:, read] - most[:, None])
            total = p.sum(1)
            y = np.zeros((R * group, config.head_dim), np.float32)
            for begin in range(0, len(read), BLOCK):
                chosen = read[begin : begin + BLOCK]
                row = self.rows[f"v{n}"]
                part = {name: arrays[name][chosen, head : head + 1] for name in _names(row)}
                y += p[:, begin : begin + BLOCK] @ row.unpacked(part)[:, 0]
            found[:, head * group : (head + 1) * group] = (y / total[:, None]).reshape(R, group, -1)
            share = p[:group] / total[:group, None]
            np.add.at(of_pages, np.searchsorted(offsets, read, "right") - 1, share.sum(0) / config.query_heads)
        x = x + self._linear(at + "out", found.reshape(R, -1))
        inner = _gelu(self._linear(at + "inner", self._norm(at + "inner_norm", x)))
        return x + self._linear(at + "outer", inner), of_pages

    def _point(
        self,
        x: Floats,
        size: float,
        offsets: NDArray[np.int64],
        arrays: Arrays,
        attended: Sequence[Floats],
        n_spans: int,
    ) -> Reading:
        x = self._norm("pointer.norm", x)
        at = [x[min(n, self.config.readers - 1)][None] for n in (0, 1, 2, 3)]
        factor = np.exp(self._w["pointer.sharpness"]) * np.float32(size)
        start, end, page = (
            _unit(self._linear(f"pointer.{name}_query", at[n + 1])) * factor[n]
            for n, name in enumerate(("start", "end", "page"))
        )
        gate = np.logaddexp(np.float32(0), self._linear("pointer.gate", at[0])[0, 0])
        null = float(self._linear("pointer.null", at[0])[0, 0] + self._w["pointer.null_size"][0] * np.float32(size))
        row = self.rows[END]

        def ends_of(page: int) -> Floats:
            part = {name: arrays[name][offsets[page] : offsets[page + 1]] for name in _names(row)}
            scores: Floats = row.scores(part, end)[0]
            return scores

        lengths = np.diff(offsets)
        of_page = (arrays[PAGE].astype(np.float32) @ page[0]) * gate
        starts = self._scores(START, start, arrays)[0] + np.repeat(of_page, lengths)
        starts[offsets[:-1]] = starts[offsets[1:] - 1] = -np.inf  # [CLS] and [SEP]
        most = max(float(starts.max()), null)
        p = np.exp(starts - np.float32(most))
        of_pages = np.add.reduceat(p, offsets[:-1])
        total = float(of_pages.sum(dtype=np.float64)) + math.exp(null - most)
        spans = best_spans(starts, ends_of, offsets, null, most + math.log(total), n_spans)
        shares = of_pages.astype(np.float64) / max(1e-30, float(of_pages.sum(dtype=np.float64)))
        with np.errstate(divide="ignore"):
            logits = np.log(of_pages) + np.float32(most)
        best = spans[0].page if spans else 0
        positive = shares[shares > 0]
        return Reading(
            tuple(spans),
            logits,
            math.exp(null - most) / total,
            float(np.sort(shares)[::-1][:8].sum()),
            float(-(positive * np.log(positive)).sum()),
            tuple(float(share[best]) for share in attended),
        )

    def _scores(self, name: str, query: Floats, arrays: Arrays, head: int | None = None) -> Floats:
        """(q, n) products of queries with all rows, block by block."""
        row = self.rows[name]
        n = len(arrays[name])
        found = np.empty((len(query), n), np.float32)
        for begin in range(0, n, BLOCK):
            part = {key: arrays[key][begin : begin + BLOCK] for key in _names(row)}
            found[:, begin : begin + BLOCK] = row.scores(part, query, head)
        return found

    def _linear(self, name: str, x: Floats) -> Floats:
        return x @ self._w[name + ".weight"].T + self._w[name + ".bias"]

    def _norm(self, name: str, x: Floats) -> Floats:
        centred = x - x.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + np.float32(1e-5))
        found: Floats = scaled * self._w[name + ".weight"] + self._w[name + ".bias"]
        return found


def best_spans(
    starts: Floats,
    ends_of: Callable[[int], Floats],
    offsets: NDArray[np.int64],
    null: float,
    total: float,
    n_spans: int,
) -> list[PageSpan]:
    """The best span of the best start's page first, then those of the next best starts that overlap none.

    starts: (n,) logits of all tokens. ends_of: the end logits of a page's tokens. total: log of the sum of exp of all
    starts and the null option.
    """
    n = min(N_STARTS, len(starts))
    candidates = np.argpartition(-starts, n - 1)[:n]
    candidates = candidates[np.lexsort((candidates, -starts[candidates]))]
    found: list[PageSpan] = []
    taken: list[tuple[int, int]] = []
    ends: dict[int, Floats] = {}
    for start in candidates.tolist():
        if len(found) >= n_spans or not np.isfinite(starts[start]):
            break
        page = int(np.searchsorted(offsets, start, "right")) - 1
        begin, stop = int(offsets[page]), int(offsets[page + 1])
        if page not in ends:
            ends[page] = ends_of(page)
            ends[page][0] = ends[page][-1] = -np.inf
        if not found:
            start = begin + _best_start(starts[begin:stop], ends[page])
        last = start + int(ends[page][start - begin : start - begin + MAX_ANSWER].argmax())
        if any(start <= b and last >= a for a, b in taken):
            continue
        taken.append((start, last))
        score = float(starts[start])
        found.append(PageSpan(page, start - begin - 1, last - begin - 1, math.exp(score - total), score - null))
    return found


def _best_start(start: Floats, end: Floats) -> int:
    """The first token of the best span of one page."""
    T = len(start)
    both = np.full((T, MAX_ANSWER), -np.inf, np.float32)
    for n in range(min(MAX_ANSWER, T)):
        both[: T - n, n] = start[: T - n] + end[n:]
    return int(both.max(1).argmax())


def _names(row: Row) -> list[str]:
    return [field.name for field in row.fields()]


def _unit(x: Floats) -> Floats:
    found: Floats = x / np.maximum(np.sqrt((x * x).sum(-1, keepdims=True)), np.float32(1e-12))
    return found


def _gelu(x: Floats) -> Floats:
    from scipy.special import erf  # type: ignore[import-untyped]

    found: Floats = x * np.float32(0.5) * (1 + erf(x / np.float32(math.sqrt(2))).astype(np.float32))
    return found
