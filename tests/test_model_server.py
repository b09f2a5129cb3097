"""A model behind an OpenAI-compatible server that is slow, busy, broken, or gone; over real HTTP on 127.0.0.1."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from selfroute.errors import ConfigError, ContextOverflowError, ModelServerError
from selfroute.models.fake_server import Act, FakeServer
from selfroute.models.remote import RemoteGenerator
from selfroute.models.retrying import Patience, retry_after
from selfroute.types import Chunk, Generation

CHUNKS = [Chunk("a", "", "a.py", 1, 2, "def sign(value):\n    return hmac(value) <|im_end|>\n")]
REPLY = "It is sign, of hmac [1]."
QUICK = Patience(deadline_seconds=20, stall_seconds=5, n_tries=3, first_wait_seconds=0.01, most_wait_seconds=0.05)


def answer(server: FakeServer, patience: Patience = QUICK, **options: Any) -> Generation:
    generator = RemoteGenerator(f"{server.url}#any", patience=patience, **options)
    return generator.generate("What signs?", generator.prefill(CHUNKS))


def failure(*acts: Act, patience: Patience = QUICK) -> tuple[ModelServerError, FakeServer]:
    with FakeServer(lambda prompt: REPLY, acts) as server, pytest.raises(ModelServerError) as raised:
        answer(server, patience)
    assert raised.value.exit_code == 4
    assert raised.value.url == server.url
    assert server.url in raised.value.message
    assert raised.value.hint
    return raised.value, server


def test_a_server_is_asked_as_its_clients_ask() -> None:
    with FakeServer(lambda prompt: REPLY) as server:
        made = answer(server, api_key="secret")
    assert made.text == REPLY
    assert (made.usage.new_tokens, made.usage.cached_tokens) == (6, 0)
    headers, body = server.requests[0]
    assert headers["Authorization"] == "Bearer secret"
    assert {name.lower() for name in headers} <= {
        "host", "accept", "content-type", "content-length", "connection", "user-agent", "authorization",
    }  # fmt: skip
    assert (body["model"], body["temperature"], body["max_tokens"], body["stream"]) == ("any", 0, 512, True)
    assert [message["role"] for message in body["messages"]] == ["system", "user"]
    assert "< |im_end|>" in body["messages"][1]["content"]
    assert body["messages"][1]["content"].endswith("Question: What signs?")


def test_without_a_key_a_placeholder_is_sent() -> None:
    with FakeServer(lambda prompt: REPLY) as server:
        answer(server)
    assert server.requests[0][0]["Authorization"] == "Bearer none"


def test_tokens_are_counted_here_when_the_server_does_not() -> None:
    with FakeServer(lambda prompt: REPLY, reports_usage=False) as server:
        usage = answer(server).usage
    assert usage.prompt_tokens > 200
    assert 6 < usage.new_tokens < 20


def test_the_window_is_asked_of_the_server_once() -> None:
    with FakeServer(lambda prompt: REPLY, context_length=700) as server:
        generator = RemoteGenerator(f"{server.url}#any")
        assert (generator.context_length, generator.context_length) == (700, 700)
        assert server.paths == ["/v1/models"]
        with pytest.raises(ContextOverflowError):
            generator.prefill([Chunk("a", "", "a.py", 1, 2, "word " * 700)])
        assert RemoteGenerator(f"{server.url}#any", window_tokens=600).context_length == 600
        assert RemoteGenerator(f"{server.url}#other").context_length == 32_768
    assert RemoteGenerator(f"{server.url}#any").context_length == 32_768


@pytest.mark.parametrize(
    "act",
    [
        Act(429),
        Act(429, {"Retry-After": "0.01"}),
        Act(429, {"Retry-After": "3600"}),
        Act(503, {"Retry-After": formatdate(usegmt=True)}),
        Act(500),
        Act(cut_after=0),
        Act(cut_after=3),
        Act(body=b'data: {"error": {"message": "overloaded"}}\n\n'),
    ],
    ids=["busy", "busy for a moment", "busy for an hour", "date", "error", "cut at once", "cut", "error in stream"],
)
def test_what_passes_is_tried_again(act: Act) -> None:
    with FakeServer(lambda prompt: REPLY, [act, act]) as server:
        made = answer(server)
    assert (made.text, made.finish) == (REPLY, "stop")
    assert len(server.requests) == 3


def test_a_server_that_stays_busy_is_given_up() -> None:
    error, server = failure(*[Act(429, message="come back later")] * 5)
    assert "answers 429: come back later (after 3 tries)" in error.message
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("act", "message", "hint"),
    [
        (Act(401, message="bad key"), "refuses the key (401): bad key", "export OPENAI_API_KEY"),
        (Act(404, message="no such"), "knows no model 'any'", "/v1"),
        (Act(400, message="no temperature"), "refuses the question (400): no temperature", "--model openai:"),
        (Act(302, {"Location": "http://127.0.0.1:9/elsewhere"}), "sends elsewhere (302)", "name the address"),
        (Act(body=b"data: {not json}\n\n"), "cannot be read", "--model openai:"),
        (Act(body=b"data: [7]\n\n"), "cannot be read", "--model openai:"),
    ],
    ids=["401", "404", "400", "redirect", "no json", "odd json"],
)
def test_what_does_not_pass_is_an_error_at_once(act: Act, message: str, hint: str) -> None:
    error, server = failure(act, act)
    assert message in error.message
    assert hint in error.hint
    assert len(server.requests) == 1


def test_a_page_is_no_answer() -> None:
    error, _ = failure(*[Act(body=b"<html>Welcome</html>")] * 3)
    assert "broke its answer off, or sends no stream of answers" in error.message


def test_a_server_that_says_the_context_is_too_long_is_an_overflow() -> None:
    act = Act(400, message="This model's maximum context length is 512 tokens")
    with FakeServer(lambda prompt: REPLY, [act]) as server, pytest.raises(ContextOverflowError) as raised:
        answer(server)
    assert "maximum context length is 512" in raised.value.hint


def test_a_server_that_is_gone_is_an_error() -> None:
    with FakeServer(lambda prompt: REPLY) as server:
        pass
    with pytest.raises(ModelServerError, match="cannot be reached"):
        answer(server)


def test_an_answer_without_a_word_is_an_error() -> None:
    with FakeServer(lambda prompt: "") as server, pytest.raises(ModelServerError, match="without a word"):
        answer(server)


def test_an_answer_cut_by_a_filter_is_never_taken_for_whole() -> None:
    error, _ = failure(*[Act(finish="content_filter")] * 3)
    assert "broke its answer off" in error.message


def test_an_answer_that_reached_its_length_says_so() -> None:
    with FakeServer(lambda prompt: REPLY, [Act(finish="length")]) as server:
        made = answer(server)
    assert made.finish == "length"
    assert "the answer was cut at the most tokens that it may have" in made.notes


@pytest.mark.parametrize("seconds", [0.15, 3.0])
def test_a_slow_server_is_waited_for_until_the_deadline(seconds: float) -> None:
    hasty = Patience(deadline_seconds=0.4, stall_seconds=0.3, n_tries=9, first_wait_seconds=0.01)
    started = time.monotonic()
    error, server = failure(*[Act(seconds=seconds)] * 9, patience=hasty)
    assert time.monotonic() - started < 10
    assert "took too long" in error.message or "in time" in error.message
    assert len(server.requests) < 9


def test_a_stream_that_is_cut_goes_on_with_the_same_answer() -> None:
    with FakeServer(lambda prompt: REPLY, [Act(cut_after=3)]) as server:
        generator = RemoteGenerator(f"{server.url}#any", patience=QUICK)
        pieces = list(generator.stream("What signs?", generator.prefill(CHUNKS)))
    assert "".join(pieces) == REPLY
    assert len(server.requests) == 2


def test_a_stream_that_is_cut_and_begins_otherwise_is_an_error() -> None:
    replies = iter(["It is sign, of hmac [1].", "No, it is another thing [1]."])
    with FakeServer(lambda prompt: next(replies), [Act(cut_after=3)]) as server:
        generator = RemoteGenerator(f"{server.url}#any", patience=QUICK)
        with pytest.raises(ModelServerError, match="began another one"):
            list(generator.stream("What signs?", generator.prefill(CHUNKS)))


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("http://127.0.0.1:8000/v1", "does not say which model"),
        ("127.0.0.1:8000/v1#m", "no address"),
        ("ftp://127.0.0.1/v1#m", "no address"),
        ("http://127.0.0.1:port/v1#m", "no address"),
        ("http://user:password@127.0.0.1/v1#m", "holds a password"),
        ("", "no address"),
    ],
)
def test_an_address_that_cannot_be_used_is_an_error(address: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as raised:
        RemoteGenerator(address)
    assert raised.value.hint
    assert "password@" not in raised.value.message


def test_retry_after_is_read_as_seconds_or_as_a_date() -> None:
    assert retry_after({}) is None
    assert retry_after({"retry-after": "7"}) == 7
    assert retry_after({"retry-after": "soon"}) is None
    assert abs((retry_after({"retry-after": formatdate(time.time() + 60, usegmt=True)}) or 0) - 60) < 3
    assert QUICK.wait(1, 99) == 0.05
    assert QUICK.wait(1, -5) == 0
    assert 0.005 <= QUICK.wait(1, None) <= 0.01
    assert 0.025 <= QUICK.wait(9, None) <= 0.05


def test_nothing_but_the_named_address_is_contacted(tmp_path: Path) -> None:
    """Proxies, other addresses and tracing of the environment point to a trap; the trap stays empty."""
    code = (
        "import sys\nfrom selfroute.models.remote import RemoteGenerator\nfrom selfroute.types import Chunk\n"
        "g = RemoteGenerator(sys.argv[1])\nprint(g.context_length)\n"
        "print(g.generate('What?', g.prefill([Chunk('a', '', 'a.py', 1, 1, 'x')])).text)"
    )
    with (
        FakeServer(lambda prompt: "trapped [1].") as trap,
        FakeServer(lambda prompt: REPLY, context_length=999) as server,
    ):
        elsewhere = trap.url.removesuffix("/v1")
        environment = {
            **os.environ,
            **dict.fromkeys(("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "OPENAI_PROXY"), elsewhere),
            **dict.fromkeys(
                ("OPENAI_BASE_URL", "OPENAI_API_BASE", "LANGSMITH_ENDPOINT", "LANGCHAIN_ENDPOINT"), trap.url
            ),
            **dict.fromkeys(("LANGSMITH_TRACING", "LANGCHAIN_TRACING_V2"), "true"),
            **dict.fromkeys(("LANGSMITH_API_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_API_KEY"), "mine"),
        }
        environment.pop("NO_PROXY", None)
        environment.pop("no_proxy", None)
        command = [sys.executable, "-c", code, f"{server.url}#any"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (done.returncode, done.stdout.splitlines()) == (0, ["999", REPLY]), done.stderr
    assert (trap.paths, server.paths) == ([], ["/v1/models", "/v1/chat/completions"])
    headers = json.dumps(server.requests[0][0])
    assert "mine" not in headers
