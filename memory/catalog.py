"""What ranking knows of each chunk besides its words: its file, the names it defines, and what kind of file that is."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cached_property, lru_cache
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

# Kinds of files by their path, as ranking treats them. The first pattern that matches names the kind.
SOURCE, TEST, EXAMPLE, DOCS, COMPAT, DECLARATIONS, LOG = range(7)
_KINDS = (
    (
        TEST,
        re.compile(
            r"(^|/)(tests?|testing_?data|__tests__|spec|specs|fixtures|testdata)/|(^|/)(test_[^/]*|conftest\.py)$"
            r"|_test\.\w+$|\.(test|spec)\.\w+$",
            re.I,
        ),
    ),
    (EXAMPLE, re.compile(r"(^|/)(examples?|samples?|demos?|tutorials?|docs_src|benchmarks?|bench)/", re.I)),
    (
        LOG,
        re.compile(
            r"(^|/)(change(s|log)|history|news|releases?|release[-_]notes|whatsnew)[^/]*(/|\.(md|rst|txt)$|$)", re.I
        ),
    ),
    (DECLARATIONS, re.compile(r"\.(d\.ts|pyi)$", re.I)),
    (COMPAT, re.compile(r"(^|/)(_?compat|legacy|deprecated|_vendor|vendor|vendored|third_party|six)(/|\.\w+$)", re.I)),
    (DOCS, re.compile(r"(^|/)(docs?|documentation|\.github)/|\.(md|rst|txt|adoc)$", re.I)),
)


def path_kind(path: str) -> int:
    """SOURCE, TEST, EXAMPLE, DOCS, COMPAT, DECLARATIONS or LOG."""
    return next((kind for kind, pattern in _KINDS if pattern.search(path)), SOURCE)


class Catalog:
    """paths: documents, in row order. file_of_row: (N,) int32 into paths. n_tokens: (N,) int32. names: per row, those
    it defines."""

    def __init__(
        self,
        paths: Sequence[str],
        file_of_row: NDArray[np.int32],
        n_tokens: NDArray[np.int32],
        names: Sequence[str],
        symbols: Sequence[str],
    ) -> None:
        self.paths, self.file_of_row, self.n_tokens = list(paths), file_of_row, n_tokens
        self._names, self._symbols = list(names), list(symbols)

    @classmethod
    def empty(cls) -> Catalog:
        """No rows."""
        return cls([], np.empty(0, np.int32), np.empty(0, np.int32), [], [])

    def names(self, row: int) -> list[str]:
        """Qualified names of the definitions that start in the chunk."""
        return self._names[row].split("\x1f") if self._names[row] else []

    def all_names(self) -> set[str]:
        """The last names of everything that is defined."""
        return {name.rpartition(".")[2] for names in self._names if names for name in names.split("\x1f")}

    def symbol(self, row: int) -> str:
        """The qualified name that the chunk belongs to."""
        return self._symbols[row]

    @cached_property
    def kinds(self) -> NDArray[np.int8]:
        """(files,) int8: path_kind of every path."""
        return np.fromiter(map(path_kind, self.paths), np.int8, len(self.paths))

    @cached_property
    def file_starts(self) -> NDArray[np.int64]:
        """(files + 1,) int64: rows of file f are file_starts[f] to file_starts[f + 1]."""
        return np.searchsorted(self.file_of_row, np.arange(len(self.paths) + 1))

    def merged(
        self,
        origin: NDArray[np.int64],
        added: Sequence[tuple[str, int, str, str]],
    ) -> Catalog:
        """The catalog whose row i is old row origin[i], or added[-origin[i] - 1] = (path, n_tokens, names, symbol)."""
        path_of: list[str] = []
        n_tokens = np.empty(len(origin), np.int32)
        names: list[str] = []
        symbols: list[str] = []
        old_files = self.file_of_row.tolist()
        for i, row in enumerate(origin.tolist()):
            if row >= 0:
                path, count, name, symbol = self.paths[old_files[row]], 0, self._names[row], self._symbols[row]
            else:
                path, count, name, symbol = added[-row - 1]
            path_of.append(path)
            n_tokens[i] = count
            names.append(name)
            symbols.append(symbol)
        old = origin >= 0
        n_tokens[old] = self.n_tokens[origin[old]]
        number: dict[str, int] = {}
        file_of_row = np.fromiter((number.setdefault(path, len(number)) for path in path_of), np.int32, len(path_of))
        return Catalog(list(number), file_of_row, n_tokens, names, symbols)

    def to_arrays(self, prefix: str) -> dict[str, NDArray[np.generic]]:
        """The arrays to store, named with the prefix."""
        return {
            f"{prefix}.paths": _joined(self.paths),
            f"{prefix}.file_of_row": self.file_of_row,
            f"{prefix}.n_tokens": self.n_tokens,
            f"{prefix}.names": _joined(self._names),
            f"{prefix}.symbols": _joined(self._symbols),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[np.generic]], prefix: str) -> Catalog:
        """The inverse of to_arrays."""
        n_rows = len(arrays[f"{prefix}.file_of_row"])
        files = _split(arrays[f"{prefix}.paths"]) if n_rows else []
        return cls(
            files,
            arrays[f"{prefix}.file_of_row"],  # type: ignore[arg-type]
            arrays[f"{prefix}.n_tokens"],  # type: ignore[arg-type]
            _split(arrays[f"{prefix}.names"]) if n_rows else [],
            _split(arrays[f"{prefix}.symbols"]) if n_rows else [],
        )


@lru_cache(1 << 16)
def path_text(path: str) -> str:
    """The words of a path: its folders, its name without the ending."""
    pure = PurePosixPath(path.partition("#")[0])
    return " ".join([*pure.parts[:-1], pure.name.split(".")[0]])


@lru_cache(1 << 16)
def stem_text(path: str) -> str:
    """The words of a file's name; those of its folder when the name says nothing (__init__, index, main, mod)."""
    pure = PurePosixPath(path.partition("#")[0])
    stem = pure.name.split(".")[0]
    return pure.parent.name if stem in {"__init__", "__main__", "index", "main", "mod", "lib"} else stem


def _joined(texts: Sequence[str]) -> NDArray[np.uint8]:
    return np.frombuffer("\x1e".join(texts).encode("utf-8", "surrogatepass"), np.uint8)


def _split(array: NDArray[np.generic]) -> list[str]:
    return array.tobytes().decode("utf-8", "surrogatepass").split("\x1e")
