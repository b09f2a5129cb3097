"""How right a paged reader is on haystacks that training never draws: other names, other wordings, held-out texts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from selfroute.models.paged.model import together
from selfroute.models.training.paged_haystack import Batch, Haystack, collate
from selfroute.models.training.paged_loss import quantized, right
from selfroute.models.training.paged_tasks import SHARES, TASKS, Tasks
from selfroute.models.training.paged_tasks_keys import ASK_PAIR, PAIRS, Size, pairs_of

SEED = 987_654_321
N_QUESTIONS = 128
CHUNK = 128  # pages encoded at a time


@dataclass(frozen=True, slots=True)
class Suite:
    """Named batches of one haystack each."""

    batches: dict[str, Batch]

    @classmethod
    def made(cls, folder: Path | None, readers: int, longest: int, page: int = 250) -> Suite:
        """Every task at 32K tokens at most, wordings of testing; random pairs at 8K, 32K, 128K, ... up to `longest`."""
        tasks = Tasks.load(folder, SHARES, readers, SEED)
        rng = np.random.default_rng(SEED)
        pages = max(2, min(128, longest // (page + 2)))
        found: dict[str, Haystack] = {}
        for name in TASKS:
            found[name] = tasks.one(name, rng, Size(pages, page, N_QUESTIONS), "held").limited(N_QUESTIONS, rng)
        for name in tasks.corpus.kinds if tasks.corpus else ():
            if name.endswith("-held"):
                found[name] = tasks.one(name, rng, Size(pages, page, 2 * N_QUESTIONS))
        for n_tokens in (8192, 32768, 131072, 1048576):
            if n_tokens <= longest:
                tasks.material.renew(SEED, ("letters",), max(6000, n_tokens // 11))
                size = Size(n_tokens // (page + 2), page, N_QUESTIONS)
                found[f"letters-{n_tokens // 1024}k"] = pairs_of(
                    tasks.material, rng, size, "train", "letters", "letters", PAIRS, ASK_PAIR
                ).shuffled(rng)
        return cls({name: collate([haystack], readers) for name, haystack in found.items() if len(haystack.questions)})


@torch.no_grad()
def scores(trainer: Any, suite: Suite) -> dict[str, object]:
    """Of each batch: exact and right page, in bf16 and as kept in 4 bits; the share that the null option wins."""
    trainer.model.eval()
    result: dict[str, object] = {}
    for name, batch in suite.batches.items():
        there = trainer.put(batch)
        firsts = range(0, batch.pages.shape[1], CHUNK)
        shown = [{key: there[key][:, at : at + CHUNK] for key in ("pages", "lengths")} for at in firsts]
        pages = together([trainer.encode(part) for part in shown])
        x = trainer.questions(there)
        row: list[float] = []
        for bits in (16, 4):
            kept = quantized(pages, bits, bits)
            found = []
            for q in range(0, x.shape[1], 32):
                with trainer.precision():
                    logits = trainer.model.read(x[:, q : q + 32], kept)
                a = there["answers"]
                mine = a[(a[:, 1] >= q) & (a[:, 1] < q + 32)].clone()
                mine[:, 1] -= q
                part = slice(q, q + 32)
                found.append(right(logits, mine, there["n_groups"][:, part], there["asked"][:, part], kept.real))
            means = {key: torch.cat([f[key] for f in found]).float() for key in found[0]}
            row += [round(float(means["exact"].mean()), 3), round(float(means["page"].mean()), 3)]
            if bits == 16:
                row += [round(float(means["answered"].mean()), 3)]
                row += [round(float(means["declined"].mean()), 3) if len(means["declined"]) else -1.0]
        result[name] = row
    trainer.model.train()
    return result
