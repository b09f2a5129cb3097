"""What is kept of a page's states, in numpy, packed: keys and values of the global layers, the pointer's keys, words'.

With the shipped weights and the files that _code_fingerprint of runtime.py names, this decides what is in a page.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from selfroute.models.paged.config import PagedConfig
from selfroute.models.paged.fields import END, PAGE, START, WORD, Row

Floats = NDArray[np.float32]
Weights = Mapping[str, Floats]


def kept_of(
    config: PagedConfig, weights: Weights, rows: Mapping[str, Row], states: Floats
) -> dict[str, NDArray[np.generic]]:
    """What is kept of a page whose tokens have these states (T, width): arrays by name. weights: float32."""
    found: dict[str, NDArray[np.generic]] = {}
    T = len(states)
    for n in range(config.n_global):
        k = unit(linear(weights, f"reads.{n}.key", states).reshape(T, config.kv_heads, config.head_dim))
        v = linear(weights, f"reads.{n}.value", states).reshape(T, config.kv_heads, config.head_dim)
        found |= rows[f"k{n}"].packed(k)
        found |= rows[f"v{n}"].packed(v)
    found |= rows[START].packed(unit(linear(weights, "pointer.start_key", states)))
    found |= rows[END].packed(unit(linear(weights, "pointer.end_key", states)))
    word = linear(weights, "word.key", states)
    found |= rows[WORD].packed(word / np.sqrt(1 + (word * word).sum(-1, keepdims=True)))
    page = unit(linear(weights, "pointer.page_key", states.mean(0, dtype=np.float32)[None]))
    found[PAGE] = page[0].astype(np.float16)
    return found


def linear(weights: Weights, name: str, x: Floats) -> Floats:
    """A layer of the weights, by name."""
    return x @ weights[name + ".weight"].T + weights[name + ".bias"]


def unit(x: Floats) -> Floats:
    """Rows of length 1."""
    found: Floats = x / np.maximum(np.sqrt((x * x).sum(-1, keepdims=True)), np.float32(1e-12))
    return found
