"""The trained reader's runtime, with small random weights: places, the shared softmax, windows, refusals."""

from __future__ import annotations

import gzip
import json
import random
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from selfroute.backends.long_context import LongContextBackend
from selfroute.errors import ModelLoadError
from selfroute.memory.index import Index
from selfroute.models import span_windows
from selfroute.models.base import ChunkScorer, Reader
from selfroute.models.calibration import FILE, Calibration, Curve
from selfroute.models.hashing import HashingEmbedder
from selfroute.models.span_choice import NEVER, Scored, asks_for_several, choose, choose_listed
from selfroute.models.span_reader import SpanReader
from selfroute.models.span_scores import GRAPH, SpanScores, Window
from selfroute.models.tokenizer import wordpiece
from selfroute.models.training import reader_graph, reader_model
from selfroute.models.training.reader_calibrate import best_threshold, fit
from selfroute.models.training.reader_export import ship, ship_calibration
from selfroute.models.training.squad_scores import (
    cases,
    exact_match,
    expected_calibration_error,
    f1,
    normalised,
)
from selfroute.types import Chunk, Query

FORCED = Calibration.alike(Curve(threshold=0.0))
WIDTH, INNER, N_LAYERS = 64, 96, 2

TEXTS = {
    "net.py": "def connect(host, timeout=30):\n    # Grüße aus Zürich\n    return Socket(host, timeout)\n",
    "land.txt": "Paris is the capital of France. Its mayor is Ana\u0308 Łukasz; 東京 is far.\tDone.",
    "zürich/notes.md": "# Töne\n\n- İstanbul ½ ＡＢＣ\n- plain",
}
QUESTION = "What is the default timeout of connect?"


def tiny_state(seed: int = 0) -> dict[str, np.ndarray]:
    """Random weights of a network 64 wide."""
    rng = np.random.default_rng(seed)

    def normal(*shape: int) -> np.ndarray:
        return (rng.standard_normal(shape) / shape[-1] ** 0.5).astype(np.float32)

    state = {"words.weight": normal(30522, WIDTH), "positions.weight": normal(512, WIDTH)}
    state["segments.weight"] = normal(2, WIDTH)
    norms = ["norm"]
    for n in range(N_LAYERS):
        sizes = [(name, WIDTH, WIDTH) for name in ("query", "key", "value", "attended")]
        for name, out, given in [*sizes, ("inner", INNER, WIDTH), ("outer", WIDTH, INNER)]:
            state[f"layers.{n}.{name}.weight"], state[f"layers.{n}.{name}.bias"] = normal(out, given), normal(out)
        norms += [f"layers.{n}.attended_norm", f"layers.{n}.outer_norm"]
    for name in norms:
        state[f"{name}.weight"], state[f"{name}.bias"] = np.ones(WIDTH, np.float32), np.zeros(WIDTH, np.float32)
    for head in ("spans", "chunk"):
        state[f"{head}.weight"], state[f"{head}.bias"] = 8 * normal(2, WIDTH), normal(2)
    return state


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights")
    ship(path, {GRAPH: reader_graph.graph(tiny_state(), "int8").SerializeToString()})
    ship_calibration(path, Calibration(Curve(0.5, -1.0, 0.25), Curve(0.4, -2.0, 0.2), Curve(0.3, 1.0, 0.3)))
    return path


@pytest.fixture(scope="module")
def reader(folder: Path) -> SpanReader:
    return SpanReader(folder=folder, calibration=FORCED)


def chunk(path: str, text: str, symbol: str = "") -> Chunk:
    return Chunk(f"id of {path}", "", path, 1, 1 + text.count("\n"), text, symbol)


CHUNKS = [chunk(path, text) for path, text in TEXTS.items()]


def test_it_is_a_reader_that_scores_chunks(reader: SpanReader) -> None:
    assert isinstance(reader, Reader)
    assert isinstance(reader, ChunkScorer)


def test_a_chunks_score_is_that_of_its_best_span_whatever_it_is_read_with(reader: SpanReader) -> None:
    chunks = [*CHUNKS, chunk("long.txt", " ".join(f"word{n}" for n in range(400))), chunk("blank.txt", " \n")]
    scores = reader.score(QUESTION, chunks)
    assert (scores.dtype, scores.shape) == (np.float32, (5,))
    assert scores.tolist()[:4] == [reader.choice(QUESTION, [one]).odds for one in chunks[:4]]
    assert scores[4] == -np.inf
    assert reader.score(QUESTION, chunks[::-1]).tolist() == scores.tolist()[::-1]
    assert reader.choice(QUESTION, chunks).odds == scores.max()


