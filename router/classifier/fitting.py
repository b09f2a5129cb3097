"""Fits the classifier with scikit-learn, and says what it is worth on questions that it was not fitted on.

Everything that is chosen is chosen by cross-validation over groups: calibration and margin on predictions for groups
that were left out, and the reported figures with the margin of the other folds. Outcomes of several models on one
question are averaged for the heads, which see more signal so, and each model keeps its own calibration: an outcome is
mostly the question's. Deterministic: the same examples give the same bytes.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selfroute.errors import ConfigError, MissingDependencyError
from selfroute.router.classifier.classifier import ANY, Classifier, Numbers, Stage, size_factor
from selfroute.router.classifier.examples import Example
from selfroute.router.classifier.heads import CLIP, DEPTH, N_LEAVES, N_NODES, Calibration, Head, Trees, Vector
from selfroute.router.classifier.words import Vocabulary, matrix
from selfroute.types import LONG_CONTEXT, RETRIEVAL, ROUTES

N_FOLDS = 4
MAX_SHARE = 0.3  # of always-long-context's tokens, that the margin may lead to in training
PRICE = 0.05  # of accuracy, for reading everything: of two margins that are as good, the cheaper
N_TREES, LEARNING_RATE, MIN_LEAF, N_FORESTS = 80, 0.06, 15, 3
RIDGE_NUMBERS, RIDGE_WORDS, KIND_C = 100.0, 3.0, 3.0
N_CROSSED = 2
MARGINS = np.arange(0.0, 0.405, 0.005)
MIN_QUESTIONS = 40
MIN_GAP = 0.002  # between the oracle and the best fixed route, below which nothing can be recovered of it

Matrix = Any


@dataclass(frozen=True, slots=True)
class Terms:
    """What a margin is chosen under: the most of long context's tokens, and the accuracy that all of them cost."""

    max_share: float = MAX_SHARE
    price: float = PRICE


@dataclass(frozen=True, slots=True)
class Questions:
    """Examples by question. right: (n, models), NaN where a model has none; tokens: (n,)."""

    ids: tuple[str, ...]
    text: tuple[str, ...]
    groups: tuple[str, ...]
    kinds: tuple[str, ...]
    numbers: Mapping[str, tuple[Mapping[str, float], ...]]
    models: tuple[str, ...]
    right: Mapping[str, Vector]
    tokens: Mapping[str, Vector]

    @classmethod
    def of(cls, examples: Iterable[Example]) -> Questions:
        """In the order of their ids. Stages are those that every example has."""
        by_id: dict[str, list[Example]] = {}
        for example in examples:
            by_id.setdefault(example.id, []).append(example)
        ids = sorted(by_id)
        first = [by_id[i][0] for i in ids]
        models = tuple(sorted({e.model for found in by_id.values() for e in found}))
        at = {model: j for j, model in enumerate(models)}
        right = {route: np.full((len(ids), len(models)), np.nan) for route in ROUTES}
        for i, name in enumerate(ids):
            for e in by_id[name]:
                for route in ROUTES:
                    right[route][i, at[e.model]] = e.right[route]
        stages = [s for s in first[0].numbers if all(s in e.numbers for e in first)] if first else []
        return cls(
            ids=tuple(ids),
            text=tuple(e.question for e in first),
            groups=tuple(e.group for e in first),
            kinds=tuple(e.kind for e in first),
            numbers={s: tuple(e.numbers[s] for e in first) for s in stages},
            models=models,
            right=right,
            tokens={r: np.array([e.tokens.get(r, 1.0) for e in first], float) for r in ROUTES},
        )


