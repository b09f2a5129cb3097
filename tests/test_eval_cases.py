"""Case files in every form, and what is said of those that cannot be used."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from selfroute.errors import ConfigError, CorpusError, MissingDependencyError
from selfroute.router.evaluation.corpora import corpora_of, group_of
from selfroute.router.evaluation.reading import read_cases

CASE = {"id": "1", "question": "who?", "answers": ["me"], "context": "It was me."}


def lines(path: Path, *records: Any) -> Path:
    path.write_text("".join(r if isinstance(r, str) else json.dumps(r) + "\n" for r in records), encoding="utf-8")
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "a.py").write_text("x = 1\n")
    return tmp_path


def test_json_lines(folder: Path) -> None:
    file = lines(
        folder / "cases.jsonl",
        "\ufeff" + json.dumps(CASE) + "\n\n",
        {"question": " where? ", "gold_files": ["a.py"], "path": "src", "kind": "look-up", "group": "g"},
        {"id": 7, "question": "what?", "answer": 3, "path": str(folder / "src"), "scorer": "exact"},
        {"id": "no", "question": "why?", "unanswerable": True, "context": "It was me.", "answers": []},
    )
    one, two, three, four = read_cases(file)
    assert (one.id, one.answers, one.context, one.path) == ("1", ("me",), "It was me.", "")
    assert (two.id, two.question, two.path, two.group) == ("2", "where?", str(folder / "src"), "g")
    assert (three.id, three.answers, three.scorer, three.group) == ("7", ("3",), "exact", str(folder / "src"))
    assert four.unanswerable and group_of(four) == group_of(one) != ""
    assert [len(corpus.cases) for corpus in corpora_of([one, two, three, four])] == [2, 2]


def test_cases_that_name_no_corpus_are_about_the_given_one(folder: Path) -> None:
    file = lines(folder / "cases.jsonl", {"question": "where?", "gold_files": "a.py"})
    assert read_cases(file, folder / "src")[0].path == str(folder / "src")
    with pytest.raises(ConfigError, match="neither path nor context") as found:
        read_cases(file)
    assert "--path" in found.value.hint


def test_csv(folder: Path) -> None:
    file = folder / "cases.csv"
    file.write_text('id,question,answers,unanswerable,path\n1,"who, then?",me|I,,src\n2,why?,,TRUE,src\n')
    one, two = read_cases(file)
    assert (one.question, one.answers, one.unanswerable) == ("who, then?", ("me", "I"), False)
    assert two.unanswerable
    file.write_text("id,question,answers\n1,who?,me,more\n")
    with pytest.raises(ConfigError, match=r"cases\.csv, line 2: more columns"):
        read_cases(file, folder)


def test_parquet(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(
        pyarrow.table({"question": ["who?", "why?"], "answers": [["me"], None], "unanswerable": [None, True]}),
        folder / "cases.parquet",
    )
    one, two = read_cases(folder / "cases.parquet", folder)
    assert (one.answers, two.unanswerable, two.id) == (("me",), True, "2")
    (folder / "bad.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(ConfigError, match="cannot read"):
        read_cases(folder / "bad.parquet", folder)
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(MissingDependencyError) as found:
        read_cases(folder / "cases.parquet", folder)
    assert "selfroute[eval]" in found.value.hint


def test_squad_in_both_versions(folder: Path) -> None:
    qas = [
        {"id": "a", "question": "who?", "answers": [{"text": "me", "answer_start": 7}] * 2},
        {"id": "b", "question": "why?", "answers": [], "is_impossible": True},
    ]
    paragraphs = [{"context": "It was me.", "qas": qas}, {"context": "Then he left.", "qas": []}]
    content = json.dumps({"version": "v2.0", "data": [{"title": "Me", "paragraphs": paragraphs}]})
    (folder / "dev.json.gz").write_bytes(gzip.compress(content.encode()))
    one, two = read_cases(folder / "dev.json.gz")
    assert (one.id, one.answers, one.context, one.group) == ("a", ("me",), "It was me.\n\nThen he left.", "Me")
    assert two.unanswerable and two.context == one.context
    assert len(corpora_of([one, two])) == 1
    (folder / "list.json").write_text(json.dumps([CASE]))
    assert read_cases(folder / "list.json")[0].answers == ("me",)


@pytest.mark.parametrize(
    ("record", "says"),
    [
        ({**CASE, "awnsers": ["me"]}, "line 2: unknown field 'awnsers'"),
        ({**CASE, "question": "  "}, "line 2: no question"),
        ({"id": "x", "context": "c", "question": "who?"}, "neither answers nor gold_files nor unanswerable"),
        ({**CASE, "answers": []}, "neither answers nor gold_files nor unanswerable"),
        ({**CASE, "unanswerable": True}, "unanswerable, and yet it has answers"),
        ({**CASE, "answer": "me"}, "both answers and answer"),
        ({**CASE, "answers": [{}]}, "answers must be texts"),
        ({**CASE, "answers": [""]}, "answers must be texts"),
        ({**CASE, "question": ["who?"]}, "question must be a text"),
        ({**CASE, "unanswerable": "maybe"}, "unanswerable must be true or false"),
        ({**CASE, "scorer": "exakt"}, "unknown scorer 'exakt'"),
        ({**CASE, "path": "src"}, "both path and context"),
        ({**CASE, "context": " "}, "context holds no text"),
        ({**CASE, "id": "0"}, "the id '0' is that of"),
        ("[1]\n", "not an object"),
        ("{\n", "line 2: not JSON"),
        ("[" * 100_000 + "\n", "line 2: not JSON"),
        ('{"id": ' + "9" * 5_000 + "}\n", "line 2: not JSON"),
    ],
)
def test_a_bad_case_is_told_with_its_line_and_what_to_do(folder: Path, record: Any, says: str) -> None:
    file = lines(folder / "cases.jsonl", {**CASE, "id": "0"}, record)
    with pytest.raises(ConfigError) as found:
        read_cases(file)
    assert says in found.value.message and "cases.jsonl, line 2" in found.value.message
    assert found.value.hint


def test_unknown_fields_name_the_nearest(folder: Path) -> None:
    with pytest.raises(ConfigError) as found:
        read_cases(lines(folder / "cases.jsonl", {**CASE, "awnsers": ["me"]}))
    assert found.value.hint == "did you mean 'answers'?"


def test_a_file_that_cannot_be_read(folder: Path) -> None:
    (folder / "empty.jsonl").write_text("\n \n")
    (folder / "latin.jsonl").write_bytes(b'{"question":\n"caf\xe9"}')
    (folder / "cut.jsonl.gz").write_bytes(gzip.compress(b"{}" * 99)[:20])
    (folder / "other.json").write_text('{"cases": []}')
    for name, says in {
        "nothing.jsonl": "cannot read",
        "src": "cannot read",
        "empty.jsonl": "holds no case",
        "latin.jsonl": "line 2: not UTF-8",
        "cut.jsonl.gz": "no whole gzip",
        "other.json": "neither a list of cases",
    }.items():
        with pytest.raises(ConfigError, match=says):
            read_cases(folder / name)
    with pytest.raises(CorpusError, match="line 1"):
        read_cases(lines(folder / "cases.jsonl", {"question": "q", "answers": ["a"], "path": "gone"}))


def test_halves_of_characters_do_no_harm(folder: Path) -> None:
    file = lines(folder / "cases.jsonl", '{"question": "\\ud800?", "answers": ["\\udfff"], "context": "\\ud800 x"}\n')
    case = read_cases(file)[0]
    assert (case.question, case.answers, case.context) == ("??", ("?",), "? x")
