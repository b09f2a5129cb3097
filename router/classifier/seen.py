"""What the classifier is shown, as named numbers: before anything was read, and after each attempt.

A stage is a set of names: "first" has the features of the question and what the routes would cost, "second" also what
came of retrieval, "last" also what came of long context.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from math import log

from selfroute.backends.page_signals import PREFIX
from selfroute.types import LONG_CONTEXT, RETRIEVAL, Attempt, Estimate, Features

FIRST, SECOND, LAST = "first", "second", "last"
STAGES = (FIRST, SECOND, LAST)


def numbers_of(
    features: Features, estimates: Mapping[str, Estimate], attempts: Sequence[Attempt] = ()
) -> dict[str, float]:
    """Name -> number, the attempts' signals among them. Sizes are natural logarithms of tokens or counts; shares
    are of the corpus."""
    found = {f.name: float(getattr(features, f.name)) for f in fields(Features)}
    corpus = max(1, features.corpus_tokens)
    found |= {
        "log_corpus_tokens": log(corpus),
        "log_corpus_files": log(max(1, features.corpus_files)),
        "log_budget_tokens": log(max(1, features.budget_tokens)),
        "budget_share": min(1.0, features.budget_tokens / corpus),
        "log_budget_share": log(max(1, features.budget_tokens) / corpus),
        "has_edges": float(features.n_edges >= 0),
        "fits": float(features.corpus_fits),
    }
    for name in ("corpus_tokens", "corpus_files", "budget_tokens"):
        del found[name]
    for attempt in attempts:
        found |= {
            f"{attempt.route}.{name}": value for name, value in {**_of(attempt, corpus), **attempt.signals}.items()
        }
    by_route = {attempt.route: attempt.generation for attempt in attempts}
    if len(by_route) > 1:
        one, other = by_route[RETRIEVAL], by_route[LONG_CONTEXT]
        found["agree"] = float(one.answerable and other.answerable and _plain(one.text) == _plain(other.text))
        found["inside"] = float(
            one.answerable
            and other.answerable
            and (_plain(one.text) in _plain(other.text) or _plain(other.text) in _plain(one.text))
        )
        found["confidence_gain"] = other.confidence - one.confidence
    return found


def is_signal(name: str) -> bool:
    """Whether a number is of a global read by pages, which is not always there."""
    return name.partition(".")[2].startswith(PREFIX)


def stage_of(attempts: Sequence[Attempt]) -> str:
    """The stage that as many attempts lead to; none after a first attempt by long context."""
    return STAGES[min(len(attempts), len(STAGES) - 1)]


def _of(attempt: Attempt, corpus_tokens: int) -> dict[str, float]:
    made = attempt.generation
    read = sum(chunk.n_tokens for chunk in attempt.chunks)
    scores = sorted((span.score for span in made.spans), reverse=True)
    return {
        "answerable": float(made.answerable),
        "confidence": made.confidence,
        "over_threshold": made.confidence / made.threshold if made.threshold else 1.0,
        "has_threshold": float(made.threshold is not None),
        "untrusted": float(made.finish == "untrusted"),
        "degraded": float(attempt.degraded),
        "n_spans": log(1 + len(made.spans)),
        "span_gap": scores[0] - scores[1] if len(scores) > 1 else 0.0,
        "n_words": log(1 + len(made.text.split())),
        "n_citations": log(1 + len(attempt.citations)),
        "by_graph": float(not attempt.usage.prompt_tokens and made.answerable),
        "read_share": min(1.0, read / corpus_tokens),
        "n_unread_files": float(len({c.path for c in attempt.left_out} - {c.path for c in attempt.chunks})),
        "reader_sees": float(attempt.reading.answerable) if attempt.reading else 0.0,
        "reader_confidence": attempt.reading.confidence if attempt.reading else 0.0,
    }


def _plain(text: str) -> str:
    return " ".join(text.lower().split()).strip("\"'`.,;: ")