def fit(
    examples: Sequence[Example], *, seed: int = 0, max_share: float = MAX_SHARE, price: float = PRICE
) -> Classifier:
    """max_share, price: what the margin is chosen under, as of MAX_SHARE and PRICE.

    Raises ConfigError for too few questions or groups, MissingDependencyError without scikit-learn."""
    try:
        import sklearn  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError("training the router", "scikit-learn", "eval") from error
    data = Questions.of(examples)
    if len(data.ids) < MIN_QUESTIONS or len(set(data.groups)) < N_FOLDS:
        raise ConfigError(
            f"{len(data.ids)} questions of {len(set(data.groups))} groups are too few to learn from:"
            f" at least {MIN_QUESTIONS} of {N_FOLDS} groups",
            "selfroute eval with more cases, then selfroute router train",
        )
    with warnings.catch_warnings():
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
    typical = _round(data.tokens[LONG_CONTEXT].mean(), 1)
    for name in data.numbers:
        curves, p = _calibrated(data, held[name])
        margin = best_margin(data, p, everything, terms, name)
        stages[name] = replace(whole.stages[name], calibrations=curves, margin=margin, typical_tokens=typical)
        told[name] = _held_out(data, held[name], fold, terms, name)
    base = {m: {r: _round(np.nanmean(data.right[r][:, j])) for r in ROUTES} for j, m in enumerate(data.models)}
    base[ANY] = {r: _round(np.nanmean(data.right[r])) for r in ROUTES}
    return Classifier(
        vocabulary=whole.vocabulary,
        kinds=whole.kinds,
        kind_weights=whole.kind_weights,
        kind_bias=whole.kind_bias,
        stages=stages,
        base=base,
        unknown_words=_round(max(0.6, float(np.quantile(unknown, 0.995)))),
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
            curves, p = _calibrated(data, held)
        margin = best_margin(data, p, np.arange(len(data.ids)), Terms(max_share, PRICE), name)
        stages[name] = replace(
            stage,
            calibrations={**stage.calibrations, **curves},
            margin=margin,
            typical_tokens=_round(data.tokens[LONG_CONTEXT].mean(), 1),
        )
    base = {m: {r: _round(np.nanmean(data.right[r][:, j])) for r in ROUTES} for j, m in enumerate(data.models)}
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
        return kinds, _rounded(weights), _rounded(bias)

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
    return Head(_trees(seen, y, seed), _rounded(weights), _round(bias), _rounded(word_weights), _round(word_bias))


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
        _round(start), np.array(features, np.intp), _rounded(np.array(thresholds)), _rounded(np.array(leaves), 7)
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
        names, _rounded(raw.min(axis=0)), _rounded(raw.max(axis=0)), _rounded(mean), _rounded(scale, 9),
        _rounded(spread), _round(1.2 * float(np.quantile(distance, 0.998))),
    )  # fmt: skip


def _log_odds(values: Vector) -> Vector:
    clipped = np.clip(values, CLIP, 1 - CLIP)
    return np.asarray(np.log(clipped / (1 - clipped)))


def _calibrated(
    data: Questions, held: Mapping[str, Vector], inside: NDArray[np.intp] | None = None
) -> tuple[dict[str, dict[str, Calibration]], dict[str, Vector]]:
    """model -> route -> curve, and route -> (n, models) probabilities. inside: fitted on these alone."""
    from sklearn.linear_model import LogisticRegression

    inside = np.arange(len(data.ids)) if inside is None else inside
    n_models = len(data.models)
    curves: dict[str, dict[str, Calibration]] = {model: {} for model in data.models}
    p = {}
    for route in ROUTES:
        x, right = _log_odds(held[route]), data.right[route]
        rows, models = np.nonzero(~np.isnan(right[inside]))
        own = np.zeros((len(rows), n_models + 1))
        own[np.arange(len(rows)), models] = 1
        own[:, -1] = x[inside][rows]
        y = right[inside][rows, models]
        soft = np.concatenate([own, own]), np.r_[np.ones(len(y)), np.zeros(len(y))], np.r_[y, 1 - y] + 1e-9
        fitted = LogisticRegression(C=10.0, fit_intercept=False, max_iter=500).fit(soft[0], soft[1], soft[2])
        slope = max(0.0, float(fitted.coef_[0, -1]))
        for j, model in enumerate(data.models):
            curves[model][route] = Calibration(_round(slope), _round(float(fitted.coef_[0, j])))
        p[route] = np.array([[curves[m][route].p(v) for m in data.models] for v in held[route]])
    return curves, p


def best_margin(data: Questions, p: Mapping[str, Vector], inside: NDArray[np.intp], terms: Terms, stage: str) -> float:
    """The gain from which long context is taken: most right, at most max_share of its tokens."""
    gain = (p[LONG_CONTEXT] - p[RETRIEVAL])[inside]
    by_size = _by_size(data)[inside][:, None]
    right = {route: data.right[route][inside] for route in ROUTES}
    best = (-np.inf, 0.0)
    for margin in MARGINS:
        takes = gain > margin * by_size
        share = _share(data, takes, inside, stage)
        if share <= terms.max_share or margin == MARGINS[-1]:
            value = float(np.nanmean(np.where(takes, right[LONG_CONTEXT], right[RETRIEVAL]))) - terms.price * share
            best = max(best, (value, float(margin)))
    return _round(best[1])


def _by_size(data: Questions) -> Vector:
    """(n,) what the margin is multiplied with, by how much long context would read."""
    typical = float(data.tokens[LONG_CONTEXT].mean())
    return np.array([size_factor(n, typical) for n in data.tokens[LONG_CONTEXT].tolist()])


