"""Static vectors: a text's vector is the sum of its words' trained rows; no transformer, no network, no GPU.

Identifiers are cut into their parts first (`getCookieValue` is get, cookie, value), a part that has no row of its own
into word pieces. Every distinct word of a text counts once, however often it stands there, and once more when it stands
on the first line: a definition's signature, a section's heading. Rows are int8 and their sums exact whole numbers, so
a vector does not depend on the order of the words or on the texts encoded beside it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from selfroute.models import weights
from selfroute.models.tokenizer import WordPiece, wordpiece

if TYPE_CHECKING:
    from numpy.typing import NDArray

WEIGHTS = "static-minilm.safetensors"

_PARTS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+|[^\W\da-zA-Z_]+")
words_of = re.compile(r"[a-zA-Z0-9_\x80-\U0010ffff]+").findall
_MAX_WORD = 100  # characters; what is longer is data, not a name
_MAX_CACHED = 1 << 17  # words


class StaticEmbedder:
    """Encodes with the rows shipped in the package: 256 dimensions, distilled from MiniLM, trained on code and text."""

    def __init__(self) -> None:
        """Raises ModelLoadError when the shipped files are missing or altered."""
        arrays = weights.load(WEIGHTS)
        self._table = arrays["rows"]  # (N, D) int8
        self._scale = arrays["scale"]  # (D,) float32
        self._rows = WordRows(wordpiece(), arrays["ids"].tolist(), arrays["words"].tobytes().decode().split())
        self._fingerprint = f"static:{weights.fingerprint(WEIGHTS)}"

    @property
    def dim(self) -> int:
        """D, the width of the vectors."""
        return int(self._table.shape[1])

    @property
    def fingerprint(self) -> str:
        """Names the weights by their checksum."""
        return self._fingerprint

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(n, D) float32, unit rows; zeros for a text without a known word. A row depends on its own text only."""
        vectors = np.zeros((len(texts), self.dim), np.float32)
        for vector, text in zip(vectors, texts, strict=True):
            rows = self._rows.of_text(text)
            if rows:
                total = self._table.take(rows, 0).sum(axis=0, dtype=np.int32)
                np.multiply(total, self._scale, out=vector, casting="unsafe")
                vector /= np.sqrt(vector.dot(vector)) or 1
        return vectors


class WordRows(dict[str, tuple[int, ...]]):
    """word -> its rows of the table, filled as words are met."""

    def __init__(self, tokenizer: WordPiece, ids: Iterable[int], words: Iterable[str]) -> None:
        """ids: the vocabulary ids of the first rows. words: what the rows after them stand for, lower-case words."""
        super().__init__()
        self._tokenizer = tokenizer
        self._row_of_id = {token: row for row, token in enumerate(ids)}
        self._row_of_word = {word: row for row, word in enumerate(words, len(self._row_of_id))}

    def of_text(self, text: str) -> list[int]:
        """The rows whose sum is the text's vector; those of a one-line text once."""
        words = set(words_of(text))
        first, newline, _ = text.lstrip().partition("\n")
        if not newline:
            return list(chain.from_iterable(map(self.__getitem__, words)))
        return list(chain.from_iterable(map(self.__getitem__, [*words, *set(words_of(first))])))

    def __missing__(self, word: str) -> tuple[int, ...]:
        rows: list[int] = []
        for part in parts(word):
            if part in self._row_of_word:
                rows.append(self._row_of_word[part])
            else:
                rows.extend(self._row_of_id[i] for i in self._tokenizer.word_ids(part) if i in self._row_of_id)
        found = tuple(rows)
        if len(word) <= _MAX_WORD and len(self) < _MAX_CACHED:
            self[word] = found
        return found


def parts(word: str) -> list[str]:
    """The lower-cased parts of an identifier; none of one too long to be a name, unless it is not in ASCII letters."""
    if len(word) > _MAX_WORD and word.isascii():
        return []
    return [part.lower() for part in _PARTS.findall(word)]
