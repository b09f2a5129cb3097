"""The reader's training set about code: questions, the chunk that answers each, and chunks that nearly do.

    python benchmarks/training/code_data.py --out DIR [--packages NAME ...] [--n 90000] [--seed 0]

Made of the standard library and installed packages; those that are evaluated on are kept out (code_sources.KEPT_OUT).
Writes chunks.jsonl.gz, a line a chunk: {text, path, symbol}, and code.jsonl.gz, a line a question: {id, kind, question,
chunks, answers, match, absent}. chunks: line numbers from 0 into the first file, those that answer first. answers:
[{chunk, start, end}], chunk being a place in `chunks`, offsets of characters in that chunk's text; empty for a question
without an answer, whose `absent` says why. match: "any" when each answer alone is right, "all" when they are a list.
Only wordings for training are used. It stands outside of the package since it joins models to memory: the chunks are
the product's own. Ends with one line of JSON: the counts.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import code_sources
import numpy as np

from selfroute.memory.base import Document
from selfroute.memory.chunking import chunk_document
from selfroute.memory.languages import detect_language
from selfroute.memory.lexical import Postings
from selfroute.memory.query import parse
from selfroute.models.training.code_absent import absent_questions
from selfroute.models.training.code_package import Package
from selfroute.models.training.code_questions import CodeQuestion, ask
from selfroute.models.training.code_wordings import KINDS
from selfroute.types import Chunk

ABSENT_SHARE = 0.12
PER_FACT = 2  # wordings of a fact, and MOST_PER_FACT where a kind is rare
MOST_PER_FACT = 5
PER_FILE = 6  # facts of one kind out of one file, at most
MAX_CHUNKS = 8  # of one question
SPELLED_OUT = ("instance_attribute",)  # mostly `self.x = x`


@dataclass(slots=True)
class Corpus:
    """One package in chunks. by_path: numbers of a file's chunks. by_name: numbers by the last part of the symbol."""

    package: Package
    chunks: list[Chunk] = field(default_factory=list)
    by_path: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    by_name: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    questions: list[tuple[CodeQuestion, list[int], list[tuple[int, int, int]]]] = field(default_factory=list)

    def add(self, path: str) -> None:
        """Cuts one file into chunks, once."""
        if path in self.by_path:
            return
        text = self.package.files[path]
        for chunk in chunk_document(Document(path, text, detect_language(path))).chunks:
            self.by_path[path].append(len(self.chunks))
            if chunk.symbol:
                self.by_name[chunk.symbol.rpartition(".")[2]].append(len(self.chunks))
            self.chunks.append(chunk)

    def placed(self, question: CodeQuestion) -> tuple[list[int], list[tuple[int, int, int]]] | None:
        """The chunks that hold the answers, and (place in them, start, end) of each; None when a border cuts one."""
        text = self.package.files[question.path]
        gold: list[int] = []
        answers = []
        for (start, end), answer in zip(question.spans, _texts(text, question), strict=True):
            line = text.count("\n", 0, start) + 1
            row = start - (text.rfind("\n", 0, start) + 1)
            for number in self.by_path[question.path]:
                chunk = self.chunks[number]
                if chunk.start_line <= line <= chunk.end_line:
                    lines = chunk.text.split("\n")
                    at = sum(len(before) + 1 for before in lines[: line - chunk.start_line]) + row
                    if chunk.text[at : at + end - start] != answer:
                        return None
                    if number not in gold:
                        gold.append(number)
                    answers.append((gold.index(number), at, at + end - start))
        return (gold, answers) if len(answers) == len(question.spans) and len(gold) <= 3 else None


def _texts(text: str, question: CodeQuestion) -> list[str]:
    return [text[start:end] for start, end in question.spans]


