"""`selfroute pages`: what is kept, for people and for machines, and whether it is as it was written."""

import json
from pathlib import Path

import pytest

from selfroute.memory.pages.made import made_hash, made_layout, made_page
from selfroute.memory.pages.segments import Segments
from selfroute.memory.pages.store import PageStore
from selfroute.router.cli import main

HASHES = [made_hash(str(i)) for i in range(20)]


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    root = tmp_path / "corpus"
    with PageStore.open(root / ".selfroute" / "pages") as store:
        for layout in (made_layout("aa"), made_layout("bb")):
            store.put(layout, (made_page(layout, name) for name in HASHES))
            store.flush()
        store.touch("aa", HASHES, found={"disk": 15, "host": 5}, encoded=20)
    return root


def test_no_pages_are_said_to_be_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "pages", "--path", tmp_path)
    assert code == 0
    assert out.startswith("no pages are kept in ")
    assert json.loads(run(capsys, "pages", "--path", tmp_path, "--json")[1])["pages"] == 0
    assert list(tmp_path.iterdir()) == []
    assert run(capsys, "pages", "--path", tmp_path / "nowhere")[0] == 3


def test_pages_are_told_by_model(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "pages", "--path", corpus)
    assert code == 0
    assert "40 pages" in out
    assert "model aa: 20 pages" in out
    assert "15 on the disk, 5 in memory; encoded: 20" in out
    assert "hit rate 50.0%" in out
    told = json.loads(run(capsys, "pages", "--path", corpus, "--json")[1])
    assert told["pages"] == 40
    assert told["disk_bytes"] == told["bytes"]
    by_model = {model["fingerprint"]: model for model in told["models"]}
    assert by_model["aa"]["found"] == {"disk": 15, "host": 5, "device": 0}
    assert by_model["aa"]["hit_rate"] == 0.5
    assert by_model["bb"]["hit_rate"] is None


def test_damage_is_told_and_dropped(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "pages", "--path", corpus, "--check")[0] == 0
    segment = Segments(corpus / ".selfroute" / "pages").path(1)
    data = bytearray(segment.read_bytes())
    data[1000] ^= 1
    segment.write_bytes(data)
    code, out, err = run(capsys, "pages", "--path", corpus, "--check")
    assert code == 3
    assert "wrong: page: " in out
    assert "as written: 39 pages" in out
    assert "error: 1 things are wrong" in err
    assert "hint: selfroute pages --repair" in err
    code, out, _ = run(capsys, "pages", "--path", corpus, "--check", "--json")
    assert code == 3
    assert json.loads(out)["ok"] is False
    assert run(capsys, "pages", "--path", corpus, "--repair")[0] == 0
    code, out, _ = run(capsys, "pages", "--path", corpus, "--check", "--json")
    assert code == 0
    assert json.loads(out)["ok"] is True
    assert json.loads(out)["pages"] == 39


def test_cleaning_drops_what_is_not_read_any_more(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("maple", "onyx"):
        (corpus / f"{name}.txt").write_text(f"The {name} is kept in room 7.\n")
    assert run(capsys, "index", corpus, "--pages")[0] == 0
    (corpus / "onyx.txt").unlink()
    code, out, _ = run(capsys, "pages", "--path", corpus, "--clean", "--json")
    told = json.loads(out)
    assert code == 0
    assert told["dropped"] == 2 * len(HASHES) + 1
    assert told["pages"] == 1
    assert [model["pages"] for model in told["models"] if model["pages"]] == [1]
    assert run(capsys, "pages", "--path", corpus, "--check")[0] == 0
    assert "dropped 0 pages" in run(capsys, "pages", "--path", corpus, "--clean")[1]
    asked = run(capsys, "ask", "--path", corpus, "--route", "long-context", "Where is the maple kept?")
    assert asked[0] == 0 and "room 7" in asked[1]
