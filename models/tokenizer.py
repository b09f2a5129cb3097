"""BERT's uncased WordPiece, token for token, fast enough to run over every line of a repository.

The text is cut once by a regular expression into runs of word characters and runs of ASCII punctuation; a dictionary
maps each run to its ids, so that normalising and matching happen once per distinct run, not once per occurrence.
Whatever is not plain ASCII counts as a word character there and is cleaned, stripped of accents, lower-cased and cut
further the first time it is seen.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from itertools import chain

from selfroute.models import weights

MAX_WORD = 100  # characters; BERT gives a longer word one [UNK]
_MAX_CACHED_WORD = 64  # characters; a longer run is data that will not come again
_MAX_CACHED = 1 << 18  # runs; beyond that they are worked out each time

_PUNCTUATION = r"!-/:-@\[-`{-~"
_RUN = re.compile(rf"[^\t\n\r {_PUNCTUATION}]+|[{_PUNCTUATION}]+")
_SPECIAL = re.compile(r"(\[(?:PAD|UNK|CLS|SEP|MASK)\])")
_SPECIAL_NAMES = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_IDEOGRAPH = re.compile(
    "([\u4e00-\u9fff\u3400-\u4dbf\uf900-\ufaff\U00020000-\U0002a6df\U0002a700-\U0002b73f\U0002b740-\U0002b81f"
    "\U0002b920-\U0002ceaf\U0002f800-\U0002fa1f])"
)

# The reference implementation's character tables end at Unicode 8: it keeps these later marks, format characters and
# punctuation marks as if they were letters. Ranges of code points, hexadecimal.
_LETTERS_TO_THE_REFERENCE = (
    "61d 7fd 890-891 898-89f 8ca-8e2 9fd-9fe a76 afa-aff b55 c04 c3c c77 c84 d00 d3b-d3c d81 eba 180f 1885-1886"
    " 1abf-1ace 1b7d-1b7e 1df6-1dfb 2e43-2e4f 2e52-2e5d a82c a8c5 a8ff a9bd 10d24-10d27 10eab-10ead 10f46-10f50"
    " 10f55-10f59 10f82-10f89 11070 11073-11074 110c2 110cd 111cf 1123e 1133b 11438-1143f 11442-11444 11446 1144b-1144f"
    " 1145a-1145b 1145d-1145e 11660-1166c 116b9 1182f-11837 11839-1183b 1193b-1193c 1193e 11943-11946 119d4-119d7"
    " 119da-119db 119e0 119e2 11a01-11a0a 11a33-11a38 11a3b-11a47 11a51-11a56 11a59-11a5b 11a8a-11a96 11a98-11a9c"
    " 11a9e-11aa2 11c30-11c36 11c38-11c3d 11c3f 11c41-11c45 11c70-11c71 11c92-11ca7 11caa-11cb0 11cb2-11cb3"
    " 11cb5-11cb6 11d31-11d36 11d3a 11d3c-11d3d 11d3f-11d45 11d47 11d90-11d91 11d95 11d97 11ef3-11ef4 11ef7-11ef8"
    " 11fff 12ff1-12ff2 13430-13438 16e97-16e9a 16f4f 16fe2 16fe4 1cf00-1cf2d 1cf30-1cf46 1e000-1e006 1e008-1e018"
    " 1e01b-1e021 1e023-1e024 1e026-1e02a 1e130-1e136 1e2ae 1e2ec-1e2ef 1e944-1e94a 1e95e-1e95f"
)
_EXCEPTIONS = {"\ufffd": "control", "\u166d": "punctuation", "\U000111c9": "punctuation", "\u1734": "accent"}


class WordPiece:
    """Text to the ids of BERT's uncased tokenizer, without the special tokens that a model puts around them."""

    def __init__(self, vocabulary: list[str]) -> None:
        """vocabulary: the token of each id, continuations marked by a leading "##"; must hold [UNK]."""
        self.vocabulary = vocabulary
        self._known = dict(zip(vocabulary, range(len(vocabulary)), strict=True))
        self._unknown = (self._known["[UNK]"],)
        self._longest = max(map(len, vocabulary))
        self._ids = _Ids(self)
        self._counts = _Counts(self._ids)
        self._places = _Places(self)

    def ids(self, text: str) -> list[int]:
        """The ids of a text, in order."""
        if any(name in text for name in _SPECIAL_NAMES):
            parts = _SPECIAL.split(text)  # odd parts are the special tokens
            return [i for n, part in enumerate(parts) for i in ([self._known[part]] if n % 2 else self._plain(part))]
        return self._plain(text)

    def word_ids(self, word: str) -> tuple[int, ...]:
        """The ids of a text without white space; cached. A special token's name is spelled out, not recognised."""
        return self._ids[word]

    def count(self, text: str) -> int:
        """len(self.ids(text)), without building the list."""
        if any(name in text for name in _SPECIAL_NAMES):
            return len(self.ids(text))
        return sum(map(self._counts.__getitem__, _RUN.findall(text)))

    def line_counts(self, text: str) -> list[int]:
        """The number of tokens on each line of text.split("\\n"); their sum is count(text)."""
        lines = text.split("\n")
        if any(name in text for name in _SPECIAL_NAMES):
            return list(map(self.count, lines))
        runs, count = _RUN.findall, self._counts.__getitem__
        return [sum(map(count, runs(line))) for line in lines]

    def pieces(self, text: str) -> tuple[list[int], list[int], list[int]]:
        """The ids of a text, and where each token begins and ends in it, in characters.

        A special token's name is spelled out, not recognised: what a text says can never end a model's input.
        """
        ids: list[int] = []
        starts: list[int] = []
        ends: list[int] = []
        for run in _RUN.finditer(text):
            at = run.start()
            for i, start, end in self._places[run.group()]:
                ids.append(i)
                starts.append(at + start)
                ends.append(at + end)
        return ids, starts, ends

    def _plain(self, text: str) -> list[int]:
        return list(chain.from_iterable(map(self._ids.__getitem__, _RUN.findall(text))))

    def _spell(self, run: str) -> tuple[int, ...]:
        """The ids of a run that the cache does not hold."""
        if _is_plain(run):
            return self._match(run.lower())
        return tuple(chain.from_iterable(map(self._match, _basic_tokens(run))))

    def _locate(self, run: str) -> tuple[tuple[int, int, int], ...]:
        """The ids of a run, each with the characters [start, end) of the run that it stands for."""
        found: list[tuple[int, int, int]] = []
        for word, owners in [(run.lower(), range(len(run)))] if _is_plain(run) else _basic_words(run):
            ids = self._match(word)
            if ids == self._unknown:
                found.append((ids[0], owners[0], owners[-1] + 1))
                continue
            at = 0
            for n, i in enumerate(ids):
                end = at + len(self.vocabulary[i]) - (2 if n else 0)  # without the "##"
                found.append((i, owners[at], owners[end - 1] + 1))
                at = end
        return tuple(found)

    def _match(self, word: str) -> tuple[int, ...]:
        """Greedy longest match from the left over the vocabulary; [UNK] when a rest matches nothing."""
        known = self._known
        if word in known:
            return (known[word],)
        if len(word) > MAX_WORD:
            return self._unknown
        pieces: list[int] = []
        rest, mark = word, 0  # mark: length of the "##" before a continuation
        while len(rest) > mark:
            for end in range(min(len(rest), self._longest), mark, -1):
                if rest[:end] in known:
                    break
            else:
                return self._unknown
            pieces.append(known[rest[:end]])
            rest, mark = "##" + rest[end:], 2
        return tuple(pieces)


