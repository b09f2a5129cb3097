"""Prepares the reader's training data: questions, chunks and answers as token ids in one compressed file.

    python -m selfroute.models.training.reader_data --data FOLDER_OF_SETS --code FOLDER --minilm auto --out FOLDER

FOLDER_OF_SETS holds squad/train-v1.1.json.gz, squad/dev-v2.0.train10.json.gz, policyqa/dev.json and
covidqa/public.json; what is missing is left out and named. The same input gives the same bytes. Writes data.npz.xz,
init.safetensors (MiniLM, as fp16 and int8) and ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import random
import re
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from selfroute.models.training import reader_model
from selfroute.models.training.distil_static import minilm_folder
from selfroute.models.training.reader_near import Near
from selfroute.models.training.reader_negatives import changed, names_in
from selfroute.models.training.reader_store import Builder, Place

N_CHANGED = 44_000  # questions changed so that nothing answers them
CUT_SHARE = 0.3  # of SQuAD's answerable questions that are also kept with their answer's sentence cut out
N_HELD_ARTICLES = 9  # of SQuAD 1.1 train: to choose by, never trained on
HELD_HUMAN = ("Harvard_University",)  # of dev-v2.0.train10: likewise
HELD_CODE = 0.03  # of the code questions, by the file of their gold chunk
POSITION_OF_COVID = 1  # papers 1, 3, 5, ... are trained on, the others reported on

_SENTENCE = re.compile(r"(?<=[.!?])[\"')\]]*\s+(?=[A-Z0-9\"'(\[])")


def main() -> None:
    """Parses the options, reads every set in order, writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder with squad, policyqa and covidqa")
    parser.add_argument("--code", type=Path, help="the folder with chunks.jsonl.gz and code.jsonl.gz")
    parser.add_argument("--minilm", default="auto", help="the folder of all-MiniLM-L6-v2")
    parser.add_argument("--limit", type=int, help="questions of each set at most, for a trial")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    started = time.perf_counter()
    builder = Builder()
    missing = []
    for name, read in (
        ("squad/train-v1.1.json.gz", add_squad),
        ("squad/dev-v2.0.train10.json.gz", add_human),
        ("policyqa/dev.json", add_policy),
        ("covidqa/public.json", add_covid),
    ):
        if (options.data / name).is_file():
            read(builder, options.data / name, options.limit)
            _say(name, builder, started)
        else:
            missing.append(name)
    if options.code and (options.code / "code.jsonl.gz").is_file():
        add_code(builder, options.code, options.limit)
        _say("code", builder, started)
    else:
        missing.append("code")
    options.out.mkdir(parents=True, exist_ok=True)
    content = builder.write(options.out / "data.npz.xz")
    _write_init(options.minilm, options.out / "init.safetensors")
    summary = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest(), "missing": missing}
    print(json.dumps({**summary, "seconds": round(time.perf_counter() - started), **builder.counts()}))


