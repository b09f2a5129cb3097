"""Counting words by their keys: exact on keys made here, right on the shipped model's, and trained on what it says."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from selfroute.models.paged import counting
from selfroute.models.paged.config import PagedConfig
from selfroute.models.paged.counting import beginnings, counted_spans, most_frequent
from selfroute.models.paged.heads import WordKey
from selfroute.models.paged.runtime import PagedRuntime
from selfroute.models.tokenizer import wordpiece
from selfroute.models.training.paged_words import Alphabet, counting_questions, word_loss


def keys_of(words: list[int], noise: float, seed: int = 0) -> np.ndarray:
    """A key for each of the words, alike where they are the same."""
    rng = np.random.default_rng(seed)
    table = rng.standard_normal((max(words) + 1, 32))
    table /= np.linalg.norm(table, axis=1, keepdims=True)
    found = table[words] + noise * rng.standard_normal((len(words), 32)) / np.sqrt(32)
    return (0.92 * found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


def test_words_are_counted_across_pages() -> None:
    rng = np.random.default_rng(1)
    words = rng.permutation([0] * 40 + [1] * 30 + [2] * 20 + list(range(3, 200))).tolist()
    keys = keys_of(words, 0.12)
    none = np.full((len(words), 32), 0.05, np.float32)  # between two words a token where none begins
    rows = np.stack([keys, none], 1).reshape(-1, 32)
    offsets = np.arange(0, len(rows) + 1, 10)
    offsets[-1] = len(rows)
    spans = counted_spans([rows[:100], rows[100:]], offsets, 0.7, 3)
    assert [span.score for span in spans] == [40, 30, 20]
    found = [words[(int(offsets[span.page]) + span.first + 1) // 2] for span in spans]
    assert found == [0, 1, 2]
    assert spans[0].probability == 40 / len(words)


def test_of_no_words_none_is_frequent() -> None:
    assert most_frequent(beginnings([np.zeros((5, 32), np.float32)], 0.7), 0.7, 3) == []


def test_a_word_is_quoted_where_it_is_most_itself() -> None:
    """Not at the first of its keys that was looked at, which may be a rare word's that is spelled alike."""
    rng = np.random.default_rng(3)
    often = rng.standard_normal(32)
    rare = often + 0.28 * rng.standard_normal(32)  # the cosine with the frequent word is about 0.96
    table = np.stack([rare, often]) / np.linalg.norm([rare, often], axis=1)[:, None]
    assert 0.93 < table[0] @ table[1] < 0.98
    words = [0, *[1] * 30, 0]
    keys = (0.92 * table[words] + 0.02 * rng.standard_normal((32, 32)) / np.sqrt(32)).astype(np.float32)
    [span] = counted_spans([keys], np.array([0, len(keys)]), 0.7, 1)
    assert words[span.first + 1] == 1


@pytest.mark.parametrize("behind", [True, False])
def test_what_only_goes_on_with_a_word_is_not_counted(behind: bool) -> None:
    """Its keys are as short, and all stand one token behind the word's; those of a word that begins do not."""
    draw = np.random.default_rng(5)
    words = [0, 1] * 50 + draw.permutation([2] * 60 + list(range(3, 43))).tolist()
    if not behind:
        words = draw.permutation(words).tolist()
    keys = keys_of(words, 0.05)
    keys[np.array(words) == 1] *= 0.86 / 0.92  # just long enough for a beginning, as some tokens within words are
    none = np.zeros((2, 32), np.float32)
    rows = [
        np.concatenate([key[None], none[: 0 if word == 0 else draw.integers(3)]])
        for key, word in zip(keys, words, strict=True)
    ]
    block = np.concatenate(rows)
    spans = counted_spans([block], np.array([0, len(block)]), 0.7, 3)
    assert [span.score for span in spans] == ([60, 50, 1] if behind else [60, 50, 50])


def test_a_frequent_word_may_be_rare_in_one_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "SAMPLE", 64)
    monkeypatch.setattr(counting, "CANDIDATES", 8)
    words = list(range(10, 138))  # every second beginning is in the first sample
    words[1:40:2] = [0] * 20
    [span] = counted_spans([keys_of(words, 0.05)], np.array([0, len(words)]), 0.7, 1)
    assert span.score == 20


def test_the_shipped_model_counts_words_of_pages_encoded_apart() -> None:
    made = PagedRuntime(threads=1)
    often = ["lantern"] * 12 + ["orchard"] * 9 + ["violin"] * 6
    rare = "tunnel gravel saddle thistle mirror copper walnut harbour pencil feather glacier meadow".split()
    words = np.random.default_rng(2).permutation([*often, *rare]).tolist()
    pages = ["\n".join(words[first : first + 8]) for first in range(0, len(words), 8)]
    kept = made.encode(pages)
    lengths = np.array([len(made.page_ids(page)) for page in pages], np.int32)
    arrays = {
        field.name: np.concatenate([page[field.name] if field.per_token else page[field.name][None] for page in kept])
        for field in made.layout.fields
    }
    reading = made.ask("What are the three most frequent words?", lengths, arrays, n_spans=3)
    assert reading.counted
    assert [span.score for span in reading.spans] == [12, 9, 6]
    quotes = [pages[s.page][slice(*made.quote(pages[s.page], s.first, s.last))] for s in reading.spans]
    assert [quote[:4] for quote in quotes] == ["lant", "orch", "viol"]
    assert not made.ask("Where is the lantern?", lengths, arrays).counted


def test_a_word_is_all_of_its_pieces() -> None:
    known = wordpiece()
    ids = known.pieces("unhappily, the unhappy were unhappily")[0]
    row = torch.tensor([ids])
    words, begins = Alphabet.on("cpu").words(row, torch.ones_like(row, dtype=torch.bool))
    pieces = [known.vocabulary[i] for i in ids]
    assert begins[0].tolist() == [not p.startswith("##") and p != "," for p in pieces]
    firsts = [i for i, piece in enumerate(pieces) if begins[0, i]]
    assert words[0, firsts[0]] == words[0, firsts[-1]]
    assert words[0, firsts[0]] != words[0, firsts[2]]


def test_keys_learn_which_words_are_the_same() -> None:
    torch.manual_seed(0)
    config = PagedConfig()
    key, alphabet = WordKey(config), Alphabet.on("cpu")
    ids = torch.randint(2000, 2040, (1, 4, 32))
    real = torch.ones_like(ids, dtype=torch.bool)
    table = torch.randn(40, config.width)
    states = table[ids - 2000] + 0.1 * torch.randn(1, 4, 32, config.width)
    optimizer = torch.optim.Adam(key.parameters(), 1e-2)
    losses = []
    for _ in range(150):
        loss = word_loss(key, key.kept(states), ids, real, alphabet)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.4 * losses[0]


def test_questions_that_count_are_worded_apart_for_testing() -> None:
    rng = np.random.default_rng(0)
    seen = set()
    for split in ("train", "held"):
        ids, real = counting_questions(split, 4, rng, 40)
        assert ids.shape == real.shape
        seen.add(frozenset(tuple(row[here].tolist()) for row, here in zip(ids[0], real[0], strict=True)))
    train, held = seen
    assert not train & held
