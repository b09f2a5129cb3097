"""Policies replayed on rows, the figures that are made of it, and how sure they are."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest

from selfroute import Attempt, Citation, Decision, Estimate, Features, Generation, Usage
from selfroute.errors import ConfigError, UnknownNameError
from selfroute.router.evaluation import curves, exports, html, intervals, report
from selfroute.router.evaluation.breakdown import by_kind, by_size
from selfroute.router.evaluation.cases import Case
from selfroute.router.evaluation.coverage import Setting, simulate
from selfroute.router.evaluation.evaluating import Evaluation, evaluate, make_policies
from selfroute.router.evaluation.gate import missed, parse_gate
from selfroute.router.evaluation.metrics import best_fixed, figures
from selfroute.router.evaluation.replaying import Outcome, fixed, oracle, replay
from selfroute.router.evaluation.rows import Row
from selfroute.router.evaluation.scoring import Score, score
from selfroute.router.policies.random import RandomPolicy
from selfroute.router.policies.self_route import SelfRoutePolicy
from selfroute.types import LONG_CONTEXT, RETRIEVAL, Limits, Query

FEATURES = Features(5, False, False, True, False, False, False, 2.5, 0.25, 2, 0.5, 0.75, 30_000, 12, 8_000)
COSTS = {RETRIEVAL: (4_000, 0.5), LONG_CONTEXT: (30_000, 2.0)}
DOLLARS = {RETRIEVAL: 0.125, LONG_CONTEXT: 0.5}
EVIL = '<script src="http://evil.example/x.js"></script>\u202e\x1b[31m'


def row(case: Case, route: str, text: str | None) -> Row:
    """A route's row: what it answered, "" for a decline, None for a failure."""
    tokens, seconds = COSTS[route]
    found = Generation(text or "", (), 0.9 if text else 0.1, bool(text), threshold=0.4)
    cited = (Citation("a.py", 1, 1, 0, 1, ""),) if text else ()
    attempt = Attempt(route, found, cited, Usage(tokens, 0, 3, dollars=DOLLARS[route])) if text is not None else None
    estimate = Estimate(0.67, seconds, tokens, dollars=0.25)
    return Row(case.id, route, FEATURES, estimate, attempt, seconds, "" if attempt else f"Gone: {EVIL}")


def asked(number: int, *, right: str = "42", **fields: object) -> Case:
    return replace(
        Case(f"c{number}", f"how many are there of {number}?", (right,), group=f"g{number % 4}", kind="counting"),
        **fields,  # type: ignore[arg-type]
    )


class Predicting:
    """Says the probabilities of a table, and takes the larger."""

    name = "predicting"

    def __init__(self, p: Mapping[str, tuple[float, float]]) -> None:
        self.p = p

    def decide(
        self, query: Query, features: Features, estimates: Mapping[str, Estimate], attempts: Sequence[Attempt] = ()
    ) -> Decision:
        p = dict(zip((RETRIEVAL, LONG_CONTEXT), self.p[query.text], strict=True))
        said = {route: replace(one, p_correct=p[route]) for route, one in estimates.items()}
        if attempts:
            found = attempts[-1].generation.answerable
            return Decision(attempts[-1].route, estimates, "seen", "accept" if found else "decline")
        return Decision(max(p, key=lambda route: p[route]), said, "said")


def of_case(case: Case, retrieval: str | None, whole: str | None) -> tuple[dict[str, Row], dict[str, Score]]:
    rows = {RETRIEVAL: row(case, RETRIEVAL, retrieval), LONG_CONTEXT: row(case, LONG_CONTEXT, whole)}
    return rows, {route: score(case, one) for route, one in rows.items()}


