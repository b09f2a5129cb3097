"""Trained weights of the paged reader to the shipped files: int8 local layers, fp16 for what reads and points.

    python -m selfroute.models.training.paged_export --weights FOLDER --out FOLDER

Writes paged-local.onnx, paged-global.safetensors and paged.json with their checksums into --out, the float32 graph into
--out/float, and compares both with torch on random pages. Ends with one line of JSON. Needs onnx, onnxruntime, torch.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch

from selfroute.models.paged.model import PagedReader
from selfroute.models.paged.runtime import CONFIG, GLOBAL, LOCAL, PagedRuntime
from selfroute.models.training import paged_graph, paged_init
from selfroute.models.training.reader_export import ship
from selfroute.models.training.reader_graph import Kind

VERSION = 1


def main() -> None:
    """Parses the options, exports, compares."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, required=True, help="the folder that training wrote")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    model = paged_init.read(options.weights).eval()
    result: dict[str, object] = {}
    for kind, folder in (("float", options.out / "float"), ("int8", options.out)):
        result[f"bytes_{kind}"] = export(model, folder, kind)  # type: ignore[arg-type]
        result[f"states_off_{kind}"] = off(model, folder)
    print(json.dumps(result))


def export(model: PagedReader, folder: Path, kind: Kind = "int8") -> int:
    """Writes the three files; their size."""
    from safetensors.numpy import save

    state = {name: tensor.detach().float().numpy() for name, tensor in model.state_dict().items()}
    plain = np.float32 if kind == "float" else np.float16
    rest = {name: np.ascontiguousarray(a.astype(plain)) for name, a in state.items() if not name.startswith("local.")}
    files = {
        LOCAL: paged_graph.graph(state, model.config, kind).SerializeToString(deterministic=True),
        GLOBAL: save(rest),
        CONFIG: (json.dumps(model.config.to_json() | {"version": VERSION}, indent=2) + "\n").encode(),
    }
    ship(folder, files)
    return sum(map(len, files.values()))


def off(model: PagedReader, folder: Path, n: int = 8) -> float:
    """The relative error of a page's states against torch, the mean over random pages."""
    runtime = PagedRuntime(folder, threads=1)
    rng = np.random.default_rng(0)
    errors = []
    for _ in range(n):
        ids = [101, *rng.integers(1000, 30000, int(rng.integers(20, 256))).tolist(), 102]
        tokens = torch.tensor([ids])
        with torch.inference_mode():
            exact = model.local(tokens, torch.ones_like(tokens, dtype=torch.bool))[0].numpy()
        errors.append(float(np.linalg.norm(runtime.states(ids) - exact) / np.linalg.norm(exact)))
    return round(float(np.mean(errors)), 5)


if __name__ == "__main__":
    main()