def gather(corpora: list[Corpus], n: int, seed: int) -> None:
    """Chooses facts and wordings so that the kinds are as even as they can be, and asks them."""
    by_kind: dict[str, list[tuple[int, str, object]]] = defaultdict(list)
    for number, corpus in enumerate(corpora):
        for path in sorted(corpus.package.files):
            per_kind: Counter[str] = Counter()
            facts = list(corpus.package.facts(path))
            random.Random(f"{seed} {path}").shuffle(facts)
            for fact in facts:
                per_kind[fact.kind] += 1
                trivial = (
                    fact.kind in SPELLED_OUT and corpus.package.files[path][slice(*fact.spans[0])] == fact.names["p"]
                )
                if per_kind[fact.kind] <= PER_FILE and not (trivial and per_kind[fact.kind] > 1):
                    by_kind[fact.kind].append((number, path, fact))
    quota = evened({kind: MOST_PER_FACT * len(found) for kind, found in by_kind.items()}, n)
    for kind in KINDS:
        found = by_kind.get(kind, [])
        random.Random(f"{seed} {kind}").shuffle(found)
        per_fact = min(MOST_PER_FACT, max(PER_FACT, -(-quota.get(kind, 0) * 5 // (4 * max(1, len(found))))))
        made = 0
        for number, path, fact in found:
            corpus = corpora[number]
            for question in ask(fact, corpus.package, path, seed=seed, per_fact=per_fact):  # type: ignore[arg-type]
                corpus.add(path)
                placed = corpus.placed(question)
                if placed is not None and made < quota[kind]:
                    corpus.questions.append((question, *placed))
                    made += 1
            if made >= quota[kind]:
                break


def evened(available: dict[str, int], n: int) -> dict[str, int]:
    """How many of each kind: all of the rare ones, and the rest shared evenly, n together where there are as many."""
    quota: dict[str, int] = {}
    left = n
    for done, (kind, count) in enumerate(sorted(available.items(), key=lambda item: (item[1], item[0]))):
        quota[kind] = min(count, left // (len(available) - done))
        left -= quota[kind]
    return quota


def add_absent(corpora: list[Corpus], n: int, seed: int) -> None:
    """Questions without an answer, by package in proportion to its chunks in use."""
    total = sum(len(corpus.chunks) for corpus in corpora)
    for corpus in corpora:
        share = round(1.15 * n * len(corpus.chunks) / max(1, total))
        for question in absent_questions(corpus.package, share, seed=seed):
            if question.path in corpus.by_path:
                corpus.questions.append((question, [], []))


def with_distractors(corpus: Corpus, seed: int) -> Iterator[tuple[CodeQuestion, list[int], list[tuple[int, int, int]]]]:
    """Each question with the chunks that are shown for it: hard ones first among those that do not answer.

    Only chunks that answer some question are taken, so that few have to be stored.
    """
    used = sorted({number for _, gold, _ in corpus.questions for number in gold})
    if not used:
        return
    in_use = set(used)
    fields = [[(corpus.chunks[i].text, 1), (corpus.chunks[i].symbol, 2), (corpus.chunks[i].path, 1)] for i in used]
    postings = Postings.empty().merged(-1 - np.arange(len(used)), fields)
    for question, gold, answers in corpus.questions:
        random_ = random.Random(f"{seed} {question.question} {question.path}")
        first, last = question.lines
        near = [i for i in corpus.by_path[question.path] if i in in_use]
        same = [i for i in near if corpus.chunks[i].start_line <= last and corpus.chunks[i].end_line >= first]
        named = [i for i in corpus.by_name[question.target.rpartition(".")[2]] if i in in_use]
        scores = postings.bm25(dict.fromkeys(parse(question.question).core, 1.0))
        best = [used[i] for i in np.argsort(-scores, kind="stable")[:6].tolist()]
        others = [i for i in near if i not in same]
        offered = [
            *same[:2],
            *random_.sample(named, min(2, len(named))),
            *best[: random_.choice((1, 2, 3, 4))],
            *random_.sample(others, min(random_.choice((1, 2)), len(others))),
            *random_.sample(used, min(6, len(used))),
        ]
        most = min(MAX_CHUNKS, len(gold) + random_.randint(3, 7))
        shown = list(dict.fromkeys([*gold, *offered]))[:most]
        yield question, shown, answers


def write(corpora: list[Corpus], out: Path, seed: int) -> dict[str, object]:
    """Both files, questions in random order; the counts."""
    out.mkdir(parents=True, exist_ok=True)
    lines: list[dict[str, object]] = []
    stored: dict[tuple[int, int], int] = {}
    texts: list[dict[str, str]] = []
    for number, corpus in enumerate(corpora):
        for question, shown, answers in with_distractors(corpus, seed):
            for i in shown:
                if (number, i) not in stored:
                    stored[number, i] = len(texts)
                    chunk = corpus.chunks[i]
                    texts.append({"text": chunk.text, "path": chunk.path, "symbol": chunk.symbol})
            record: dict[str, object] = {
                "id": "",
                "kind": question.kind,
                "question": question.question,
                "chunks": [stored[number, i] for i in shown],
                "answers": [{"chunk": i, "start": start, "end": end} for i, start, end in answers],
                "match": question.match,
            }
            lines.append(record | ({"absent": question.absent} if question.absent else {}))
    random.Random(seed).shuffle(lines)
    with gzip.GzipFile(out / "chunks.jsonl.gz", "wb", compresslevel=9, mtime=0) as file:
        file.writelines(json.dumps(text, ensure_ascii=False).encode() + b"\n" for text in texts)
    with gzip.GzipFile(out / "code.jsonl.gz", "wb", compresslevel=9, mtime=0) as file:
        for i, line in enumerate(lines):
            line["id"] = f"code-{i}"
            file.write(json.dumps(line, ensure_ascii=False, separators=(",", ":")).encode() + b"\n")
    answered = Counter(str(line["kind"]) for line in lines if line["answers"])
    absent = Counter(str(line["absent"]) for line in lines if "absent" in line)
    return {
        "n": len(lines),
        "by_kind": {kind: answered[kind] for kind in KINDS},
        "absent": dict(sorted(absent.items())),
        "absent_by_kind": dict(sorted(Counter(str(line["kind"]) for line in lines if "absent" in line).items())),
        "chunks": len(texts),
        "chunks_per_question": round(sum(len(line["chunks"]) for line in lines) / max(1, len(lines)), 2),  # type: ignore[arg-type]
        "bytes": sum((out / name).stat().st_size for name in ("chunks.jsonl.gz", "code.jsonl.gz")),
        "packages": len(corpora),
    }


def main() -> None:
    """Builds the set, says what is in it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--packages", nargs="+", default=[], help="distributions; all that are installed by default")
    parser.add_argument("--n", type=int, default=90_000)
    parser.add_argument(
        "--max-files", type=int, default=160, help="of one package; the standard library gives three times it"
    )
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    corpora = []
    for name, files in code_sources.training_sets(args.packages, args.max_files, args.seed):
        print(f"{name}: {len(files)} files", file=sys.stderr)
        corpora.append(Corpus(Package.of(files)))
    gather(corpora, round(args.n * (1 - ABSENT_SHARE)), args.seed)
    print("asked; adding what has no answer", file=sys.stderr)
    add_absent(corpora, round(args.n * ABSENT_SHARE), args.seed)
    report = write(corpora, args.out, args.seed)
    print(json.dumps(report))


if __name__ == "__main__":
    main()
