"""Another tool beside ours, in a venv of its own, over the same files, questions and static vectors."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

REQUIREMENT = {"semble": "semble==0.7.0"}

# Runs inside the peer's venv. Writes our static vectors in the form that the peer reads, indexes, asks, times.
SEMBLE = r"""
import json, statistics, sys, time
from pathlib import Path
import numpy as np
from safetensors.numpy import load_file, save_file
from tokenizers import BertWordPieceTokenizer
from semble import SembleIndex
from semble.types import ContentType
task = json.load(sys.stdin)
folder = Path(task["model"])
if not (folder / "model.safetensors").exists():
    weights = load_file(task["weights"])
    vocabulary = Path(task["vocabulary"]).read_text().split("\n")
    tokens = [vocabulary[i] for i in weights["ids"].tolist()] + weights["words"].tobytes().decode().split()
    special = ["[UNK]", "[SEP]", "[CLS]", "[PAD]", "[MASK]"]
    rows = weights["rows"].astype(np.float32) * weights["scale"]
    rows = np.vstack([rows, np.zeros((len(special), rows.shape[1]), np.float32)])
    save_file({"embeddings": rows}, folder / "model.safetensors")
    numbers = {token: row for row, token in enumerate(tokens + special)}
    BertWordPieceTokenizer(numbers, lowercase=True).save(str(folder / "tokenizer.json"))
    (folder / "config.json").write_text(json.dumps({"normalize": True, "hidden_dim": rows.shape[1]}))
build = []
content = list(ContentType) if task["content"] == "all" else [ContentType.CODE]
for _ in range(task["builds"]):
    start = time.perf_counter()
    index = SembleIndex.from_path(task["root"], content=content, model_path=str(folder))
    build.append(time.perf_counter() - start)
files, ms = [], []
for question in task["questions"]:
    hits = index.search(question, top_k=10)
    files.append([str(h.chunk.file_path) for h in hits])
    took = []
    for _ in range(5):
        start = time.perf_counter(); index.search(question, top_k=10); took.append((time.perf_counter() - start) * 1e3)
    ms.append(statistics.median(took))
n_files = len({chunk.file_path for chunk in index.chunks})
print(json.dumps({"files": files, "query_ms": ms, "build_seconds": build, "n_files": n_files}))
"""


@dataclass(frozen=True, slots=True)
class Run:
    """What the peer gave.

    files: of the ten hits of each question. query_ms: of a warm query. build_seconds: of each build. n_files: indexed.
    """

    files: list[list[str]]
    query_ms: list[float]
    build_seconds: list[float]
    n_files: int


@cache
def interpreter(name: str) -> str:
    """The python of a throw-away venv that holds the peer."""
    folder = tempfile.mkdtemp(prefix="peer-")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = f"{folder}/bin/python"
    subprocess.run([python, "-m", "pip", "install", "-q", REQUIREMENT[name]], check=True)
    return python


@cache
def _model_folder() -> str:
    return tempfile.mkdtemp(prefix="peer-model-")


def run(
    name: str, python: Path | None, root: Path, questions: list[str], *, builds: int = 1, content: str = "code"
) -> Run:
    """Indexes root `builds` times with the peer and asks it the questions. content: "code" (its default) or "all"."""
    weights = files("selfroute.models.weights")
    task = {
        "root": str(root.resolve()),
        "questions": questions,
        "model": _model_folder(),
        "weights": str(weights / "static-minilm.safetensors"),
        "vocabulary": str(weights / "vocab.txt"),
        "builds": builds,
        "content": content,
    }
    done = subprocess.run(
        [str(python or interpreter(name)), "-c", SEMBLE],
        input=json.dumps(task),
        capture_output=True,
        text=True,
        check=True,
    )
    result = json.loads(done.stdout.splitlines()[-1])
    prefix = str(root.resolve()) + "/"
    return Run(
        [[f.removeprefix(prefix) for f in found] for found in result["files"]],
        result["query_ms"],
        result["build_seconds"],
        result["n_files"],
    )
