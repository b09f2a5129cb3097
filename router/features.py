"""What a question and its corpus show before anything is generated: the question's kind, a cheap search's shape, sizes.

Kinds are recognised by English words; a question in another language has none and is judged by its search alone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from selfroute.memory.languages import detect_language
from selfroute.models.lexing import WORD, terms_of
from selfroute.types import Features, Query

if TYPE_CHECKING:
    from selfroute.memory.index import Index

N_PROBED = 10  # hits whose shape is looked at
MAX_CHARACTERS = 20_000  # of a question; a pasted file is one too, and its beginning says enough

# Things that code is made of, in the plural: "which functions", "how many classes".
_PARTS = (
    r"(?:functions|methods|classes|modules|files|packages|commands|options|flags|endpoints|routes|routers|tests|formats"
    r"|languages|backends|plugins|handlers|hooks|signals|components|dependencies|features|subclasses|implementations|places)"
)
# What is asked of a value, not of the corpus: "how many seconds", "how many bytes".
_UNITS = (
    r"(?:more |fewer )?(?:milliseconds?|seconds?|minutes?|hours?|days?|weeks?|bytes?|bits?|kilobytes?|megabytes?|[kmg]b"
    r"|characters?|chars?|digits?|times?|lines? long|retries|attempts|levels?|percent|arguments?|parameters?|args)\b"
)
_CORPUS = (
    r"(?:project|repo|repository|library|package|code ?base|corpus|framework|application|app|program|system|folder"
    r"|documents?|docs)"
)

_GLOBAL = re.compile(
    r"\b(?:overview|summar(?:y|i[sz]e[sd]?|i[sz]ing)|architecture|big picture|high[- ]level|overall|as a whole)\b"
    r"|\b(?:main|key|major|core|principal) "
    r"(?:components?|parts?|modules?|ideas?|concepts?|themes?|features|abstractions|layers)\b"
    r"|\b(?:across|throughout|everywhere in|over|in) (?:the |this )?(?:whole|entire|full|complete|all of the) "
    r"|\b(?:across|throughout) (?:the|this|all)\b"
    rf"|\b(?:whole|entire) {_CORPUS}\b"
    rf"|\bwhat (?:does|is) (?:the |this )?{_CORPUS}(?: \w+)? ?(?:do|about|for|contain)?\W*$"
    rf"|\b(?:describe|explain) (?:the |this )?{_CORPUS}\b"
    r"|\bhow (?:is|are) (?:the |this )?\w+ (?:organi[sz]ed|structured|laid out)\b",
    re.IGNORECASE,
)
_COMPARING = re.compile(
    r"\b(?:compar(?:e[sd]?|ing|ison)|versus|vs\.?|differences?|similarit(?:y|ies)|distinguish(?:es|ed)?|in contrast)\b"
    r"|\b(?:differs?|different|similar)\b.{1,80}\b(?:from|to|than)\b"
    r"|\bhow (?:do|does|is|are)\b.{1,80}\b(?:differ|different|the same|similar)\b"
    r"|\bin common\b",
    re.IGNORECASE,
)
_COUNTING = re.compile(
    rf"\bhow many\b(?! {_UNITS})|\bcount (?:of |the |all |every |how )|\b(?:total|overall) number of\b"
    rf"|(?<!maximum )(?<!minimum )(?<!max )(?<!min )(?<!default )(?<!allowed )\bnumber of (?:\w+ )?{_PARTS}\b",
    re.IGNORECASE,
)
_LISTING = re.compile(
    r"^\W*(?:please |can you |could you )?(?:list|enumerate)\b"
    r"|\b(?:list|enumerate|name|show|give|find)(?: me)? (?:all|every|each)\b"
    rf"|\b(?:what|which) (?:\w+ )?{_PARTS}\b|\b(?:all|every one of|each of)(?: of)? the (?:\w+ )?{_PARTS}\b"
    rf"|\ball {_PARTS}\b"
    r"|\bwhat (?:are|were) (?:all |the )*(?:different|available|supported|possible|various|existing|other)\b"
    r"|\bwhat all\b|\bwhat kinds? of\b",
    re.IGNORECASE,
)
_RELATIONAL = re.compile(
    r"\b(?:call(?:s|ed|ers?|ees?)?|invok(?:es?|ed)|depend(?:s|ed|encies|ents?)?|import(?:s|ed|ers?)"
    r"|inherit(?:s|ed|ance)?|subclass(?:es|ed)?|extends|extended by|overrid(?:es?|den)|referenc(?:es|ed)|used by"
    r"|relat(?:e[sd]?|ions?|ionship)|connected|call ?(?:graph|chain|path|stack))\b"
    r"|\b(?:who|what|which \w+) uses\b",
    re.IGNORECASE,
)
# A name as code spells it: quoted, dotted, with an underscore, a hump, or parentheses behind it.
_NAME = re.compile(
    r"`[\w.:$-]+`|\b[A-Za-z_]\w*(?:(?:\.|::|->)[A-Za-z_]\w*)+|\b\w*[^\W_]_\w+|\b_\w+|\b[a-zA-Z]\w*\(\)|\b\w*[a-z][A-Z]\w*"
)
# Further names that a text has to spell to speak of what they name: in quotes, as HTTPError, and with a capital where
# no sentence begins.
_SPELLED = re.compile(rf"[\"“']([\w.:$/-]+)[\"”']|{_NAME.pattern}|\b[A-Z]{{2,}}[a-z]\w+|(?<=[^.?!:\s] )[A-Z]\w*[a-z]\b")
_ONE_NAME = re.compile(r"\W*[A-Za-z_$][\w$]*(?:(?:\.|::|->|#|/)[\w$]+)*(?:\(\))?\W*")
_NOT_NAMES = re.compile(
    r"\b(?:e\.g|i\.e|etc)\b|\b[A-Z]?[a-z]*\.(?:js|io|ai|net|com|org)\b|\b(?:GitHub|GraphQL|JavaScript|TypeScript|OAuth)\b"
)


@dataclass(frozen=True, slots=True)
class Kind:
    """What a question asks for; several may hold at once."""

    is_symbol: bool
    is_global: bool
    is_comparing: bool
    is_counting: bool
    is_listing: bool
    is_relational: bool


def kind_of(text: str) -> Kind:
    """The question's kind, from its words alone."""
    text = text[:MAX_CHARACTERS]
    plain = unnamed(text, "it")  # count_lines counts nothing, and Summary summarises nothing
    return Kind(
        is_symbol=bool(_ONE_NAME.fullmatch(text) or _NAME.search(_NOT_NAMES.sub(" ", text))),
        is_global=bool(_GLOBAL.search(plain)),
        is_comparing=bool(_COMPARING.search(plain)),
        is_counting=bool(_COUNTING.search(plain)),
        is_listing=bool(_LISTING.search(plain)),
        is_relational=bool(_RELATIONAL.search(plain)),
    )


