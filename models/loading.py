"""A causal language model from a folder, or from the Hugging Face cache or hub by its name; safetensors only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selfroute.errors import MissingDependencyError, ModelLoadError
from selfroute.models.sizes import read_config, weight_files

_FEATURE, _PACKAGE, _EXTRA = "a language model", "transformers", "transformers"
_FILES = ("*.json", "*.jinja", "*.txt", "*.model", "model*.safetensors")  # what is downloaded: no code, no pickle


def locate(model: str, cache_dir: Path | None = None) -> Path:
    """The folder of a model: the one that is named, the cache's, or one downloaded into the cache.

    A name is looked up in the cache first, so that what was downloaded once needs no network. cache_dir: the
    library's own unless given. Raises MissingDependencyError, and ModelLoadError when there is no such model.
    """
    folder = Path(model).expanduser()
    if folder.is_dir():
        return folder
    if model.startswith((".", "/", "~")) or model.count("/") > 1 or not model.strip():
        raise ModelLoadError(f"there is no model folder {model!r}", "name a folder, or a model as OWNER/NAME")
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise MissingDependencyError(_FEATURE, _PACKAGE, _EXTRA) from error
    try:
        cached = Path(snapshot_download(model, cache_dir=cache_dir, local_files_only=True))
        read_config(cached)
        weight_files(cached)
        return cached
    except Exception:  # not there, or not whole: the hub has it
        pass
    try:
        return Path(snapshot_download(model, cache_dir=cache_dir, allow_patterns=list(_FILES)))
    except Exception as error:  # whatever the network's libraries raise
        raise ModelLoadError(
            f"the model {model!r} is not in the cache and cannot be downloaded: {first_line(error)}",
            "check the name and the network, or give a folder: --model ./FOLDER",
        ) from error


def load(folder: Path, device: str) -> tuple[Any, Any]:
    """(model, tokenizer), in the weights' own precision, ready to read. No code of the model's own is run.

    Raises MissingDependencyError, and ModelLoadError for files that are missing, altered, or of an architecture that
    the installed transformers does not know.
    """
    weight_files(folder)
    config = read_config(folder)
    try:
        from transformers import AutoModelForCausalLM, AutoTokenizer
    except ImportError as error:
        raise MissingDependencyError(_FEATURE, _PACKAGE, _EXTRA) from error
    only: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    try:
        with quiet():
            tokenizer = AutoTokenizer.from_pretrained(folder, **only)
            model, report = AutoModelForCausalLM.from_pretrained(
                folder, use_safetensors=True, dtype="auto", output_loading_info=True, **only
            )
    except Exception as error:  # the library raises whatever its own dependencies raise
        raise ModelLoadError(
            f"the model in {folder} cannot be loaded: {first_line(error)}", _hint(folder, config, error)
        ) from error
    missing = sorted(report.get("missing_keys", ()))
    if missing:
        raise ModelLoadError(
            f"the weights in {folder} lack {len(missing)} tensors of a {config.get('model_type')} model,"
            f" such as {missing[0]}",
            "get the model again: its weights and its config.json do not belong together",
        )
    return model.to(device).eval(), tokenizer


def pick_device(device: str | None) -> str:
    """The device that is named, else a CUDA device when there is one, else the CPU."""
    try:
        import torch
    except ImportError as error:
        raise MissingDependencyError(_FEATURE, "torch", _EXTRA) from error
    return device or ("cuda" if torch.cuda.is_available() else "cpu")


@contextmanager
def quiet() -> Iterator[None]:
    """Without the library's progress bars and reports; what is wrong is raised."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def first_line(error: BaseException) -> str:
    """The first line of what an error says, or its name."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


def _hint(folder: Path, config: dict[str, Any], error: Exception) -> str:
    if "auto_map" in config:
        return "it needs code of its own, which is never run: use a model that transformers has built in"
    if "model_type" in str(error) or "architecture" in str(error).lower():
        return "pip install --upgrade transformers, or use a model that it knows"
    return f"get the model again: the files in {folder} may be altered or not whole"
