"""A prefix that was read, saved, loaded and branched: what follows is what would have followed; damage is a miss."""

from __future__ import annotations

import random
from functools import cache
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from safetensors import safe_open  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

from selfroute.errors import ConfigError  # noqa: E402
from selfroute.models.kv.cache import PackedCache, quantized_cache  # noqa: E402
from selfroute.models.kv.fingerprint import fingerprint  # noqa: E402
from selfroute.models.kv.prefix import Prefix, read, read_prefix  # noqa: E402
from selfroute.models.kv.snapshot import load, save  # noqa: E402
from selfroute.models.tiny_configs import ALL, tiny_config  # noqa: E402

LENGTH, BLOCK, EVERY, ROOM = 150, 32, 64, 200
CUTS = 13  # of each family: 104 in all


@cache
def model(family: str, seed: int = 0) -> Any:
    torch.manual_seed(seed)
    made = transformers.AutoModelForCausalLM.from_config(tiny_config(family)).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.dim() > 1:
                parameter.mul_(4.0)
    return made


@cache
def text(length: int = LENGTH) -> list[int]:
    return [int(t) for t in torch.randint(3, 128, (length,), generator=torch.Generator().manual_seed(1))]


def answer(family: str, packed: PackedCache, count: int = 4) -> list[int]:
    """The likeliest tokens after one more."""
    token, written = 5, []
    with torch.inference_mode():
        for _ in range(count):
            out = model(family)(input_ids=torch.tensor([[token]]), past_key_values=packed)
            token = int(out.logits[0, -1].argmax())
            written.append(token)
    return written


def scores(family: str, packed: PackedCache) -> Any:
    """The logits after one more."""
    with torch.inference_mode():
        return model(family)(input_ids=torch.tensor([[5]]), past_key_values=packed).logits[0, -1]


def prefix(family: str, preset: str, ids: list[int]) -> Prefix:
    packed = quantized_cache(model(family), preset, max_tokens=ROOM)
    return read_prefix(model(family), ids, packed, block=BLOCK, every=EVERY)


@pytest.mark.parametrize("family", ALL)
def test_what_follows_a_loaded_prefix_is_what_follows_without_stopping(family: str, tmp_path: Path) -> None:
    chance = random.Random(family)
    for number in range(CUTS):
        preset = chance.choice(("k4v4", "k4v8", "k8v8", "bf16"))
        mark = f"{family} {preset}"
        cut = chance.randint(1, LENGTH - 1) if number else chance.randint(1, 63)  # one before keys are packed
        before = prefix(family, preset, text()[:cut])
        size = save(tmp_path / "prefix.safetensors", before, mark)
        assert size == (tmp_path / "prefix.safetensors").stat().st_size
        loaded = load(tmp_path / "prefix.safetensors", model(family), preset, mark, ids=text(), max_tokens=ROOM)
        assert loaded.prefix is not None, loaded.reason
        assert loaded.prefix.ids == tuple(text()[:cut])
        assert sorted(loaded.prefix.checkpoints) == sorted(before.checkpoints)
        for packed in (before.cache, loaded.prefix.cache):
            read(model(family), text()[cut:], packed, block=BLOCK)
        assert answer(family, loaded.prefix.cache) == answer(family, before.cache)
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("family", ALL)
def test_a_branch_from_any_token_reads_only_what_is_missing(family: str) -> None:
    whole = prefix(family, "k8v8", text())
    expected, straight = answer(family, whole.cache.fork()), scores(family, whole.cache.fork())
    for tokens in (0, 40, 64, 70, 128, LENGTH):
        start = whole.nearest(tokens)
        assert start <= tokens and (start >= 64 or start == 0)
        assert start == (tokens if family == "llama" and tokens >= 64 else start)
        branch = whole.branch(model(family), tokens, block=BLOCK)
        assert branch.get_seq_length() == tokens
        read(model(family), text()[tokens:], branch, block=BLOCK)
        if tokens % BLOCK == 0 or tokens == LENGTH:  # cut as it was: the very same numbers
            assert answer(family, branch.fork()) == expected
        assert (scores(family, branch) - straight).norm() < 0.02 * straight.norm()
    assert sorted(whole.checkpoints) == ([] if family == "llama" else [64, 128])
    assert whole.cache.get_seq_length() == LENGTH
    with pytest.raises(ConfigError):
        whole.branch(model(family), LENGTH + 1)


def test_the_common_part_of_two_texts_is_counted() -> None:
    whole = prefix("llama", "bf16", text())
    assert whole.common([*text()[:70], 1, 2]) == 70 and whole.common([]) == 0 and whole.common(text() * 2) == LENGTH
    assert whole.nearest(3) == 3  # nothing was packed


