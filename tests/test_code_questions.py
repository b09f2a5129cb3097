"""Questions made of code: their answers are the text at their offsets, and what has no answer really has none."""

import re
from collections import Counter

import pytest

from selfroute.models.training.code_absent import absent_questions, mutated
from selfroute.models.training.code_noise import noisy
from selfroute.models.training.code_package import Package
from selfroute.models.training.code_questions import CodeQuestion, questions_of
from selfroute.models.training.code_wordings import KINDS, WORDINGS, wordings_of

STORE = '''"""A store of cookies, naïve but sufficient."""

from __future__ import annotations

import os
from enum import Enum
from json import loads as parse_json

DEFAULT_JAR = "cookies.txt"
LIMIT = 4 * 1024  # größer ist zu groß
counter = 0
counter = counter + 1


class Colour(Enum):
    RED = 1
    GREEN = 2


class Base:
    pass


class CookieJar(Base, dict[str, str]):
    """Keeps cookies between requests of one session.

    :param path: where the cookies are written to.
    :param int size: the number of cookies
        that are kept. More are dropped.
    """

    suffix: str = ".jar"

    def __init__(self, path: str, size: int = 50, *, strict: bool = False) -> None:
        self.path = path
        self.entries = {"é": 1}

    def write_all(self, force=None):
        """Write every cookie to the file. Nothing is read."""
        if self.path is None:
            raise ValueError("no path was given")
        return os.path.join(self.path, self.suffix)

    @property
    def biggest(self) -> "str | None":
        return max(self.entries)


class Shelf:
    def put_up(self):
        return None

    def take_down(self):
        return None

    def _dust(self):
        return None


@staticmethod
def read_settings(config, name: str = "jar"):
    """Look up what is configured for a jar.

    Args:
        config: The settings of the application.
        name (str): Which jar is meant. Several may exist.
    """
    home = os.environ.get("JAR_HOME", "/var/jar")
    if not home:
        raise LookupError("no home")
    if name in config:
        raise KeyError(name)
    return config["JAR_SIZE"]


def attempt():
    try:
        raise OSError("inner")
    except OSError:
        pass


def add_options(parser):
    """Size of things

    Parameters
    ----------
    parser : ArgumentParser
        What the options are added to.
    """
    parser.add_argument("-s", "--size", default=50, help="how many cookies the jar may keep")
'''
OTHER = '''from shop.store import CookieJar


def write_all(target, force: bool = True) -> int:
    """Send the whole basket to a printer."""
    return len(target)
'''
METADATA = """Metadata-Version: 2.4
Name: shop
Version: 1.2.0
License-Expression: MIT
Requires-Python: >=3.10
Requires-Dist: basket<3,>=2.1
Requires-Dist: lamp[oil]>=0.4; extra == "light"

# shop
Version: not this one
"""
PYPROJECT = """[project]
name = "shop"
version = "1.2.0"
requires-python = ">=3.10"
dependencies = [
    "basket>=2.1,<3",
    "lamp",
]

[project.scripts]
shop = "shop.cli:main"
"""
FILES = {
    "shop/store.py": STORE,
    "shop/other.py": OTHER,
    "shop-1.2.0.dist-info/METADATA": METADATA,
    "pyproject.toml": PYPROJECT,
    "shop/broken.py": "def (",
}
EVERY = 20


def every(files: dict[str, str] = FILES, split: str = "train") -> list[CodeQuestion]:
    package = Package.of(files)
    return [q for p in files for q in questions_of(files[p], p, package=package, split=split, per_fact=EVERY)]  # type: ignore[arg-type]


def answers(kind: str, target: str, **names: str) -> set[tuple[str, ...]]:
    found = [q for q in every() if q.kind == kind and q.target == target]
    return {q.answers for q in found if all(re.search(rf"\b{value}\b", q.question) for value in names.values())}


