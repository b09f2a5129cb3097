"""SelfRouter: decides, answers, escalates, declines, and keeps count of what it cost."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from selfroute import (
    Answer,
    Attempt,
    ContextOverflowError,
    Decision,
    Estimate,
    Generation,
    Hit,
    Query,
    SelfRouteError,
    SelfRouter,
    UnknownNameError,
    Usage,
)
from selfroute.models.hashing import HashingEmbedder
from selfroute.router.events import AnswerEvent, DecisionEvent, TokensEvent
from selfroute.router.policies.elsewhere import Doubt
from selfroute.router.policies.fixed import Forced
from selfroute.router.policies.rules import RulesPolicy

SIGNING = 'def sign_cookie(value, key):\n    """Sign a cookie with a key."""\n    return value + digest(value, key)\n'
TOPICS = ("oven", "garden", "engine", "library", "harbour", "bakery", "museum", "tower", "bridge", "market")


def part(topic: str, number: int) -> str:
    """A module of about 200 tokens that has nothing to do with cookies."""
    lines = [f'"""The {topic} and its part {number}."""', ""]
    for name in ("open", "close", "measure", "paint"):
        lines += [
            f"def {name}_{topic}_{number}(size, colour={number}):",
            f"    total = size * {number} + colour",
            f"    return total - len('{topic}')",
            "",
        ]
    return "\n".join(lines)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("corpus")
    (root / "jar.py").write_text(SIGNING)
    for topic in TOPICS:
        (root / topic).mkdir()
        for number in range(8):
            (root / topic / f"part_{number}.py").write_text(part(topic, number))
    return root


@pytest.fixture(scope="module")
def router(corpus: Path) -> Iterator[SelfRouter]:
    patient = RulesPolicy(Doubt(patience_seconds=600.0))  # however busy the machine is
    with SelfRouter.from_path(corpus, policy=patient) as made:
        yield made


@pytest.fixture
def small(tmp_path: Path) -> Path:
    (tmp_path / "jar.py").write_text(SIGNING)
    return tmp_path


class Scripted:
    """A backend that answers, or does not, as it is told; it notes what it was given."""

    def __init__(self, name: str, *, answers: bool, doubt: float = 0.45) -> None:
        self.name, self._answers, self._doubt = name, answers, doubt
        self.after: list[Attempt | None] = []

    def estimate(self, query: Query) -> Estimate:
        return Estimate(0.5, 0.1, 10)

    def answer(self, query: Query, *, after: Attempt | None = None) -> Attempt:
        self.after.append(after)
        text = f"by {self.name}\nin two lines" if self._answers else ""
        usage = Usage(prompt_tokens=10, prefill_seconds=1.0)
        generation = Generation(
            text, confidence=0.8 if self._answers else self._doubt, answerable=self._answers, threshold=0.5
        )
        return Attempt(self.name, generation, (), usage)


class Stubborn:
    """A policy that tries retrieval for ever."""

    name = "stubborn"

    def decide(self, query: object, features: object, estimates: object, attempts: object = ()) -> Decision:
        return Decision("retrieval", {}, "because")


def scripted(
    router: SelfRouter, *, retrieval: bool, long_context: bool, doubt: float = 0.45
) -> tuple[SelfRouter, dict[str, Scripted]]:
    backends = {
        "retrieval": Scripted("retrieval", answers=retrieval, doubt=doubt),
        "long-context": Scripted("long-context", answers=long_context),
    }
    return SelfRouter(router.index, backends, router.policy), backends


def test_a_question_about_one_place_is_answered_by_retrieval_with_its_place(router: SelfRouter) -> None:
    answer = router.ask("Where is sign_cookie defined?")
    assert (answer.route, answer.answerable) == ("retrieval", True)
    assert "def sign_cookie(value, key):" in answer.text
    assert str(answer) == answer.text
    first = answer.citations[0]
    assert (first.path, first.start_line, first.stale) == ("jar.py", 1, False)
    assert SIGNING.encode()[first.start_byte : first.end_byte].decode() == first.text
    assert answer.decision.reason.startswith("it names a symbol")
    assert answer.decision.action == "accept"
    assert len(answer.attempts) == 1
    assert 0 < answer.usage.prompt_tokens <= 8_000
    assert answer.index_age_seconds >= 0


def test_a_question_spread_over_the_corpus_is_read_from_all_of_it(router: SelfRouter) -> None:
    decision = router.explain("list all functions that paint")
    assert (decision.route, decision.action) == ("long-context", "try")
    assert set(decision.estimates) == {"retrieval", "long-context"}
    answer = router.ask("list all functions that paint")
    assert answer.route == "long-context"
    assert answer.usage.prompt_tokens == router.index.stats.tokens


def test_a_small_corpus_is_read_whole(small: Path) -> None:
    with SelfRouter.from_path(small) as router:
        answer = router.ask("Where is sign_cookie defined?")
    assert answer.route == "long-context"
    assert "fits the budget of 8,000" in answer.decision.reason


@pytest.mark.parametrize("route", ["retrieval", "long-context"])
def test_a_forced_route_is_obeyed(router: SelfRouter, route: str) -> None:
    answer = router.ask("Where is sign_cookie defined?", route=route)
    assert (answer.route, answer.answerable) == (route, True)
    assert answer.decision.reason.startswith(f"route {route} was asked for")
    assert router.explain("list all functions", route=route).route == route


def test_a_question_that_the_corpus_does_not_answer_is_declined(router: SelfRouter) -> None:
    answer = router.ask("Which kubernetes ingress controller terminates websockets?")
    assert (answer.answerable, answer.text, answer.citations) == (False, "Not found in this corpus.", ())
    assert answer.decision.action == "decline"
    assert "found no answer" in answer.decision.reason


def test_a_failed_retrieval_escalates_once_and_both_attempts_are_paid_for(router: SelfRouter) -> None:
    asking, backends = scripted(router, retrieval=False, long_context=True)
    answer = asking.ask("Where is sign_cookie defined?")
    assert (answer.route, answer.answerable, answer.text) == ("long-context", True, "by long-context\nin two lines")
    assert [attempt.route for attempt in answer.attempts] == ["retrieval", "long-context"]
    assert answer.usage == Usage(prompt_tokens=20, prefill_seconds=2.0)
    assert backends["long-context"].after == [answer.attempts[0]]
    assert "; then retrieval found no answer" in answer.decision.reason


def test_nothing_is_escalated_when_the_corpus_does_not_speak_of_it(router: SelfRouter) -> None:
    asking, backends = scripted(router, retrieval=False, long_context=True, doubt=0.01)
    answer = asking.ask("Which ingress controller terminates the connection?")
    assert (answer.answerable, len(answer.attempts), backends["long-context"].after) == (False, 1, [])
    assert "the reader's confidence is 0.01" in answer.decision.reason


def test_a_question_after_a_name_that_the_corpus_lacks_is_declined_at_once(router: SelfRouter) -> None:
    asking, backends = scripted(router, retrieval=False, long_context=True)
    answer = asking.ask("Where is sign_cookies_twice defined?")
    assert (answer.answerable, len(answer.attempts), backends["long-context"].after) == (False, 1, [])
    assert "a name in it stands nowhere here" in answer.decision.reason


def test_a_stream_gives_decisions_then_text_then_the_answer(router: SelfRouter) -> None:
    asking, _ = scripted(router, retrieval=False, long_context=True)
    events = list(asking.stream("Where is sign_cookie defined?"))
    assert [event.kind for event in events] == ["decision", "decision", "decision", "tokens", "tokens", "answer"]
    decisions = [event.decision.action for event in events if isinstance(event, DecisionEvent)]
    assert decisions == ["try", "try", "accept"]
    last = events[-1]
    assert isinstance(last, AnswerEvent)
    assert "".join(event.text for event in events if isinstance(event, TokensEvent)) == last.answer.text


async def test_aask_gives_what_ask_gives(router: SelfRouter) -> None:
    answer = await router.aask("Where is sign_cookie defined?")
    assert isinstance(answer, Answer)
    assert answer.text == router.ask("Where is sign_cookie defined?").text


def test_search_gives_hits_best_first(router: SelfRouter) -> None:
    hits = router.search("sign cookie", top_k=3)
    assert all(isinstance(hit, Hit) for hit in hits)
    assert hits[0].chunk.path == "jar.py"
    assert len(hits) == 3
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    with pytest.raises(ValueError, match="top_k"):
        router.search("cookie", top_k=0)


def test_a_forced_route_that_does_not_fit_the_budget_is_refused(router: SelfRouter) -> None:
    with pytest.raises(ContextOverflowError) as raised:
        router.ask("list all functions", route="long-context", budget_tokens=100)
    assert (raised.value.limit, raised.value.n_tokens) == (100, router.index.stats.tokens)


def test_a_spread_question_that_does_not_fit_the_budget_takes_retrieval_and_says_so(router: SelfRouter) -> None:
    answer = router.ask("list all functions that sign a cookie", budget_tokens=500)
    assert answer.route == "retrieval"
    assert "may not be read" in answer.decision.reason
    assert "over the limit of 500" in answer.decision.reason
    assert answer.usage.prompt_tokens <= 500


def test_files_that_changed_are_indexed_before_the_next_question(small: Path) -> None:
    with SelfRouter.from_path(small) as router:
        assert not router.ask("Where is open_window defined?").answerable
        (small / "house.py").write_text("def open_window(width):\n    return width\n")
        answer = router.ask("Where is open_window defined?")
        assert answer.citations[0].location.startswith("house.py:1")
        (small / "house.py").unlink()
        assert not router.ask("Where is open_window defined?").answerable


def test_without_updates_a_changed_file_is_cited_as_stale(small: Path) -> None:
    SelfRouter.from_path(small).close()
    with SelfRouter.from_path(small, update=False) as router:
        (small / "jar.py").write_text("# above\n" + SIGNING)
        answer = router.ask("Where is sign_cookie defined?")
        assert (answer.citations[0].start_line, answer.citations[0].stale) == (2, True)
        assert router.search("sign_cookie")[0].stale


def test_an_unknown_route_names_the_nearest(router: SelfRouter) -> None:
    with pytest.raises(UnknownNameError) as raised:
        router.ask("anything", route="long_context")
    assert raised.value.nearest == "long-context"


def test_an_unknown_policy_names_the_nearest(small: Path) -> None:
    with pytest.raises(UnknownNameError) as raised:
        SelfRouter.from_path(small, policy="always-retreival")
    assert raised.value.nearest == "always-retrieval"


def test_a_budget_below_one_token_is_refused(router: SelfRouter) -> None:
    with pytest.raises(ValueError, match="budget_tokens must be at least 1"):
        router.ask("anything", budget_tokens=0)


def test_objects_can_be_passed_in_without_registration(small: Path) -> None:
    with SelfRouter.from_path(small, embedder=HashingEmbedder(), policy=Forced("retrieval")) as router:
        assert router.ask("Where is sign_cookie defined?").route == "retrieval"
        assert isinstance(router.index.embedder, HashingEmbedder)


def test_a_policy_that_tries_a_route_twice_is_stopped(router: SelfRouter) -> None:
    with pytest.raises(SelfRouteError, match="asked for retrieval twice"):
        SelfRouter(router.index, router.backends, Stubborn()).ask("Where is sign_cookie defined?")


@pytest.mark.parametrize(
    "question",
    [
        "",
        "   ",
        "?!",
        "word " * 20_000,
        "x" * 100_000,
        "쿠키 서명은 어디에",
        "أين يوقع الملف",
        "🍪",
        "\ud83c",
        "a\x00b",
    ],
    ids=["empty", "blank", "marks", "words", "letters", "korean", "arabic", "emoji", "half", "nul"],
)
def test_any_text_is_answered_or_declined(router: SelfRouter, question: str) -> None:
    answer = router.ask(question)
    assert isinstance(answer.answerable, bool)
    assert answer.answerable or answer.text == "Not found in this corpus."
    assert len(router.search(question)) <= 10


def test_the_configuration_beside_the_corpus_counts(small: Path) -> None:
    (small / "selfroute.toml").write_text("route = 'retrieval'\ntop_k = 1\n")
    with SelfRouter.from_path(small) as router:
        assert router.ask("Where is sign_cookie defined?").route == "retrieval"
        assert len(router.search("cookie key selfroute route")) == 1
    with SelfRouter.from_path(small, route="long-context") as router:
        assert router.ask("Where is sign_cookie defined?").route == "long-context"
