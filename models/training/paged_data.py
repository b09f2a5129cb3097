"""Prepares what the paged reader is trained on: texts and questions as tokens, small enough to be carried to a GPU.

    python -m selfroute.models.training.paged_data --data FOLDER_OF_SETS --code FOLDER --out FOLDER

FOLDER_OF_SETS holds gutenberg, wordlists, squad, policyqa and covidqa; --code what benchmarks/training/code_data.py
wrote. What is missing is left out and named. Writes material.npz (prose, lines of code, words) and data.npz.xz (the
questions, as reader_data packs them) and ends with one line of JSON. Nothing that is reported on is read: of SQuAD the
training set and the part of 2.0 for training, of COVID-QA every second paper.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from selfroute.models.tokenizer import wordpiece
from selfroute.models.training import paged_material, reader_data
from selfroute.models.training.paged_material import Material
from selfroute.models.training.paged_ragged import Ragged
from selfroute.models.training.paged_tasks_text import CORPUS
from selfroute.models.training.reader_store import Builder

N_SENTENCES, N_LINES = 90_000, 90_000
HELD_BOOKS = 4  # the last of the books by name: for the benchmark's prose, never trained on
WORD_FILES = ("nounlist.txt", "adjectivelist.txt", "verblist.txt")


def main() -> None:
    """Parses the options, reads every set, writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--code", type=Path, help="the folder with chunks.jsonl.gz and code.jsonl.gz")
    parser.add_argument("--limit", type=int, help="questions of each set at most, for a trial")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    started = time.perf_counter()
    options.out.mkdir(parents=True, exist_ok=True)
    missing = []
    material = material_of(options.data, options.code)
    save(material, options.out / paged_material.FILE)
    builder = Builder()
    for name, read in (
        ("squad/train-v1.1.json.gz", reader_data.add_squad),
        ("squad/dev-v2.0.train10.json.gz", reader_data.add_human),
        ("policyqa/dev.json", reader_data.add_policy),
        ("covidqa/public.json", reader_data.add_covid),
    ):
        if (options.data / name).is_file():
            read(builder, options.data / name, options.limit)
        else:
            missing.append(name)
    if options.code and (options.code / "code.jsonl.gz").is_file():
        reader_data.add_code(builder, options.code, options.limit)
    else:
        missing.append("code")
    builder.write(options.out / CORPUS)
    sizes = {path.name: path.stat().st_size for path in sorted(options.out.iterdir()) if path.is_file()}
    seconds = round(time.perf_counter() - started)
    print(json.dumps({"bytes": sizes, "missing": missing, "seconds": seconds, **builder.counts()}))


def material_of(data: Path, code: Path | None) -> Material:
    """Books, word lists and code where they are there; the standard library's for what is not."""
    found = paged_material.standard()
    rng = random.Random(0)
    books = sorted((data / "gutenberg").glob("*.txt.gz"))[:-HELD_BOOKS]
    rows: list[list[int]] = []
    for book in books:
        with gzip.open(book, "rt", encoding="utf-8", errors="replace") as file:
            sentences = paged_material.sentences(file.read())
        n = min(len(sentences), N_SENTENCES // len(books))
        start = rng.randrange(len(sentences) - n + 1)
        rows += sentences[start : start + n]
    words = [word for name in WORD_FILES for word in _lines(data / "wordlists" / name)]
    spelled = [ids for word in dict.fromkeys(words) if word.isalpha() and len(ids := wordpiece().pieces(word)[0]) <= 3]
    lines = list(code_lines(code)) if code else []
    return Material(
        Ragged.of(spelled) if spelled else found.words,
        Ragged.of(rows) if rows else found.prose,
        Ragged.of(lines) if lines else found.code,
    )


def code_lines(folder: Path) -> Iterator[list[int]]:
    """The lines of the code that questions are about, as far as there is room for them."""
    n = 0
    with gzip.open(folder / "chunks.jsonl.gz", "rt", encoding="utf-8") as file:
        for line in file:
            for row in paged_material.code_lines(json.loads(line)["text"]):
                yield row
                n += 1
            if n >= N_LINES:
                return


def save(material: Material, path: Path) -> None:
    """Writes the texts."""
    arrays: dict[str, NDArray[np.generic]] = {}
    for name in ("words", "prose", "code"):
        rows: Ragged = getattr(material, name)
        arrays |= {name: rows.flat, name + "_at": rows.offsets}
    np.savez_compressed(path, **arrays)  # type: ignore[arg-type, unused-ignore]


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").split("\n") if path.is_file() else []


if __name__ == "__main__":
    main()
