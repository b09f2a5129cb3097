"""What a global read by pages shows of itself: recorded with rows, learned from on demand, and never encoded for."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from selfroute import registry
from selfroute.backends.long_context import LongContextBackend
from selfroute.backends.page_signals import N_PAGES, PageSignals
from selfroute.backends.paging import Pages
from selfroute.backends.retrieval import RetrievalBackend
from selfroute.memory.index import Index
from selfroute.models.hashing import HashingEmbedder
from selfroute.models.paged.hashing import HashingPageModel
from selfroute.router.classifier import fitting
from selfroute.router.classifier.fitting import fit
from selfroute.router.classifier.learning import examples_of
from selfroute.router.classifier.seen import SECOND
from selfroute.router.evaluation.cases import Case
from selfroute.router.evaluation.corpora import make_run_folder
from selfroute.router.evaluation.evaluating import evaluate
from selfroute.router.evaluation.report import encode_seconds, lines, notes
from selfroute.router.evaluation.rows import Row, without_clock
from selfroute.router.evaluation.running import Settings, run
from selfroute.router.policies.learned import LearnedCascadePolicy
from selfroute.router.router import SelfRouter
from selfroute.types import (
    LONG_CONTEXT,
    RETRIEVAL,
    Attempt,
    Chunk,
    Decision,
    Estimate,
    Features,
    Generation,
    Query,
    Span,
    Usage,
)

WORDS = "anchor basil copper dune ember fjord garnet harbor iris jasper kelp lagoon maple nectar onyx pebble".split()
QUESTION = "Where is the maple kept?"
GLOBAL = {"pages_null", "pages_mass", "pages_entropy", "pages_attended", "pages_quoted"}


class Reader:
    """Quotes the line that has most words of the question; must not be made to score."""

    fingerprint = "toy:1"

    def __init__(self, term_weight: object = None) -> None:
        self.n_read = 0

    def score(self, question: str, chunks: Sequence[Chunk]) -> NDArray[np.float32]:
        raise AssertionError("all chunks were to be found by their pages")

    def read(self, question: str, chunks: Sequence[Chunk]) -> Generation:
        self.n_read += 1
        asked = set(question.lower().strip("?").split())
        best = max(range(len(chunks)), key=lambda n: len(asked & set(chunks[n].text.lower().split())), default=None)
        if best is None or "walnut" in asked:
            return Generation("", answerable=False, finish="declined")
        return Generation(chunks[best].text[:20], (Span(best, 0, 20, 1.0),), 0.9, threshold=0.5)


class Model(HashingPageModel):
    n_asked = n_encoded = 0

    def encode(self, texts: Sequence[str]) -> list[dict[str, NDArray[np.generic]]]:
        Model.n_encoded += len(texts)
        return super().encode(texts)

    def ask(self, *given: Any) -> Any:
        Model.n_asked += 1
        return super().ask(*given)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "corpus"
    folder.mkdir()
    for word in WORDS:
        text = "".join(f"The {word} is kept in room {n} of the {word} house, number {n}.\n" for n in range(12))
        (folder / f"{word}.txt").write_text(text)
    return folder


@pytest.fixture
def index(root: Path) -> Iterator[Index]:
    Model.n_asked = Model.n_encoded = 0
    with Index.open(root, embedder=HashingEmbedder()) as opened:
        yield opened


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The toy reader and the hashing pages, by name."""
    monkeypatch.setitem(registry.BUILT_IN["reader"], "toy", f"{__name__}:Reader")
    monkeypatch.setenv("SELFROUTE_PAGES", "hashing")
    monkeypatch.setenv("SELFROUTE_READER", "toy")
    monkeypatch.setenv("SELFROUTE_EMBEDDER", "hashing")


def test_signals_say_how_far_the_readers_agree(index: Index) -> None:
    chunks = list(index.chunks())
    best = tuple(chunk.content_hash for chunk in chunks[:N_PAGES])
    signals = PageSignals(0.25, 0.5, 1.5, 0.125, best)
    quoted = Generation("The", (Span(1, 0, 3),), 0.9)
    attempt = Attempt(RETRIEVAL, quoted, (), Usage(), (chunks[3], chunks[0], chunks[-1]))
    found = signals.beside(attempt)
    assert found["pages_quoted"] == 1.0 and found["pages_read"] == 2 / N_PAGES
    assert (found["pages_null"], found["pages_mass"], found["pages_entropy"]) == (0.25, 0.5, 1.5)
    other = replace(attempt, route=LONG_CONTEXT, generation=replace(quoted, spans=(Span(0, 0, 3),)))
    assert signals.beside(other)["pages_quoted"] == 0.0 and "pages_read" not in signals.beside(other)


def test_a_look_encodes_nothing_and_is_not_done_twice(index: Index) -> None:
    pages = Pages(index, Model())
    backend = LongContextBackend(index, Reader(), pages=pages)
    retrieved = RetrievalBackend(index, Reader()).answer(Query(QUESTION))
    assert backend.look(Query(QUESTION), retrieved) == {} and Model.n_encoded == 0
    assert not (index.directory / "pages").exists()
    attempt = backend.answer(Query("Where is the dune kept?"))
    assert attempt.signals.keys() == GLOBAL
    n = Model.n_asked
    looked = backend.look(Query(QUESTION), retrieved)
    assert looked.keys() == {*GLOBAL, "pages_read"} and looked["pages_read"] > 0
    assert backend.answer(Query(QUESTION), after=retrieved).signals["pages_mass"] == looked["pages_mass"]
    assert Model.n_asked == n + 1
    (index.root / "new.txt").write_text("Something new.\n")
    index.update()
    n = Model.n_encoded
    assert backend.look(Query(QUESTION), retrieved) == {} and Model.n_encoded == n


