"""Which other paragraphs look as if they answered a question: by BM25, of the same article first."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.sparse import csr_matrix  # type: ignore[import-untyped]

from selfroute.models.tokenizer import wordpiece

K1, B = 0.9, 0.4  # Lin et al. 2021, for passages
N_SAME, N_OTHER = 6, 4
BLOCK = 1_000  # questions scored at once


class Near:
    """Ranks the texts of one set for its questions."""

    def __init__(self, texts: Sequence[str], groups: Sequence[str], held: set[str]) -> None:
        """held: groups that the questions of other groups are never shown."""
        numbers = {group: i for i, group in enumerate(dict.fromkeys(groups))}
        self._group = np.array([numbers[group] for group in groups])
        self._held = np.array([group in held for group in groups])
        counts = _counts(texts)
        length = np.asarray(counts.sum(1)).ravel()
        n_with = np.asarray((counts > 0).sum(0)).ravel()
        rarity = np.log(1 + (len(texts) - n_with + 0.5) / (n_with + 0.5))
        norm = K1 * (1 - B + B * length / max(1.0, float(length.mean())))
        rows = np.repeat(np.arange(len(texts)), np.diff(counts.indptr))
        weight = counts.data * (K1 + 1) / (counts.data + norm[rows]) * rarity[counts.indices]
        self._weights = csr_matrix((weight.astype(np.float32), counts.indices, counts.indptr), counts.shape).T.tocsr()

    def rank(self, questions: Sequence[str], gold: Sequence[int]) -> list[list[int]]:
        """For each question up to ten other texts: two of its gold text's group, one of another, and so on."""
        asked = (_counts(questions) > 0).astype(np.float32).tocsr()
        found = []
        for start in range(0, len(questions), BLOCK):
            scores = (asked[start : start + BLOCK] @ self._weights).toarray()
            for row, at in zip(scores, gold[start : start + BLOCK], strict=True):
                mine = np.flatnonzero(self._group == self._group[at])
                same = [i for i in mine[np.argsort(-row[mine], kind="stable")].tolist() if i != at][:N_SAME]
                row[mine] = -1
                if not self._held[at]:
                    row[self._held] = -1
                best = np.argpartition(-row, min(N_OTHER, len(row) - 1))[:N_OTHER]
                other = [i for i in best[np.argsort(-row[best], kind="stable")].tolist() if row[i] > 0]
                found.append(_mixed(same, other))
        return found


def _mixed(same: list[int], other: list[int]) -> list[int]:
    ranked = []
    while same or other:
        ranked += same[:2] + other[:1]
        same, other = same[2:], other[1:]
    return ranked


def _counts(texts: Sequence[str]) -> csr_matrix:
    tokenizer = wordpiece()
    ids, ends = [], [0]
    for text in texts:
        ids.append(np.array([i for i in tokenizer.ids(text) if i > 1200], np.int32))  # words, no punctuation
        ends.append(ends[-1] + len(ids[-1]))
    matrix = csr_matrix(
        (np.ones(ends[-1], np.float32), np.concatenate(ids) if ids else [], ends),
        (len(texts), len(tokenizer.vocabulary)),
    )
    matrix.sum_duplicates()
    return matrix
