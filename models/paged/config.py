"""The sizes of the paged reader, kept beside its weights as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from selfroute.errors import ConfigError

ENCODERS = ("minilm", "windowed", "gated-delta", "mixed")


@dataclass(frozen=True, slots=True)
class PagedConfig:
    """Sizes of a paged reader.

    encoder: what its local layers mix tokens with: attention over the page (minilm), over `window` tokens on each side,
    a gated delta rule in both directions, or that in every second layer. conv: the tokens that a convolution before
    each of the first conv_layers layers sees, channel by channel. n_global: layers in which a question reads all pages,
    with query_heads over kv_heads. readers: the tokens of a question that do the reading, [CLS] and those after its
    text. pointer, page, word: channels of the keys of tokens, of pages, and of what word begins at a token. log_n:
    scores grow with log(number of tokens).
    """

    encoder: str = "minilm"
    width: int = 384
    layers: int = 6
    heads: int = 12
    inner: int = 1536
    positions: int = 512
    window: int = 64
    conv: int = 9
    conv_layers: int = 4
    n_global: int = 2
    query_heads: int = 4
    kv_heads: int = 2
    head_dim: int = 64
    global_inner: int = 768
    readers: int = 4
    pointer: int = 64
    page: int = 128
    word: int = 32
    log_n: bool = True

    def __post_init__(self) -> None:
        """Raises ConfigError for sizes that do not go together."""
        if self.encoder not in ENCODERS:
            raise ConfigError(f"there is no page encoder {self.encoder!r}", f"one of {', '.join(ENCODERS)}")
        if self.width % self.heads or self.query_heads % self.kv_heads:
            raise ConfigError("heads do not divide what they share", "see PagedConfig's sizes")
        if min(self.layers, self.readers, self.window) < 1 or self.n_global < 0:
            raise ConfigError("a size is below its least", "layers, readers and window are 1 or more")
        if not self.conv % 2 or not 0 <= self.conv_layers <= self.layers:
            raise ConfigError("conv is to be odd, and conv_layers at most layers", "see PagedConfig's sizes")
        if self.head_dim % 2 or self.pointer % 2 or self.word % 2:
            raise ConfigError("head_dim, pointer and word are to be even", "they are packed in halves")

    def recurrent(self, layer: int) -> bool:
        """Whether a local layer mixes tokens by recurrence."""
        return self.encoder == "gated-delta" or (self.encoder == "mixed" and layer % 2 == 1)

    def to_json(self) -> dict[str, Any]:
        """All sizes by name."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> PagedConfig:
        """Raises ConfigError for names or kinds of values that there are not."""
        known = {field.name: field.default for field in fields(cls)}
        for name, value in values.items():
            if name not in known or type(value) is not type(known[name]):
                raise ConfigError(f"the paged reader's configuration has {name} = {json.dumps(value)}", "get it again")
        return cls(**values)
