"""Settings, and where each came from: option > SELFROUTE_* > file > default.

The file is selfroute.toml, or the table [tool.selfroute] of pyproject.toml, beside the corpus. Read here, spent in
selfroute.router.build, unknown below.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields
from math import isfinite
from pathlib import Path
from typing import Any

from selfroute.errors import ConfigError, UnknownNameError
from selfroute.memory.location import resolve_root
from selfroute.models.kv.presets import preset_of
from selfroute.registry import is_known, names
from selfroute.types import DEFAULT_BUDGET_TOKENS, PREFERENCES

ENVIRONMENT = "SELFROUTE_"
KEY_VARIABLE = "OPENAI_API_KEY"
FILE, TABLE_FILE = "selfroute.toml", "pyproject.toml"
DEFAULT = "default"
AUTO, OFF = "auto", "off"


def _setting(default: Any, about: str, at_least: int = 0) -> Any:
    return field(default=default, metadata={"about": about, "at_least": at_least})


@dataclass(frozen=True, slots=True)
class Config:
    """Every setting, checked. root: the corpus, resolved. origins: setting -> where its value came from."""

    root: Path
    route: str = _setting(AUTO, "auto, or the one route to take")
    policy: str = _setting("rules", "what chooses the route when it is auto")
    budget_tokens: int = _setting(
        DEFAULT_BUDGET_TOKENS,
        "tokens of context that retrieval packs; when it is set, more than that is never read on any route",
        at_least=1,
    )
    max_tokens: int = _setting(0, "hard limit on what one question may read, instead of budget_tokens; 0: none")
    max_seconds: float = _setting(0.0, "hard limit on the seconds that one question may take; 0: none")
    max_cost: float = _setting(0.0, "hard limit on the dollars that one question may cost; 0: none")
    prefer: str = _setting("balanced", "what an answer is worth: balanced, quality, speed or cost")
    price_in: float = _setting(0.0, "dollars for a million tokens that the model reads")
    price_out: float = _setting(0.0, "dollars for a million tokens that the model writes")
    top_k: int = _setting(10, "hits that a search returns", at_least=1)
    embedder: str = _setting("static", "static, hashing, or sentence-transformers:NAME_OR_FOLDER")
    reader: str = _setting("span", "what reads the context and answers")
    model: str = _setting("", "a language model that answers: a folder, a hub name, openai:URL#NAME; none when empty")
    window_tokens: int = _setting(0, "the most that a model's prompt and answer may take; 0: what it and memory can")
    kv: str = _setting("", "how a local model's keys and values are kept: k8v8, k4v8, k4v4, bf16; unpacked when empty")
    pages: str = _setting(
        AUTO, "how long context finds what to read: by pages where that pays (auto), always by a page model's, or off"
    )
    index_dir: str = _setting("", "folder of the index; .selfroute in the corpus, or the user's cache, when empty")
    max_file_bytes: int = _setting(1_000_000, "larger files are not indexed", at_least=1)
    update: bool = _setting(True, "bring the index up to date with the files before it is used")
    origins: Mapping[str, str] = field(default_factory=dict)
    api_key: str = field(default="", repr=False)  # from OPENAI_API_KEY, for openai:... alone; no setting, never shown

    def origin(self, key: str) -> str:
        """`option`, `SELFROUTE_KEY`, the path of the file, or `default`."""
        return self.origins.get(key, DEFAULT)


SETTINGS = {f.name: f for f in fields(Config) if f.metadata}


def load(
    path: str | Path, options: Mapping[str, Any] | None = None, environ: Mapping[str, str] | None = None
) -> Config:
    """The settings for a corpus. options: those that are None do not count.

    Raises CorpusError for a path that is no folder, ConfigError and UnknownNameError for what cannot be used.
    """
    root = resolve_root(path)
    environ = os.environ if environ is None else environ
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for layer, origin_of in (
        _from_file(root),
        _from_environment(environ),
        ({k: v for k, v in (options or {}).items() if v is not None}, {}),
    ):
        for key, value in layer.items():
            if key not in SETTINGS:
                raise UnknownNameError("setting", key, SETTINGS)
            origin = origin_of.get(key, "option")
            values[key] = _typed(key, value, origin)
            origins[key] = origin
    _check_names(values)
    if values.get("index_dir"):
        base = root if origins["index_dir"].endswith(".toml") else Path.cwd()
        values["index_dir"] = str(base / Path(values["index_dir"]).expanduser())
    _check_reach(root, values, origins)
    key = environ.get(KEY_VARIABLE, "") if str(values.get("model", "")).startswith("openai:") else ""
    return Config(root, **values, origins=origins, api_key=key)


def _from_environment(environ: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
    """Settings by key, with their variables; empty variables do not count, unknown ones are errors."""
    values, origins = {}, {}
    for variable, value in sorted(environ.items()):
        if not variable.startswith(ENVIRONMENT) or not value:
            continue
        key = variable.removeprefix(ENVIRONMENT).lower()
        if key not in SETTINGS:
            raise UnknownNameError("environment variable", variable, [ENVIRONMENT + k.upper() for k in SETTINGS])
        values[key], origins[key] = value, variable
    return values, origins


def _from_file(root: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """Settings by key with their file: selfroute.toml, or else the table tool.selfroute of pyproject.toml."""
    path = root / FILE
    table = _read(path)
    if table is None:
        path = root / TABLE_FILE
        table = (_read(path, only_with="tool.selfroute") or {}).get("tool", {}).get("selfroute", {})
    if not isinstance(table, dict):
        raise ConfigError(f"tool.selfroute in {path} is not a table", "[tool.selfroute]")
    for key in table:
        if key not in SETTINGS:
            raise UnknownNameError(f"key in {path}:", key, SETTINGS)
    return table, dict.fromkeys(table, str(path))


def _read(path: Path, only_with: str = "") -> dict[str, Any] | None:
    """The parsed file, None without one. only_with: a file that does not hold it is not ours, whatever its state."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        if only_with:
            return None
        raise ConfigError(f"cannot read {path}: {error.strerror}", f"ls -l {path}") from error
    if only_with and only_with.encode() not in data:
        return None
    try:
        return tomllib.loads(data.decode("utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}", "mend the line it names") from error


def _typed(key: str, value: Any, origin: str) -> Any:
    """The value in its setting's type. Text is read as such from options and the environment only."""
    default, at_least = SETTINGS[key].default, SETTINGS[key].metadata["at_least"]
    from_file = origin.endswith(".toml")
    if isinstance(default, bool):
        words = {
            "1": True,
            "true": True,
            "yes": True,
            "on": True,
            "0": False,
            "false": False,
            "no": False,
            "off": False,
        }
        meant = words.get(value.strip().lower()) if isinstance(value, str) and not from_file else value
        if isinstance(meant, bool):
            return meant
        expected = "true or false"
    elif isinstance(default, int):
        if isinstance(value, str) and not from_file and value.strip().replace("_", "").isdecimal():
            value = int(value)
        if isinstance(value, int) and not isinstance(value, bool) and value >= at_least:
            return value
        expected = f"a whole number of at least {at_least}"
    elif isinstance(default, float):
        if isinstance(value, str) and not from_file:
            with suppress(ValueError):
                value = float(value)
        if isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value) and value >= at_least:
            return float(value)
        expected = f"a number of at least {at_least}"
    elif isinstance(value, str):
        return value.strip()
    elif isinstance(value, Path):
        return str(value)
    else:
        expected = "a text in quotes"
    example = f"{key} = {shown_value(default)}" if from_file else f"{key}={default}"
    raise ConfigError(f"{key} ({origin}) must be {expected}, got {value!r}", f"for example {example}")


