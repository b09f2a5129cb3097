"""How right the paged reader is over long contexts, and what it costs.

    python benchmarks/long_context.py --task hashhop --hops 2 --tokens 131072 --n 200 --seed 0 --kv k4v4
        [--weights FOLDER] [--device cpu|cuda] [--data FILE_OR_FOLDER] [--material FOLDER] [--reread]

--task: kv, kv_json, hashhop, RULER's kinds (niah_single_1-3, niah_multikey_1-3, niah_multivalue, niah_multiquery, vt,
cwe, fwe), qa_squad (--data: SQuAD's JSON), qa_hotpot (--data: a folder with HotpotQA's dev250.jsonl and corpus.jsonl),
qa_code (--data: a folder of Python files), babi (--data: the archive).
--weights: a folder that paged_export wrote (read with ONNX Runtime and numpy) or that training wrote (with torch, which
a GPU needs); the shipped ones without it. --material: what paged_data wrote, for prose; docstrings without it.

A haystack is encoded, then its text is put away: questions are asked of what was kept, and only when the pointer has
chosen are the chosen pages' tokens looked at, to compare them. There is no other search. The n questions are spread
over at least n / 20 fresh haystacks. Ends with one line of JSON: accuracy is the share of right answers (of several
things asked for, the share found), ci95 its Wilson interval; f1 over tokens beside it for the qa tasks.

--reread, for the qa tasks, on a CPU: the pointer chooses 16 pages, then the joint reader reads the text of those, and
its answer counts. Accuracy is then RULER's measure of its qa tasks, that a right answer stands in the one given; em and
f1 are SQuAD's. chosen: the share of questions with a right answer in the chosen pages' text.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from long_cases import MAKERS, UNSEEN, Case, Ids, Question, Wanted, case
from rereading import N_PAGES, reread, scores

from selfroute.models import weights
from selfroute.models.paged.fields import token_bytes
from selfroute.models.paged.runtime import CONFIG, PagedRuntime
from selfroute.models.span_windows import CLS, SEP
from selfroute.models.tokenizer import wordpiece
from selfroute.models.training.paged_material import Material

PER_HAYSTACK = 20
MOST_STEPS = 8


class OnCpu:
    """The runtime as it is shipped."""

    def __init__(self, folder: Path, kv: str) -> None:
        self.runtime = PagedRuntime(folder, kv=kv)
        self.config = self.runtime.config
        self.runtime.load()

    def encode(self, pages: Sequence[Ids]) -> Any:
        kept = self.runtime.encode_ids([[CLS, *ids, SEP] for ids in pages])
        fields = self.runtime.layout.fields
        arrays = {f.name: np.concatenate([p[f.name] if f.per_token else p[f.name][None] for p in kept]) for f in fields}
        return np.array([len(ids) + 2 for ids in pages], np.int32), arrays

    def ask(self, questions: Sequence[tuple[Ids, Ids]], kept: Any) -> list[tuple[list[Any], float]]:
        found = []
        for asked, so_far in questions:
            reading = self.runtime.ask_ids(self.runtime.asked_ids(asked, so_far), *kept, n_spans=12)
            found.append((list(reading.spans), reading.null))
        return found

    def best_pages(self, asked: Ids, kept: Any) -> list[int]:
        """The pages that the pointer chooses, best first."""
        return self.runtime.ask_ids(self.runtime.asked_ids(asked), *kept).best_pages(N_PAGES)


class WithTorch:
    """The exact reference, its local layers rounded as the shipped ones are."""

    def __init__(self, folder: Path, kv: str, device: str) -> None:
        from selfroute.models.paged.exact import ExactReader
        from selfroute.models.training import paged_init, paged_rounding

        model = paged_init.read(folder)
        paged_rounding.attach(model.local).on = True
        self.config, self.exact = model.config, ExactReader(model, kv=kv, device=device)

    def encode(self, pages: Sequence[Ids]) -> Any:
        return self.exact.encode([[CLS, *ids, SEP] for ids in pages])

    def ask(self, questions: Sequence[tuple[Ids, Ids]], kept: Any) -> list[tuple[list[Any], float]]:
        from selfroute.models.paged.runtime import READERS

        readers = READERS[: self.config.readers - 1]
        ids = [[CLS, *asked, *((SEP, *found) if found else ()), *readers, SEP] for asked, found in questions]
        return self.exact.ask(ids, kept, 12)


def engine(folder: Path, kv: str, device: str) -> Any:
    """What reads the weights of a folder on a device."""
    return OnCpu(folder, kv) if (folder / CONFIG).is_file() and device == "cpu" else WithTorch(folder, kv, device)


def answered(reader: Any, kept: Any, question: Question, pages: Sequence[Ids]) -> list[Ids]:
    """What is found, as tokens: several spans where several things are asked for, else the end of the chain."""
    found: list[Ids] = []
    so_far: Ids = ()
    for _ in range(question.steps or MOST_STEPS):
        [(spans, null)] = reader.ask([(question.asked, so_far)], kept)
        quotes = [whole(pages[s.page], s.first, s.last) for s in spans]  # the pointer has chosen
        if question.steps == 0 and (not spans or null > spans[0].probability or quotes[0] in found):
            break
        if not quotes:
            break
        if question.steps == 1 and len(question.answers) > 1:
            return list(dict.fromkeys(quotes))[: len(question.answers)]
        so_far = quotes[0]
        found.append(so_far)
    return found if question.steps == 0 else found[-1:]


def whole(page: Ids, first: int, last: int) -> Ids:
    """The tokens first to last of a page, and those that go on with its last word."""
    pieces = wordpiece().vocabulary
    while last + 1 < len(page) and pieces[page[last + 1]].startswith("##"):
        last += 1
    return page[first : last + 1]


def score(question: Question, found: Sequence[Ids]) -> tuple[float, float]:
    """The share of what was asked for that was found, and the best F1 over tokens of the first."""
    right = sum(any(way in found for way in ways) for ways in question.answers) / len(question.answers)
    first = found[0] if found else ()
    f1 = max(_f1(first, way) for ways in question.answers for way in ways)
    return right, f1


def _f1(one: Ids, other: Ids) -> float:
    common = sum((Counter(one) & Counter(other)).values())
    return 2 * common / (len(one) + len(other)) if common else 0.0


def wilson(share: float, n: int) -> list[float]:
    """The 95% interval of a share."""
    z, n = 1.96, max(1, n)
    centre, spread = share + z * z / (2 * n), z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return [round((centre - spread) / (1 + z * z / n), 4), round((centre + spread) / (1 + z * z / n), 4)]


def run(task: str, wanted: Wanted, n: int, seed: int, reader: Any, *, again: bool = False) -> dict[str, Any]:
    """All haystacks of one task. again: the text of the chosen pages is read."""
    rights: list[float] = []
    exact: list[float] = []
    held: list[float] = []
    f1s: list[float] = []
    depths: list[float] = []
    encode_seconds, ask_seconds, n_tokens, pairs = [], [], [], []
    haystack = 0
    while len(rights) < n and haystack < n:
        made: Case = case(task, wanted, seed * 100_000 + haystack)
        haystack += 1
        started = time.perf_counter()
        kept = reader.encode(made.pages)
        encode_seconds.append(time.perf_counter() - started)
        n_tokens.append(sum(len(ids) + 2 for ids in made.pages))
        pairs.append(made.pairs)
        for question in made.questions[: n - len(rights)]:
            started = time.perf_counter()
            if again:
                chosen = [made.texts[page] for page in reader.best_pages(question.asked, kept)]
                text = reread(question.text, chosen)
                ask_seconds.append(time.perf_counter() - started)
                right, em, f1 = scores(text, question.ways)
                exact.append(em)
                held.append(scores(" \n ".join(chunk.text for chunk in chosen), question.ways)[0])
            else:
                found = answered(reader, kept, question, made.pages)
                ask_seconds.append(time.perf_counter() - started)
                right, f1 = score(question, found)
            rights.append(right)
            f1s.append(f1)
            depths.append(question.depth)
    accuracy = float(np.mean(rights))
    tenth = np.minimum((np.array(depths) * 10).astype(int), 9)
    second = {"em": round(float(np.mean(exact)), 4), "chosen": round(float(np.mean(held)), 4)} if again else {}
    return {
        "task": task,
        "unseen": task in UNSEEN,
        "tokens": round(float(np.mean(n_tokens))),
        "pairs": round(float(np.mean(pairs))),
        "hops": wanted.hops if task == "hashhop" else None,
        "n": len(rights),
        "haystacks": haystack,
        "accuracy": round(accuracy, 4),
        "ci95": wilson(accuracy, len(rights)),
        "f1": round(float(np.mean(f1s)), 4),
        "reread": again,
        **second,
        "by_depth": [
            round(float(np.mean(np.array(rights)[tenth == d])), 3) if (tenth == d).any() else None for d in range(10)
        ],
        "encode_seconds": round(float(np.mean(encode_seconds)), 3),
        "ask_seconds": round(float(np.median(ask_seconds)), 4),
    }


def main() -> None:
    """Parses the options, runs, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", choices=list(MAKERS), required=True)
    parser.add_argument("--tokens", type=int, default=131072)
    parser.add_argument("--hops", type=int, default=1)
    parser.add_argument("--n", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kv", default="k4v4", help="bf16, k8v8, k4v8 or k4v4")
    parser.add_argument("--weights", type=Path, default=weights.FOLDER)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--data", type=Path)
    parser.add_argument("--material", type=Path)
    parser.add_argument("--reread", action="store_true", help="the joint reader reads the chosen pages' text")
    options = parser.parse_args()
    if (options.task.startswith("qa_") or options.task == "babi") and options.data is None:
        parser.error(f"--task {options.task} needs --data")
    if options.reread and (options.device != "cpu" or not options.task.startswith("qa_")):
        parser.error("--reread is for the qa tasks, on a CPU")
    reader = engine(options.weights, options.kv, options.device)
    material = Material.load(options.material, options.seed + 31)
    wanted = Wanted(options.tokens, min(PER_HAYSTACK, options.n), max(1, options.hops), options.data, material)
    found = run(options.task, wanted, options.n, options.seed, reader, again=options.reread)
    bytes_ = token_bytes(reader.config, options.kv)
    found |= {"kv": options.kv, "kv_bytes": bytes_ * found["tokens"], "bytes_per_token": bytes_, "seed": options.seed}
    print(json.dumps(found | {"device": device_name(options.device)}))


def device_name(device: str) -> str:
    """The device, by name where it has one."""
    if device == "cuda":
        import torch

        return str(torch.cuda.get_device_name())
    return "cpu"


if __name__ == "__main__":
    main()
