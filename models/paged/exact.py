"""The paged reader in torch, on a CPU or a CUDA device: the exact reference, and what reads many questions at once.

Pages are encoded in batches of a fixed shape, so that a page's numbers do not depend on what is encoded with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from selfroute.models.kv import packing
from selfroute.models.kv.presets import PLAIN, preset_of
from selfroute.models.paged import pieces
from selfroute.models.paged.counting import counted_spans
from selfroute.models.paged.fields import start_bits
from selfroute.models.paged.heads import Logits
from selfroute.models.paged.model import PagedReader, Pages, together
from selfroute.models.paged.quotes import PageSpan, best_spans

BATCH, ROUND_TO = 64, 16  # pages in a batch; lengths are rounded up to multiples


@dataclass(frozen=True, slots=True)
class Resident:
    """Encoded pages on the device. lengths: (P,) their tokens."""

    pages: Pages
    lengths: np.ndarray[Any, np.dtype[np.int32]]


class ExactReader:
    """Encodes and reads with a PagedReader."""

    def __init__(
        self, model: PagedReader, *, kv: str = "k4v4", device: str = "cpu", in_pieces: bool | None = None
    ) -> None:
        """in_pieces: keeps what comes back from the preset's bits as float16, and reads it in pieces (pieces.py); None
        for that on a CUDA device only, whose memory it is for."""
        self.model, self.device, self.preset = model.to(device).eval(), device, preset_of(kv)
        self.in_pieces = device == "cuda" if in_pieces is None else in_pieces

    def precision(self) -> Any:
        """bfloat16 on a GPU, float32 elsewhere."""
        return torch.autocast("cuda", dtype=torch.bfloat16) if self.device == "cuda" else nullcontext()

    @torch.inference_mode()
    def encode(self, pages: Sequence[Sequence[int]]) -> Resident:
        """Pages given by their tokens, [CLS] and [SEP] among them, as they come back from the preset's bits."""
        lengths = np.array([len(ids) for ids in pages], np.int32)
        T = int(-(-lengths.max() // ROUND_TO) * ROUND_TO)
        parts = []
        for first in range(0, len(pages), BATCH):
            chunk = pages[first : first + BATCH]
            tokens = np.zeros((BATCH, T), np.int32)
            for row, ids in zip(tokens, chunk, strict=False):
                row[: len(ids)] = ids
            n = np.zeros(BATCH, np.int32)
            n[: len(chunk)] = lengths[first : first + BATCH]
            real = torch.arange(T)[None] < torch.from_numpy(n)[:, None]
            with self.precision():
                made = self.model.encode(torch.from_numpy(tokens)[None].to(self.device), real[None].to(self.device))
            parts.append(self._kept(made, len(chunk)))
        return Resident(together(parts), lengths)

    @torch.inference_mode()
    def logits(self, questions: Sequence[Sequence[int]], resident: Resident) -> Logits:
        """Of questions as PagedRuntime.question_ids() gives them, of every token at once."""
        with self.precision():
            return self.model.read(self._states(questions), resident.pages)

    def _states(self, questions: Sequence[Sequence[int]]) -> Tensor:
        T = int(-(-max(map(len, questions)) // ROUND_TO) * ROUND_TO)
        tokens = torch.zeros(1, len(questions), T, dtype=torch.int32)
        real = torch.zeros(1, len(questions), T, dtype=torch.bool)
        for q, ids in enumerate(questions):
            tokens[0, q, : len(ids)] = torch.tensor(list(ids))
            real[0, q, : len(ids)] = True
        states: Tensor = self.model.question(tokens.to(self.device), real.to(self.device))
        return states

    @torch.inference_mode()
    def ask(
        self, questions: Sequence[Sequence[int]], resident: Resident, n_spans: int = 8
    ) -> list[tuple[list[PageSpan], float]]:
        """The spans of each question, best first, and the probability that nothing answers.

        Of a question that asks for counting they are the most frequent words (counting.py).
        """
        with self.precision():
            x = self._states(questions)
            if self.in_pieces:
                result = pieces.ask(self.model, x, resident.pages, n_spans)
            else:
                result = _pointed(self.model.read(x, resident.pages), resident, n_spans)
        counts = (self.model.word.asks(x[0, :, 0].float())[:, 0] > 0).tolist()
        if any(counts):
            words = resident.pages.word[resident.pages.real].float().cpu().numpy()
            counted = counted_spans([words], _offsets(resident), float(self.model.word.least), n_spans)
            result = [(counted if of else spans, null) for of, (spans, null) in zip(counts, result, strict=True)]
        return result

    def _kept(self, made: Pages, n: int) -> Pages:
        def through(x: Tensor, bits: int) -> Tensor:
            x = x[:, :n]
            x = x.half().float() if bits == PLAIN else packing.unpack(*packing.pack(x, bits), bits)
            return x.half() if self.in_pieces else x

        at = [self.preset.at(layer) for layer in range(len(made.keys))]
        bits = self.preset.bits
        return Pages(
            tuple(through(k, b.keys) for k, b in zip(made.keys, at, strict=True)),
            tuple(through(v, b.values) for v, b in zip(made.values, at, strict=True)),
            through(made.start, start_bits(bits.keys)),
            through(made.end, bits.keys),
            through(made.page, PLAIN),
            through(made.word, bits.keys),
            made.real[:, :n],
        )


def _pointed(found: Logits, resident: Resident, n_spans: int) -> list[tuple[list[PageSpan], float]]:
    offsets = _offsets(resident)
    here = resident.pages.real.flatten()
    starts = found.start[0][:, here].float().cpu().numpy()
    ends = found.end[0][:, here].float().cpu().numpy()
    null = found.null[0].float().cpu().numpy()
    result = []
    for q in range(len(starts)):
        most = max(float(starts[q].max()), float(null[q]))
        total = most + float(np.log(np.exp(starts[q] - most).sum(dtype=np.float64) + np.exp(float(null[q]) - most)))
        spans = best_spans(starts[q], _ends(ends[q], offsets), offsets, float(null[q]), total, n_spans)
        result.append((spans, float(np.exp(float(null[q]) - total))))
    return result


def _offsets(resident: Resident) -> Any:
    return np.concatenate([[0], np.cumsum(resident.lengths, dtype=np.int64)])


def _ends(ends: Any, offsets: Any) -> Any:
    return lambda page: ends[offsets[page] : offsets[page + 1]].copy()
