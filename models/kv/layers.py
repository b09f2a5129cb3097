"""One attention layer's cache for transformers: packed rows in room made once; and the same beside a recurrent state.

`update` stores what is new and hands back a token for the layer itself, not tensors: the attention function
(selfroute.models.kv.attention) reads the packed rows from it. Any other attention function is stopped with a message.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

import torch
from transformers.cache_utils import CacheLayerMixin, LinearAttentionAndFullAttentionLayer, LinearAttentionLayer

from selfroute.errors import ConfigError, ContextOverflowError
from selfroute.models.kv.presets import PLAIN, Bits
from selfroute.models.kv.sizing import tiles
from selfroute.models.kv.statistics import STATS_TOKENS, normalise, statistics
from selfroute.models.kv.storage import Store

PARTS = ("codes", "scales")
FIRST_ROOM = 256  # tokens, doubled when full, where no maximum is given


class Stored:
    """Stands for a layer's keys or values where a model passes them from its cache to its attention function."""

    __slots__ = ("layer",)

    def __init__(self, layer: PackedLayer) -> None:
        self.layer = layer

    def __getattr__(self, name: str) -> NoReturn:
        raise ConfigError(
            f"the packed cache was read by an attention function that does not know it (it asked for .{name})",
            "selfroute.models.kv.attention.attach(model) before the model reads",
        )


