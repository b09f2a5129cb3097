"""What the reader is trained on, and with: packed questions, batches, the loss."""

from __future__ import annotations

import gzip
import json
import math
import random
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from selfroute.models import span_windows
from selfroute.models.tokenizer import wordpiece
from selfroute.models.training import reader_batches, reader_model, reader_negatives, reader_store
from selfroute.models.training.reader_batches import MAX_TOKENS, Data, OnDevice
from selfroute.models.training.reader_data import add_code, occurrences
from selfroute.models.training.reader_store import Builder
from selfroute.models.training.reader_train import Settings, Trainer, best_spans, rate_at, shared_loss, window_loss

TEXTS = [
    "def connect(host, timeout=30):\n    return host",
    "def close(self):\n    self.open = False\n    raise OSError",
    "Paris is the capital of France. " * 60 + "Lyon is not.",
]


@pytest.fixture
def data(tmp_path: Path) -> Data:
    builder = Builder()
    chunks = [builder.chunk(f"a/{n}.py", f"s{n}", text) for n, text in enumerate(TEXTS)]
    at = TEXTS[0].index("30")
    builder.example("code", "default of timeout", [chunks[0]], [(0, at, at + 2, 0)], [chunks[1], chunks[2]])
    builder.example("code", "what is gone", [], [], [chunks[1]])
    lyon = TEXTS[2].index("Lyon")
    builder.example("squad-held", "What is not?", [chunks[2]], [(0, lyon, lyon + 4, 0)], [chunks[0]])
    builder.example("code", "names", [chunks[1]], [(0, 4, 9, 0), (0, 10, 14, 1)], [])
    builder.write(tmp_path / "data.npz.xz")
    return Data(tmp_path / "data.npz.xz")


def answers(data: Data, batch: reader_batches.Batch) -> list[list[str]]:
    """The right answers of each question of a batch, spelled from the tokens that the model would see."""
    there = OnDevice(data, "cpu")
    question, window, head = (there.put(a) for a in (batch.question, batch.window, batch.head))
    tokens, _, _, may = there.rows(question, window, head, MAX_TOKENS)
    flat, allowed = tokens.view(len(batch.n_groups), -1), may.view(len(batch.n_groups), -1)
    found: list[list[str]] = [[] for _ in batch.n_groups]
    for (q, first, _), (_, last, _) in zip(batch.starts, batch.ends, strict=True):
        assert allowed[q, first] and allowed[q, last]
        found[q].append(" ".join(wordpiece().vocabulary[i] for i in flat[q, first : last + 1]))
    return found


def test_targets_are_the_answers(data: Data) -> None:
    batch = data.batch(np.arange(4), 2, None)
    assert answers(data, batch) == [["30"], [], ["lyon"], ["close", "self"]]
    assert batch.n_groups.tolist() == [1, 0, 1, 2]


def test_targets_are_the_answers_in_random_batches(data: Data) -> None:
    right = {("30",), ("lyon",), ("close", "self"), ()}
    seen = set()
    batches = data.epochs(2, seed=0)
    for _ in range(60):
        for found, n in zip(answers(data, batch := next(batches)), batch.n_groups.tolist(), strict=True):
            assert tuple(found) in right and n == len(found)
            seen.add(tuple(found))
    assert seen == right - {("lyon",)}  # held out


def test_an_input_is_question_header_and_text(data: Data) -> None:
    batch = data.batch(np.arange(1), 1, None)
    there = OnDevice(data, "cpu")
    tokens, segments, mask, _ = there.rows(
        there.put(batch.question), there.put(batch.window), there.put(batch.head), MAX_TOKENS
    )
    question = span_windows.read_question(wordpiece(), "default of timeout")
    header = span_windows.read_header(wordpiece(), "a/0.py", "s0")
    expected = span_windows.assemble(question, header, span_windows.read_text(wordpiece(), TEXTS[0]).ids)
    assert tokens[0][mask[0]].tolist() == expected
    assert segments[0].sum() == len(expected) - len(question) - 2
    assert tokens[0][len(expected) :].sum() == 0


def test_sources_have_the_same_numbers_in_both_files() -> None:
    assert tuple(reader_batches.SOURCES) == reader_store.SOURCES
    assert (reader_batches.FIRST_MARK, reader_batches.N_MARKS) == (span_windows.FIRST_MARK, span_windows.N_MARKS)
    assert reader_batches.MAX_TOKENS == span_windows.MAX_TOKENS


def test_the_loss_is_that_of_one_softmax_over_all_windows() -> None:
    scores = torch.tensor([[1.0, 2.0, 0.5, -1.0], [0.0, 3.0, 1.0, 2.0], [0.2, 0.1, 0.0, 0.3]])
    target = torch.tensor([[0, 1, 0], [0, 2, 0], [1, 0, 0], [1, 3, 1]])
    z = [math.log(1 + sum(map(math.exp, row))) for row in scores.tolist()]
    first = z[0] - math.log(math.exp(2.0) + math.exp(0.5))  # any of one answer's places
    second = (z[1] - 0.0 + z[1] - 2.0) / 2  # each of two answers
    expected = (first + second + z[2]) / 3  # the third: none
    assert shared_loss(scores, target, torch.tensor([1, 2, 0])).item() == pytest.approx(expected, rel=1e-5)


