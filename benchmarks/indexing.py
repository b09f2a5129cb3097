"""Indexing: a cold index, its memory, one changed file, and the command line as a whole process.

    python benchmarks/indexing.py --corpus DIR [--peer semble] [--repeats 5]

Every cold run is the first index of a process of its own, imports done, its model's loading included, files in the
page cache; warm runs repeat it in that process with a new store. Figures are medians. The peer runs the same way, over
what it indexes by default (code alone) and over all its kinds of content (as ours: code, documents, configuration). It
keeps nothing durable; ours writes SQLite and checksummed arrays. Ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import peer

COLD = r"""
import json, resource, sys, time
from selfroute.memory.index import Index
from selfroute.models.static import StaticEmbedder
root, store, warm = sys.argv[1:]
took = []
for i in range(1 + int(warm)):
    start = time.perf_counter()
    index = Index.open(root, directory=f"{store}-{i}" if i else store, embedder=StaticEmbedder())
    took.append(time.perf_counter() - start)
    stats = index.stats
    index.close()
print(json.dumps({"seconds": took[0], "warm": took[1:], "files": stats.files, "chunks": stats.chunks,
                  "tokens": stats.tokens, "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
"""

CHANGED = r"""
import json, pathlib, statistics, sys, time
from selfroute.memory.index import Index
root, store = sys.argv[1:]
index = Index.open(root, directory=store)
files = sorted(p for p in pathlib.Path(root).rglob("*.py") if 2_000 < p.stat().st_size < 40_000)
took = []
for i in range(7):
    with files[i * len(files) // 7].open("a") as file:
        file.write(f"\n\ndef added_{i}():\n    return {i}\n")
    start = time.perf_counter()
    index.update()
    took.append(time.perf_counter() - start)
print(json.dumps({"seconds": statistics.median(took), "all": took}))
"""


def child(script: str, *args: str) -> dict[str, Any]:
    """What the script prints, run by this python."""
    done = subprocess.run([sys.executable, "-c", script, *args], capture_output=True, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def process_seconds(*command: str, repeats: int) -> float:
    """The median wall time of a whole process, after one to warm the page cache."""
    subprocess.run(command, capture_output=True, check=True)
    took = []
    for _ in range(repeats):
        start = time.perf_counter()
        subprocess.run(command, capture_output=True, check=True)
        took.append(time.perf_counter() - start)
    return statistics.median(took)


def beside(args: argparse.Namespace, corpus: Path, content: str, cold: float, warm: float) -> dict[str, float]:
    """The peer's seconds for the same folder, and how many times as long ours took."""
    question = ["where is the session opened"]
    runs = [peer.run(args.peer, args.peer_python, corpus, question, content=content) for _ in range(args.repeats)]
    repeated = peer.run(args.peer, args.peer_python, corpus, question, content=content, builds=1 + args.repeats)
    theirs = statistics.median(run.build_seconds[0] for run in runs)
    theirs_warm = statistics.median(repeated.build_seconds[1:])
    return {
        "files": repeated.n_files,
        "cold_seconds": round(theirs, 3),
        "warm_seconds": round(theirs_warm, 3),
        "cold_ratio": round(cold / theirs, 2),
        "warm_ratio": round(warm / theirs_warm, 2),
    }


def main() -> None:
    """Measures and prints one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--peer", choices=["semble"])
    parser.add_argument("--peer-python", type=Path)
    args = parser.parse_args()
    if not args.corpus.is_dir():
        print(f"skipped: {args.corpus} is absent", file=sys.stderr)
        print(json.dumps({}))
        return
    with tempfile.TemporaryDirectory() as scratch:
        corpus = Path(scratch) / "corpus"
        shutil.copytree(args.corpus, corpus, symlinks=True)
        cold = [child(COLD, str(corpus), f"{scratch}/store-{i}", "0") for i in range(args.repeats)]
        warm = child(COLD, str(corpus), f"{scratch}/warm", str(args.repeats))["warm"]
        report: dict[str, object] = {
            "files": cold[0]["files"],
            "chunks": cold[0]["chunks"],
            "tokens": cold[0]["tokens"],
            "cold_seconds": round(statistics.median(run["seconds"] for run in cold), 3),
            "warm_seconds": round(statistics.median(warm), 3),
            "peak_rss_mb": round(max(run["peak_rss_mb"] for run in cold), 1),
            "changed_one_seconds": round(child(CHANGED, str(corpus), f"{scratch}/store-0")["seconds"], 4),
        }
        selfroute = str(Path(sys.executable).with_name("selfroute"))
        search = [selfroute, "search", "where is the session opened", "--path", str(corpus)]
        search += ["--index-dir", f"{scratch}/store-0"]
        report["search_process_seconds"] = round(process_seconds(*search, repeats=5), 3)
        report["help_process_seconds"] = round(process_seconds(selfroute, "--help", repeats=5), 3)
        if args.peer:
            report["peer"] = {"name": args.peer} | {
                content: beside(args, corpus, content, float(report["cold_seconds"]), float(report["warm_seconds"]))
                for content in ("code", "all")
            }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
