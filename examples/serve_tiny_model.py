"""Serves a tiny model over HTTP on 127.0.0.1 and asks it, and a hybrid from disk, on both routes; prints what happened.

python examples/serve_tiny_model.py [--folder DIR]

The models are random and made on the spot (no download), so what they write is gibberish: what can be seen is that they
are read, asked, checked and paid for as any model is. A third server replies by a script, so that citations that hold,
and one that does not, can be seen too. Needs: pip install 'selfroute[transformers,openai]'.
"""

import argparse
import shlex
import tempfile
from pathlib import Path

from selfroute import SelfRouter
from selfroute.models.fake_server import FakeServer
from selfroute.models.loading import quiet
from selfroute.models.tiny import make_tiny
from selfroute.router.cli import main as selfroute

FILES = {
    "cookies.py": 'SALT = b"cookie"\n\n\ndef sign_cookie(value, key):\n    """Sign a cookie with a key."""\n'
    "    digest = hmac.new(key + SALT, value)\n    return digest.hexdigest()\n",
    "limits.py": "MAX_AGE = 300  # seconds that a signed cookie lives\nRETRIES = 4\n",
    "notes.md": "# Notes\n\nCookies are signed, never encrypted.\n",
}
QUESTION = "Where is a cookie signed, and how long does it live?"
SHORT = 800  # tokens of the tiny models' windows, so that their gibberish ends soon


def scripted(prompt: str) -> str:
    """Cites what it is shown, quotes it, and once cites a chunk that is not there."""

    def number(text: str) -> int:
        return prompt.partition(text)[0].count("</chunk ")  # the instructions name one

    signed, age = number("def sign_cookie"), number("MAX_AGE = 300")
    return (
        f"A cookie is signed in sign_cookie, which makes a digest with hmac [{signed}]. It lives for"
        f' "MAX_AGE = 300  # seconds" [{age}]. It is kept on the moon [99].'
    )


def random_model(folder: Path):
    """A reply function that lets the model in a folder write."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    with quiet():
        tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)

    def reply(prompt: str) -> str:
        ids = torch.tensor([tokenizer(prompt)["input_ids"]])
        out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=24, do_sample=False)
        return tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True)

    return reply


def ask(corpus: Path, model: str, route: str, *options: str) -> None:
    """One question by the command line, with the line itself."""
    words = ["ask", QUESTION, "--path", str(corpus), "--model", model, "--route", route, *options]
    print(f"$ selfroute {shlex.join(words)}", flush=True)
    code = selfroute(words)
    print(f"(exit code {code})\n", flush=True)


def main() -> None:
    """Runs everything, in a folder that is deleted afterwards unless it is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="where to make corpus and models")
    folder = parser.parse_args().folder
    with tempfile.TemporaryDirectory() as scratch:
        root = folder or Path(scratch)
        corpus = root / "corpus"
        corpus.mkdir(parents=True, exist_ok=True)
        for name, text in FILES.items():
            (corpus / name).write_text(text)
        run(root, corpus)


def run(root: Path, corpus: Path) -> None:
    """The four parts."""
    print("## a random hybrid (granitemoehybrid, 4 layers) from a folder on disk\n", flush=True)
    hybrid = make_tiny(root / "granite", "granite-hybrid")
    for route in ("retrieval", "long-context"):
        ask(corpus, str(hybrid), route, "--window-tokens", str(SHORT))

    print("## a random model (llama, 2 layers) behind an OpenAI-compatible server\n", flush=True)
    with FakeServer(random_model(make_tiny(root / "llama")), context_length=4096) as server:
        for route in ("retrieval", "long-context"):
            ask(corpus, f"openai:{server.url}#any", route)

    print("## a server whose replies are scripted\n", flush=True)
    with FakeServer(scripted, context_length=32_768) as server:
        for route in ("retrieval", "long-context"):
            ask(corpus, f"openai:{server.url}#any", route)

    print("## two questions on one kept context, by the SDK\n", flush=True)
    with SelfRouter.from_path(corpus, model=str(hybrid), window_tokens=SHORT, route="long-context") as router:
        for question in (QUESTION, "How many retries are there?"):
            usage = router.ask(question).usage
            print(f"{question} {usage.prompt_tokens} tokens, {usage.cached_tokens} of them read before", flush=True)


if __name__ == "__main__":
    main()
