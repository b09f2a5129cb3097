"""How fast the page store takes pages and gives them back, beside a plain copy of as many bytes.

Pages hold random bytes, in fields as a paged model's may be: token numbers, packed keys and values with their scales,
and one vector a page. Every reading is a store that was just opened, so that the page table is read and, where the line
says `first`, the checksums are compared; the files are in the system's cache, for they were just written. `copy` is
numpy's copy of one array as large as all pages into a new one, which is what gathering does at the least.
`fresh_memory` is the time to write to so many bytes of memory that the process did not have before: on some machines it
is most of a first reading, so it is taken apart from it. `blocks` gathers all, 256 pages at a time.

Example: python benchmarks/page_store.py --pages 16000 --tokens 250
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from selfroute.memory.pages.base import NewPage
from selfroute.memory.pages.store import PageStore
from selfroute.models.paged.layout import Field, Layout

BATCH = 32  # pages in one call of put()


def layout(token_bytes: int) -> Layout:
    """Fields of a token that take `token_bytes` together, and a vector a page."""
    packed = (token_bytes - 4 - 12) // 2
    return Layout(
        "00",
        (
            Field("ids", "int32"),
            Field("keys", "uint8", (packed,)),
            Field("values", "uint8", (token_bytes - 16 - packed,)),
            Field("scales", "float16", (6,)),
            Field("vector", "float32", (384,), per_token=False),
        ),
    )


def pages(of: Layout, n: int, tokens: int, seed: int) -> Iterator[NewPage]:
    """Pages of 0.9 to 1.1 times `tokens` tokens, cut from one pool of random bytes."""
    rng = np.random.default_rng(seed)
    pool = rng.integers(0, 256, 1 << 22, np.uint8)
    for i in range(n):
        n_tokens = int(tokens * rng.uniform(0.9, 1.1))
        arrays = {}
        for field in of.fields:
            shape = (n_tokens, *field.shape) if field.per_token else field.shape
            n_bytes = n_tokens * field.n_bytes if field.per_token else field.n_bytes
            first = int(rng.integers(0, (len(pool) - n_bytes) // 8)) * 8
            arrays[field.name] = pool[first : first + n_bytes].view(field.dtype).reshape(shape)
        yield NewPage(f"{i:032x}", n_tokens, arrays, 0.01)


def blocks(store: PageStore, of: Layout, hashes: list[str]) -> None:
    """Gathers all pages, 256 at a time."""
    for first in range(0, len(hashes), 256):
        store.gather(of, hashes[first : first + 256])


def seconds(work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def best(n: int, work: Callable[[], Any]) -> float:
    return min(seconds(work) for _ in range(n))


def run(n_pages: int, tokens: int, token_bytes: int, repeats: int, seed: int, folder: Path) -> dict[str, Any]:
    """All figures; seconds are of the best of `repeats`, but for put and `first`, which are one run each."""
    of = layout(token_bytes)
    hashes = [f"{i:032x}" for i in range(n_pages)]
    put_seconds = 0.0
    with PageStore.open(folder) as store:
        made = pages(of, n_pages, tokens, seed)
        while batch := list(islice(made, BATCH)):
            put_seconds += seconds(partial(store.put, of, batch))
        put_seconds += seconds(store.flush)
    shuffled = np.random.default_rng(seed).permutation(hashes).tolist()
    found: dict[str, Any] = {"pages": n_pages, "tokens": 0, "put_seconds": put_seconds}
    n_bytes = sum(1 + tokens * field.n_bytes if field.per_token else field.n_bytes for field in of.fields) * n_pages
    found["fresh_memory_seconds"] = seconds(lambda: np.empty(n_bytes, np.uint8).fill(1))
    with PageStore.open(folder) as store:
        found["open_seconds"] = seconds(lambda: store.have(of.fingerprint, hashes))
        found["vectors_first_seconds"] = seconds(lambda: store.gather(of, shuffled, ["vector"]))
        found["vectors_seconds"] = best(repeats, lambda: store.gather(of, shuffled, ["vector"]))
        found["gather_first_seconds"] = seconds(lambda: store.gather(of, shuffled))
        found["gather_seconds"] = best(repeats, lambda: store.gather(of, shuffled))
        found["keys_seconds"] = best(repeats, lambda: store.gather(of, shuffled, ["keys"]))
        gathered = store.gather(of, shuffled)
        found["tokens"], n_bytes = int(gathered.lengths.sum()), gathered.n_bytes
        found["blocks_seconds"] = best(repeats, lambda: blocks(store, of, shuffled))
        found["disk_bytes"] = store.stats().disk_bytes
    largest = max(gathered.arrays.values(), key=lambda array: array.nbytes)
    found["copy_seconds"] = best(repeats, lambda: largest.copy()) * n_bytes / largest.nbytes
    found["gigabytes"] = n_bytes / 1e9
    for name in ("put", "gather_first", "gather", "copy"):
        found[f"{name}_gb_per_second"] = n_bytes / 1e9 / found[f"{name}_seconds"]
    return {key: round(value, 4) if isinstance(value, float) else value for key, value in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", type=int, default=4_000)
    parser.add_argument("--tokens", type=int, default=250, help="of a page, on average")
    parser.add_argument("--token-bytes", type=int, default=400)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="where the store is made and left; a temporary one if not given")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folder or Path(scratch) / "pages"
        values = options.pages, options.tokens, options.token_bytes, options.repeats, options.seed
        print(json.dumps(run(*values, folder)))


if __name__ == "__main__":
    main()
