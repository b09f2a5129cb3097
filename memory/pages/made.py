"""Pages made of hashes, as a paged model's but without a meaning: what stores and pagers are tested and timed with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import blake2b

import numpy as np

from selfroute.memory.pages.base import NewPage
from selfroute.models.paged.layout import Arrays, Field, Layout
from selfroute.types import Chunk

FIELDS = (
    Field("ids", "int32"),
    Field("keys", "uint8", (2, 24)),
    Field("vector", "float32", (48,), per_token=False),
    Field("scales", "float16", (3,)),
)


def made_layout(fingerprint: str = "00") -> Layout:
    """58 bytes a token and 192 a page."""
    return Layout(fingerprint, FIELDS)


def made_hash(text: str) -> str:
    """The content hash of a made chunk."""
    return blake2b(text.encode(), digest_size=16).hexdigest()


def made_chunk(text: str) -> Chunk:
    """A chunk of 1 to 256 tokens, by its text."""
    name = made_hash(text)
    return Chunk(name, name, "made.txt", 1, 1, text, n_tokens=made_tokens(name))


def made_tokens(content_hash: str) -> int:
    """How many tokens the page of a hash has."""
    return int(content_hash[:4], 16) % 256 + 1


def made_arrays(layout: Layout, content_hash: str) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.generic]]]:
    """The arrays of a page: always the same for the same model and hash, and others for any other."""
    seed = int.from_bytes(blake2b(f"{layout.fingerprint}\0{content_hash}".encode(), digest_size=8).digest())
    rng = np.random.default_rng(seed)
    n_tokens = made_tokens(content_hash)
    arrays = {}
    for field in layout.fields:
        shape = (n_tokens, *field.shape) if field.per_token else field.shape
        size = np.dtype(field.dtype).itemsize * int(np.prod(shape, dtype=np.int64))
        arrays[field.name] = (rng.integers(0, 256, size, np.uint8) & 0x3F).view(field.dtype).reshape(shape)
    return arrays


def made_page(layout: Layout, content_hash: str, token_seconds: float = 1e-4) -> NewPage:
    """A page to put into a store. token_seconds: that encoding a token of it is said to have taken."""
    n_tokens = made_tokens(content_hash)
    return NewPage(content_hash, n_tokens, made_arrays(layout, content_hash), n_tokens * token_seconds)


def made_encoder(layout: Layout, seen: list[str] | None = None) -> Callable[[list[Chunk]], Sequence[Arrays]]:
    """What a Pager encodes with. seen: takes the hash of every chunk that is encoded."""

    def encode(chunks: list[Chunk]) -> Sequence[Arrays]:
        if seen is not None:
            seen.extend(chunk.content_hash for chunk in chunks)
        return [made_arrays(layout, chunk.content_hash) for chunk in chunks]

    return encode


def is_made(layout: Layout, hashes: Sequence[str], lengths: Sequence[int], arrays: Arrays) -> bool:
    """Whether gathered arrays are byte for byte those of these pages, in this order."""
    pages = [made_arrays(layout, name) for name in hashes]
    right = [made_tokens(name) for name in hashes] == list(lengths)
    for name, array in arrays.items():
        field = layout.field(name)
        if not pages:
            right &= array.size == 0
            continue
        parts = [page[name] for page in pages]
        right &= array.tobytes() == (np.concatenate(parts) if field.per_token else np.stack(parts)).tobytes()
    return right
