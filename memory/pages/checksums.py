"""Checksums of a page's record: one of the part that is the page's own, one of the part that is its tokens'.

Both start from what the row says that the record is, so a row with a flipped bit fits its record no more than a
flipped record does: a page is served under its own name, length and model, or not at all.
"""

from __future__ import annotations

from hashlib import blake2b

import xxhash

Bytes = bytes | memoryview
_SIGN, _WRAP = 1 << 63, 1 << 64


def mark(fingerprint: str, word: str) -> str:
    """A name for a model that only those who know the word can make: a corpus may bring pages along."""
    return blake2b(fingerprint.encode("utf-8", "surrogatepass"), key=word.encode()[:64], digest_size=16).hexdigest()


def seed(mark: str, content_hash: str, n_tokens: int) -> int:
    """What both checksums of a page start from."""
    return xxhash.xxh3_64_intdigest(f"{mark}\0{content_hash}\0{n_tokens}".encode("utf-8", "surrogatepass"))


def head_sum(head: Bytes, seed: int) -> int:
    """xxh3 of 64 bits, as SQLite keeps it: signed."""
    found = xxhash.xxh3_64_intdigest(head, seed)
    return found - _WRAP if found >= _SIGN else found


def body_sum(body: Bytes, seed: int) -> int:
    """As head_sum(), told from it even where both parts are empty."""
    return head_sum(body, seed ^ 1)
