"""SelfRouter: a question in, a routed and cited answer out."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Unpack

from selfroute.backends.base import Announcing, Looking
from selfroute.deadline import Clock
from selfroute.errors import SelfRouteError, UnknownNameError
from selfroute.router.attempting import attempt
from selfroute.router.events import AnswerEvent, DecisionEvent, Event, TokensEvent
from selfroute.router.features import extract
from selfroute.router.hidden_text import noted
from selfroute.router.limits import Asked, Terms, Within
from selfroute.router.policies.fixed import Forced
from selfroute.types import (
    BALANCED,
    Answer,
    Attempt,
    Citation,
    Decision,
    Estimate,
    Features,
    Hit,
    Limits,
    Query,
    Usage,
)

if TYPE_CHECKING:
    from langchain_core.runnables import Runnable
    from langchain_core.tools import BaseTool

    from selfroute.backends.base import Backend
    from selfroute.memory.base import Progress
    from selfroute.memory.index import Index
    from selfroute.models.base import Embedder, Generator, Reader
    from selfroute.router.base import Policy
    from selfroute.router.langchain.retriever import SelfRouteRetriever

AUTO = "auto"
N_SEARCHED = 10  # chunks that are looked at when nothing was read
NOT_FOUND = "Not found in this corpus."
STOPPED = "Not answered: the time was up."
RECHECK_SECONDS = 2.0  # a search compares the index with the files again after this long; a question always does


class SelfRouter:
    """Answers questions about one corpus. Any thread may use it; close() or `with` gives the index back.

    backends: by route. route: "auto" lets the policy choose. budget_tokens: tokens of context that retrieval packs; one
    that is given is also the most that any route may read, unless limits say otherwise. limits: hard ones, and prefer:
    what an answer is worth to the policy, one of PREFERENCES, of every question that says no others. update: whether
    the index is brought up to date with the files before each question. spares: by route, what answers when the policy
    chose and a model cannot; none when it is not given. model: names what answers, for what was learned about it.
    clock: that seconds are counted on.
    """

    def __init__(
        self,
        index: Index,
        backends: Mapping[str, Backend],
        policy: Policy,
        *,
        route: str = AUTO,
        budget_tokens: int | None = None,
        limits: Limits | None = None,
        prefer: str = BALANCED,
        top_k: int = 10,
        update: bool = True,
        spares: Mapping[str, Backend] | None = None,
        model: str = "",
        clock: Clock = time.monotonic,
    ) -> None:
        self.model = model
        self.index, self.backends, self.policy = index, dict(backends), policy
        self._spares = dict(spares or {})
        self._route, self._top_k, self._update, self._clock = route, top_k, update, clock
        most = limits or Limits()
        self._terms = Terms(budget_tokens, most.max_tokens, most.max_seconds, most.max_dollars, prefer)

    @classmethod
    def from_path(
        cls,
        path: str | Path,
        *,
        route: str | None = None,
        policy: str | Policy | None = None,
        budget_tokens: int | None = None,
        max_tokens: int | None = None,
        max_seconds: float | None = None,
        max_cost: float | None = None,
        prefer: str | None = None,
        top_k: int | None = None,
        embedder: str | Embedder | None = None,
        reader: str | Reader | None = None,
        model: str | Generator | None = None,
        window_tokens: int | None = None,
        kv: str | None = None,
        price_in: float | None = None,
        price_out: float | None = None,
        index_dir: str | Path | None = None,
        max_file_bytes: int | None = None,
        update: bool | None = None,
        progress: Progress | None = None,
    ) -> SelfRouter:
        """Opens the index of a folder, or builds it, and wires everything.

        What is not given comes from the configuration (selfroute.router.config). policy, embedder, reader: a registered
        name, or an object of one's own. model: a folder, a hub name, openai:URL#NAME, or a Generator.
        Raises CorpusError for a folder that is missing or holds nothing to index, ConfigError for unusable settings,
        ModelLoadError and DeviceMemoryError for a model that cannot be loaded.
        """
        from selfroute.router.build import build
        from selfroute.router.config import load

        named = {"policy": policy, "embedder": embedder, "reader": reader, "model": model}
        options = {
            **{key: value for key, value in named.items() if isinstance(value, str)},
            "route": route,
            "budget_tokens": budget_tokens,
            "max_tokens": max_tokens,
            "max_seconds": max_seconds,
            "max_cost": max_cost,
            "prefer": prefer,
            "top_k": top_k,
            "window_tokens": window_tokens,
            "kv": kv,
            "price_in": price_in,
            "price_out": price_out,
            "index_dir": index_dir,
            "max_file_bytes": max_file_bytes,
            "update": update,
        }
        return build(
            load(path, options),
            policy=None if isinstance(policy, str) else policy,
            embedder=None if isinstance(embedder, str) else embedder,
            reader=None if isinstance(reader, str) else reader,
            model=None if isinstance(model, str) else model,
            progress=progress,
        )

    def search(self, text: str, top_k: int | None = None) -> list[Hit]:
        """The best chunks, best first; at most top_k, 10 unless configured. Raises ValueError when top_k < 1."""
        if self._update and self.index.age_seconds > RECHECK_SECONDS:
            self.index.update()
        return self.index.search(_clean(text), top_k=self._top_k if top_k is None else top_k)

    def ask(self, text: str, *, route: str | None = None, **asked: Unpack[Asked]) -> Answer:
        """The answer; one that is not in the corpus has answerable=False and says so.

        asked: budget_tokens, max_tokens, max_seconds, max_cost (dollars), prefer; hard limits, all attempts together.
        Raises LimitsError when no route keeps within them, or the one that was asked for does not, and
        ContextOverflowError when that one must read more than it has room for.
        """
        *_, last = self._events(text, route, asked, live=False)
        assert isinstance(last, AnswerEvent)
        return last.answer

    def stream(self, text: str, *, route: str | None = None, **asked: Unpack[Asked]) -> Iterator[Event]:
        """The same, as it happens: decisions, the answer's text in pieces, the whole answer last.

        The pieces come as a model writes them in a first attempt whose answer the policy says that it keeps
        (`keeps_answers`), and once the answer is accepted otherwise.
        """
        return self._events(text, route, asked, live=True)

    def _events(self, text: str, route: str | None, asked: Asked, *, live: bool) -> Iterator[Event]:
        policy, within = self._policy(route), self._within(text, route, asked)
        live = live and getattr(policy, "keeps_answers", False)
        features, estimates = self._observe(within)
        attempts: list[Attempt] = []
        decisions = [within.kept(policy.decide(within.query, features, estimates), estimates)]
        yield self._decided(decisions[-1], within.query)
        while decisions[-1].action == "try":
            backend = self._untried(decisions[-1].route, attempts)
            others = () if isinstance(policy, Forced) else self._others(backend.name, attempts)
            made, given = yield from attempt(backend, within, attempts, others=others, live=live and not attempts)
            attempts.append(self._looked(policy, within.query, noted(made)))
            query = within.pass_on(made)
            estimates = self._estimates(query, estimates, attempts) if within.any else estimates
            decisions.append(within.kept(policy.decide(query, features, estimates, attempts), estimates, attempts))
            yield self._decided(decisions[-1], query)
        answer = self._answer(decisions, attempts)
        if not (attempts and given):
            yield from (TokensEvent(piece) for piece in answer.text.splitlines(keepends=True))
        yield AnswerEvent(answer)

    def nearest(self, text: str, answer: Answer) -> tuple[Citation, ...]:
        """The lines of what was first read that come nearest to a question; of what search finds, when nothing was."""
        from selfroute.backends.nearest import nearest

        chunks = next((attempt.chunks for attempt in answer.attempts if attempt.chunks), ())
        chunks = chunks or tuple(hit.chunk for hit in self.search(text, top_k=N_SEARCHED))
        return nearest(text, chunks, self.index)

    def explain(self, text: str, *, route: str | None = None, **asked: Unpack[Asked]) -> Decision:
        """The route that `ask` would try first, and why; nothing is answered. Raises LimitsError as `ask` would."""
        policy, within = self._policy(route), self._within(text, route, asked)
        features, estimates = self._observe(within)
        return within.kept(policy.decide(within.query, features, estimates), estimates)

    def features(self, text: str, *, budget_tokens: int | None = None) -> Features:
        """What the policy is shown of a question."""
        return self.observe(replace(self.query(text, budget_tokens=budget_tokens), limits=Limits()))[0]

    async def aask(self, text: str, *, route: str | None = None, **asked: Unpack[Asked]) -> Answer:
        """`ask` in a thread of its own."""
        import asyncio  # a tenth of the start of the command line, which has no use for it

        return await asyncio.to_thread(self.ask, text, route=route, **asked)

    def as_retriever(self, top_k: int | None = None) -> SelfRouteRetriever:
        """A langchain-core retriever over `search`."""
        from selfroute.router.langchain.retriever import SelfRouteRetriever

        return SelfRouteRetriever(router=self, top_k=self._top_k if top_k is None else top_k)

    def as_tool(self) -> BaseTool:
        """A langchain-core tool over `ask`."""
        from selfroute.router.langchain.tool import make_tool

        return make_tool(self)

    def as_runnable(self) -> Runnable[str, Answer]:
        """A langchain-core runnable over `ask`."""
        from selfroute.router.langchain.runnable import make_runnable

        return make_runnable(self)

    def close(self) -> None:
        """Closes the index."""
        self.index.close()

    def __enter__(self) -> SelfRouter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _policy(self, route: str | None) -> Policy:
        wanted = self._route if route is None else route
        if wanted == AUTO:
            return self.policy
        if wanted not in self.backends:
            raise UnknownNameError("route", wanted, (AUTO, *self.backends))
        return Forced(wanted)

    def query(self, text: str, **asked: Unpack[Asked]) -> Query:
        """The question with its budget and its limits; its time begins now. Raises ValueError for a budget below 1."""
        return self._terms.query(_clean(text), asked, self._clock)

    def observe(self, query: Query) -> tuple[Features, dict[str, Estimate]]:
        """What a policy decides from, over the files as they are now."""
        return self._observe(Within(query, hopeful=True))

    def _within(self, text: str, route: str | None, asked: Asked) -> Within:
        forced = self._route if route is None else route
        named = "" if forced == AUTO else forced
        return Within(replace(self.query(text, **asked), asked_for=named), named)

    def _observe(self, within: Within) -> tuple[Features, dict[str, Estimate]]:
        """The same of a question within its limits. Raises LimitsError when no route can be taken."""
        if self._update:
            self.index.update()
        estimates = self._estimates(within.pass_on())
        within.refuse_hopeless(estimates)
        return extract(within.query, self.index), estimates

    def _estimates(
        self, query: Query, earlier: Mapping[str, Estimate] | None = None, attempts: Sequence[Attempt] = ()
    ) -> dict[str, Estimate]:
        """Of every route as things are now; of one that was tried, what was expected of it before."""
        known = earlier or {}
        kept = {attempt.route: known[attempt.route] for attempt in attempts if attempt.route in known}
        return {route: kept.get(route) or backend.estimate(query) for route, backend in self.backends.items()}

    def _decided(self, decision: Decision, query: Query) -> DecisionEvent:
        """The decision, and what its route has to say beforehand."""
        backend: object = self.backends.get(decision.route)
        if decision.action == "try" and isinstance(backend, Announcing):
            return DecisionEvent(decision, backend.announce(query))
        return DecisionEvent(decision)

    def _looked(self, policy: Policy, query: Query, made: Attempt) -> Attempt:
        """The attempt with what the other routes can tell of the question, where the policy makes use of that."""
        if not getattr(policy, "wants_signals", False):
            return made
        others: list[object] = [other for route, other in self.backends.items() if route != made.route]
        signals = dict(made.signals)
        for other in others:
            if isinstance(other, Looking):
                signals |= other.look(query, made)
        return replace(made, signals=signals)

    def _untried(self, route: str, attempts: list[Attempt]) -> Backend:
        if route not in self.backends:
            raise UnknownNameError("route", route, self.backends)
        if any(attempt.route == route for attempt in attempts):
            raise SelfRouteError(f"the policy asked for {route} twice", "use another policy: --policy rules")
        return self.backends[route]

    def _others(self, route: str, attempts: Sequence[Attempt]) -> list[Backend]:
        """What may answer instead of a route whose model cannot: the other routes, at last the reader."""
        if route not in self._spares:
            return []
        tried = {route, *(earlier.route for earlier in attempts)}
        return [*(other for name, other in self.backends.items() if name not in tried), self._spares[route]]

    def _answer(self, decisions: list[Decision], attempts: list[Attempt]) -> Answer:
        """The accepted attempt's answer, or that there is none; the decision's reason tells the whole way."""
        last = decisions[-1]
        kept = next((attempt for attempt in reversed(attempts) if attempt.route == last.route), None)
        found = last.action == "accept" and kept is not None
        return Answer(
            text=kept.generation.text if found and kept else STOPPED if _is_stopped(attempts) else NOT_FOUND,
            route=last.route,
            citations=kept.citations if found and kept else (),
            confidence=kept.generation.confidence if kept else 0.0,
            answerable=found,
            decision=replace(last, reason="; then ".join(decision.reason for decision in decisions)),
            attempts=tuple(attempts),
            usage=sum((attempt.usage for attempt in attempts), Usage()),
            index_age_seconds=self.index.age_seconds,
        )


def _is_stopped(attempts: Sequence[Attempt]) -> bool:
    """Whether the time was up before all of what was begun was read."""
    return any(attempt.generation.finish == "stopped" for attempt in attempts)


def _clean(text: str) -> str:
    """The text without what UTF-8 cannot hold, such as halves of surrogate pairs out of a terminal."""
    return text.encode("utf-8", "replace").decode("utf-8")
