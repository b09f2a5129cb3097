"""Hard limits: no route is begun that might break one, what is begun stops in time, a refusal says what would do."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from selfroute import SelfRouter
from selfroute.backends.long_context import LongContextBackend
from selfroute.backends.retrieval import RetrievalBackend
from selfroute.deadline import Deadline
from selfroute.errors import ConfigError, LimitsError, OutOfTimeError, UnknownNameError
from selfroute.memory.index import Index
from selfroute.memory.rates import Rates
from selfroute.models.fake_server import Act, FakeServer
from selfroute.models.racing import raced
from selfroute.models.remote import RemoteGenerator
from selfroute.models.scripted import ScriptedGenerator
from selfroute.models.span_reader import SpanReader
from selfroute.router.cli import main
from selfroute.router.limits import Terms, Within
from selfroute.router.policies.fixed import AlwaysLongContext, AlwaysRetrieval
from selfroute.router.policies.rules import RulesPolicy
from selfroute.router.router import STOPPED
from selfroute.types import (
    LONG_CONTEXT,
    RETRIEVAL,
    Attempt,
    Chunk,
    Decision,
    Estimate,
    Features,
    Generation,
    Limits,
    Query,
    Usage,
)

QUICK = Estimate(0.6, 0.1, 500, seconds_high=0.3)
SLOW = Estimate(0.6, 8.0, 50_000, seconds_high=12.0, dollars=0.01, dollars_high=0.02)
ESTIMATES = {RETRIEVAL: QUICK, LONG_CONTEXT: SLOW}
USED = Usage(prompt_tokens=400, dollars=0.004)
FOUND = Attempt(RETRIEVAL, Generation("8080", confidence=0.9), (), USED)
QUESTION = "Which port does Service 7-3 listen on?"


# A plain question over 50,000 tokens.
PLAIN = Features(6, *[False] * 6, 1.0, 0.5, 3, 0.5, 0.6, 50_000, 90, 8_000)


class Clock:
    """Seconds that pass only when they are told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Slow:
    """A reader that can be stopped, whose every chunk takes a second of a clock that only it moves."""

    fingerprint = "slow"

    def __init__(self, clock: Clock, deadline: Deadline | None = None) -> None:
        self.clock, self._deadline, self.n_read = clock, deadline, [0]

    def until(self, deadline: Deadline) -> Slow:
        hasty = Slow(self.clock, deadline)
        hasty.n_read = self.n_read
        return hasty

    def score(self, question: str, chunks: Sequence[Chunk]) -> NDArray[np.float32]:
        for _ in chunks:
            if self._deadline is not None:
                self._deadline.check()
            self.clock.now += 1.0
            self.n_read[0] += 1
        return np.zeros(len(chunks), np.float32)

    def read(self, question: str, chunks: Sequence[Chunk]) -> Generation:
        self.score(question, chunks)
        return Generation("", answerable=False, finish="declined")


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    root = tmp_path / "corpus"
    root.mkdir()
    for i in range(100):
        text = "\n\n".join(
            f"Service {i}-{j} listens on port {1000 * i + j}. It is kept by team {j}." for j in range(12)
        )
        (root / f"service{i:03}.md").write_text(f"# Service {i}\n\n{text}\n")
    return root


@pytest.fixture
def small(tmp_path: Path) -> Path:
    root = tmp_path / "small"
    root.mkdir()
    (root / "port.md").write_text("# Ports\n\nThe server listens on port 8080.\n")
    (root / "host.md").write_text("# Hosts\n\nThe host is called larch.\n")
    return root


def kept(limits: Limits, route: str, attempts: Sequence[Attempt] = (), forced: str = "") -> Decision:
    within = Within(Query("?", limits=limits), forced)
    for attempt in attempts:
        within.pass_on(attempt)
    return within.kept(Decision(route, ESTIMATES, "chosen"), ESTIMATES, attempts)


# which route is begun


def test_a_route_that_may_take_too_long_gives_way_to_one_that_fits() -> None:
    decision = kept(Limits(max_seconds=5), LONG_CONTEXT)
    assert decision.route == RETRIEVAL
    assert decision.reason.startswith("long-context is not taken, about 8 s, up to 12 s, are over the limit of 5 s")
    assert kept(Limits(max_seconds=20), LONG_CONTEXT).route == LONG_CONTEXT
    assert kept(Limits(max_dollars=0.015), LONG_CONTEXT).route == RETRIEVAL
    assert kept(Limits(max_tokens=5_000), LONG_CONTEXT).route == RETRIEVAL
    assert kept(Limits(), LONG_CONTEXT).route == LONG_CONTEXT


