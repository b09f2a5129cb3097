"""The pointer: where an answer begins and ends among all tokens read, which page it is on, and whether there is one.

Beside it, what counts: a key that tokens share where the same word begins, and whether a question asks for counting.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfroute.models.paged.config import PagedConfig


@dataclass(frozen=True, slots=True)
class Logits:
    """start, end: (B, Q, P * T). page: (B, Q, P), what `start` has of its page. null: (B, Q), of there being none."""

    start: Tensor
    end: Tensor
    page: Tensor
    null: Tensor


@dataclass(frozen=True, slots=True)
class Asked:
    """What keys are multiplied with: start, end (B, Q, pointer), page (B, Q, page), whose products count `gate` times,
    (B, Q, 1). null: (B, Q), the logit of there being no answer."""

    start: Tensor
    end: Tensor
    page: Tensor
    gate: Tensor
    null: Tensor


class Pointer(nn.Module):
    """Cosines of the question's vectors with those kept of tokens and pages, scaled as in the global layers."""

    def __init__(self, config: PagedConfig) -> None:
        super().__init__()
        self.readers = config.readers
        self.start_key = nn.Linear(config.width, config.pointer)
        self.end_key = nn.Linear(config.width, config.pointer)
        self.page_key = nn.Linear(config.width, config.page)
        self.norm = nn.LayerNorm(config.width)
        self.start_query = nn.Linear(config.width, config.pointer)
        self.end_query = nn.Linear(config.width, config.pointer)
        self.page_query = nn.Linear(config.width, config.page)
        self.gate = nn.Linear(config.width, 1)  # how much the page counts: nothing for random keys
        self.null = nn.Linear(config.width, 1)
        self.null_size = nn.Parameter(torch.ones(1))
        self.sharpness = nn.Parameter(torch.zeros(3))
        nn.init.constant_(self.gate.bias, -2.0)
        for query, key in (
            (self.start_query, self.start_key),
            (self.end_query, self.end_key),
            (self.page_query, self.page_key),
        ):
            query.load_state_dict(key.state_dict())  # alike at the beginning: what says the same matches

    def kept(self, x: Tensor, real: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of states (..., T, W): start and end keys (..., T, pointer) and the page's (..., page), all of length 1."""
        here = real[..., None].float()
        mean = (x.float() * here).sum(-2) / here.sum(-2).clamp_min(1)
        start, end, page = self.start_key(x), self.end_key(x), self.page_key(mean)
        return tuple(F.normalize(y.float(), dim=-1) for y in (start, end, page))  # type: ignore[return-value]

    def asked(self, x: Tensor, size: Tensor) -> Asked:
        """What questions' states (B, Q, R, W) ask. size: (B,)."""
        x = self.norm(x).float()
        whole, at = x[:, :, 0], [x[:, :, min(n, self.readers - 1)] for n in (1, 2, 3)]
        factor = self.sharpness.exp() * size[:, None]  # (B, 3)
        with torch.autocast(x.device.type, enabled=False):
            queries = [self.start_query(at[0]), self.end_query(at[1]), self.page_query(at[2])]
            start, end, page = (F.normalize(q, dim=-1) * factor[:, n, None, None] for n, q in enumerate(queries))
            null = self.null(whole)[..., 0] + self.null_size * size[:, None]
            return Asked(start, end, page, F.softplus(self.gate(whole)), null)

    def forward(self, x: Tensor, start: Tensor, end: Tensor, page: Tensor, size: Tensor, length: int) -> Logits:
        """x: (B, Q, R, W). start, end: (B, N, pointer). page: (B, P, page). length: T, tokens of a page, N = P * T."""
        asked = self.asked(x, size)
        with torch.autocast(x.device.type, enabled=False):
            tokens = asked.start @ start.float().transpose(1, 2)
            of_page = asked.page @ page.float().transpose(1, 2) * asked.gate
            ends = asked.end @ end.float().transpose(1, 2)
        return Logits(tokens + of_page.repeat_interleave(length, 2), ends, of_page, asked.null)


class WordKey(nn.Module):
    """Vectors of tokens whose products are near 1 where the same word begins at both, and near 0 or below otherwise.

    How often a word occurs is then how many products with one of its tokens are above `least`
    (selfroute.models.paged.counting): pages need not have been read together.
    """

    def __init__(self, config: PagedConfig) -> None:
        super().__init__()
        self.key = nn.Linear(config.width, config.word)
        self.asks = nn.Linear(config.width, 1)  # of a question's first reading token, before it reads
        self.sharpness = nn.Parameter(torch.tensor([3.0]))
        self.least = nn.Parameter(torch.tensor([0.7]))

    def kept(self, x: Tensor) -> Tensor:
        """Of states (..., T, W): (..., T, word), shorter than 1."""
        y = self.key(x).float()
        found: Tensor = y / (1 + (y * y).sum(-1, keepdim=True)).sqrt()
        return found

    def alike(self, one: Tensor, other: Tensor) -> Tensor:
        """(n, m) logits that the same word begins at one (n, word) and other (m, word)."""
        found: Tensor = self.sharpness.exp() * (one @ other.T - self.least)
        return found
