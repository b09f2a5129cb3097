"""The HTTP client that a model server is talked to with: one address, no proxies, no redirects, an end to every answer.

What else the client libraries read from the environment (proxies, other addresses, organisations, headers) is undone
here: a request that does not go to the named address is not sent, and only the headers listed here are.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from time import monotonic
from typing import Any

MAX_BYTES = 64_000_000  # of one answer
_HEADERS = frozenset({"host", "accept", "content-type", "content-length", "connection", "user-agent"})


class Late(Exception):
    """The answer was not complete when its time was up, or was larger than any answer may be."""


def make_client(base_url: str, key: str, *, deadline: float, stall_seconds: float) -> Any:
    """A client of the library that `openai` works with, for one question.

    deadline: on the monotonic clock; an answer that is still coming then raises Late. stall_seconds: the longest wait
    for the next bytes.
    """
    import openai

    http: Any = import_module(openai.DefaultHttpxClient.__mro__[1].__module__.partition(".")[0])
    wait = max(0.05, min(stall_seconds, deadline - monotonic()))

    def guard(request: Any) -> None:
        if not f"{request.url}".startswith(f"{base_url}/"):
            raise Late(f"{request.url} is not below {base_url}")
        for name in [name for name in request.headers if name.lower() not in _HEADERS]:
            del request.headers[name]
        request.headers["Authorization"] = f"Bearer {key}"
        request.headers["User-Agent"] = "selfroute"

    transport = _bounded(http, deadline, http.HTTPTransport(verify=base_url.startswith("https"), trust_env=False))
    return http.Client(
        transport=transport,
        trust_env=False,
        follow_redirects=False,
        timeout=http.Timeout(wait, connect=min(wait, 10.0)),
        event_hooks={"request": [guard], "response": []},
    )


def _bounded(http: Any, deadline: float, inner: Any) -> Any:
    """A transport whose answers end at the deadline, and at MAX_BYTES."""

    class Stream(http.SyncByteStream):  # type: ignore[misc]
        def __init__(self, stream: Any) -> None:
            self._stream = stream

        def __iter__(self) -> Iterator[bytes]:
            n_bytes = 0
            for block in self._stream:
                n_bytes += len(block)
                if monotonic() > deadline:
                    raise Late("its time was up while it was still answering")
                if n_bytes > MAX_BYTES:
                    raise Late(f"its answer is larger than {MAX_BYTES:,} bytes")
                yield block

        def close(self) -> None:
            self._stream.close()

    class Transport(http.BaseTransport):  # type: ignore[misc]
        def handle_request(self, request: Any) -> Any:
            response = inner.handle_request(request)
            return http.Response(
                response.status_code,
                headers=response.headers,
                stream=Stream(response.stream),
                extensions=response.extensions,
            )

        def close(self) -> None:
            inner.close()

    return Transport()


def named(error: BaseException, name: str) -> bool:
    """Whether an error, or one that it was raised from, is of a class of this name, in whatever library."""
    seen: BaseException | None = error
    while seen is not None:
        if any(kind.__name__ == name for kind in type(seen).__mro__):
            return True
        seen = seen.__cause__ or seen.__context__
    return False