def add_squad(builder: Builder, path: Path, limit: int | None) -> None:
    """SQuAD 1.1: every occurrence of an answer is right; also questions changed, and answers' sentences cut out."""
    articles = _articles(path)
    rng = random.Random(0)
    by_hash = sorted(articles, key=lambda a: hashlib.sha256(a["title"].encode()).hexdigest())
    held = {article["title"] for article in by_hash[:N_HELD_ARTICLES]}
    texts: list[str] = []
    titles: list[str] = []
    questions: list[tuple[str, int, list[str]]] = []  # question, paragraph, answers
    for article in articles:
        for paragraph in article["paragraphs"]:
            questions += [
                (qa["question"].strip(), len(texts), [a["text"] for a in qa["answers"]]) for qa in paragraph["qas"]
            ]
            texts.append(paragraph["context"])
            titles.append(article["title"])
    if limit:
        questions = rng.sample(questions, min(limit, len(questions)))
    chunks = [builder.chunk(file_name(title), "", text) for title, text in zip(titles, texts, strict=True)]
    ranks = Near(texts, titles, set(held)).rank([q for q, *_ in questions], [p for _, p, _ in questions])
    lowered = [text.lower() for text in texts]
    names: dict[str, list[str]] = defaultdict(list)
    for title, text in zip(titles, texts, strict=True):
        names[title].extend(names_in(text))
    for (question, gold, answers), near in zip(questions, ranks, strict=True):
        kept = [i for i in near if not any(answer.lower() in lowered[i] for answer in answers)]
        spans = [(0, *span, 0) for answer in sorted(set(answers)) for span in occurrences(texts[gold], answer)]
        others = [chunks[i] for i in kept]
        source = "squad-held" if titles[gold] in held else "squad"
        cut = None
        if rng.random() < CUT_SHARE and source == "squad":
            cut = _without_sentence(builder, titles[gold], texts[gold], [span[1:3] for span in spans])
        builder.example(source, question, [chunks[gold]], spans, others, cut=cut)
    n_changed = 0
    for question, gold, answers in rng.sample(questions, len(questions)):
        other = changed(question, texts[gold], answers, names[titles[gold]], rng)
        if other and titles[gold] not in held:
            near = [i for i in rng.sample(range(len(texts)), 12) if titles[i] not in held and i != gold]
            builder.example("changed", other, [chunks[gold]], [], [chunks[i] for i in near])
            n_changed += 1
        if n_changed >= N_CHANGED or (limit and n_changed > limit // 4):
            break


def add_human(builder: Builder, path: Path, limit: int | None) -> None:
    """SQuAD 2.0: questions that people wrote to look answerable, beside ones that are."""
    rng = random.Random(1)
    for article in _articles(path):
        title, paragraphs = article["title"], article["paragraphs"]
        chunks = [builder.chunk(file_name(title), "", p["context"]) for p in paragraphs]
        source = "human-held" if title in HELD_HUMAN else "human"
        for n, paragraph in enumerate(paragraphs):
            for qa in paragraph["qas"][:limit]:
                answers = {a["text"] for a in qa["answers"]} if not qa["is_impossible"] else set()
                spans = [(0, a["answer_start"], a["answer_start"] + len(a["text"]), 0) for a in qa["answers"]]
                rest = [
                    i
                    for i, p in enumerate(paragraphs)
                    if i != n and not any(answer.lower() in p["context"].lower() for answer in answers)
                ]
                others = [chunks[i] for i in rng.sample(rest, min(8, len(rest)))]
                builder.example(source, qa["question"].strip(), [chunks[n]], spans if answers else [], others)


def add_policy(builder: Builder, path: Path, limit: int | None) -> None:
    """PolicyQA: the other paragraphs of a policy are distractors where they are about something else."""
    rng = random.Random(2)
    for article in _articles(path):
        paragraphs = article["paragraphs"]
        chunks = [builder.chunk(article["title"] + "/privacy.txt", "", p["context"]) for p in paragraphs]
        about = [{qa["type"].split("|||")[0] for qa in p["qas"]} for p in paragraphs]
        for n, paragraph in enumerate(paragraphs):
            for qa in paragraph["qas"][:limit]:
                kind = qa["type"].split("|||")[0]
                rest = [i for i in range(len(paragraphs)) if i != n and kind not in about[i]]
                spans = [(0, *span, 0) for a in qa["answers"] for span in occurrences(paragraph["context"], a["text"])]
                others = [chunks[i] for i in rng.sample(rest, min(6, len(rest)))]
                builder.example("policy", qa["question"].strip(), [chunks[n]], spans, others)


def add_covid(builder: Builder, path: Path, limit: int | None) -> None:
    """COVID-QA: every second paper, cut into runs of sentences; the paper's other runs are the distractors."""
    for n, article in enumerate(_articles(path)):
        if n % 2 != POSITION_OF_COVID:
            continue
        text = article["paragraphs"][0]["context"]
        pieces = list(_runs(text, 900))
        chunks = [builder.chunk(f"paper{n}.txt", "", text[a:b]) for a, b in pieces]
        questions = article["paragraphs"][0]["qas"][:limit]
        gold = []
        for qa in questions:
            start = qa["answers"][0]["answer_start"]
            gold.append(next(i for i, (a, b) in enumerate(pieces) if a <= start < b))
        ranks = Near([text[a:b] for a, b in pieces], ["paper"] * len(pieces), set()).rank(
            [qa["question"] for qa in questions], gold
        )
        for qa, at, near in zip(questions, gold, ranks, strict=True):
            answer, (a, b) = qa["answers"][0], pieces[at]
            start = answer["answer_start"] - a
            end = min(b - a, start + len(answer["text"].rstrip()))
            others = [chunks[i] for i in near if answer["text"].lower() not in text[slice(*pieces[i])].lower()]
            builder.example("covid", qa["question"].strip(), [chunks[at]], [(0, start, end, 0)], others)


def add_code(builder: Builder, folder: Path, limit: int | None) -> None:
    """Questions about code: several answers of different text are a list, and each of them is to be found."""
    with gzip.open(folder / "chunks.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    known: dict[int, list[Place]] = {}

    def chunk(i: int) -> list[Place]:
        if i not in known:
            known[i] = builder.chunk(rows[i]["path"], rows[i].get("symbol") or "", rows[i]["text"])
        return known[i]

    with gzip.open(folder / "code.jsonl.gz", "rt", encoding="utf-8") as file:
        for n, line in enumerate(file):
            if limit and n >= limit:
                break
            item = json.loads(line)
            listed, answers = item["chunks"], item["answers"]
            texts = [rows[listed[a["chunk"]]]["text"][a["start"] : a["end"]].lower() for a in answers]
            group = {text: i for i, text in enumerate(dict.fromkeys(texts))}
            right = sorted({a["chunk"] for a in answers})
            place = {position: i for i, position in enumerate(right)}
            spans = [(place[a["chunk"]], a["start"], a["end"], group[t]) for a, t in zip(answers, texts, strict=True)]
            rest = [listed[i] for i in range(len(listed)) if i not in place]
            path = rows[listed[0]]["path"] if listed else item["question"]
            held = int(hashlib.sha256(path.encode()).hexdigest()[:8], 16) < HELD_CODE * 2**32
            builder.example(
                "code-held" if held else "code",
                item["question"],
                [chunk(listed[i]) for i in right],
                spans,
                [chunk(i) for i in rest],
            )


def file_name(title: str) -> str:
    """The name that an article gets as a file, in training and in the benchmarks."""
    return f"{title}.txt"


def occurrences(text: str, answer: str) -> list[tuple[int, int]]:
    """Where an answer stands in a text, at word boundaries if it does anywhere."""
    answer = answer.strip()
    if not answer:
        return []
    found = [(m.start(), m.end()) for m in re.finditer(re.escape(answer), text)]
    whole = [
        (a, b)
        for a, b in found
        if not (a and text[a].isalnum() and text[a - 1].isalnum())
        and not (b < len(text) and text[b - 1].isalnum() and text[b].isalnum())
    ]
    return whole or found


def _without_sentence(builder: Builder, title: str, text: str, spans: Sequence[tuple[int, int]]) -> list[Place] | None:
    """The paragraph without the sentence that holds every occurrence of the answer; None where there is no such one."""
    bounds = [0, *(match.end() for match in _SENTENCE.finditer(text)), len(text)]
    sentences = list(pairwise(bounds))
    hit = {i for i, (a, b) in enumerate(sentences) for start, end in spans if start < b and end > a}
    if len(hit) != 1 or len(sentences) < 3:
        return None
    return builder.cut_chunk(file_name(title), "", text, sentences[hit.pop()])


def _runs(text: str, size: int) -> Iterator[tuple[int, int]]:
    """Runs of whole sentences of about `size` characters."""
    start = 0
    for match in [*_SENTENCE.finditer(text), None]:
        end = match.end() if match else len(text)
        if end - start >= size or match is None:
            yield start, end
            start = end


def _articles(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
        articles: list[dict[str, Any]] = json.load(file)["data"]
    return articles


def _write_init(minilm: str, path: Path) -> None:
    from safetensors.torch import save_file

    state = reader_model.load(minilm_folder(minilm) / "model.safetensors")
    save_file(reader_model.pack(state), path)


def _say(name: str, builder: Builder, started: float) -> None:
    print(name, f"{time.perf_counter() - started:.0f}s", builder.counts(), file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
