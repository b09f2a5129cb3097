"""The page table, in SQLite: which page of which model lies where, and how often it was used.

Rows of pages are numbered upwards and no number is used twice, so a reader that has read to a number need only read on
from there; after pages were dropped or moved, which `dropped` counts, it reads them all again. The same holds for
segments: who has an older state of the table never finds other pages under a number that it knows.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from selfroute.memory.database import connect, log_ahead

FILE = "pages.db"
FORMAT = 1
_APPLICATION = 0x73725F70
_FOLD_AFTER = 200  # touches that are kept before they are added up
_SCHEMA = (
    "CREATE TABLE counts (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID",
    "INSERT INTO counts VALUES ('dropped', 0)",
    "CREATE TABLE models (model INTEGER PRIMARY KEY AUTOINCREMENT, mark TEXT NOT NULL UNIQUE,"
    " fingerprint TEXT NOT NULL, layout TEXT NOT NULL, made REAL NOT NULL)",
    "CREATE TABLE segments (segment INTEGER PRIMARY KEY AUTOINCREMENT, model INTEGER NOT NULL, used INTEGER NOT NULL)",
    "CREATE TABLE pages (row INTEGER PRIMARY KEY AUTOINCREMENT, model INTEGER NOT NULL, hash TEXT NOT NULL,"
    " n_tokens INTEGER NOT NULL, segment INTEGER NOT NULL, offset INTEGER NOT NULL, size INTEGER NOT NULL,"
    " head_sum INTEGER NOT NULL, body_sum INTEGER NOT NULL, seconds REAL NOT NULL, made REAL NOT NULL,"
    " uses INTEGER NOT NULL DEFAULT 0, last_use REAL NOT NULL)",
    "CREATE UNIQUE INDEX of_model ON pages (model, hash)",
    "CREATE TABLE touches (touch INTEGER PRIMARY KEY, model INTEGER NOT NULL, at REAL NOT NULL, rows BLOB NOT NULL)",
    "CREATE TABLE hits (model INTEGER NOT NULL, tier TEXT NOT NULL, pages INTEGER NOT NULL,"
    " PRIMARY KEY (model, tier)) WITHOUT ROWID",
    f"PRAGMA application_id = {_APPLICATION}",
    f"PRAGMA user_version = {FORMAT}",
)


# Rows whose values are of the types that were written; SQLite does not notice a flipped bit.
_SOUND = "typeof(hash) = 'text' AND " + " AND ".join(
    f"typeof({name}) = '{kind}'"
    for kind, names in (
        ("integer", ("n_tokens", "segment", "offset", "size", "head_sum", "body_sum", "uses")),
        ("real", ("seconds", "made", "last_use")),
    )
    for name in names
)


class NotOursError(Exception):
    """The file is another program's, or of another format. newer: a newer version of selfroute made it."""

    def __init__(self, found: int = 0) -> None:
        self.found = found
        self.newer = found > FORMAT
        super().__init__(f"format {found}")


class ModelRow(NamedTuple):
    """A model that pages were kept of. mark: see checksums.mark(); layout: its fields as JSON."""

    model: int
    mark: str
    fingerprint: str
    layout: str


class PageRow(NamedTuple):
    """Where a page lies, and what its record must be."""

    row: int
    hash: str
    n_tokens: int
    segment: int
    offset: int
    size: int
    head_sum: int
    body_sum: int


class Worth(NamedTuple):
    """What eviction goes by, of P pages: (P,) arrays. ages, silences: seconds since made and since the last use."""

    rows: NDArray[np.int64]
    models: NDArray[np.int64]
    segments: NDArray[np.int64]
    sizes: NDArray[np.int64]
    seconds: NDArray[np.float64]
    ages: NDArray[np.float64]
    silences: NDArray[np.float64]
    uses: NDArray[np.float64]
    hashes: list[str]


