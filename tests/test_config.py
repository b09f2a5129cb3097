"""Settings: option > environment > file > default, each with its origin, and nothing unknown passes."""

from pathlib import Path

import pytest

from selfroute import ConfigError, CorpusError, UnknownNameError
from selfroute.router.config import SETTINGS, load, shown_value


def test_defaults_have_the_origin_default(tmp_path: Path) -> None:
    config = load(tmp_path, {}, {})
    assert (config.root, config.route, config.policy, config.budget_tokens) == (tmp_path, "auto", "rules", 8_000)
    assert {config.origin(key) for key in SETTINGS} == {"default"}


def test_an_option_wins_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    (tmp_path / "selfroute.toml").write_text("top_k = 5\nbudget_tokens = 100\nroute = 'retrieval'\nupdate = false\n")
    environment = {"SELFROUTE_TOP_K": "6", "SELFROUTE_BUDGET_TOKENS": "2_000", "OTHER": "x"}
    config = load(tmp_path, {"top_k": 7, "policy": None}, environment)
    assert (config.top_k, config.budget_tokens, config.route, config.update) == (7, 2_000, "retrieval", False)
    assert [config.origin(key) for key in ("top_k", "budget_tokens", "route", "policy")] == [
        "option",
        "SELFROUTE_BUDGET_TOKENS",
        str(tmp_path / "selfroute.toml"),
        "default",
    ]


def test_the_table_of_a_pyproject_counts_when_there_is_no_selfroute_toml(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'x'\n[tool.selfroute]\ntop_k = 3\n")
    assert load(tmp_path, {}, {}).top_k == 3
    (tmp_path / "selfroute.toml").write_text("")
    assert load(tmp_path, {}, {}).top_k == 10


def test_a_pyproject_that_is_not_ours_may_be_in_any_state(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("{{ cookiecutter.name }}")
    assert load(tmp_path, {}, {}).top_k == 10


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("top_kk = 3", "top_kk", "did you mean 'top_k'?"),
        ("top_k = 0", "top_k", "for example top_k = 10"),
        ("top_k = '3'", "a whole number of at least 1, got '3'", "for example top_k = 10"),
        ("top_k = true", "got True", "for example top_k = 10"),
        ("update = 1", "must be true or false, got 1", "for example update = true"),
        ("route = 4", "a text in quotes, got 4", 'for example route = "auto"'),
        ("route = 'retreival'", "unknown route 'retreival'", "did you mean 'retrieval'?"),
        ("policy = 'rule'", "unknown policy 'rule'", "did you mean 'rules'?"),
        ("embedder = 'statik'", "unknown embedder 'statik'", "did you mean 'static'?"),
        ("reader = 'evidense'", "unknown reader 'evidense'", "did you mean 'evidence'?"),
        ("top_k = ", "is not valid TOML", "mend the line it names"),
    ],
)
def test_a_setting_that_cannot_be_used_is_an_error_with_a_way_out(
    tmp_path: Path, text: str, message: str, hint: str
) -> None:
    (tmp_path / "selfroute.toml").write_text(text)
    with pytest.raises(ConfigError) as raised:
        load(tmp_path, {}, {})
    assert message in raised.value.message
    assert raised.value.hint == hint


def test_an_unknown_variable_is_an_error_with_the_nearest_one(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError) as raised:
        load(tmp_path, {}, {"SELFROUTE_TOPK": "3"})
    assert raised.value.nearest == "SELFROUTE_TOP_K"


def test_an_empty_variable_does_not_count(tmp_path: Path) -> None:
    assert load(tmp_path, {}, {"SELFROUTE_TOP_K": ""}).top_k == 10


@pytest.mark.parametrize(("word", "meaning"), [("false", False), ("0", False), ("Yes", True), ("on", True)])
def test_a_variable_says_yes_or_no_in_words(tmp_path: Path, word: str, meaning: bool) -> None:
    assert load(tmp_path, {}, {"SELFROUTE_UPDATE": word}).update is meaning


def test_a_language_model_is_named_by_its_user_alone(tmp_path: Path) -> None:
    assert load(tmp_path, {"model": "some/model"}, {}).model == "some/model"
    assert load(tmp_path, {}, {"SELFROUTE_MODEL": "./folder"}).model == "./folder"
    with pytest.raises(UnknownNameError, match="unknown kind of model 'openia'") as raised:
        load(tmp_path, {"model": "openia:http://127.0.0.1:8000/v1#m"}, {})
    assert raised.value.nearest == "openai"


def test_the_key_of_a_model_server_is_read_for_one_alone_and_never_shown(tmp_path: Path) -> None:
    environment = {"OPENAI_API_KEY": "secret"}
    config = load(tmp_path, {"model": "openai:http://127.0.0.1:8000/v1#m"}, environment)
    assert config.api_key == "secret"
    assert "secret" not in repr(config)
    assert "api_key" not in SETTINGS
    assert load(tmp_path, {"model": "some/model"}, environment).api_key == ""


def test_a_folder_of_the_index_is_relative_to_the_file_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "selfroute.toml").write_text("index_dir = 'kept'")
    assert load(tmp_path, {}, {}).index_dir == str(tmp_path / "kept")
    assert load(tmp_path, {"index_dir": "kept"}, {}).index_dir == str(Path.cwd() / "kept")


def test_a_corpus_that_is_no_folder_has_no_settings(tmp_path: Path) -> None:
    with pytest.raises(CorpusError):
        load(tmp_path / "none", {}, {})


def test_values_are_shown_as_toml_writes_them() -> None:
    assert [shown_value(value) for value in (True, 3, 'a "b"')] == ["true", "3", '"a \\"b\\""']


@pytest.mark.parametrize(
    "line",
    [
        "index_dir = '../elsewhere'",
        "index_dir = '/var/lib/elsewhere'",
        "embedder = 'sentence-transformers:some/model'",
        "model = 'some/model'",
    ],
)
def test_a_file_that_comes_with_a_corpus_cannot_reach_outside_of_it(tmp_path: Path, line: str) -> None:
    (tmp_path / "selfroute.toml").write_text(line)
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, {}, {})
    assert "--" in caught.value.hint
