"""The FAISS store keeps the VectorStore contract: order, ties, widths, files."""

import gc
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from selfroute.errors import DimensionError, IndexCorruptError
from selfroute.memory.base import VectorStore
from selfroute.memory.vectors import FaissVectorStore


def store(rows: list[list[float]]) -> FaissVectorStore:
    made = FaissVectorStore(2)
    made.add(np.array(rows, np.float32))
    return made


def test_it_is_a_vector_store() -> None:
    assert isinstance(FaissVectorStore(2), VectorStore)


def test_search_gives_the_nearest_first() -> None:
    scores, ids = store([[1, 0], [0, 1], [0.6, 0.8]]).search(np.array([[0, 1]], np.float32), top_k=2)
    assert ids.tolist() == [[1, 2]]
    assert scores[0].tolist() == pytest.approx([1.0, 0.8])


def test_ties_break_on_the_lower_id_even_across_the_cut() -> None:
    many = store([[0, 1]] + [[1, 0]] * 40 + [[0, 1]])
    assert many.search(np.array([[1, 0]], np.float32), top_k=3)[1].tolist() == [[1, 2, 3]]


def test_a_query_alone_and_among_others_gives_the_same_bits() -> None:
    random = np.random.default_rng(0)
    made = FaissVectorStore(64)
    made.add(random.standard_normal((500, 64)).astype(np.float32))
    queries = random.standard_normal((40, 64)).astype(np.float32)
    together = made.search(queries, top_k=10)
    for i, query in enumerate(queries):
        alone = made.search(query[None], top_k=10)
        assert np.array_equal(alone[0][0], together[0][i]) and np.array_equal(alone[1][0], together[1][i])


def test_more_than_there_is_gives_all() -> None:
    assert store([[1, 0]]).search(np.array([[1, 0]], np.float32), top_k=9)[1].tolist() == [[0]]
    assert FaissVectorStore(2).search(np.array([[1, 0]], np.float32), top_k=9)[1].shape == (1, 0)


def test_another_width_is_an_error() -> None:
    with pytest.raises(DimensionError):
        store([[1, 0]]).search(np.ones((1, 3), np.float32), top_k=1)
    with pytest.raises(DimensionError):
        FaissVectorStore(2).add(np.ones((1, 3), np.float32))
    with pytest.raises(ValueError):
        store([[1, 0]]).search(np.ones((1, 2), np.float32), top_k=0)


def test_a_saved_store_is_read_back(tmp_path: Path) -> None:
    store([[1, 0], [0, 1]]).save(tmp_path / "v.faiss")
    assert np.array_equal(FaissVectorStore.load(tmp_path / "v.faiss").rows, np.eye(2, dtype=np.float32))
    (tmp_path / "bad").write_bytes(b"not faiss")
    with pytest.raises(IndexCorruptError):
        FaissVectorStore.load(tmp_path / "bad")


def test_rows_outlive_their_store() -> None:
    wanted = np.arange(64 * 256, dtype=np.float32).reshape(64, 256)

    def rows() -> NDArray[np.float32]:
        store = FaissVectorStore(256)
        store.add(wanted)
        return store.rows

    kept = rows()
    gc.collect()
    _overwritten = [np.full((64, 256), -1, np.float32) for _ in range(64)]
    assert np.array_equal(kept, wanted)
    assert not kept.flags.writeable
