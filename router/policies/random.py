"""A coin for every question: the baseline that a policy has to beat at the same cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b

from selfroute.router.policies.verdict import excess, verdict
from selfroute.types import Attempt, Decision, Estimate, Features, Query


class RandomPolicy:
    """One of the routes that keep within the limits, by a hash of the question: the same question, the same route."""

    name = "random"
    keeps_answers = True

    def decide(
        self, query: Query, features: Features, estimates: Mapping[str, Estimate], attempts: Sequence[Attempt] = ()
    ) -> Decision:
        """The hash's route, then the verdict on its attempt."""
        if attempts:
            return verdict(attempts[-1], estimates)
        routes = [route for route in sorted(estimates) if not excess(query, estimates[route])] or sorted(estimates)
        drawn = blake2b(query.text.encode("utf-8", "replace"), digest_size=8).digest()
        route = routes[int.from_bytes(drawn, "big") % len(routes)]
        return Decision(route, estimates, f"policy {self.name}: drawn among {' and '.join(routes)}")
