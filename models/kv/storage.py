"""Room for the keys or the values of one layer, made once: packed rows or plain ones, the oldest of them on the host.

Rows are written where they belong and never touched again: adding a token costs the same, however many there are.
"""

from __future__ import annotations

import torch

from selfroute.models.kv.packing import check, pack, unpack
from selfroute.models.kv.presets import PLAIN


class Store:
    """Rows [B, H, room, D]. codes and scales as in packing, or with PLAIN bits codes of the model's dtype, no scales.

    on_host: how many of the first rows lie in main memory; those that follow lie at index 0 on of codes and scales.
    """

    def __init__(self, like: torch.Tensor, bits: int, room: int) -> None:
        """like: [B, H, _, D] on the device and of the dtype of what will come. Raises ConfigError for an odd D."""
        if bits != PLAIN:
            check(like.shape[-1], bits)
        self.bits, self.dim, self.dtype, self.device = bits, like.shape[-1], like.dtype, like.device
        self.on_host = 0
        self.host: tuple[torch.Tensor, ...] = ()
        self.parts = self._make(like.shape[0], like.shape[1], room)

    @property
    def codes(self) -> torch.Tensor:
        """uint8 [B, H, room, D * bits / 8], or the model's dtype."""
        return self.parts[0]

    @property
    def scales(self) -> torch.Tensor:
        """float16 [B, H, room, 2]."""
        return self.parts[1]

    @property
    def room(self) -> int:
        """Rows that it has room for, those on the host included."""
        return self.on_host + int(self.codes.shape[2])

    @property
    def nbytes(self) -> int:
        """Bytes that are really allocated, on the device and the host."""
        return sum(part.untyped_storage().nbytes() for part in (*self.parts, *self.host))

    def write(self, rows: torch.Tensor, start: int, at: torch.Tensor | None = None) -> None:
        """Puts rows [B, H, n, D] at start; at: their positions on the device, int64 [n], for a captured graph."""
        begin, end = start - self.on_host, start - self.on_host + rows.shape[2]
        new = (rows,) if self.bits == PLAIN else pack(rows, self.bits)
        for part, piece in zip(self.parts, new, strict=True):
            if at is None:
                part[:, :, begin:end] = piece
            else:
                part.index_copy_(2, at - self.on_host, piece.to(part.dtype))

    def raw(self, start: int, end: int) -> tuple[torch.Tensor, ...]:
        """Codes and scales of some rows, on the device; a view unless some lie on the host."""
        here = tuple(part[:, :, max(0, start - self.on_host) : max(0, end - self.on_host)] for part in self.parts)
        if start >= self.on_host:
            return here
        there = (part[:, :, start : min(end, self.on_host)].to(self.device, non_blocking=True) for part in self.host)
        return tuple(torch.cat(pair, 2) for pair in zip(there, here, strict=True))

    def read(self, start: int, end: int, dtype: torch.dtype) -> torch.Tensor:
        """Rows as numbers [B, H, end - start, D]."""
        parts = self.raw(start, end)
        return parts[0].to(dtype) if self.bits == PLAIN else unpack(parts[0], parts[1], self.bits, dtype)

    def grow(self, room: int) -> None:
        """Makes room for more; what is there is copied once."""
        old = self.parts
        self.parts = self._make(old[0].shape[0], old[0].shape[1], room - self.on_host)
        for part, was in zip(self.parts, old, strict=True):
            part[:, :, : was.shape[2]] = was

    def select(self, rows: torch.Tensor, used: int) -> None:
        """Keeps those sequences of the batch, in that order; used: rows that hold something."""
        end = used - self.on_host
        self.host = tuple(part.index_select(0, rows.to(part.device)) for part in self.host)
        index = rows.to(self.device)
        if len(rows) == self.codes.shape[0]:  # in place, so that a captured graph goes on reading the same memory
            for part in self.parts:
                part[:, :, :end] = part[:, :, :end].index_select(0, index)
            return
        old = self.parts
        self.parts = self._make(len(rows), old[0].shape[1], old[0].shape[2])
        for part, was in zip(self.parts, old, strict=True):
            part[:, :, :end] = was[:, :, :end].index_select(0, index)

    @torch.inference_mode(False)
    def to_host(self, rows: int) -> None:
        """Moves the first rows there, and gives their room on the device back."""
        if rows <= self.on_host:
            return
        moved = tuple(part[:, :, : rows - self.on_host].to("cpu", copy=True) for part in self.parts)
        if self.device.type == "cuda":
            moved = tuple(part.pin_memory() for part in moved)
        kept = tuple(part[:, :, rows - self.on_host :].clone() for part in self.parts)
        self.host = tuple(torch.cat(p, 2) for p in zip(self.host, moved, strict=True)) if self.host else moved
        self.parts, self.on_host = kept, rows

    @torch.inference_mode(False)
    def from_host(self) -> None:
        """Brings them all back."""
        if self.on_host:
            host = tuple(part.to(self.device) for part in self.host)
            self.parts = tuple(torch.cat(pair, 2) for pair in zip(host, self.parts, strict=True))
            self.host, self.on_host = (), 0

    @torch.inference_mode(False)  # else what was made there could not be written outside of it
    def _make(self, batch: int, heads: int, room: int) -> tuple[torch.Tensor, ...]:
        shape = (batch, heads, room)
        if self.bits == PLAIN:
            return (torch.zeros((*shape, self.dim), dtype=self.dtype, device=self.device),)
        codes = torch.zeros((*shape, self.dim * self.bits // 8), dtype=torch.uint8, device=self.device)
        return codes, torch.zeros((*shape, 2), dtype=torch.float16, device=self.device)
