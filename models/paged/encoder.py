"""The local layers: BERT's, whose tokens see their own page only, with attention or with a recurrence in its place.

Names and sizes are those of the reader's layers (selfroute.models.training.reader_model), so that MiniLM's weights and
the reader's can be taken for either kind.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfroute.models.paged.config import PagedConfig
from selfroute.models.paged.delta import both_ways

EPSILON = 1e-12


class LocalLayer(nn.Module):
    """One layer, normalised after each half as BERT is; before the first layers a convolution is added to their input.

    Attention finds tokens by what they say; which token is the third before another is the convolution's.
    """

    def __init__(self, config: PagedConfig, recurrent: bool, convolved: bool) -> None:
        super().__init__()
        width = config.width
        self.n_heads, self.recurrent = config.heads, recurrent
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.attended = nn.Linear(width, width)
        self.attended_norm = nn.LayerNorm(width, eps=EPSILON)
        self.inner = nn.Linear(width, config.inner)
        self.outer = nn.Linear(config.inner, width)
        self.outer_norm = nn.LayerNorm(width, eps=EPSILON)
        self.conv = nn.Parameter(torch.zeros(width, 1, config.conv)) if convolved else None
        if recurrent:
            self.gates = nn.Linear(width, 2 * config.heads)
            nn.init.zeros_(self.gates.weight)
            with torch.no_grad():  # a decay of about 0.98 a token, a strength of a half
                self.gates.bias.copy_(torch.tensor([-4.0] * config.heads + [0.0] * config.heads))

    def forward(self, x: Tensor, seen: Tensor, real: Tensor) -> Tensor:
        """x: (B, T, W). seen: (B, 1, 1 or T, T), what each token looks at. real: (B, T), false for padding."""
        B, T, W = x.shape
        if self.conv is not None:
            shown = (x * real[..., None]).transpose(1, 2)
            x = x + F.conv1d(shown, self.conv, padding=self.conv.shape[2] // 2, groups=W).transpose(1, 2)
        q, k, v = (f(x).view(B, T, self.n_heads, -1).transpose(1, 2) for f in (self.query, self.key, self.value))
        if self.recurrent:
            decay, beta = self.gates(x).float().transpose(1, 2).chunk(2, 1)
            here = real[:, None]
            decay, beta = -F.softplus(decay) * here, beta.sigmoid() * here
            with torch.autocast(x.device.type, enabled=False):
                y = both_ways(F.normalize(q.float(), dim=-1), F.normalize(k.float(), dim=-1), v.float(), decay, beta)
            y = y.to(v.dtype)
        else:
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=seen)
        x = self.attended_norm(x + self.attended(y.transpose(1, 2).reshape(B, T, W)))
        return self.outer_norm(x + self.outer(F.gelu(self.inner(x))))  # type: ignore[no-any-return]


class LocalEncoder(nn.Module):
    """Tokens of one page, or of one question, to their states. The word vectors are given, and are not trained.

    A page and a question are read alike: what stands before a value looks like what a question ends with.
    """

    words: Tensor

    def __init__(self, config: PagedConfig, words: Tensor) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("words", words, persistent=False)
        self.positions = nn.Embedding(config.positions, config.width)
        self.segment = nn.Parameter(torch.zeros(config.width))  # BERT's second
        self.norm = nn.LayerNorm(config.width, eps=EPSILON)
        self.layers = nn.ModuleList(
            LocalLayer(config, config.recurrent(n), n < config.conv_layers) for n in range(config.layers)
        )

    def forward(self, tokens: Tensor, real: Tensor) -> Tensor:
        """(B, T, W). tokens: (B, T) ids. real: (B, T), false for padding."""
        T = tokens.shape[1]
        x = self.norm(self.words[tokens] + self.positions.weight[:T] + self.segment)
        seen = real[:, None, None, :]
        if self.config.encoder == "windowed":
            at = torch.arange(T, device=tokens.device)
            seen = seen & ((at[:, None] - at[None]).abs() <= self.config.window)[None, None]
            seen = seen | torch.eye(T, dtype=torch.bool, device=tokens.device)[None, None]
        for layer in self.layers:
            x = layer(x, seen, real)
        return x  # type: ignore[no-any-return]
