"""The trained network behind the span reader: a window's tokens to a start and an end score for each.

Windows are scored one at a time, several at once: a product with int8 weights rounds its input by the largest number
among all that is computed together, so two windows in one batch would change each other's scores. Alone, a window's
scores depend on nothing but the question, the window and the weights.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from selfroute.errors import MissingDependencyError, ModelLoadError
from selfroute.models import weights

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from selfroute.deadline import Deadline

GRAPH = "reader-minilm.onnx"
MAX_THREADS = 4


@dataclass(frozen=True, slots=True)
class Window:
    """One input of the network: its tokens, and how many stand before the text (`[CLS] question [SEP] header`)."""

    ids: Sequence[int]
    n_question: int

    @property
    def key(self) -> tuple[int, ...]:
        """Names it among all windows."""
        return (self.n_question, *self.ids)

    def inputs(self) -> Mapping[str, NDArray[np.int64]]:
        """ids, segment: (1, T)."""
        import numpy as np

        ids = np.array([self.ids], np.int64)
        segment = np.ones_like(ids)
        segment[:, : self.n_question + 2] = 0
        return {"ids": ids, "segment": segment}


class SpanScores:
    """The shipped network in ONNX Runtime, loaded when it is first used. Any thread may use it.

    On two cores two windows at a time, each on one, take two thirds of the time of one window at a time on both.
    """

    def __init__(self, folder: Path = weights.FOLDER, *, threads: int | None = None) -> None:
        """threads: windows computed at a time; None for one a core, at most 4.

        Raises ModelLoadError when no file was shipped.
        """
        self.threads = threads or min(MAX_THREADS, os.cpu_count() or 1)
        self.fingerprint = f"span:{weights.fingerprint(GRAPH, folder)}"
        self._folder = folder
        self._session: Any = None
        self._loading = Lock()

    @property
    def is_loaded(self) -> bool:
        """Whether the network is in memory."""
        return self._session is not None

    def load(self) -> None:
        """Loads the network, if it is not: 0.1 s, which a question that needs no reader is spared.

        Raises ModelLoadError when the file is missing or altered, MissingDependencyError without ONNX Runtime.
        """
        with self._loading:
            if self._session is None:
                self._session = _session(weights.checked(GRAPH, self._folder))

    def score(
        self, windows: Sequence[Window], deadline: Deadline | None = None
    ) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        """(T,) start and (T,) end scores of each window, in order; the longest are begun first.

        Raises as load(), and OutOfTimeError when the deadline comes before the last window.
        """
        self.load()

        def one(window: Window) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
            if deadline is not None:
                deadline.check()
            return self._score(window)

        order = sorted(range(len(windows)), key=lambda i: -len(windows[i].ids))
        if min(self.threads, len(windows)) <= 1:
            found = [one(windows[i]) for i in order]
        else:
            with ThreadPoolExecutor(min(self.threads, len(windows))) as pool:
                found = list(pool.map(one, [windows[i] for i in order]))
        return [scores for _, scores in sorted(zip(order, found, strict=True), key=lambda pair: pair[0])]

    def _score(self, window: Window) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        start, end = self._session.run(["start", "end"], window.inputs())
        return start[0], end[0]


def _session(path: Path) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingDependencyError("the trained reader", "onnxruntime") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.enable_mem_pattern = False  # it plans for each length of window anew, 10 MB in all, and is no faster
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions share no class but this
        raise ModelLoadError(f"ONNX Runtime cannot load {GRAPH}: {error}") from error
