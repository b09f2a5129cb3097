"""An OpenAI-compatible server on 127.0.0.1 whose answers, and failures, are given: for tests and examples.

with FakeServer(lambda prompt: "It is signed in sign_cookie [1].") as server:
    generator = RemoteGenerator(f"{server.url}#any")
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any

_CHUNK = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "fake"}


@dataclass(frozen=True, slots=True)
class Act:
    """How one request is answered, if not with the reply alone.

    status other than 200: that, with headers and a message. cut_after: words of the reply after which the connection is
    closed. seconds: waited before every word. body: sent as it is, instead of the reply.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    message: str = "no"
    cut_after: int | None = None
    seconds: float = 0.0
    body: bytes | None = None
    finish: str = "stop"


class FakeServer:
    """Answers /v1/chat/completions with reply(prompt), streamed word by word, and /v1/models with one model.

    acts: for the first requests, in order; afterwards every one is answered well. requests: (headers, body) of each.
    context_length: what /v1/models says, nothing when 0. reports_usage: whether the stream ends with an account.
    """

    def __init__(
        self,
        reply: Callable[[str], str],
        acts: Sequence[Act] = (),
        *,
        context_length: int = 0,
        reports_usage: bool = True,
    ) -> None:
        self.requests: list[tuple[dict[str, str], dict[str, Any]]] = []
        self.paths: list[str] = []
        self._reply, self._acts, self._lock = reply, list(acts), Lock()
        self._context_length, self._reports_usage = context_length, reports_usage
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True

    @property
    def url(self) -> str:
        """The address to name, without the model."""
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    def __enter__(self) -> FakeServer:
        Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _next(self, headers: Mapping[str, str], body: dict[str, Any]) -> Act:
        with self._lock:
            self.requests.append(({**headers}, body))
            return self._acts.pop(0) if self._acts else Act()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, format: str, *args: Any) -> None:
                pass

            def do_GET(self) -> None:
                fake.paths.append(self.path)
                entry = {"id": "any", "object": "model"}
                if fake._context_length:
                    entry["max_model_len"] = fake._context_length  # type: ignore[assignment]
                self._send(200, json.dumps({"object": "list", "data": [entry]}).encode(), "application/json")

            def do_POST(self) -> None:
                fake.paths.append(self.path)
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                act = fake._next(dict(self.headers.items()), body)
                try:
                    if act.status != 200:
                        error = json.dumps({"error": {"message": act.message}}).encode()
                        self._send(act.status, error, "application/json", act.headers)
                    elif act.body is not None:
                        self._send(200, act.body, "text/event-stream")
                    else:
                        self._stream(body, act)
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True

            def _stream(self, body: dict[str, Any], act: Act) -> None:
                prompt = "\n\n".join(str(message["content"]) for message in body["messages"])
                words = [word + " " for word in fake._reply(prompt).split(" ")]
                words[-1] = words[-1][:-1]
                self.send_response(200)
                self.send_header("Content-Type", "text/event-stream")
                self.send_header("Connection", "close")
                self.end_headers()
                self.close_connection = True
                for n, word in enumerate(words):
                    if act.cut_after is not None and n >= act.cut_after:
                        return
                    time.sleep(act.seconds)
                    self._event({"choices": [{"index": 0, "delta": {"content": word}, "finish_reason": None}]})
                self._event({"choices": [{"index": 0, "delta": {}, "finish_reason": act.finish}]})
                if fake._reports_usage and body.get("stream_options", {}).get("include_usage"):
                    n_prompt = len(prompt.split())
                    counts = {"prompt_tokens": n_prompt, "completion_tokens": len(words)}
                    self._event({"choices": [], "usage": {**counts, "total_tokens": n_prompt + len(words)}})
                self.wfile.write(b"data: [DONE]\n\n")

            def _event(self, value: Mapping[str, Any]) -> None:
                self.wfile.write(b"data: " + json.dumps({**_CHUNK, **value}).encode() + b"\n\n")
                self.wfile.flush()

            def _send(self, status: int, body: bytes, kind: str, headers: Mapping[str, str] | None = None) -> None:
                self.send_response(status)
                for name, value in {**(headers or {}), "Content-Type": kind, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

        return Handler