@pytest.mark.parametrize(
    ("kind", "target", "asked", "expected"),
    [
        ("parameter_default", "CookieJar.__init__", "size", ("50",)),
        ("parameter_default", "CookieJar.__init__", "strict", ("False",)),
        ("parameter_type", "CookieJar.__init__", "path", ("str",)),
        ("return_type", "CookieJar.biggest", "biggest", ('"str | None"',)),
        ("parameters", "read_settings", "read_settings", ('config, name: str = "jar"',)),
        ("returned", "CookieJar.write_all", "write_all", ("os.path.join(self.path, self.suffix)",)),
        ("raised", "CookieJar.write_all", "write_all", ("ValueError",)),
        ("raised", "read_settings", "read_settings", ("LookupError", "KeyError")),
        ("raise_condition", "read_settings", "LookupError", ("not home",)),
        ("error_message", "CookieJar.write_all", "ValueError", ("no path was given",)),
        ("constant", "DEFAULT_JAR", "DEFAULT_JAR", ('"cookies.txt"',)),
        ("constant", "LIMIT", "LIMIT", ("4 * 1024",)),
        ("class_attribute", "CookieJar", "suffix", ('".jar"',)),
        ("attribute_type", "CookieJar", "suffix", ("str",)),
        ("instance_attribute", "CookieJar", "entries", ('{"é": 1}',)),
        ("bases", "CookieJar", "CookieJar", ("Base", "dict[str, str]")),
        ("enum_members", "Colour", "Colour", ("RED", "GREEN")),
        ("methods", "Shelf", "Shelf", ("put_up", "take_down")),
        ("decorators", "CookieJar.biggest", "biggest", ("property",)),
        ("does", "CookieJar", "CookieJar", ("Keeps cookies between requests of one session",)),
        ("does", "CookieJar.write_all", "write_all", ("Write every cookie to the file",)),
        ("function_that", "CookieJar.write_all", "writes every cookie to the file", ("write_all",)),
        ("class_that", "CookieJar", "keeps cookies between requests", ("CookieJar",)),
        ("parameter_meaning", "CookieJar", "path", ("where the cookies are written to",)),
        ("parameter_meaning", "CookieJar", "size", ("the number of cookies\n        that are kept",)),
        ("parameter_meaning", "read_settings", "name", ("Which jar is meant",)),
        ("parameter_meaning", "add_options", "parser", ("What the options are added to",)),
        ("environment_variable", "read_settings", "read_settings", ("JAR_HOME",)),
        ("fallback", "read_settings", "JAR_HOME", ('"/var/jar"',)),
        ("config_key", "read_settings", "read_settings", ("JAR_SIZE",)),
        ("option_default", "--size", "size", ("50",)),
        ("option_help", "--size", "size", ("how many cookies the jar may keep",)),
        ("option_for", "--size", "cookies the jar may keep", ("--size",)),
        ("option_short", "--size", "size", ("-s",)),
        ("imported_from", "CookieJar", "CookieJar", ("shop.store",)),
        ("imported_from", "parse_json", "parse_json", ("json",)),
        ("defined_at", "attempt", "attempt", ("def attempt():",)),
        ("requires_python", "shop", "shop", (">=3.10",)),
        ("project_field", "shop", "license", ("MIT",)),
        ("dependency_version", "shop", "lamp", (">=0.4",)),
        ("entry_point", "shop", "shop", ("shop.cli:main",)),
    ],
)
def test_a_fact_is_asked_and_answered(kind: str, target: str, asked: str, expected: tuple[str, ...]) -> None:
    assert answers(kind, target, asked=asked) == {expected}


def test_every_kind_is_covered_by_these_files() -> None:
    assert {q.kind for q in every()} == set(KINDS)


def test_answers_are_the_text_at_their_offsets() -> None:
    questions = every()
    assert len(questions) > 300
    for q in questions:
        text = FILES[q.path]
        assert text[q.start : q.end] == q.answer
        assert {text[start:end] for start, end in q.spans} == set(q.answers)
        assert q.lines[0] <= text.count("\n", 0, q.start) + 1 <= q.lines[1]
        assert q.answer == q.answer.strip()
        assert "{" not in q.question.replace(q.answer, "")


def test_a_name_with_two_meanings_is_qualified() -> None:
    asked = [q.question for q in every() if q.kind == "returned" and q.target.endswith("write_all")]
    assert asked
    assert all(re.search(r"(?:CookieJar|other)\.write_all", question) for question in asked)


