"""Local layers computed as they are shipped: int8 weights, and inputs rounded to 8 bits as they come.

What the operators of selfroute.models.training.reader_graph do, in torch; the gradient passes rounding as if it were
not there (Bengio et al. 2013, straight-through). So training can settle on weights that lose nothing by it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from selfroute.models.paged.encoder import LocalEncoder
from selfroute.models.training.paged_graph import LEVELS
from selfroute.models.training.reader_graph import BY_ROW, GELU_LEAST, OF_GELU

PRODUCTS = ("query", "key", "value", "attended", "inner", "outer")
STEPS = 255  # of inputs


@dataclass(slots=True)
class Switch:
    """on: whether products are rounded. last: an input and what it was rounded to, for what shares it."""

    on: bool = False
    last: tuple[Tensor, Tensor] | None = None


class Rounded:
    """A linear layer's forward: rounded where the switch is on."""

    def __init__(self, linear: nn.Linear, name: str, switch: Switch) -> None:
        self.linear, self.switch = linear, switch
        self.by_row, self.of_gelu = f".{name}" in BY_ROW, f".{name}" == OF_GELU

    def __call__(self, x: Tensor) -> Tensor:
        """(N, T, out) of x (N, T, in)."""
        linear = self.linear
        if not self.switch.on:
            return F.linear(x, linear.weight, linear.bias)
        weight = linear.weight + (rounded_weight(linear.weight.detach()) - linear.weight).detach()
        last = self.switch.last
        if last is None or last[0] is not x:
            self.switch.last = last = x, x + (self.rounded_input(x.detach()) - x).detach()
        return F.linear(last[1], weight, linear.bias)

    def rounded_input(self, x: Tensor) -> Tensor:
        """x as the product sees it: one scale for all of a page, after each row is brought to 1 where that is done."""
        if self.by_row:
            size = x.amax(-1, keepdim=True) if self.of_gelu else x.abs().amax(-1, keepdim=True)
            size = size.clamp_min(GELU_LEAST if self.of_gelu else 1e-6)
            return rounded_page(x / size) * size
        return rounded_page(x)


def rounded_page(x: Tensor) -> Tensor:
    """(N, T, D) with each (T, D) rounded to 256 even steps between its least and its largest number, 0 among them."""
    least, most = (y.float().clamp(*bounds) for y, bounds in ((x.amin((1, 2)), (None, 0.0)), (x.amax((1, 2)), (0.0,))))
    step = ((most - least) / STEPS).clamp_min(1e-12)
    zero = (-least / step).round()
    step, zero = step[:, None, None], zero[:, None, None]
    found: Tensor = ((x / step).round_() + zero).clamp_(0, STEPS).sub_(zero).mul_(step).to(x.dtype)
    return found


def rounded_weight(weight: Tensor) -> Tensor:
    """(out, in) as its int8 codes and a scale a row give it again."""
    step = (weight.abs().amax(1, keepdim=True) / LEVELS).clamp_min(1e-8)
    return (weight / step).round() * step


def attach(encoder: LocalEncoder) -> Switch:
    """Lets the products of all local layers round while the switch that is returned is on."""
    switch = Switch()
    for layer in encoder.layers:
        for name in PRODUCTS:
            linear = getattr(layer, name)
            linear.forward = Rounded(linear, name, switch)
    return switch