def test_when_no_route_fits_the_refusal_says_what_would() -> None:
    with pytest.raises(LimitsError) as refused:
        kept(Limits(max_seconds=0.01), RETRIEVAL)
    assert refused.value.exit_code == 5
    assert "retrieval needs up to 0.30 s; long-context needs up to 12 s" in refused.value.message
    option, seconds = refused.value.hint.split()
    assert option == "--max-seconds"
    assert kept(Limits(max_seconds=float(seconds) - 0.05), RETRIEVAL).route == RETRIEVAL
    with pytest.raises(LimitsError, match=r"long-context does not keep within 5\.0 s") as forced:
        kept(Limits(max_seconds=5), LONG_CONTEXT, forced=LONG_CONTEXT)
    assert "--route retrieval, or --max-seconds 16" in forced.value.hint


def test_what_was_used_is_taken_off_and_a_second_attempt_that_does_not_fit_is_not_begun() -> None:
    clock = Clock()
    query = Terms(max_tokens=1_000, max_seconds=10.0, max_cost=0.01).query("?", {}, clock)
    clock.now += 3.0
    left = query.limits.after(USED)
    assert (left.max_tokens, left.max_dollars) == (600, pytest.approx(0.006))
    assert left.max_seconds is not None
    assert 6.0 < left.max_seconds < 7.0  # a little is kept for what comes after a route
    decision = kept(Limits(max_tokens=50_300), LONG_CONTEXT, [FOUND])
    assert (decision.action, decision.route) == ("accept", RETRIEVAL)
    assert "but long-context is not taken, 50,000 tokens are over the limit of 49,900" in decision.reason
    assert kept(Limits(max_tokens=50_400), LONG_CONTEXT, [FOUND]).action == "try"