class PageTable:
    """One connection to the page table of a folder; for one thread at a time. Raises sqlite3.Error."""

    def __init__(self, folder: Path, *, create: bool) -> None:
        """Raises sqlite3.Error, ValueError for a link, NotOursError."""
        self.path = folder / FILE
        self._db = connect(folder, create=create, name=FILE)
        try:
            self._db.execute("PRAGMA trusted_schema = OFF")
            if create:
                log_ahead(self._db)
            if not self._is_ours():
                if not create:
                    raise NotOursError
                with self.transaction():
                    if not self._is_ours():  # by now
                        for statement in _SCHEMA:
                            self._db.execute(statement)
            self._inode = self.path.stat().st_ino
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Closes the connection."""
        with suppress(sqlite3.Error):
            self._db.close()

    @property
    def replaced(self) -> bool:
        """Whether the file was deleted or is another by now."""
        try:
            return self.path.stat().st_ino != self._inode
        except OSError:
            return True

    def version(self) -> int:
        """Another number after another connection changed anything."""
        return self._number("PRAGMA data_version")

    def dropped(self) -> int:
        """How often pages were dropped or moved."""
        return self._number("SELECT value FROM counts WHERE name = 'dropped'")

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")
            raise

    # reading

    def models(self) -> list[ModelRow]:
        """Every model."""
        return [ModelRow(*row) for row in self._db.execute("SELECT model, mark, fingerprint, layout FROM models")]

    def pages(self, model: int, after: int = 0) -> list[PageRow]:
        """Pages of a model whose row is above `after`, in the order of rows. What is no row of ours is left out."""
        query = (
            "SELECT row, hash, n_tokens, segment, offset, size, head_sum, body_sum FROM pages"
            f" WHERE model = ? AND row > ? AND {_SOUND} ORDER BY row"
        )
        return [PageRow(*row) for row in self._db.execute(query, (model, after))]

    def n_unsound(self) -> int:
        """Rows of pages that cannot be what was written. They are never found."""
        return self._number(f"SELECT COUNT(*) FROM pages WHERE NOT ({_SOUND})")

    def segments(self) -> dict[int, tuple[int, int, int]]:
        """Segment -> its model, the bytes that count of its file, and the bytes of pages among them."""
        live = f"SELECT segment, SUM(size) FROM pages WHERE {_SOUND} GROUP BY segment"
        sizes = dict(self._db.execute(live).fetchall())
        query = "SELECT segment, model, used FROM segments"
        return {segment: (model, used, sizes.get(segment, 0)) for segment, model, used in self._db.execute(query)}

    def used_bytes(self) -> int:
        """Bytes that count of all segments."""
        return self._number("SELECT COALESCE(SUM(used), 0) FROM segments")

    def open_segment(self, model: int) -> tuple[int, int] | None:
        """The newest segment of a model, and the bytes that count of it."""
        query = "SELECT segment, used FROM segments WHERE model = ? ORDER BY segment DESC LIMIT 1"
        found: tuple[int, int] | None = self._db.execute(query, (model,)).fetchone()
        return found

    def next_segment(self) -> int:
        """A number that no segment ever had."""
        return self._number("SELECT COALESCE(MAX(seq), 0) + 1 FROM sqlite_sequence WHERE name = 'segments'")

    def worth(self, model: int | None = None) -> Worth:
        """What is known of the use of every page, or of a model's."""
        self.fold()
        query = (
            "SELECT row, model, segment, size, seconds, made, last_use, uses, hash FROM pages"
            f" WHERE (? IS NULL OR model = ?) AND {_SOUND} ORDER BY row"
        )
        found = self._db.execute(query, (model, model)).fetchall()
        columns = list(zip(*found, strict=True)) or [()] * 9
        rows, models, segments, sizes = (np.array(column, np.int64) for column in columns[:4])
        seconds, made, last, uses = (np.array(column, np.float64) for column in columns[4:8])
        now = time.time()
        ages = np.maximum(0.0, now - made)
        silences = np.clip(now - last, 0.0, ages)
        return Worth(rows, models, segments, sizes, seconds, ages, silences, uses, list(columns[8]))

    def counts(self) -> list[tuple[int, int, int, int, float]]:
        """Of every model that has pages: model, pages, tokens, bytes, seconds that it took to encode them."""
        totals = "COUNT(*), SUM(n_tokens), SUM(size), SUM(seconds)"
        query = f"SELECT model, {totals} FROM pages WHERE {_SOUND} GROUP BY model"
        return self._db.execute(query).fetchall()

    def hits(self) -> dict[tuple[int, str], int]:
        """(model, tier) -> pages that were found there; tier "" are those that had to be encoded."""
        return {(model, tier): n for model, tier, n in self._db.execute("SELECT model, tier, pages FROM hits")}

    def wrong(self) -> list[str]:
        """What SQLite itself finds wrong with its file."""
        found = [str(row[0]) for row in self._db.execute("PRAGMA integrity_check(20)")]
        return [] if found == ["ok"] else found

    # writing; dropping and moving pages is for the one who holds the writer's lock

    def add_model(self, mark: str, fingerprint: str, layout: str) -> None:
        """Adds a model. Of one that is there with another layout, all pages are dropped."""
        with self.transaction():
            known = self._db.execute("SELECT model, layout FROM models WHERE mark = ?", (mark,)).fetchone()
            if known is not None and known[1] != layout:
                self._db.execute("DELETE FROM pages WHERE model = ?", (known[0],))
                self._db.execute("UPDATE models SET layout = ? WHERE model = ?", (layout, known[0]))
                self._has_dropped()
            elif known is None:
                columns = "(mark, fingerprint, layout, made)"
                values = (mark, fingerprint, layout, time.time())
                self._db.execute(f"INSERT INTO models {columns} VALUES (?, ?, ?, ?)", values)

    def add_pages(
        self, model: int, segment: int, used: int, pages: Sequence[PageRow], seconds: Sequence[float]
    ) -> None:
        """Adds pages that were written to a segment, of which `used` bytes count then. Their row is given anew."""
        now = time.time()
        with self.transaction():
            self._db.execute(
                "INSERT INTO segments VALUES (?, ?, ?) ON CONFLICT (segment) DO UPDATE SET used = excluded.used",
                (segment, model, used),
            )
            self._db.executemany(
                "INSERT OR REPLACE INTO pages (model, hash, n_tokens, segment, offset, size, head_sum, body_sum,"
                " seconds, made, last_use) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [(model, *page[1:], cost, now, now) for page, cost in zip(pages, seconds, strict=True)],
            )

    def drop(self, rows: Iterable[int]) -> None:
        """Drops pages by row."""
        with self.transaction():
            self._db.executemany("DELETE FROM pages WHERE row = ?", [(int(row),) for row in rows])
            self._has_dropped()

    def drop_damaged(self, pages: Iterable[PageRow]) -> None:
        """Drops pages if they still lie where they were found damaged. Needs no lock."""
        places = [(page.row, page.segment, page.offset) for page in pages]
        with self.transaction():
            self._db.executemany("DELETE FROM pages WHERE row = ? AND segment = ? AND offset = ?", places)
            self._db.execute(f"DELETE FROM pages WHERE NOT ({_SOUND})")
            self._has_dropped()

    def move(self, pages: Sequence[PageRow], model: int, segment: int, used: int) -> None:
        """Notes that pages lie elsewhere now: the segment and offset that they name."""
        with self.transaction():
            self._db.execute(
                "INSERT INTO segments VALUES (?, ?, ?) ON CONFLICT (segment) DO UPDATE SET used = excluded.used",
                (segment, model, used),
            )
            self._db.executemany(
                "UPDATE pages SET segment = ?, offset = ? WHERE row = ?",
                [(page.segment, page.offset, page.row) for page in pages],
            )
            self._has_dropped()

    def drop_segment(self, segment: int) -> None:
        """Forgets a segment, and whatever pages still lie in it. That is on the disk then, and so is all before: a
        power cut brings back no row of a file that was deleted after this."""
        self._db.execute("PRAGMA synchronous = FULL")
        try:
            with self.transaction():
                gone = self._db.execute("DELETE FROM pages WHERE segment = ?", (segment,)).rowcount
                self._db.execute("DELETE FROM segments WHERE segment = ?", (segment,))
                if gone:
                    self._has_dropped()
        finally:
            self._db.execute("PRAGMA synchronous = NORMAL")

    def touch(self, model: int, rows: NDArray[np.int64], hits: dict[str, int]) -> None:
        """Notes that pages were used now, and where they were found. rows: (n,). Needs no lock."""
        rows = np.unique(rows)
        firsts = rows[np.diff(rows, prepend=-1) != 1]
        lasts = rows[np.diff(rows, append=1 << 62) != 1]
        ranges = np.column_stack([firsts, lasts]).astype("<i8").tobytes()
        with self.transaction():
            if ranges:
                values = (model, time.time(), ranges)
                self._db.execute("INSERT INTO touches (model, at, rows) VALUES (?, ?, ?)", values)
            self._db.executemany(
                "INSERT INTO hits VALUES (?, ?, ?)"
                " ON CONFLICT (model, tier) DO UPDATE SET pages = pages + excluded.pages",
                [(model, tier, n) for tier, n in hits.items() if n],
            )
        if self._number("SELECT COUNT(*) FROM touches") > _FOLD_AFTER:
            self.fold()

    def fold(self) -> None:
        """Adds up what touch() noted, page by page."""
        if not self._number("SELECT EXISTS (SELECT 1 FROM touches)") or not os.access(self.path, os.W_OK):
            return
        with self.transaction():
            for model, at, ranges in self._db.execute("SELECT model, at, rows FROM touches").fetchall():
                pairs = np.frombuffer(ranges[: len(ranges) // 16 * 16], "<i8").reshape(-1, 2).tolist()
                self._db.executemany(
                    "UPDATE pages SET uses = uses + 1, last_use = MAX(last_use, ?)"
                    " WHERE row BETWEEN ? AND ? AND model = ?",
                    [(at, first, last, model) for first, last in pairs],
                )
            self._db.execute("DELETE FROM touches")

    def _has_dropped(self) -> None:
        self._db.execute("UPDATE counts SET value = value + 1 WHERE name = 'dropped'")

    def _number(self, query: str) -> int:
        return int(self._db.execute(query).fetchone()[0])

    def _is_ours(self) -> bool:
        """False for a file that holds nothing. Raises NotOursError for one that holds something else."""
        marks = tuple(self._number(f"PRAGMA {name}") for name in ("application_id", "user_version"))
        if marks == (_APPLICATION, FORMAT):
            return True
        if marks != (0, 0) or self._number("SELECT COUNT(*) FROM sqlite_master"):
            raise NotOursError(marks[1] if marks[0] == _APPLICATION else 0)
        return False