def _share(data: Questions, takes: NDArray[np.bool_], inside: NDArray[np.intp], stage: str) -> float:
    """Of the tokens of always-long-context; after a first attempt, retrieval's are spent already."""
    whole, few = data.tokens[LONG_CONTEXT][inside][:, None], data.tokens[RETRIEVAL][inside][:, None]
    spent = np.where(takes, whole + (few if stage != "first" else 0), few)
    return float(spent.sum() / max(1.0, (whole * np.ones_like(takes)).sum()))


def _held_out(
    data: Questions, held: Mapping[str, Vector], fold: NDArray[np.intp], terms: Terms, stage: str
) -> dict[str, Any]:
    """What the stage is worth on left-out groups, with calibration and margin of the others."""
    from selfroute.router.evaluation.curves import calibration_error

    takes = np.zeros_like(data.right[RETRIEVAL], bool)
    fixed = np.zeros_like(data.right[RETRIEVAL])
    p = {route: np.zeros_like(fixed) for route in ROUTES}
    for k in range(N_FOLDS):
        inside, outside = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
        _, of_all = _calibrated(data, held, inside)
        margin = best_margin(data, of_all, inside, terms, stage)
        takes[outside] = ((of_all[LONG_CONTEXT] - of_all[RETRIEVAL]) > margin * _by_size(data)[:, None])[outside]
        for j in range(len(data.models)):
            means = {route: np.nanmean(data.right[route][inside, j]) for route in ROUTES}
            best = LONG_CONTEXT if means[LONG_CONTEXT] > means[RETRIEVAL] else RETRIEVAL
            fixed[outside, j] = data.right[best][outside, j]
        for route in ROUTES:
            p[route][outside] = of_all[route][outside]
    kept = np.where(takes, data.right[LONG_CONTEXT], data.right[RETRIEVAL])
    top = np.fmax(data.right[LONG_CONTEXT], data.right[RETRIEVAL])
    accuracy, best_fixed, oracle = (float(np.nanmean(x)) for x in (kept, fixed, top))
    mean, low, high = paired_share(np.nanmean(kept, 1), np.nanmean(fixed, 1), data.groups)
    known = ~np.isnan(kept)
    chosen = np.where(takes, p[LONG_CONTEXT], p[RETRIEVAL])
    error = calibration_error(chosen[known].tolist(), (kept[known] > 0.5).tolist())
    gap = oracle - best_fixed
    return {
        "accuracy": _round(accuracy, 4),
        "best_fixed": _round(best_fixed, 4),
        "oracle": _round(oracle, 4),
        "against_best": [_round(x, 4) for x in (mean, low, high)],
        "gap_recovered": _round((accuracy - best_fixed) / gap, 4) if gap > MIN_GAP else None,
        "regret": _round(oracle - accuracy, 4),
        "token_share": _round(_share(data, takes, np.arange(len(data.ids)), stage), 4),
        "ece": None if error is None else _round(error, 4),
    }


def paired_share(one: Vector, other: Vector, groups: Sequence[str]) -> tuple[float, float, float]:
    """Mean of one - other, and its 95% interval: cluster-robust, Student's t at one degree less than there are groups.

    Unlike selfroute.router.evaluation.intervals for means over several models as well, which lie between -1 and 1.
    """
    from scipy.stats import t  # type: ignore[import-untyped]

    values = np.asarray(one - other, np.float64)
    sums: dict[str, float] = {}
    mean = float(values.mean())
    for value, group in zip(values.tolist(), groups, strict=True):
        sums[group] = sums.get(group, 0.0) + value - mean
    n = len(sums)
    if n < 2:
        return mean, -1.0, 1.0
    error = float(np.sqrt(n / (n - 1) * sum(x * x for x in sums.values()))) / len(values)
    half = float(t.ppf(0.975, n - 1)) * error
    return mean, mean - half, mean + half


def folds(groups: Sequence[str], n_folds: int, seed: int = 0) -> NDArray[np.intp]:
    """(n,) fold of each question: whole groups, of which the largest are dealt out first."""
    sizes: dict[str, int] = {}
    for group in groups:
        sizes[group] = sizes.get(group, 0) + 1

    def drawn(group: str) -> bytes:
        return blake2b(f"{seed} {group}".encode("utf-8", "surrogatepass"), digest_size=8).digest()

    filled, fold = [0] * n_folds, {}
    for group in sorted(sizes, key=lambda g: (-sizes[g], drawn(g))):
        fold[group] = min(range(n_folds), key=lambda k: (filled[k], k))
        filled[fold[group]] += sizes[group]
    return np.array([fold[group] for group in groups], np.intp)


def _round(value: float | np.floating[Any], digits: int = 6) -> float:
    return round(float(value), digits)


def _rounded(values: Vector, digits: int = 6) -> Vector:
    return np.asarray(np.round(values, digits) + 0.0, np.float64)
