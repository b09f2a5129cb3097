"""A question's global read in numpy: global layers, pointer, spans. Exact over the pages it is given.

Tokens are read in blocks of a fixed size, in the order of the pages given, and what comes of the blocks is added in
that order. So the same pages in the same order give the same bits, however they were loaded and by however many threads
they are read; whoever sorts them by key has that for every order of loading.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from selfroute.models.paged.config import PagedConfig
from selfroute.models.paged.counting import counted_spans
from selfroute.models.paged.fields import END, PAGE, START, WORD, Arrays, Row
from selfroute.models.paged.keeping import Weights, kept_of, linear, unit
from selfroute.models.paged.quotes import PageSpan, best_spans
from selfroute.models.paged.scanning import BLOCK, Asked, Packed, Scratch, blocks_of, in_order, part_of
from selfroute.models.paged.selecting import best_starts, choose, only

Floats = NDArray[np.float32]
Offsets = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Reading:
    """What a question found. spans: best first. pages: (P,) logits of the pages, logsumexp of their tokens' starts.

    null: the probability that nothing answers. mass: what the pages of the best span and of the next 7 have of the
    probability. entropy: of the pages, in nats. attended: (n_global,) the share of the first reading token's attention
    that the best page has in each global layer. n_read: pages that were read wholly; the logits of others are -inf.
    counted: the question asks for counting, and the spans are the most frequent words (counting.py).
    """

    spans: tuple[PageSpan, ...]
    pages: Floats
    null: float
    mass: float
    entropy: float
    attended: tuple[float, ...]
    n_read: int = 0
    counted: bool = False

    def best_pages(self, n: int) -> list[int]:
        """The n best pages' places, best first."""
        order = np.argsort(-self.pages, kind="stable")
        return [int(i) for i in order[:n]]


@dataclass(frozen=True, slots=True)
class Attended:
    """How a global layer attended: its queries, and what scores are weighed against. most, total: (kv_heads, rows)."""

    asked: Asked
    most: Floats
    total: Floats