def miss(path: Path, preset: str = "k4v4", mark: str | None = None, **options: Any) -> str:
    loaded = load(path, model("lfm2"), preset, mark or fingerprint(model("lfm2"), preset), **options)
    assert loaded.prefix is None
    return loaded.reason


def test_what_does_not_fit_is_a_miss_with_a_reason(tmp_path: Path) -> None:
    path = tmp_path / "kept" / "prefix.safetensors"
    save(path, prefix("lfm2", "k4v4", text()), fingerprint(model("lfm2"), "k4v4"))
    assert load(path, model("lfm2"), "k4v4", fingerprint(model("lfm2"), "k4v4")).prefix is not None
    assert "no such file" in miss(tmp_path / "none")
    assert "preset k4v4, not k8v8" in miss(path, "k8v8")
    assert "other weights" in miss(path, mark="0" * 64)
    assert "another text" in miss(path, ids=[1, 2, 3])
    assert "150" in miss(path, max_tokens=100)
    other = fingerprint(model("lfm2"), "k4v4")
    assert load(path, model("llama"), "k4v4", other).prefix is None
    assert "cannot serve" in load(path, unfit(), "k4v4", other).reason


def unfit() -> Any:
    class Unfit:
        config = transformers.Mamba2Config(num_hidden_layers=2)

    return Unfit()


def test_damage_anywhere_is_a_miss(tmp_path: Path) -> None:
    path = tmp_path / "prefix.safetensors"
    save(path, prefix("lfm2", "k4v4", text()), fingerprint(model("lfm2"), "k4v4"))
    whole, chance = path.read_bytes(), random.Random(1)
    for _ in range(150):
        at = chance.randrange(len(whole))
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << chance.randrange(8)]) + whole[at + 1 :])
        assert miss(path)
    for end in (0, 7, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:end])
        assert miss(path)
    path.write_bytes(whole + b"x")
    assert miss(path)
    save_file({"a": torch.zeros(1)}, path)
    assert "no stored prefix" in miss(path)


def test_rows_of_other_shapes_are_a_miss_even_with_a_right_checksum(tmp_path: Path) -> None:
    from selfroute.models.kv import snapshot

    path, mark = tmp_path / "prefix.safetensors", fingerprint(model("lfm2"), "k4v4")
    save(path, prefix("lfm2", "k4v4", text()), mark)
    with safe_open(path, framework="pt") as file:
        about, tensors = dict(file.metadata()), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    del about["checksum"]
    for name in list(tensors):
        changed = {other: t for other, t in tensors.items() if other != name}
        save_file(changed, path, {**about, "checksum": snapshot._checksum(changed, about)})
        assert miss(path)
    changed = {**tensors, "state.150.9.conv.0": torch.zeros(1)}
    save_file(changed, path, {**about, "checksum": snapshot._checksum(changed, about)})
    assert miss(path)


def test_a_failed_save_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, mark = tmp_path / "prefix.safetensors", fingerprint(model("lfm2"), "k4v4")
    save(path, prefix("lfm2", "k4v4", text()[:70]), mark)
    before = path.read_bytes()
    monkeypatch.setattr("os.fsync", lambda fd: (_ for _ in ()).throw(OSError("no space left on device")))
    with pytest.raises(OSError, match="no space"):
        save(path, prefix("lfm2", "k4v4", text()), mark)
    assert path.read_bytes() == before and [file.name for file in tmp_path.iterdir()] == [path.name]


def test_only_one_sequence_of_those_tokens_is_saved(tmp_path: Path) -> None:
    packed = quantized_cache(model("llama"), "k4v4")
    with torch.no_grad():
        model("llama")(input_ids=torch.tensor([text(), text()]), past_key_values=packed)
    with pytest.raises(ConfigError, match="2 x 150"):
        save(tmp_path / "p", Prefix(tuple(text()), packed), "")
    packed.batch_select_indices(torch.tensor([0]))
    with pytest.raises(ConfigError, match="1 x 150 tokens, not 1 x 3"):
        save(tmp_path / "p", Prefix((1, 2, 3), packed), "")
    assert not list(tmp_path.iterdir())
    with pytest.raises(ConfigError):
        read_prefix(model("llama"), text(), packed)


def test_a_fingerprint_tells_weights_presets_and_tokenizers_apart(tmp_path: Path) -> None:
    from selfroute.models.tiny import make_tiny

    one = fingerprint(model("llama"), "k4v4")
    assert one == fingerprint(model("llama"), "k4v4")
    assert len({one, fingerprint(model("llama"), "k4v8"), fingerprint(model("llama", 1), "k4v4")}) == 3
    with_tokenizer = []
    for chat in (True, False):
        folder = make_tiny(tmp_path / str(chat), chat=chat)
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        with_tokenizer.append(fingerprint(model("llama"), "k4v4", tokenizer))
    assert len({one, *with_tokenizer}) == 3