def test_what_is_caught_where_it_is_raised_is_not_asked_for() -> None:
    assert answers("raised", "attempt") == set()


def test_a_name_that_is_given_two_values_is_not_asked_for() -> None:
    assert answers("constant", "counter") == set()


def test_text_below_the_metadata_is_no_metadata() -> None:
    assert answers("project_field", "shop", k="version") == {("1.2.0",)}


def test_files_that_do_not_parse_or_have_carriage_returns_give_nothing() -> None:
    assert list(questions_of("def (", "a.py")) == []
    assert list(questions_of("x = 1\r\n", "a.py")) == []


def test_each_kind_has_nine_wordings_and_a_third_is_held_out() -> None:
    for kind in KINDS:
        train, held_out = dict(wordings_of(kind, "train")), dict(wordings_of(kind, "heldout"))
        assert len(WORDINGS[kind]) >= 9
        assert len(set(WORDINGS[kind])) == len(WORDINGS[kind])
        assert len(held_out) == len(WORDINGS[kind]) // 3
        assert not set(train) & set(held_out)
        assert not set(train.values()) & set(held_out.values())
        assert {*train.values(), *held_out.values()} == set(WORDINGS[kind])


def test_the_splits_share_no_wording() -> None:
    assert not {q.wording for q in every()} & {q.wording for q in every(split="heldout")}


def test_the_same_arguments_give_the_same_questions() -> None:
    assert every() == every()
    package = Package.of(FILES)
    assert list(absent_questions(package, 40)) == list(absent_questions(Package.of(FILES), 40))
    assert list(absent_questions(package, 40)) != list(absent_questions(package, 40, seed=1))


def test_absent_names_stand_nowhere_in_the_package() -> None:
    package = Package.of(FILES)
    found = [q for q in absent_questions(package, 80) if q.absent == "name"]
    assert len(found) > 10
    assert {q.kind for q in found} >= {"constant", "imported_from"}
    for q in found:
        last = q.target.rpartition(".")[2]
        assert last in q.question
        assert not any(re.search(rf"\b{last}\b", text, re.I) for text in FILES.values())


def test_absent_parameters_and_attributes_stand_nowhere_in_the_definition() -> None:
    package = Package.of(FILES)
    found = [q for q in absent_questions(package, 80) if q.absent in ("parameter", "attribute")]
    assert found
    for q in found:
        first, last = q.lines
        text = "\n".join(FILES[q.path].split("\n")[first - 1 : last])
        asked = set(re.findall(r"[a-z_]\w+", q.question)) & set(package.words)
        assert any(not re.search(rf"\b{word}\b", text) for word in asked), q


def test_absent_facts_are_not_stated() -> None:
    package = Package.of(FILES)
    stated = {(q.kind, q.target) for q in every() if not q.kind.startswith("parameter")}
    absent = [q for q in absent_questions(package, 120) if q.absent == "fact"]
    found = [q for q in absent if q.kind != "dependency_version"]  # of another dependency than those stated
    assert {q.kind for q in found} >= {"decorators", "bases", "parameter_default"}
    for q in found:
        assert (q.kind, q.target) not in stated
        assert q.answers == () and q.spans == ()


def test_absent_defaults_are_of_parameters_without_one() -> None:
    found = [q for q in absent_questions(Package.of(FILES), 120) if (q.absent, q.kind) == ("fact", "parameter_default")]
    assert found
    assert not any(re.search(r"\b(?:size|strict|force)\b", q.question) for q in found)


def test_noise_leaves_names_alone() -> None:
    import random

    changed = [noisy("What is the default value of {p} in {x}?", random.Random(i)) for i in range(300)]
    assert all("{p}" in text and "{x}" in text for text in changed)
    assert Counter(text == changed[0] for text in changed)[False] > 30


def test_a_mutated_name_is_another_name() -> None:
    import random

    made = {mutated("write_all", ["jar", "read"], random.Random(i)) for i in range(50)}
    assert "write_all" not in made
    assert made & {"jar_all", "read_all", "write_jar", "write_all_jar"}
