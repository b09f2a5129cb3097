"""What is taken off keys before they are packed: a mean and a spread for each channel, fixed from the first tokens.

Keys have a few channels that are large and much the same for every token. Less their mean, and each channel over the
root of its own spread, a row is nearly even and few bits do. (Over the spread itself the large channels, which count
most in a product, would be coarser than need be: 8% more error on keys of a trained model.) Nothing is lost by it:
q.k = (q * gain).k' + q.shift, the last term is the same for all tokens of a head, and softmax drops it. (Per-channel
treatment of keys: KIVI, Liu et al. 2024.)

Where positions turn keys (RoPE), a mean over the first tokens is soon not the mean: taken off, it would double what it
was to remove. The size of a pair of channels that turn together stays: those are not moved, only measured by it.
"""

from __future__ import annotations

import torch

STATS_TOKENS = 64  # that shift and gain come from; until they are there, keys and values wait unpacked
FLOOR = 1 / 64  # of the head's spread: the least gain of a channel, so that no later key is blown up without bound
TINY = 1e-6
PEAK = 2.9  # of a pair of channels that spread by 1: the largest of STATS_TOKENS, sqrt(2 ln 64)


def statistics(
    keys: torch.Tensor, visible: torch.Tensor | None = None, rotary: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    """(shift, gain), float32 [B, H, D], of keys [B, H, N, D]: the mean, and what it is measured by.

    Of the first STATS_TOKENS keys; visible, bool [B, N], says which are no padding, and padding is passed over. The
    first `rotary` channels have their shift 0, and their gain from the largest of their pair (j, j + rotary / 2).
    """
    if visible is None:
        x = keys[:, :, :STATS_TOKENS].float()
        share = torch.full((1, 1, x.shape[2], 1), 1 / x.shape[2], device=keys.device)
    else:
        counted = visible & (visible.cumsum(-1) <= STATS_TOKENS)
        counted[~counted.any(-1), :STATS_TOKENS] = True  # a sequence of nothing but padding
        reach = int(counted.any(0).nonzero().max()) + 1
        x, counted = keys[:, :, :reach].float(), counted[:, :reach]
        share = (counted / counted.sum(-1, keepdim=True))[:, None, :, None]
    shift = (x * share).sum(-2)
    spread = ((x - shift.unsqueeze(-2)).square() * share).sum(-2).sqrt()
    size = (x.square() * share).sum(-2).mean(-1, keepdim=True).sqrt()
    gain = (spread * size).sqrt()
    if rotary:
        pairs = x[..., :rotary].reshape(*x.shape[:-1], 2, rotary // 2).square().sum(-2)
        peak = (pairs * (share > 0)).amax(-2).sqrt() / PEAK
        shift = torch.cat((torch.zeros_like(shift[..., :rotary]), shift[..., rotary:]), -1)
        gain = torch.cat((peak, peak, gain[..., rotary:]), -1)
    return shift, torch.maximum(gain, (size * FLOOR).clamp(min=TINY))


def normalise(keys: torch.Tensor, shift: torch.Tensor, gain: torch.Tensor) -> torch.Tensor:
    """(keys - shift) / gain in float32, for keys [B, H, N, D]."""
    return (keys.float() - shift.unsqueeze(-2)) / gain.unsqueeze(-2)
