"""Which tasks a batch is made of: by name, by share, and how large as training goes on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from selfroute.models.training import paged_tasks_keys as keys
from selfroute.models.training.paged_haystack import Batch, Haystack, collate, joined
from selfroute.models.training.paged_material import Material
from selfroute.models.training.paged_tasks_keys import Size, Split
from selfroute.models.training.paged_tasks_text import CORPUS, Corpus, continued

Task = Callable[[Material, np.random.Generator, Size, Split], Haystack]
TASKS: dict[str, Task] = {
    "pairs": keys.pairs,
    "json": keys.json_pairs,
    "needle-pairs": keys.needle_pairs,
    "hops": keys.hops,
    "variables": keys.variables,
    "needles": keys.needles,
    "continued": continued,
}
SHARES = {
    "pairs": 0.22,
    "json": 0.05,
    "needle-pairs": 0.06,
    "hops": 0.2,
    "variables": 0.06,
    "needles": 0.14,
    "continued": 0.05,
    "prose": 0.30,
    "policy": 0.03,
    "covid": 0.03,
    "code": 0.16,
}
NATURAL_FROM = 0.6  # level of the curriculum
TRIES = 20
MIXED = 0.15  # share of haystacks that are two of half the size, put together


@dataclass(frozen=True, slots=True)
class Plan:
    """The size of a batch: tokens in all, and what a haystack grows to. questions: of all haystacks of a batch."""

    tokens: int = 32768
    most_pages: int = 128
    page_tokens: int = 256
    least_tokens: int = 32
    questions: int = 384


class Tasks:
    """Draws haystacks. readers: of the model's configuration."""

    def __init__(self, material: Material, corpus: Corpus | None, shares: dict[str, float], readers: int) -> None:
        known = {*TASKS, *(corpus.kinds if corpus else ())}
        self.material, self.corpus, self.readers = material, corpus, readers
        self.shares = {name: share for name, share in shares.items() if name in known and share > 0}

    @classmethod
    def load(cls, folder: Path | None, shares: dict[str, float], readers: int, seed: int) -> Tasks:
        """What a prepared folder holds, or what needs none."""
        path = folder / CORPUS if folder else None
        corpus = Corpus(path) if path and path.is_file() else None
        return cls(Material.load(folder, seed), corpus, shares, readers)

    def one(self, name: str, rng: np.random.Generator, size: Size, split: Split = "train") -> Haystack:
        """A haystack of a task, its pages shuffled."""
        if name in TASKS:
            return TASKS[name](self.material, rng, size, split).shuffled(rng)
        assert self.corpus is not None
        return self.corpus.haystack(name, rng, size)

    def draw(self, rng: np.random.Generator, size: Size, level: float = 1.0) -> Haystack:
        """A haystack of some task, at times of two; of prepared questions only once pages are long."""
        for _ in range(TRIES - 1):
            try:
                return self._drawn(rng, size, level)
            except ValueError:  # the pages that came had room for no question of the task
                continue
        return self._drawn(rng, size, level)

    def _drawn(self, rng: np.random.Generator, size: Size, level: float) -> Haystack:
        names = [name for name in self.shares if name in TASKS or level >= NATURAL_FROM] or list(self.shares)
        p = np.array([self.shares[name] for name in names])
        chosen = [str(name) for name in rng.choice(names, 2, p=p / p.sum())]
        if rng.random() >= MIXED or size.pages < 4:
            return self.one(chosen[0], rng, size).limited(size.questions, rng)
        half = Size(size.pages // 2, size.page_tokens, size.questions // 2)
        return joined([self.one(name, rng, half).limited(half.questions, rng) for name in chosen]).shuffled(rng)

    def batch(self, rng: np.random.Generator, plan: Plan, level: float) -> Batch:
        """Haystacks of one size, as many as the plan's tokens allow. level: 0 to 1."""
        size, n = self.size(rng, plan, level)
        return collate([self.draw(rng, size, level) for _ in range(n)], self.readers, size.questions)

    def size(self, rng: np.random.Generator, plan: Plan, level: float) -> tuple[Size, int]:
        """Of each haystack, and how many: pages grow first, then their number; the largest come most often."""
        longest = plan.least_tokens * (plan.page_tokens / plan.least_tokens) ** min(1.0, 2 * level)
        most = max(1.0, plan.most_pages**level)
        page = int(longest * 0.5 ** (2 * rng.random() ** 3))
        page = max(min(plan.least_tokens, plan.page_tokens), page)
        pages = int(max(1, most * 0.5 ** (5 * rng.random() ** 3)))
        n = max(1, min(256, int(plan.tokens / (pages * (page + 2)))))
        return Size(pages, page, max(4, plan.questions // n)), n
