"""The span reader on SQuAD, each question with its own paragraph: exact match, F1, no-answer, calibration.

    python benchmarks/reader.py --squad dev-v2.0.json [--null-threshold T] [--limit N] [--weights FOLDER]

Official normalisation and scores. A question whose confidence is below T is not answered; without --null-threshold T is
the shipped one for a single passage where the file has unanswerable questions, and 0, an answer to everything, where it
has none, as SQuAD 1.1 is scored. ece: of the confidence that there is an answer, 10 bins; where every question has one,
it says only how far the mean confidence is from 1. ece_right: the same confidence against "there is an answer and it is
the right one, or there is none and it was declined". --limit takes questions evenly spread over the file. Ends with one
line of JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from selfroute.models import weights
from selfroute.models.calibration import Calibration
from selfroute.models.span_reader import SpanReader
from selfroute.models.span_scores import GRAPH
from selfroute.models.training.squad_scores import Case, cases, exact_match, expected_calibration_error, f1
from selfroute.types import Chunk


def evenly(found: list[Case], limit: int | None) -> list[Case]:
    """At most `limit` cases, spread over all."""
    if not limit or limit >= len(found):
        return found
    return [found[i * len(found) // limit] for i in range(limit)]


def mean(values: Iterable[float]) -> float | None:
    """Rounded; None of nothing."""
    known = list(values)
    return round(sum(known) / len(known), 4) if known else None


def scores(asked: list[Case], texts: list[str]) -> dict[str, float | None]:
    """The means over all questions, and over those with and without an answer."""
    by_f1 = [f1(text, case.answers) for text, case in zip(texts, asked, strict=True)]
    return {
        "em": mean(exact_match(text, case.answers) for text, case in zip(texts, asked, strict=True)),
        "f1": mean(by_f1),
        "has_answer_f1": mean(score for score, case in zip(by_f1, asked, strict=True) if case.answers),
        "no_answer_f1": mean(score for score, case in zip(by_f1, asked, strict=True) if not case.answers),
    }


def main() -> int:
    """Parses the options, asks, scores; 2 when the file is absent."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--squad", type=Path, required=True)
    parser.add_argument("--null-threshold", type=float, help="least confidence of an answer that is given, 0 to 1")
    parser.add_argument("--limit", type=int, help="questions")
    parser.add_argument("--weights", type=Path, default=weights.FOLDER)
    parser.add_argument("--threads", type=int, default=2, help="questions read at a time")
    args = parser.parse_args()
    if not args.squad.is_file():
        print(f"there is no file {args.squad}", file=sys.stderr)
        return 2
    asked = evenly(list(cases(args.squad)), args.limit)
    calibration = Calibration.read(GRAPH, args.weights)
    shipped, forced = calibration.passage, calibration.forced()
    reader = SpanReader(folder=args.weights, calibration=forced, threads=1)

    def read(case: Case) -> tuple[str, float]:
        chunk = Chunk("", "", f"{case.title}.txt", 1, 1 + case.context.count("\n"), case.context, kind="text")
        generation = reader.read(case.question, [chunk])
        return generation.text, generation.confidence

    began = time.perf_counter()
    with ThreadPoolExecutor(args.threads) as pool:
        found = list(pool.map(read, asked))
    seconds = time.perf_counter() - began

    has = [bool(case.answers) for case in asked]
    threshold = args.null_threshold
    if threshold is None:
        threshold = 0.0 if all(has) else shipped.threshold
    texts = [text if p >= threshold else "" for text, p in found]
    confidences = [p for _, p in found]
    given = [text if p >= shipped.threshold else "" for text, p in found]
    right = [exact_match(text, case.answers) == 1 for text, case in zip(given, asked, strict=True)]
    sure = [p if text else 1 - p for (_, p), text in zip(found, given, strict=True)]
    result = {
        **scores(asked, texts),
        "ece": round(expected_calibration_error(confidences, has), 4),
        "n": len(asked),
        "n_no_answer": has.count(False),
        "null_threshold": round(threshold, 4),
        "always_no_answer_f1": mean(float(not answerable) for answerable in has),
        "forced": scores(asked, [text for text, _ in found]),
        "at_shipped_threshold": {**scores(asked, given), "threshold": shipped.threshold},
        "declined_at_shipped_threshold": mean(float(not text) for text in given),
        "mean_confidence": mean(confidences),
        "ece_right": round(expected_calibration_error(sure, right), 4),
        "seconds": round(seconds, 1),
    }
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
