"""A gated delta rule over a page, in chunks, in plain torch: linear in the page's length.

Each head keeps a matrix S that maps keys to values: S becomes a S (1 - b k k') + b v k', with a decay a and a strength
b of every token (Yang et al. 2024, "Gated Delta Networks"). Half of the heads run forwards, half backwards.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

CHUNK = 64


def gated_delta(q: Tensor, k: Tensor, v: Tensor, decay: Tensor, beta: Tensor) -> Tensor:
    """[B, H, T, D] of q, k, v [B, H, T, D], k of length 1; decay, beta: [B, H, T], log of a (at most 0), and b.

    A token with decay 0 and beta 0 leaves the state as it is: padding. Computed in float32.
    """
    B, H, T, D = q.shape
    C = min(CHUNK, T)
    pad = -T % C
    if pad:
        q, k, v = (F.pad(x, (0, 0, 0, pad)) for x in (q, k, v))
        decay, beta = F.pad(decay, (0, pad)), F.pad(beta, (0, pad))
    N = (T + pad) // C
    q, k, v = (x.float().view(B, H, N, C, D) for x in (q, k, v))
    g = decay.float().view(B, H, N, C).cumsum(-1)
    b = beta.float().view(B, H, N, C, 1)
    fade = (g[..., :, None] - g[..., None, :]).tril().exp().tril()
    kb, vb = k * b, v * b
    within = (kb @ k.transpose(-1, -2) * fade).tril(-1)
    eye = torch.eye(C, device=q.device).expand_as(within)
    solved = torch.linalg.solve_triangular(eye + within, torch.cat([vb, kb * g.exp()[..., None]], -1), upper=False)
    u, w = solved.split(D, -1)
    looked = (q @ k.transpose(-1, -2) * fade).tril()
    state = q.new_zeros(B, H, D, D)
    found = []
    for n in range(N):
        new = u[:, :, n] - w[:, :, n] @ state
        found.append((q[:, :, n] * g[:, :, n, :, None].exp()) @ state + looked[:, :, n] @ new)
        last = g[:, :, n, -1:, None]
        state = state * last.exp() + (k[:, :, n] * (last - g[:, :, n, :, None]).exp()).transpose(-1, -2) @ new
    return torch.cat(found, 2)[:, :, :T]


def both_ways(q: Tensor, k: Tensor, v: Tensor, decay: Tensor, beta: Tensor) -> Tensor:
    """gated_delta forwards with the first half of the heads, backwards with the rest."""
    n = q.shape[1] // 2
    turned = [torch.cat([x[:, :n], x[:, n:].flip(2)], 1) for x in (q, k, v, decay, beta)]
    y = gated_delta(*turned)
    return torch.cat([y[:, :n], y[:, n:].flip(2)], 1)
