"""How fast the trained reader reads: chunks, windows, loading, memory; and `selfroute ask` as a whole process.

    python benchmarks/reader_speed.py [--weights FOLDER] [--corpus DIR --question Q [--route ROUTE] [--reader NAME]]

Every reading is of 8 new chunks of 250 tokens, random words of the vocabulary: no word piece is found in a cache that
would not be with new text. Milliseconds are wall time, cpu_ms is what all threads spent; where these are further apart
than the threads explain, other work had the cores. Loading and memory are those of new processes. --corpus: the index
is made first, in a folder of its own; the first ask finds nothing kept, the others what the first one kept. Ends with
one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from selfroute.models import weights
from selfroute.models.calibration import Calibration, Curve
from selfroute.models.span_reader import SpanReader
from selfroute.models.span_scores import GRAPH, SpanScores, Window
from selfroute.models.tokenizer import wordpiece
from selfroute.types import Chunk

N_CHUNKS, N_TOKENS = 8, 250
QUESTION = "What is the default number of seconds to wait for another process?"

LOAD = r"""
import json, resource, sys, time
from pathlib import Path
from selfroute.models.span_scores import SpanScores, Window
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
import numpy
start = time.perf_counter()
import onnxruntime
imported = time.perf_counter()
scores = SpanScores(Path(sys.argv[1]))
scores.load()
loaded = time.perf_counter()
after = peak()
scores.score([Window([101, *range(2000, 2200 + 20 * n), 102], 14) for n in range(8)])
print(json.dumps({"import_ms": 1e3 * (imported - start), "load_ms": 1e3 * (loaded - imported),
                  "rss_loaded_mb": after, "rss_peak_mb": peak()}))
"""

ASK = "import sys; from selfroute.router.cli import main; sys.exit(main())"

WARM = r"""
import json, sys, time
from selfroute import SelfRouter
path, index, question, route, reader, repeats = sys.argv[1:]
took = []
with SelfRouter.from_path(path, index_dir=index, route=route or None, reader=reader or None) as router:
    for i in range(1 + int(repeats)):
        start = time.perf_counter()
        router.ask(question)
        took.append(1e3 * (time.perf_counter() - start))
    print(json.dumps({"ms": took[1:]}))
"""


def random_chunks(rng: random.Random) -> list[Chunk]:
    """N_CHUNKS chunks of N_TOKENS tokens."""
    words = [word for word in wordpiece().vocabulary if word.isascii() and word.isalpha()]
    chunks = []
    for n in range(N_CHUNKS):
        picked = rng.choices(words, k=N_TOKENS)
        text = "\n".join(" ".join(picked[i : i + 10]) for i in range(0, N_TOKENS, 10))
        chunks.append(Chunk(str(n), "", f"some/folder/part_{n}.py", 1, N_TOKENS // 10, text, "Some.name"))
    return chunks


def reading(folder: Path, repeats: int) -> dict[str, float | int]:
    """Wall and CPU milliseconds of reading 8 chunks, and of one window by itself."""
    rng = random.Random(0)
    reader = SpanReader(folder=folder, calibration=Calibration.alike(Curve(threshold=0.0)))
    asked = [random_chunks(rng) for _ in range(repeats + 3)]
    wall, cpu = [], []
    for chunks in asked:
        began, spent = time.perf_counter(), time.process_time()
        reader.read(QUESTION, chunks)
        wall.append(1e3 * (time.perf_counter() - began))
        cpu.append(1e3 * (time.process_time() - spent))
    wall, cpu = sorted(wall[3:]), sorted(cpu[3:])
    scores, single = SpanScores(folder, threads=1), []
    for _ in range(repeats + 3):
        window = Window([101, *(rng.randrange(1000, 30000) for _ in range(N_TOKENS + 18)), 102], 14)
        began = time.perf_counter()
        scores.score([window])
        single.append(1e3 * (time.perf_counter() - began))
    return {
        "chunks": N_CHUNKS,
        "chunk_tokens": N_TOKENS,
        "repeats": repeats,
        "read_p50_ms": round(statistics.median(wall), 1),
        "read_p95_ms": round(wall[min(len(wall) - 1, int(0.95 * len(wall)))], 1),
        "read_cpu_p50_ms": round(statistics.median(cpu), 1),
        "window_p50_ms": round(statistics.median(single[3:]), 1),
    }


def loading(folder: Path, repeats: int) -> dict[str, float]:
    """Medians over new processes."""
    found = [json.loads(run(LOAD, str(folder))) for _ in range(repeats)]
    return {name: round(statistics.median(one[name] for one in found), 1) for name in found[0]}


def asking(args: argparse.Namespace) -> dict[str, object]:
    """`selfroute ask` as processes, the first one and the median of the others; and in a process that goes on."""
    with tempfile.TemporaryDirectory() as store:
        corpus, route, reader = str(args.corpus.resolve()), args.route or "", args.reader or ""
        run(ASK, "index", corpus, "--index-dir", store)
        options = ["--path", corpus, "--index-dir", store]
        options += ["--route", route] if route else []
        options += ["--reader", reader] if reader else []
        took = []
        for _ in range(1 + args.asks):
            began = time.perf_counter()
            answer = json.loads(run(ASK, "ask", args.question, *options, "--json"))
            took.append(1e3 * (time.perf_counter() - began))
        warm = json.loads(run(WARM, corpus, store, args.question, route, reader, str(args.asks)))
    return {
        "route": answer["route"],
        "tokens_read": answer["usage"]["prompt_tokens"],
        "ask_first_ms": round(took[0]),
        "ask_process_ms": round(statistics.median(took[1:])),
        "ask_warm_ms": round(statistics.median(warm["ms"]), 1),
    }


def run(script: str, *arguments: str) -> str:
    """The last line that a script prints, run by this python."""
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, cwd="/")
    if done.returncode:
        sys.exit(done.stderr)
    return (done.stdout.splitlines() or [""])[-1]


def main() -> int:
    """Parses the options and measures; 2 when the weights are absent."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, default=weights.FOLDER)
    parser.add_argument("--repeats", type=int, default=40)
    parser.add_argument("--corpus", type=Path)
    parser.add_argument("--question", default=QUESTION)
    parser.add_argument("--route", help="instead of the one that the policy chooses")
    parser.add_argument("--reader", help="a registered one, instead of the configured one")
    parser.add_argument("--asks", type=int, default=7, help="processes, and questions in a warm one")
    args = parser.parse_args()
    if not (args.weights / GRAPH).is_file():
        print(f"there is no file {args.weights / GRAPH}", file=sys.stderr)
        return 2
    folder = args.weights.resolve()
    # Loading first: the peak of a new process is not below that of the one which starts it.
    result: dict[str, object] = {**loading(folder, 5), **reading(folder, args.repeats)}
    result["weights_bytes"] = (folder / GRAPH).stat().st_size
    if args.corpus:
        result |= asking(args)
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
