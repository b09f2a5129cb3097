"""The paged reader as it is used on a CPU: ONNX Runtime for the local layers, numpy for the rest; no torch.

A page is computed alone: a product with int8 weights rounds its input by the largest number among all that is computed
together, so that pages in one batch would change each other's keys. So what is kept of a page depends on its text and
the weights only, bit for bit.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from hashlib import blake2b
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from selfroute.errors import ConfigError, MissingDependencyError, ModelLoadError
from selfroute.models import span_windows, tokenizer, weights
from selfroute.models.kv.presets import preset_of
from selfroute.models.paged.config import PagedConfig
from selfroute.models.paged.fields import Arrays, layout_of, rows_of
from selfroute.models.paged.layout import Layout
from selfroute.models.span_windows import CLS, SEP
from selfroute.models.tokenizer import wordpiece

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from selfroute.models.paged.reading import Reading

LOCAL, GLOBAL, CONFIG = "paged-local.onnx", "paged-global.safetensors", "paged.json"
READERS = tuple(range(11, 31))  # [unused10] ...: the reading tokens after the text
MAX_PAGE = 510  # tokens of a page's text
MAX_FOUND = 60  # tokens of what was found so far
MAX_THREADS = 4
SELECT, SHARE = 512, 16  # pages that are read wholly of more than DENSE_TOKENS: so many at least, and one in SHARE
DENSE_TOKENS = 1_200_000  # tokens: up to here all pages are


class PagedRuntime:
    """Encodes pages, and reads any number of them. Any thread may use it. The network is loaded at its first use."""

    def __init__(
        self, folder: Path = weights.FOLDER, *, kv: str = "k4v4", threads: int | None = None, select: int = SELECT
    ) -> None:
        """kv: the preset that pages are kept in. threads: pages encoded at a time, and blocks read; None for one a
        core, at most 4. select: of more than DENSE_TOKENS tokens so many pages are read wholly, or a 16th of them;
        0 for all.

        Raises ModelLoadError when no files were shipped, UnknownNameError for a preset that there is not.
        """
        values = json.loads(weights.read(CONFIG, folder))
        values.pop("version", None)
        try:
            self.config = PagedConfig.from_json(values)
        except (ConfigError, TypeError) as error:
            raise ModelLoadError(f"{CONFIG} cannot be read: {error}", "reinstall selfroute") from error
        self.kv = preset_of(kv).name
        self.rows = rows_of(self.config, kv)
        self.select = select
        self.threads = threads or min(MAX_THREADS, os.cpu_count() or 1)
        self._folder = folder
        self._session: Any = None
        self._words: Any = None
        self._read: Any = None
        self._loading = Lock()

    @property
    def fingerprint(self) -> str:
        """Hexadecimal: of the weights, the word vectors, the preset, and the code that cuts a text into tokens."""
        hashed = blake2b(digest_size=12)
        for name in (LOCAL, GLOBAL, CONFIG):
            hashed.update(weights.fingerprint(name, self._folder).encode())
        hashed.update(f"{weights.fingerprint('reader-minilm.onnx')} {self.kv} {_code_fingerprint()}".encode())
        return hashed.hexdigest()

    @property
    def layout(self) -> Layout:
        """The arrays of a page."""
        return layout_of(self.config, self.kv, self.fingerprint)

    @property
    def is_loaded(self) -> bool:
        """Whether the network is in memory."""
        return self._read is not None

    def load(self) -> None:
        """Loads the network, if it is not. Raises ModelLoadError for altered files, MissingDependencyError."""
        from selfroute.models.paged.reading import GlobalRead
        from selfroute.models.paged.words import Words

        with self._loading:
            if self._read is None:
                self._session = _session(weights.checked(LOCAL, self._folder))
                self._words = Words.shipped()
                arrays: Any = weights.load(GLOBAL, self._folder)
                self._read = GlobalRead(self.config, arrays, self.rows, self.threads)

    def page_ids(self, text: str) -> list[int]:
        """The tokens of a page: [CLS], the text's with marks for its lines, [SEP]."""
        return [CLS, *span_windows.read_text(wordpiece(), text).ids[:MAX_PAGE], SEP]

    def question_ids(self, question: str, found: str = "") -> list[int]:
        """The tokens of a question, and of what was found so far, if it is given."""
        asked = span_windows.read_question(wordpiece(), question)
        return self.asked_ids(asked, wordpiece().pieces(found)[0][:MAX_FOUND])

    def asked_ids(self, asked: Sequence[int], found: Sequence[int] = ()) -> list[int]:
        """question_ids() of tokens."""
        return [CLS, *asked, *([SEP, *found] if found else ()), *READERS[: self.config.readers - 1], SEP]

    def states(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """(T, width): the local layers' states of one page or question."""
        import numpy as np

        self.load()
        tokens = np.asarray(ids, np.int64)[None]
        x: NDArray[np.float32] = self._session.run(["states"], {"word": self._words.rows(tokens)})[0][0]
        return x

    def encode_ids(self, pages: Sequence[Sequence[int]]) -> list[Arrays]:
        """What is kept of each page, given by its tokens as page_ids() makes them."""
        self.load()

        def one(ids: Sequence[int]) -> Arrays:
            kept: Arrays = self._read.kept(self.states(ids))
            return kept

        if min(self.threads, len(pages)) <= 1:
            return [one(ids) for ids in pages]
        with ThreadPoolExecutor(min(self.threads, len(pages))) as pool:
            return list(pool.map(one, pages))

    def encode(self, texts: Sequence[str]) -> list[Arrays]:
        """What is kept of each text as a page: the arrays of the layout, for len(page_ids(text)) tokens."""
        return self.encode_ids([self.page_ids(text) for text in texts])

    def ask(
        self,
        question: str,
        lengths: NDArray[np.int32],
        arrays: Arrays,
        *,
        found: str = "",
        n_spans: int = 8,
        select: int | None = None,
    ) -> Reading:
        """Reads all pages given. lengths: (P,) their tokens. arrays: the layout's, of one page after another.

        found: what an earlier reading found, for a chain. select: of more pages only so many are read wholly, those
        where the pointer would begin unread; 0 reads all, None takes the runtime's own setting. The spans' places
        are those of a page's text: see quote().
        """
        return self.ask_ids(self.question_ids(question, found), lengths, arrays, n_spans=n_spans, select=select)

    def ask_ids(
        self,
        ids: Sequence[int],
        lengths: NDArray[np.int32],
        arrays: Arrays,
        *,
        n_spans: int = 8,
        select: int | None = None,
    ) -> Reading:
        """ask() of a question's tokens as question_ids() gives them."""
        import numpy as np

        x = self.states(ids)
        x = x[[0, *range(len(ids) - self.config.readers, len(ids) - 1)]]
        if select is None:
            above = self.select > 0 and int(lengths.sum(dtype=np.int64)) > DENSE_TOKENS
            select = max(self.select, len(lengths) // SHARE) if above else 0
        reading: Reading = self._read.read(x, lengths, arrays, n_spans, select)
        return reading

    @staticmethod
    def quote(text: str, first: int, last: int) -> tuple[int, int]:
        """The characters [start, end) of a page's text that its tokens first to last stand for."""
        pieces = span_windows.read_text(wordpiece(), text)
        return pieces.starts[first], pieces.ends[last]


def _session(path: Path) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingDependencyError("the paged reader", "onnxruntime") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.enable_mem_pattern = False
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions share no class but this
        raise ModelLoadError(f"ONNX Runtime cannot load {path.name}: {error}") from error


@cache
def _code_fingerprint() -> str:
    """A hash over the source that decides a page's tokens and what is kept of it."""
    from selfroute.models.paged import fields, keeping, packing

    hashed = blake2b(digest_size=8)
    for module in (span_windows, tokenizer, fields, keeping, packing):
        hashed.update(blake2b(Path(str(module.__file__)).read_bytes()).digest())
    return hashed.hexdigest()
