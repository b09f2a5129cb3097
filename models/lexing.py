"""Words of code and prose as search terms: identifiers split, lower-cased, stemmed; the same for texts and questions.

`getHTTPResponse` and `get_http_response` both give `get_http_respons` (the whole name), `get`, `http` and `respons`.
Terms are English Snowball stems (Porter 2).
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

import Stemmer

WORD = re.compile(r"\w+")
_PARTS = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|[0-9]+")
_OTHER_PARTS = re.compile(r"[^\W\d_]+|\d+")
_CJK = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff]")
_MAX_WORD = 100  # characters; what is longer is data, not a name

_stem = Stemmer.Stemmer("english").stemWord

STOPWORDS = frozenset(
    """
    a an and are as at be been but by can could did do does doing for from had has have how i if in into is it its
    me my of on or our shall should so than that the their them then there these they this those to us was we were
    what when where which while who whom whose why will with would you your
    """.split()
)


@lru_cache(maxsize=1 << 17)
def terms_of(word: str) -> tuple[str, ...]:
    """The terms of one word as it stands in a text: the whole name first, then its parts when it has several."""
    if len(word) > _MAX_WORD:
        return ()
    if not word.isascii():
        word = "".join(c for c in unicodedata.normalize("NFKD", word) if not unicodedata.combining(c))
        if _CJK.search(word):
            return _bigrams(word)
    parts = [_stem(part.lower()) for part in (_PARTS if word.isascii() else _OTHER_PARTS).findall(word)]
    return ("_".join(parts), *parts) if len(parts) > 1 else tuple(parts)


def _bigrams(word: str) -> tuple[str, ...]:
    """Scripts written without spaces: overlapping pairs of characters (a lone character stays)."""
    return tuple(word[i : i + 2] for i in range(max(1, len(word) - 1)))


def terms(text: str) -> list[str]:
    """All terms of a text, in order, repeats kept."""
    return [term for word in WORD.findall(text) for term in terms_of(word)]


def question_terms(text: str) -> list[str]:
    """The terms of a question without stop words, each once, in order; all of them when nothing else is left."""
    words = WORD.findall(text)
    kept = [word for word in words if word.lower() not in STOPWORDS] or words
    return list(dict.fromkeys(term for word in kept for term in terms_of(word)))