def test_long_context_answers_as_if_everything_was_read_at_once(reader: SpanReader, tmp_path: Path) -> None:
    for n in range(12):
        for name, text in TEXTS.items():
            path = tmp_path / f"part_{n}" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text.replace("timeout", f"timeout_{n}").replace("Paris", f"Town {n}"))
    with Index.open(tmp_path, embedder=HashingEmbedder(64)) as index:
        everything = list(index.chunks())
        whole = reader.read(QUESTION, everything)
        for _ in range(2):  # read, and remembered
            attempt = LongContextBackend(index, reader).answer(Query(QUESTION))
            (span,), (expected,) = attempt.generation.spans, whole.spans
            assert (attempt.generation.text, attempt.generation.confidence) == (whole.text, whole.confidence)
            assert (attempt.chunks[span.chunk], span.start) == (everything[expected.chunk], expected.start)
        assert attempt.usage.cached_tokens == attempt.usage.prompt_tokens > 0


def test_an_altered_file_of_scores_is_told_when_it_is_first_needed(folder: Path, tmp_path: Path) -> None:
    ship(tmp_path, {path.name: path.read_bytes() for path in folder.iterdir() if path.name in (GRAPH, FILE)})
    (tmp_path / GRAPH).write_bytes(b"altered")
    unread = SpanReader(folder=tmp_path)
    assert unread.fingerprint == SpanReader(folder=folder).fingerprint
    with pytest.raises(ModelLoadError, match="is altered"):
        unread.score(QUESTION, CHUNKS)


def test_the_answer_is_the_text_between_its_offsets(reader: SpanReader) -> None:
    for one in CHUNKS:
        generation = reader.read(QUESTION, [one])
        (span,) = generation.spans
        assert generation.text == one.text[span.start : span.end] != ""
        for candidate in reader.choice(QUESTION, [one], 20).spans:
            quoted = one.text[candidate.start : candidate.end]
            assert quoted and quoted == quoted.strip()


def test_every_token_stands_for_its_own_characters_when_the_text_is_not_ascii(reader: SpanReader) -> None:
    for one in CHUNKS:
        (window,) = reader.windows(QUESTION, [one])
        for start, end in zip(window.starts, window.ends, strict=True):
            piece = one.text[start:end]
            assert piece == piece.strip()
        assert all(a <= b for a, b in pairwise(window.starts))


def test_a_lines_mark_neither_begins_nor_ends_an_answer(reader: SpanReader) -> None:
    (window,) = reader.windows(QUESTION, [CHUNKS[0]])
    marks = [i for i in range(len(window.start)) if window.starts[i] == window.ends[i]]
    assert len(marks) == 2
    assert (window.start[marks] == NEVER).all() and (window.end[marks] == NEVER).all()


def test_all_chunks_share_one_softmax(reader: SpanReader) -> None:
    windows = reader.windows(QUESTION, CHUNKS)
    assert len(windows) == 3
    starts = 1 + sum(float(np.exp(w.start.astype(float)).sum()) for w in windows)
    ends = 1 + sum(float(np.exp(w.end.astype(float)).sum()) for w in windows)
    for span in choose(windows).spans:
        assert span.p == pytest.approx(np.exp(span.score) / starts / ends, rel=1e-4)


def test_a_chunks_scores_do_not_depend_on_the_others(reader: SpanReader) -> None:
    together = {w.chunk: w for w in reader.windows(QUESTION, CHUNKS)}
    for n, one in enumerate(CHUNKS):
        (alone,) = reader.windows(QUESTION, [one])
        assert np.array_equal(alone.start, together[n].start) and np.array_equal(alone.end, together[n].end)


def test_the_order_of_the_chunks_does_not_matter(reader: SpanReader) -> None:
    twin = chunk("net_copy.py", TEXTS["net.py"])
    chunks = [*CHUNKS, twin, replace(twin, id="another", path="net.py", start_line=90)]
    rng = random.Random(0)
    found = set()
    for _ in range(5):
        generation = reader.read(QUESTION, chunks)
        (span,) = generation.spans
        found.add((generation.text, generation.confidence, chunks[span.chunk].id, span.start, span.end))
        rng.shuffle(chunks)
    assert len(found) == 1


