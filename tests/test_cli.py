"""The command line: answers on standard output, the rest on standard error, one JSON object a line."""

import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from selfroute import __version__
from selfroute.router.cli import main

SIGNING = 'def sign_cookie(value, key):\n    """Sign a cookie with a key."""\n    return value + digest(value, key)\n'
QUESTION = "Where is sign_cookie defined?"
HIT = ["path", "start_line", "end_line", "symbol", "score", "via", "stale", "text"]
ANSWER = [
    "answer",
    "answerable",
    "confidence",
    "route",
    "reason",
    "citations",
    "attempts",
    "usage",
    "index_age_seconds",
]
CITATION = ["path", "start_line", "end_line", "start_byte", "end_byte", "text", "stale"]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    root = tmp_path / "corpus"
    root.mkdir()
    (root / "jar.py").write_text(SIGNING)
    (root / "oven.py").write_text("def bake(minutes=12):\n    return minutes * 60\n")
    (root / "picture.png").write_bytes(bytes(range(256)) * 4)
    return root


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command line in this process: exit code, standard output, standard error."""

    def call(*arguments: object) -> tuple[int, str, str]:
        code = main([str(argument) for argument in arguments])
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return call


def as_process(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    code = "import sys; from selfroute.router.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, cwd="/", capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload,no-any-return]


def test_ask_answers_on_standard_output_and_tells_the_rest_on_standard_error(run: Run, corpus: Path) -> None:
    code, out, err = run("ask", QUESTION, "--path", corpus)
    assert code == 0
    assert out.startswith("def sign_cookie(value, key):\n")
    lines = err.splitlines()
    assert lines[0] == "route: long-context"
    assert re.fullmatch(r"why: the whole corpus, \d+ tokens, fits the budget of 8,000; then .*", lines[1])
    assert re.fullmatch(r"cited: jar\.py:1(-\d)?", lines[2])
    assert lines[3] == "  | def sign_cookie(value, key):"
    assert any(re.fullmatch(r"cost: long-context read \d+ tokens in \d+\.\d\d s", line) for line in lines)


def test_ask_as_json_gives_the_fields_of_the_contract(run: Run, corpus: Path) -> None:
    code, out, err = run("ask", QUESTION, "--path", corpus, "--json", "--route", "retrieval")
    assert (code, err, out.count("\n")) == (0, "", 1)
    answer = json.loads(out)
    assert list(answer) == ANSWER
    assert (answer["answerable"], answer["route"]) == (True, "retrieval")
    assert list(answer["citations"][0]) == CITATION
    assert list(answer["attempts"][0]) == ["route", "answerable", "seconds", "tokens", "degraded"]
    assert answer["usage"]["prompt_tokens"] == answer["attempts"][0]["tokens"] > 0


def test_a_decline_is_a_result(run: Run, corpus: Path) -> None:
    question = "Which kubernetes ingress terminates websockets?"
    code, out, err = run("ask", question, "--path", corpus)
    assert (code, out) == (0, "Not found in this corpus.\n")
    assert "nearest: " in err
    code, out, _ = run("ask", question, "--path", corpus, "--json")
    assert (code, json.loads(out)["answerable"]) == (0, False)


def test_search_shows_places_best_first(run: Run, corpus: Path) -> None:
    code, out, err = run("search", "sign_cookie", "--path", corpus)
    assert (code, err) == (0, "")
    assert out.startswith("jar.py:1-3  sign_cookie  ")
    assert "    def sign_cookie(value, key):\n" in out


def test_search_as_json_gives_one_hit_a_line(run: Run, corpus: Path) -> None:
    code, out, err = run("search", "cookie minutes", "--path", corpus, "--json", "--top-k", 1)
    assert (code, err, out.count("\n")) == (0, "", 1)
    hit = json.loads(out)
    assert list(hit) == HIT
    assert run("search", "", "--path", corpus, "--json") == (0, "", "note: nothing found\n")


def test_a_question_is_read_from_standard_input(run: Run, corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(QUESTION.encode() + b"\n")))
    assert run("ask", "-", "--path", corpus)[1].startswith("def sign_cookie")


def test_a_question_may_begin_with_a_dash(run: Run, corpus: Path) -> None:
    assert run("ask", "--path", corpus, "--", "--sign_cookie")[0] == 0


def test_index_says_what_was_indexed_and_what_was_skipped(run: Run, corpus: Path) -> None:
    code, out, _ = run("index", corpus)
    first, second = out.splitlines()
    assert code == 0
    assert re.fullmatch(
        r"indexed 2 files, 2 chunks, \d+ tokens in \d+\.\d\d s"
        rf" \(2 added, 0 changed, 0 removed\) in {corpus}/.selfroute",
        first,
    )
    assert re.fullmatch(r"skipped 1: 1 .*binary.*", second)
    (corpus / "oven.py").write_text("def bake(minutes=13):\n    return minutes * 61\n")
    assert "(0 added, 1 changed, 0 removed)" in run("index", "--path", corpus)[1]
    assert "(2 added, 0 changed, 0 removed)" in run("index", corpus, "--rebuild")[1]
    report = json.loads(run("index", corpus, "--json")[1])
    assert (report["files"], report["added"], report["skipped"]["binary"]) == (2, 0, 1)


def test_explain_shows_features_and_decision(run: Run, corpus: Path) -> None:
    code, out, err = run("explain", QUESTION, "--path", corpus)
    assert (code, err) == (0, "")
    assert out.startswith("route: long-context\nwhy: the whole corpus, ")
    assert "  is_symbol: yes\n" in out
    assert "  corpus_files: 2\n" in out
    decision = json.loads(run("explain", QUESTION, "--path", corpus, "--json")[1])
    assert decision["route"] == "long-context"
    assert decision["features"]["is_symbol"] is True
    assert set(decision["estimates"]) == {"retrieval", "long-context"}


def test_doctor_lists_everything_that_was_skipped(run: Run, corpus: Path) -> None:
    code, out, _ = run("doctor", "--path", corpus)
    assert code == 0
    assert f"selfroute {__version__}, Python 3." in out
    assert f"selfroute index --path {corpus}" in out
    assert "  picture.png: " in out
    assert not (corpus / ".selfroute").exists()
    run("index", corpus)
    out = run("doctor", "--path", corpus)[1]
    assert f"index: {corpus}/.selfroute\n  2 files, 2 chunks, " in out
    assert "  picture.png: " in out


def test_config_shows_each_value_with_its_origin(run: Run, corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (corpus / "selfroute.toml").write_text("top_k = 4\n")
    monkeypatch.setenv("SELFROUTE_POLICY", "random")
    out = run("config", "--path", corpus)[1].splitlines()
    assert out[:2] == ['route = "auto"  # default', 'policy = "random"  # SELFROUTE_POLICY']
    assert f"top_k = 4  # {corpus}/selfroute.toml" in out
    lines = run("config", "--path", corpus, "--json")[1].splitlines()
    assert json.loads(lines[1]) == {"key": "policy", "value": "random", "origin": "SELFROUTE_POLICY"}


def test_models_lists_what_is_registered(run: Run) -> None:
    code, out, _ = run("models")
    assert code == 0
    assert re.search(r"^embedder +static +installed$", out, re.MULTILINE)
    assert re.search(r"^policy +rules +installed$", out, re.MULTILINE)


def test_an_option_is_a_setting(run: Run, corpus: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    assert run("ask", QUESTION, "--path", corpus, "--index-dir", store, "--policy", "always-retrieval")[0] == 0
    assert store.is_dir()
    assert not (corpus / ".selfroute").exists()
    assert run("search", "bake", "--path", corpus, "--index-dir", store, "--no-update")[0] == 0
    code, _, err = run("ask", QUESTION, "--path", corpus, "--route", "long-context", "--max-tokens", 5)
    assert code == 5
    assert re.fullmatch(r"error: long-context does not keep within 5 tokens: .*\nhint: .*--route retrieval.*\n", err)


@pytest.mark.parametrize(
    ("arguments", "code", "error", "hint"),
    [
        (["aks", "x"], 2, "unknown command 'aks'", "did you mean 'ask'?"),
        (["ask", "x", "--rute", "auto"], 2, "unknown option '--rute'", "did you mean '--route'?"),
        (["ask", "x", "--route", "retreival"], 2, "unknown route 'retreival'", "did you mean 'retrieval'?"),
        (["ask", "x", "--policy", "rulez"], 2, "unknown policy 'rulez'", "did you mean 'rules'?"),
        (["ask", "x", "--embedder", "statik"], 2, "unknown embedder 'statik'", "did you mean 'static'?"),
        (["ask", "x", "--embedder", "sentence-transformers"], 2, "does not say which model", "sentence-transformers:"),
        (["ask", "x", "--reader", "evidance"], 2, "unknown reader 'evidance'", "did you mean 'evidence'?"),
        (
            ["ask", "x", "--model", "openia:http://127.0.0.1/v1#m"],
            2,
            "unknown kind of model 'openia'",
            "did you mean 'openai'?",
        ),
        (
            ["ask", "x", "--budget-tokens", "0"],
            2,
            "budget_tokens (option) must be a whole number",
            "budget_tokens=8000",
        ),
        (["ask", "x", "--budget-tokens", "many"], 2, "invalid value for '--budget-tokens'", "selfroute ask --help"),
        (["search", "x", "--top-k", "0"], 2, "top_k (option) must be a whole number of at least 1", "top_k=10"),
        (["ask"], 2, "missing argument", "selfroute ask --help"),
        (["ask", "x", "y"], 2, "unexpected extra argument", "selfroute ask --help"),
    ],
)
def test_a_mistake_is_one_error_and_one_hint(
    run: Run, corpus: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int, error: str, hint: str
) -> None:
    monkeypatch.chdir(corpus)
    got, out, err = run(*arguments)
    lines = err.splitlines()
    assert (got, out, len(lines)) == (code, "", 2)
    assert lines[0].startswith("error: ")
    assert error in lines[0]
    assert lines[1].startswith("hint: ")
    assert hint in lines[1]


def test_debug_shows_the_traceback(run: Run, tmp_path: Path) -> None:
    code, _, err = run("ask", "x", "--path", tmp_path / "none", "--debug")
    assert code == 3
    assert err.startswith("Traceback (most recent call last):\n")
    assert "\nerror: no such folder" in err
    assert "Traceback" not in run("ask", "--path", tmp_path / "none", "--", "--debug")[2]


def test_an_error_that_nobody_foresaw_is_told_in_one_line(
    run: Run, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("selfroute.router.config.load", lambda *_: 1 / 0)
    code, _, err = run("ask", "x", "--path", corpus)
    assert (code, err.splitlines()[0]) == (1, "error: ZeroDivisionError: division by zero")
    assert "--debug" in err.splitlines()[1]


def test_an_interrupt_ends_without_a_traceback(run: Run, corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("selfroute.router.config.load", interrupt)
    assert run("ask", "x", "--path", corpus) == (130, "", "")


def test_control_characters_of_a_file_do_not_reach_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    from selfroute.router import render

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    render.say("a\x1b[31m\tb\x07", to=terminal)
    assert terminal.getvalue() == "a\\x1b[31m\tb\\x07\n"


def test_a_reader_that_goes_away_is_no_error(corpus: Path) -> None:
    code = "import sys; from selfroute.router.cli import main; sys.exit(main())"
    many = [sys.executable, "-c", code, "search", "cookie", "--path", str(corpus)]
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(many, cwd="/", stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, "")


def test_a_terminal_in_another_encoding_is_no_error(corpus: Path) -> None:
    (corpus / "names.md").write_text("# Café\n\nThe menu says naïve soufflé.\n", encoding="utf-8")
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = as_process("search", "soufflé menu", "--path", corpus, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert "na\\xefve" in done.stdout


def test_help_is_plain() -> None:
    done = as_process("--help", env={**os.environ, "FORCE_COLOR": "1"})
    assert done.returncode == 0
    assert {"index", "search", "ask", "explain", "doctor", "config", "models"} <= set(done.stdout.split())
    assert "\x1b" not in done.stdout
    assert "─" not in done.stdout
    assert as_process().stdout == done.stdout
    assert as_process("--version").stdout == f"selfroute {__version__}\n"


@pytest.mark.parametrize("command", ["index", "search", "ask", "explain", "doctor", "config", "models"])
def test_every_command_explains_itself(run: Run, command: str) -> None:
    code, out, err = run(command, "--help")
    assert (code, err) == (0, "")
    assert out.startswith(f"Usage: selfroute {command} [OPTIONS]")