def test_a_second_attempt_costs_beside_the_first() -> None:
    case = asked(1)
    found = replay(SelfRoutePolicy(), case, *of_case(case, "", "42"))
    assert (found.route, found.right, found.attempts) == (LONG_CONTEXT, True, (RETRIEVAL, LONG_CONTEXT))
    assert (found.tokens, found.seconds, found.dollars, found.long_context) == (34_000, 2.5, 0.625, True)
    assert found.p == {} and found.p_chosen is None  # it gives the routes' priors on
    held = replay(SelfRoutePolicy(), case, *of_case(case, "", "42"), Limits(max_tokens=8_000))
    assert (held.declined, held.right, held.attempts) == (True, False, (RETRIEVAL,))


def test_declining_is_right_where_there_is_no_answer() -> None:
    case = asked(1, answers=(), unanswerable=True)
    found = replay(SelfRoutePolicy(), case, *of_case(case, "", ""))
    assert (found.right, found.declined) == (True, True)
    assert replay(SelfRoutePolicy(), case, *of_case(case, "7", "")).right is False


def test_what_a_policy_cannot_have_is_unscored() -> None:
    case = asked(1)
    gone = replay(SelfRoutePolicy(), case, *of_case(case, None, "42"))
    assert gone.right is None and gone.why.startswith("Gone: ")

    class Twice(RandomPolicy):
        def decide(self, *args: object, **more: object) -> Decision:
            return Decision(RETRIEVAL, {}, "again")

    class Failing(RandomPolicy):
        def decide(self, *args: object, **more: object) -> Decision:
            raise RuntimeError("no weights")

    assert replay(Twice(), case, *of_case(case, "42", "42")).why == "the policy asked for retrieval twice"
    assert replay(Failing(), case, *of_case(case, "42", "42")).why == "the policy failed: RuntimeError: no weights"


def test_what_a_policy_says_of_itself_is_kept() -> None:
    case = asked(1)
    found = replay(Predicting({case.question: (0.3, 0.8)}), case, *of_case(case, "42", "42"))
    assert found.p == {RETRIEVAL: 0.3, LONG_CONTEXT: 0.8}
    assert found.p_chosen == 0.8


@pytest.mark.parametrize(
    ("retrieval", "whole", "route", "right"),
    [
        ("42", "42", RETRIEVAL, True),
        ("7", "42", LONG_CONTEXT, True),
        ("7", "7", RETRIEVAL, False),
        (None, "42", LONG_CONTEXT, True),
        (None, "7", RETRIEVAL, None),
        (None, None, RETRIEVAL, None),
    ],
)
def test_the_oracle_takes_the_right_route_or_the_cheaper(
    retrieval: str | None, whole: str | None, route: str, right: bool | None
) -> None:
    case = asked(1)
    found = oracle(case, *of_case(case, retrieval, whole))
    assert (found.route, found.right) == (route, right)


# right by (retrieval, long context), and what is predicted of each
TABLE = [(1, 0, 0.9, 0.2), (1, 1, 0.8, 0.6), (0, 1, 0.3, 0.7), (0, 1, 0.5, 0.4), (0, 0, 0.6, 0.1), (1, 1, 0.7, 0.75)]


@pytest.fixture
def evaluation() -> Evaluation:
    """Six scored cases, one that has no answer, one of which a route failed."""
    cases = [asked(i) for i in range(len(TABLE))]
    rows = []
    for case, (short, whole, _, _) in zip(cases, TABLE, strict=True):
        rows += [row(case, RETRIEVAL, "42" if short else "7"), row(case, LONG_CONTEXT, "42" if whole else EVIL)]
    none = asked(6, answers=(), unanswerable=True, kind="")
    gone = asked(7, question=f"what of {EVIL}?", group=EVIL, kind=EVIL)
    rows += [row(none, RETRIEVAL, ""), row(none, LONG_CONTEXT, "7")]
    rows += [row(gone, RETRIEVAL, None), row(gone, LONG_CONTEXT, "42")]
    p = {case.question: (a, b) for case, (_, _, a, b) in zip(cases, TABLE, strict=True)}
    p |= {none.question: (0.5, 0.4), gone.question: (0.9, 0.1)}
    policies = {"predicting": Predicting(p), **make_policies(["self-route", "always-retrieval", "oracle"])}
    return evaluate([*cases, none, gone, asked(99)], rows, policies)


