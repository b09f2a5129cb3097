"""The page table of one model as it was read into memory: found by hash, and as arrays for many pages at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from selfroute.memory.pages.table import PageRow

HEAD, BODY = 1, 2  # bits of `checked`
COLUMNS = ("row", "n_tokens", "segment", "offset", "size", "head_sum", "body_sum")


class Rows:
    """Pages of one model: the i-th of each array is one page. Arrays are replaced, never changed, but for `checked`.

    columns: int64, by name. checked: which parts of its record this process has compared with their checksums.
    """

    def __init__(self, pages: Sequence[PageRow] = (), before: Rows | None = None) -> None:
        """before: the same model at an earlier state; what was checked then stays so where it did not move."""
        self.at: dict[str, int] = {}
        self.hashes: list[str] = []
        self.columns = dict.fromkeys(COLUMNS, np.empty(0, np.int64))
        self.checked: NDArray[np.uint8] = np.empty(0, np.uint8)
        self.last = 0
        self.add(pages)
        if before is not None and len(before.hashes) and pages:
            self._keep_checked(before)

    def __len__(self) -> int:
        return len(self.at)

    def add(self, pages: Sequence[PageRow]) -> None:
        """Adds pages of higher rows."""
        if not pages:
            return
        first = len(self.hashes)
        row, hashes, *others = zip(*pages, strict=True)
        fresh = {name: np.array(values, np.int64) for name, values in zip(COLUMNS, (row, *others), strict=True)}
        self.columns = {name: np.concatenate([self.columns[name], fresh[name]]) for name in COLUMNS}
        self.checked = np.concatenate([self.checked, np.zeros(len(pages), np.uint8)])
        self.hashes = [*self.hashes, *hashes]
        self.at.update(zip(hashes, range(first, first + len(hashes)), strict=True))
        self.last = int(row[-1])

    def find(self, hashes: Sequence[str]) -> NDArray[np.int64]:
        """Where each page is, or -1."""
        at = self.at
        return np.fromiter((at.get(name, -1) for name in hashes), np.int64, len(hashes))

    def page(self, at: int) -> PageRow:
        """The row of a page."""
        row, *others = (int(self.columns[name][at]) for name in COLUMNS)
        return PageRow(row, self.hashes[at], *others)

    def forget(self, places: Iterable[int]) -> None:
        """Has pages no longer found."""
        for place in places:
            self.at.pop(self.hashes[place], None)

    def _keep_checked(self, before: Rows) -> None:
        old, new = before.columns, self.columns
        place = np.minimum(np.searchsorted(old["row"], new["row"]), len(before.hashes) - 1)
        same = np.ones(len(self.hashes), bool)
        for name in COLUMNS:
            same &= old[name][place] == new[name]
        self.checked = np.where(same, before.checked[place], 0).astype(np.uint8)
