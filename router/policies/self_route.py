"""Self-Route: retrieval first, and long context for what it does not answer, if the answer may stand elsewhere.

After Li et al. 2024, "Retrieval Augmented Generation or Long-Context LLMs?", with its defect mended that a correct
"there is no answer" is sent on as well (selfroute.router.policies.elsewhere).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from selfroute.router.policies.elsewhere import Doubt
from selfroute.types import RETRIEVAL, Attempt, Decision, Estimate, Features, Query


class SelfRoutePolicy:
    """Retrieval, then what Doubt says. doubt: its bounds; by default only the question's limits bound the reading."""

    name = "self-route"
    keeps_answers = True

    def __init__(self, doubt: Doubt | None = None) -> None:
        self.doubt = doubt or Doubt()

    def decide(
        self, query: Query, features: Features, estimates: Mapping[str, Estimate], attempts: Sequence[Attempt] = ()
    ) -> Decision:
        """Retrieval before any attempt."""
        if attempts:
            return self.doubt.after(query, features, estimates, attempts)
        return Decision(RETRIEVAL, estimates, f"policy {self.name}: retrieval first")
