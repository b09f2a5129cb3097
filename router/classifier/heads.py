"""One head: how likely a route is right, as the mean of boosted trees and two linear models, in plain numbers.

Trees see the numbers and the kinds that the question's words suggest; one linear model sees the same and the products
of kinds with the first numbers, the other one the words. Evaluated in numpy, without the library that fitted them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp
from typing import Any

import numpy as np
from numpy.typing import NDArray

DEPTH = 3
N_NODES, N_LEAVES = 2**DEPTH - 1, 2**DEPTH
SHARES = (0.4, 0.4, 0.2)  # of trees, of the linear model of numbers, of that of words
CLIP = 0.02

Vector = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Trees:
    """Complete trees of depth 3. feature, threshold: (n, 7), breadth first; left where value <= threshold.

    leaf: (n, 8), shrunk; the sum of them and start is the value.
    """

    start: float
    feature: NDArray[np.intp]
    threshold: Vector
    leaf: Vector

    def value(self, x: Vector) -> float:
        """x: (F,)."""
        at = np.zeros(len(self.feature), np.intp)
        row = np.arange(len(self.feature))
        for _ in range(DEPTH):
            at = 2 * at + 1 + (x[self.feature[row, at]] > self.threshold[row, at])
        return self.start + float(self.leaf[row, at - N_NODES].sum())

    def to_json(self) -> dict[str, Any]:
        """What `from_json` reads."""
        return {
            "start": self.start,
            "feature": self.feature.tolist(),
            "threshold": self.threshold.tolist(),
            "leaf": self.leaf.tolist(),
        }

    @classmethod
    def from_json(cls, found: Mapping[str, Any], n_features: int) -> Trees:
        """Raises ValueError, KeyError or TypeError for what is none."""
        feature = np.asarray(found["feature"], np.intp).reshape(-1, N_NODES)
        made = cls(
            float(found["start"]),
            feature,
            np.asarray(found["threshold"], np.float64).reshape(len(feature), N_NODES),
            np.asarray(found["leaf"], np.float64).reshape(len(feature), N_LEAVES),
        )
        if len(feature) and not (feature.min() >= 0 and feature.max() < n_features):
            raise ValueError("a tree that looks at a number that is not there")
        check_finite(made.threshold, made.leaf, np.asarray([made.start]))
        return made


@dataclass(frozen=True, slots=True)
class Head:
    """trees: over (numbers, kinds). linear, bias: over (numbers, kinds, products). words, word_bias: over the terms."""

    trees: Trees
    linear: Vector
    bias: float
    words: Vector
    word_bias: float

    def value(self, seen: Vector, wide: Vector, words: Mapping[int, float]) -> float:
        """About a probability, before calibration. seen, wide: without and with the products."""
        of_words = self.word_bias + sum(self.words[i] * x for i, x in words.items())
        parts = (self.trees.value(seen), self.bias + float(self.linear @ wide), float(of_words))
        return sum(share * part for share, part in zip(SHARES, parts, strict=True))

    def to_json(self) -> dict[str, Any]:
        """What `from_json` reads."""
        known = np.flatnonzero(self.words)
        return {
            "trees": self.trees.to_json(),
            "linear": self.linear.tolist(),
            "bias": self.bias,
            "words": [known.tolist(), self.words[known].tolist()],
            "word_bias": self.word_bias,
        }

    @classmethod
    def from_json(cls, found: Mapping[str, Any], n_seen: int, n_wide: int, n_terms: int) -> Head:
        """Raises ValueError, KeyError, IndexError or TypeError for what is none."""
        words = np.zeros(n_terms)
        places, values = found["words"]
        words[np.asarray(places, np.intp)] = np.asarray(values, np.float64)
        linear = np.asarray(found["linear"], np.float64)
        if linear.shape != (n_wide,):
            raise ValueError(f"{n_wide} weights, not {linear.shape}")
        made = cls(
            Trees.from_json(found["trees"], n_seen), linear, float(found["bias"]), words, float(found["word_bias"])
        )
        check_finite(linear, words, np.asarray([made.bias, made.word_bias]))
        return made


@dataclass(frozen=True, slots=True)
class Calibration:
    """Platt's (1999) on the log-odds of a head's value: the offset is a model's own, the slope that of all."""

    slope: float = 1.0
    offset: float = 0.0

    def p(self, value: float) -> float:
        """A probability within [0.001, 0.999]."""
        clipped = min(1 - CLIP, max(CLIP, value))
        x = self.offset + self.slope * float(np.log(clipped / (1 - clipped)))
        return min(0.999, max(0.001, 1 / (1 + exp(-min(50.0, max(-50.0, x))))))


def wide(numbers: Vector, kinds: Vector, n_crossed: int) -> Vector:
    """Numbers, kinds, and each kind times each of the first n_crossed numbers."""
    return np.concatenate([numbers, kinds, np.outer(numbers[:n_crossed], kinds).ravel()])


def check_finite(*arrays: NDArray[np.float64]) -> None:
    """Raises ValueError when a number is infinite or none."""
    if not all(np.isfinite(array).all() for array in arrays):
        raise ValueError("a number that is none")


def softmax(scores: Sequence[float]) -> Vector:
    """Probabilities of log-odds."""
    x = np.asarray(scores, np.float64)
    e = np.exp(x - x.max()) if len(x) else x
    return e / e.sum() if len(x) else x


def round_number(value: float | np.floating[Any], digits: int = 6) -> float:
    """As it is written: the same classifier is the same text."""
    return round(float(value), digits)


def rounded(values: Vector, digits: int = 6) -> Vector:
    """The same of an array; without negative zeros."""
    return np.asarray(np.round(values, digits) + 0.0, np.float64)
