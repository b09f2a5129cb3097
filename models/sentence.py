"""Any sentence-transformers model as an embedder, by its name on the hub or by a folder on disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from selfroute.errors import MissingDependencyError, ModelLoadError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_WEIGHT_SUFFIXES = frozenset({".safetensors", ".bin", ".onnx"})


class SentenceEmbedder:
    """Encodes with a sentence-transformers model; slower than the built-in vectors, and needs the extra `transformers`.

    A folder is read from disk only, with no network. A name is taken from the local cache, or else downloaded: naming a
    model is asking for it. No code from the model's repository is run.
    """

    def __init__(self, model: str, *, device: str | None = None, batch_size: int = 32) -> None:
        """model: a folder or a hub name. device: torch's name for one; the library's choice when not given.

        Raises MissingDependencyError without sentence-transformers, ModelLoadError when the model cannot be loaded.
        """
        folder = Path(model).expanduser()
        local = folder.is_dir()
        if not local and (model.startswith((".", "/", "~")) or model.count("/") > 1 or not model):
            raise ModelLoadError(f"there is no model folder {model!r}", "name a folder, or a model as OWNER/NAME")
        try:
            from sentence_transformers import SentenceTransformer
        except ImportError as error:
            raise MissingDependencyError(
                "a sentence-transformers model", "sentence-transformers", "transformers"
            ) from error
        try:
            self._model: Any = SentenceTransformer(
                str(folder) if local else model, device=device, local_files_only=local
            )
            dim = len(np.asarray(self._model.encode(["a"], show_progress_bar=False))[0])
        except Exception as error:  # the library raises whatever its own dependencies raise
            raise ModelLoadError(
                f"the model {model!r} cannot be loaded: {_first_line(error)}",
                "check the folder's files" if local else "check the name and the network, or give a folder",
            ) from error
        self._dim = dim
        self._batch_size = batch_size
        self._fingerprint = f"sentence-transformers:{_folder_hash(folder) if local else self._revision(model)}"

    @property
    def dim(self) -> int:
        """D, the width of the vectors."""
        return self._dim

    @property
    def fingerprint(self) -> str:
        """Names the folder's content, or the model and its revision."""
        return self._fingerprint

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(n, D) float32, unit rows; zeros for white space. What is longer than the model reads is cut there."""
        vectors = np.zeros((len(texts), self._dim), np.float32)
        filled = [i for i, text in enumerate(texts) if text.strip()]
        if filled:
            encoded = self._model.encode(
                [texts[i] for i in filled],
                batch_size=self._batch_size,
                normalize_embeddings=True,
                convert_to_numpy=True,
                show_progress_bar=False,
            )
            vectors[filled] = np.asarray(encoded, np.float32)
        return vectors

    def _revision(self, model: str) -> str:
        config = getattr(self._model[0], "auto_model", None)
        commit = getattr(getattr(config, "config", None), "_commit_hash", None)
        return f"{model}@{commit or version('sentence-transformers')}"


def _folder_hash(folder: Path) -> str:
    """Over the small files' bytes, and the weights' bytes as well: another model in the same place is another name."""
    digest = hashlib.blake2b(digest_size=8)
    for path in sorted(folder.rglob("*")):
        if path.is_file() and (path.suffix in _WEIGHT_SUFFIXES or path.suffix in {".json", ".txt"}):
            digest.update(json.dumps(path.relative_to(folder).as_posix()).encode())
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
