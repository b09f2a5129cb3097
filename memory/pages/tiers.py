"""What is kept of the pages above the disk: gathered arrays, by what was gathered, within a budget of bytes."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from threading import RLock
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(slots=True)
class _Entry(Generic[T]):
    value: T
    n_bytes: int
    hashes: Sequence[str]
    pass_number: int


class Tier(Generic[T]):
    """Least recently used goes first, but for what belongs to the same pass over the pages as what would take its
    place: of a corpus that is larger than the budget, each pass finds as much as fits, where plain LRU finds nothing.
    """

    def __init__(self, budget_bytes: int) -> None:
        self.budget_bytes, self.used_bytes = budget_bytes, 0
        self._entries: OrderedDict[tuple[str, str], _Entry[T]] = OrderedDict()
        self._pages: Counter[str] = Counter()
        self._pass = 0
        self._lock = RLock()

    def begin(self) -> None:
        """A new pass over the pages begins: a question, as a rule."""
        with self._lock:
            self._pass += 1

    def get(self, key: tuple[str, str]) -> T | None:
        """What is kept under a key (which pages, which array), or None."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                return None
            self._entries.move_to_end(key)
            entry.pass_number = self._pass
            return entry.value

    def put(self, key: tuple[str, str], value: T, n_bytes: int, hashes: Sequence[str]) -> bool:
        """Keeps a value if there is room, or can be made. hashes: the pages that it is made of."""
        with self._lock:
            self._drop(key)
            excess = self.used_bytes + n_bytes - self.budget_bytes
            gone = []
            for other, entry in self._entries.items():
                if excess <= 0:
                    break
                if entry.pass_number < self._pass:
                    gone.append(other)
                    excess -= entry.n_bytes
            if excess > 0:
                return False
            for other in gone:
                self._drop(other)
            self._entries[key] = _Entry(value, n_bytes, hashes, self._pass)
            self.used_bytes += n_bytes
            self._pages.update(hashes)
            return True

    def holds(self, content_hash: str) -> bool:
        """Whether any array of a page is here."""
        return self._pages[content_hash] > 0

    @property
    def n_pages(self) -> int:
        """Pages of which any array is here."""
        return len(self._pages)

    def clear(self) -> None:
        """Gives all memory back."""
        with self._lock:
            self._entries.clear()
            self._pages.clear()
            self.used_bytes = 0

    def _drop(self, key: tuple[str, str]) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self.used_bytes -= entry.n_bytes
            self._pages.subtract(entry.hashes)
            self._pages = +self._pages
