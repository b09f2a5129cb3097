"""Which pages are worth their place: value = P(reuse) * seconds saved / bytes.

P(reuse) is the probability that a page is used at least once within HORIZON, given how often it was used (x), how long
ago it was made (T) and how long before now it was last used (so that t = T - silence is when, on its own clock). Uses
are taken to come at random at a rate that differs from page to page, until the page dies: its file changed, or the work
that needed it is done. That is the BG/NBD model (Fader, Hardie and Lee 2005, "Counting your customers the easy way"),
whose closed forms are used here:

    P(alive)    = 1 / (1 + [x > 0] * A / (B + x - 1) * ((ALPHA + T) / (ALPHA + t)) ** (R + x))
    P(no use)   = ((ALPHA + T) / (ALPHA + T + HORIZON)) ** (R + x)           of a page that lives, by its rate
    P(reuse)    = P(alive) * (1 - P(no use))

So a page that was used often and then no more is worth less than one that was used as often and lately, and one that
was used once keeps some of its worth for long.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from selfroute.memory.pages.table import Worth

_DAY = 86_400.0
HORIZON = 7 * _DAY  # ahead
R, ALPHA = 1.0, _DAY  # before anything is known: one use a day, and as sure of it as after one day
A, B = 1.0, 3.0  # a page dies after a use one time in four
GAIN = 1.25  # a page must be worth so many times another's value to be kept in its place

Floats = NDArray[np.float64]


def p_reuse(uses: Floats, ages: Floats, silences: Floats) -> Floats:
    """P(reuse) of each page. uses: x; ages: T, silences: T - t, in seconds; all (P,). In [0, 1]."""
    shape = R + uses
    fading = shape * np.log((ALPHA + ages) / (ALPHA + ages - silences))
    odds_dead = np.where(uses > 0, A / np.maximum(B + uses - 1, B) * np.exp(np.minimum(fading, 700.0)), 0.0)
    unused = np.exp(shape * np.log((ALPHA + ages) / (ALPHA + ages + HORIZON)))
    return (1.0 - unused) / (1.0 + odds_dead)


def values(uses: Floats, ages: Floats, silences: Floats, seconds: Floats, sizes: NDArray[np.int64]) -> Floats:
    """Expected seconds saved a byte, of each page. seconds: to encode it again; sizes: bytes. All (P,)."""
    return p_reuse(uses, ages, silences) * seconds / np.maximum(sizes, 1)


def of_kept(worth: Worth) -> Floats:
    """The value of each page that is kept."""
    return with_new(worth, -1, 0.0, 0)[0]


def with_new(worth: Worth, model: int, seconds: float, n_bytes: int) -> tuple[Floats, float]:
    """The values of the pages that are kept, and that of new ones of a model, so many bytes that took so long.

    How long one page took is mostly the machine's mood. So all of a model's count as equally fast, by the byte.
    """
    models, at = np.unique(np.append(worth.models, model), return_inverse=True)
    all_seconds = np.bincount(at, np.append(worth.seconds, seconds), len(models))
    all_bytes = np.bincount(at, np.append(worth.sizes, n_bytes), len(models))
    pace = all_seconds / np.maximum(all_bytes, 1)
    kept = values(worth.uses, worth.ages, worth.silences, pace[at[:-1]] * worth.sizes, worth.sizes)
    none = np.zeros(1)
    return kept, float(p_reuse(none, none, none)[0] * pace[at[-1]])


def worst(values: Floats, sizes: NDArray[np.int64], n_bytes: int, may_go: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Indices of the pages to drop so that at least n_bytes go, least value first, of equals the older; all that may
    go when they are not enough."""
    order = np.argsort(values, kind="stable")
    order = order[may_go[order]]
    before = np.cumsum(sizes[order]) - sizes[order]
    return order[before < n_bytes]
