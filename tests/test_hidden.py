"""Characters that nobody sees are found, told of, and shown on a terminal."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from selfroute.memory.hidden import hidden_kinds, show_hidden, told
from selfroute.models.hashing import HashingEmbedder
from selfroute.router import render
from selfroute.router.cli import main
from selfroute.router.router import SelfRouter

RLO, ZWSP, TAG_A = "\u202e", "\u200b", "\U000e0041"
KINDS = {
    "bidi control": [*map(chr, range(0x202A, 0x202F)), *map(chr, range(0x2066, 0x206A)), "\u200e", "\u200f", "\u061c"],
    "zero width": ["\u200b", "\u200c", "\u200d", "\u2060", "\ufeff"],
    "tag": [chr(0xE0000), chr(0xE0041), chr(0xE007F)],
}


@pytest.mark.parametrize(("kind", "char"), [(kind, char) for kind, chars in KINDS.items() for char in chars])
def test_a_hidden_character_is_counted_and_shown(kind: str, char: str) -> None:
    assert hidden_kinds(f"a é{char}b") == {kind: 1}
    shown = show_hidden(f"a é{char}b")
    assert char not in shown
    assert shown.startswith("a é\\") and shown.endswith(f"{ord(char):x}b")


def test_what_is_seen_is_not_hidden() -> None:
    assert not hidden_kinds("naïve \U0001f600 日本語 \u00a0 x\n\ty")
    assert not hidden_kinds("\ufeffdef f(): ...")
    assert not hidden_kinds("plain")


def test_kinds_are_counted_and_told() -> None:
    assert told(hidden_kinds(f"{RLO}{RLO}a{ZWSP}{TAG_A}")) == "2 bidi controls, 1 tag, 1 zero width"


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    root = tmp_path / "corpus"
    root.mkdir()
    code = f'def sign_cookie(value, key):\n    """Sign a cookie{RLO} with{ZWSP} a key."""\n    return value\n'
    (root / "jar.py").write_text(code, encoding="utf-8")
    (root / "oven.py").write_text("def bake(minutes):\n    return minutes\n")
    return root


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: object) -> tuple[int, str, str]:
        code = main([str(argument) for argument in arguments])
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return call


def test_doctor_lists_files_with_hidden_characters(corpus: Path, run: Run) -> None:
    code, out, _ = run("doctor", "--path", corpus)
    assert code == 0
    assert out.endswith("noted in 1 files\n  jar.py: hidden characters: 1 bidi control, 1 zero width\n")
    noted = json.loads(run("doctor", "--path", corpus, "--json")[1])["noted"]
    assert noted == [{"path": "jar.py", "masked": 0, "hidden": {"bidi control": 1, "zero width": 1}}]


@pytest.mark.parametrize("route", ["retrieval", "long-context"])
def test_an_answer_that_cites_some_has_a_note(corpus: Path, route: str) -> None:
    with SelfRouter.from_path(corpus, embedder=HashingEmbedder(64)) as router:
        answer = router.ask("How does sign_cookie sign a cookie with a key?", route=route)
        assert any(RLO in citation.text for citation in answer.citations)
        assert any("hidden characters in the cited text: " in note for note in answer.attempts[-1].notes)
        other = router.ask("Where is bake defined?", route=route)
        assert other.answerable
        assert not any("hidden" in note for note in other.attempts[-1].notes)


def test_the_note_is_on_standard_error_for_people_and_beside_json(corpus: Path, run: Run) -> None:
    question = "How does sign_cookie sign a cookie with a key?"
    for extra in ((), ("--json",)):
        code, _, err = run("ask", question, "--path", corpus, *extra)
        assert code == 0
        assert err.count("note: hidden characters in the cited text: ") == 1


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_shows_what_is_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    render.say(f"a{RLO}b{ZWSP}c{TAG_A}d é\x1b", to=terminal)
    assert terminal.getvalue() == "a\\u202eb\\u200bc\\U000e0041d é\\x1b\n"
    monkeypatch.setattr(sys, "stdout", terminal := Terminal())
    render.put({"text": f"a{RLO}{TAG_A}é"})
    assert terminal.getvalue().isascii()
    assert json.loads(terminal.getvalue()) == {"text": f"a{RLO}{TAG_A}é"}


def test_a_file_gets_the_text_as_it_is() -> None:
    out = io.StringIO()
    render.say(f"a{RLO}b", to=out)
    assert out.getvalue() == f"a{RLO}b\n"
