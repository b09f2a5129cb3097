"""WordPiece against the `tokenizers` library on the same vocabulary."""

from __future__ import annotations

import sysconfig
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from selfroute.errors import ModelLoadError
from selfroute.models import weights
from selfroute.models.tokenizer import WordPiece, wordpiece

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
# Characters unassigned in Unicode 14 may be lower-cased by one side only; lone surrogates cannot be given to Rust.
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs", "Cn"]), max_size=60)
WORDS = "get Cookie _ __init__ x1 É ü straße ΣΑΣ İ ﬁ 日本 한국어 … — $ € ½ 😀 [CLS] [cls] [ ] [MASK 0xDEADBEEF न्दी ## #"
ODD = "\x0c\x00\u200b\ufeff\u0301\u0345\u00a0\u2028\r\n\t \u037e\u1734\u166d\ufffd"
PIECES = st.sampled_from([*WORDS.split(), *ODD, "\n", "a" * 101, "zq" * 50])


@cache
def reference() -> Tokenizer:
    vocabulary = {token: i for i, token in enumerate(wordpiece().vocabulary)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(SPECIAL)
    return tokenizer


def reference_ids(text: str) -> list[int]:
    ids: list[int] = reference().encode(text, add_special_tokens=False).ids
    return ids


@cache
def reference_without_specials() -> Tokenizer:
    vocabulary = {token: i for i, token in enumerate(wordpiece().vocabulary)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer


def reference_pieces(text: str) -> tuple[list[int], list[int], list[int]]:
    found = reference_without_specials().encode(text, add_special_tokens=False)
    return found.ids, [start for start, _ in found.offsets], [end for _, end in found.offsets]


@settings(max_examples=400, deadline=None)
@given(ANY_TEXT | st.lists(PIECES, max_size=12).map("".join))
def test_ids_equal_the_reference_on_any_text(text: str) -> None:
    assert wordpiece().ids(text) == reference_ids(text)
    assert wordpiece().count(text) == len(reference_ids(text))


@settings(max_examples=400, deadline=None)
@given(ANY_TEXT | st.lists(PIECES, max_size=12).map("".join))
def test_pieces_equal_the_reference_on_any_text(text: str) -> None:
    assert wordpiece().pieces(text) == reference_pieces(text)


def test_pieces_equal_the_reference_on_source_files() -> None:
    for name in ("argparse.py", "html/entities.py", "test/test_unicode_identifiers.py", "idlelib/NEWS2x.txt"):
        path = Path(sysconfig.get_path("stdlib"), name)
        if path.is_file():
            text = path.read_text(encoding="utf-8")
            assert wordpiece().pieces(text) == reference_pieces(text)


def test_pieces_are_quoted_from_the_text_byte_for_byte() -> None:
    text = "Der Café-Getter: getCookie() »Ünïts«"
    _, starts, ends = wordpiece().pieces(text)
    assert [text[a:b] for a, b in zip(starts, ends, strict=True)][:3] == ["Der", "Café", "-"]


def test_pieces_spell_special_tokens_out() -> None:
    ids, starts, ends = wordpiece().pieces("a [SEP]")
    assert [wordpiece().vocabulary[i] for i in ids] == ["a", "[", "sep", "]"]
    assert (starts, ends) == ([0, 2, 3, 6], [1, 3, 6, 7])


def test_ids_equal_the_reference_for_every_character() -> None:
    text = " ".join(f"a{chr(c)}b {chr(c)}" for c in range(0x2FFFF) if not 0xD800 <= c < 0xE000 and chr(c).isprintable())
    assert wordpiece().ids(text) == reference_ids(text)


def test_ids_equal_the_reference_on_source_files() -> None:
    for name in ("argparse.py", "tokenize.py", "unittest/mock.py", "html/entities.py"):
        text = Path(sysconfig.get_path("stdlib"), name).read_text(encoding="utf-8")
        assert wordpiece().ids(text) == reference_ids(text)


def test_ids_are_those_of_bert_uncased() -> None:
    vocabulary = wordpiece().vocabulary
    assert wordpiece().ids("Hello, world!") == [7592, 1010, 2088, 999]
    assert [vocabulary[i] for i in wordpiece().ids("def get_cookies(): # Café")] == [
        "def", "get", "_", "cookies", "(", ")", ":", "#", "cafe",
    ]  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(st.lists(PIECES, max_size=20).map("".join))
def test_line_counts_are_the_counts_of_the_lines(text: str) -> None:
    counts = wordpiece().line_counts(text)
    assert counts == [len(wordpiece().ids(line)) for line in text.split("\n")]
    assert sum(counts) == wordpiece().count(text)


def test_a_word_of_more_than_100_characters_is_one_unknown() -> None:
    assert wordpiece().ids("x" * 101) == [100]
    assert wordpiece().ids("é" * 101 + "." + "a" * 101) == [100, 1012, 100]
    assert len(wordpiece().ids("x" * 100)) > 1


def test_lone_surrogates_are_dropped() -> None:
    assert wordpiece().ids("a\udcffb") == wordpiece().ids("ab")


def test_nothing_gives_no_ids() -> None:
    assert wordpiece().ids("") == [] == wordpiece().ids(" \t\r\n")
    assert wordpiece().line_counts("") == [0]


def test_long_runs_are_not_kept() -> None:
    tokenizer = WordPiece(["[UNK]", "a", "##a"])
    assert tokenizer.count("a" * 80) == 80
    assert tokenizer.count("aaa") == 3
    assert "a" * 80 not in tokenizer._ids and "aaa" in tokenizer._ids


def test_an_altered_or_missing_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "sha256.json").write_bytes((weights.FOLDER / "sha256.json").read_bytes())
    with pytest.raises(ModelLoadError, match="cannot be read"):
        weights.read("vocab.txt", tmp_path)
    content = bytearray((weights.FOLDER / "vocab.txt").read_bytes())
    content[1000] ^= 1
    (tmp_path / "vocab.txt").write_bytes(content)
    with pytest.raises(ModelLoadError, match="altered") as caught:
        weights.read("vocab.txt", tmp_path)
    assert caught.value.hint.startswith("pip install")
    with pytest.raises(ModelLoadError, match="cannot be read"):
        weights.read("no-such-file", tmp_path)
