"""The classifier on LaRA's questions: which of two routes answers right, learned per answer model, split by document.

    python benchmarks/routing.py --lara DIR [--seed N] [--folds 5]

LaRA (Alibaba-NLP, 2025): questions about books, papers and financial statements of 32k and 128k tokens, answered by 13
models from retrieved chunks and from the whole text. The outcomes are weak labels that were made of the answers. What
the router sees: the question's words and kind, the length of the text, and its sort; never the task, the reference
answer or the file. Training questions also tell it their task, as what words suggest. 5 folds by file; calibration, the
margin and the best fixed route are chosen inside the training folds.

self_route: long context exactly where the model, given chunks, refused. rule: long context for compare, both, differ,
contrast, similar. Tokens: a quarter of the text's characters, 3,000 for chunks; self-route pays both. Accuracy and gap
are means over models; paired intervals: 95%, 2,000 bootstrap samples of files, of the mean over models. ece: of both
heads, 15 bins of equal mass over all models; ece_chosen: of the route taken alone. ece_unseen_type and
leave_one_type_out_gap: a sort of document that was left out of training. A table by model, then one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selfroute.router.classifier.choosing import folds
from selfroute.router.classifier.classifier import Classifier, best_of
from selfroute.router.classifier.examples import Example
from selfroute.router.classifier.fitting import fit
from selfroute.router.evaluation.curves import calibration_error as ece
from selfroute.router.features import kind_of
from selfroute.types import LONG_CONTEXT, RETRIEVAL

CHUNK_TOKENS = 3_000.0
CHARACTERS_A_TOKEN = 4.0
MAX_SHARE, PRICE = 0.28, 0.02  # of long context's tokens; of accuracy, for reading everything
RULE = re.compile(r"compar|\bboth\b|differ|contrast|similar", re.IGNORECASE)
STAGE = "first"
N_SAMPLES = 2_000
TYPES = ("book", "paper", "financial")


@dataclass(frozen=True, slots=True)
class Lara:
    """questions: rows of the file. right: route -> (n, models). refused: (n, models). tokens: (n,) of a whole text."""

    questions: list[dict[str, Any]]
    models: list[str]
    right: Mapping[str, NDArray[np.float64]]
    refused: NDArray[np.float64]
    tokens: NDArray[np.float64]


def read(folder: Path) -> Lara:
    """The questions that have outcomes."""
    outcomes = {row["id"]: row["outcome"] for row in _lines(folder / "weak_outcomes.jsonl")}
    questions = [row for row in _lines(folder / "queries.jsonl") if row["id"] in outcomes]
    models = sorted({model for found in outcomes.values() for model in found})
    found = np.array([[outcomes[q["id"]].get(m, (np.nan,) * 3) for m in models] for q in questions], float)
    return Lara(
        questions,
        models,
        {RETRIEVAL: found[:, :, 0], LONG_CONTEXT: found[:, :, 1]},
        found[:, :, 2],
        np.array([q["context_chars"] / CHARACTERS_A_TOKEN for q in questions]),
    )


def numbers(question: Mapping[str, Any]) -> dict[str, float]:
    """What the router can see before anything is read. Lengths are logarithms."""
    text = question["question"]
    words = re.findall(r"\w+", text)
    first = words[0].lower() if words else ""
    kind = kind_of(text)
    found = {
        "a_long": float(question["length"] == "128k"),
        "a_tokens": log(question["context_chars"]),
        "n_words": log(1 + len(words)),
        "n_characters": log(1 + len(text)),
        "capitals": sum(word[0].isupper() for word in words[1:]) / max(1, len(words)),
        "digits": float(any(c.isdecimal() for c in text)),
        "quotes": float('"' in text or "'" in text),
        "word_length": float(np.mean([len(word) for word in words])) if words else 0.0,
        "and": float("and" in text.lower().split()),
        "between": float("between" in text.lower().split()),
        "rule": float(bool(RULE.search(text))),
    }
    for start in (
        ("what",),
        ("how",),
        ("which",),
        ("who", "when", "where"),
        ("why",),
        ("is", "are", "does", "do", "did"),
    ):
        found[f"starts_{start[0]}"] = float(first in start)
    for name in ("is_global", "is_comparing", "is_counting", "is_listing", "is_relational"):
        found[name] = float(getattr(kind, name))
    for sort in TYPES:
        found[f"sort_{sort}"] = float(question["context_type"] == sort)
    return found


def examples(lara: Lara, chosen: Sequence[int]) -> list[Example]:
    """One for each question and model."""
    made = []
    for i in chosen:
        q = lara.questions[i]
        seen = {STAGE: numbers(q)}
        tokens = {RETRIEVAL: CHUNK_TOKENS, LONG_CONTEXT: float(lara.tokens[i])}
        for j, model in enumerate(lara.models):
            right = {route: float(found[i, j]) for route, found in lara.right.items()}
            made.append(
                Example(q["id"], q["question"], q["file"], seen, right, tokens, q["context_type"], q["task"], model)
            )
    return made


@dataclass(slots=True)
class Taken:
    """What was decided of each question and model. fixed: what the best fixed route of training got right."""

    takes: NDArray[np.bool_]
    p: Mapping[str, NDArray[np.float64]]
    gain: NDArray[np.float64]
    fixed: NDArray[np.float64]
    known: NDArray[np.bool_]


def cross_validated(lara: Lara, fold: NDArray[np.intp], seed: int) -> Taken:
    """Each fold decided by a classifier that was fitted on the others."""
    shape = lara.refused.shape
    p = {route: np.zeros(shape) for route in lara.right}
    taken = Taken(np.zeros(shape, bool), p, np.zeros(shape), np.zeros(shape), np.zeros(shape, bool))
    for k in sorted(set(fold.tolist())):
        made = fit(examples(lara, np.flatnonzero(fold != k).tolist()), seed=seed, max_share=MAX_SHARE, price=PRICE)
        for i in np.flatnonzero(fold == k).tolist():
            decide(lara, made, i, taken)
    return taken


def decide(lara: Lara, made: Classifier, i: int, taken: Taken) -> None:
    """Question i for every model, as the policy does it."""
    question = lara.questions[i]
    seen = numbers(question)
    for j, model in enumerate(lara.models):
        found = made.predict(question["question"], seen, model, STAGE)
        gain = found.p[LONG_CONTEXT] - found.p[RETRIEVAL]
        takes = gain > found.worth(float(lara.tokens[i])) if found.known else found.best_fixed == LONG_CONTEXT
        taken.takes[i, j], taken.gain[i, j], taken.known[i, j] = takes, gain, found.known
        for route, p in found.p.items():
            taken.p[route][i, j] = p
        taken.fixed[i, j] = lara.right[best_of(made.base[model])][i, j]


def report(lara: Lara, taken: Taken) -> dict[str, Any]:
    """The figures of one cross-validation."""
    retrieval, whole = lara.right[RETRIEVAL], lara.right[LONG_CONTEXT]
    kept, top = np.where(taken.takes, whole, retrieval), np.fmax(whole, retrieval)
    rule = np.array([bool(RULE.search(q["question"])) for q in lara.questions])[:, None]
    by_rule = np.where(rule, whole, retrieval)
    self_route = np.where(lara.refused > 0, whole, retrieval)
    gap = top.mean() - taken.fixed.mean()
    curves = [_curve(lara, taken, j) for j in range(len(lara.models))]
    return {
        "n": len(lara.questions),
        "models": len(lara.models),
        "accuracy": _r(kept.mean()),
        "best_fixed": _r(taken.fixed.mean()),
        "self_route": _r(self_route.mean()),
        "rule": _r(by_rule.mean()),
        "oracle": _r(top.mean()),
        "always_retrieval": _r(retrieval.mean()),
        "always_long_context": _r(whole.mean()),
        "gap_recovered": _r((kept.mean() - taken.fixed.mean()) / gap),
        "against_best_fixed": _paired(lara, kept, taken.fixed),
        "against_rule": _paired(lara, kept, by_rule),
        "against_self_route": _paired(lara, kept, self_route),
        "lc_token_share": _r(_share(lara, taken.takes, 0.0)),
        "self_route_token_share": _r(_share(lara, lara.refused > 0, CHUNK_TOKENS)),
        "apgr": _r(float(np.mean([c[0] for c in curves]))),
        "cpt50": _r(float(np.mean([c[1] for c in curves]))),
        "ece": _ece(
            np.concatenate([taken.p[route].ravel() for route in lara.right]),
            np.concatenate([right.ravel() for right in lara.right.values()]),
        ),
        "ece_chosen": _ece(np.where(taken.takes, taken.p[LONG_CONTEXT], taken.p[RETRIEVAL]).ravel(), kept.ravel()),
        "known": _r(taken.known.mean()),
    }


def _ece(p: NDArray[np.float64], right: NDArray[np.float64]) -> float:
    return _r(ece(p.tolist(), right.astype(bool).tolist()) or 0.0)


def _share(lara: Lara, takes: NDArray[np.bool_], also: float) -> float:
    spent = np.where(takes, lara.tokens[:, None] + also, CHUNK_TOKENS)
    return float(spent.sum() / (lara.tokens.sum() * takes.shape[1]))


def _paired(lara: Lara, one: NDArray[np.float64], other: NDArray[np.float64]) -> list[float]:
    """Mean difference with its bounds."""
    files = [q["file"] for q in lara.questions]
    at = {name: k for k, name in enumerate(dict.fromkeys(files))}
    place = np.array([at[name] for name in files])
    sums = np.bincount(place, (one - other).mean(axis=1))
    counts = np.bincount(place)
    drawn = np.random.default_rng(0).integers(0, len(at), (N_SAMPLES, len(at)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    return [_r(x) for x in ((one - other).mean(), *np.percentile(means, (2.5, 97.5)))]


def _curve(lara: Lara, taken: Taken, j: int) -> tuple[float, float]:
    """APGR and CPT50 of one model, by the order of the predicted gain."""
    true = lara.right[LONG_CONTEXT][:, j] - lara.right[RETRIEVAL][:, j]
    curve = np.concatenate([[0], np.cumsum(true[np.argsort(-taken.gain[:, j], kind="stable")])])
    best = np.concatenate([[0], np.cumsum(np.sort(true)[::-1])])
    line = np.linspace(0, curve[-1], len(curve))
    half = np.flatnonzero(curve >= curve.max() / 2)
    return float((curve - line).mean() / (best - line).mean()), float(half[0]) / (len(curve) - 1)


def table(lara: Lara, taken: Taken) -> str:
    """One line a model."""
    lines = [f"{'model':<28}retrieval  long   fixed  router  oracle  long-context share"]
    for j, model in enumerate(lara.models):
        retrieval, whole = lara.right[RETRIEVAL][:, j], lara.right[LONG_CONTEXT][:, j]
        kept = np.where(taken.takes[:, j], whole, retrieval)
        cells = (retrieval, whole, taken.fixed[:, j], kept, np.fmax(retrieval, whole), taken.takes[:, j])
        lines.append(f"{model:<28}" + "".join(f"{x.mean():<8.3f}" for x in cells))
    return "\n".join(lines)


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def _r(value: float) -> float:
    return round(float(value), 4)


def main() -> int:
    """Cross-validates, leaves each sort of document out, prints; 0 with a line saying so when the data is absent."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lara", type=Path, required=True, metavar="DIR", help="queries.jsonl and weak_outcomes.jsonl")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0, help="of the folds and of the fitting")
    args = parser.parse_args()
    if not (args.lara / "queries.jsonl").is_file():
        print(json.dumps({"skipped": f"no queries.jsonl in {args.lara}"}))
        return 0
    began = time.perf_counter()
    lara = read(args.lara)
    taken = cross_validated(lara, folds([q["file"] for q in lara.questions], args.folds, args.seed), args.seed)
    print(table(lara, taken))
    found = report(lara, taken)
    left_out = cross_validated(lara, np.array([TYPES.index(q["context_type"]) for q in lara.questions]), args.seed)
    unseen = report(lara, left_out)
    found["leave_one_type_out_gap"] = unseen["gap_recovered"]
    found["ece_unseen_type"] = unseen["ece"]
    found["known_unseen_type"] = unseen["known"]
    print(f"{time.perf_counter() - began:.0f} s", file=sys.stderr)
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
