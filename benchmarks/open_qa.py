"""SQuAD without being told the paragraph: the dev file's paragraphs are one corpus, and the router answers from it.

    python benchmarks/open_qa.py --squad dev-v1.1.json --route retrieval [--limit N] [--reader span|evidence]

One text file an article, a blank line between paragraphs. Questions without an answer are left out: their answer may
stand in another paragraph. rank: of the first hit that holds lines of the question's own paragraph, among 10 hits;
gold_read: whether such a chunk was read. Official SQuAD scores of the answer's text, declined ones counted as wrong.
Ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from reader import evenly, mean

from selfroute import SelfRouter
from selfroute.models.span_reader import SpanReader
from selfroute.models.training.squad_scores import Case, cases, exact_match, f1
from selfroute.types import ROUTES, Chunk

TOP_K = 10


def write_corpus(asked: Sequence[Case], root: Path) -> dict[str, tuple[str, int, int]]:
    """Writes the articles; path, first and last line of each paragraph."""
    paragraphs: dict[str, dict[str, None]] = defaultdict(dict)
    for case in asked:
        paragraphs[case.title][case.context] = None
    places = {}
    for title, texts in paragraphs.items():
        path, line = f"{title}.txt", 1
        for text in texts:
            last = line + text.count("\n")
            places[text] = path, line, last
            line = last + 2
        (root / path).write_text("\n\n".join(texts) + "\n", encoding="utf-8")
    return places


def holds(chunk: Chunk, place: tuple[str, int, int]) -> bool:
    """Whether a chunk has a line of the place."""
    path, first, last = place
    return chunk.path == path and chunk.start_line <= last and first <= chunk.end_line


def main() -> int:
    """Parses the options, builds the corpus, asks; 2 when the file is absent."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--squad", type=Path, required=True)
    parser.add_argument("--route", choices=ROUTES, default=ROUTES[0])
    parser.add_argument("--reader", default="span")
    parser.add_argument("--weights", type=Path, help="the folder of the span reader's weights, if not the shipped ones")
    parser.add_argument("--limit", type=int, help="questions")
    parser.add_argument("--budget-tokens", type=int, default=2000, help="tokens that the retrieval route reads")
    parser.add_argument("--show", action="store_true", help="print every answer beside the right ones")
    args = parser.parse_args()
    if not args.squad.is_file():
        print(f"there is no file {args.squad}", file=sys.stderr)
        return 2
    everything = list(cases(args.squad))
    asked = evenly([case for case in everything if case.answers], args.limit)
    reader = SpanReader(folder=args.weights) if args.weights else args.reader
    ranks: list[int | None] = []
    rows: list[tuple[float, float, bool, bool, float, int]] = []
    with tempfile.TemporaryDirectory() as corpus, tempfile.TemporaryDirectory() as store:
        places = write_corpus(everything, Path(corpus))
        router = SelfRouter.from_path(corpus, index_dir=store, reader=reader, route=args.route)
        with router:
            for case in asked:
                place = places[case.context]
                hits = router.search(case.question, top_k=TOP_K)
                ranks.append(next((n for n, hit in enumerate(hits, 1) if holds(hit.chunk, place)), None))
                began = time.perf_counter()
                budget = args.budget_tokens if args.route == ROUTES[0] else None
                answer = router.ask(case.question, budget_tokens=budget)
                seconds = time.perf_counter() - began
                text = answer.text if answer.answerable else ""
                chunks = answer.attempts[-1].chunks
                read = any(holds(chunk, place) for chunk in chunks)
                n_read = len(chunks) if args.route == ROUTES[0] else router.index.stats.chunks
                score = f1(text, case.answers)
                rows.append((exact_match(text, case.answers), score, not answer.answerable, read, seconds, n_read))
                if args.show:
                    print(f"{score:.2f} {case.question!r} {text!r} {case.answers}", file=sys.stderr)
            n_chunks = router.index.stats.chunks
    found = [rank for rank in ranks if rank]
    result = {
        "em": mean(row[0] for row in rows),
        "f1": mean(row[1] for row in rows),
        "declined": mean(float(row[2]) for row in rows),
        "gold_read": mean(float(row[3]) for row in rows),
        "f1_when_gold_read": mean(row[1] for row in rows if row[3]),
        "gold_in_top_1": mean(float(rank == 1) for rank in ranks),
        f"gold_in_top_{TOP_K}": mean(float(rank is not None) for rank in ranks),
        "mrr": mean(1 / rank if rank else 0.0 for rank in ranks),
        "median_rank_when_found": statistics.median(found) if found else None,
        "seconds_p50": round(statistics.median(row[4] for row in rows), 3) if rows else None,
        "chunks_read_mean": mean(row[5] for row in rows),
        "corpus_chunks": n_chunks,
        "n": len(rows),
        "route": args.route,
        "reader": args.reader,
    }
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
