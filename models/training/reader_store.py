"""Questions, chunks and answers as a few flat arrays that several examples share."""

from __future__ import annotations

import io
import lzma
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from selfroute.models.span_windows import MAX_TEXT, Pieces, read_header, read_question, read_text, windows
from selfroute.models.tokenizer import wordpiece

N_COLUMNS = 12  # windows that one example can name
MAX_GROUPS = 8  # answers of a list that are asked for
NONE = 0xFFFFFFFF
SOURCES = (
    *("squad", "squad-held", "changed", "human", "human-held", "policy", "covid", "code", "code-held"),
    *("other", "other-held"),
)

Place = tuple[int, int, int]
"""A window: its row in the table of windows, and the tokens [first, end) of its text that it holds."""


class Builder:
    """Collects examples; a text, a header or a question that comes again is stored once."""

    def __init__(self) -> None:
        self._pool: list[NDArray[np.uint16]] = []
        self._size = 0
        self._stored: dict[bytes, int] = {}
        self._chunks: dict[tuple[str, str, str], list[Place]] = {}
        self._pieces: dict[int, Pieces] = {}  # window -> tokens of its whole text
        self._windows: list[tuple[int, int, int, int, int, int, int]] = []
        self._questions: dict[str, int] = {}
        self._question_rows: list[tuple[int, int]] = []
        self._examples: list[tuple[int, int, int, int]] = []  # question, source, n_gold, cut
        self._columns: list[list[int]] = []
        self._spans: list[tuple[int, int, int, int, int]] = []  # example, column, start, end, group
        self._counts: Counter[str] = Counter()

    def chunk(self, path: str, symbol: str, text: str) -> list[Place]:
        """The windows of a chunk."""
        key = (path, symbol, text)
        if key not in self._chunks:
            pieces = read_text(wordpiece(), text)
            self._chunks[key] = self._store(path, symbol, pieces, (0, 0))
        return self._chunks[key]

    def cut_chunk(self, path: str, symbol: str, text: str, gone: tuple[int, int]) -> list[Place] | None:
        """The window of a chunk without the characters [start, end); None for one of several windows."""
        places = self.chunk(path, symbol, text)
        if len(places) > 1:
            return None
        first, last = self._pieces[places[0][0]].tokens_of(*gone)
        row = self._windows[places[0][0]]
        self._windows.append((*row[:4], first, last + 1 - first, row[6]))
        return [(len(self._windows) - 1, 0, 0)]

    def example(
        self,
        source: str,
        question: str,
        gold: Sequence[list[Place]],
        spans: Sequence[tuple[int, int, int, int]],
        others: Sequence[list[Place]],
        cut: list[Place] | None = None,
    ) -> None:
        """One question. gold: chunks that are always shown. spans: (place in gold, start, end, group), characters.

        group: answers of one group are the same answer; each group is to be found. cut: shown instead of the gold
        chunk now and then, and then nothing answers.
        """
        found = []
        for at, start, end, group in spans:
            for place in gold[at]:
                first, last = self._pieces[place[0]].tokens_of(start, end)
                if first <= last and place[1] <= first and last < place[2] and group < MAX_GROUPS:
                    found.append((place[0], first - place[1], last - place[1], group))
        right = {row for row, *_ in found}
        if spans and not right:
            self._counts["without answer token"] += 1
            return
        rows = [place[0] for places in gold for place in places]
        rows = [row for row in dict.fromkeys(rows) if row in right] + [row for row in rows if row not in right]
        rows = rows[:N_COLUMNS]
        n_gold = len(rows) if not spans else max(1, sum(row in right for row in rows))
        rows += [places[0][0] for places in others if places[0][0] not in rows]
        rows = rows[:N_COLUMNS]
        column = {row: n for n, row in reversed(list(enumerate(rows)))}
        for row, first, last, group in sorted(set(found)):
            if row in column:
                self._spans.append((len(self._examples), column[row], first, last, group))
        self._columns.append(rows + [NONE] * (N_COLUMNS - len(rows)))
        self._examples.append((self._question(question), SOURCES.index(source), n_gold, cut[0][0] if cut else NONE))
        self._counts[source] += 1
        self._counts[f"{source} unanswerable"] += not spans

    def counts(self) -> dict[str, int]:
        """Examples of each source, windows and tokens."""
        return {**self._counts, "windows": len(self._windows), "tokens": self._size}

    def write(self, path: Path) -> bytes:
        """Writes the arrays, compressed; returns the bytes of the file.

        pool: all tokens. questions: start, length. windows: header's start and length, text's start and length, cut's
        place and length within the text, source. examples: question, source, gold columns, cut window.
        columns: windows of each example, gold ones first. spans: example, column, first and last token, group.
        """
        arrays: dict[str, NDArray[np.generic]] = {
            "pool": np.concatenate(self._pool),
            "questions": np.array(self._question_rows, np.uint32),
            "windows": np.array(self._windows, np.uint32),
            "examples": np.array(self._examples, np.uint32),
            "columns": np.array(self._columns, np.uint32),
            "spans": np.array(self._spans, np.uint32),
        }
        raw = io.BytesIO()
        # Transposed: what is alike stands together, which halves the compressed size of the tables.
        np.savez(raw, **{k: np.ascontiguousarray(a.T) for k, a in arrays.items()})  # type: ignore[arg-type]
        filters = [{"id": lzma.FILTER_LZMA2, "preset": 6, "lc": 2, "lp": 1, "pb": 1, "dict_size": 1 << 26}]
        content = lzma.compress(raw.getvalue(), filters=filters)
        path.write_bytes(content)
        return content

    def _store(self, path: str, symbol: str, pieces: Pieces, cut: tuple[int, int]) -> list[Place]:
        header = read_header(wordpiece(), path, symbol)
        head, body = self._put(header), self._put(pieces.ids)
        places = []
        for first, end in windows(len(pieces)):
            assert end - first <= MAX_TEXT
            self._windows.append((head, len(header), body + first, end - first, *cut, 0))
            places.append((len(self._windows) - 1, first, end))
            self._pieces[places[-1][0]] = pieces
        return places

    def _question(self, question: str) -> int:
        if question not in self._questions:
            ids = read_question(wordpiece(), question)
            self._questions[question] = len(self._question_rows)
            self._question_rows.append((self._put(ids), len(ids)))
        return self._questions[question]

    def _put(self, ids: Sequence[int]) -> int:
        array = np.array(ids, np.uint16)
        key = array.tobytes()
        if key not in self._stored:
            self._stored[key] = self._size
            self._pool.append(array)
            self._size += len(array)
        return self._stored[key]