def test_terms_that_cannot_be_meant_are_refused() -> None:
    for wrong in ({"budget_tokens": 0}, {"max_seconds": -1.0}, {"max_cost": float("nan")}, {"max_tokens": 0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            Terms().query("?", wrong)  # type: ignore[arg-type]
    with pytest.raises(UnknownNameError, match="preference"):
        Terms(prefer="sped")


# tokens


def test_all_attempts_together_read_no_more_tokens_than_allowed(corpus: Path) -> None:
    with SelfRouter.from_path(corpus, reader="evidence", policy="self-route") as router:
        n_tokens = router.index.stats.tokens
        for most in (1, 60, 700, 5_000, n_tokens - 1, n_tokens, n_tokens + 900, 2 * n_tokens):
            answer = router.ask("List all teams that keep a zebra", max_tokens=most)
            assert answer.usage.prompt_tokens <= most
        with pytest.raises(LimitsError, match="long-context does not keep within") as refused:
            router.ask(QUESTION, route=LONG_CONTEXT, max_tokens=n_tokens - 1)
        found = re.search(r"--max-tokens (\d+)", refused.value.hint)
        assert found
        assert router.ask(QUESTION, route=LONG_CONTEXT, max_tokens=int(found[1])).route == LONG_CONTEXT


def test_a_models_instructions_count_as_tokens(corpus: Path) -> None:
    with SelfRouter.from_path(corpus, model=ScriptedGenerator("first")) as router:
        for most in (400, 1_000, 4_000):
            answer = router.ask(QUESTION, max_tokens=most)
            assert 0 < answer.usage.prompt_tokens <= most
        with pytest.raises(LimitsError, match=r"retrieval needs up to .* tokens"):
            router.ask(QUESTION, max_tokens=20)


def test_what_the_graph_answers_is_expected_to_read_nothing(tmp_path: Path) -> None:
    root = tmp_path / "code"
    root.mkdir()
    (root / "a.py").write_text("def bake():\n    return 1\n\n\ndef serve():\n    return bake()\n")
    with SelfRouter.from_path(root) as router:
        assert router.explain("Who calls bake?").estimates[RETRIEVAL].tokens == 0
        assert router.ask("Who calls bake?", max_tokens=1).usage.prompt_tokens == 0


# seconds


def test_a_reading_of_everything_stops_in_time_and_says_what_it_left(corpus: Path, tmp_path: Path) -> None:
    clock = Clock()
    with Index.open(corpus, directory=tmp_path / "index") as index:
        reader = Slow(clock)
        backend = LongContextBackend(index, reader, rates=Rates())
        until = clock.now + 50
        attempt = backend.answer(Query(QUESTION, limits=Limits(deadline=Deadline(until, clock))))
        assert clock.now <= until
        assert attempt.degraded
        assert attempt.generation.finish == "stopped"
        n_chunks = index.stats.chunks
        assert any(
            re.fullmatch(rf".* of {n_chunks:,} chunks .* were not read: the time was up", n) for n in attempt.notes
        )
        assert attempt.usage.prompt_tokens < index.stats.tokens
        whole = backend.answer(Query(QUESTION))  # what was read is not read again
        assert f"read all {n_chunks:,} chunks" in whole.notes[0]
        assert whole.usage.cached_tokens > 0


def test_a_route_that_is_stopped_is_not_said_to_have_found_nothing(corpus: Path, tmp_path: Path) -> None:
    clock = Clock()
    with Index.open(corpus, directory=tmp_path / "index") as index:
        rates = Rates()
        backends = {
            RETRIEVAL: RetrievalBackend(index, Slow(clock), rates=rates),
            LONG_CONTEXT: LongContextBackend(index, Slow(clock), rates=rates),
        }
        router = SelfRouter(index, backends, AlwaysRetrieval(), update=False, clock=clock)
        answer = router.ask(QUESTION, max_seconds=6.0)  # 24 chunks take as many seconds here
        assert clock.now <= 106.0
        assert (answer.answerable, answer.text) == (False, STOPPED)
        assert answer.attempts[0].degraded
        assert "the time for this question is up" in answer.attempts[0].notes[0]


def test_a_policy_that_wants_what_takes_too_long_is_overruled_and_a_forced_route_refused(corpus: Path) -> None:
    with SelfRouter.from_path(corpus, reader=SpanReader(), policy=AlwaysLongContext()) as router:
        backend = router.backends[LONG_CONTEXT]
        assert isinstance(backend, LongContextBackend)
        backend._rates = Rates()  # whatever this machine is like
        most = router.explain(QUESTION).estimates
        between = (most[RETRIEVAL].most_seconds + most[LONG_CONTEXT].most_seconds) / 2
        decision = router.explain(QUESTION, max_seconds=between)
        assert decision.route == RETRIEVAL
        assert "long-context is not taken" in decision.reason
        with pytest.raises(LimitsError, match="long-context does not keep within"):
            router.explain(QUESTION, route=LONG_CONTEXT, max_seconds=between)
        with pytest.raises(LimitsError, match="no route keeps within"):
            router.ask(QUESTION, max_seconds=1e-6)


def test_a_reader_stops_between_two_windows() -> None:
    clock = Clock()
    chunk = Chunk("1", "1", "a.md", 1, 1, "The port is 8080.", n_tokens=6)
    reader = SpanReader()
    assert reader.until(Deadline(101.0, clock)).read("Which port?", [chunk]).text
    reader.forget()
    with pytest.raises(OutOfTimeError):
        reader.until(Deadline(99.0, clock)).read("Which port?", [chunk])
    assert reader.read("Which port?", [chunk]).text


def test_a_server_that_does_not_answer_is_left_alone_when_the_time_is_up(small: Path) -> None:
    with FakeServer(lambda prompt: "It is 8080 [1]. " * 20, [Act(seconds=30.0)], context_length=8_192) as server:
        generator = RemoteGenerator(f"{server.url}#any")
        with SelfRouter.from_path(small, model=generator, policy=AlwaysRetrieval()) as router:
            router.backends[RETRIEVAL]._writer.rates = Rates()  # type: ignore[attr-defined]
            began = time.monotonic()
            backend = router.backends[RETRIEVAL]
            attempt = backend.answer(Query("Which port?", limits=Limits(deadline=Deadline.after(0.5))))
            assert time.monotonic() - began < 20
            assert attempt.generation.finish == "stopped"
            assert not attempt.generation.answerable


def test_what_is_raced_ends_at_the_deadline_and_gives_what_came() -> None:
    assert list(raced(iter("abc"), Deadline.after(60))) == ["a", "b", "c"]

    def broken() -> object:
        yield 1
        raise KeyError("x")

    with pytest.raises(KeyError):
        list(raced(broken(), Deadline.after(60)))  # type: ignore[arg-type]
    with pytest.raises(OutOfTimeError):
        list(raced(iter("abc"), Deadline.after(-1)))


def test_a_model_that_is_stopped_keeps_what_it_wrote(small: Path) -> None:
    clock = Clock()

    def slowly(prompt: str) -> str:
        clock.now += 1.0
        return "The port is 8080 [1]. " * 9

    generator = ScriptedGenerator(slowly)
    until = Deadline(100.5, clock)
    chunk = Chunk("1", "1", "a.md", 1, 1, "The port is 8080.", n_tokens=6)
    hasty = generator.until(until)
    handle = hasty.prefill([chunk])
    made = hasty.generate("Which port?", handle)
    assert (made.finish, made.usage.new_tokens) == ("untrusted", 0)  # its clock ran out before the first word
    with pytest.raises(OutOfTimeError):
        hasty.prefill([chunk])


# dollars


def test_a_models_dollars_are_counted_and_bound(corpus: Path) -> None:
    model = ScriptedGenerator(lambda prompt: "It listens on port 7003 [1]. " * 200)
    with SelfRouter.from_path(corpus, model=model, price_in=2.0, price_out=10.0) as router:
        spent = router.ask(QUESTION, route=RETRIEVAL).usage
        assert spent.dollars == pytest.approx(spent.prompt_tokens * 2e-6 + spent.new_tokens * 1e-5)
        for dollars in (0.0015, 0.002, 0.004, 0.01, 0.05, 0.2):
            answer = router.ask(QUESTION, max_cost=dollars)
            assert 0 < answer.usage.dollars <= dollars
        assert answer.decision.estimates[RETRIEVAL].most_dollars <= 0.2
        with pytest.raises(LimitsError) as refused:
            router.ask(QUESTION, max_cost=1e-6)
        found = re.fullmatch(r"--max-cost ([\d.]+)", refused.value.hint)
        assert found
        assert router.ask(QUESTION, max_cost=float(found[1])).usage.dollars <= float(found[1])


def test_the_answer_ends_where_the_money_does(small: Path) -> None:
    model = ScriptedGenerator(lambda prompt: "It listens on port 8080 [1]. " * 200)
    with SelfRouter.from_path(small, model=model, price_out=10.0) as router:
        answer = router.ask("Which port?", max_cost=0.001)
        assert answer.usage.new_tokens == 100
        assert answer.attempts[0].generation.finish == "length"


# options and preferences


def test_limits_and_preferences_come_from_options_and_are_checked(
    small: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["ask", "Which port?", "--path", str(small), "--max-seconds", "0.0001"]) == 5
    said = capsys.readouterr().err
    assert "no route keeps within" in said
    assert "hint: --max-seconds" in said
    assert main(["explain", "Which port?", "--path", str(small), "--prefer", "sped"]) == 2
    assert "speed" in capsys.readouterr().err
    assert main(["explain", "Which port?", "--path", str(small), "--prefer", "speed", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["route"]
    price = ["--model", "scripted", "--price-in", "1", "--price-out", "2.5", "--max-cost", "1", "--json"]
    assert main(["ask", "Which port?", "--path", str(small), *price]) == 0
    assert json.loads(capsys.readouterr().out)["usage"]["dollars"] > 0
    with pytest.raises(ConfigError, match="max_seconds"):
        SelfRouter.from_path(small, max_seconds=-1)
    (small / "selfroute.toml").write_text('max_cost = "much"\n')
    with pytest.raises(ConfigError, match="max_cost"):
        SelfRouter.from_path(small)


def test_preferences_change_how_long_the_rules_wait() -> None:
    listing = replace(PLAIN, is_listing=True)
    taking = {RETRIEVAL: Estimate(0.6, 0.2, 6_000), LONG_CONTEXT: Estimate(0.6, 2.0, 50_000)}

    def route(prefer: str) -> str:
        return RulesPolicy().decide(Query("?", prefer=prefer), listing, taking).route

    assert [route(p) for p in ("balanced", "quality", "speed", "cost")] == [
        LONG_CONTEXT,
        LONG_CONTEXT,
        RETRIEVAL,
        RETRIEVAL,
    ]
    taking[LONG_CONTEXT] = Estimate(0.6, 200.0, 20_000)
    assert (route("balanced"), route("quality")) == (RETRIEVAL, LONG_CONTEXT)
