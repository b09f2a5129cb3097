"""Fits what the reader's scores mean on one small file, and nothing else: a probability, and when to decline.

    python -m selfroute.models.training.reader_calibrate --squad dev-v2.0.calibrate2.json.gz --weights FOLDER

Slope and offset of a logistic curve over the log-odds (Platt 1999), then the probability under which declining gives
the best F1. Writes reader-minilm.json beside the graph in --weights. Ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from selfroute.models import weights
from selfroute.models.span_reader import SpanReader
from selfroute.models.span_scores import Calibration
from selfroute.models.training.reader_export import FORCED, answers, ship_calibration
from selfroute.models.training.squad_scores import cases, expected_calibration_error, f1


def main() -> None:
    """Parses the options, reads, fits, writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--squad", type=Path, required=True)
    parser.add_argument("--weights", type=Path, default=weights.FOLDER, help="the folder of reader-minilm.onnx")
    options = parser.parse_args()
    asked = list(cases(options.squad))
    read = answers(SpanReader(folder=options.weights, calibration=FORCED, threads=1), asked)
    odds = [_logit(p) for _, p in read]
    has = [bool(case.answers) for case in asked]
    slope, offset = fit(odds, has)
    confidences = [1 / (1 + math.exp(-(slope * x + offset))) for x in odds]
    scores = [f1(text, case.answers) for (text, _), case in zip(read, asked, strict=True)]
    threshold, best = best_threshold(confidences, scores, has)
    calibration = Calibration(round(slope, 4), round(offset, 4), round(threshold, 4))
    error = expected_calibration_error(confidences, has)
    facts = {"fitted_on": options.squad.name, "n": len(asked)}
    ship_calibration(options.weights, calibration, **facts)
    print(json.dumps({**asdict(calibration), **facts, "f1": round(best, 4), "ece": round(error, 4)}))


def fit(odds: Sequence[float], has: Sequence[bool], steps: int = 50) -> tuple[float, float]:
    """Slope and offset of the likeliest logistic curve, by Newton's method over standardised odds."""
    raw, y = np.array(odds, float), np.array(has, float)
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
