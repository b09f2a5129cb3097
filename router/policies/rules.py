"""Routing by rules that can be read: the default policy. It answers in seconds, or says how to have everything read.

Before an attempt, the first rule that holds:

1. A relational question ("who calls X") whose name the knowledge graph knows: retrieval, which answers it by edges.
2. The whole corpus fits the budget: long-context. There is nothing to gain from leaving any of it out.
3. A global, comparing, counting or listing question: its answer is spread over the corpus. Long-context when the whole
   corpus may be read (query.limits) in good time, else retrieval, and the reason says that it may be incomplete.
4. A question that names a symbol: retrieval. Its definition is one place, which search finds by name.
5. Anything else: retrieval, which costs a hundredth and answers as well where the answer stands in one place.

A question that names a symbol and counts or compares ("how many classes inherit from Field") is of rule 3. Reading
everything is in good time when it takes at most patience_seconds longer than retrieval: with a language model both may
take minutes, and with everything in its memory none. What is preferred changes that: a sixth of the patience for speed,
none is needed for quality, and for cost everything is read only where it comes to at most a few times the tokens.

After an attempt:

6. It holds an answer: accept. One that was found by reading everything after retrieval found none needs a higher
   confidence.
7. Retrieval found none, but the answer may stand elsewhere, and the whole corpus may be read in good time:
   long-context, once.
8. Otherwise decline, and say why; where time alone speaks against it, say how to ask for it.

Rules 6 to 8 are those of selfroute.router.policies.elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from selfroute.router.policies.elsewhere import Doubt, spread_over_corpus
from selfroute.types import LONG_CONTEXT, RETRIEVAL, Attempt, Decision, Estimate, Features, Query

PATIENCE_SECONDS = 3.0


class RulesPolicy:
    """The rules above. doubt: of rules 6 to 8; its patience_seconds is also that of rules 2 and 3."""

    name = "rules"
    keeps_answers = True

    def __init__(self, doubt: Doubt | None = None) -> None:
        self.doubt = doubt or Doubt(patience_seconds=PATIENCE_SECONDS)

    def decide(
        self, query: Query, features: Features, estimates: Mapping[str, Estimate], attempts: Sequence[Attempt] = ()
    ) -> Decision:
        """Rules 1 to 5 without an attempt, 6 to 8 after one."""
        if attempts:
            return self.doubt.after(query, features, estimates, attempts)
        kind, too_long = spread_over_corpus(features), self.doubt.too_long(query, estimates)
        size = f"{features.corpus_tokens:,} tokens"
        if features.n_edges >= 0:
            known = f"{features.n_edges} edges" if features.n_edges != 1 else "1 edge"
            return Decision(RETRIEVAL, estimates, f"a relational question that the knowledge graph answers: {known}")
        if features.corpus_fits and not too_long:
            return Decision(
                LONG_CONTEXT, estimates, f"the whole corpus, {size}, fits the budget of {features.budget_tokens:,}"
            )
        if kind and not too_long:
            return Decision(LONG_CONTEXT, estimates, f"a {kind} question: its answer is spread over the corpus, {size}")
        if kind:
            return Decision(
                RETRIEVAL, estimates, f"a {kind} question, whose answer may be incomplete, since {too_long}"
            )
        if features.is_symbol:
            return Decision(RETRIEVAL, estimates, "it names a symbol, which search finds by name")
        return Decision(RETRIEVAL, estimates, "its answer is expected in a few places of the corpus")
