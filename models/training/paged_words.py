"""What the keys of words are trained on: where the same word begins, and which questions ask for counting."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from selfroute.models.paged.heads import WordKey
from selfroute.models.tokenizer import wordpiece
from selfroute.models.training.paged_haystack import READERS, fill
from selfroute.models.training.paged_material import tokens
from selfroute.models.training.paged_ragged import Ragged

ANCHORS, OTHERS, WITHIN = 384, 768, 384  # words with a twin, beginnings of any word, tokens where none begins
MOST_PIECES = 16
FACTOR, MODULUS = 1_000_003, (1 << 61) - 1

# Those after the double bar are for testing only, RULER's among them.
ASK_COUNT = """which words occur most often?
~what are the {n} most frequent words?~list the {n} words that appear the most.
~which {n} words are repeated most often?~name the {n} most used words.~count the words: which {n} come most often?
~what is the most frequent word in the text?~which word is the most common here?~the top {n} words by frequency
~what are the {n} most frequent names in the list?~find the {n} words with the highest counts.~most frequent words
~tell me which {n} words are seen most~give the {n} words that are used more than all others.~most repeated words?
~which words have the highest frequency in the above text?~rank the words by how often they occur: the first {n}
||what are the {n} most common words in the list?~what are the {n} most frequently appeared words in the text?
~what are the {n} most common words in the above list?"""
NUMBERS = (*map(str, range(2, 21)), "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "")


@dataclass(frozen=True, slots=True)
class Alphabet:
    """(vocabulary,) of each token: whether it goes on with a word, and whether a word begins with it."""

    goes_on: Tensor
    begins: Tensor

    @classmethod
    def on(cls, device: str) -> Alphabet:
        """That of the built-in tokenizer."""
        known = list(wordpiece().vocabulary)
        goes_on = torch.tensor([piece.startswith("##") for piece in known])
        begins = torch.tensor([bool(re.fullmatch(r"[^\W_]+", piece)) for piece in known])
        return cls(goes_on.to(device), begins.to(device))

    def words(self, ids: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
        """(..., T) a number for the word that begins at each token, and whether one does."""
        ids = ids.long()
        found = ids + 1
        here = real.clone()
        for n in range(1, min(MOST_PIECES, ids.shape[-1])):
            later = F.pad(ids[..., n:], (0, n))
            here = here & self.goes_on[later] & F.pad(real[..., n:], (0, n))
            found = torch.where(here, (found * FACTOR + later + 1) % MODULUS, found)
        return found, self.begins[ids] & real


def word_loss(key: WordKey, kept: Tensor, ids: Tensor, real: Tensor, alphabet: Alphabet) -> Tensor:
    """Of pairs of tokens: whether the same word begins at both. kept: (..., T, word); ids, real: (..., T)."""
    words, begins = alphabet.words(ids, real)
    kept, words, begins, real = kept.flatten(0, -2), words.flatten(), begins.flatten(), real.flatten()
    at = begins.nonzero()[:, 0]
    at = at[torch.randperm(len(at), device=at.device)]
    order = at[words[at].argsort(stable=True)]
    same = torch.cat([words[order[1:]] == words[order[:-1]], words.new_zeros(1, dtype=torch.bool)])
    first = same & ~torch.cat([same.new_zeros(1), same[:-1]])
    twins = first.nonzero()[:, 0]
    twins = twins[torch.randperm(len(twins), device=at.device)[:ANCHORS]]
    if not len(twins):
        return kept.sum() * 0.0
    within = (real & ~begins).nonzero()[:, 0]
    within = within[torch.randint(len(within), (WITHIN,), device=at.device)]
    anchors = order[twins]
    chosen = torch.cat([order[twins + 1], at[:OTHERS], within])
    logits = key.alike(kept[anchors], kept[chosen])
    alike = (words[anchors][:, None] == words[chosen][None]) & begins[chosen]
    told = anchors[:, None] != chosen[None]
    yes, no = F.softplus(-logits) * (alike & told), F.softplus(logits) * (~alike)
    own = key.sharpness.exp() * ((kept[chosen] ** 2).sum(-1) - key.least)  # a beginning is like itself, others are not
    itself = F.softplus(torch.where(begins[chosen], -own, own)).mean()
    found: Tensor = yes.sum() / (alike & told).sum().clamp_min(1) + no.sum() / len(anchors) + itself
    return found


def counting_questions(split: str, readers: int, rng: np.random.Generator, n: int) -> tuple[Tensor, Tensor]:
    """(1, n, T) tokens of questions that ask for counting, with their special tokens, and which are real."""
    train, _, held = ASK_COUNT.replace("\n", "").partition("||")
    known = (train if split == "train" else held).split("~")
    rows = [tokens(str(rng.choice(known)).replace("{n} ", f"{rng.choice(NUMBERS)} ".lstrip())) for _ in range(n)]
    width = max(map(len, rows)) + readers + 1
    into = np.zeros((n, width), np.uint16)
    lengths = fill(into, Ragged.of(rows), 1, READERS[: readers - 1])
    real = np.arange(width)[None] < lengths[:, None]
    return torch.from_numpy(into.astype(np.int64))[None], torch.from_numpy(real)[None]
