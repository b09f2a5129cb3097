"""Checksums of a page's record: one of the part that is the page's own, one of the part that is its tokens'.

Both start from what the row says that the record is, so a row with a flipped bit fits its record no more than a
flipped record does: a page is served under its own name, length and model, or not at all.
"""

from __future__ import annotations

from hashlib import blake2b

import xxhash

Bytes = bytes | memoryview
_SIGN = 1 << 63


def mark(fingerprint: str, word: str) -> str:
    """A name for a model that only those who know the word can make: a corpus may bring pages along."""
    return blake2b(fingerprint.encode("utf-8", "surrogatepass"), key=word.encode()[:64], digest_size=16).hexdigest()


def head_sum(head: Bytes, mark: str, content_hash: str, n_tokens: int) -> int:
    """xxh3 of 64 bits, as SQLite keeps it: signed."""
    return _signed(xxhash.xxh3_64_intdigest(head, _seed(mark, content_hash, n_tokens)))


def body_sum(body: Bytes, mark: str, content_hash: str, n_tokens: int) -> int:
    """As head_sum(), told from it even where both parts are empty."""
    return _signed(xxhash.xxh3_64_intdigest(body, _seed(mark, content_hash, n_tokens) ^ 1))


def _seed(mark: str, content_hash: str, n_tokens: int) -> int:
    return xxhash.xxh3_64_intdigest(f"{mark}\0{content_hash}\0{n_tokens}".encode("utf-8", "surrogatepass"))


def _signed(n: int) -> int:
    return n - 2 * _SIGN if n >= _SIGN else n
