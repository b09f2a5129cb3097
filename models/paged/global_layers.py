"""The global layers: a question's reading tokens attend to the keys and values of every page, wherever it stands.

There are no positions in them (Kazemnejad et al. 2023), scores are cosines times a learned factor times log n, n being
the number of tokens read (Nakanishi 2025, "Scalable-Softmax"): a match stands out among a million tokens as it does
among a thousand.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfroute.models.paged.config import PagedConfig


class GlobalLayer(nn.Module):
    """One global layer. Its keys and values are linear in a page's last local states, and kept with the page."""

    def __init__(self, config: PagedConfig) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.dim = config.query_heads, config.kv_heads, config.head_dim
        self.key = nn.Linear(config.width, self.kv_heads * self.dim)
        self.value = nn.Linear(config.width, self.kv_heads * self.dim)
        self.norm = nn.LayerNorm(config.width)
        self.query = nn.Linear(config.width, self.heads * self.dim)
        self.out = nn.Linear(self.heads * self.dim, config.width)
        self.inner_norm = nn.LayerNorm(config.width)
        self.inner = nn.Linear(config.width, config.global_inner)
        self.outer = nn.Linear(config.global_inner, config.width)
        self.sharpness = nn.Parameter(torch.zeros(self.heads))
        with torch.no_grad():  # alike at the beginning: what says the same matches
            groups = self.heads // self.kv_heads
            rows = self.key.weight.view(self.kv_heads, 1, self.dim, config.width)
            self.query.weight.copy_(rows.expand(-1, groups, -1, -1).reshape(-1, config.width))
        nn.init.zeros_(self.outer.weight)
        nn.init.zeros_(self.outer.bias)

    def kept(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Keys of length 1, and values: (..., kv_heads, dim) of states (..., W)."""
        k, v = (f(x).view(*x.shape[:-1], self.kv_heads, self.dim) for f in (self.key, self.value))
        return F.normalize(k.float(), dim=-1), v.float()

    def forward(self, x: Tensor, keys: Tensor, values: Tensor, seen: Tensor | None, size: Tensor) -> Tensor:
        """x: (B, Q, R, W). keys, values: (B, N, kv_heads, dim). seen: (B, N). size: (B,), what scores grow with."""
        B, Q, R, _ = x.shape
        q = F.normalize(self.query(self.norm(x)).float().view(B, Q * R, self.heads, self.dim), dim=-1)
        q = q * (self.sharpness.exp()[:, None] * size[:, None, None, None])
        groups = self.heads // self.kv_heads
        k, v = (y.transpose(1, 2).repeat_interleave(groups, 1) for y in (keys, values))
        kind = torch.get_autocast_dtype(x.device.type) if torch.is_autocast_enabled(x.device.type) else q.dtype
        mask = None if seen is None else seen[:, None, None]
        q, k, v = q.transpose(1, 2).to(kind), k.to(kind), v.to(kind)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=1.0)
        x = x + self.out(y.transpose(1, 2).reshape(B, Q, R, self.heads * self.dim))
        return x + self.outer(F.gelu(self.inner(self.inner_norm(x))))  # type: ignore[no-any-return]
