"""Fits what the reader's scores mean, and nothing else: three curves, and from which probability on to answer.

    python -m selfroute.models.training.reader_calibrate --squad FILE [--held FILE] [--searched FILE] --weights FOLDER

--squad: dev-v2.0.calibrate2.json.gz; with --held, dev-v2.0.train10.json.gz, the questions about the article that
training held out are added. They make the curve for a passage: a logistic one over the log-odds (Platt 1999), and the
probability under which declining gives the best F1. --searched: the lines of benchmarks/training/reader_odds.py, which
make the curves for prose and for code that was searched: the probability that the answer is right, and the lowest one,
from LEAST on, that declines DECLINED of the questions without an answer (people's traps apart). Writes
reader-minilm.json beside the graph in --weights. Ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from selfroute.models import weights
from selfroute.models.calibration import Calibration, Curve
from selfroute.models.span_reader import SpanReader
from selfroute.models.training.reader_data import HELD_HUMAN
from selfroute.models.training.reader_export import FORCED, answers, ship_calibration
from selfroute.models.training.squad_scores import Case, cases, expected_calibration_error, f1

DECLINED = 0.94
LEAST = 0.15  # an answer that is wrong five times in six is not given


def main() -> None:
    """Parses the options, reads, fits, writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--squad", type=Path, required=True)
    parser.add_argument("--held", type=Path)
    parser.add_argument("--searched", type=Path)
    parser.add_argument("--weights", type=Path, default=weights.FOLDER, help="the folder of reader-minilm.onnx")
    options = parser.parse_args()
    asked = list(cases(options.squad))
    if options.held:
        asked += [case for case in cases(options.held) if case.title in HELD_HUMAN]
    passage, facts = _of_passages(options.weights, asked)
    curves = {"prose": passage, "code": passage}
    for name in curves if options.searched else ():
        rows = [json.loads(line) for line in options.searched.read_text().splitlines()]
        curves[name], facts[name] = _searched([row for row in rows if row["prose"] == (name == "prose")])
    ship_calibration(options.weights, Calibration(passage, **curves), fitted_on=facts)
    print(json.dumps({"passage": asdict(passage), **{k: asdict(v) for k, v in curves.items()}, "facts": facts}))


def _of_passages(folder: Path, asked: Sequence[Case]) -> tuple[Curve, dict[str, Any]]:
    reader = SpanReader(folder=folder, calibration=FORCED, threads=1)
    read = answers(reader, asked)
    odds = [_logit(p) for _, p in read]
    has = [bool(case.answers) for case in asked]
    slope, offset = fit(odds, has)
    confidences = [1 / (1 + math.exp(-(slope * x + offset))) for x in odds]
    scores = [f1(text, case.answers) for (text, _), case in zip(read, asked, strict=True)]
    threshold, best = best_threshold(confidences, scores, has)
    error = expected_calibration_error(confidences, has)
    curve = Curve(round(slope, 4), round(offset, 4), round(threshold, 4))
    return curve, {"passage": {"n": len(asked), "f1": round(best, 4), "ece": round(error, 4)}}


def _searched(rows: Sequence[Mapping[str, Any]]) -> tuple[Curve, dict[str, Any]]:
    odds, right = [row["odds"] for row in rows], [row["right"] for row in rows]
    slope, offset = fit(odds, right)
    curve = Curve(round(slope, 4), round(offset, 4))
    confidences = [curve.probability(x) for x in odds]
    absent = sorted(p for p, row in zip(confidences, rows, strict=True) if not (row["answerable"] or row.get("trap")))
    threshold = max(LEAST, round(absent[math.ceil(DECLINED * len(absent)) - 1] + 1e-4, 4))
    lost = [p < threshold for p, row in zip(confidences, rows, strict=True) if row["answerable"]]
    error = expected_calibration_error(confidences, right)
    facts = {"n": len(rows), "ece": round(error, 4), "declined_answerable": round(sum(lost) / len(lost), 4)}
    return replace(curve, threshold=threshold), facts


def fit(odds: Sequence[float], right: Sequence[bool], steps: int = 50) -> tuple[float, float]:
    """Slope and offset of the likeliest logistic curve, by Newton's method over standardised odds."""
    raw, y = np.array(odds, float), np.array(right, float)
    middle, width = float(raw.mean()), float(raw.std()) + 1e-9
    x = np.stack([(raw - middle) / width, np.ones(len(raw))], 1)
    w = np.zeros(2)
    for _ in range(steps):
        p = 1 / (1 + np.exp(-x @ w))
        hessian = (x * (p * (1 - p))[:, None]).T @ x + 1e-3 * np.eye(2)  # a weak pull towards no slope
        w = w - np.linalg.solve(hessian, x.T @ (p - y) + 1e-3 * w)
    return float(w[0] / width), float(w[1] - w[0] * middle / width)


def best_threshold(confidences: Sequence[float], scores: Sequence[float], has: Sequence[bool]) -> tuple[float, float]:
    """The probability from which on to answer, and the mean F1 that it gives.

    scores: F1 of the answer when it is given. A question without an answer scores 1 when it is declined.
    """
    order = np.argsort(-np.array(confidences), kind="stable")
    p = np.array(confidences)[order]
    gain = np.where(np.array(has), np.array(scores), -1.0)[order]
    total = np.concatenate([[0.0], np.cumsum(gain)]) + float(len(has) - sum(has))
    at = int(total.argmax())
    above, below = (float(p[at - 1]) if at else 1.0), (float(p[at]) if at < len(p) else 0.0)
    return (above + below) / 2, float(total[at] / len(has))


def _logit(p: float) -> float:
    p = min(max(p, 1e-12), 1 - 1e-12)
    return math.log(p / (1 - p))


if __name__ == "__main__":
    main()
