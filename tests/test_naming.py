"""Bases and members are answered by their names, each with the line that shows it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from selfroute import SelfRouter
from selfroute.backends.naming import arguments
from selfroute.backends.relations import MAX_NAMED

MODELS = (
    "import abc\n"
    "class Base:\n"
    "    def close(self):\n"
    "        pass\n"
    "class Box(Base, Generic[T], metaclass=abc.ABCMeta):\n"
    "    size = 3\n"
    "    def __init__(self):\n"
    "        self.n = 0\n"
    "    @property\n"
    "    def width(self):\n"
    "        return 1\n"
    "    @classmethod\n"
    "    def of(cls, n):\n"
    "        return cls()\n"
    "    def open(self):\n"
    "        return self._turn()\n"
    "    def _turn(self):\n"
    "        return 2\n"
)


@pytest.fixture(scope="module")
def router(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SelfRouter]:
    root = tmp_path_factory.mktemp("naming") / "corpus"
    root.mkdir()
    (root / "models.py").write_text(MODELS)
    with SelfRouter.from_path(root, index_dir=root.parent / "index", reader="evidence", route="retrieval") as opened:
        yield opened


@pytest.mark.parametrize(
    ("question", "text", "lines"),
    [
        ("What does `Box` inherit from?", "Base\nGeneric[T]", [5]),
        ("What methods does the class Box define?", "of\nopen", [13, 15]),
        ("Which private methods does Box define?", "__init__\nof\nopen\n_turn", [7, 13, 15, 17]),
        ("What attributes does Box have?", "size\nwidth", [6, 10]),
    ],
)
def test_names_alone_are_the_answer(router: SelfRouter, question: str, text: str, lines: list[int]) -> None:
    answer = router.ask(question)
    assert answer.text == text
    assert sorted({citation.start_line for citation in answer.citations}) == lines


def test_more_names_than_are_shown_are_counted(tmp_path: Path) -> None:
    (tmp_path / "corpus").mkdir()
    methods = "".join(f"    def m{n:03}(self):\n        pass\n" for n in range(MAX_NAMED + 5))
    (tmp_path / "corpus" / "a.py").write_text(f"class Wide:\n{methods}")
    with SelfRouter.from_path(tmp_path / "corpus", index_dir=tmp_path / "index", route="retrieval") as router:
        lines = router.ask("What methods does the class Wide define?").text.splitlines()
    assert (lines[0], lines[MAX_NAMED - 1], lines[MAX_NAMED:]) == ("m000", "m059", ["and 5 more"])


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ("class A(B, c.D[int, str], metaclass=M):", ["B", "c.D[int, str]"]),
        ("class A(make(1, 2)):", ["make(1, 2)"]),
        ("class A:", []),
        ("class A():", []),
        ("class A(B,", ["B"]),
    ],
)
def test_arguments_are_split_outside_of_brackets(statement: str, found: list[str]) -> None:
    assert arguments(statement) == found
