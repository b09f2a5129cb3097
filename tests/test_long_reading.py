"""Reading a whole corpus by scores: what was read is not read again, whatever ends a reading, and nothing changes by
it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from selfroute.backends import scoring
from selfroute.backends.base import Announcing
from selfroute.backends.long_context import LongContextBackend
from selfroute.backends.scoring import BATCH_CHUNKS, N_BEST, forecast
from selfroute.errors import ContextOverflowError
from selfroute.memory.index import Index
from selfroute.memory.rates import Rates
from selfroute.memory.reader_scores import FILE, ReaderScores
from selfroute.models.base import ChunkScorer, Reader
from selfroute.models.evidence import EvidenceReader
from selfroute.models.hashing import HashingEmbedder
from selfroute.router.events import DecisionEvent
from selfroute.router.policies.fixed import AlwaysLongContext
from selfroute.router.router import SelfRouter
from selfroute.types import Attempt, Chunk, Generation, Limits, Query, Span

QUESTION = "What is the number of the prize?"
N_FILES, N_EACH = 30, 5


class Scorer:
    """Scores a chunk by the number in it, and quotes the number of the best one."""

    fingerprint = "scorer:1"

    def __init__(self) -> None:
        self.scored: list[Chunk] = []
        self.batches: list[int] = []
        self.given: list[list[Chunk]] = []

    def score(self, question: str, chunks: Sequence[Chunk]) -> NDArray[np.float32]:
        self.scored += chunks
        self.batches.append(len(chunks))
        return np.array([self.number(chunk) for chunk in chunks], np.float32)

    def read(self, question: str, chunks: Sequence[Chunk]) -> Generation:
        self.given.append(list(chunks))
        best = max(range(len(chunks)), key=lambda n: self.number(chunks[n]), default=None)
        if best is None:
            return Generation("", answerable=False, finish="declined")
        text = chunks[best].text
        at = text.index("prize_")
        return Generation(text[at : at + 9], (Span(best, at, at + 9, 1.0),), 1.0)

    @staticmethod
    def number(chunk: Chunk) -> int:
        return int(chunk.text.partition("prize_")[2][:3] or 0)


def write(root: Path, n_files: int = N_FILES) -> Path:
    """Files of N_EACH functions, each large enough to be a chunk by itself and with a number of its own."""
    for i in range(n_files):
        parts = []
        for k in range(N_EACH):
            lines = "".join(f"    total_{n} = value * {n} + {i} + {k}\n" for n in range(14))
            number = (37 * (i * N_EACH + k)) % 900
            parts.append(f"def prize_{number:03}(value):\n{lines}    return total_13\n\n\n")
        path = root / f"part_{i % 3}" / f"module_{i:03}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(parts))
    return root


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus and its index, to be copied."""
    folder = tmp_path_factory.mktemp("long")
    Index.open(write(folder / "corpus"), directory=folder / "index", embedder=HashingEmbedder(64)).close()
    return folder


@pytest.fixture
def index(made: Path, tmp_path: Path) -> Iterator[Index]:
    shutil.copytree(made / "index", tmp_path / "index")
    shutil.copytree(made / "corpus", tmp_path / "corpus")
    with Index.open(tmp_path / "corpus", directory=tmp_path / "index", embedder=HashingEmbedder(64)) as opened:
        yield opened


def ask(index: Index, question: str = QUESTION, **options: object) -> tuple[Scorer, Attempt]:
    scorer = Scorer()
    return scorer, LongContextBackend(index, scorer).answer(Query(question), **options)  # type: ignore[arg-type]


def test_the_fake_is_what_the_route_takes_it_for() -> None:
    assert isinstance(Scorer(), ChunkScorer) and isinstance(Scorer(), Reader)
    assert not isinstance(EvidenceReader(), ChunkScorer)


