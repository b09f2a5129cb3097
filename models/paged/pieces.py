"""Questions over very many pages in torch, for a device: pages stay float16, a piece of them at a time is float32.

What a piece adds is put together with what came before it as in an online softmax (Milakov and Gimelshein 2018), in the
order of the pages. Logits stay on the device; what leaves it are the best starts, and single pages' ends.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from selfroute.models.paged.global_layers import GlobalLayer
from selfroute.models.paged.model import PagedReader, Pages, answerable, size_of
from selfroute.models.paged.quotes import N_STARTS, PageSpan, spans_among

TOKENS = 1 << 20  # of a piece, at most
SCORES = 1 << 27  # of a piece, at most

Ranges = list[tuple[int, int]]


def ask(model: PagedReader, x: Tensor, pages: Pages, n_spans: int) -> list[tuple[list[PageSpan], float]]:
    """As ExactReader.ask(). x: (1, Q, R, W), states of questions. pages: of one set, whose numbers may be float16."""
    size = size_of(pages.real, model.config.log_n)
    rows = x.shape[1] * x.shape[2] * model.config.query_heads
    _, P, T = pages.real.shape
    ranges = list(ranges_of(P, T, min(TOKENS, SCORES // rows)))
    for layer, keys, values in zip(model.reads, pages.keys, pages.values, strict=True):
        x = attend(layer, x, keys[0], values[0], pages.real[0], size, ranges)  # type: ignore[arg-type]
    return point(model, x, pages, size, ranges, n_spans)


def ranges_of(n_pages: int, T: int, most: int) -> Iterator[tuple[int, int]]:
    """Pages of each piece: at most so many tokens, or one page."""
    step = max(1, most // T)
    for first in range(0, n_pages, step):
        yield first, min(first + step, n_pages)


def attend(
    layer: GlobalLayer, x: Tensor, keys: Tensor, values: Tensor, real: Tensor, size: Tensor, ranges: Ranges
) -> Tensor:
    """GlobalLayer.forward() over keys and values (P, T, kv_heads, dim), of which `real` (P, T) are no padding."""
    _, Q, R, _ = x.shape
    q = F.normalize(layer.query(layer.norm(x)).float().view(Q * R, layer.heads, layer.dim), dim=-1)
    q = q * (layer.sharpness.exp()[:, None] * size)
    q = q.view(Q * R, layer.kv_heads, -1, layer.dim).transpose(0, 1).flatten(1, 2)  # (kv_heads, rows, dim)
    most = q.new_full(q.shape[:2], -torch.inf)
    total, y = torch.zeros_like(most), torch.zeros_like(q)
    with torch.autocast(x.device.type, enabled=False):
        for first, stop in ranges:
            k, v = (part[first:stop].flatten(0, 1).float().transpose(0, 1) for part in (keys, values))
            scores = torch.bmm(q, k.transpose(1, 2)).masked_fill_(~real[first:stop].flatten(), -torch.inf)
            above = torch.maximum(most, scores.amax(-1))
            p, fade = scores.sub_(above[..., None]).exp_(), (most - above).exp()
            total = total * fade + p.sum(-1)
            y = y * fade[..., None] + torch.bmm(p, v)
            most = above
        y = y / total[..., None]
    y = y.view(layer.kv_heads, Q * R, -1, layer.dim).transpose(0, 1).reshape(1, Q, R, layer.heads * layer.dim)
    x = x + layer.out(y)
    return x + layer.outer(F.gelu(layer.inner(layer.inner_norm(x))))  # type: ignore[no-any-return]


def point(
    model: PagedReader, x: Tensor, pages: Pages, size: Tensor, ranges: Ranges, n_spans: int
) -> list[tuple[list[PageSpan], float]]:
    """Spans and the probability of there being none, of each question."""
    P, T = pages.real.shape[1:]
    may = answerable(pages.real)[0]
    asked = model.pointer.asked(x, size)
    with torch.autocast(x.device.type, enabled=False):
        of_page = asked.page[0] @ pages.page[0].float().T * asked.gate[0]
        starts = of_page.new_empty(len(of_page), P, T)
        for first, stop in ranges:
            part = starts[:, first:stop]
            part.copy_((asked.start[0] @ pages.start[0, first:stop].float().flatten(0, 1).T).view_as(part))
            part.add_(of_page[:, first:stop, None]).masked_fill_(~may[first:stop], -torch.inf)
        flat = starts.flatten(1)
        total = torch.logaddexp(flat.logsumexp(1), asked.null[0])
        best = flat.topk(min(N_STARTS, P * T), 1)
    logits, at = best.values.cpu().numpy(), best.indices.cpu().numpy()
    null, sums = asked.null[0].float().cpu().numpy(), total.cpu().numpy()
    offsets = np.arange(P + 1, dtype=np.int64) * T

    def one(q: int) -> list[PageSpan]:
        def starts_of(page: int) -> NDArray[np.float32]:
            found: NDArray[np.float32] = starts[q, page].cpu().numpy()
            return found

        def ends_of(page: int) -> NDArray[np.float32]:
            with torch.autocast(x.device.type, enabled=False):
                ends = pages.end[0, page].float() @ asked.end[0, q]
            found: NDArray[np.float32] = ends.masked_fill(~may[page], -torch.inf).cpu().numpy()
            return found

        return spans_among(at[q], logits[q], starts_of, ends_of, offsets, float(null[q]), float(sums[q]), n_spans)

    return [(one(q), float(np.exp(null[q] - sums[q]))) for q in range(len(at))]
