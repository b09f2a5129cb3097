"""What the trained reader made of the windows of one question, for the next route that reads some of them again."""

from __future__ import annotations

from collections.abc import Mapping
from threading import Lock
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Pair: TypeAlias = tuple[NDArray[np.float32], NDArray[np.float32]]  # start and end scores, (T,) each
Key: TypeAlias = tuple[int, ...]


class KeptScores:
    """Scores by window, of the last question alone. Any thread may use it."""

    def __init__(self, most: int) -> None:
        """most: windows; once there are so many, no further ones are kept."""
        self._most, self._lock = most, Lock()
        self._question = ""
        self._scores: dict[Key, Pair] = {}

    def of(self, question: str) -> dict[Key, Pair]:
        """A copy of what is kept of a question."""
        with self._lock:
            return dict(self._scores) if question == self._question else {}

    def keep(self, question: str, scores: Mapping[Key, Pair]) -> None:
        """Adds scores; those of another question go."""
        with self._lock:
            if question != self._question:
                self._question, self._scores = question, {}
            for key, pair in scores.items():
                if len(self._scores) >= self._most:
                    break
                self._scores.setdefault(key, pair)

    def clear(self) -> None:
        """Keeps nothing."""
        with self._lock:
            self._question, self._scores = "", {}