def test_the_same_question_is_answered_alike_by_any_number_of_threads(folder: Path, reader: SpanReader) -> None:
    one = SpanReader(folder=folder, calibration=FORCED, threads=1).read(QUESTION, CHUNKS)
    assert one == reader.read(QUESTION, CHUNKS) == reader.read(QUESTION, CHUNKS)


def test_a_long_text_is_read_to_its_end_in_windows(reader: SpanReader) -> None:
    text = " ".join(f"word{n}" for n in range(400)) + " the end"
    windows = reader.windows(QUESTION, [chunk("long.txt", text)])
    assert len(windows) > 2
    assert {w.chunk for w in windows} == {0}
    assert windows[0].starts[0] == 0 and windows[-1].ends[-1] == len(text)
    assert all(later.starts[0] < earlier.ends[-1] for earlier, later in pairwise(windows))
    (span,) = reader.read(QUESTION, [chunk("long.txt", text)]).spans
    assert 0 <= span.start < span.end <= len(text)


def test_an_input_is_never_longer_than_in_training(reader: SpanReader) -> None:
    long = chunk("a/very/long/path/" * 9 + "x.py", "x = [1, 2]\n" * 200, "Some.symbol_name." * 9)
    asked = span_windows.read_question(wordpiece(), "why is it so? " * 60)
    header = span_windows.read_header(wordpiece(), long.path, long.symbol)
    assert len(span_windows.assemble(asked, header, [5] * span_windows.MAX_TEXT)) <= span_windows.MAX_TOKENS
    assert reader.read("why is it so? " * 60, [long]).spans


def test_nothing_is_answered_below_the_threshold(folder: Path) -> None:
    sure = SpanReader(folder=folder, calibration=Calibration.alike(Curve(1.0, 0.0, 1.0)))
    generation = sure.read(QUESTION, CHUNKS)
    assert (generation.text, generation.spans, generation.answerable, generation.finish) == ("", (), False, "declined")
    assert 0 < generation.confidence < 1
    assert generation.confidence == SpanReader(folder=folder, calibration=FORCED).read(QUESTION, CHUNKS).confidence


def test_nothing_is_answered_without_text(folder: Path) -> None:
    shipped = SpanReader(folder=folder)
    for chunks in ([], [chunk("empty.txt", "")], [chunk("blank.txt", " \n\t\n ")]):
        generation = shipped.read(QUESTION, chunks)
        assert (generation.text, generation.answerable, generation.confidence) == ("", False, 0.0)
    assert shipped.read("", CHUNKS).confidence > 0  # an empty question is odd, not an error


def test_the_shipped_calibration_gives_the_confidence(folder: Path) -> None:
    shipped = SpanReader(folder=folder)
    code, prose = chunk("net.py", TEXTS["net.py"]), replace(chunk("land.txt", TEXTS["land.txt"]), kind="text")

    def confidence(*chunks: Chunk) -> tuple[float, float]:
        return shipped.choice(QUESTION, chunks).odds, shipped.read(QUESTION, chunks).confidence

    odds, p = confidence(prose)  # a passage
    assert p == pytest.approx(1 / (1 + np.exp(1.0 - 0.5 * odds)))
    for chunks in ((code,), (code, code)):
        odds, p = confidence(*chunks)
        assert p == pytest.approx(1 / (1 + np.exp(-1.0 - 0.3 * odds)))
    odds, p = confidence(prose, prose)
    assert p == pytest.approx(1 / (1 + np.exp(2.0 - 0.4 * odds)))


@pytest.mark.parametrize("name", [GRAPH, FILE])
def test_an_altered_file_is_refused(folder: Path, tmp_path: Path, name: str) -> None:
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    content = bytearray((tmp_path / name).read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelLoadError, match=f"{name} is altered"):
        SpanReader(folder=tmp_path).read(QUESTION, CHUNKS)
    (tmp_path / name).unlink()
    with pytest.raises(ModelLoadError, match=f"{name} cannot be read"):
        SpanReader(folder=tmp_path).read(QUESTION, CHUNKS)


def test_a_calibration_of_other_weights_is_refused(folder: Path, tmp_path: Path) -> None:
    calibration = (folder / FILE).read_bytes()
    graph = reader_graph.graph(tiny_state(1), "int8").SerializeToString()
    ship(tmp_path, {GRAPH: graph, FILE: calibration})
    with pytest.raises(ModelLoadError, match="belongs to other weights"):
        SpanReader(folder=tmp_path)


