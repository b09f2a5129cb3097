"""Terms: how words of code and prose are split, and what a question keeps."""

import pytest

from selfroute.models.lexing import question_terms, terms


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("getHTTPResponse", ["get_http_respons", "get", "http", "respons"]),
        ("session_cookie_name", ["session_cooki_name", "session", "cooki", "name"]),
        ("utf_8", ["utf_8", "utf", "8"]),
        ("__init__", ["init"]),
        ("signing", ["sign"]),
        ("Café naïve", ["cafe", "naiv"]),
        ("漢字かな", ["漢字", "字か", "かな"]),
        ("字", ["字"]),
        ("сессия", ["сессия"]),
        ("_", []),
        ("", []),
        ("a" * 101, []),
    ],
)
def test_terms_split_identifiers_and_stem_words(text: str, expected: list[str]) -> None:
    assert terms(text) == expected


def test_question_terms_drop_stop_words_and_repeats() -> None:
    assert question_terms("Where is the session cookie signed, and the session?") == ["session", "cooki", "sign"]


def test_question_of_stop_words_alone_keeps_them() -> None:
    assert question_terms("what is it") == ["what", "is", "it"]
