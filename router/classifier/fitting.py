"""Fits the classifier's heads with scikit-learn; calibration and margins are chosen on groups that were left out.

Outcomes of several models on one question are averaged for the heads, which see more signal so. Deterministic: the same
examples give the same bytes.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selfroute.errors import ConfigError, MissingDependencyError
from selfroute.router.classifier.choosing import (
    MAX_SHARE,
    N_FOLDS,
    PRICE,
    Terms,
    best_margin,
    calibrated,
    folds,
    held_out,
)
from selfroute.router.classifier.classifier import ANY, Classifier, Numbers, Stage
from selfroute.router.classifier.examples import Example, Questions
from selfroute.router.classifier.heads import (
    DEPTH,
    N_LEAVES,
    N_NODES,
    Head,
    Trees,
    Vector,
    round_number,
    rounded,
)
from selfroute.router.classifier.words import Vocabulary, matrix
from selfroute.types import LONG_CONTEXT, ROUTES

N_TREES, LEARNING_RATE, MIN_LEAF, N_FORESTS = 80, 0.06, 15, 3
RIDGE_NUMBERS, RIDGE_WORDS, KIND_C = 100.0, 3.0, 3.0
N_CROSSED = 2
MIN_QUESTIONS = 40

Matrix = Any


def fit(
    examples: Sequence[Example],
    *,
    seed: int = 0,
    max_share: float = MAX_SHARE,
    price: float = PRICE,
    least: int = MIN_QUESTIONS,
) -> Classifier:
    """max_share, price: what the margin is chosen under, as of MAX_SHARE and PRICE. least: questions that it takes.

    Raises ConfigError for too few questions or groups, MissingDependencyError without scikit-learn."""
    try:
        import sklearn
    except ImportError as error:
        raise MissingDependencyError("training the router", "scikit-learn", "eval") from error
    data = Questions.of(examples)
    if len(data.ids) < least or len(set(data.groups)) < N_FOLDS:
        raise ConfigError(
            f"{len(data.ids)} questions of {len(set(data.groups))} groups are too few to learn from:"
            f" at least {least} of {N_FOLDS} groups",
            "selfroute eval with more cases, then selfroute router train",
        )
    with warnings.catch_warnings(), sklearn.config_context(skip_parameter_validation=True, assume_finite=True):
        warnings.simplefilter("ignore")
        return _fit(data, seed, Terms(max_share, price))


def _fit(data: Questions, seed: int, terms: Terms) -> Classifier:
    n = len(data.ids)
    everything = np.arange(n)
    fold = folds(data.groups, N_FOLDS)
    whole = _Part(data, everything, seed)
    held = {stage: {route: np.zeros(n) for route in ROUTES} for stage in data.numbers}
    unknown = np.zeros(n)
    for k in range(N_FOLDS):
        inside, outside = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
        part = _Part(data, inside, seed)
        for stage, routes in part.predict(outside).items():
            for route, values in routes.items():
                held[stage][route][outside] = values
        unknown[outside] = [part.vocabulary.unknown_share(data.text[i]) for i in outside]
    stages, told = {}, {}
    typical = round_number(data.tokens[LONG_CONTEXT].mean(), 1)
    for name in data.numbers:
        curves, p = calibrated(data, held[name])
        margin = best_margin(data, p, everything, terms, name)
        stages[name] = replace(whole.stages[name], calibrations=curves, margin=margin, typical_tokens=typical)
        told[name] = held_out(data, held[name], fold, terms, name)
    base = {m: {r: round_number(np.nanmean(data.right[r][:, j])) for r in ROUTES} for j, m in enumerate(data.models)}
    base[ANY] = {r: round_number(np.nanmean(data.right[r])) for r in ROUTES}
    return Classifier(
        vocabulary=whole.vocabulary,
        kinds=whole.kinds,
        kind_weights=whole.kind_weights,
        kind_bias=whole.kind_bias,
        stages=stages,
        base=base,
        unknown_words=round_number(max(0.6, float(np.quantile(unknown, 0.995)))),
        summary={
            "questions": n,
            "groups": len(set(data.groups)),
            "models": list(data.models),
            "held_out": told,
            "seed": seed,
            "max_share": terms.max_share,
            "price": terms.price,
        },
    )


def recalibrated(prior: Classifier, examples: Sequence[Example], *, max_share: float = MAX_SHARE) -> Classifier:
    """The prior's heads with calibration, margin and shares of these examples: for few questions, or another model.

    Raises MissingDependencyError without scikit-learn.
    """
    data = Questions.of(examples)
    stages = dict(prior.stages)
    for name, stage in prior.stages.items():
        if name not in data.numbers:
            continue
        held = {route: np.zeros(len(data.ids)) for route in ROUTES}
        for i, (text, numbers) in enumerate(zip(data.text, data.numbers[name], strict=True)):
            words = prior.vocabulary.vector(text)
            seen, crossed = prior.vectors(stage, numbers, words)
            for route, head in stage.heads.items():
                held[route][i] = head.value(seen, crossed, words)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            curves, p = calibrated(data, held)
        margin = best_margin(data, p, np.arange(len(data.ids)), Terms(max_share, PRICE), name)
        stages[name] = replace(
            stage,
            calibrations={**stage.calibrations, **curves},
            margin=margin,
            typical_tokens=round_number(data.tokens[LONG_CONTEXT].mean(), 1),
        )
    base = {m: {r: round_number(np.nanmean(data.right[r][:, j])) for r in ROUTES} for j, m in enumerate(data.models)}
    summary = {**prior.summary, "adapted_to": len(data.ids)}
    return replace(prior, stages=stages, base={**prior.base, **base}, summary=summary)


class _Part:
    """Everything that is fitted on some of the questions, but for calibration and margins."""

    def __init__(self, data: Questions, inside: NDArray[np.intp], seed: int) -> None:
        self._data = data
        self.vocabulary = Vocabulary.of([data.text[i] for i in inside])
        self._words = matrix(self.vocabulary, data.text)
        self.kinds, self.kind_weights, self.kind_bias = self._kinds(inside)
        suggested = self._suggested(inside)
        self.stages: dict[str, Stage] = {}
        self._fitted: dict[str, Matrix] = {}
        for name, numbers in data.numbers.items():
            scaled = _scaled([numbers[i] for i in inside])
            z = np.stack([scaled.vector(numbers[i]) for i in inside])
            kinds = suggested[inside]
            heads = {}
            for route in ROUTES:
                y = np.nanmean(data.right[route][inside], axis=1)
                heads[route] = _head(z, kinds, self._words[inside], y, seed)
            self.stages[name] = Stage(scaled, N_CROSSED, heads, {}, 0.0, 1.0)

    def predict(self, outside: NDArray[np.intp]) -> dict[str, dict[str, Vector]]:
        """stage -> route -> values, by the heads as they are used later."""
        bare = Classifier(self.vocabulary, self.kinds, self.kind_weights, self.kind_bias, self.stages, {ANY: {}}, 1.0)
        found: dict[str, dict[str, Vector]] = {}
        words = [self.vocabulary.vector(self._data.text[i]) for i in outside]
        for name, stage in self.stages.items():
            seen = [bare.vectors(stage, self._data.numbers[name][i], w) for i, w in zip(outside, words, strict=True)]
            found[name] = {
                route: np.array([head.value(*s, w) for s, w in zip(seen, words, strict=True)])
                for route, head in stage.heads.items()
            }
        return found

    def _kinds(self, inside: NDArray[np.intp]) -> tuple[tuple[str, ...], Vector, Vector]:
        """What suggests a kind by words; none where training questions have none, or but one."""
        kinds = tuple(sorted({self._data.kinds[i] for i in inside} - {""}))
        n_terms = len(self.vocabulary.terms)
        if len(kinds) < 2 or not n_terms:
            return (), np.zeros((0, n_terms)), np.zeros(0)
        known = np.array([i for i in inside if self._data.kinds[i]])
        weights, bias = _logistic(self._words[known], [self._data.kinds[i] for i in known], kinds)
        return kinds, rounded(weights), rounded(bias)

    def _suggested(self, inside: NDArray[np.intp]) -> Vector:
        """(n, kinds): for the questions inside by a model of other groups, so that heads see it as it will be."""
        n = len(self._data.ids)
        found = np.zeros((n, len(self.kinds)))
        if not self.kinds:
            return found
        fold = folds([self._data.groups[i] for i in inside], N_FOLDS)
        for k in range(N_FOLDS):
            fitted = [i for i in inside[fold != k] if self._data.kinds[i]]
            there = inside[fold == k]
            labels = [self._data.kinds[i] for i in fitted]
            if len(set(labels)) < 2:
                found[there] = 1 / len(self.kinds)
                continue
            weights, bias = _logistic(self._words[np.array(fitted)], labels, self.kinds)
            scores = self._words[there] @ weights.T + bias
            e = np.exp(scores - scores.max(axis=1, keepdims=True))
            found[there] = e / e.sum(axis=1, keepdims=True)
        return found


def _logistic(words: Matrix, labels: Sequence[str], kinds: Sequence[str]) -> tuple[Vector, Vector]:
    """(kinds, terms) and (kinds,): softmax weights; a kind that is not among the labels is next to impossible."""
    from sklearn.linear_model import LogisticRegression

    fitted = LogisticRegression(C=KIND_C, max_iter=300).fit(words, list(labels))
    weights, bias = np.zeros((len(kinds), words.shape[1])), np.full(len(kinds), -20.0)
    coefficients, intercepts = fitted.coef_, fitted.intercept_
    if len(fitted.classes_) == 2:
        coefficients = np.concatenate([-coefficients / 2, coefficients / 2])
        intercepts = np.concatenate([-intercepts / 2, intercepts / 2])
    for label, row, start in zip(fitted.classes_, coefficients, intercepts, strict=True):
        weights[list(kinds).index(label)], bias[list(kinds).index(label)] = row, start
    return weights, bias


def _head(z: Vector, kinds: Vector, words: Matrix, y: Vector, seed: int) -> Head:
    from sklearn.linear_model import Ridge

    seen = np.concatenate([z, kinds], axis=1)
    crossed = np.einsum("ij,ik->ijk", z[:, :N_CROSSED], kinds).reshape(len(z), -1)
    wide = np.concatenate([seen, crossed], axis=1)
    middle, scale = wide.mean(axis=0), wide.std(axis=0) + 1e-9
    scale[scale < 1e-6] = 1e6  # the same in all of training: without a weight
    linear = Ridge(alpha=RIDGE_NUMBERS).fit((wide - middle) / scale, y)
    weights = linear.coef_ / scale
    bias = float(linear.intercept_ - weights @ middle)
    if words.shape[1]:
        of_words = Ridge(alpha=RIDGE_WORDS).fit(words, y)
        word_weights, word_bias = of_words.coef_, float(of_words.intercept_)
    else:
        word_weights, word_bias = np.zeros(0), float(y.mean())
    return Head(
        _trees(seen, y, seed), rounded(weights), round_number(bias), rounded(word_weights), round_number(word_bias)
    )


def _trees(seen: Vector, y: Vector, seed: int) -> Trees:
    """The mean of some boosted forests, as complete trees."""
    from sklearn.ensemble import GradientBoostingRegressor

    features, thresholds, leaves, start = [], [], [], 0.0
    leaf = max(2, min(MIN_LEAF, len(y) // 20))
    for turn in range(N_FORESTS):
        forest = GradientBoostingRegressor(
            n_estimators=N_TREES, max_depth=DEPTH, learning_rate=LEARNING_RATE, subsample=0.6, min_samples_leaf=leaf,
            max_features=0.4, random_state=seed + turn,
        ).fit(seen.astype(np.float32), y)  # fmt: skip
        start += float(np.mean(y)) / N_FORESTS
        for (tree,) in forest.estimators_:
            feature, threshold, values = _complete(tree.tree_)
            features.append(feature)
            thresholds.append(threshold)
            leaves.append(values * LEARNING_RATE / N_FORESTS)
    return Trees(
        round_number(start), np.array(features, np.intp), rounded(np.array(thresholds)), rounded(np.array(leaves), 7)
    )


def _complete(tree: Any) -> tuple[list[int], list[float], Vector]:
    """A tree as one of depth 3 that never ends early."""
    feature, threshold, leaf = [0] * N_NODES, [0.0] * N_NODES, np.zeros(N_LEAVES)

    def put(node: int, at: int) -> None:
        is_leaf = tree.children_left[node] < 0
        if at >= N_NODES:
            leaf[at - N_NODES] = tree.value[node].item()
        elif is_leaf:
            put(node, 2 * at + 1)
            put(node, 2 * at + 2)
        else:
            feature[at], threshold[at] = int(tree.feature[node]), float(tree.threshold[node])
            put(tree.children_left[node], 2 * at + 1)
            put(tree.children_right[node], 2 * at + 2)

    put(0, 0)
    return feature, threshold, leaf


def _scaled(numbers: Sequence[Mapping[str, float]]) -> Numbers:
    """By what is there: names of all, clipped at the extremes of training."""
    names = tuple(sorted({name for found in numbers for name in found}))
    raw = np.array([[found.get(name, np.nan) for name in names] for found in numbers], float).reshape(len(numbers), -1)
    raw[~np.isfinite(raw)] = np.nan
    mean = np.nan_to_num(np.nanmean(raw, axis=0)) if names else np.zeros(0)
    raw = np.where(np.isnan(raw), mean, raw)
    scale = raw.std(axis=0)
    scale[scale < 1e-9] = 1.0
    z = (raw - mean) / scale
    values, vectors = np.linalg.eigh(np.cov(z.T).reshape(len(names), len(names)) + 0.05 * np.eye(len(names)))
    spread = (vectors / np.sqrt(values)).T
    distance = np.sqrt(((z @ spread.T) ** 2).mean(axis=1))
    return Numbers(
        names, rounded(raw.min(axis=0)), rounded(raw.max(axis=0)), rounded(mean), rounded(scale, 9),
        rounded(spread), round_number(1.2 * float(np.quantile(distance, 0.998))),
    )  # fmt: skip