class _Ids(dict[str, tuple[int, ...]]):
    """run -> ids, filled as runs are met."""

    def __init__(self, tokenizer: WordPiece) -> None:
        super().__init__()
        self._tokenizer = tokenizer

    def __missing__(self, run: str) -> tuple[int, ...]:
        ids = self._tokenizer._spell(run)
        if len(run) <= _MAX_CACHED_WORD and len(self) < _MAX_CACHED:
            self[run] = ids
        return ids


class _Counts(dict[str, int]):
    """run -> number of ids."""

    def __init__(self, ids: _Ids) -> None:
        super().__init__()
        self._ids = ids

    def __missing__(self, run: str) -> int:
        n = len(self._ids[run])
        if len(run) <= _MAX_CACHED_WORD and len(self) < _MAX_CACHED:
            self[run] = n
        return n


class _Places(dict[str, tuple[tuple[int, int, int], ...]]):
    """run -> ids and their characters."""

    def __init__(self, tokenizer: WordPiece) -> None:
        super().__init__()
        self._tokenizer = tokenizer

    def __missing__(self, run: str) -> tuple[tuple[int, int, int], ...]:
        places = self._tokenizer._locate(run)
        if len(run) <= _MAX_CACHED_WORD and len(self) < _MAX_CACHED:
            self[run] = places
        return places


