"""How benchmarks/code_qa.py judges an answer, and the cases that it makes."""

import importlib.util
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
spec = importlib.util.spec_from_file_location("code_cases", BENCHMARKS / "code_cases.py")
assert spec is not None and spec.loader is not None
code_cases = sys.modules["code_cases"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(code_cases)


@pytest.mark.parametrize(
    ("text", "answers", "match", "exact"),
    [
        ("50", ["50"], "any", True),
        ("`'jar'`.", ['"jar"'], "any", True),
        ("the  first\n    sentence", ["the first sentence"], "any", True),
        ("size=50", ["50"], "any", False),
        ("B", ["A", "B"], "any", True),
        ("B\nA", ["A", "B"], "all", True),
        ("A, dict[str, str]", ["A", "dict[str, str]"], "all", True),
        ("`A` and `B`", ["A", "B"], "all", True),
        ("A", ["A", "B"], "all", False),
        ("A, B, C", ["A", "B"], "all", False),
        ("AA, B", ["A", "B"], "all", False),
        ("Base", ["Base"], "all", True),
        ("", ["A"], "any", False),
    ],
)
def test_exact_is_the_answer_and_nothing_else(text: str, answers: list[str], match: str, exact: bool) -> None:
    assert code_cases.is_exact(text, answers, match) is exact


def test_contained_is_any_or_all_of_the_answers() -> None:
    assert code_cases.is_contained("size: int = 50,", ["50"], "any")
    assert code_cases.is_contained("class A(B, C):", ["B", "C"], "all")
    assert not code_cases.is_contained("class A(B):", ["B", "C"], "all")
    assert not code_cases.is_contained("anything", [], "any")


def test_cases_are_written_and_read_back(tmp_path: Path) -> None:
    corpus = tmp_path / "shop"
    corpus.mkdir()
    (corpus / "shop.py").write_text("def open_shop(hour: int = 9):\n    return hour\n")
    cases = code_cases.generated({"shop": corpus}, per_kind=5, n_absent=4, seed=0)
    assert {case.kind for case in cases if case.answers} == {
        "parameter_default",
        "parameter_type",
        "parameters",
        "returned",
        "defined_at",
    }
    assert sum(not case.answers for case in cases) == 4
    assert all(case.evidence == (code_cases.Evidence("shop.py", 1, 2),) for case in cases if case.answers)
    code_cases.write_cases(cases, tmp_path / "cases.jsonl")
    assert code_cases.read_cases(tmp_path / "cases.jsonl") == cases