def test_figures(evaluation: Evaluation) -> None:
    assert len(evaluation.cases) == 8  # the ninth was not run
    assert evaluation.best_fixed == RETRIEVAL  # four of seven by both, without the one that failed
    first = evaluation.first
    assert (first.policy, first.n, first.n_unscored, first.n_groups) == ("predicting", 7, 1, 4)
    assert first.accuracy == pytest.approx(5 / 7)  # retrieval for all but the third and the sixth
    assert first.gap_recovered == pytest.approx(1 / 2)  # oracle 6 of 7, best fixed 4
    assert first.regret == pytest.approx(1 / 7)
    assert first.long_context_share == pytest.approx(2 / 7)
    assert first.token_share == pytest.approx((5 * 4_000 + 2 * 30_000) / (7 * 30_000))
    assert first.seconds == pytest.approx((5 * 0.5 + 2 * 2.0) / 7)
    assert first.paired is not None and first.paired.difference == pytest.approx(1 / 7)
    assert first.paired.p == 1.0
    told = [0.9, 0.8, 0.7, 0.5, 0.6, 0.75, 0.5]
    right = [True, True, True, False, False, True, True]
    assert first.ece == pytest.approx(curves.calibration_error(told, right))
    whole = next(one for one in evaluation.figures if one.policy == "oracle")
    assert (whole.gap_recovered, whole.regret, whole.ece, whole.apgr) == (1.0, 0.0, None, None)
    kept = next(one for one in evaluation.figures if one.policy == "always-retrieval")
    assert (kept.n, kept.n_unscored, kept.gap_recovered) == (7, 1, 0.0)


def test_figures_that_cannot_be_said_are_none() -> None:
    case = asked(1)
    rows, scores = of_case(case, None, None)
    of = {route: {case.id: fixed(route, case, rows, scores)} for route in rows}
    found = figures("p", of[RETRIEVAL], of, {case.id: oracle(case, rows, scores)})
    assert (found.n, found.n_unscored) == (0, 1)
    assert {found.accuracy, found.interval, found.gap_recovered, found.regret, found.paired, found.ece} == {None}
    assert best_fixed(of) == RETRIEVAL


def test_the_order_of_gains_makes_the_curves() -> None:
    short, whole = [1.0, 1.0, 0.0, 0.0], [0.0, 1.0, 1.0, 0.0]
    perfect, wrong, flat = [-1.0, 0.0, 1.0, 0.0], [1.0, 0.0, -1.0, 0.0], [0.0] * 4
    assert curves.quality_curve(perfect, short, whole) == [0.5, 0.75, 0.75, 0.75, 0.5]
    assert curves.apgr(perfect, short, whole) == pytest.approx(1.0)
    assert curves.apgr(flat, short, whole) == pytest.approx(0.0)
    assert curves.apgr(wrong, short, whole) == pytest.approx(-1.0)
    assert curves.cpt50(perfect, short, whole) == 0.25
    assert curves.cpt50(wrong, short, whole) is None
    assert curves.apgr(perfect, short, short) is None and curves.cpt50([], [], []) is None


def test_calibration_bins_never_part_equal_probabilities() -> None:
    assert curves.bins([0.7] * 30, [True] * 21 + [False] * 9) == [(pytest.approx(0.7), 0.7, 30)]
    assert curves.calibration_error([0.7] * 30, [True] * 21 + [False] * 9) == pytest.approx(0.0)
    spread = curves.bins([i / 300 for i in range(300)], [True] * 300)
    assert [n for _, _, n in spread] == [20] * 15
    assert curves.calibration_error([], []) is None