def _is_plain(run: str) -> bool:
    return run.isascii() and run.isalnum()


def _basic_words(run: str) -> list[tuple[str, list[int]]]:
    """The words of _basic_tokens, and for each of their characters the one of `run` that it comes from."""
    words: list[tuple[str, list[int]]] = []
    apart = True  # the next character begins a word
    for owner, c in _decomposed(run):
        kind = _kind(c)
        if kind == "accent":
            continue
        if kind == "space":
            apart = True
            continue
        alone = kind == "punctuation" or _IDEOGRAPH.match(c) is not None
        for low in c.lower():
            if apart or alone:
                words.append(("", []))
                apart = False
            word, owners = words[-1]
            words[-1] = word + low, [*owners, owner]
        apart = alone
    return words


def _decomposed(run: str) -> list[tuple[int, str]]:
    """NFD of the run without control characters, each character with the place of the one that it comes from."""
    pairs = [(n, d) for n, c in enumerate(run) if _kind(c) != "control" for d in unicodedata.normalize("NFD", c)]
    at = 0
    while at < len(pairs):  # marks in their canonical order
        end = at
        while end < len(pairs) and unicodedata.combining(pairs[end][1]):
            end += 1
        pairs[at:end] = sorted(pairs[at:end], key=lambda pair: unicodedata.combining(pair[1]))
        at = end + 1
    return pairs


def _basic_tokens(run: str) -> list[str]:
    """BERT's words: cleaned, ideographs set apart, accents stripped, lower-cased, punctuation set apart."""
    cleaned = "".join(" " if _kind(c) == "space" else c for c in run if _kind(c) != "control")
    decomposed = unicodedata.normalize("NFD", _IDEOGRAPH.sub(r" \1 ", cleaned))
    # Character by character: str.lower() writes a final sigma differently.
    lowered = "".join(c.lower() for c in decomposed if _kind(c) != "accent")
    return "".join(f" {c} " if _kind(c) == "punctuation" else c for c in lowered).split()


@cache
def _kind(c: str) -> str:
    """What the reference takes a character for: control, space, accent, punctuation, or else a letter."""
    if c.isascii():
        if c in "\t\n\r ":
            return "space"
        return "letter" if c.isalnum() else "punctuation" if c.isprintable() else "control"
    if c in _EXCEPTIONS:
        return _EXCEPTIONS[c]
    if ord(c) in _letters_to_the_reference():
        return "letter"
    category = unicodedata.category(c)
    if category in ("Cc", "Cf", "Co", "Cs"):
        return "control"
    if c.isspace():
        return "space"
    return "accent" if category == "Mn" else "punctuation" if category[0] == "P" else "letter"


@cache
def _letters_to_the_reference() -> frozenset[int]:
    ends = [[int(end, 16) for end in span.split("-")] for span in _LETTERS_TO_THE_REFERENCE.split()]
    return frozenset(i for span in ends for i in range(span[0], span[-1] + 1))


@cache
def wordpiece() -> WordPiece:
    """The tokenizer of MiniLM and BERT-base uncased, on the vocabulary shipped with the package."""
    return WordPiece(weights.read("vocab.txt").decode().removesuffix("\n").split("\n"))
