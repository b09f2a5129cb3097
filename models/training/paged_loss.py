"""The paged reader's loss, and how right it is."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from selfroute.models.kv import packing
from selfroute.models.paged.fields import start_bits
from selfroute.models.paged.heads import Logits
from selfroute.models.paged.model import Pages

MAX_ANSWER = 60  # tokens


def packed_like(x: Tensor, bits: int) -> Tensor:
    """x as it comes back from its packed form; the gradient is that of x."""
    with torch.no_grad():
        back = packing.unpack(*packing.pack(x, bits), bits)
    return x + (back - x).detach()


def quantized(pages: Pages, keys: int, values: int) -> Pages:
    """The pages as they are read again after being kept with so many bits; 16 leaves them as they are."""

    def through(x: Tensor, bits: int) -> Tensor:
        return x if bits >= 16 else packed_like(x, bits)

    return replace(
        pages,
        keys=tuple(through(k, keys) for k in pages.keys),
        values=tuple(through(v, values) for v in pages.values),
        start=through(pages.start, start_bits(keys)),
        end=through(pages.end, keys),
        word=through(pages.word, keys),
    )


def answer_loss(found: Logits, answers: Tensor, n_groups: Tensor, asked: Tensor, pages: Pages) -> dict[str, Tensor]:
    """Means over the questions asked.

    start: -log p of the right places of each group, all tokens and the null option sharing one softmax; the mean over
    the groups. right: (B,), the share whose best start, or null option, is right. end: as start, within the pages that
    hold an answer. page: (B,), as start, of the page's own score, over pages.
    answers: (n, 6) haystack, question, page, first, last, group. n_groups, asked: (B, Q).
    """
    B, Q = asked.shape
    P, T = pages.real.shape[1:]
    b, q, page, first, last, group = answers.long().T
    row = b * Q + q
    start = torch.cat([found.start, found.null[..., None]], -1).view(B * Q, -1).log_softmax(-1)
    none = n_groups.view(-1) == 0
    of_start = _grouped(start[row, page * T + first], row, group, n_groups.view(-1))
    of_start = torch.where(none, -start[:, -1], of_start)

    holds = torch.zeros(B * Q, P, dtype=torch.bool, device=row.device)
    holds[row, page] = True
    holds |= none[:, None]  # of no account, but a sum over nothing has no gradient
    scores = found.end.view(B * Q, P, T)
    total = torch.logsumexp(scores.masked_fill(~holds[..., None], -torch.inf).flatten(1), 1)
    at = torch.where(total.isfinite()[row], scores[row, page, last] - total.nan_to_num(neginf=0.0)[row], 0.0)
    of_end = _grouped(at, row, group, n_groups.view(-1))

    exists = pages.real.any(-1)[:, None]
    by_page = found.page.masked_fill(~exists, -torch.inf).log_softmax(-1).view(B * Q, P)
    of_page = _grouped(by_page[row, page], row, group, n_groups.view(-1))
    best = start.detach().max(1).values
    hits = best.new_zeros(B * Q).index_add(0, row, (start.detach()[row, page * T + first] >= best[row]).float()) > 0
    hits = torch.where(none, start.detach()[:, -1] >= best, hits)
    here, answered = asked.view(-1).float(), (asked.view(-1) & ~none).float()
    return {
        "start": (of_start * here).sum() / here.sum().clamp_min(1),
        "right": (hits * here).view(B, Q).sum(1) / here.view(B, Q).sum(1).clamp_min(1),
        "end": (of_end * answered).sum() / answered.sum().clamp_min(1),
        "page": (of_page * answered).view(B, Q).sum(1) / answered.view(B, Q).sum(1).clamp_min(1),
    }


def _grouped(logp: Tensor, row: Tensor, group: Tensor, n_groups: Tensor) -> Tensor:
    """(rows,): the mean over a row's groups of -log of the summed probability of a group's places; 0 without any."""
    width = 8
    slot = row * width + group.clamp_max(width - 1)
    n = len(n_groups) * width
    most = logp.new_full((n,), -torch.inf).scatter_reduce(0, slot, logp.detach(), "amax")
    summed = logp.new_zeros(n).index_add(0, slot, (logp - most[slot].nan_to_num(neginf=0.0)).exp())
    there = most.isfinite() & (summed > 0)
    value = torch.where(there, -(torch.where(there, summed, 1.0).log() + most.nan_to_num(neginf=0.0)), 0.0)
    return value.view(-1, width).sum(1) / n_groups.clamp_min(1)


@torch.no_grad()
def best_spans(found: Logits, real: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(B, Q) page, first and last place of the best span of the page of the best start, and its start's score."""
    B, P, T = real.shape
    Q = found.start.shape[1]
    score, at = found.start.max(-1)
    page = at // T
    place = page[..., None, None].expand(B, Q, 1, T)
    start, end = (y.view(B, Q, P, T).gather(2, place)[:, :, 0] for y in (found.start, found.end))
    both = start[..., :, None] + end[..., None, :]
    i = torch.arange(T, device=at.device)
    both = both.masked_fill((i[None] < i[:, None]) | (i[None] - i[:, None] >= MAX_ANSWER), -torch.inf)
    best = both.flatten(2).argmax(-1)
    return page, best // T, best % T, score


@torch.no_grad()
def right(found: Logits, answers: Tensor, n_groups: Tensor, asked: Tensor, real: Tensor) -> dict[str, Tensor]:
    """(B * Q,) of the questions with an answer: exact, on the right page; and answered, above the null option."""
    B, Q = asked.shape
    page, first, last, score = (y.flatten() for y in best_spans(found, real))
    b, q, right_page, right_first, right_last, _ = answers.long().T
    row = b * Q + q
    hit = (page[row] == right_page) & (first[row] == right_first) & (last[row] == right_last)
    exact = torch.zeros(B * Q, dtype=torch.bool, device=row.device).index_put(
        (row[hit],), torch.tensor(True).to(row.device)
    )
    near = page[row] == right_page
    on = torch.zeros_like(exact).index_put((row[near],), torch.tensor(True).to(row.device))
    mine = asked.view(-1) & (n_groups.view(-1) > 0)
    none = asked.view(-1) & (n_groups.view(-1) == 0)
    declined = found.null.flatten() > score
    return {"exact": exact[mine], "page": on[mine], "answered": ~declined[mine], "declined": declined[none]}