def test_intervals_of_independent_cases_are_the_known_ones() -> None:
    low, high = intervals.share_interval([True] * 70 + [False] * 30, list(range(100))) or (0, 0)
    assert (low, high) == (pytest.approx(0.604, abs=0.003), pytest.approx(0.781, abs=0.003))  # Wilson
    assert intervals.mcnemar([1] * 8 + [-1] * 2 + [0] * 50) == pytest.approx(0.109375)
    assert intervals.mcnemar([0, 0]) is None
    assert intervals.mcnemar([1] * 1500 + [-1] * 500) == pytest.approx(0.0, abs=1e-9)
    assert intervals.share_interval([], []) is None and intervals.difference_interval([1], ["a"]) is None


def test_cases_of_one_group_say_less() -> None:
    right = [True] * 50 + [False] * 50
    apart = intervals.share_interval(right, list(range(100)))
    clumped = intervals.share_interval(right, [i // 10 for i in range(100)])
    assert apart is not None and clumped is not None
    assert clumped[1] - clumped[0] > 2 * (apart[1] - apart[0])
    assert intervals.share_interval(right, ["one"] * 100) == apart  # nothing to tell groups apart by
    nothing = intervals.difference_interval([0] * 100, list(range(100)))
    assert nothing is not None and nothing[0] < 0 < nothing[1]


@pytest.mark.parametrize(
    "setting", [Setting(60, 1, 0.7, 0.05, 0.1), Setting(30, 5, 0.6, 0.0, 0.15), Setting(12, 10, 0.8, 0.03, 0.1)]
)
def test_intervals_hold_the_truth_as_often_as_they_say(setting: Setting) -> None:
    of_share, of_difference = simulate(setting, 400)
    assert 0.92 <= of_share <= 0.99
    assert 0.92 <= of_difference <= 0.99


def test_the_report_says_what_can_be_told(evaluation: Evaluation) -> None:
    said = "\n".join(report.lines(evaluation))
    assert "predicting is right in 71.4% of 7 cases" in said
    assert "14.3 points above always-retrieval, the best fixed route" in said
    assert "within the noise of 7 cases (a difference below" in said
    assert "1 of 8 cases are unscored" in said
    table = said.splitlines()
    assert table[0].split()[0] == "policy" and "seconds" in table[0]
    assert "seconds" not in next(report.lines(evaluation, times=False))


def test_kinds_and_sizes(evaluation: Evaluation) -> None:
    kinds = {part.name: part for part in by_kind(evaluation)}
    assert kinds["counting"].n == 6 and kinds["counting"].cells["predicting"].accuracy == pytest.approx(4 / 6)
    assert kinds["unanswerable"].cells["predicting"].accuracy == 1.0
    assert kinds[EVIL].cells["predicting"].accuracy is None
    assert [(part.name, part.n) for part in by_size(evaluation)] == [("8K to 32K", 8)]


class Page(HTMLParser):
    """What a page would fetch or run, the anchors it has and those it links to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.ids: set[str] = set()
        self.links: set[str] = set()
        self.tags: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            if name in ("src", "href", "srcset", "data", "action", "poster") and not (value or "").startswith("#"):
                self.fetched.append(f"{tag} {name}={value}")
            if name == "href" and value:
                self.links.add(value.removeprefix("#"))
            if name == "id" and value:
                self.ids.add(value)
            assert not name.startswith("on"), name


def test_the_page_fetches_nothing_runs_nothing_and_escapes_everything(evaluation: Evaluation) -> None:
    text = html.page(evaluation)
    page = Page(text)
    assert page.fetched == []
    assert not page.tags & {"script", "link", "iframe", "img", "object", "embed", "base", "form"}
    assert page.links and page.links <= page.ids
    assert not re.search(r"url\(|@import|javascript:", text)
    assert "default-src 'none'; style-src 'unsafe-inline'" in text
    assert "\u202e" not in text and "\x1b" not in text
    assert "&lt;script" in text
    for name in ("predicting", "self-route", "oracle"):
        assert name in text
    assert "seconds" in text and "seconds" not in html.page(evaluation, times=False)


def test_a_page_without_predictions_or_regrets_says_so() -> None:
    case = asked(1)
    found = evaluate([case], [row(case, RETRIEVAL, "42"), row(case, LONG_CONTEXT, "42")], make_policies(["rules"]))
    text = html.page(found)
    assert "No policy of this report predicts" in text
    assert "None: wherever a route is right, so is the policy." in text


def test_the_report_for_machines(evaluation: Evaluation, tmp_path: Path) -> None:
    exports.write_report(evaluation, tmp_path)
    found = json.loads((tmp_path / "report.json").read_text())
    assert [one["policy"] for one in found["policies"]] == ["predicting", "self-route", "always-retrieval", "oracle"]
    assert found["unscored"] == [{"case": "c7", "route": "retrieval", "why": f"Gone: {EVIL}"}]
    suite = ElementTree.parse(tmp_path / "junit.xml").getroot()
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("8", "2", "1")
    assert len(suite.findall("testcase/skipped")) == 1
    rows = pytest.importorskip("pyarrow.parquet").read_table(tmp_path / "outcomes.parquet").to_pylist()
    assert len(rows) == 4 * 8
    assert {one["right"] for one in rows} == {True, False, None}
    without = exports.report_object(evaluation, times=False)
    assert "seconds" not in without["policies"][0]


def test_without_pyarrow_there_is_a_note(
    evaluation: Evaluation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    assert exports.write_report(evaluation, tmp_path) == [exports.WITHOUT_PARQUET]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["junit.xml", "report.json"]


def test_gates(evaluation: Evaluation) -> None:
    first = evaluation.first
    assert missed(parse_gate("accuracy>=0.7 and gap_recovered >= 20% AND seconds<2"), first) == []
    assert missed(parse_gate("accuracy>=0.8, n==7"), first) == ["accuracy is 0.7143, not >= 0.8"]
    kept = next(one for one in evaluation.figures if one.policy == "self-route")
    assert missed(parse_gate("ece<=0.1"), kept) == ["ece cannot be said, and had to be <= 0.1"]
    with pytest.raises(UnknownNameError, match="unknown figure 'acuracy'") as found:
        parse_gate("acuracy>0.5")
    assert found.value.nearest == "accuracy"
    for text in ("", "accuracy", "accuracy=>0.5", "accuracy>=x", "__import__('os')", "accuracy>=0.8 and", "1>0"):
        with pytest.raises(ConfigError):
            parse_gate(text)


def test_policies_by_name() -> None:
    made = make_policies()
    assert next(iter(made)) == "rules" and list(made)[-1] == "oracle" and made["oracle"] is None
    assert {"always-retrieval", "always-long-context", "random", "self-route"} <= made.keys()
    with pytest.raises(UnknownNameError, match="unknown policy 'ruels'"):
        make_policies(["ruels"])
    with pytest.raises(ConfigError, match="named twice"):
        make_policies(["rules", "rules"])


def test_a_policy_may_be_made_for_each_case() -> None:
    class Cheat:
        def for_case(self, case: Case, rows: Mapping[str, Row], scores: Mapping[str, Score]) -> Predicting:
            best = max(rows, key=lambda route: bool(scores[route].right))
            return Predicting({case.question: (float(best == RETRIEVAL), float(best == LONG_CONTEXT))})

    case = asked(1)
    found: Outcome = replay(Cheat(), case, *of_case(case, "7", "42"))
    assert (found.right, found.route) == (True, LONG_CONTEXT)


def test_nothing_run_is_an_error() -> None:
    with pytest.raises(ConfigError, match="no case has been run"):
        evaluate([asked(1)], [], make_policies(["rules"]))
