"""The trained router: for each model that answers, the probability that each route is right, or that it cannot say."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from math import isfinite, sqrt
from typing import Any

import numpy as np

from selfroute.errors import ConfigError
from selfroute.router.classifier.heads import Calibration, Head, Vector, check_finite, softmax, wide
from selfroute.router.classifier.words import Vocabulary
from selfroute.types import RETRIEVAL, ROUTES

FORMAT = 1
ANY = ""  # a model that stands for all that the classifier has not seen


@dataclass(frozen=True, slots=True)
class Prediction:
    """p: by route. known: False when the question, the corpus or the model is unlike all of training; p is then the
    share right in training, and `why` says what is unlike it. margin: the gain that long context has to be worth."""

    p: Mapping[str, float]
    known: bool = True
    why: str = ""
    margin: float = 0.0
    best_fixed: str = RETRIEVAL
    distance: float = 0.0
    typical_tokens: float = 1.0

    def worth(self, n_tokens: float) -> float:
        """The gain that reading so many tokens has to be worth: the margin for what is typical, more for more."""
        return self.margin * size_factor(n_tokens, self.typical_tokens)


def size_factor(n_tokens: float, typical: float) -> float:
    """Half of a price is for going to long context at all, half of it grows with the root of what is read there."""
    return (1 + sqrt(max(0.0, n_tokens) / max(1.0, typical))) / 2


@dataclass(frozen=True, slots=True)
class Numbers:
    """How named numbers become a vector: clipped to what training saw, then standardised; what is missing is its mean.

    spread: inverse square root factors of their covariance, (F, F), for the distance from training; far: the distance
    beyond which all but one in 500 of training lie.
    """

    names: tuple[str, ...]
    low: Vector
    high: Vector
    mean: Vector
    scale: Vector
    spread: Vector
    far: float

    def vector(self, numbers: Mapping[str, float]) -> Vector:
        """(F,)."""
        return (np.clip(self.raw(numbers), self.low, self.high) - self.mean) / self.scale

    def raw(self, numbers: Mapping[str, float]) -> Vector:
        """(F,) as they are, the mean for what is missing or no number."""
        found = [numbers.get(name) for name in self.names]
        return np.array(
            [m if x is None or not isfinite(x) else x for x, m in zip(found, self.mean.tolist(), strict=True)]
        )

    def distance(self, numbers: Mapping[str, float]) -> float:
        """Mahalanobis', over the root of the number of numbers: about 1 inside of training."""
        z = np.clip((self.raw(numbers) - self.mean) / self.scale, -20, 20)
        return float(sqrt(float(((self.spread @ z) ** 2).mean()))) if len(z) else 0.0


@dataclass(frozen=True, slots=True)
class Stage:
    """The heads of one moment. calibrations: model -> route -> curve. typical_tokens: that long context reads."""

    numbers: Numbers
    n_crossed: int
    heads: Mapping[str, Head]
    calibrations: Mapping[str, Mapping[str, Calibration]]
    margin: float
    typical_tokens: float


