"""What generated tasks are made of, as tokens: words, random names and numbers, sentences of prose, lines of code."""

from __future__ import annotations

import math
import random
import re
import string
import sysconfig
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from selfroute.models.tokenizer import wordpiece
from selfroute.models.training.paged_ragged import Ints, Ragged, join, repeated

FILE = "material.npz"
N_NAMES = 6000  # of each kind, drawn anew now and then
MAX_SENTENCE, MAX_LINE = 60, 48  # tokens
_PARTS = re.compile(r"[a-zA-Z0-9]+|[^a-zA-Z0-9]")
_LETTERS, _ALNUM = string.ascii_lowercase, string.ascii_lowercase + string.digits

Maker = Callable[[random.Random], str]


def _drawn(alphabet: str, n: int) -> Maker:
    return lambda r: "".join(r.choices(alphabet, k=n))


def _uuid(r: random.Random) -> str:
    return str(uuid.UUID(int=r.getrandbits(128), version=4))


NAMES: dict[str, Maker] = {
    "letters": _drawn(_LETTERS, 8),
    "letters16": _drawn(_LETTERS, 16),
    "capitals": _drawn(string.ascii_uppercase, 5),
    "alnum": _drawn(_ALNUM, 8),
    "hex": _drawn("0123456789abcdef", 8),
    "number": lambda r: str(r.randint(10**6, 10**7 - 1)),
    "number5": lambda r: str(r.randint(10**4, 10**5 - 1)),
    "uuid": _uuid,
}


@dataclass(slots=True)
class Material:
    """words: one word a row. prose: a sentence a row. code: a line a row. names: by kind."""

    words: Ragged
    prose: Ragged
    code: Ragged
    names: dict[str, Ragged] = field(default_factory=dict)

    @classmethod
    def load(cls, folder: Path | None, seed: int) -> Material:
        """That of a prepared folder; of the standard library and the vocabulary without one."""
        path = folder / FILE if folder else None
        if path is None or not path.is_file():
            made = standard()
        else:
            with np.load(path) as arrays:
                words, prose, code = (Ragged(arrays[n], arrays[n + "_at"]) for n in ("words", "prose", "code"))
                made = cls(words, prose, code)
        made.renew(seed)
        return made

    def renew(self, seed: int, kinds: Iterable[str] = NAMES, n: int = N_NAMES) -> None:
        """Draws the random names of some kinds anew, n different ones of each as far as there are so many."""
        for kind in kinds:
            r, make = random.Random(f"{kind} {seed}"), NAMES[kind]
            texts = list(dict.fromkeys(make(r) for _ in range(n)))
            self.names[kind] = Ragged.of([spelled(text) for text in texts])

    def drawn(self, kind: str, n: int, rng: np.random.Generator) -> Ragged:
        """n different names of a kind, as far as there are so many; "pair" is word-word, "pieces" are random tokens."""
        if kind == "word":
            return self.words.take(distinct(rng, len(self.words), n))
        if kind == "pair":
            least = math.isqrt(n + n // 4) + 1  # as few words as there may be, each in many pairs
            size = min(len(self.words), max(least, int(rng.choice([36, 400, len(self.words)]))))
            code = distinct(rng, size * size, n)
            pool = rng.choice(len(self.words), size, replace=False)
            one, other = self.words.take(pool[code // size]), self.words.take(pool[code % size])
            return join([one, repeated(tokens("-"), n), other])[0]
        if kind == "pieces":
            size, length = int(rng.choice([64, 512, 20000])), int(rng.integers(3, 7))
            pool = rng.choice(np.arange(2000, 29000), size, replace=False)
            rows = np.unique(rng.integers(0, size, (n + n // 8 + 8, length)), axis=0)
            rows = pool[rng.permutation(rows)[:n]].astype(np.uint16)
            return Ragged(rows.ravel(), np.arange(len(rows) + 1) * length)
        pool_of_names = self.names[kind]
        return pool_of_names.take(distinct(rng, len(pool_of_names), n))


def distinct(rng: np.random.Generator, size: int, n: int) -> Ints:
    """n numbers below size, different as far as possible."""
    if n > size // 2:
        return np.concatenate([rng.permutation(size) for _ in range(-(-n // size))])[:n].astype(np.int64)
    found = np.unique(rng.integers(0, size, n + n // 2 + 8))
    while len(found) < n:
        found = np.unique(np.concatenate([found, rng.integers(0, size, n)]))
    return rng.permutation(found)[:n].astype(np.int64)


_TOKENS: dict[str, tuple[int, ...]] = {}


def tokens(text: str) -> tuple[int, ...]:
    """The tokens of a piece of a template; cached."""
    if text not in _TOKENS:
        _TOKENS[text] = tuple(wordpiece().pieces(text)[0])
    return _TOKENS[text]


def spelled(text: str) -> list[int]:
    """The tokens of a name that will not come again."""
    found: list[int] = []
    for part in _PARTS.findall(text):
        found.extend(wordpiece()._match(part.lower()))  # what pieces() gives, without filling its cache
    return found


def sentences(text: str) -> list[list[int]]:
    """The tokens of each sentence of a text, those of a length that pages have room for."""
    text = re.sub(r"\s+", " ", text)
    parts = re.split(r"(?<=[.!?])[\"')\]]*\s+(?=[A-Z\"'(])", text)
    rows = [wordpiece().pieces(part)[0] for part in parts]
    return [row for row in rows if 4 <= len(row) <= MAX_SENTENCE]


def code_lines(text: str) -> list[list[int]]:
    """The tokens of each line that has any."""
    rows = (wordpiece().pieces(line)[0][:MAX_LINE] for line in text.split("\n"))
    return [row for row in rows if row]


def standard(n_files: int = 60) -> Material:
    """Words of the vocabulary, docstrings and lines of the standard library."""
    known = wordpiece().vocabulary
    words = [[i] for i, word in enumerate(known) if i > 2000 and word.isascii() and word.isalpha() and len(word) > 3]
    prose: list[list[int]] = []
    code: list[list[int]] = []
    folder = Path(sysconfig.get_path("stdlib"))
    for path in sorted(folder.glob("*.py"))[:n_files]:
        text = path.read_text(encoding="utf-8", errors="replace")
        for block in re.findall(r'"""(.+?)"""', text, re.S):
            prose += sentences(block)
        code += code_lines(text)[:1500]
    return Material(Ragged.of(words), Ragged.of(prose), Ragged.of(code))


def any_of_two(rng: np.random.Generator, one: Ragged, other: Ragged) -> Ragged:
    """Either."""
    return one if rng.random() < 0.5 else other