class PackedLayer(CacheLayerMixin):  # type: ignore[misc]
    """Keys and values of one layer. max_tokens: room is made for them at once; None: it is doubled when full.

    rotary: channels of keys that positions turn (see statistics). Until STATS_TOKENS have come they wait as they are;
    then the keys' shift and gain are fixed, and all is packed.
    """

    is_sliding = False
    is_compileable = False
    is_croppable = True

    def __init__(self, bits: Bits, max_tokens: int | None = None, rotary: int = 0) -> None:
        super().__init__()
        self._set_up(bits, max_tokens, rotary)

    def _set_up(self, bits: Bits, max_tokens: int | None, rotary: int) -> None:
        self.bits, self.max_tokens, self.length, self.batch_size = bits, max_tokens, 0, -1
        self.rotary = rotary
        self.shift: torch.Tensor | None = None
        self.gain: torch.Tensor | None = None
        self.staged: tuple[torch.Tensor, torch.Tensor] | None = None

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Makes the room. Raises ConfigError for an odd number of channels."""
        self.dtype, self.device = key_states.dtype, key_states.device
        self.batch_size = key_states.shape[0]
        room = tiles(FIRST_ROOM if self.max_tokens is None else self.max_tokens)
        self.k, self.v = Store(key_states, self.bits.keys, room), Store(value_states, self.bits.values, room)
        self._count(self.batch_size)
        self.is_initialized = True

    @property
    def packed(self) -> bool:
        """Whether keys and values lie in the stores, rather than waiting."""
        self.settle()
        return self.staged is None

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Any, Any]:
        """Stores [B, H, n, D] behind what is there.

        Raises ContextOverflowError, and ConfigError for another batch; then nothing is stored.
        """
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        self.settle()
        if key_states.shape[0] != self.batch_size:
            raise ConfigError(
                f"the cache holds {self.batch_size} sequences, {key_states.shape[0]} came",
                "batch_repeat_interleave or batch_select_indices, or a cache of their own",
            )
        n, start = key_states.shape[2], self.length
        self._reserve(start + n)
        if self.bits.plain or self.gain is not None:
            self._write(key_states, value_states, start)
        else:
            self._stage(key_states, value_states)
        self.length += n
        self.lengths.add_(n)
        self.position.add_(n)
        return Stored(self), Stored(self)

    def _check_room(self, tokens: int) -> None:
        if self.max_tokens is not None and tokens > self.max_tokens:
            raise ContextOverflowError(tokens, self.max_tokens, "make the cache with more max_tokens")

    def _reserve(self, tokens: int) -> None:
        self._check_room(tokens)
        if tokens > self.k.room:
            room = tiles(max(tokens, 2 * self.k.room))
            self.k.grow(room)
            self.v.grow(room)

    def _stage(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Keeps what has come as it is, until `settle`."""
        if self.staged is not None:
            keys, values = (torch.cat(pair, 2) for pair in zip(self.staged, (keys, values), strict=True))
        elif keys.shape[2] < STATS_TOKENS:
            keys, values = keys.clone(), values.clone()  # what they are views of is not kept for them
        self.staged = keys, values

    def settle(self, visible: torch.Tensor | None = None) -> None:
        """Once enough tokens have come, fixes the keys' shift and gain and packs all; the attention function asks it.

        visible: bool [B, tokens] that are no padding, which is known to attention only. Where attention does not come
        first, whatever reads or changes the layer settles it, and padding counts.
        """
        if self.staged is None or self.length < STATS_TOKENS:
            return
        (keys, values), self.staged = self.staged, None
        self.shift, self.gain = statistics(keys, visible, self.rotary)
        self._write(keys, values, 0, host_known=True)

    def _write(self, keys: torch.Tensor, values: torch.Tensor, start: int, host_known: bool = False) -> None:
        if not host_known and self._kernel_serves(keys):
            from selfroute.models.kv.append import append

            assert self.shift is not None and self.gain is not None
            append(
                keys, values, self.shift, self.gain, self.k.codes, self.k.scales, self.v.codes, self.v.scales,
                self.position, bits=(self.bits.keys, self.bits.values),
            )  # fmt: skip
            return
        at = None
        if self.device.type == "cuda" and not host_known:
            at = self.position + torch.arange(keys.shape[2], device=self.device)
        if self.gain is not None and self.shift is not None and self.bits.keys != PLAIN:
            keys = normalise(keys, self.shift, self.gain)
        self.k.write(keys, start, at)
        self.v.write(values, start, at)

    def _kernel_serves(self, keys: torch.Tensor) -> bool:
        """Whether so few tokens have come, on a GPU, that append.append packs them at once."""
        if self.device.type != "cuda" or PLAIN in (self.bits.keys, self.bits.values) or self.k.on_host or keys.is_cpu:
            return False
        try:
            from selfroute.models.kv.append import MAX_TOKENS
        except ImportError:
            return False
        return keys.shape[2] <= MAX_TOKENS and self.k.dim == self.v.dim

    def advance(self, tokens: int) -> None:
        """Counts tokens that the replay of a captured graph has stored, and counted on the device."""
        self.length += tokens

    def get_seq_length(self) -> int:
        """Tokens that are stored."""
        return self.length

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """(keys that a query block of that length will see, 0).

        Models ask before their first layer reads, so a cache that is too small says so here: ContextOverflowError,
        before any recurrent state has moved.
        """
        self._check_room(self.length + query_length)
        return self.length + query_length, 0

    def get_max_length(self) -> int:
        """The maximum, -1 for none."""
        return -1 if self.max_tokens is None else self.max_tokens

    def reset(self) -> None:
        """Forgets all tokens and the statistics; the room stays."""
        self.shift = self.gain = self.staged = None
        self._set_length(0)
        if self.is_initialized:
            self.k.from_host()
            self.v.from_host()

    def crop(self, tokens_to_remove: int) -> None:
        """Forgets the last -tokens_to_remove tokens; what was packed stays packed, by the same statistics."""
        if tokens_to_remove > 0 or -tokens_to_remove > self.length:
            raise ConfigError(
                f"{-tokens_to_remove} tokens cannot be removed of {self.length}", "crop(-n) removes the last n"
            )
        if not tokens_to_remove:
            return
        self.settle()
        left = self.length + tokens_to_remove
        if not left:
            self.reset()
            return
        if self.staged is not None:
            self.staged = self.staged[0][:, :, :left], self.staged[1][:, :, :left]
        elif left < self.k.on_host:
            self.prefetch()
        self._set_length(left)

    @torch.inference_mode(False)  # else they could not be changed outside of it
    def _count(self, batch: int) -> None:
        self.lengths = torch.full((batch,), self.length, dtype=torch.int32, device=self.device)
        self.position = torch.full((1,), self.length, dtype=torch.int64, device=self.device)

    def _set_length(self, length: int) -> None:
        self.length = length
        if self.is_initialized:
            self.lengths.fill_(length)
            self.position.fill_(length)

    def reorder_cache(self, beam_idx: torch.Tensor) -> None:
        """Puts the sequences in another order; one may come twice."""
        self.batch_select_indices(beam_idx)

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Every sequence that many times, beside itself."""
        if self.is_initialized:
            self.batch_select_indices(torch.arange(self.batch_size).repeat_interleave(repeats))

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keeps those sequences, in that order: int64, or bool of one each."""
        if not self.is_initialized:
            return
        self.settle()
        rows = indices.nonzero().flatten() if indices.dtype == torch.bool else indices.flatten()
        used = 0 if self.staged is not None else self.length
        self.k.select(rows, used)
        self.v.select(rows, used)
        index = rows.to(self.device)
        if self.shift is not None and self.gain is not None:
            self.shift, self.gain = self.shift[index], self.gain[index]
        if self.staged is not None:
            self.staged = self.staged[0][index], self.staged[1][index]
        if len(rows) != self.batch_size:
            self.batch_size = len(rows)
            self._count(self.batch_size)

    def offload(self, tokens: int | None = None) -> None:
        """Moves the first tokens (all, unless told how many) to main memory; attention reads them from there."""
        if self.is_initialized and self.packed:
            count = self.length if tokens is None else min(tokens, self.length)
            self.k.to_host(count)
            self.v.to_host(count)

    def prefetch(self) -> None:
        """Brings them back to the device."""
        if self.is_initialized:
            self.k.from_host()
            self.v.from_host()

    def tensors(self, tokens: int) -> dict[str, torch.Tensor]:
        """What the first tokens take, by name: views, or where they lie on the host copies."""
        self.settle()
        if self.staged is not None:
            return {"staged.k": self.staged[0][:, :, :tokens], "staged.v": self.staged[1][:, :, :tokens]}
        found = {} if self.shift is None or self.gain is None else {"shift": self.shift, "gain": self.gain}
        for name, store in (("k", self.k), ("v", self.v)):
            found |= {f"{name}.{part}": t for part, t in zip(PARTS, store.raw(0, tokens), strict=False)}
        return found

    def like(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values of no tokens, of the shape, dtype and device of those that are kept."""
        batch, heads = self.k.codes.shape[:2]
        shapes = ((batch, heads, 0, store.dim) for store in (self.k, self.v))
        keys, values = (torch.zeros(shape, dtype=self.dtype, device=self.device) for shape in shapes)
        return keys, values

    def fill(self, tensors: Mapping[str, torch.Tensor], tokens: int, like: tuple[torch.Tensor, torch.Tensor]) -> None:
        """Takes in what `tensors` of such a layer gave. Raises ContextOverflowError, ValueError for other shapes."""
        PackedLayer.lazy_initialization(self, *like)
        self._reserve(tokens)
        staged = not self.bits.plain and tokens < STATS_TOKENS and "staged.k" in tensors
        batch, heads, _, dim = like[0].shape
        wanted: dict[str, tuple[tuple[int, ...], torch.dtype]] = {}
        if staged:
            wanted |= {
                f"staged.{n}": ((*t.shape[:2], tokens, t.shape[3]), self.dtype) for n, t in zip("kv", like, strict=True)
            }
        else:
            for name, store in (("k", self.k), ("v", self.v)):
                parts = zip(PARTS, store.parts, strict=False)
                wanted |= {f"{name}.{part}": ((batch, heads, tokens, t.shape[3]), t.dtype) for part, t in parts}
            if not self.bits.plain:
                wanted |= dict.fromkeys(("shift", "gain"), ((batch, heads, dim), torch.float32))
        if {name: (tuple(t.shape), t.dtype) for name, t in tensors.items()} != wanted:
            raise ValueError("the rows are not those of such a layer")
        if staged:
            self.staged = tensors["staged.k"].to(self.device, copy=True), tensors["staged.v"].to(self.device, copy=True)
        else:
            for name, store in (("k", self.k), ("v", self.v)):
                for part, t in zip(PARTS, store.parts, strict=False):
                    t[:, :, :tokens] = tensors[f"{name}.{part}"]
            if not self.bits.plain:
                self.shift, self.gain = (tensors[name].to(self.device, copy=True) for name in ("shift", "gain"))
        self._set_length(tokens)

    @property
    def nbytes(self) -> int:
        """Bytes that are really allocated."""
        if not self.is_initialized:
            return 0
        self.settle()
        loose = [t for t in (self.shift, self.gain, *(self.staged or ())) if t is not None]
        return int(self.k.nbytes + self.v.nbytes + sum(t.untyped_storage().nbytes() for t in loose))


class PackedHybridLayer(PackedLayer, LinearAttentionAndFullAttentionLayer):  # type: ignore[misc]
    """A layer that keeps keys and values beside a recurrent state, as Falcon-H1's do."""

    is_croppable = False

    def __init__(
        self, bits: Bits, max_tokens: int | None = None, rotary: int = 0, *, number_of_states: int = 1
    ) -> None:
        LinearAttentionAndFullAttentionLayer.__init__(self, number_of_states=number_of_states)
        self._set_up(bits, max_tokens, rotary)

    def lazy_initialization(self, *args: Any, **kwargs: Any) -> None:
        """For keys and values, given by position, or for states, given by name."""
        if args:
            PackedLayer.lazy_initialization(self, *args)
        else:
            LinearAttentionLayer.lazy_initialization(self, **kwargs)

    def reset(self) -> None:
        LinearAttentionLayer.reset(self)
        PackedLayer.reset(self)

    def reorder_cache(self, beam_idx: torch.Tensor) -> None:
        LinearAttentionLayer.reorder_cache(self, beam_idx)
        PackedLayer.batch_select_indices(self, beam_idx)

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        select_states(self, indices)
        PackedLayer.batch_select_indices(self, indices)

    def batch_repeat_interleave(self, repeats: int) -> None:
        if self.is_initialized:
            self.batch_select_indices(torch.arange(self.batch_size).repeat_interleave(repeats))

    def crop(self, tokens_to_remove: int) -> None:
        refuse_crop(tokens_to_remove)

    def offload(self, tokens: int | None = None) -> None:
        PackedLayer.offload(self, tokens)

    def prefetch(self) -> None:
        PackedLayer.prefetch(self)


def select_states(layer: LinearAttentionLayer, indices: torch.Tensor) -> None:
    """Keeps those sequences of a recurrent layer's states, which transformers has no method for."""
    for states in (layer.conv_states, layer.recurrent_states):
        for number, state in states.items():
            if state is not None:
                states[number] = state[indices.to(state.device)]


def refuse_crop(tokens: int) -> None:
    """Raises ConfigError unless there is nothing to do."""
    if tokens:
        raise ConfigError(
            "a recurrent state cannot be taken back to an earlier token, so this cache cannot be cropped",
            "restore a checkpoint at or before that token and read on from there: selfroute.models.kv.snapshot",
        )
