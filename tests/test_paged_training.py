"""What the paged reader is trained on: answers are in the haystack, at even depths; batches; the loss; going on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from selfroute.models.paged.config import PagedConfig
from selfroute.models.paged.model import PagedReader
from selfroute.models.span_windows import read_text
from selfroute.models.tokenizer import wordpiece
from selfroute.models.training import paged_data, paged_graph, paged_init, paged_material, paged_tasks
from selfroute.models.training.paged_haystack import CLS, READERS, SEP, Haystack, collate, joined
from selfroute.models.training.paged_loss import answer_loss, best_spans, packed_like, quantized, right
from selfroute.models.training.paged_material import Material, spelled
from selfroute.models.training.paged_ragged import Ragged, join, pack
from selfroute.models.training.paged_rounding import attach
from selfroute.models.training.paged_tasks import SHARES, TASKS, Plan, Tasks
from selfroute.models.training.paged_tasks_keys import PAIRS, Size, needles, pairs, wordings
from selfroute.models.training.paged_tasks_text import Corpus
from selfroute.models.training.paged_train import Settings, Trainer, batches, shares_of
from selfroute.models.training.reader_store import Builder

WIDTH = PagedConfig().width


@pytest.fixture(scope="module")
def material() -> Material:
    made = paged_material.standard(n_files=4)
    made.renew(0, n=800)
    return made


def spell(ids: object) -> str:
    return " ".join(wordpiece().vocabulary[i] for i in ids).replace(" ##", "")  # type: ignore[attr-defined]


@pytest.mark.parametrize("split", ["train", "held"])
@pytest.mark.parametrize("name", list(TASKS))
def test_answers_are_in_the_haystack(material: Material, name: str, split: str) -> None:
    rng = np.random.default_rng(0)
    for size in (Size(1, 32, 4), Size(6, 60, 30), Size(20, 250, 60)):
        haystack = TASKS[name](material, rng, size, split).shuffled(rng)  # type: ignore[arg-type]
        assert 1 <= len(haystack.pages) <= size.pages
        q, page, first, last, _ = haystack.answers.T
        assert (
            (first <= last).all()
            and (last < haystack.pages.lengths[page]).all()
            and (q < len(haystack.questions)).all()
        )
        assert (haystack.split <= haystack.questions.lengths).all()


def test_the_answer_stands_beside_its_key(material: Material) -> None:
    rng = np.random.default_rng(1)
    haystack = pairs(material, rng, Size(8, 200, 50))
    checked = 0
    for q, page, first, _, _ in haystack.answers.tolist():
        before = spell(haystack.pages[page][max(0, first - 40) : first])
        key = [w for w in spell(haystack.questions[q]).split() if any(c.isdigit() for c in w) or len(w) > 5]
        checked += any(word in before for word in key)
    assert checked > 0.8 * len(haystack.answers)


def test_a_page_is_what_the_tokenizer_makes_of_its_lines() -> None:
    lines = ["alpha: 7", "beta x: 99", "gamma-delta: q"]
    rows = Ragged.of([spelled("alpha") + spelled(":") + spelled("7"), *[wordpiece().ids(x) for x in lines[1:]]])
    pages, page, place = pack(rows, 100, (1,))
    assert pages[0].tolist() == read_text(wordpiece(), "\n".join(lines)).ids
    assert page.tolist() == [0, 0, 0] and place[0] == 0
    pages, page, _ = pack(rows, 5, (1,))
    assert page.tolist() == [0, 1, 2]


def test_needles_stand_at_even_depths(material: Material) -> None:
    rng = np.random.default_rng(2)
    depths = []
    for _ in range(60):
        haystack = needles(material, rng, Size(20, 100, 40))
        page = haystack.answers[:, 1]
        depths += ((page + rng.random(len(page))) / len(haystack.pages)).tolist()
    counts = np.histogram(depths, 5, (0, 1))[0]
    assert counts.min() > 0.75 * counts.max() and len(depths) > 500


def test_wordings_of_testing_are_not_trained_on() -> None:
    train, held = wordings(PAIRS, "train"), wordings(PAIRS, "held")
    assert train and held and not set(train) & set(held)
    assert all("{k}" in wording and "{v}" in wording for wording in train + held)


def test_rows_are_joined_and_taken() -> None:
    one, other = Ragged.of([[1, 2], [], [3]]), Ragged.of([[9], [8, 8], [7]])
    rows, begins = join([one, other])
    assert [rows[i].tolist() for i in range(3)] == [[1, 2, 9], [8, 8], [3, 7]] and begins[1].tolist() == [2, 0, 1]
    assert [x.tolist() for x in map(rows.take(np.array([2, 0, 2])).__getitem__, range(3))] == [
        [3, 7],
        [1, 2, 9],
        [3, 7],
    ]


def two_pages() -> Haystack:
    pages = Ragged.of([[2000, 2001, 2002], [3000, 3001, 3002, 3003]])
    answers = np.array([[0, 1, 1, 2, 0], [1, 0, 0, 0, 0], [1, 1, 3, 3, 1]])
    return Haystack(pages, Ragged.of([[5000], [5001, 2000], [7]]), np.array([1, 1, 1]), answers)


def test_batches_hold_special_tokens_and_places() -> None:
    batch = collate([two_pages(), two_pages().cut(1)], readers=3)
    assert batch.pages[0, 1, :6].tolist() == [CLS, 3000, 3001, 3002, 3003, SEP] and batch.lengths[0].tolist() == [5, 6]
    assert batch.questions[0, 1, :7].tolist() == [CLS, 5001, SEP, 2000, *READERS[:2], SEP]
    assert batch.question_lengths[0].tolist() == [5, 7, 5] and batch.lengths[1].tolist() == [5, 0]
    assert batch.n_groups.tolist() == [[1, 2, 0], [0, 0, 0]] and batch.asked[1].tolist() == [True, False, False]
    for b, _, page, first, last, _ in batch.answers.tolist():
        assert batch.pages[b, page, first] > CLS and first <= last < batch.lengths[b, page] - 1
    both = joined([two_pages(), two_pages()])
    assert both.answers[3:, 0].tolist() == [3, 4, 4] and both.answers[3:, 1].tolist() == [3, 2, 3]


def test_the_loss_is_small_exactly_where_the_answers_are() -> None:
    torch.manual_seed(0)
    model = PagedReader(PagedConfig(layers=1, conv_layers=1), torch.randn(30522, WIDTH) * 0.05)
    trainer = Trainer(model, Settings(steps=10), "cpu")
    batch = collate([two_pages()], 4)
    there = trainer.put(batch)
    pages = trainer.encode(there)
    found = model.read(trainer.questions(there), pages)
    start, end = torch.full_like(found.start, -20.0), torch.full_like(found.end, -20.0)
    T = pages.real.shape[-1]
    for _, q, page, first, last, _ in batch.answers.tolist():
        start[0, q, page * T + first] = end[0, q, page * T + last] = 20.0
    null = torch.tensor([[-20.0, -20.0, 20.0]])
    perfect = type(found)(start, end, found.page, null)
    parts = answer_loss(perfect, there["answers"], there["n_groups"], there["asked"], pages)
    assert abs(float(parts["start"]) - np.log(2) / 3) < 1e-3  # two answers of one question share its probability
    assert float(parts["end"]) < np.log(2) / 2 + 1e-3 and float(parts["right"]) == 1
    scored = right(perfect, there["answers"], there["n_groups"], there["asked"], pages.real)
    assert scored["exact"].all() and scored["declined"].all() and scored["answered"].all()
    page, first, last, _ = best_spans(perfect, pages.real)
    assert (page[0, 0], first[0, 0], last[0, 0]) == (1, 2, 3)
    loss, _ = trainer.loss(batch, bits=4)
    loss.backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_packed_numbers_pass_gradients_on() -> None:
    x = torch.randn(3, 8, requires_grad=True)
    y = packed_like(x, 4)
    y.sum().backward()
    assert torch.equal(x.grad, torch.ones_like(x)) and not torch.equal(x, y)  # type: ignore[arg-type]


def test_sizes_grow_with_the_level() -> None:
    tasks = Tasks(paged_material.standard(1), None, {"pairs": 1.0}, 4)
    rng = np.random.default_rng(0)
    plan = Plan()
    small, large = ([tasks.size(rng, plan, level)[0] for _ in range(50)] for level in (0.0, 1.0))
    assert max(s.page_tokens for s in small) == 32 and {s.pages for s in small} == {1}
    assert max(s.page_tokens for s in large) <= 256 and 120 < max(s.pages for s in large) <= 128


def test_prepared_questions_are_asked_of_the_passages_that_answer(tmp_path: Path) -> None:
    builder = Builder()
    texts = [f"The capital of land{n} is town{n} by the sea." for n in range(40)]
    chunks = [builder.chunk(f"a{n}.txt", "", text) for n, text in enumerate(texts)]
    for n, text in enumerate(texts):
        at = text.index("town")
        builder.example(
            "squad", f"What is the capital of land{n}?", [chunks[n]], [(0, at, at + 4 + len(str(n)), 0)], []
        )
        builder.example("changed", f"What is the river of land{n}?", [chunks[n]], [], [])
    builder.write(tmp_path / paged_tasks.CORPUS)
    corpus = Corpus(tmp_path / paged_tasks.CORPUS)
    assert corpus.kinds == ["prose"]
    haystack = corpus.haystack("prose", np.random.default_rng(0), Size(12, 256, 100))
    assert len(haystack.pages) == 12 and haystack.natural and len(haystack.questions) == 24
    for q, page, first, last, _ in haystack.answers.tolist():
        number = spell(haystack.questions[q]).split("land")[1].split()[0]
        assert spell(haystack.pages[page][first : last + 1]) == f"town{number}"


def test_material_is_prepared_from_what_there_is(tmp_path: Path) -> None:
    (tmp_path / "wordlists").mkdir()
    (tmp_path / "wordlists" / "nounlist.txt").write_text("apple\npear\nplum tree\n")
    made = paged_data.material_of(tmp_path, None)
    assert [spell(made.words[i]) for i in range(len(made.words))] == ["apple", "pear"] and len(made.prose) > 100
    paged_data.save(made, tmp_path / paged_material.FILE)
    again = Material.load(tmp_path, 3)
    assert np.array_equal(again.prose.flat, made.prose.flat) and set(again.names) == set(paged_material.NAMES)


def test_training_goes_on_from_what_was_written(tmp_path: Path, material: Material) -> None:
    words = torch.randn(30522, 32) * 0.1
    config = PagedConfig(width=32, layers=1, heads=2, inner=64, conv_layers=1, head_dim=16, pointer=16, page=16)
    model = paged_init.begun(config, "", words)
    trainer = Trainer(model, Settings(steps=20, warmup=2, quantized_from=0.5), "cpu")
    tasks = Tasks(material, None, {"pairs": 1.0}, config.readers)
    plan = Plan(tokens=300, most_pages=2, page_tokens=32, questions=12)
    rng = np.random.default_rng(0)
    before = [p.detach().clone() for p in trainer.parameters]
    for step in range(12):
        parts = trainer.step(tasks.batch(rng, plan, 0.5), step)
        assert all(torch.isfinite(parts[name]) for name in ("start", "end", "norm"))
    assert any(not torch.equal(p, q) for p, q in zip(before, trainer.parameters, strict=True))
    trainer.swap()
    paged_init.write(model, tmp_path)
    again = paged_init.read(tmp_path, words)
    assert again.config == config and json.loads((tmp_path / paged_init.CONFIG).read_text())["width"] == 32
    for (name, p), q in zip(model.state_dict().items(), again.state_dict().values(), strict=True):
        assert torch.allclose(p, q, atol=2e-3), name
    pages = again.encode(torch.randint(1000, 2000, (1, 2, 16)), torch.ones(1, 2, 16, dtype=torch.bool))
    assert not torch.equal(quantized(pages, 4, 4).start, pages.start)
    assert torch.equal(quantized(pages, 16, 16).start, pages.start)


def test_a_reader_begins_with_the_shipped_reader_s_layers() -> None:
    model = paged_init.begun(PagedConfig(), "reader")
    missing = paged_init.take_local(model, paged_init.of_reader())
    assert {name.rpartition(".")[2] for name in missing} == {"conv"}
    assert float(model.local.layers[5].outer.weight.detach().std()) > 0.02  # type: ignore[union-attr, operator]


def test_shares_and_the_source_of_batches() -> None:
    assert shares_of("pairs=0.5")["pairs"] == 0.5 and shares_of("only=1,pairs=1") == {"pairs": 1.0}
    assert shares_of(None) == SHARES
    progress = type("Level", (), {"value": 0.0})()
    source = batches(None, {"pairs": 1.0}, 4, Plan(tokens=200, questions=8), 0, 0, progress)
    assert next(source).pages.shape[1] == 1


def test_rounded_layers_are_those_of_the_shipped_graph(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = PagedConfig(layers=1, conv_layers=1)
    words = torch.randn(3000, WIDTH) * 0.3
    model = PagedReader(config, words).eval()
    torch.nn.init.normal_(model.local.layers[0].conv, std=0.1)  # type: ignore[arg-type]
    model = model.half().float()  # what the graph keeps in fp16 is that
    state = {name: tensor.detach().float().numpy() for name, tensor in model.state_dict().items()}
    graph = paged_graph.graph(state, config, "int8").SerializeToString()
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    ids = torch.randint(1000, 3000, (1, 40))
    switch = attach(model.local)
    [shipped] = session.run(["states"], {"word": model.local.words[ids].numpy()})
    with torch.inference_mode():
        exact = model.local(ids, torch.ones_like(ids, dtype=torch.bool)).numpy()
        switch.on = True
        rounded = model.local(ids, torch.ones_like(ids, dtype=torch.bool)).numpy()
    assert 0.002 < np.linalg.norm(shipped - exact) / np.linalg.norm(exact) < 0.1
    assert np.linalg.norm(shipped - rounded) < 0.2 * np.linalg.norm(shipped - exact)


def test_rounding_lets_gradients_pass() -> None:
    config = PagedConfig(layers=1, conv_layers=0)
    model = PagedReader(config, torch.randn(200, WIDTH))
    attach(model.local).on = True
    ids = torch.randint(0, 200, (2, 9))
    model.local(ids, torch.ones_like(ids, dtype=torch.bool)).square().sum().backward()
    assert float(model.local.layers[0].inner.weight.grad.abs().sum()) > 0  # type: ignore[union-attr]