@dataclass(frozen=True, slots=True)
class Classifier:
    """stages: by name. kinds: what training questions ask for, with (kinds, terms) weights and their bias.

    base: model -> route -> share right in training. unknown_words: the share of unknown words beyond which a question
    is unlike training. summary: of the training, for people.
    """

    vocabulary: Vocabulary
    kinds: tuple[str, ...]
    kind_weights: Vector
    kind_bias: Vector
    stages: Mapping[str, Stage]
    base: Mapping[str, Mapping[str, float]]
    unknown_words: float
    summary: Mapping[str, Any] = field(default_factory=dict)

    def predict(self, question: str, numbers: Mapping[str, float], model: str, stage: str) -> Prediction:
        """Deterministic; never raises for any text or any numbers."""
        base = self.base.get(model) or self.base[ANY]
        best = best_of(base)
        at = self.stages.get(stage)
        if at is None:
            return Prediction(dict(base), False, f"it was not trained for what is known after {stage}", 0.0, best)
        distance = at.numbers.distance(numbers)
        curves = at.calibrations.get(model, {})
        why = self._unlike(question, model, distance / at.numbers.far)
        if not why and not at.heads.keys() <= curves.keys():
            why = f"the router was not trained on answers of {model} at the stage {stage}"
        if why:
            return Prediction(dict(base), False, why, at.margin, best, distance, at.typical_tokens)
        words = self.vocabulary.vector(question)
        seen, crossed = self.vectors(at, numbers, words)
        p = {route: curves[route].p(head.value(seen, crossed, words)) for route, head in at.heads.items()}
        return Prediction(p, True, "", at.margin, best, distance, at.typical_tokens)

    def vectors(self, at: Stage, numbers: Mapping[str, float], words: Mapping[int, float]) -> tuple[Vector, Vector]:
        """What trees and linear models see."""
        z, kinds = at.numbers.vector(numbers), self.kinds_of(words)
        return np.concatenate([z, kinds]), wide(z, kinds, at.n_crossed)

    def kinds_of(self, words: Mapping[int, float]) -> Vector:
        """(kinds,) probabilities, by the words."""
        if not self.kinds:
            return np.zeros(0)
        scores = self.kind_bias.copy()
        for i, x in words.items():
            scores += x * self.kind_weights[:, i]
        return softmax(scores.tolist())

    def _unlike(self, question: str, model: str, far: float) -> str:
        """What of it is unlike training, in words, or ""."""
        if not model or model not in self.base:
            return f"the router was not trained on answers of {model or 'an unnamed model'}"
        if far > 1:
            return "what is seen of the question and the corpus is far from all training questions"
        if self.vocabulary.unknown_share(question) > self.unknown_words:
            return "its words are not those of training questions"
        return ""

    @property
    def fingerprint(self) -> str:
        """Of all that decides."""
        return blake2b(self.to_json().encode(), digest_size=8).hexdigest()

    def to_json(self) -> str:
        """The same text for the same classifier; `from_json` reads it."""
        found = {
            "format": FORMAT,
            "summary": dict(self.summary),
            "base": {model: dict(routes) for model, routes in self.base.items()},
            "unknown_words": self.unknown_words,
            "vocabulary": self.vocabulary.to_json(),
            "kinds": {
                "names": list(self.kinds),
                "weights": self.kind_weights.tolist(),
                "bias": self.kind_bias.tolist(),
            },
            "stages": {name: _stage_object(stage) for name, stage in self.stages.items()},
        }
        return json.dumps(found, sort_keys=True, ensure_ascii=False, separators=(",", ":")) + "\n"

    @classmethod
    def from_json(cls, text: str, where: str = "the router") -> Classifier:
        """Raises ConfigError for what is no classifier, or one of another version."""
        try:
            found = json.loads(text)
            if found["format"] != FORMAT:
                raise ConfigError(
                    f"{where} is of format {found['format']}, this version knows {FORMAT}", "selfroute router train RUN"
                )
            vocabulary = Vocabulary.from_json(found["vocabulary"])
            kinds = tuple(map(str, found["kinds"]["names"]))
            made = cls(
                vocabulary=vocabulary,
                kinds=kinds,
                kind_weights=np.asarray(found["kinds"]["weights"], float).reshape(len(kinds), len(vocabulary.terms)),
                kind_bias=np.asarray(found["kinds"]["bias"], float).reshape(len(kinds)),
                stages={name: _stage(stage, kinds, vocabulary) for name, stage in found["stages"].items()},
                base={m: {r: float(x) for r, x in routes.items()} for m, routes in found["base"].items()},
                unknown_words=float(found["unknown_words"]),
                summary=dict(found["summary"]),
            )
            check_finite(made.kind_weights, made.kind_bias, np.asarray(vocabulary.idf, float))
            check_finite(np.asarray([made.unknown_words, *(x for of in made.base.values() for x in of.values())]))
            if ANY not in made.base or any(set(routes) != set(ROUTES) for routes in made.base.values()):
                raise ValueError("the shares right in training are not there")
        except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
            raise ConfigError(f"{where} is no trained router: {error!r}", "selfroute router train RUN") from error
        return made


def best_of(base: Mapping[str, float]) -> str:
    """The route that was right more often in training; retrieval on ties."""
    other = [route for route in base if route != RETRIEVAL and base[route] > base[RETRIEVAL]]
    return max(other, key=lambda route: base[route]) if other else RETRIEVAL


def _stage_object(stage: Stage) -> dict[str, Any]:
    n = stage.numbers
    return {
        "numbers": {
            "names": list(n.names), "low": n.low.tolist(), "high": n.high.tolist(), "mean": n.mean.tolist(),
            "scale": n.scale.tolist(), "spread": n.spread.tolist(), "far": n.far,
        },
        "n_crossed": stage.n_crossed,
        "margin": stage.margin,
        "typical_tokens": stage.typical_tokens,
        "heads": {route: head.to_json() for route, head in stage.heads.items()},
        "calibrations": {
            model: {route: [curve.slope, curve.offset] for route, curve in routes.items()}
            for model, routes in stage.calibrations.items()
        },
    }  # fmt: skip


def _stage(found: Mapping[str, Any], kinds: Sequence[str], vocabulary: Vocabulary) -> Stage:
    names = tuple(map(str, found["numbers"]["names"]))
    n, n_crossed = len(names), int(found["n_crossed"])
    low, high, mean, scale = (np.asarray(found["numbers"][key], float) for key in ("low", "high", "mean", "scale"))
    spread = np.asarray(found["numbers"]["spread"], float).reshape(n, n)
    if any(x.shape != (n,) or not np.isfinite(x).all() for x in (low, high, mean, scale)) or not (scale > 0).all():
        raise ValueError("numbers without their means and scales")
    n_seen = n + len(kinds)
    n_wide = n_seen + min(n, n_crossed) * len(kinds)
    heads = {
        route: Head.from_json(head, n_seen, n_wide, len(vocabulary.terms)) for route, head in found["heads"].items()
    }
    if set(heads) != set(ROUTES):
        raise ValueError("a stage without a head for each route")
    curves = {
        model: {route: Calibration(float(a), float(b)) for route, (a, b) in routes.items()}
        for model, routes in found["calibrations"].items()
    }
    far, margin, typical = float(found["numbers"]["far"]), float(found["margin"]), float(found["typical_tokens"])
    check_finite(np.asarray([far, margin, typical]))
    check_finite(np.asarray([x for of in curves.values() for c in of.values() for x in (c.slope, c.offset)], float))
    if not (far > 0 and np.isfinite(spread).all()):
        raise ValueError("no bound on the distance from training")
    numbers = Numbers(names, low, high, mean, scale, spread, far)
    return Stage(numbers, n_crossed, heads, curves, margin, typical)