def test_each_window_has_a_softmax_of_its_own_beside() -> None:
    scores = torch.zeros(1, 2 * MAX_TOKENS)
    loss = window_loss(scores, torch.tensor([[0, MAX_TOKENS + 3, 0]]), 2).item()
    assert loss == pytest.approx(math.log(MAX_TOKENS + 1), rel=1e-5)


def test_the_best_span_lies_within_one_window() -> None:
    logits = torch.full((1, 2 * MAX_TOKENS, 2), -5.0)
    logits[0, MAX_TOKENS - 1, 0] = logits[0, MAX_TOKENS, 1] = 9.0  # across the border
    logits[0, 5, 0], logits[0, 8, 1] = 8.0, 8.0
    top, first, last = best_spans(logits)
    assert (top.item(), first.item(), last.item()) == (16.0, 5, 8)


def test_a_few_steps_lower_the_loss(data: Data) -> None:
    torch.manual_seed(0)
    trainer = Trainer(data, reader_model.ReaderModel(dropout=0.0), Settings(ema=0.0), "cpu")
    batch = data.batch(np.array([0, 1]), 1, None)
    losses = [trainer.step(batch, 5e-4).item() for _ in range(8)]
    assert losses[-1] < losses[0] / 2


def test_weights_survive_being_written(tmp_path: Path) -> None:
    state = reader_model.ReaderModel().state_dict()
    files = reader_model.save(reader_model.pack(state), tmp_path, "reader")
    assert max(file.stat().st_size for file in files) < 16 * 2**20
    again = reader_model.load(tmp_path)
    assert again.keys() == state.keys()
    assert all(torch.allclose(again[k], state[k], atol=state[k].abs().max().item() / 250) for k in state)


def test_the_learning_rate_rises_falls_and_rises_after_an_interruption() -> None:
    settings = Settings(steps=1000, learning_rate=1.0, warmup=0.1)
    assert [rate_at(s, 0, settings) for s in (49, 100, 550, 1000)] == pytest.approx([0.5, 1.0, 0.5, 0.0])
    assert rate_at(550, 550, settings) == pytest.approx(0.01)


def test_code_questions_are_merged_with_every_answer_of_a_list(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "chunks.jsonl.gz", "wt") as file:
        file.writelines(json.dumps({"text": t, "path": "p.py", "symbol": "s"}) + "\n" for t in TEXTS)
    item = {"id": "1", "kind": "k", "question": "q?", "chunks": [1, 0]}
    given = [{"chunk": 0, "start": 4, "end": 9}, {"chunk": 1, "start": 4, "end": 11}]
    with gzip.open(tmp_path / "code.jsonl.gz", "wt") as file:
        file.write(json.dumps({**item, "answers": given}) + "\n" + json.dumps({**item, "answers": []}) + "\n")
    builder = Builder()
    add_code(builder, tmp_path, None)
    builder.write(tmp_path / "data.npz.xz")
    data = Data(tmp_path / "data.npz.xz")
    assert answers(data, data.batch(np.arange(2), 2, None)) == [["close", "connect"], []]


def test_occurrences_are_whole_words_where_there_are_any() -> None:
    assert occurrences("cat concat cat", "cat") == [(0, 3), (11, 14)]
    assert occurrences("concat", "cat") == [(3, 6)]


def test_changed_questions_ask_for_something_else() -> None:
    rng = random.Random(0)
    paragraph = "In 1912 the Titanic sank off Newfoundland."
    other = reader_negatives.with_other_number("What sank in 1912?", paragraph, rng)
    assert other is not None and other != "What sank in 1912?" and "1912" not in other
    assert reader_negatives.with_other_name("When did the Titanic sink?", paragraph, ["Lusitania"], rng) == (
        "When did the Lusitania sink?"
    )
    assert reader_negatives.with_opposite("What was the largest ship?", rng) == "What was the smallest ship?"
    assert reader_negatives.negated("Who was on board?") == "Who was not on board?"
    assert reader_negatives.negated("When did it sink?") is None


def test_windows_overlap_and_cover_the_text() -> None:
    spans = span_windows.windows(1000)
    assert spans[0] == (0, 300) and spans[-1][1] == 1000
    assert all(b[0] == a[1] - span_windows.OVERLAP for a, b in pairwise(spans))
    assert span_windows.windows(0) == [(0, 0)] and span_windows.windows(300) == [(0, 300)]


def test_line_marks_tell_the_indentation() -> None:
    pieces = span_windows.read_text(wordpiece(), "if a:\n\n\t  b\n        c\nd")
    assert [wordpiece().vocabulary[i] for i in pieces.ids] == [
        "if", "a", ":", "[unused1]", "b", "[unused2]", "c", "[unused0]", "d",
    ]  # fmt: skip
    assert pieces.tokens_of(6, 11) == (4, 4)
