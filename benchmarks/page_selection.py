"""What a question loses when it reads only the pages where its pointer would begin unread, and what time it gains.

    python benchmarks/page_selection.py --task hashhop --tokens 1048576 --n 100 --select 0 64 128 256 512 1024
        [--hops 2] [--kv k4v4] [--seed 0] [--weights FOLDER] [--keep FOLDER]
    python benchmarks/page_selection.py --task prose --data dev-v1.1.report.json.gz train-v1.1.json.gz --tokens 1048576

--task: hashhop or kv, as in long_context.py, or prose: the questions of the first file of --data (SQuAD's JSON) over
its paragraphs, and over as many of the other files' as --tokens has room for. One haystack, the same for every
--select; 0 reads all. Variants are asked in turns, question by question. --keep: encoded arrays are kept there, by
fingerprint, for the next run.

Prints a line of JSON for each variant: accuracy, the share whose answer was found (prose: the best span, token for
token), ci95 its Wilson interval; chosen, the share whose page was among those read; in_16, among the 16 best by the
pointer; ask_seconds, the median.
"""

from __future__ import annotations

import argparse
import gzip
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from long_cases import Case, Ids, Question, Wanted, case
from long_context import OnCpu, answered, score, wilson

from selfroute.models import weights
from selfroute.models.span_windows import read_question, read_text
from selfroute.models.tokenizer import wordpiece
from selfroute.models.training.paged_material import Material

N_BEST = 16  # pages


def prose(files: Sequence[Path], n_tokens: int, n: int, rng: np.random.Generator) -> Case:
    """Paragraphs of all files in a random order, questions of the first."""
    pages: list[Ids] = []
    asked: list[tuple[int, dict[str, Any]]] = []
    total, places = 0, []
    for place, path in enumerate(files):
        with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
            articles = json.load(file)["data"]
        for paragraph in (p for i in rng.permutation(len(articles)) for p in articles[i]["paragraphs"]):
            ids = tuple(read_text(wordpiece(), paragraph["context"]).ids)[:510]
            if total + len(ids) + 2 > n_tokens:
                break
            total += len(ids) + 2
            if place == 0:
                asked += [(len(pages), qa) for qa in paragraph["qas"] if qa["answers"]]
            pages.append(ids)
    places = rng.permutation(len(pages)).tolist()
    at = {old: new for new, old in enumerate(places)}
    questions = []
    for i in rng.permutation(len(asked))[:n].tolist():
        page, qa = asked[i]
        ways = frozenset(tuple(wordpiece().pieces(a["text"])[0]) for a in qa["answers"])
        words = tuple(read_question(wordpiece(), qa["question"].strip()))
        questions.append(Question(words, (ways,), 1, at[page] / len(pages)))
    return Case([pages[old] for old in places], questions, len(asked))


def encoded(reader: OnCpu, made: Case, name: str, keep: Path | None) -> Any:
    """Lengths and arrays of the pages, of an earlier run where that kept them."""
    path = keep and keep / f"{name}-{reader.runtime.fingerprint[:12]}.npz"
    if path and path.is_file():
        with np.load(path) as kept:
            return kept["lengths"], {name: kept[name] for name in kept.files if name != "lengths"}
    lengths, arrays = reader.encode(made.pages)
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, lengths=lengths, **arrays)
    return lengths, arrays


class Selecting:
    """A reader that reads so many pages, and remembers what it read last."""

    def __init__(self, reader: OnCpu, select: int) -> None:
        self.runtime, self.select = reader.runtime, select
        self.last: Any = None

    def ask(self, questions: Sequence[tuple[Ids, Ids]], kept: Any) -> list[tuple[list[Any], float]]:
        found = []
        for asked, so_far in questions:
            ids = self.runtime.asked_ids(asked, so_far)
            self.last = self.runtime.ask_ids(ids, *kept, n_spans=12, select=self.select)
            found.append((list(self.last.spans), self.last.null))
        return found


def run(reader: OnCpu, made: Case, kept: Any, selects: Sequence[int]) -> list[dict[str, Any]]:
    """A row for each number of pages."""
    rights: dict[int, list[float]] = {select: [] for select in selects}
    chosen: dict[int, list[bool]] = {select: [] for select in selects}
    best: dict[int, list[bool]] = {select: [] for select in selects}
    seconds: dict[int, list[float]] = {select: [] for select in selects}
    for question in made.questions:
        gold = round(question.depth * len(made.pages))
        for select in selects:
            one = Selecting(reader, select)
            started = time.perf_counter()
            found = answered(one, kept, question, made.pages)
            seconds[select].append((time.perf_counter() - started) / max(1, question.steps))
            rights[select].append(score(question, found)[0])
            if question.steps == 1:
                chosen[select].append(bool(np.isfinite(one.last.pages[gold])))
                best[select].append(gold in one.last.best_pages(N_BEST))
    rows = []
    for select in selects:
        accuracy = float(np.mean(rights[select]))
        rows.append(
            {
                "select": select,
                "n": len(rights[select]),
                "accuracy": round(accuracy, 4),
                "ci95": wilson(accuracy, len(rights[select])),
                "chosen": round(float(np.mean(chosen[select])), 4) if chosen[select] else None,
                "in_16": round(float(np.mean(best[select])), 4) if best[select] else None,
                "ask_seconds": round(float(np.median(seconds[select])), 4),
            }
        )
    return rows


def main() -> None:
    """Parses the options, runs, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", choices=("hashhop", "kv", "prose"), required=True)
    parser.add_argument("--tokens", type=int, default=1 << 20)
    parser.add_argument("--hops", type=int, default=1)
    parser.add_argument("--n", type=int, default=100)
    parser.add_argument("--select", type=int, nargs="+", default=[0, 64, 128, 256, 512, 1024])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kv", default="k4v4")
    parser.add_argument("--weights", type=Path, default=weights.FOLDER)
    parser.add_argument("--data", type=Path, nargs="+", default=[])
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    if options.task == "prose" and not options.data:
        parser.error("--task prose needs --data")
    reader = OnCpu(options.weights, options.kv)
    if options.task == "prose":
        made = prose(options.data, options.tokens, options.n, np.random.default_rng([options.seed, 78]))
    else:
        wanted = Wanted(options.tokens, options.n, options.hops, None, Material.load(None, options.seed + 31))
        made = case(options.task, wanted, options.seed * 100_000)
    hops = f"-{options.hops}" if options.task == "hashhop" else ""
    kept = encoded(reader, made, f"{options.task}{hops}-{options.tokens}-{options.seed}", options.keep)
    whole = {"task": options.task, "hops": options.hops if hops else None, "tokens": int(kept[0].sum())}
    whole |= {"pages": len(kept[0]), "seed": options.seed, "kv": options.kv}
    for row in run(reader, made, kept, options.select):
        print(json.dumps(whole | row))


if __name__ == "__main__":
    main()