def _check_names(values: Mapping[str, Any]) -> None:
    route = values.get("route", AUTO)
    if route != AUTO and not is_known("backend", route):
        raise UnknownNameError("route", route, (AUTO, *names("backend")))
    if values.get("prefer", PREFERENCES[0]) not in PREFERENCES:
        raise UnknownNameError("preference", values["prefer"], PREFERENCES)
    for kind in ("policy", "reader", "embedder"):
        name = str(values.get(kind, SETTINGS[kind].default)).partition(":")[0]
        if not is_known(kind, name):
            raise UnknownNameError(kind, name, names(kind))
    pages = values.get("pages", AUTO)
    if pages not in (AUTO, OFF) and not is_known("page_model", pages):
        raise UnknownNameError("page model", pages, (AUTO, OFF, *names("page_model")))
    if values.get("kv"):
        preset_of(values["kv"])
    kind, colon, _ = str(values.get("model", "")).partition(":")
    if colon and not is_known("generator", kind):
        raise UnknownNameError("kind of model", kind, names("generator"))


def _check_reach(root: Path, values: Mapping[str, Any], origins: Mapping[str, str]) -> None:
    """A file that comes with a corpus may not make us write outside of it, or load a model: its user says that."""
    if origins.get("index_dir", "").endswith(".toml") and not Path(values["index_dir"]).resolve().is_relative_to(root):
        raise ConfigError(
            f"index_dir in {origins['index_dir']} is outside of the corpus: {values['index_dir']}",
            "name it yourself: --index-dir, or SELFROUTE_INDEX_DIR",
        )
    if origins.get("embedder", "").endswith(".toml") and ":" in values["embedder"]:
        raise ConfigError(
            f"{origins['embedder']} names a model to load: {values['embedder']}",
            f"if you trust it: --embedder {values['embedder']}, or SELFROUTE_EMBEDDER",
        )
    if origins.get("model", "").endswith(".toml") and values["model"]:
        raise ConfigError(
            f"{origins['model']} names a model to load: {values['model']}",
            f"if you trust it: --model {values['model']}, or SELFROUTE_MODEL",
        )


def shown_value(value: Any) -> str:
    """A setting's value as TOML writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    return (
        str(value)
        if isinstance(value, int | float)
        else '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'
    )
