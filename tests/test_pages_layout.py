"""A layout checks the arrays of a page, packs them into one record, and finds them in it again."""

import numpy as np
import pytest

from selfroute.models.paged.layout import ALIGN, Field, Layout

LAYOUT = Layout(
    "ab12",
    (
        Field("ids", "int32"),
        Field("keys", "uint8", (2, 5)),
        Field("vector", "float32", (7,), per_token=False),
        Field("scales", "float16", (3,)),
        Field("n", "int64", (), per_token=False),
    ),
)


def arrays(n_tokens: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(n_tokens)
    return {
        "ids": rng.integers(0, 30_000, n_tokens).astype(np.int32),
        "keys": rng.integers(0, 256, (n_tokens, 2, 5)).astype(np.uint8),
        "vector": rng.random(7).astype(np.float32),
        "scales": rng.random((n_tokens, 3)).astype(np.float16),
        "n": np.array(n_tokens, np.int64),
    }


@pytest.mark.parametrize("n_tokens", [0, 1, 64, 250])
def test_a_record_gives_the_arrays_back(n_tokens: int) -> None:
    page = arrays(n_tokens)
    record = LAYOUT.pack(page, n_tokens)
    assert len(record) == LAYOUT.record_bytes(n_tokens)
    assert len(record) % ALIGN == 0
    found = LAYOUT.view(record, n_tokens)
    assert list(found) == [field.name for field in LAYOUT.fields]
    for name, array in page.items():
        assert found[name].dtype == array.dtype
        assert np.array_equal(found[name], array)
        assert not found[name].flags.writeable
        assert not found[name].flags.owndata


def test_what_belongs_to_the_page_lies_alike_in_every_record() -> None:
    lengths = np.array([0, 1, 100, 256])
    places = LAYOUT.places(lengths)
    assert np.unique(places["vector"]).tolist() == [0]
    assert np.unique(places["n"]).tolist() == [64]
    assert LAYOUT.head_bytes == 128
    assert all(np.all(place % ALIGN == 0) for place in places.values())
    for i, n_tokens in enumerate(lengths.tolist()):
        record = LAYOUT.pack(arrays(n_tokens), n_tokens)
        start = places["keys"][i]
        assert record[start : start + n_tokens * 10] == arrays(n_tokens)["keys"].tobytes()
    assert LAYOUT.record_bytes(lengths).tolist() == [LAYOUT.record_bytes(n) for n in lengths.tolist()]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"keys": np.zeros((5, 2, 4), np.uint8)}, "keys"),
        ({"keys": np.zeros((4, 2, 5), np.uint8)}, "keys"),
        ({"ids": np.zeros(5, np.int64)}, "ids"),
        ({"vector": np.zeros((5, 7), np.float32)}, "vector"),
        ({"more": np.zeros(5, np.uint8)}, "more"),
    ],
)
def test_arrays_that_do_not_fit_are_refused_by_name(change: dict[str, np.ndarray], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        LAYOUT.pack({**arrays(5), **change}, 5)


def test_a_page_lacks_nothing() -> None:
    page = arrays(5)
    del page["scales"]
    with pytest.raises(ValueError, match="scales"):
        LAYOUT.pack(page, 5)


def test_a_record_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="bytes"):
        LAYOUT.view(LAYOUT.pack(arrays(100), 100), 5)


@pytest.mark.parametrize(
    "fields",
    [(), (Field("a", "int32"), Field("a", "int8")), (Field("a", "bfloat16"),), (Field("a", "object"),)],
)
def test_fields_that_cannot_be_are_refused(fields: tuple[Field, ...]) -> None:
    with pytest.raises(ValueError):
        Layout("ab12", fields)


def test_a_layout_survives_as_text() -> None:
    assert Layout.from_json("ab12", LAYOUT.to_json()) == LAYOUT
    for text in ("", "1", "[[1]]", '[["a", "int32"]]', '[["a", "int32", 5, true]]'):
        with pytest.raises(ValueError):
            Layout.from_json("ab12", text)