def test_a_file_that_is_no_graph_is_refused(tmp_path: Path) -> None:
    ship(tmp_path, {GRAPH: b"no graph"})
    with pytest.raises(ModelLoadError, match="cannot load"):
        SpanScores(tmp_path).load()


def test_the_float_graph_computes_what_the_trained_model_does(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = reader_model.ReaderModel().eval()
    state = {name: tensor.detach().numpy() for name, tensor in model.state_dict().items()}
    ship(tmp_path, {GRAPH: reader_graph.graph(state, "float").SerializeToString()})
    window = Window([101, *range(2000, 2060), 102], 9)
    ((start, end),) = SpanScores(tmp_path).score([window])
    inputs = {name: torch.from_numpy(array) for name, array in window.inputs().items()}
    with torch.inference_mode():
        scores = model(inputs["ids"], inputs["segment"], inputs["ids"] >= 0)[0].numpy()
    assert np.abs(np.stack([start, end], 1) - scores).max() < 1e-3


def scored(chunk: int, start: dict[int, float], end: dict[int, float], n: int = 10) -> Scored:
    """Ten words of four characters and a blank; what is not given scores -9."""
    one, other = np.full(n, -9, np.float32), np.full(n, -9, np.float32)
    for array, given in ((one, start), (other, end)):
        for i, value in given.items():
            array[i] = value
    return Scored(chunk, one, other, [5 * i for i in range(n)], [5 * i + 4 for i in range(n)])


def test_the_best_span_ends_where_it_begins_or_later() -> None:
    choice = choose([scored(0, {5: 4.0}, {2: 9.0, 6: 1.0}), scored(1, {3: 3.0}, {3: 1.5})])
    assert [(s.chunk, s.start, s.end, s.score) for s in choice.spans[:2]] == [(0, 25, 34, 5.0), (1, 15, 19, 4.5)]
    assert choice.odds == 5.0


def test_a_span_seen_by_two_windows_is_found_once() -> None:
    twice = [scored(0, {2: 3.0}, {2: 3.0}), scored(0, {2: 2.0}, {2: 3.0})]
    spans = choose(twice).spans
    assert [(s.start, s.end, s.score) for s in spans if s.score > 0] == [(10, 14, 6.0)]


def test_the_answers_of_a_list_are_told_apart() -> None:
    windows = [scored(0, {1: 5.0, 4: 5.0}, {1: 5.0, 5: 4.5}), scored(3, {0: 4.8, 7: 1.0}, {0: 4.6, 7: 1.0})]
    spans = choose_listed([*windows, scored(4, {}, {})])
    assert [(s.chunk, s.start, s.end) for s in spans] == [(0, 5, 9), (0, 20, 29), (3, 0, 4)]
    assert [(s.chunk, s.start) for s in choose_listed(windows, 0.9)] == [(0, 5)]


@pytest.mark.parametrize(
    ("question", "several"),
    [
        ("list the exceptions that load raises", True),
        ("Which exceptions does load raise?", True),
        ("What are the parameters of connect?", True),
        ("Which class does Flask inherit from?", False),
        ("What is the default timeout of connect?", False),
        ("What was the capital of the Duchy of Normandy?", False),
        ("Who raises errors?", False),
    ],
)
def test_a_list_is_asked_for_by_form(question: str, several: bool) -> None:
    assert asks_for_several(question) is several


def test_squads_scores_are_the_official_ones() -> None:
    assert normalised("The  U.S. Navy's an-swer, a") == "us navys answer"
    assert exact_match("the Eiffel Tower!", ["Eiffel tower", "tower"]) == 1
    assert f1("in the big tower", ["tower", "a small tower"]) == pytest.approx(2 / 4)
    assert (f1("", []), f1("x", []), exact_match("", []), f1("", ["x"])) == (1, 0, 1, 0)


def test_the_calibration_error_is_the_gap_of_the_bins() -> None:
    assert expected_calibration_error([0.95, 0.95, 0.15, 0.15], [True, True, False, True]) == pytest.approx(0.2)
    assert expected_calibration_error([1.0, 0.0], [True, False]) == 0


def test_the_fitted_curve_and_threshold_are_those_of_the_data() -> None:
    rng = np.random.default_rng(0)
    odds = rng.normal(0, 4, 4000)
    has = rng.random(4000) < 1 / (1 + np.exp(-(0.5 * odds + 1)))
    slope, offset = fit(odds.tolist(), has.tolist())
    assert (slope, offset) == (pytest.approx(0.5, abs=0.05), pytest.approx(1.0, abs=0.12))
    assert best_threshold([0.9, 0.6, 0.4, 0.2], [1, 1, 0, 0], [True, True, False, False]) == (0.5, 1.0)
    assert best_threshold([0.9, 0.6], [0, 0], [False, False]) == (pytest.approx(0.95), 1.0)


def titles(name: str) -> set[str]:
    """The articles of a file of SQuAD that stands in shared/data/squad, here or in a folder above."""
    path = Path("shared", "data", "squad", f"{name}.json.gz")
    found = next((folder / path for folder in Path(__file__).resolve().parents if (folder / path).is_file()), None)
    if found is None:
        pytest.skip(f"{path} is absent")
    with gzip.open(found, "rt", encoding="utf-8") as file:
        return {article["title"] for article in json.load(file)["data"]}


@pytest.mark.parametrize("fitted", ["train-v1.1", "dev-v2.0.train10", "dev-v2.0.calibrate2"])
@pytest.mark.parametrize("reported", ["dev-v1.1.report", "dev-v2.0.report4"])
def test_no_reported_article_was_trained_on_or_fitted_to(fitted: str, reported: str) -> None:
    assert titles(fitted).isdisjoint(titles(reported))


def test_cases_are_read_as_they_stand(tmp_path: Path) -> None:
    qas = [
        {"question": " Who? ", "answers": [{"text": "Ann", "answer_start": 0}]},
        {"question": "When?", "is_impossible": True, "answers": []},
    ]
    path = tmp_path / "dev.json"
    path.write_text(json.dumps({"data": [{"title": "T", "paragraphs": [{"context": "Ann came.", "qas": qas}]}]}))
    assert [(c.title, c.question, c.answers) for c in cases(path)] == [("T", "Who?", ("Ann",)), ("T", "When?", ())]


def squad_file(folder: Path) -> Path:
    """Three questions about two paragraphs, one without an answer."""
    first = {
        "context": "Ann came to Rome in 1901. She stayed.",
        "qas": [
            {"question": "Who came to Rome?", "answers": [{"text": "Ann", "answer_start": 0}]},
            {"question": "Who left Rome?", "is_impossible": True, "answers": []},
        ],
    }
    second = {
        "context": "The river Po flows east.",
        "qas": [{"question": "Where does the Po flow?", "answers": [{"text": "east", "answer_start": 19}]}],
    }
    path = folder / "dev.json"
    path.write_text(json.dumps({"data": [{"title": "Rome", "paragraphs": [first, second]}]}))
    return path


def benchmark(name: str, *options: object) -> dict[str, object]:
    root = Path(__file__).resolve().parent.parent
    command = [sys.executable, str(root / "benchmarks" / f"{name}.py"), *map(str, options)]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    result: dict[str, object] = json.loads(found.stdout.splitlines()[-1])
    return result


def test_the_readers_benchmark_counts_every_question(folder: Path, tmp_path: Path) -> None:
    result = benchmark("reader", "--squad", squad_file(tmp_path), "--weights", folder, "--null-threshold", 1.0)
    assert (result["n"], result["n_no_answer"], result["f1"], result["no_answer_f1"]) == (3, 1, 0.3333, 1.0)
    assert result["always_no_answer_f1"] == 0.3333
    forced = benchmark("reader", "--squad", squad_file(tmp_path), "--weights", folder, "--null-threshold", 0)
    assert forced["no_answer_f1"] == 0


def test_the_open_benchmark_finds_the_own_paragraph(folder: Path, tmp_path: Path) -> None:
    for route in ("retrieval", "long-context"):
        result = benchmark("open_qa", "--squad", squad_file(tmp_path), "--weights", folder, "--route", route)
        assert (result["n"], result["route"], result["gold_in_top_10"]) == (2, route, 1.0)


def test_the_benchmark_of_speed_measures_reading_loading_and_asking(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(TEXTS["net.py"])
    options = ("--weights", folder, "--repeats", 2, "--asks", 1, "--corpus", tmp_path, "--reader", "evidence")
    result = benchmark("reader_speed", *options)
    assert (result["chunks"], result["chunk_tokens"], result["route"]) == (8, 250, "long-context")
    assert result["weights_bytes"] == (folder / GRAPH).stat().st_size
    names = "read_p50_ms read_p95_ms window_p50_ms load_ms rss_peak_mb ask_first_ms ask_process_ms ask_warm_ms"
    for name in names.split():
        assert float(str(result[name])) > 0
