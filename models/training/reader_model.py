"""The reader's network: MiniLM's encoder, a start and an end score for every token, one for every chunk.

A chunk's scores are absolute: the null option, "no chunk holds an answer", has the score 0, and a span's score is
measured against it. So the chunks of a question can be scored apart from each other, any number of them, and compared
afterwards. The encoder is BERT's (Devlin et al. 2018), with MiniLM's names and sizes; this file needs torch only.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

VOCABULARY, POSITIONS, WIDTH, N_LAYERS, N_HEADS, INNER = 30522, 512, 384, 6, 12, 1536
EPSILON = 1e-12
SCALE = ":scale"
WORDS = "embeddings.word_embeddings.weight"


class Layer(nn.Module):
    """One layer of the encoder, normalised after each half as BERT is."""

    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.query = nn.Linear(WIDTH, WIDTH)
        self.key = nn.Linear(WIDTH, WIDTH)
        self.value = nn.Linear(WIDTH, WIDTH)
        self.attended = nn.Linear(WIDTH, WIDTH)
        self.attended_norm = nn.LayerNorm(WIDTH, eps=EPSILON)
        self.inner = nn.Linear(WIDTH, INNER)
        self.outer = nn.Linear(INNER, WIDTH)
        self.outer_norm = nn.LayerNorm(WIDTH, eps=EPSILON)
        self.dropout = dropout

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x: (B, T, 384). mask: (B, 1, 1 or T, T), true where a token may be looked at."""
        B, T, _ = x.shape
        q, k, v = (f(x).view(B, T, N_HEADS, -1).transpose(1, 2) for f in (self.query, self.key, self.value))
        dropout = self.dropout if self.training else 0.0
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout)
        y = self.attended(y.transpose(1, 2).reshape(B, T, WIDTH))
        x = self.attended_norm(x + F.dropout(y, self.dropout, self.training))
        y = self.outer(F.gelu(self.inner(x)))
        return self.outer_norm(x + F.dropout(y, self.dropout, self.training))  # type: ignore[no-any-return]


class ReaderModel(nn.Module):
    """Tokens of [CLS] question [SEP] chunk [SEP] to span scores."""

    def __init__(self, dropout: float = 0.1) -> None:
        super().__init__()
        self.words = nn.Embedding(VOCABULARY, WIDTH)
        self.positions = nn.Embedding(POSITIONS, WIDTH)
        self.segments = nn.Embedding(2, WIDTH)
        self.norm = nn.LayerNorm(WIDTH, eps=EPSILON)
        self.layers = nn.ModuleList(Layer(dropout) for _ in range(N_LAYERS))
        self.spans = nn.Linear(WIDTH, 2)
        self.chunk = nn.Linear(WIDTH, 2)
        self.dropout = dropout

    def forward(self, tokens: Tensor, segments: Tensor, mask: Tensor) -> Tensor:
        """(B, T, 2): the scores of each token as an answer's first and last one, the null option's being 0.

        tokens: (B, T) ids. segments: (B, T), 0 up to the first [SEP], then 1. mask: (B, T), false for padding.
        """
        T = tokens.shape[1]
        x = self.words(tokens) + self.positions.weight[:T] + self.segments(segments)
        x = F.dropout(self.norm(x), self.dropout, self.training)
        seen = mask[:, None, None, :]
        for layer in self.layers:
            x = layer(x, seen)
        return self.spans(x) + self.chunk(x[:, :1])  # type: ignore[no-any-return]


_OF_MINILM = {
    "embeddings.word_embeddings": "words",
    "embeddings.position_embeddings": "positions",
    "embeddings.token_type_embeddings": "segments",
    "embeddings.LayerNorm": "norm",
    "attention.self.query": "query",
    "attention.self.key": "key",
    "attention.self.value": "value",
    "attention.output.dense": "attended",
    "attention.output.LayerNorm": "attended_norm",
    "intermediate.dense": "inner",
    "output.dense": "outer",
    "output.LayerNorm": "outer_norm",
}


def from_minilm(arrays: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """MiniLM's tensors under this model's names, with heads of zeros: every span as likely as none."""
    state = {}
    for name, array in arrays.items():
        stem, _, last = name.rpartition(".")
        prefix = ""
        if stem.startswith("encoder.layer."):
            _, _, number, stem = stem.split(".", 3)
            prefix = f"layers.{number}."
        if stem in _OF_MINILM:
            state[f"{prefix}{_OF_MINILM[stem]}.{last}"] = array.float()
    for head in ("spans", "chunk"):
        state[f"{head}.weight"], state[f"{head}.bias"] = torch.zeros(2, WIDTH), torch.zeros(2)
    return state


MAX_FILE = 15 * 2**20  # bytes of one written file


def save(packed: Mapping[str, Tensor], folder: Path, stem: str) -> list[Path]:
    """Writes pack()'s tensors into files stem-0.safetensors, ..., each of at most 15 MiB."""
    from safetensors.torch import save_file

    parts: list[dict[str, Tensor]] = [{}]
    room = MAX_FILE
    for name, tensor in packed.items():
        size = tensor.numel() * tensor.element_size() + 256
        if size > room:
            parts.append({})
            room = MAX_FILE
        parts[-1][name] = tensor.detach().cpu().contiguous()
        room -= size
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{stem}-{n}.safetensors" for n in range(len(parts))]
    for path, part in zip(paths, parts, strict=True):
        save_file(part, path)
    return paths


def load(path: Path) -> dict[str, Tensor]:
    """The float32 tensors of one file, or of all files of a folder: those of pack() or of MiniLM itself."""
    from safetensors.torch import load_file

    found: dict[str, Tensor] = {}
    for file in sorted(path.glob("*.safetensors")) if path.is_dir() else [path]:
        found.update(load_file(file))
    if WORDS in found:
        return from_minilm(found)
    state = {}
    for name, tensor in found.items():
        if not name.endswith(SCALE):
            scale = found.get(name + SCALE)
            state[name] = tensor.float() if scale is None else tensor.float() * scale.float()[:, None]
    return state


def pack(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors as fp16, word embeddings as int8 with one scale for each row: what a run starts from, 34 MB."""
    packed = {}
    for name, tensor in state.items():
        tensor = tensor.detach().float()
        if name == "words.weight":
            scale = (tensor.abs().amax(1) / 127).clamp_min(1e-8)
            packed[name] = (tensor / scale[:, None]).round().to(torch.int8)
            packed[name + SCALE] = scale
        else:
            packed[name] = tensor.to(torch.float16).contiguous()
    return packed
