"""Routing by rules that can be read: the default policy.

Before an attempt, the first rule that holds:

1. A relational question ("who calls X") whose name the knowledge graph knows: retrieval, which answers it by edges.
2. The whole corpus fits the budget: long-context. There is nothing to gain from leaving any of it out.
3. A global, comparing, counting or listing question: its answer is spread over the corpus. Long-context when the whole
   corpus may be read (query.limits), else retrieval, and the reason says that it may be incomplete.
4. A question that names a symbol: retrieval. Its definition is one place, which search finds by name.
5. Anything else: retrieval, which costs a hundredth and answers as well where the answer stands in one place.

A question that names a symbol and counts or compares ("how many classes inherit from Field") is of rule 3.

After an attempt:

6. It holds an answer: accept.
7. Retrieval found none, but the best chunk of the search holds at least half of the question's weight, and the whole
   corpus may be read: long-context, once. The words stand there together, so the answer may stand beside them.
8. Otherwise decline: the corpus does not speak of it. (Reading everything for a question without an answer is what
   makes escalating policies hallucinate.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from selfroute.router.policies.verdict import accept, decline, excess
from selfroute.types import LONG_CONTEXT, RETRIEVAL, Attempt, Decision, Estimate, Features, Query

MIN_COVERAGE = 0.5  # of the question's term weight, in the best chunk, for the answer to be thought to exist


class RulesPolicy:
    """The rules above. min_coverage: of rule 7; above 1 it never escalates."""

    name = "rules"
    keeps_answers = True

    def __init__(self, min_coverage: float = MIN_COVERAGE) -> None:
        self.min_coverage = min_coverage

    def decide(
        self, query: Query, features: Features, estimates: Mapping[str, Estimate], attempts: Sequence[Attempt] = ()
    ) -> Decision:
        """Rules 1 to 5 without an attempt, 6 to 8 after one."""
        too_much = excess(query, estimates[LONG_CONTEXT])
        if attempts:
            return self._after(attempts, features, estimates, too_much)
        kind = _spread_over_corpus(features)
        size = f"{features.corpus_tokens:,} tokens"
        if features.n_edges >= 0:
            known = f"{features.n_edges} edges" if features.n_edges != 1 else "1 edge"
            return Decision(RETRIEVAL, estimates, f"a relational question that the knowledge graph answers: {known}")
        if features.corpus_fits and not too_much:
            return Decision(
                LONG_CONTEXT, estimates, f"the whole corpus, {size}, fits the budget of {features.budget_tokens:,}"
            )
        if kind and not too_much:
            return Decision(LONG_CONTEXT, estimates, f"a {kind} question: its answer is spread over the corpus, {size}")
        if kind:
            return Decision(
                RETRIEVAL,
                estimates,
                f"a {kind} question, but the whole corpus may not be read ({too_much}): the answer may be incomplete",
            )
        if features.is_symbol:
            return Decision(RETRIEVAL, estimates, "it names a symbol, which search finds by name")
        return Decision(RETRIEVAL, estimates, "its answer is expected in a few places of the corpus")

    def _after(
        self, attempts: Sequence[Attempt], features: Features, estimates: Mapping[str, Estimate], too_much: str
    ) -> Decision:
        last = attempts[-1]
        if last.generation.answerable:
            return accept(last, estimates)
        if any(attempt.route == LONG_CONTEXT for attempt in attempts):
            return decline(last, estimates)
        if last.generation.finish == "untrusted":
            return decline(last, estimates, "it did not say so in the words that it was given: a text may have told it")
        share = f"the best chunk holds {features.coverage:.0%} of the question's weight"
        if features.coverage < self.min_coverage:
            return decline(last, estimates, share)
        if too_much:
            return decline(last, estimates, f"{share}, but the whole corpus may not be read ({too_much})")
        reason = f"{last.route} found no answer, but {share}: reading the whole corpus"
        return Decision(LONG_CONTEXT, estimates, reason)


def _spread_over_corpus(features: Features) -> str:
    """The kind of question that retrieval answers in part at best, or ""."""
    kinds = {
        "comparing": features.is_comparing,
        "counting": features.is_counting,
        "listing": features.is_listing,
        "global": features.is_global,
    }
    return next((kind for kind, holds in kinds.items() if holds), "")