class GlobalRead:
    """The weights of the global layers and the pointer."""

    def __init__(self, config: PagedConfig, weights: Weights, rows: Mapping[str, Row], threads: int = 1) -> None:
        """threads: that blocks are spread over."""
        self.config, self.rows, self.threads = config, rows, threads
        self._w = {name: np.ascontiguousarray(array, np.float32) for name, array in weights.items()}

    def kept(self, states: Floats) -> dict[str, NDArray[np.generic]]:
        """What is kept of a page whose tokens have these states (T, width): arrays by name."""
        return kept_of(self.config, self._w, self.rows, states)

    def read(self, x: Floats, lengths: NDArray[np.int32], arrays: Arrays, n_spans: int = 8, select: int = 0) -> Reading:
        """x: (readers, width), a question's states. lengths: (P,) tokens of the pages, [CLS] and [SEP] among them.

        select: where there are more pages, so many are chosen by where the pointer would begin unread, and read as if
        there were no others, but for the number of tokens that scores grow with; 0 reads all.
        """
        offsets = offsets_of(lengths)
        size = self.size_of(int(offsets[-1]))
        if 0 < select < len(lengths) and self.config.n_global:
            found = self._read_chosen(self.chosen(x, offsets, arrays, select), x, size, lengths, arrays, n_spans)
        else:
            found = self._read_all(x, size, offsets, arrays, n_spans)
        if float(self._linear("word.asks", x[:1])[0, 0]) <= 0:
            return found
        row, least = self.rows[WORD], float(self._w["word.least"][0])
        blocks = (row.unpacked(part_of(row, arrays, *block)) for block in blocks_of(int(offsets[-1])))
        return replace(found, spans=tuple(counted_spans(blocks, offsets, least, n_spans)), counted=True)

    def chosen(self, x: Floats, offsets: Offsets, arrays: Arrays, select: int) -> NDArray[np.int64]:
        """The places of the pages that read() would read, rising.

        Keys are compared with what the question asks before it has read anything: what it asks after it would take a
        reading of its own.
        """
        size = self.size_of(int(offsets[-1]))
        start = self._asked_of(self._norm("pointer.norm", x), size, "start")
        by_start = best_starts(self.rows[START], start, arrays, offsets, self.threads)
        return choose(by_start, arrays[PAGE].astype(np.float32) @ self.page_query(x, size), select)

    def _read_chosen(
        self,
        chosen: NDArray[np.int64],
        x: Floats,
        size: float,
        lengths: NDArray[np.int32],
        arrays: Arrays,
        n_spans: int,
    ) -> Reading:
        part = only(arrays, lengths, chosen, PAGE)
        found = self._read_all(x, size, offsets_of(lengths[chosen]), part, n_spans)
        pages = np.full(len(lengths), -np.inf, np.float32)
        pages[chosen] = found.pages
        spans = tuple(replace(span, page=int(chosen[span.page])) for span in found.spans)
        return replace(found, pages=pages, spans=spans)

    def _read_all(self, x: Floats, size: float, offsets: Offsets, arrays: Arrays, n_spans: int) -> Reading:
        attended: list[Attended] = []
        for n in range(self.config.n_global):
            x, how = self.attend(n, x, size, arrays, int(offsets[-1]))
            attended.append(how)
        return self._point(x, size, offsets, arrays, attended, n_spans)

    def size_of(self, n: int) -> float:
        """What scores over n tokens grow with."""
        return math.log(max(2, n)) if self.config.log_n else math.log(8192)

    def asked(self, n: int, x: Floats, size: float) -> Asked:
        """The queries of a global layer: of every head's group, those of the first reading token first."""
        config, at = self.config, f"reads.{n}."
        q = self._linear(at + "query", self._norm(at + "norm", x)).reshape(len(x), config.query_heads, config.head_dim)
        q = unit(q) * (np.exp(self._w[at + "sharpness"]) * np.float32(size))[:, None]
        by_head = q.reshape(len(x), config.kv_heads, -1, config.head_dim).transpose(1, 0, 2, 3)
        return Asked(self.rows[f"k{n}"], by_head.reshape(config.kv_heads, -1, config.head_dim))

    def attend(self, n: int, x: Floats, size: float, arrays: Arrays, n_tokens: int) -> tuple[Floats, Attended]:
        """(readers, width) after a global layer over all tokens, and how it attended.

        A block's weights are those against its own largest score, until all blocks are put together.
        """
        config, at = self.config, f"reads.{n}."
        asked, keys, values = self.asked(n, x, size), self.rows[f"k{n}"], self.rows[f"v{n}"]

        def block(first: int, stop: int, scratch: Scratch) -> tuple[Floats, Floats, Floats]:
            p = Packed(keys, part_of(keys, arrays, first, stop), scratch).scores(asked)
            most = p.max((1, 3))
            p -= most[:, None, :, None]
            np.exp(p, out=p)
            return most, p.sum((1, 3)), Packed(values, part_of(values, arrays, first, stop), scratch).weighed(p)

        found = list(in_order(block, blocks_of(n_tokens, BLOCK, asked.slice), self.threads))
        most, total, y = (np.stack(part) for part in zip(*found, strict=True))
        largest = most.max(0)
        share = np.exp(most - largest)
        whole = (total * share).sum(0)
        read = (y * share[..., None]).sum(0) / whole[..., None]  # (kv_heads, readers * group, dim)
        read = read.reshape(config.kv_heads, len(x), -1, config.head_dim).transpose(1, 0, 2, 3).reshape(len(x), -1)
        x = x + self._linear(at + "out", read)
        inner = _gelu(self._linear(at + "inner", self._norm(at + "inner_norm", x)))
        return x + self._linear(at + "outer", inner), Attended(asked, largest, whole)

    def _share(self, n: int, how: Attended, arrays: Arrays, begin: int, stop: int) -> float:
        """The share of the first reading token's attention that a page had."""
        row, total = self.rows[f"k{n}"], 0.0
        group = self.config.query_heads // self.config.kv_heads
        scratch = Scratch()
        for a, b in blocks_of(stop - begin, BLOCK, how.asked.slice):
            scores = Packed(row, part_of(row, arrays, begin + a, begin + b), scratch).scores(how.asked)
            p = np.exp(scores - how.most[:, None, :, None]) / how.total[:, None, :, None]
            total += float(p[:, :, :group].sum()) / self.config.query_heads
        return total

    def page_query(self, x: Floats, size: float) -> Floats:
        """(page,): what a page's key is multiplied with, given the states (readers, width) after the global layers."""
        return self._asked_of(self._norm("pointer.norm", x), size, "page")

    def _asked_of(self, x: Floats, size: float, name: str) -> Floats:
        n = ("start", "end", "page").index(name)
        factor = np.exp(self._w["pointer.sharpness"][n]) * np.float32(size)
        at = x[min(n + 1, self.config.readers - 1)][None]
        found: Floats = (unit(self._linear(f"pointer.{name}_query", at)) * factor)[0]
        return found

    def _point(
        self, x: Floats, size: float, offsets: Offsets, arrays: Arrays, attended: list[Attended], n_spans: int
    ) -> Reading:
        page_query = self.page_query(x, size)
        x = self._norm("pointer.norm", x)
        start, end = self._asked_of(x, size, "start"), self._asked_of(x, size, "end")
        gate = np.logaddexp(np.float32(0), self._linear("pointer.gate", x[:1])[0, 0])
        null = float(self._linear("pointer.null", x[:1])[0, 0] + self._w["pointer.null_size"][0] * np.float32(size))

        def ends_of(page: int) -> Floats:
            return self._products(END, end, arrays, int(offsets[page]), int(offsets[page + 1]))

        of_page = (arrays[PAGE].astype(np.float32) @ page_query) * gate
        starts = self._products(START, start, arrays, 0, int(offsets[-1]))
        starts += np.repeat(of_page, np.diff(offsets))
        starts[offsets[:-1]] = starts[offsets[1:] - 1] = -np.inf  # [CLS] and [SEP]
        most = max(float(starts.max()), null)
        of_pages = np.add.reduceat(np.exp(starts - np.float32(most)), offsets[:-1])
        total = float(of_pages.sum(dtype=np.float64)) + math.exp(null - most)
        spans = best_spans(starts, ends_of, offsets, null, most + math.log(total), n_spans)
        shares = of_pages.astype(np.float64) / max(1e-30, float(of_pages.sum(dtype=np.float64)))
        with np.errstate(divide="ignore"):
            logits = np.log(of_pages) + np.float32(most)
        best = spans[0].page if spans else 0
        begin, stop = int(offsets[best]), int(offsets[best + 1])
        positive = shares[shares > 0]
        return Reading(
            tuple(spans),
            logits,
            math.exp(null - most) / total,
            float(np.sort(shares)[::-1][:8].sum()),
            float(-(positive * np.log(positive)).sum()),
            tuple(self._share(n, how, arrays, begin, stop) for n, how in enumerate(attended)),
            len(logits),
        )

    def _products(self, name: str, query: Floats, arrays: Arrays, begin: int, end: int) -> Floats:
        """(end - begin,) products of one query with the rows of tokens begin to end."""
        row = self.rows[name]
        asked, found = Asked(row, query[None, None]), np.empty(end - begin, np.float32)

        def block(first: int, stop: int, scratch: Scratch) -> None:
            part = part_of(row, arrays, begin + first, begin + stop)
            found[first:stop] = Packed(row, part, scratch).scores(asked).reshape(-1)

        for _ in in_order(block, blocks_of(len(found), BLOCK, asked.slice), self.threads):
            pass
        return found

    def _linear(self, name: str, x: Floats) -> Floats:
        return linear(self._w, name, x)

    def _norm(self, name: str, x: Floats) -> Floats:
        centred = x - x.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + np.float32(1e-5))
        found: Floats = scaled * self._w[name + ".weight"] + self._w[name + ".bias"]
        return found


def offsets_of(lengths: NDArray[np.int32]) -> Offsets:
    """(P + 1,): where pages of these lengths begin, and the last ends."""
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])


def _gelu(x: Floats) -> Floats:
    from scipy.special import erf  # type: ignore[import-untyped]

    found: Floats = x * np.float32(0.5) * (1 + erf(x / np.float32(math.sqrt(2))).astype(np.float32))
    return found
