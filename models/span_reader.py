"""The trained reader: it marks the answer in the chunks' own text, and says how sure it is that there is one.

A question is read with every window of every chunk by itself; all their spans and "none of them" share one softmax
(selfroute.models.span_choice). WordPiece is lower-case and drops accents, so an answer is never spelled from tokens:
it is cut from the chunk's text by the characters that its tokens stand for.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from hashlib import blake2b
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from selfroute.deadline import Deadline
from selfroute.models import span_choice, span_windows, tokenizer, weights
from selfroute.models.base import TermWeight
from selfroute.models.calibration import Calibration
from selfroute.models.sentences import PROSE_KINDS
from selfroute.models.span_choice import (
    LISTED_SHARE,
    NEVER,
    UNASKED_SHARE,
    Candidate,
    Choice,
    Scored,
    asks_for_several,
    asks_to_count,
    best_score,
    choose,
    choose_listed,
    is_number,
)
from selfroute.models.span_joined import Joined, best_of
from selfroute.models.span_kept import KeptScores, Pair
from selfroute.models.span_scores import GRAPH, SpanScores, Window
from selfroute.models.tokenizer import wordpiece
from selfroute.types import Chunk, Generation, Span

MAX_KEPT = 256  # windows of one question, 0.8 MB at most


class SpanReader:
    """Answers with spans of the chunks. Deterministic. Any thread may use it. What read() read for a question is kept
    until another one is asked: a second route does not read it again.

    calibrated: its confidence is a probability. calibration: used instead of the shipped one. term_weight: taken for
    the registry's sake, and not used.
    """

    calibrated = True

    def __init__(
        self,
        term_weight: TermWeight | None = None,
        *,
        folder: Path = weights.FOLDER,
        calibration: Calibration | None = None,
        threads: int | None = None,
    ) -> None:
        """Raises ModelLoadError when the shipped files are missing. The network is loaded when it is first used, which
        raises ModelLoadError when it is altered, and MissingDependencyError.
        """
        self._scores = SpanScores(folder, threads=threads)
        self._calibration = calibration or Calibration.read(GRAPH, folder)
        self._deadline: Deadline | None = None
        self._kept = KeptScores(MAX_KEPT)

    def until(self, deadline: Deadline) -> SpanReader:
        """The same reader over the same network, which raises OutOfTimeError before a window when the time is up."""
        hasty = copy.copy(self)
        hasty._deadline = deadline
        return hasty

    def forget(self) -> None:
        """Drops what is kept of the last question."""
        self._kept.clear()

    @property
    def is_loaded(self) -> bool:
        """Whether the network is in memory, so that a reading begins at once."""
        return self._scores.is_loaded

    def load(self) -> None:
        """Loads the network now, if it is not. Raises ModelLoadError and MissingDependencyError."""
        self._scores.load()

    @property
    def fingerprint(self) -> str:
        """Names the weights by their checksum, and the code that shows a chunk to them."""
        return f"{self._scores.fingerprint}:{_code_fingerprint()}"

    def score(self, question: str, chunks: Sequence[Chunk]) -> NDArray[np.float32]:
        """(n,) float32: what read() compares the chunks by, the score of each one's best span; 0 is the null option's.

        -inf for a chunk without text. A chunk's score is the same whatever it is scored with.
        """
        best = np.full(len(chunks), -np.inf, np.float32)
        for window in self.windows(question, chunks):
            best[window.chunk] = max(best[window.chunk], best_score(window))
        return best

    def read(self, question: str, chunks: Sequence[Chunk]) -> Generation:
        """The best span, or the spans of a list, one a line; declined when it is likelier that the chunks hold none.

        Several are given when the question asks for several, and of code when some are about as likely. Of code, a
        question for a number that no span says is answered by how many spans there are, and which.

        The order of the chunks is of no account. confidence: the calibrated probability that the answer is right, for
        one chunk of prose that it holds an answer; also given when it is declined. A span's score is that of the span
        by itself, so that spans of several calls can be compared.
        """
        return self._answer(question, chunks, self.windows(question, chunks))

    def read_joined(self, question: str, chunks: Sequence[Chunk], joined: Sequence[Joined]) -> Generation:
        """What read() gives, or the best span of the joined texts where its score with the bonus is better.

        confidence: of that score.
        """
        windows = self.windows(question, chunks)
        texts = [replace(chunks[one.chunk], text=one.before + chunks[one.chunk].text) for one in joined]
        span = best_of(joined, self.windows(question, texts))
        if span is None or span.score <= choose(windows).odds:
            return self._answer(question, chunks, windows)
        curve = self._calibration.curve(len(chunks), chunks[span.chunk])
        confidence = curve.probability(span.score)
        if confidence < curve.threshold:
            return Generation("", confidence=confidence, answerable=False, finish="declined", threshold=curve.threshold)
        spans = (Span(span.chunk, span.start, span.end, confidence),)
        return Generation(_quote(span, chunks), spans, confidence, threshold=curve.threshold)

    def _answer(self, question: str, chunks: Sequence[Chunk], windows: Sequence[Scored]) -> Generation:
        """read() of windows that are scored."""
        choice = choose(windows)
        curve = self._calibration.curve(len(chunks), chunks[choice.spans[0].chunk] if choice.spans else None)
        confidence = curve.probability(choice.odds)
        if not choice.spans or confidence < curve.threshold:
            return Generation("", confidence=confidence, answerable=False, finish="declined", threshold=curve.threshold)
        best = choice.spans[0]
        is_code = chunks[best.chunk].kind not in PROSE_KINDS
        counts = is_code and asks_to_count(question) and not is_number(_quote(best, chunks))
        if counts or asks_for_several(question):
            spans = _distinct(choose_listed(windows, LISTED_SHARE), chunks)
        elif is_code:
            here = [window for window in windows if window.chunk == best.chunk]
            spans = _distinct(choose_listed(here, UNASKED_SHARE), chunks)
        else:
            spans = ()
        if counts and len(spans) < 2:  # a thing is no number of things
            return Generation("", confidence=confidence, answerable=False, finish="declined", threshold=curve.threshold)
        spans = spans if len(spans) > 1 else (best,)
        text = "\n".join(_quote(span, chunks) for span in spans)
        return Generation(
            f"{len(spans)}:\n{text}" if counts else text,
            tuple(Span(s.chunk, s.start, s.end, curve.probability(s.score)) for s in spans),
            confidence,
            threshold=curve.threshold,
        )

    def choice(self, question: str, chunks: Sequence[Chunk], n_best: int = 5) -> Choice:
        """The n best spans and the odds that there is an answer, whatever the threshold."""
        return choose(self.windows(question, chunks), n_best)

    def _scored(self, question: str, windows: Sequence[Window]) -> list[Pair]:
        """Start and end scores of each window, kept ones without reading it."""
        known = self._kept.of(question)
        news = [window for window in windows if window.key not in known]
        for window, pair in zip(news, self._scores.score(news, self._deadline), strict=True):
            known[window.key] = pair
        found = [known[window.key] for window in windows]
        self._kept.keep(question, known)
        return found

    def windows(self, question: str, chunks: Sequence[Chunk]) -> list[Scored]:
        """Every window of the chunks, scored, in the order of their places in the corpus."""
        asked = span_windows.read_question(wordpiece(), question)
        inputs: list[Window] = []
        places: list[tuple[int, int, span_windows.Pieces, int, int]] = []
        for n in sorted(range(len(chunks)), key=lambda n: _place(chunks[n])):
            chunk = chunks[n]
            header = span_windows.read_header(wordpiece(), chunk.path, chunk.symbol)
            pieces = span_windows.read_text(wordpiece(), chunk.text)
            for first, end in span_windows.windows(len(pieces)):
                if first < end:
                    inputs.append(Window(span_windows.assemble(asked, header, pieces.ids[first:end]), len(asked)))
                    places.append((n, len(asked) + len(header) + 2, pieces, first, end))
        found, scored = [], self._scored(question, inputs)
        for (start, stop), (n, at, pieces, first, end) in zip(scored, places, strict=True):
            start, stop = start[at : at + end - first].copy(), stop[at : at + end - first].copy()
            marks = [i for i, token in enumerate(pieces.ids[first:end]) if span_windows.is_mark(token)]
            start[marks] = stop[marks] = NEVER
            found.append(Scored(n, start, stop, pieces.starts[first:end], pieces.ends[first:end]))
        return found


@cache
def _code_fingerprint() -> str:
    """A hash over the source that decides a window's tokens and what its scores come to: no version to forget."""
    hashed = blake2b(digest_size=8)
    for module in (span_choice, span_windows, tokenizer):
        hashed.update(blake2b(Path(str(module.__file__)).read_bytes()).digest())
    return hashed.hexdigest()


def _place(chunk: Chunk) -> tuple[str, int, str]:
    return chunk.path, chunk.start_line, chunk.id


def _quote(span: Candidate, chunks: Sequence[Chunk]) -> str:
    return chunks[span.chunk].text[span.start : span.end]


def _distinct(spans: Sequence[Candidate], chunks: Sequence[Chunk]) -> tuple[Candidate, ...]:
    """The spans without those that say what a better one says."""
    by_text: dict[str, Candidate] = {}
    for span in spans:
        by_text.setdefault(_quote(span, chunks).casefold(), span)
    return tuple(by_text.values())