def test_every_chunk_is_scored_once_and_the_best_are_read_together(index: Index) -> None:
    scorer, attempt = ask(index)
    everything = list(index.chunks())
    assert scorer.scored == everything
    assert max(scorer.batches) == BATCH_CHUNKS and len(scorer.batches) == -(-len(everything) // BATCH_CHUNKS)
    ranked = sorted(everything, key=Scorer.number, reverse=True)
    assert scorer.given == [ranked[:N_BEST]] == [list(attempt.chunks)]
    assert attempt.generation.text == f"prize_{max((37 * n) % 900 for n in range(N_FILES * N_EACH)):03}"
    assert attempt.citations[0].path == ranked[0].path
    assert (attempt.usage.prompt_tokens, attempt.usage.cached_tokens) == (index.stats.tokens, 0)
    assert attempt.notes == (f"read all {len(everything)} chunks, {index.stats.tokens:,} tokens, of {N_FILES} files",)


def test_the_same_question_reads_only_the_best_again(index: Index) -> None:
    _, first = ask(index)
    scorer, second = ask(index)
    assert (scorer.scored, len(scorer.given)) == ([], 1)
    assert (second.generation, second.citations, second.chunks) == (first.generation, first.citations, first.chunks)
    assert second.usage.cached_tokens == second.usage.prompt_tokens == first.usage.prompt_tokens
    n = index.stats.chunks
    assert second.notes[0].endswith(f"of {N_FILES} files, {n} of them in an earlier reading")


def test_another_question_and_another_reader_read_everything(index: Index) -> None:
    ask(index)
    assert len(ask(index, "Another question?")[0].scored) == index.stats.chunks
    other = Scorer()
    other.fingerprint = "scorer:2"
    LongContextBackend(index, other).answer(Query(QUESTION))
    assert len(other.scored) == index.stats.chunks


def test_only_what_changed_is_read_and_what_moved_is_not(index: Index) -> None:
    ask(index)
    changed, moved = index.root / "part_0/module_000.py", index.root / "part_1/module_001.py"
    changed.write_text(changed.read_text().replace("def prize_000", "def prize_998", 1))
    moved.write_text("# one\n# two\n\n\n" * 40 + moved.read_text())
    index.update()
    scorer, attempt = ask(index)
    paths = {chunk.path for chunk in scorer.scored}
    assert paths == {"part_0/module_000.py", "part_1/module_001.py"}
    assert sum(chunk.path == "part_0/module_000.py" for chunk in scorer.scored) == 1
    assert all("def prize_" not in c.text for c in scorer.scored if c.path == "part_1/module_001.py" and c.symbol)
    assert attempt.generation.text == "prize_998"


def test_progress_counts_what_is_known_at_once(index: Index) -> None:
    def steps(question: str) -> list[tuple[str, int, int]]:
        seen: list[tuple[str, int, int]] = []
        LongContextBackend(index, Scorer(), progress=lambda *step: seen.append(step)).answer(Query(question))
        return seen

    n = index.stats.chunks
    batches = [*range(0, n, BATCH_CHUNKS), n]
    assert steps(QUESTION) == [("read", 0, n), *(("read", done, n) for done in batches)]
    assert steps(QUESTION) == [("read", 0, n), ("read", n, n)]


def test_what_retrieval_has_read_counts_as_cached(index: Index) -> None:
    some = tuple(index.chunks())[3:6]
    earlier = replace(ask(index, "Another question?")[1], chunks=some)
    _, attempt = ask(index, after=earlier)
    assert attempt.usage.cached_tokens == sum(chunk.n_tokens for chunk in some)


def test_a_corpus_beyond_the_limit_is_neither_read_nor_announced(index: Index) -> None:
    backend, query = LongContextBackend(index, Scorer()), Query(QUESTION, limits=Limits(max_tokens=9))
    with pytest.raises(ContextOverflowError):
        backend.answer(query)
    assert backend.announce(query) == ""
    assert not (index.directory / FILE).exists()


def test_scores_that_cannot_be_kept_change_nothing(index: Index) -> None:
    _, expected = ask(index)
    (index.directory / FILE).unlink()
    (index.directory / FILE).mkdir()
    for _ in range(2):
        scorer, attempt = ask(index)
        assert len(scorer.scored) == index.stats.chunks
        assert (attempt.generation, attempt.chunks, attempt.notes) == (
            expected.generation,
            expected.chunks,
            expected.notes,
        )


def test_an_index_without_an_answer_is_declined_after_reading_it_all(index: Index) -> None:
    class Declining(Scorer):
        def score(self, question: str, chunks: Sequence[Chunk]) -> NDArray[np.float32]:
            return np.full(len(chunks), -np.inf, np.float32)

    attempt = LongContextBackend(index, Declining()).answer(Query(QUESTION))
    assert (attempt.generation.answerable, attempt.chunks) == (False, ())


# what it will take


def test_the_forecast_is_of_the_measured_pace_and_of_what_is_left(index: Index) -> None:
    scorer, stats = Scorer(), index.stats
    n_batch = N_BEST * stats.tokens / stats.chunks
    going_through = stats.tokens / scoring.SCAN_TOKENS_PER_SECOND
    before = forecast(QUESTION, index, scorer)
    assert before.seconds == pytest.approx((stats.tokens + n_batch) / scoring.TOKENS_PER_SECOND + going_through)
    assert not (index.directory / FILE).exists()  # nothing was read, nothing is kept

    with ReaderScores(index.directory, scorer.fingerprint) as scores:
        scores.keep("Another question?", {bytes(16): 1.0}, 50.0)
    slow = forecast(QUESTION, index, scorer)
    assert (slow.n_known, slow.seconds) == (0, pytest.approx((stats.tokens + n_batch) / 50.0 + going_through))
    ask(index)
    with ReaderScores(index.directory, scorer.fingerprint) as scores:
        assert (scores.tokens_per_second or 0) > 50.0  # as it was now
        scores.keep("Another question?", {bytes(16): 1.0}, 50.0)
    known = forecast(QUESTION, index, scorer)
    assert (known.n_known, known.seconds) == (stats.chunks, pytest.approx(n_batch / 50.0 + going_through))
    of_backend = LongContextBackend(index, scorer, rates=Rates()).estimate(Query(QUESTION))
    assert of_backend.seconds == pytest.approx(known.seconds, abs=0.1)
    assert of_backend.most_seconds > of_backend.seconds


def test_a_long_reading_is_announced_and_a_short_one_is_not(index: Index) -> None:
    scorer, stats = Scorer(), index.stats
    backend = LongContextBackend(index, scorer)
    assert isinstance(backend, Announcing)
    assert backend.announce(Query(QUESTION)) == ""
    with ReaderScores(index.directory, scorer.fingerprint) as scores:
        scores.keep(QUESTION, {bytes(16): 1.0}, stats.tokens / 48)
    seconds = round(forecast(QUESTION, index, scorer).seconds)
    assert backend.announce(Query(QUESTION)) == (
        f"reading all {stats.chunks} chunks ({stats.tokens:,} tokens) of {N_FILES} files, 1 of them read before,"
        f" about {seconds} s; Ctrl-C keeps what was read"
    )
    with ReaderScores(index.directory, scorer.fingerprint) as scores:
        scores.keep(QUESTION, {}, stats.tokens / 3000)
    assert ", about 5" in backend.announce(Query(QUESTION)) and " min;" in backend.announce(Query(QUESTION))
    assert LongContextBackend(index, EvidenceReader()).announce(Query(QUESTION)) == ""


def test_a_card_is_not_announced_as_a_reading(tmp_path: Path) -> None:
    root = tmp_path / "corpus"
    root.mkdir()
    (root / "a.py").write_text('def charge(card):\n    """Charges a card."""\n    return card.pay()\n')
    (root / "b.txt").write_text("\n\n".join(f"Paragraph {n} is about nothing at all. " * 20 for n in range(900)))
    with Index.open(root, directory=tmp_path / "index", embedder=HashingEmbedder(16)) as index:
        backend = LongContextBackend(index, Scorer())
        assert "reading all" in backend.announce(Query("What is the number of the prize?"))
        assert backend.announce(Query("How does charge work?")) == ""


def test_the_announcement_comes_with_the_decision_to_read(index: Index) -> None:
    scorer = Scorer()
    with ReaderScores(index.directory, scorer.fingerprint) as scores:
        scores.keep(QUESTION, {bytes(16): 1.0}, 100.0)
    router = SelfRouter(index, {"long-context": LongContextBackend(index, scorer)}, AlwaysLongContext(), update=False)
    told = [(e.decision.action, e.ahead[:11]) for e in router.stream(QUESTION) if isinstance(e, DecisionEvent)]
    assert told == [("try", "reading all"), ("accept", "")]


def test_a_limit_of_seconds_is_held_against_the_forecast(index: Index) -> None:
    from selfroute.router.policies.verdict import excess

    scorer = Scorer()
    with ReaderScores(index.directory, scorer.fingerprint) as scores:
        scores.keep("Another question?", {bytes(16): 1.0}, 100.0)
    query = Query(QUESTION, limits=Limits(max_seconds=2.0))
    backend = LongContextBackend(index, scorer)
    assert "over the limit of 2 s" in excess(query, backend.estimate(query))
    ask(index)
    with ReaderScores(index.directory, scorer.fingerprint) as scores:
        scores.keep("Another question?", {bytes(16): 1.0}, 5000.0)
    assert excess(query, backend.estimate(query)) == ""


# readings that are ended, and several at once

PROCESS = """
import json, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_long_reading import QUESTION, Scorer
from selfroute import registry
from selfroute.router import cli

class Slow(Scorer):
    def __init__(self, term_weight=None):
        super().__init__()
    def score(self, question, chunks):
        print("batch", flush=True)
        time.sleep(float(sys.argv[3]))
        return super().score(question, chunks)

registry.BUILT_IN["reader"]["slow"] = "__main__:Slow"
root = Path(sys.argv[2])
sys.exit(cli.main(["ask", sys.argv[4], "--path", str(root / "corpus"), "--index-dir", str(root / "index"),
                   "--reader", "slow", "--embedder", "hashing", "--route", "long-context", "--json"]))
"""


def start(root: Path, seconds: float, question: str = QUESTION) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PROCESS, str(Path(__file__).parent), str(root), str(seconds), question]
    environment = {**os.environ, "SELFROUTE_PAGES": "off"}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd="/", env=environment
    )


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    """A corpus and its index for the command line."""
    shutil.copytree(made / "corpus", tmp_path / "corpus")
    assert start(tmp_path, 0, "warm up").wait(60) == 0  # indexes
    (tmp_path / "index" / FILE).unlink()
    return tmp_path


