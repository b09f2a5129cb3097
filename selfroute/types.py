"""The nouns: frozen dataclasses that every layer shares.

A Chunk is the unit of everything: it is indexed, retrieved, read and cited.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Literal

from selfroute.deadline import Deadline

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

RETRIEVAL = "retrieval"
LONG_CONTEXT = "long-context"
ROUTES = (RETRIEVAL, LONG_CONTEXT)
DEFAULT_BUDGET_TOKENS = 8_000
BALANCED, QUALITY, SPEED, COST = "balanced", "quality", "speed", "cost"
PREFERENCES = (BALANCED, QUALITY, SPEED, COST)


@dataclass(frozen=True, slots=True)
class Limits:
    """Hard limits on one question, all its attempts together; None means no limit.

    max_seconds: of wall clock, from the moment that it is asked. max_tokens: of the prompts that are read, cached or
    not (Usage.prompt_tokens). max_dollars: of Usage.dollars. After an attempt they are what it left. deadline: when
    the seconds are up, for those who do the work. max_context_tokens: of the corpus, in each attempt by itself.
    """

    max_seconds: float | None = None
    max_tokens: int | None = None
    max_dollars: float | None = None
    max_context_tokens: int | None = None
    deadline: Deadline | None = field(default=None, compare=False)

    def after(self, usage: Usage) -> Limits:
        """What is left when so much was used; the seconds, by the deadline."""
        return replace(
            self,
            max_seconds=self.max_seconds if self.deadline is None else max(0.0, self.deadline.left),
            max_tokens=None if self.max_tokens is None else max(0, self.max_tokens - usage.prompt_tokens),
            max_dollars=None if self.max_dollars is None else max(0.0, self.max_dollars - usage.dollars),
        )


@dataclass(frozen=True, slots=True)
class Query:
    """A question, the tokens of context its answer may be read from, its limits, and what is preferred within them.

    asked_for: the route that was asked for by name; "" where a policy chooses.
    """

    text: str
    budget_tokens: int = DEFAULT_BUDGET_TOKENS
    limits: Limits = field(default_factory=Limits)
    prefer: str = BALANCED
    asked_for: str = ""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A run of whole lines of one file, at most 256 WordPiece tokens.

    id: hash(path, content_hash, occurrence); content_hash: hash(text), free of line numbers, so a moved function keeps
    it. path: relative to the corpus root, POSIX; a notebook's is path#cell-N. start_line, end_line: from 1, inclusive.
    symbol: the qualified name it belongs to ("Flask.make_response", "Chapter > Section"), or "".
    kind: function, method, class, module, section, text, config or lines.
    """

    id: str
    content_hash: str
    path: str
    start_line: int
    end_line: int
    text: str
    symbol: str = ""
    kind: str = "lines"
    n_tokens: int = 0

    @property
    def location(self) -> str:
        """`src/a.py:10-42`, or `src/a.py:10` for one line."""
        last = f"-{self.end_line}" if self.end_line != self.start_line else ""
        return f"{self.path}:{self.start_line}{last}"


@dataclass(frozen=True, slots=True)
class Hit:
    """A chunk that a search found. via: the searches that found it. stale: its file changed since it was indexed."""

    chunk: Chunk
    score: float
    via: tuple[str, ...] = ()
    stale: bool = False


@dataclass(frozen=True, slots=True)
class Context:
    """What a reader is given: chunks in the order of `text`, and the tokens they take of the budget."""

    chunks: tuple[Chunk, ...]
    text: str
    n_tokens: int
    budget_tokens: int


@dataclass(frozen=True, slots=True)
class Usage:
    """What an answer cost. cached_tokens are those of prompt_tokens that did not have to be read again.

    peak_bytes: of the process, or of the device. kv_bytes: of the keys and values of the context that was read.
    dollars: by the prices that were given for the model, tokens that its server had cached at the full one.
    """

    prompt_tokens: int = 0
    cached_tokens: int = 0
    new_tokens: int = 0
    prefill_seconds: float = 0.0
    decode_seconds: float = 0.0
    peak_bytes: int = 0
    dollars: float = 0.0
    kv_bytes: int = 0

    @property
    def seconds(self) -> float:
        """prefill_seconds + decode_seconds."""
        return self.prefill_seconds + self.decode_seconds

    def __add__(self, other: Usage) -> Usage:
        """Sums; of the bytes the larger of both."""
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.cached_tokens + other.cached_tokens,
            self.new_tokens + other.new_tokens,
            self.prefill_seconds + other.prefill_seconds,
            self.decode_seconds + other.decode_seconds,
            max(self.peak_bytes, other.peak_bytes),
            self.dollars + other.dollars,
            max(self.kv_bytes, other.kv_bytes),
        )


@dataclass(frozen=True, slots=True)
class Span:
    """Characters [start, end) of the text of chunks[chunk] in the list that was read."""

    chunk: int
    start: int
    end: int
    score: float = 0.0


