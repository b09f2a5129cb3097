"""How benchmarks/policies.py draws questions, replays attempts, and judges what policies make of them."""

import importlib.util
import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from selfroute import Answer, Attempt, Chunk, Decision, Estimate, Generation, Query, Usage

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"


def load(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, BENCHMARKS / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


for needed in ("code_cases", "reader", "open_qa"):
    load(needed)
policies = load("policies")
Asked = policies.Asked
CODE = Asked("code", "shop", "how many?", ("50",), "any")
SQUAD = Asked("squad", "squad", "who?", ("the white house",), "f1")
NONE = Asked("code", "shop", "how many?", (), "any")
CHUNKS = tuple(Chunk(name, name, f"{name}.py", 1, 1, "x") for name in "abc")


def answer(text: str, *routes: str) -> Answer:
    """By the last of these routes; "" is a decline. Retrieval reads three chunks."""
    found = Generation(text, answerable=bool(text))
    attempts = tuple(Attempt(route, found, (), Usage(), CHUNKS) for route in routes)
    decision = Decision(routes[-1], {}, "because", "accept" if text else "decline")
    return Answer(text or "Not found.", routes[-1], (), 0.5, bool(text), decision, attempts, Usage())


@pytest.mark.parametrize(
    ("asked", "text", "right", "holds", "exact", "sound"),
    [
        (CODE, "50", True, True, True, True),
        (CODE, "size = 50", True, True, False, True),
        (CODE, "60", False, False, False, False),
        (CODE, "", False, False, False, False),
        (SQUAD, "White House", True, True, True, True),
        (SQUAD, "a white house stands", True, True, False, True),
        (SQUAD, "house", True, False, False, True),
        (SQUAD, "it is said that the white house stands there since long", False, True, False, False),
        (NONE, "50", False, False, False, False),
        (NONE, "", False, False, False, True),
    ],
)
def test_an_answer_is_judged_as_its_sort_is(
    asked: Any, text: str, right: bool, holds: bool, exact: bool, sound: bool
) -> None:
    judged = policies.outcome(asked, answer(text, "retrieval"), 100, 0.1)
    assert (judged.right, judged.holds, judged.exact, judged.sound) == (right, holds, exact, sound)
    assert judged.declined is not bool(text)


def test_chunks_and_escalations_are_counted_over_all_attempts() -> None:
    once = policies.outcome(CODE, answer("50", "retrieval"), 100, 0.1)
    assert (once.n_chunks, once.escalated, once.read_all) == (3, False, False)
    both = policies.outcome(CODE, answer("50", "retrieval", "long-context"), 100, 0.1)
    assert (both.n_chunks, both.escalated, both.read_all) == (103, True, True)
    alone = policies.outcome(CODE, answer("50", "long-context"), 100, 0.1)
    assert (alone.n_chunks, alone.escalated, alone.read_all) == (100, False, True)


def test_an_interval_holds_its_mean_and_is_the_same_again() -> None:
    values = [1.0] * 30 + [0.0] * 70
    mean, low, high = policies.interval(values)
    assert mean == 0.3
    assert 0.19 <= low < 0.3 < high <= 0.41
    assert policies.interval(values) == (mean, low, high)
    assert policies.interval([1.0, 1.0]) == (1.0, 1.0, 1.0)
    assert policies.interval([]) is None


def test_a_report_keeps_answerable_and_unanswerable_apart() -> None:
    outcomes = [
        policies.outcome(CODE, answer("50", "retrieval"), 100, 1.0),
        policies.outcome(CODE, answer("", "retrieval", "long-context"), 100, 2.0),
        policies.outcome(NONE, answer("", "retrieval"), 100, 3.0),
        policies.outcome(NONE, answer("7", "retrieval", "long-context"), 100, 4.0),
    ]
    report = policies.report(outcomes)
    means = {name: value[0] for name, value in report.items() if isinstance(value, tuple)}
    assert (report["n"], report["n_no_answer"], report["seconds_p50"]) == (4, 2, 2.5)
    assert (means["sound"], means["right"], means["declined_answerable"], means["declined_no_answer"]) == (0.5,) * 4
    assert (means["escalated"], means["rescued"], means["read_all"]) == (0.5, 0.0, 0.5)
    assert (means["chunks"], means["seconds"]) == (53.0, 2.5)
    shown = policies.table({"rules": report}, "code")
    assert shown.splitlines()[1].startswith("rules  50 [")


class Counting:
    """A backend that counts how often it is really asked."""

    name = "retrieval"

    def __init__(self) -> None:
        self.n_answers = self.n_estimates = 0

    def estimate(self, query: Query) -> Estimate:
        self.n_estimates += 1
        return Estimate(0.5, float(self.n_estimates), 10)

    def answer(self, query: Query, *, after: Attempt | None = None) -> Attempt:
        self.n_answers += 1
        return Attempt(self.name, Generation(f"{self.n_answers}"), (), Usage())


def test_a_route_answers_a_question_once_and_its_time_counts_each_time() -> None:
    inner = Counting()
    once = policies.Once(inner)
    first = once.answer(Query("a"))
    waited = once.waited
    assert once.answer(Query("a"), after=first) is first
    assert (once.seconds, once.waited) == (2 * waited, waited)
    assert once.estimate(Query("a")) == once.estimate(Query("a"))
    once.answer(Query("b"))
    assert (inner.n_answers, inner.n_estimates) == (2, 1)


def test_questions_are_drawn_from_every_group_in_turn() -> None:
    groups = {
        name: [Asked("code", name, f"{name}{i}", (), "any") for i in range(n)] for name, n in (("x", 9), ("y", 2))
    }
    drawn = policies.in_turn(groups, 6, random.Random(0))
    assert [asked.corpus for asked in drawn] == ["x", "y", "x", "y", "x", "x"]
    assert len({asked.question for asked in drawn}) == 6
    assert len(policies.in_turn(groups, 99, random.Random(0))) == 11


@pytest.fixture
def squad_file(tmp_path: Path) -> Path:
    def article(title: str, thing: str) -> dict[str, object]:
        text = f"The {thing} was built in the valley by {title} people."
        at = text.index(title)
        qas = [{"question": f"Who built the {thing}?", "answers": [{"text": title, "answer_start": at}]}]
        return {"title": title, "paragraphs": [{"context": text, "qas": qas}]}

    titled = (("Roman", "bridge"), ("Dutch", "mill"), ("Greek", "temple"), ("Norse", "harbour"))
    (tmp_path / "dev.json").write_text(json.dumps({"data": [article(*pair) for pair in titled]}))
    return tmp_path / "dev.json"


def test_articles_that_are_left_out_are_asked_about_and_not_written(squad_file: Path, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    drawn = policies.squad_questions(squad_file, corpus, 4, 1, 0, left_out=0.25, n_articles=None)
    written = {path.stem for path in corpus.iterdir()}
    assert len(written) == 3
    assert {asked.answers[0] for asked in drawn if asked.answers} == written
    assert sum(not asked.answers for asked in drawn) == 1


def test_every_policy_answers_every_question_over_small_corpora(squad_file: Path, tmp_path: Path) -> None:
    shop = tmp_path / "shop"
    shop.mkdir()
    (shop / "shop.py").write_text("def open_shop(hour: int = 9):\n    return hour\n")
    command = [sys.executable, str(BENCHMARKS / "policies.py"), "--package", str(shop), "--squad", str(squad_file)]
    done = subprocess.run([*command, "--n", "8", "--reader", "evidence"], capture_output=True, text=True, check=True)
    result = json.loads(done.stdout.splitlines()[-1])
    assert set(result["policies"]) == {"code", "squad", "all"}
    for figures in result["policies"]["all"].values():
        assert (figures["n"], figures["n_no_answer"]) == (8, 2)
    assert result["policies"]["all"]["always-long-context"]["read_all"] == [1.0, 1.0, 1.0]
    assert "self-route" in done.stdout
