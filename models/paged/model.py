"""The paged reader in torch: what is trained, and the exact reference of the runtime.

A page is [CLS] text [SEP], read by the local layers alone; what is kept of it are, for each of its tokens, the keys and
values of the global layers, two pointer keys and a word's, and a key of the whole page. A question is [CLS], its
text, when it is asked again [SEP] and what was found so far, then the other reading tokens and [SEP]. The reading
tokens come last so that they see a key from where a value would: right after it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from selfroute.models.paged.config import PagedConfig
from selfroute.models.paged.encoder import LocalEncoder
from selfroute.models.paged.global_layers import GlobalLayer
from selfroute.models.paged.heads import Logits, Pointer, WordKey


@dataclass(frozen=True, slots=True)
class Pages:
    """What is kept of B sets of P pages, padded to T tokens each.

    keys, values: one (B, P, T, kv_heads, dim) for each global layer. start, end: (B, P, T, pointer). page: (B, P,
    page). word: (B, P, T, word). real: (B, P, T), false for padding. The page's [CLS] is its token 0; no answer is
    there or at its [SEP].
    """

    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]
    start: Tensor
    end: Tensor
    page: Tensor
    word: Tensor
    real: Tensor


class PagedReader(nn.Module):
    """Pages to what is kept of them, questions and pages to logits."""

    def __init__(self, config: PagedConfig, words: Tensor) -> None:
        """words: (vocabulary, width) float32, frozen and not part of the weights."""
        super().__init__()
        self.config = config
        self.local = LocalEncoder(config, words)
        self.reads = nn.ModuleList(GlobalLayer(config) for _ in range(config.n_global))
        self.pointer = Pointer(config)
        self.word = WordKey(config)

    def encode(self, tokens: Tensor, real: Tensor) -> Pages:
        """tokens, real: (B, P, T). No page's result depends on another page, nor on padding."""
        B, P, T = tokens.shape
        flat, here = tokens.view(B * P, T), real.view(B * P, T)
        x = self.local(flat, here).view(B, P, T, -1)
        kept = [layer.kept(x) for layer in self.reads]  # type: ignore[operator]
        start, end, page = self.pointer.kept(x, real)
        return Pages(tuple(k for k, _ in kept), tuple(v for _, v in kept), start, end, page, self.word.kept(x), real)

    def question(self, tokens: Tensor, real: Tensor) -> Tensor:
        """The states (B, Q, R, W) of the reading tokens of questions (B, Q, Tq), before they read."""
        B, Q, T = tokens.shape
        x = self.local(tokens.view(-1, T), real.view(-1, T))
        R = self.config.readers
        at = real.view(-1, T).sum(1, keepdim=True) - R - 1 + torch.arange(R, device=x.device)
        at[:, 0] = 0
        return x.gather(1, at.clamp_min(0)[..., None].expand(-1, -1, x.shape[-1])).view(B, Q, R, -1)  # type: ignore[no-any-return]

    def read(self, x: Tensor, pages: Pages) -> Logits:
        """The logits of questions' states over pages, -inf for padding, [CLS] and [SEP]."""
        B, _, T = pages.real.shape
        size = size_of(pages.real, self.config.log_n)
        seen = pages.real.flatten(1)
        whole = bool(seen.all())
        for layer, keys, values in zip(self.reads, pages.keys, pages.values, strict=True):
            k, v, mask = keys.flatten(1, 2), values.flatten(1, 2), None if whole else seen
            if B == 1 and not whole:  # without padding rather than with a mask
                k, v, mask = k[:, seen[0]], v[:, seen[0]], None
            x = layer(x, k, v, mask, size)
        found = self.pointer(x, pages.start.flatten(1, 2), pages.end.flatten(1, 2), pages.page, size, T)
        may = answerable(pages.real).flatten(1)[:, None]
        start, end = (y.masked_fill(~may, -torch.inf) for y in (found.start, found.end))
        return replace(found, start=start, end=end)  # type: ignore[no-any-return]

    def forward(self, tokens: Tensor, real: Tensor, asked: Tensor, there: Tensor) -> Logits:
        """encode, question and read in one."""
        return self.read(self.question(asked, there), self.encode(tokens, real))


def answerable(real: Tensor) -> Tensor:
    """(..., T): the tokens of pages where an answer may begin or end: all but the first and the last."""
    may = real.clone()
    may[..., 0] = False
    return may & torch.cat([real[..., 1:], torch.zeros_like(real[..., :1])], -1)


def size_of(real: Tensor, log_n: bool) -> Tensor:
    """(B,): log of the number of tokens of each set of pages; a constant where scores do not grow."""
    n = real.flatten(1).sum(1).clamp_min(2).float()
    return n.log() if log_n else torch.full_like(n, math.log(8192))


def together(parts: Sequence[Pages]) -> Pages:
    """Pages encoded apart as one set."""
    n = len(parts[0].keys)
    return Pages(
        tuple(torch.cat([p.keys[i] for p in parts], 1) for i in range(n)),
        tuple(torch.cat([p.values[i] for p in parts], 1) for i in range(n)),
        *(torch.cat([getattr(p, name) for p in parts], 1) for name in ("start", "end", "page", "word", "real")),
    )
