"""What a stored prefix belongs to, as one word: weights, tokenizer, preset, and the versions that computed it."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import torch

from selfroute.models.kv.presets import Preset, preset_of
from selfroute.models.kv.statistics import FLOOR, STATS_TOKENS

LAYOUT = 2  # of packed rows and of the file; raised when either changes
SAMPLES = 1024  # numbers that are looked at in each tensor of the weights


def fingerprint(model: Any, preset: str | Preset, tokenizer: Any = None) -> str:
    """SHA-256 in hexadecimal. It differs for other weights, another tokenizer, preset, dtype, torch or transformers.

    Of each tensor of the weights, name, shape, dtype and SAMPLES numbers spread evenly over it are taken in, not all:
    training changes nearly every number, and a large model's would take minutes. A change that leaves all of those
    as they were is not noticed.
    """
    import transformers

    digest = hashlib.sha256()
    about = {
        "layout": [LAYOUT, STATS_TOKENS, FLOOR],
        "preset": preset_of(preset).name,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "config": _config(model),
        "tokenizer": _tokenizer(tokenizer),
    }
    digest.update(json.dumps(about, sort_keys=True, default=str).encode())
    for name, tensor in sorted(model.state_dict().items()):
        flat = tensor.detach().reshape(-1)
        step = max(1, flat.numel() // SAMPLES)
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        digest.update(flat[::step].contiguous().cpu().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _config(model: Any) -> dict[str, Any]:
    """Less what says where a model came from and how its attention is computed, which change nothing that is kept."""
    left_out = {"_name_or_path", "transformers_version", "_attn_implementation", "attn_implementation"}
    return {key: value for key, value in model.config.to_dict().items() if key not in left_out}


def _tokenizer(tokenizer: Any) -> str:
    if tokenizer is None:
        return ""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    text = backend.to_str() if backend is not None else json.dumps(tokenizer.get_vocab(), sort_keys=True)
    template = getattr(tokenizer, "chat_template", None)
    return hashlib.sha256(f"{text}\n{template!r}".encode()).hexdigest()
