"""Hard limits: what is left of them, which routes fit, what is said when none does."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from selfroute import SelfRouter
from selfroute.backends.scoring import score_all
from selfroute.errors import ConfigError, LimitsError
from selfroute.memory.rates import FILE, Rates
from selfroute.models.span_reader import SpanReader
from selfroute.router.cli import main
from selfroute.router.limits import Spending
from selfroute.router.policies.fixed import Forced
from selfroute.router.policies.rules import RulesPolicy
from selfroute.types import (
    LONG_CONTEXT,
    RETRIEVAL,
    Attempt,
    Chunk,
    Decision,
    Estimate,
    Generation,
    Limits,
    Query,
    Usage,
)

QUICK = Estimate(0.6, 0.1, 500, seconds_high=0.3)
SLOW = Estimate(0.6, 8.0, 50_000, seconds_high=12.0, dollars=0.01, dollars_high=0.02)
ESTIMATES = {RETRIEVAL: QUICK, LONG_CONTEXT: SLOW}
FOUND = Attempt(RETRIEVAL, Generation("8080", confidence=0.9), (), Usage(prompt_tokens=400, dollars=0.004))


def within(limits: Limits, route: str, attempts: Sequence[Attempt] = (), policy: object = None) -> Decision:
    spending = Spending(Query("?", limits=limits))
    query = spending.left(attempts)
    decision = Decision(route, ESTIMATES, "chosen")
    return spending.within(decision, query, ESTIMATES, attempts, policy or RulesPolicy())


def test_a_route_that_may_take_too_long_gives_way_to_one_that_fits() -> None:
    decision = within(Limits(max_seconds=5), LONG_CONTEXT)
    assert decision.route == RETRIEVAL
    assert "up to 12.0 s are over the limit" in decision.reason
    assert within(Limits(max_seconds=20), LONG_CONTEXT).route == LONG_CONTEXT
    assert within(Limits(max_dollars=0.015), LONG_CONTEXT).route == RETRIEVAL
    assert within(Limits(), LONG_CONTEXT).route == LONG_CONTEXT


def test_when_no_route_fits_the_refusal_says_what_would() -> None:
    with pytest.raises(LimitsError) as refused:
        within(Limits(max_seconds=0.01), RETRIEVAL)
    assert refused.value.exit_code == 5
    assert "retrieval: up to 0.3 s" in refused.value.message
    assert refused.value.hint == "--max-seconds 0.4"
    with pytest.raises(LimitsError):
        within(Limits(max_seconds=5), LONG_CONTEXT, policy=Forced(LONG_CONTEXT))


def test_what_was_spent_is_taken_off_and_a_second_attempt_that_does_not_fit_is_not_begun() -> None:
    left = Spending(Query("?", limits=Limits(10.0, 1_000, 0.01))).left([FOUND]).limits
    assert left.max_tokens == 600
    assert left.max_dollars == pytest.approx(0.006)
    assert left.max_seconds is not None
    assert 9 < left.max_seconds < 10
    decision = within(Limits(max_seconds=5), LONG_CONTEXT, [FOUND])
    assert (decision.action, decision.route) == ("accept", RETRIEVAL)
    assert "long-context is left out" in decision.reason


def test_a_rate_is_learned_from_use_and_survives_damage(tmp_path: Path) -> None:
    rates = Rates(tmp_path)
    assert rates.get("read", 0.5).per_unit == 0.5
    for seconds in [2.0, 2.2, 1.8, 2.0, 2.1, 1.9, 2.0, 2.0, 2.0, 6.0]:
        rates.learn("read", 100, seconds)
    again = Rates(tmp_path).get("read", 0.5)
    assert 0.02 < again.per_unit < 0.04
    assert again.high >= 3
    rates.learn("read", 0, 1.0)
    rates.learn("read", 1, float("nan"))
    assert Rates(tmp_path).get("read", 0.5) == again
    for damage in ("", "[]", "{", '{"read": 3}', '{"read": ["x", []]}', '{"read": [-1, []]}'):
        (tmp_path / FILE).write_text(damage)
        assert Rates(tmp_path).get("read", 0.5).per_unit == 0.5


class Slow:
    """A scorer whose every batch takes a second of a clock that only it moves."""

    fingerprint, is_loaded = "slow", True

    def __init__(self, clock: list[float]) -> None:
        self.clock, self.n_read = clock, 0

    def score(self, question: str, chunks: Sequence[Chunk]) -> NDArray[np.float32]:
        self.clock[0] += 1.0
        self.n_read += len(chunks)
        return np.zeros(len(chunks), np.float32)


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


def test_a_long_reading_stops_before_its_time_is_over(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("selfroute.backends.scoring.perf_counter", lambda: clock[0])
    with SelfRouter.from_path(corpus) as router:
        scorer = Slow(clock)
        router.index.keeps_scores = False
        found = score_all("port?", router.index, scorer, lambda *_: None, until=4.0)
        assert found.n_unread == router.index.stats.chunks - scorer.n_read > 0
        assert clock[0] <= 4.0
        assert score_all("port?", router.index, Slow([0.0]), lambda *_: None).n_unread == 0


def test_retrieval_reads_what_there_is_time_for(corpus: Path) -> None:
    with SelfRouter.from_path(corpus, reader=SpanReader(), max_seconds=60) as router:
        whole = router.ask("Which port does Service 7-3 listen on?", route=RETRIEVAL)
        assert not whole.attempts[0].degraded
        backend = router.backends[RETRIEVAL]
        hurried = backend.answer(Query("Which port does Service 7-3 listen on?", limits=Limits(max_seconds=0.0)))
        assert hurried.degraded
        assert not hurried.generation.answerable
        assert "left unread to keep within the limit" in hurried.notes[0]


def test_limits_and_preferences_come_from_options_and_are_checked(
    corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["ask", "Which port?", "--path", str(corpus), "--max-seconds", "0.0001"]) == 5
    said = capsys.readouterr().err
    assert "no route fits the limits" in said
    assert "hint: --max-seconds" in said
    assert main(["explain", "Which port?", "--path", str(corpus), "--prefer", "sped"]) == 2
    assert "speed" in capsys.readouterr().err
    assert main(["explain", "Which port?", "--path", str(corpus), "--prefer", "speed", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["route"]
    with pytest.raises(ConfigError, match="max_seconds"):
        SelfRouter.from_path(corpus, max_seconds=-1)


def test_a_models_dollars_are_counted_and_bound(corpus: Path) -> None:
    options = {"price_in": "2", "price_out": "10"}
    (corpus / "selfroute.toml").write_text("".join(f"{k} = {v}.0\n" for k, v in options.items()))
    with SelfRouter.from_path(corpus, model="scripted") as router:
        answer = router.ask("Which port does Service 7-3 listen on?", route=RETRIEVAL)
        spent = answer.usage
        assert spent.dollars == pytest.approx(spent.prompt_tokens * 2e-6 + spent.new_tokens * 1e-5)
        estimate = router.explain("Which port does Service 7-3 listen on?").estimates[RETRIEVAL]
        assert estimate.dollars_high is not None
        assert spent.dollars <= estimate.dollars_high
    with SelfRouter.from_path(corpus, model="scripted", max_cost=1e-9) as router, pytest.raises(LimitsError):
        router.ask("Which port does Service 7-3 listen on?")
