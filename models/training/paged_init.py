"""What a paged reader begins with, and how its weights are written and read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from selfroute.models import weights
from selfroute.models.paged.config import PagedConfig
from selfroute.models.paged.model import PagedReader
from selfroute.models.paged.words import READER, Words, initializers
from selfroute.models.training import reader_model

STEM, CONFIG = "paged", "config.json"
OF_READER = "reader"  # the shipped reader, as an initialisation


def word_vectors() -> Tensor:
    """(30522, 384) float32: those of the shipped reader."""
    return torch.from_numpy(Words.shipped().all())


def begun(config: PagedConfig, init: str, words: Tensor | None = None) -> PagedReader:
    """A reader with the local layers of MiniLM (a file), of the shipped reader, or, with "", random ones."""
    model = PagedReader(config, word_vectors() if words is None else words)
    if init:
        state = of_reader() if init == OF_READER else reader_model.load(Path(init))
        take_local(model, state)
    return model


def take_local(model: PagedReader, state: Mapping[str, Tensor]) -> list[str]:
    """Copies what has the name and the shape of the model's local layers; the names of what there was nothing for."""
    own = model.local.state_dict()
    if "segments.weight" in state:
        own["segment"].copy_(state["segments.weight"][1])
    missing = []
    for name, tensor in own.items():
        if name == "segment":
            continue
        if name in state and state[name].shape == tensor.shape:
            tensor.copy_(state[name])
        else:
            missing.append(name)
    return missing


def of_reader() -> dict[str, Tensor]:
    """The shipped reader's layers, its int8 weights as float32, under the names of reader_model."""
    arrays = initializers(weights.checked(READER))
    found: dict[str, Tensor] = {}
    for name, array in arrays.items():
        stem, _, last = name.rpartition(".")
        if name.startswith("layers.") and last in ("weight", "bias") and not stem.endswith("norm"):
            tensor = torch.tensor(array).float()
            if last == "weight":
                tensor = (tensor * torch.tensor(arrays[stem + ".scale"]).float()).T.contiguous()
            if stem.endswith(".qkv"):
                for part, piece in zip(("query", "key", "value"), tensor.chunk(3, 0), strict=True):
                    found[f"{stem.removesuffix('qkv')}{part}.{last}"] = piece.contiguous()
            else:
                found[name] = tensor
        elif stem.endswith("norm"):
            found[name] = torch.tensor(array).float()
    found["positions.weight"] = torch.tensor(arrays["positions_half"]).float()
    found["segments.weight"] = torch.tensor(arrays["segments"]).float()
    return found


def write(model: PagedReader, folder: Path) -> None:
    """The weights as fp16 in files of at most 15 MiB, and the sizes."""
    packed = {name: tensor.detach().to(torch.float16) for name, tensor in model.state_dict().items()}
    for old in folder.glob(f"{STEM}-*.safetensors"):
        old.unlink()
    reader_model.save(packed, folder, STEM)
    (folder / CONFIG).write_text(json.dumps(model.config.to_json(), indent=2) + "\n")


def read(folder: Path, words: Tensor | None = None) -> PagedReader:
    """What write() wrote. Raises ConfigError and OSError."""
    from safetensors.torch import load_file

    config = PagedConfig.from_json(json.loads((folder / CONFIG).read_text()))
    model = PagedReader(config, word_vectors() if words is None else words)
    state = {}
    for file in sorted(folder.glob(f"{STEM}-*.safetensors")):
        state.update(load_file(file))
    model.load_state_dict({name: tensor.float() for name, tensor in state.items()})
    return model