@dataclass(frozen=True, slots=True)
class Generation:
    """What a reader or generator made of a context. spans point into the chunks that it was given, best first.

    finish: "untrusted" is a refusal that something which was read may have ordered; "stopped" says that the time was up
    before there was an answer.
    notes: what a person should know of how it came about, such as a citation that did not hold.
    threshold: the confidence from which its reader answers; None of a language model, which decides that itself.
    """

    text: str
    spans: tuple[Span, ...] = ()
    confidence: float = 0.0
    answerable: bool = True
    usage: Usage = field(default_factory=Usage)
    finish: Literal["stop", "length", "declined", "untrusted", "stopped"] = "stop"
    notes: tuple[str, ...] = ()
    threshold: float | None = None


@dataclass(frozen=True, slots=True)
class Citation:
    """A quote, checked against the file as it is now.

    start_byte, end_byte: of the quote in the UTF-8 form of the text that the loader decodes (for a UTF-8 file, of the
    file). stale: the file changed since it was indexed; the place is where the quote stands now, or the indexed one if
    it is gone.
    """

    path: str
    start_line: int
    end_line: int
    start_byte: int
    end_byte: int
    text: str
    stale: bool = False

    @property
    def location(self) -> str:
        """`src/a.py:10-42`, or `src/a.py:10` for one line."""
        last = f"-{self.end_line}" if self.end_line != self.start_line else ""
        return f"{self.path}:{self.start_line}{last}"


@dataclass(frozen=True, slots=True)
class Features:
    """What the router knows before anything is generated; booleans count as 0 or 1.

    n_edges: what the knowledge graph answers a relational question with; -1 when it has nothing to say.
    n_unknown_names: names in the question, by quotes, capitals or spelling, that stand nowhere in the corpus.
    """

    n_words: int
    is_symbol: bool
    is_global: bool
    is_comparing: bool
    is_counting: bool
    is_listing: bool
    is_relational: bool
    top_score: float
    score_gap: float
    n_top_files: int
    agreement: float
    coverage: float
    corpus_tokens: int
    corpus_files: int
    budget_tokens: int
    resident_tokens: int = 0
    n_edges: int = -1
    n_unknown_names: int = 0

    @property
    def corpus_fits(self) -> bool:
        """Whether the whole corpus is within the budget."""
        return self.corpus_tokens <= self.budget_tokens

    def as_array(self) -> NDArray[np.float32]:
        """(F,) float32, in the order of the fields."""
        import numpy as np

        return np.array([float(getattr(self, f.name)) for f in fields(self)], dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a route is expected to give and to cost for one question, within its limits and on this machine as it is.

    seconds, tokens, dollars: the median. room_tokens: the most that the route's model can hold, or may be given of the
    corpus; None when nothing bounds it. seconds_high: about one time in a hundred it takes longer. tokens_high,
    dollars_high: never exceeded. Limits are held against these; None: as expected. once_tokens: are encoded for this
    question, and for no later one, which takes about later_seconds then.
    """

    p_correct: float
    seconds: float
    tokens: int
    dollars: float = 0.0
    room_tokens: int | None = None
    seconds_high: float | None = None
    tokens_high: int | None = None
    dollars_high: float | None = None
    once_tokens: int = 0
    later_seconds: float | None = None

    @property
    def fits(self) -> bool:
        """Whether there is room for what the route would read."""
        return self.room_tokens is None or self.tokens <= self.room_tokens

    @property
    def most_seconds(self) -> float:
        """seconds_high, or else seconds."""
        return self.seconds if self.seconds_high is None else self.seconds_high

    @property
    def most_tokens(self) -> int:
        """tokens_high, or else tokens."""
        return self.tokens if self.tokens_high is None else self.tokens_high

    @property
    def most_dollars(self) -> float:
        """dollars_high, or else dollars."""
        return self.dollars if self.dollars_high is None else self.dollars_high


@dataclass(frozen=True, slots=True)
class Decision:
    """The route to take and why.

    action: "try" runs the route; after an attempt "accept" keeps its answer and "decline" says that the corpus has
    none.
    """

    route: str
    estimates: Mapping[str, Estimate]
    reason: str
    action: Literal["try", "accept", "decline"] = "try"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One route's try at a question, kept whether or not its answer was.

    degraded: it had to do with less than was asked for, for want of memory, of time or of a server; the notes say what.
    left_out: those of the best hits that the budget had no room for, best first.
    reading: what a trained reader makes of the best chunks when a language model found no answer in them; for routing
    alone, its text is never given. signals: further numbers for routing alone, by name.
    """

    route: str
    generation: Generation
    citations: tuple[Citation, ...]
    usage: Usage
    chunks: tuple[Chunk, ...] = ()
    notes: tuple[str, ...] = ()
    degraded: bool = False
    left_out: tuple[Chunk, ...] = ()
    reading: Generation | None = None
    signals: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer, where it stands, and what it took. str(answer) == answer.text."""

    text: str
    route: str
    citations: tuple[Citation, ...]
    confidence: float
    answerable: bool
    decision: Decision
    attempts: tuple[Attempt, ...]
    usage: Usage
    index_age_seconds: float = 0.0

    def __str__(self) -> str:
        return self.text
