"""The embedders: what every one of them promises, and what each promises by itself."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from selfroute.errors import ConfigError, ModelLoadError
from selfroute.models import weights
from selfroute.models.base import Embedder
from selfroute.models.hashing import HashingEmbedder
from selfroute.models.sentence import SentenceEmbedder
from selfroute.models.static import StaticEmbedder, WordRows, parts
from selfroute.models.tokenizer import WordPiece

TEXTS = [
    "def get_cookie(name):\n    return cookies[name]",
    "where are cookies signed?",
    "",
    "日本語のテキスト",
    "\x00 \n",
    "x" * 10_000,
    "getCookie " * 5_000,
]


@cache
def static() -> StaticEmbedder:
    return StaticEmbedder()


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random BERT of one layer, saved as a sentence-transformers model."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("tiny")
    words = ["[PAD]", "[UNK]", "get", "cookie", "where", "signed"]
    tokenizer = Tokenizer(models.WordPiece({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    torch.manual_seed(0)
    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    BertModel(BertConfig(vocab_size=len(words), **size)).save_pretrained(folder / "bert")
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", model_max_length=64)
    wrapped.save_pretrained(folder / "bert")
    modules = [Transformer(str(folder / "bert")), Pooling(16)]
    SentenceTransformer(modules=modules, device="cpu").save(str(folder / "model"))
    return folder / "model"


@pytest.fixture(scope="module", params=["static", "hashing", "sentence-transformers"])
def embedder(request: pytest.FixtureRequest) -> Embedder:
    if request.param == "static":
        return static()
    if request.param == "hashing":
        return HashingEmbedder()
    return SentenceEmbedder(str(request.getfixturevalue("tiny_model")), device="cpu")


def test_an_embedder_gives_unit_rows_or_zeros(embedder: Embedder) -> None:
    assert isinstance(embedder, Embedder)
    vectors = embedder.encode(TEXTS)
    assert vectors.shape == (len(TEXTS), embedder.dim)
    assert vectors.dtype == np.float32
    lengths = np.linalg.norm(vectors, axis=1).tolist()
    assert all(abs(length - 1) < 1e-5 or length == 0 for length in lengths)
    assert lengths[0] > 0 and lengths[1] > 0 and lengths[2] == 0
    assert embedder.encode([]).shape == (0, embedder.dim)


def test_an_embedder_repeats_itself(embedder: Embedder) -> None:
    assert np.array_equal(embedder.encode(TEXTS[:2]), embedder.encode(TEXTS[:2]))
    assert embedder.fingerprint == embedder.fingerprint != ""


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(max_size=40) | st.sampled_from(TEXTS), min_size=1, max_size=8))
def test_a_static_vector_does_not_depend_on_the_texts_beside_it(texts: list[str]) -> None:
    alone = np.concatenate([static().encode([text]) for text in texts])
    assert np.array_equal(static().encode(texts), alone)
    assert np.array_equal(StaticEmbedder().encode(texts[::-1]), alone[::-1])


def test_static_vectors_split_identifiers() -> None:
    assert parts("getHTTPResponse_v2") == ["get", "http", "response", "v", "2"]
    assert parts("__init__") == ["init"]
    assert parts("straßeÜber") == ["stra", "ß", "e", "ü", "ber"]
    assert parts("a" * 101) == []
    one, other, far = static().encode(["getCookieValue", "get cookie value", "matrix eigenvalue decomposition"])
    assert np.array_equal(one, other)
    assert one @ far < 0.3


def test_static_vectors_count_a_word_once_and_the_first_line_once_more() -> None:
    def rows(text: str) -> list[int]:
        return sorted(WordRows(tokenizer, [1, 2], ["cookie"]).of_text(text))

    tokenizer = WordPiece(["[UNK]", "get", "##s", "set", "c"])
    assert rows("get get cookie") == [0, 2]
    assert rows("gets") == [0, 1]
    assert rows("def get():\n  cookie get") == [0, 0, 2]
    assert rows("\n\ncookie\nget") == [0, 2, 2]
    assert rows("set [CLS] zzz") == []


def test_static_vectors_put_a_question_near_its_code() -> None:
    question, *code = static().encode(
        [
            "read the settings from a file",
            "def load_config(path):\n    with open(path) as f:\n        return json.load(f)",
            "def rotate(image, angle):\n    return warp(image, rotation_matrix(angle))",
            "def send_mail(to, subject, body):\n    smtp.send(to, subject, body)",
        ]
    )
    assert np.argmax(np.stack(code) @ question) == 0


def test_static_vectors_load_neither_torch_nor_transformers() -> None:
    code = (
        "import sys; from selfroute.models.static import StaticEmbedder; StaticEmbedder().encode(['a b'])\n"
        "print(sorted({'torch', 'transformers', 'tokenizers', 'faiss', 'scipy'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=os.sep, check=True)
    assert ran.stdout.strip() == "[]"


def test_shipped_weights_stay_below_their_sizes() -> None:
    sums = json.loads((weights.FOLDER / "sha256.json").read_text())
    static, reader = {"static-minilm.safetensors", "vocab.txt"}, {"reader-minilm.onnx", "reader-minilm.json"}
    paged = {"paged-local.onnx", "paged-global.safetensors", "paged.json"}
    assert set(sums) == static | reader | paged
    for names, limit in ((static, 8_000_000), (reader, 24_000_000), (paged, 17_000_000)):
        assert sum((weights.FOLDER / name).stat().st_size for name in names) < limit


def test_a_weights_file_that_is_no_safetensors_file_is_refused(tmp_path: Path) -> None:
    for content, wrong in ((b"no tensors here", True), (save({"a": np.zeros(2, np.float32)}), False)):
        (tmp_path / "w.safetensors").write_bytes(content)
        (tmp_path / "sha256.json").write_text(json.dumps({"w.safetensors": hashlib.sha256(content).hexdigest()}))
        if wrong:
            with pytest.raises(ModelLoadError, match="no safetensors file"):
                weights.load("w.safetensors", tmp_path)
        else:
            assert weights.load("w.safetensors", tmp_path)["a"].tolist() == [0, 0]


def test_hashing_vectors_are_exact() -> None:
    embedder = HashingEmbedder(dim=8)
    one, same, two = embedder.encode(["cookies", "cookie", "cookie session"])
    assert np.array_equal(one, same)
    assert sorted(np.abs(one).tolist()) == [0, 0, 0, 0, 0, 0, 0, 1]
    assert one @ two == pytest.approx(2**-0.5)
    assert embedder.dim == 8 and embedder.fingerprint == "hashing:8"


def test_hashing_vectors_need_a_dimension() -> None:
    with pytest.raises(ConfigError, match="0 dimensions"):
        HashingEmbedder(dim=0)


def test_a_sentence_model_is_named_by_its_content(tiny_model: Path) -> None:
    embedder = SentenceEmbedder(str(tiny_model), device="cpu")
    assert embedder.dim == 16
    assert embedder.fingerprint == SentenceEmbedder(str(tiny_model), device="cpu").fingerprint
    one, other = embedder.encode(["get cookie", "where signed"])
    assert not np.array_equal(one, other)


def test_a_sentence_model_that_is_not_there_is_an_error_with_a_hint(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match="no model folder") as caught:
        SentenceEmbedder(str(tmp_path / "none"))
    assert "folder" in caught.value.hint
    with pytest.raises(ModelLoadError, match="cannot be loaded") as caught:
        SentenceEmbedder(str(tmp_path))
    assert caught.value.hint == "check the folder's files"
