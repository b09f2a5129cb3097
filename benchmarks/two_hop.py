"""Two-hop questions over prose: both gold paragraphs in the first ten hits, with the graph and without.

    python benchmarks/two_hop.py --hotpotqa FOLDER [--layout pages|volumes] [--squad FILE] [--nq FILE] [--in-memory]

--hotpotqa: a folder with dev250.jsonl ({id, type, question, gold_titles}) and corpus.jsonl ({title, text}). Layouts of
the paragraphs as a corpus: pages, one Markdown file a paragraph, `# Title` and the text, as a wiki is exported;
volumes, 50 paragraphs in the order of their titles a file, each below its `## Title`. A paragraph is found when a hit
holds one of its lines. With the graph: SelfRouter.search. Without: Index.search(graph=False). --in-memory: with the
graph is the plain search expanded over a table in memory, which is what the index has to equal.

The constants were chosen on half of the questions (an even first byte of sha256(id)); that half, the other and all are
reported apart. 95% intervals: Wilson for shares, 2,000 bootstrap samples for means and differences; the paired test of
shares is McNemar's, exact. The corpus is the paragraphs that a word search found for these very questions, and the
questions were written along links between encyclopaedia entries: both make two hops easier than in other prose.

--squad, --nq: single-hop questions that must not lose: recall@10 of their paragraph, 500 questions each, chosen by
hash. SQuAD is one file an article; the gold passages of NQ are pages among those of HotpotQA. Data that is absent is
skipped with a line. Ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import random
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import groupby
from pathlib import Path
from typing import Any

from selfroute import SelfRouter
from selfroute.memory.graph.expand import expand
from selfroute.memory.graph.mentions import EntityTable, mentions_of
from selfroute.memory.graph.nodes import N_POOL
from selfroute.types import Chunk

TOP_K = 10
PER_VOLUME = 50
N_SAMPLES = 2_000
N_SINGLE = 500

Place = tuple[str, int, int]
"""The file and the lines, from 1, inclusive, of a paragraph."""


@dataclass(frozen=True, slots=True)
class Case:
    """A question and where its paragraphs stand. group: bridge, comparison or single."""

    id: str
    group: str
    question: str
    gold: tuple[Place, ...]

    @property
    def tuned(self) -> bool:
        """Whether the constants were chosen on it."""
        return self.group != "single" and sha256(self.id.encode()).digest()[0] % 2 == 0


def write_pages(folder: Path, paragraphs: Iterable[tuple[str, str]]) -> list[Place]:
    """One Markdown file a paragraph; where each stands."""
    places = []
    used: dict[str, int] = {}
    for title, text in paragraphs:
        name = re.sub(r"\W+", "_", title).strip("_")[:80] or "untitled"
        used[name.lower()] = n = used.get(name.lower(), 0) + 1
        path = f"{name}.md" if n == 1 else f"{name}_{n}.md"
        (folder / path).write_text(f"# {title}\n\n{text.strip()}\n", encoding="utf-8")
        places.append((path, 1, 2 + len(text.strip().split("\n"))))
    return places


def write_volumes(folder: Path, paragraphs: Sequence[tuple[str, str]]) -> list[Place]:
    """PER_VOLUME sections a Markdown file, by title; where each stands, in the order given."""
    order = sorted(range(len(paragraphs)), key=lambda i: paragraphs[i])
    places: dict[int, Place] = {}
    for volume, first in enumerate(range(0, len(order), PER_VOLUME), start=1):
        path, lines = f"volume_{volume:03d}.md", []
        for i in order[first : first + PER_VOLUME]:
            title, text = paragraphs[i]
            start = len(lines) + 1
            lines += [f"## {title}", "", *text.strip().split("\n"), ""]
            places[i] = (path, start, len(lines) - 1)
        (folder / path).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return [places[i] for i in range(len(paragraphs))]


def hotpotqa(source: Path, folder: Path, layout: str) -> list[Case]:
    """Lays the corpus out and gives the questions."""
    paragraphs = [(row["title"], row["text"]) for row in map(json.loads, (source / "corpus.jsonl").open())]
    places = (write_pages if layout == "pages" else write_volumes)(folder, paragraphs)
    by_title = {title: place for (title, _), place in zip(paragraphs, places, strict=True)}
    rows = map(json.loads, (source / "dev250.jsonl").open())
    return [Case(r["id"], r["type"], r["question"], tuple(by_title[t] for t in r["gold_titles"])) for r in rows]


def squad(source: Path, folder: Path) -> list[Case]:
    """One file an article, its paragraphs apart by a blank line."""
    cases = []
    for article in json.loads(gzip.decompress(source.read_bytes()))["data"]:
        path, lines = f"{article['title']}.md", [f"# {article['title'].replace('_', ' ')}", ""]
        for paragraph in article["paragraphs"]:
            start = len(lines) + 1
            lines += [*paragraph["context"].split("\n"), ""]
            place = (path, start, len(lines) - 1)
            cases += [Case(qa["id"], "single", qa["question"], (place,)) for qa in paragraph["qas"]]
        (folder / path).write_text("\n".join(lines), encoding="utf-8")
    return sorted(cases, key=lambda case: sha256(case.id.encode()).digest())[:N_SINGLE]


def natural_questions(source: Path, folder: Path, others: Path | None) -> list[Case]:
    """The gold passages, a page each, among the pages of HotpotQA when those are there."""
    rows = [json.loads(line) for line in gzip.decompress(source.read_bytes()).splitlines()]
    paragraphs = [(row["ctxs"][0]["title"], row["ctxs"][0]["text"]) for row in rows]
    unique = list(dict.fromkeys(paragraphs))
    more = [(row["title"], row["text"]) for row in map(json.loads, (others / "corpus.jsonl").open())] if others else []
    places = dict(zip(unique, write_pages(folder, [*more, *unique])[len(more) :], strict=True))
    cases = [
        Case(row["question"], "single", row["question"], (places[p],)) for row, p in zip(rows, paragraphs, strict=True)
    ]
    return sorted(cases, key=lambda case: sha256(case.id.encode()).digest())[:N_SINGLE]


Search = Callable[[str], Sequence[Chunk]]


def searches(router: SelfRouter, *, in_memory: bool) -> dict[str, Search]:
    """The ten best chunks, without the graph and with it."""

    def without(question: str, top_k: int = TOP_K) -> list[Chunk]:
        try:
            hits = router.index.search(question, top_k=top_k, graph=False)  # type: ignore[call-arg]
        except TypeError:
            hits = router.index.search(question, top_k=top_k)
        return [hit.chunk for hit in hits]

    def with_graph(question: str) -> list[Chunk]:
        return [hit.chunk for hit in router.search(question, top_k=TOP_K)]

    if not in_memory:
        return {"without": without, "with": with_graph}
    chunks = list(router.index.chunks())
    table, row_of = EntityTable(chunks), {chunk.id: row for row, chunk in enumerate(chunks)}

    def expanded(question: str) -> list[Chunk]:
        hits = [(row_of[hit.chunk.id], hit.score) for hit in router.index.search(question, top_k=N_POOL)]
        return [chunks[found.row] for found in expand(question, hits, table, top_k=TOP_K)]

    return {"without": without, "with": expanded}


def found(chunks: Sequence[Chunk], place: Place) -> bool:
    """Whether a chunk holds a line of the paragraph."""
    path, start, end = place
    return any(c.path == path and c.start_line <= end and c.end_line >= start for c in chunks)


def wilson(n_right: int, n: int) -> list[float]:
    """The 95% interval of a share, in percent (Wilson 1927)."""
    z, share = 1.96, n_right / n
    middle = share + z * z / (2 * n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return [round(100 * (middle + sign * half) / (1 + z * z / n), 1) for sign in (-1, 1)]


def bootstrap(values: Sequence[float]) -> list[float]:
    """The 95% interval of a mean, in percent, over resampled questions."""
    draw = random.Random(0)
    means = sorted(statistics.fmean(draw.choices(values, k=len(values))) for _ in range(N_SAMPLES))
    return [round(100 * means[round(N_SAMPLES * share) - 1], 1) for share in (0.025, 0.975)]


def mcnemar(n_gained: int, n_lost: int) -> float:
    """The two-sided probability of a split at least this uneven, were both outcomes as likely."""
    n, k = n_gained + n_lost, min(n_gained, n_lost)
    return min(1.0, 2 * sum(math.comb(n, i) for i in range(k + 1)) / 2**n)


def compared(without: Sequence[Sequence[bool]], graph: Sequence[Sequence[bool]]) -> dict[str, Any]:
    """Of the same questions, whether each gold paragraph was found: shares, means, their difference and test."""
    n = len(without)
    report: dict[str, Any] = {"n": n}
    both = {"without": [all(f) for f in without], "with": [all(f) for f in graph]}
    recall = {"without": [sum(f) / len(f) for f in without], "with": [sum(f) / len(f) for f in graph]}
    for name in ("without", "with"):
        report[name] = {
            "all_gold_at_10": round(100 * sum(both[name]) / n, 1),
            "ci95": wilson(sum(both[name]), n),
            "recall_at_10": round(100 * statistics.fmean(recall[name]), 1),
            "recall_ci95": bootstrap(recall[name]),
        }
    gained = [int(b) - int(a) for a, b in zip(both["without"], both["with"], strict=True)]
    more = [b - a for a, b in zip(recall["without"], recall["with"], strict=True)]
    report["difference"] = {
        "all_gold_at_10": round(100 * sum(gained) / n, 1),
        "ci95": bootstrap(gained),
        "recall_at_10": round(100 * statistics.fmean(more), 1),
        "recall_ci95": bootstrap(more),
        "gained": gained.count(1),
        "lost": gained.count(-1),
        "p": float(f"{mcnemar(gained.count(1), gained.count(-1)):.2g}"),
    }
    return report


def measure(folder: Path, cases: Sequence[Case], *, in_memory: bool, verbose: bool) -> dict[str, Any]:
    """Asks every question both ways; reports by group, for two-hop questions by half as well."""
    with tempfile.TemporaryDirectory() as store, SelfRouter.from_path(folder, index_dir=store) as router:
        outcomes: dict[str, list[list[bool]]] = {}
        milliseconds: dict[str, float] = {}
        for name, search in searches(router, in_memory=in_memory).items():
            took, outcomes[name] = [], []
            search(cases[0].question)
            for case in cases:
                start = time.perf_counter()
                chunks = search(case.question)
                took.append((time.perf_counter() - start) * 1e3)
                outcomes[name].append([found(chunks, place) for place in case.gold])
            milliseconds[name] = round(statistics.median(took), 2)
        report: dict[str, Any] = {"query_p50_ms": milliseconds, "mentions": cost(router)}
    for group in dict.fromkeys(case.group for case in cases):
        halves = {"tuning_half": (True,), "report_half": (False,), "all": (True, False)}
        for half, wanted in halves.items() if group != "single" else [("all", (False,))]:
            rows = [i for i, case in enumerate(cases) if case.group == group and case.tuned in wanted]
            if rows:
                both = [[outcomes[name][i] for i in rows] for name in ("without", "with")]
                report.setdefault(group, {})[half] = compared(*both)
    for case, before, after in zip(cases, outcomes["without"], outcomes["with"], strict=True):
        if verbose and before != after:
            print(f"{sum(before)} -> {sum(after)} of {len(case.gold)}: {case.question}", file=sys.stderr)
    return report


def cost(router: SelfRouter) -> dict[str, float]:
    """What finding the mentions takes and gives."""
    chunks = list(router.index.chunks())
    documents = [list(document) for _, document in groupby(chunks, key=lambda chunk: chunk.path)]
    start = time.perf_counter()
    found_in = [mentions for document in documents for mentions in mentions_of(document)]
    seconds = time.perf_counter() - start
    size = sum(len(chunk.text) for chunk in chunks) / 1e6
    keys = sum(len({mention.key for mention in mentions}) for mentions in found_in)
    return {"ms_per_million_characters": round(seconds * 1e3 / size), "keys_per_chunk": round(keys / len(chunks), 1)}


def main() -> None:
    """Parses, measures, prints one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hotpotqa", type=Path, metavar="FOLDER")
    parser.add_argument("--squad", type=Path, metavar="FILE", help="SQuAD 1.1, json.gz")
    parser.add_argument("--nq", type=Path, metavar="FILE", help="questions with their gold passage first, jsonl.gz")
    parser.add_argument("--layout", choices=["pages", "volumes"], default="pages")
    parser.add_argument("--in-memory", action="store_true", help="expand the plain search over a table in memory")
    parser.add_argument("--verbose", action="store_true", help="print the questions whose outcome differs")
    args = parser.parse_args()
    hotpot = args.hotpotqa if args.hotpotqa and (args.hotpotqa / "corpus.jsonl").is_file() else None
    sources: dict[str, tuple[Path | None, Callable[[Path], list[Case]]]] = {
        "two_hop": (args.hotpotqa, lambda folder: hotpotqa(args.hotpotqa, folder, args.layout)),
        "squad": (args.squad, lambda folder: squad(args.squad, folder)),
        "nq": (args.nq, lambda folder: natural_questions(args.nq, folder, hotpot)),
    }
    report: dict[str, Any] = {"layout": args.layout, "in_memory": args.in_memory}
    for name, (path, lay_out) in sources.items():
        if path is None or not path.exists() or (name == "two_hop" and hotpot is None):
            print(f"skipped {name}: {f'{path} is absent' if path else 'no path was given'}", file=sys.stderr)
            continue
        with tempfile.TemporaryDirectory() as folder:
            cases = lay_out(Path(folder))
            report[name] = measure(Path(folder), cases, in_memory=args.in_memory, verbose=args.verbose)
    print(json.dumps(report))


if __name__ == "__main__":
    main()
