"""A packed cache in the product: --kv, contexts kept beside the index, what fits."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from selfroute import SelfRouter
from selfroute.backends import keeping
from selfroute.errors import ConfigError, ModelLoadError, UnknownNameError
from selfroute.memory.index import Index
from selfroute.memory.secret import secret
from selfroute.models.causal import CausalGenerator
from selfroute.models.tiny import make_tiny
from selfroute.router.cli import main
from selfroute.router.inventory import fits
from selfroute.types import Answer, Chunk

QUESTION = "Where is sign defined?"
SECRET = "ab" * 32
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module", params=["granite-hybrid", "qwen3.5", "llama"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny(tmp_path_factory.mktemp("models"), request.param, context_length=16_384)


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny(tmp_path_factory.mktemp("models"), "llama", context_length=16_384)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    root = tmp_path / "corpus"
    root.mkdir()
    for name in "abc":
        (root / f"{name}.py").write_text(f'def sign_{name}(value):\n    """Sign a cookie."""\n    return value + KEY\n')
    return root


def chunks(n: int, word: str = "value") -> list[Chunk]:
    return [Chunk(str(i), "", "a.py", 1, 9, f"{word}_{i} = read(file_{i})\n" * 9) for i in range(n)]


def answered(model: CausalGenerator, read: Sequence[Chunk]) -> tuple[str, int, int]:
    """What it writes, tokens that it did not have to read, and those of the prompt."""
    generation = model.generate(QUESTION, model.prefill(read), max_new_tokens=12)
    return generation.text, generation.usage.cached_tokens, generation.usage.prompt_tokens


@pytest.mark.parametrize("kv", ["bf16", "k8v8", "k4v8", "k4v4"])
def test_a_packed_model_answers_and_says_what_it_took(folder: Path, kv: str) -> None:
    model = CausalGenerator(str(folder), kv=kv, nonce="5eed", device="cpu")
    handle = model.prefill(chunks(4))
    first, again = (model.generate(QUESTION, handle, max_new_tokens=12) for _ in range(2))
    assert first.text == again.text
    assert (first.usage.cached_tokens, again.usage.cached_tokens) == (0, handle.n_tokens)
    plain = CausalGenerator(str(folder), nonce="5eed", device="cpu")
    unpacked = plain.generate(QUESTION, plain.prefill(chunks(4)), max_new_tokens=12)
    assert first.usage.kv_bytes > 0 and unpacked.usage.kv_bytes > 0
    if kv == "bf16":
        assert first.text == unpacked.text
    else:
        assert first.usage.kv_bytes < unpacked.usage.kv_bytes  # float32 beside packed rows


def test_what_one_object_has_read_another_need_not(folder: Path, tmp_path: Path) -> None:
    def model(word: str = SECRET) -> CausalGenerator:
        return CausalGenerator(str(folder), kv="k8v8", device="cpu").keeping(tmp_path / "kept", word)

    text, cached, n_prompt = answered(model(), chunks(6))
    assert cached == 0
    again, cached, _ = answered(model(), chunks(6))
    assert again == text and n_prompt > cached > 0.8 * n_prompt
    (file,) = (tmp_path / "kept").glob("*.safetensors")
    _, cached, _ = answered(model("cd" * 32), chunks(6))
    assert cached == 0  # written by somebody else
    file.write_bytes(file.read_bytes()[:-7])
    healed, cached, _ = answered(model(), chunks(6))
    assert (healed, cached) == (text, 0)
    assert answered(model(), chunks(6))[1] > 0


def test_only_what_was_used_last_stays_in_a_folder(llama: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept"

    def ask(kv: str) -> int:
        model = CausalGenerator(str(llama), kv=kv, device="cpu").keeping(kept, SECRET)
        return answered(model, chunks(2))[1]

    for kv in ("k8v8", "k4v8", "k4v4", "bf16"):
        assert not ask(kv)
    assert ask("k8v8")  # used again: the second is the oldest now
    assert not ask("k4v4:0=k8v8")
    assert len(list(kept.glob("*.safetensors"))) == 4
    assert ask("k8v8") and not ask("k4v8")


def test_after_an_edit_what_comes_before_it_is_not_read_again(llama: Path, tmp_path: Path) -> None:
    def model() -> CausalGenerator:
        return CausalGenerator(str(llama), kv="k8v8", device="cpu").keeping(tmp_path / "kept", SECRET)

    before, whole = chunks(12), [*chunks(11), *chunks(1, "other")]
    answered(model(), before)
    text, cached, n_prompt = answered(model(), whole)
    assert 0.6 * n_prompt < cached < n_prompt
    fresh = CausalGenerator(str(llama), kv="k8v8", device="cpu").keeping(tmp_path / "fresh", SECRET)
    fresh._fences = model()._fences
    assert answered(fresh, whole) == (text, 0, n_prompt)


def test_what_cannot_be_kept_is_said_and_answered_all_the_same(llama: Path, tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("a file where the folder should be")
    model = CausalGenerator(str(llama), kv="k8v8", device="cpu").keeping(tmp_path / "kept", SECRET)
    handle = model.prefill(chunks(2))
    first, again = (model.generate(QUESTION, handle, max_new_tokens=4) for _ in range(2))
    assert first.text == again.text
    assert any("cannot be kept" in note for note in first.notes) and not any("be kept" in note for note in again.notes)


def test_a_model_that_keeps_nothing_is_not_taken_for_one_that_does(llama: Path, corpus: Path) -> None:
    ask(corpus, llama, kv="k4v8")
    ask(corpus, llama)
    with Index.open(corpus) as index:
        assert keeping.tokens_kept(CausalGenerator(str(llama), device="cpu"), index) == 0
        assert keeping.tokens_kept(CausalGenerator(str(llama), kv="k4v8", device="cpu"), index) > 0
        (index.directory / keeping.FOLDER / keeping.FILE).write_text('{"context CausalGenerator": [1, 9]}')
        assert keeping.tokens_kept(CausalGenerator(str(llama), kv="k4v8", device="cpu"), index) == 0


def test_without_a_preset_or_a_secret_nothing_is_kept(llama: Path, tmp_path: Path) -> None:
    answered(CausalGenerator(str(llama), device="cpu").keeping(tmp_path / "kept", SECRET), chunks(2))
    answered(CausalGenerator(str(llama), kv="k8v8", device="cpu").keeping(tmp_path / "kept", ""), chunks(2))
    assert not (tmp_path / "kept").exists()


def ask(corpus: Path, model: Path, **options: str) -> Answer:
    with SelfRouter.from_path(corpus, model=str(model), route="long-context", **options) as router:  # type: ignore[arg-type]
        return router.ask(QUESTION)


def test_the_corpus_is_read_once_whatever_process_asks(llama: Path, corpus: Path) -> None:
    model = CausalGenerator(str(llama), kv="k4v8", device="cpu")
    with Index.open(corpus) as index:
        assert keeping.tokens_kept(model, index) == 0
    first = ask(corpus, llama, kv="k4v8")
    assert first.usage.cached_tokens == 0 and first.usage.kv_bytes > 0
    with Index.open(corpus) as index:
        assert keeping.tokens_kept(model, index) > 0  # what estimates go by
    second = ask(corpus, llama, kv="k4v8")
    assert second.text == first.text
    assert second.usage.cached_tokens > 0.5 * second.usage.prompt_tokens
    assert list((corpus / ".selfroute" / keeping.FOLDER).glob("*.safetensors"))
    (corpus / "a.py").write_text("def other():\n    return 1\n")
    third = ask(corpus, llama, kv="k4v8")
    assert third.usage.cached_tokens < second.usage.cached_tokens


def test_a_folder_that_is_a_link_is_not_written_through(llama: Path, corpus: Path, tmp_path: Path) -> None:
    ask(corpus, llama, kv="k4v8")
    kept, outside = corpus / ".selfroute" / keeping.FOLDER, tmp_path / "outside"
    for file in kept.iterdir():
        file.unlink()
    kept.rmdir()
    outside.mkdir()
    kept.symlink_to(outside)
    answer = ask(corpus, llama, kv="k4v8")
    assert answer.usage.cached_tokens == 0 and not list(outside.iterdir())


def test_the_secret_is_made_once_and_only_its_user_may_read_it(tmp_path: Path) -> None:
    word = secret()
    file = next((tmp_path / "cache").rglob("secret"))
    assert secret() == word == file.read_text() and file.stat().st_mode & 0o77 == 0
    file.write_text("no secret")
    assert len(secret()) == 64 and secret() == file.read_text()


def test_what_cannot_be_packed_is_refused_with_what_to_type(llama: Path, corpus: Path) -> None:
    with pytest.raises(UnknownNameError, match="k3v3"):
        ask(corpus, llama, kv="k3v3")
    with pytest.raises(ConfigError, match="kv is of models that run here"):
        SelfRouter.from_path(corpus, model="scripted", kv="k4v8")


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    def calling(*arguments: object) -> tuple[int, str, str]:
        code = main([*map(str, arguments)])
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return calling


def test_kv_on_the_command_line(llama: Path, corpus: Path, call: Call) -> None:
    asked = ("ask", QUESTION, "--path", corpus, "--model", llama, "--route", "long-context", "--kv", "k4v4", "--json")
    code, out, err = call(*asked)
    assert code == 0, err
    usage = json.loads(out)["usage"]
    assert usage["cached_tokens"] == 0 and usage["kv_bytes"] > 0 and usage["peak_bytes"] > 0
    code, _, err = call(*asked[:-2], "k9")
    assert code == 2 and "k4v4" in err


def test_what_fits_is_told_at_each_preset(llama: Path, tmp_path: Path, call: Call) -> None:
    code, out, err = call("models", "--fit", llama, "--tokens", 1_000_000)
    assert code == 0, err
    lines = out.splitlines()
    assert [line.split()[0] for line in lines[:4]] == ["bf16", "k8v8", "k4v8", "k4v4"]
    assert all("1,000,000 tokens" in line and "free in main memory" in line for line in lines[:4])
    found = list(fits(str(llama), 10_000, tmp_path, {"here": 20_000_000}))
    assert [one.fits for one in found] == sorted(one.fits for one in found)
    for one in found:
        again = {fit.kv: fit for fit in fits(str(llama), one.most_tokens, tmp_path, {"here": 20_000_000})}
        more = {fit.kv: fit for fit in fits(str(llama), one.most_tokens + 64, tmp_path, {"here": 20_000_000})}
        assert again[one.kv].fits and not more[one.kv].fits
    with pytest.raises(ModelLoadError):
        list(fits("nobody/nothing", 10, tmp_path))
    code, _, err = call("models", "--fit", "nobody/nothing")
    assert code != 0 and "hint: " in err
