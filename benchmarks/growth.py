"""How the time of a question grows with the tokens that are read: the paged reader on a CPU, or on a CUDA device.

    python benchmarks/growth.py --tokens 100000 400000 1000000 4000000 [--asks 5] [--parts read ask] [--folder DIR]
    python benchmarks/growth.py --device cuda --tokens 1000000 4000000 16000000 [--weights RUN]
    python benchmarks/growth.py --plot docs/growth.svg FILE...

On a CPU, of each size:
read: the global read alone, over arrays in memory; read_dense_seconds of all pages, read_seconds as it is by default.
ask: a whole question on the long-context route over an index and a page store on the disk; ask_seconds in a process
that has asked before, process_seconds as a new process, its start included. Both read the best of what was found again.
Seconds are medians of --asks questions, all different, after one that is not counted.

The pages of one text are as long, whatever is in them, and take as long to read: so the arrays are those of 64 pages of
random tokens, again and again, and the store is filled with them under the content hashes of a corpus of random words.
encode_tokens_per_second is of those 64 pages, by encode_threads threads; encode_seconds is what the whole would take at
that pace. bytes: of the segment files, or of the arrays where there is no store. --folder keeps corpora, indexes and
stores for the next run.

On a CUDA device all tokens are encoded, random ones, in torch; encode_seconds and ask_seconds are measured there, and
device_bytes is the most memory that was taken.

Prints a line of JSON for each size. --plot draws the lines of files as a chart; see growth_plot.py.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

try:
    import selfroute.models  # noqa: F401
except ImportError:  # a checkout without the package installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "models" / "training"))
    import paged_path  # type: ignore[import-not-found]

    paged_path.map_package()

from selfroute.models import weights

POOL, TEXT = 64, 250  # pages that are encoded, and tokens of their texts
SIZES = (100_000, 400_000, 1_000_000, 4_000_000)
CLS, SEP = 101, 102
FILE_WORDS = 20_000
ASK = "import sys; from selfroute.router.cli import main; sys.exit(main(sys.argv[1:]))"
QUESTION = "Where is the {} {} kept?"


def random_pages(n: int, seed: int, length: int = TEXT) -> list[list[int]]:
    """n pages of random tokens, [CLS] and [SEP] around them."""
    rng = np.random.default_rng(seed)
    return [[CLS, *rng.integers(1996, 29612, length).tolist(), SEP] for _ in range(n)]


def words() -> list[str]:
    """Words of the vocabulary that are one token each."""
    from selfroute.models.tokenizer import wordpiece

    table = wordpiece()
    drawn = random.Random(5)
    letters = "abcdefghijklmnopqrstuvwxyz"
    found = {"".join(drawn.choices(letters, k=k)) for k in (3, 4) for _ in range(60_000)}
    return sorted(word for word in found if table.count(word) == 1)


def median(n: int, work: Callable[[int], Any]) -> float:
    """Of n calls, after one that is not counted."""
    took = []
    for i in range(n + 1):
        started = time.perf_counter()
        work(i)
        took.append(time.perf_counter() - started)
    return round(statistics.median(took[1:]), 4)


class OnCpu:
    """The runtime as it is shipped."""

    def __init__(self, folder: Path, kv: str, asks: int, keep: Path) -> None:
        from selfroute.models.paged.runtime import PagedRuntime

        self.runtime, self.asks, self.keep = PagedRuntime(folder, kv=kv), asks, keep
        self.runtime.load()
        self.words = words()
        started = time.perf_counter()
        self.pool = self.runtime.encode_ids(random_pages(POOL, 0))
        self.pace = POOL * (TEXT + 2) / (time.perf_counter() - started)
        self.longest = self.runtime.encode_ids(random_pages(16, 1, 510))

    def row(self, n_tokens: int, parts: Sequence[str]) -> dict[str, Any]:
        """Everything about one size."""
        found: dict[str, Any] = {"tokens": n_tokens, "encode_seconds": round(n_tokens / self.pace, 1)}
        found |= {"encode_tokens_per_second": round(self.pace), "encode_threads": self.runtime.threads}
        if "read" in parts:
            found |= self.read(n_tokens)
        if "ask" in parts:
            found |= self.ask(n_tokens)
        return found | {"device": f"cpu, {platform.machine()}, {self.runtime.threads} threads"}

    def question(self, i: int) -> str:
        """Another one for every i."""
        drawn = random.Random(i)
        return QUESTION.format(*drawn.sample(self.words, 2))

    def read(self, n_tokens: int) -> dict[str, Any]:
        """The global read, over arrays in memory."""
        fields = self.runtime.layout.fields
        P = -(-n_tokens // (TEXT + 2))
        times = -(-P // POOL)
        lengths = np.full(P, TEXT + 2, np.int32)
        arrays = {}
        for f in fields:
            one = [page[f.name] if f.per_token else page[f.name][None] for page in self.pool]
            arrays[f.name] = np.concatenate(one * times)[: P * (TEXT + 2) if f.per_token else P]

        def ask(select: int | None) -> Callable[[int], Any]:
            return lambda i: self.runtime.ask(self.question(i), lengths, arrays, select=select)

        return {
            "read_dense_seconds": median(self.asks, ask(0)),
            "read_seconds": median(self.asks, ask(None)),
            "bytes": sum(array.nbytes for array in arrays.values()),
        }

    def ask(self, n_tokens: int) -> dict[str, Any]:
        """Questions over an index and a store."""
        from selfroute import SelfRouter

        folder = self.keep / f"{n_tokens}"
        if not (folder / ".selfroute").is_dir():
            self._write(folder, n_tokens)
        router = SelfRouter.from_path(folder, update=False)
        try:
            pages, n_bytes, counted = self._fill(router.index)
        finally:
            router.close()
        router = SelfRouter.from_path(folder, update=False)  # pages are used where there are some at the start
        try:
            warm = median(self.asks, lambda i: router.ask(self.question(i), route="long-context"))
        finally:
            router.close()
        command = [sys.executable, "-c", ASK, "ask", "--path", str(folder), "--route", "long-context"]

        def process(i: int) -> None:
            subprocess.run([*command, "--json", self.question(1000 + i)], check=True, capture_output=True)

        return {
            "ask_seconds": warm,
            "process_seconds": median(min(3, self.asks), process),
            "pages": pages,
            "stored_tokens": counted,
            "bytes": n_bytes,
            "bytes_per_token": round(n_bytes / counted, 1),
        }

    def _write(self, folder: Path, n_tokens: int) -> None:
        """A corpus of random words, and its index."""
        from selfroute import SelfRouter

        drawn = random.Random(n_tokens)
        folder.mkdir(parents=True, exist_ok=True)
        for first in range(0, n_tokens, FILE_WORDS):
            text = drawn.choices(self.words, k=min(FILE_WORDS, n_tokens - first))
            lines = [" ".join(text[i : i + 12]) + "." for i in range(0, len(text), 12)]
            paragraphs = ["\n".join(lines[i : i + 15]) for i in range(0, len(lines), 15)]
            (folder / f"{first // FILE_WORDS:05}.txt").write_text("\n\n".join(paragraphs) + "\n")
        SelfRouter.from_path(folder).close()

    def _fill(self, index: Any) -> tuple[int, int, int]:
        """Puts a page under every content hash of the index; how many there are, their bytes on the disk, tokens."""
        from selfroute.backends.paging import Pages
        from selfroute.memory.pages.base import NewPage

        layout = self.runtime.layout
        names = {f.name for f in layout.fields if f.per_token}

        def made() -> Iterator[NewPage]:
            for i, chunk in enumerate(index.chunks()):
                n = min(chunk.n_tokens + 2, 512)
                source = self.longest[i % len(self.longest)]
                arrays = {name: array[:n] if name in names else array for name, array in source.items()}
                yield NewPage(chunk.content_hash, n, arrays, n / self.pace)

        own = Pages(index, self.runtime)
        try:
            store = own.pager.store
            there = store.have(layout.fingerprint, [chunk.content_hash for chunk in index.chunks()])
            new = (page for page in made() if page.content_hash not in there)
            while batch := list(islice(new, 256)):
                store.put(layout, batch)
            store.flush()
            stats = store.stats()
            [model] = [m for m in stats.models if m.fingerprint == layout.fingerprint]
            return model.pages, stats.disk_bytes, model.tokens
        finally:
            own.close()


def on_cuda(folder: Path, kv: str, device: str, sizes: Sequence[int], asks: int) -> Iterator[dict[str, Any]]:
    """In torch: all tokens are encoded, questions asked."""
    import torch

    from selfroute.models.paged.exact import ExactReader
    from selfroute.models.paged.fields import token_bytes
    from selfroute.models.paged.runtime import READERS
    from selfroute.models.training import paged_init

    model = paged_init.read(folder)
    reader = ExactReader(model, kv=kv, device=device, in_pieces=True)
    cuda = device == "cuda"
    asked = [[*page[:-1], *READERS[: model.config.readers - 1], SEP] for page in random_pages(asks + 1, 2, 12)]
    reader.encode(random_pages(64, 3))
    for n_tokens in sizes:
        if cuda:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        pages = random_pages(-(-n_tokens // (TEXT + 2)), 4)
        started = time.perf_counter()
        kept = reader.encode(pages)
        if cuda:
            torch.cuda.synchronize()
        seconds = time.perf_counter() - started
        total = int(kept.lengths.sum())
        del pages
        row = {
            "tokens": total,
            "encode_seconds": round(seconds, 2),
            "encode_tokens_per_second": round(total / seconds),
            "ask_seconds": median(asks, lambda i, kept=kept: reader.ask([asked[i]], kept)),  # type: ignore[misc]
            "bytes": token_bytes(model.config, kv) * total,
            "device": torch.cuda.get_device_name() if cuda else device,
        }
        if cuda:
            row["device_bytes"] = torch.cuda.max_memory_allocated()
        del kept
        yield row


def main() -> None:
    """Parses the options, runs, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--asks", type=int, default=5)
    parser.add_argument("--parts", nargs="+", choices=("read", "ask"), default=["read", "ask"])
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda", "torch-cpu"))
    parser.add_argument("--weights", type=Path, default=weights.FOLDER)
    parser.add_argument("--kv", default="k4v4")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--plot", type=Path, help="draw the lines of FILES there instead")
    parser.add_argument("files", type=Path, nargs="*")
    options = parser.parse_args()
    if options.plot:
        from growth_plot import chart

        lines = [line for file in options.files for line in file.read_text().splitlines() if line.startswith("{")]
        options.plot.write_text(chart([json.loads(line) for line in lines]))
        return
    if options.device != "cpu":
        device = options.device.removeprefix("torch-")
        for row in on_cuda(options.weights, options.kv, device, options.tokens, options.asks):
            print(json.dumps(row), flush=True)
        return
    with tempfile.TemporaryDirectory() as scratch:
        own = OnCpu(options.weights, options.kv, options.asks, options.folder or Path(scratch))
        for n_tokens in options.tokens:
            print(json.dumps(own.row(n_tokens, options.parts)), flush=True)


if __name__ == "__main__":
    main()
