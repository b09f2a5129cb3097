"""Trains the rows of an embedding bag: a question's sum is to point where its text's sum points, not another's."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Bags:
    """Texts as the rows that they sum: those of text i are rows[offsets[i] : offsets[i + 1]]."""

    rows: NDArray[np.int32]
    offsets: NDArray[np.int64]

    @classmethod
    def of(cls, texts: Iterable[list[int]]) -> Bags:
        """The texts one after another."""
        texts = list(texts)
        offsets = np.cumsum([0, *map(len, texts)])
        return cls(np.fromiter(chain.from_iterable(texts), np.int32, int(offsets[-1])), offsets)

    def lengths(self) -> NDArray[np.int64]:
        """The number of rows of each text."""
        return np.diff(self.offsets)

    def select(self, which: NDArray[np.int64]) -> Bags:
        """Some of the texts, in the order asked for."""
        return Bags.of(self.rows[self.offsets[i] : self.offsets[i + 1]].tolist() for i in which)

    def pick(
        self, which: NDArray[np.int64], dropout: float, rng: np.random.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The rows of some texts, each left out with a probability of `dropout`, and where each text starts."""
        lengths = self.lengths()[which]
        starts = np.cumsum(lengths) - lengths
        rows = self.rows[np.repeat(self.offsets[which] - starts, lengths) + np.arange(lengths.sum())]
        kept = rng.random(len(rows)) >= dropout
        kept[starts] = True  # no text may become empty
        new_lengths = np.add.reduceat(kept, starts, dtype=np.int64)
        return torch.from_numpy(rows[kept].astype(np.int64)), torch.from_numpy(np.cumsum(new_lengths) - new_lengths)


@dataclass(frozen=True, slots=True)
class Training:
    """The settings of a run; the defaults made the shipped weights."""

    steps: int = 2400
    batch_size: int = 1024
    run_length: int = 256  # pairs of one package side by side: negatives that look alike
    learning_rate: float = 1e-3
    warmup: int = 50  # steps
    temperature: float = 0.05
    question_dropout: float = 0.1
    text_dropout: float = 0.2
    seed: int = 0


def train(
    table: NDArray[np.float32],
    questions: Bags,
    texts: Bags,
    groups: NDArray[np.int64],
    settings: Training,
    report: Callable[[int, float, float], None],
) -> NDArray[np.float32]:
    """The trained copy of `table` (N, D): symmetric InfoNCE over cosines within each batch (van den Oord et al. 2018).

    Pair i is questions[i], texts[i], and comes from groups[i]. report(step, mean loss, seconds) is called now and then.
    """
    torch.manual_seed(settings.seed)
    rng = np.random.default_rng(settings.seed)
    rows = torch.nn.Parameter(torch.from_numpy(table.copy()))
    optimizer = torch.optim.Adam([rows], lr=settings.learning_rate, betas=(0.9, 0.99))
    started, total = time.perf_counter(), 0.0
    batches: Iterator[NDArray[np.int64]] = iter(())
    for step in range(1, settings.steps + 1):
        batch = next(batches, None)
        if batch is None:
            batches = iter(_batches(groups, settings, rng))
            batch = next(batches)
        optimizer.param_groups[0]["lr"] = settings.learning_rate * _schedule(step, settings)
        asked, asked_starts = questions.pick(batch, settings.question_dropout, rng)
        read, read_starts = texts.pick(batch, settings.text_dropout, rng)
        u = F.normalize(F.embedding_bag(asked, rows, asked_starts, mode="sum"), dim=1)
        v = F.normalize(F.embedding_bag(read, rows, read_starts, mode="sum"), dim=1)
        scores = u @ v.T / settings.temperature
        target = torch.arange(len(batch))
        loss = (F.cross_entropy(scores, target) + F.cross_entropy(scores.T, target)) / 2
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        total += loss.item()
        if step % 100 == 0:
            report(step, total / 100, time.perf_counter() - started)
            total = 0.0
    trained: NDArray[np.float32] = rows.detach().numpy()
    return trained


def _batches(groups: NDArray[np.int64], settings: Training, rng: np.random.Generator) -> list[NDArray[np.int64]]:
    """One epoch: every group shuffled and cut into runs, the runs shuffled and joined to batches; the rest is left."""
    order = rng.permutation(len(groups))
    order = order[np.argsort(groups[order], kind="stable")]
    runs = [order[i : i + settings.run_length] for i in range(0, len(order), settings.run_length)]
    mixed = np.concatenate([runs[i] for i in rng.permutation(len(runs))])
    n = max(1, math.floor(len(mixed) / settings.batch_size))
    return [mixed[i * settings.batch_size : (i + 1) * settings.batch_size] for i in range(n)]


def _schedule(step: int, settings: Training) -> float:
    """Rises over the warm-up, then falls to a fiftieth along a line."""
    return min(step / settings.warmup, max(0.02, 1 - step / settings.steps))