@pytest.mark.parametrize("wants", [True, False])
def test_a_policy_that_wants_signals_has_them_where_all_is_encoded(index: Index, wants: bool) -> None:
    seen: list[Mapping[str, float]] = []

    class Watching:
        name, keeps_answers, wants_signals = "watching", True, wants

        def decide(
            self, query: Query, features: Features, estimates: Mapping[str, Estimate], attempts: Sequence[Attempt] = ()
        ) -> Decision:
            if attempts:
                seen.append(attempts[-1].signals)
            return Decision(RETRIEVAL, estimates, "", "accept" if attempts else "try")

    pages, reader = Pages(index, Model()), Reader()
    backends = {
        RETRIEVAL: RetrievalBackend(index, reader),
        LONG_CONTEXT: LongContextBackend(index, reader, pages=pages),
    }
    router = SelfRouter(index, backends, Watching(), update=False)
    router.ask(QUESTION)
    assert seen == [{}] and Model.n_encoded == 0
    pages.encode_all()
    router.ask(QUESTION)
    assert bool(seen[1]) == wants and (not wants or "pages_read" in seen[1])


# evaluation


def cases(root: Path) -> list[Case]:
    return [
        Case(
            f"c{n}", f"Where is the {word} kept in room {n % 12}?", (f"The {word}",), path=str(root), group=f"g{n % 8}"
        )
        for n, word in enumerate([*WORDS, "walnut", *WORDS, "walnut"])
    ]


@pytest.mark.usefixtures("toy")
def test_rows_have_signals_and_do_not_depend_on_what_was_encoded_before(root: Path, tmp_path: Path) -> None:
    asked = cases(root)[:6]
    made = []
    for name in ("one", "two"):
        make_run_folder(tmp_path / name)
        made.append(list(run(asked, tmp_path / name)))
    one, two = ([without_clock(row.to_json()) for row in rows] for rows in made)
    assert one == two
    done = {(row.case_id, row.route) for row in made[0][:5]}
    rest = list(run(asked, tmp_path / "one", done=done))
    assert [without_clock(row.to_json()) for row in rest] == one[5:]
    for row in made[0]:
        assert row.attempt is not None, row.error
        assert row.attempt.signals.keys() == (GLOBAL if row.route == LONG_CONTEXT else {*GLOBAL, "pages_read"})
        assert Row.from_json(row.to_json()).attempt.signals == row.attempt.signals  # type: ignore[union-attr]
        if row.route == LONG_CONTEXT:
            assert row.estimate.once_tokens == 0
            assert row.attempt.usage.cached_tokens == row.attempt.usage.prompt_tokens > 0
    found = evaluate(asked, made[0], {"oracle": None})
    seconds = encode_seconds(found)
    assert seconds > 0 and seconds == made[0][1].encode_seconds + made[0][0].encode_seconds
    assert f"took {seconds:.1f} s once" in "\n".join(lines(found))
    assert not any("encoding" in note for note in notes(found, times=False))


@pytest.mark.usefixtures("toy")
def test_a_run_says_whether_it_reads_by_pages(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings.of(cases(root), tmp_path).shown()["pages"].startswith("hashing:")
    monkeypatch.setenv("SELFROUTE_PAGES", "off")
    monkeypatch.setenv("SELFROUTE_READER", "evidence")
    assert Settings.of(cases(root), tmp_path).shown()["pages"] == "off"
    make_run_folder(tmp_path / "off")
    rows = list(run(cases(root)[:1], tmp_path / "off"))
    assert all(row.attempt is not None and not row.attempt.signals and not row.encode_seconds for row in rows)


@pytest.mark.usefixtures("toy")
def test_a_router_is_fitted_with_signals_or_without(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fitting, "N_TREES", 3)
    monkeypatch.setattr(fitting, "N_FORESTS", 1)
    make_run_folder(tmp_path / "run")
    asked, draw = cases(root), random.Random(3)
    rows = [Row.from_json(row.to_json()) for row in run(asked, tmp_path / "run")]
    found = evaluate(asked, rows, {})
    with_signals, without = examples_of(found, signals=True), examples_of(found)
    assert {f"{RETRIEVAL}.{name}" for name in (*GLOBAL, "pages_read")} <= with_signals[0].numbers[SECOND].keys()
    assert not any("pages_" in name for example in without for name in example.numbers[SECOND])
    many = [
        replace(e, id=f"{e.id}-{k}", right={RETRIEVAL: float(draw.random() < 0.5), LONG_CONTEXT: float(k % 2)})
        for k in range(4)
        for e in with_signals
    ]
    policy = LearnedCascadePolicy(fit(many), many[0].model)
    assert policy.wants_signals
    plain = [
        replace(e, numbers={s: {n: x for n, x in of.items() if "pages_" not in n} for s, of in e.numbers.items()})
        for e in many
    ]
    assert not LearnedCascadePolicy(fit(plain), many[0].model).wants_signals
    attempt = rows[0].attempt
    assert attempt is not None
    estimates = {row.route: row.estimate for row in rows[:2]}
    p = policy.predict(Query(asked[0].question), rows[0].features, estimates, (replace(attempt, signals={}),))
    assert 0 <= p.p[LONG_CONTEXT] <= 1  # what is missing is taken as the mean
