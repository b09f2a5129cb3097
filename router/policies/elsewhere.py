"""May the answer stand elsewhere? What a policy makes of an attempt, and of all the corpus that it did not read.

Self-Route (Li et al. 2024, arXiv 2407.16833) sends whatever retrieval does not answer to long context. With it go the
questions that have no answer, to the route that reads most and is likeliest to make one up. Here an attempt without an
answer is followed by a reading of everything only when something that was seen speaks for it, the first that holds:

- the question's form: a comparing, counting, listing or global question is answered in many places;
- files that were found and not read: of some of the best hits the budget held no chunk;
- doubt: the reader nearly answered, or a trained reader would have answered where a model did not;
- a search that is not clear, its best hit little better than its second, unless the reader is sure that there is none;
  where no reader says how sure it is, the best hit must hold a good part of the question, too.

It is never followed by one when a name in the question stands nowhere in the corpus, when everything was read already,
or when a model refused in other words than its own. And what the second attempt finds must be better than it had to be
in the first: the best of a thousand chunks looks good by chance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from selfroute.router.policies.verdict import accept, decline, excess
from selfroute.types import (
    COST,
    LONG_CONTEXT,
    QUALITY,
    RETRIEVAL,
    SPEED,
    Attempt,
    Decision,
    Estimate,
    Features,
    Generation,
    Query,
)

HURRIED = 1 / 6  # of the patience is left when speed is preferred
DEAR = 4  # times the budget that retrieval packs: more tokens are not read when cost is what counts
COVERED = 0.4  # of the question's term weight, in the best hit, when nothing else says that it is spoken of


@dataclass(frozen=True, slots=True)
class Doubt:
    """How much speaks for a further attempt.

    near, sure: shares of the confidence from which the reader answers; from `near` on it nearly did, below `sure` it is
    sure that there is no answer. flat: the search is not clear when its second hit's score is within this share of the
    best one's. bar: confidence that a reader's answer needs when retrieval had found none. patience_seconds: how much
    longer than retrieval reading everything may take; None for no bound of its own.
    """

    near: float = 0.7
    sure: float = 0.4
    flat: float = 0.2
    bar: float = 0.7
    patience_seconds: float | None = None

    def after(
        self, query: Query, features: Features, estimates: Mapping[str, Estimate], attempts: Sequence[Attempt]
    ) -> Decision:
        """Accepts the last attempt, lets everything be read, or declines."""
        last = attempts[-1]
        if last.generation.answerable:
            if len(attempts) > 1 and (weak := self.too_weak(last)):
                return Decision(
                    last.route, estimates, f"the answer that {last.route} found is not given: {weak}", "decline"
                )
            return accept(last, estimates)
        if any(attempt.route == LONG_CONTEXT for attempt in attempts):
            return decline(last, estimates)
        goes_on, why = self.elsewhere(last, features)
        if not goes_on:
            return decline(last, estimates, why)
        if unread := self.too_long(query, estimates):
            return decline(last, estimates, f"{why}, but {unread}")
        return Decision(LONG_CONTEXT, estimates, f"{last.route} found no answer, but {why}: reading the whole corpus")

    def elsewhere(self, attempt: Attempt, features: Features) -> tuple[bool, str]:
        """Whether the answer may stand in what the attempt did not read, and what speaks for it or against it."""
        if attempt.generation.finish == "untrusted":
            return False, "it did not say so in the words that it was given: a text may have told it"
        if n := features.n_unknown_names:
            return False, "a name in it stands nowhere here" if n == 1 else f"{n} names in it stand nowhere here"
        if sum(chunk.n_tokens for chunk in attempt.chunks) >= features.corpus_tokens:
            return False, "it had read the whole corpus"
        if kind := spread_over_corpus(features):
            return True, f"it is a {kind} question, whose answer is spread over the corpus"
        unread = {chunk.path for chunk in attempt.left_out} - {chunk.path for chunk in attempt.chunks}
        if unread:
            files = "1 file" if len(unread) == 1 else f"{len(unread)} files"
            return True, f"{files} among the best hits could not be read within the budget"
        if attempt.reading:
            sees = attempt.reading.answerable
            says = f"the reader (confidence {attempt.reading.confidence:.2f})"
            return sees, f"{says} sees one where the model saw none" if sees else f"neither does {says} see one"
        return self._by_confidence(attempt.generation, features)

    def _by_confidence(self, found: Generation, features: Features) -> tuple[bool, str]:
        """What the reader's confidence and the shape of the search say."""
        share = found.confidence / found.threshold if found.threshold else None
        seen = f"the reader's confidence is {found.confidence:.2f}"
        if share is not None and share >= self.near:
            return True, f"{seen}, and {found.threshold:.2f} would have been an answer"
        if share is not None and share < self.sure:
            return False, f"{seen}: there is none in what it read"
        if features.score_gap <= self.flat and (share is not None or features.coverage >= COVERED):
            return True, "no hit of the search stands out"
        return False, "nothing says that the answer stands elsewhere"

    def too_weak(self, attempt: Attempt) -> str:
        """Why an answer is not enough after a failed attempt, or ""."""
        found = attempt.generation
        if found.threshold is None:
            return "" if attempt.citations else "what it says is cited from nowhere"
        if found.confidence >= self.bar:
            return ""
        return f"a confidence of {found.confidence:.2f} is under the {self.bar:.2f} that the best of so much text needs"

    def too_long(self, query: Query, estimates: Mapping[str, Estimate]) -> str:
        """Why the whole corpus is not read, in words and with what to type, or ""."""
        whole = estimates[LONG_CONTEXT]
        if too_much := excess(query, whole):
            return f"the whole corpus may not be read ({too_much})"
        few = estimates[RETRIEVAL]
        if query.prefer == COST and whole.tokens > DEAR * max(few.tokens, query.budget_tokens):
            return f"reading the whole corpus takes {whole.tokens:,} tokens: ask with --route long-context for that"
        patience = self.patience_seconds
        if patience is None or query.prefer == QUALITY:
            return ""
        if whole.seconds - few.seconds <= (patience * HURRIED if query.prefer == SPEED else patience):
            return ""
        return f"reading the whole corpus takes about {whole.seconds:,.0f} s: ask with --route long-context for that"


def spread_over_corpus(features: Features) -> str:
    """The kind of question that retrieval answers in part at best, or ""."""
    kinds = {
        "comparing": features.is_comparing,
        "counting": features.is_counting,
        "listing": features.is_listing,
        "global": features.is_global,
    }
    return next((kind for kind, holds in kinds.items() if holds), "")