def finished(process: subprocess.Popen[str]) -> tuple[int, int, dict[str, object]]:
    """Its exit code, the batches that it read, the answer."""
    out, err = process.communicate(timeout=60)
    *batches, last = out.splitlines()
    assert process.returncode == 0, err
    return process.returncode, len(batches), json.loads(last)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGKILL, -9), (signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["kill", "int", "term"]
)
def test_an_ended_reading_is_gone_on_with(root: Path, number: signal.Signals, code: int) -> None:
    process = start(root, 0.5)
    assert process.stdout and process.stderr
    for _ in range(3):  # the first two batches are read and kept
        assert process.stdout.readline() == "batch\n"
    process.send_signal(number)
    assert process.wait(60) == code
    assert process.stderr.read() == ""

    _, n_batches, answer = finished(start(root, 0))
    n_chunks = N_FILES * N_EACH
    assert n_batches == -(-(n_chunks - 2 * BATCH_CHUNKS) // BATCH_CHUNKS)
    usage = answer["usage"]
    assert isinstance(usage, dict) and 0 < usage["cached_tokens"] < usage["prompt_tokens"]
    _, n_batches, again = finished(start(root, 0))
    assert n_batches == 0
    for name in ("answer", "confidence", "citations"):
        assert again[name] == answer[name]


def test_two_readings_at_once_end_alike_and_keep_everything(root: Path) -> None:
    together = [start(root, 0.05) for _ in range(2)] + [start(root, 0.05, "Another question?")]
    answers = [finished(process)[2] for process in together]
    assert answers[0]["answer"] == answers[1]["answer"] == answers[2]["answer"] != ""
    assert [finished(start(root, 0, question))[1] for question in (QUESTION, "Another question?")] == [0, 0]


def test_the_line_is_told_on_standard_error(root: Path) -> None:
    with ReaderScores(root / "index", Scorer.fingerprint) as scores:
        scores.keep("Another question?", {bytes(16): 1.0}, 1000.0)
    out, err = start(root, 0).communicate(timeout=60)
    assert err.startswith("reading all 150 chunks (") and err.endswith(" s; Ctrl-C keeps what was read\n")
    assert json.loads(out.splitlines()[-1])["answerable"] is True
