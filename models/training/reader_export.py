"""Trained weights to the shipped graph: int8, checked against float32 on held-out questions, and timed.

    python -m selfroute.models.training.reader_export --weights FOLDER --squad train-v1.1.json.gz --out FOLDER

Writes reader-minilm.onnx and its checksum into --out, the float32 graph into --out/float. Ends with one line of JSON.
--squad: SQuAD 1.1 train, of which only the articles that training held out are asked. --time reads 8 chunks of
250 tokens with every runtime. Needs onnx, onnxruntime and torch.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch

from selfroute.models import weights
from selfroute.models.calibration import FILE, Calibration, Curve
from selfroute.models.span_reader import SpanReader
from selfroute.models.span_scores import GRAPH, SpanScores, Window
from selfroute.models.training import reader_graph, reader_model
from selfroute.models.training.reader_data import N_HELD_ARTICLES, file_name
from selfroute.models.training.squad_scores import Case, cases, exact_match, f1
from selfroute.types import Chunk

FORCED = Calibration.alike(Curve(threshold=0.0))
THREADS = 2


def main() -> None:
    """Parses the options, exports, compares, times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, required=True, help="a file or the folder that training wrote")
    parser.add_argument("--squad", type=Path, help="train-v1.1.json.gz")
    parser.add_argument("--n", type=int, default=300, help="held-out questions")
    parser.add_argument("--keep", nargs="*", default=[], help="parts of names of products that stay float")
    parser.add_argument("--time", action="store_true")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    state = reader_model.load(options.weights)
    arrays = {name: tensor.numpy() for name, tensor in state.items()}
    result: dict[str, Any] = {}
    targets: tuple[tuple[reader_graph.Kind, Path], ...] = (("float", options.out / "float"), ("int8", options.out))
    for kind, folder in targets:
        content = reader_graph.graph(arrays, kind, frozenset(options.keep)).SerializeToString(deterministic=True)
        ship(folder, {GRAPH: content})
        result[f"bytes_{kind}"] = len(content)
    if options.squad:
        result |= compared(options.out, held_cases(options.squad, options.n))
    if options.time:
        result["milliseconds"] = timed(options.out, state)
    print(json.dumps(result))


def ship(folder: Path, files: Mapping[str, bytes]) -> None:
    """Writes files into a folder of weights, and their checksums beside those that it records."""
    folder.mkdir(parents=True, exist_ok=True)
    sums = folder / weights.SUMS
    recorded = json.loads(sums.read_text()) if sums.is_file() else {}
    for name, content in files.items():
        (folder / name).write_bytes(content)
        recorded[name] = hashlib.sha256(content).hexdigest()
    sums.write_text(json.dumps(dict(sorted(recorded.items())), indent=2) + "\n")


def ship_calibration(folder: Path, calibration: Calibration, **facts: object) -> None:
    """Writes the calibration of the folder's graph."""
    values = {**calibration.to_json(), "graph": weights.fingerprint(GRAPH, folder), **facts}
    ship(folder, {FILE: (json.dumps(values, indent=2) + "\n").encode()})


def held_cases(path: Path, n: int) -> list[Case]:
    """Questions about the articles that reader_data held out, evenly spread."""
    found = list(cases(path))
    titles = sorted({case.title for case in found}, key=lambda t: hashlib.sha256(t.encode()).hexdigest())
    held = [case for case in found if case.title in titles[:N_HELD_ARTICLES]]
    return held[:: max(1, len(held) // n)][:n]


def as_chunk(case: Case) -> Chunk:
    """A paragraph as the one chunk of its article's file."""
    return Chunk("", "", file_name(case.title), 1, 1 + case.context.count("\n"), case.context, kind="text")


def answers(reader: SpanReader, asked: Sequence[Case]) -> list[tuple[str, float]]:
    """Answer and confidence for each case; two questions are read at a time."""

    def one(case: Case) -> tuple[str, float]:
        generation = reader.read(case.question, [as_chunk(case)])
        return generation.text, generation.confidence

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(one, asked))


def compared(folder: Path, asked: Sequence[Case]) -> dict[str, object]:
    """EM and F1 of both graphs with an answer forced, and how far their best spans' scores are apart."""
    result: dict[str, object] = {"n": len(asked)}
    readers = {
        "float": SpanReader(folder=folder / "float", calibration=FORCED, threads=1),
        "int8": SpanReader(folder=folder, calibration=FORCED, threads=1),
    }
    texts: dict[str, list[str]] = {}
    for kind, reader in readers.items():
        texts[kind] = [text for text, _ in answers(reader, asked)]
        result[f"em_{kind}"] = _mean([exact_match(t, c.answers) for t, c in zip(texts[kind], asked, strict=True)])
        result[f"f1_{kind}"] = _mean([f1(t, c.answers) for t, c in zip(texts[kind], asked, strict=True)])
    result["same_answer"] = _mean([float(a == b) for a, b in zip(texts["float"], texts["int8"], strict=True)])
    gaps = []
    for case in asked[:50]:
        one, other = (reader.windows(case.question, [as_chunk(case)]) for reader in readers.values())
        gaps += [np.abs(a.start - b.start).mean() for a, b in zip(one, other, strict=True)]
    result["mean_gap_of_start_scores"] = round(float(np.mean(gaps)), 3)
    return result


def timed(folder: Path, state: Mapping[str, torch.Tensor], repeats: int = 9) -> dict[str, object]:
    """Median and least milliseconds to score 8 windows of 270 tokens: 250 of text, 20 of question and header."""
    torch.set_num_threads(THREADS)
    model = reader_model.ReaderModel()
    model.load_state_dict(dict(state))
    model.eval()
    rng = np.random.default_rng(0)
    windows = [Window([101, *rng.integers(1000, 30000, 269).tolist()], 14) for _ in range(8)]
    ids, segments = (
        torch.from_numpy(np.concatenate([w.inputs()[name] for w in windows])) for name in ("ids", "segment")
    )

    def torch_run(net: Any) -> Callable[[], object]:
        def run() -> object:
            with torch.inference_mode():
                return net(ids, segments, ids >= 0)

        return run

    quantized = torch.ao.quantization.quantize_dynamic(model, {torch.nn.Linear}, torch.qint8)  # type: ignore[no-untyped-call]
    plain, small = SpanScores(folder / "float", threads=THREADS), SpanScores(folder, threads=THREADS)
    runs: dict[str, Callable[[], object]] = {
        "torch float32": torch_run(model),
        "torch int8": torch_run(quantized),
        "onnxruntime float32": lambda: plain.score(windows),
        "onnxruntime int8": lambda: small.score(windows),
    }
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    for _ in range(repeats + 1):  # in turn, so that what else the machine does falls on all of them; the first is left
        for name, run in runs.items():
            began, spent = time.perf_counter(), time.process_time()
            run()
            taken[name].append(((time.perf_counter() - began) * 1e3, (time.process_time() - spent) * 1e3))
    table = {}
    for name, pairs in taken.items():
        wall, cpu = zip(*pairs[1:], strict=True)
        found = {"median": statistics.median(wall), "least": min(wall), "cpu_median": statistics.median(cpu)}
        table[name] = {key: round(value) for key, value in found.items()}
    return {"threads": THREADS, "repeats": repeats, **table}


def _mean(values: Sequence[float]) -> float:
    return round(sum(values) / max(1, len(values)), 4)


if __name__ == "__main__":
    main()