def unnamed(text: str, put: str) -> str:
    """The text with another word for each name that is spelled as code spells it."""
    return _NAME.sub(f" {put} ", text)


def names_in(text: str) -> tuple[str, ...]:
    """The names that a question quotes, or spells as code does or with a capital, each once."""
    plain = _NOT_NAMES.sub(" ", text[:MAX_CHARACTERS])
    return tuple(dict.fromkeys(found[0].strip("`\"“”'()") for found in _SPELLED.finditer(plain)))


def extract(query: Query, index: Index) -> Features:
    """The features of a question over an index; the same for the same question and state of the index."""
    kind, probe, stats = kind_of(query.text), index.probe(query.text, top_k=N_PROBED), index.stats
    related = index.related(query.text)
    scores = [hit.score for hit in probe.hits]
    top = scores[0] if scores else 0.0
    return Features(
        n_words=len(WORD.findall(query.text)),
        is_symbol=kind.is_symbol,
        is_global=kind.is_global,
        is_comparing=kind.is_comparing,
        is_counting=kind.is_counting,
        is_listing=kind.is_listing,
        is_relational=kind.is_relational,
        top_score=top,
        score_gap=(top - scores[1]) / top if len(scores) > 1 and top > 0 else 0.0,
        n_top_files=len({hit.chunk.path for hit in probe.hits}),
        agreement=probe.agreement,
        coverage=probe.coverage,
        corpus_tokens=stats.tokens,
        corpus_files=stats.files,
        budget_tokens=query.budget_tokens,
        n_edges=len(related.edges) if related is not None else -1,
        n_unknown_names=sum(not _stands(name, index) for name in names_in(query.text)),
    )


def _stands(name: str, index: Index) -> bool:
    """Whether the corpus holds every part of a name, "Flask" and "run" of Flask.run; of a file's without the ending."""
    stem = name.rpartition(".")[0] if detect_language(name) else name
    return all(index.knows(word) for word in WORD.findall(stem) if terms_of(word))
