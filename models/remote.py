"""Any OpenAI-compatible server as a language model, through langchain-openai: `openai:http://127.0.0.1:8000/v1#NAME`.

Only the named address is talked to, and nothing is traced. Tokens are counted here, by the built-in WordPiece times
COUNT_FACTOR and never fewer than a token for four bytes: an estimate that errs on the large side for prose and code,
since the server's own tokenizer is not at hand. What an answer took is the server's own account where it gives one.
"""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from math import ceil
from typing import Any, Literal, TypeVar
from urllib.parse import urlsplit

from selfroute.deadline import Deadline
from selfroute.errors import (
    ConfigError,
    ContextOverflowError,
    MissingDependencyError,
    ModelServerError,
    OutOfTimeError,
    SelfRouteError,
)
from selfroute.models.base import Stream
from selfroute.models.metering import peak_bytes
from selfroute.models.prompt import Prompt, fresh_nonce, make_prompt
from selfroute.models.racing import raced
from selfroute.models.retrying import Patience, retry_after
from selfroute.models.tokenizer import wordpiece
from selfroute.models.wire import Late, make_client, named
from selfroute.models.writing import Draft, drain
from selfroute.types import Chunk, Generation, Usage

T = TypeVar("T")
PLACEHOLDER_KEY = "none"  # local servers want a key and do not look at it
DEFAULT_WINDOW = 32_768  # tokens, when the server does not say what its model can hold
COUNT_FACTOR = 1.3
MAX_CHARACTERS = 32  # of an answer, for each token that it may have
_ASK_SECONDS = 5.0  # for the server's list of models
_ASK_AGAIN_SECONDS = 60.0
_BEYOND_SECONDS = 1.0  # that a request may outlive a deadline, unheard
_WINDOW_KEYS = ("max_model_len", "context_length", "context_window", "max_context_length", "n_ctx", "n_ctx_train")
_EXAMPLE = "--model openai:http://127.0.0.1:8000/v1#NAME"


@dataclass(eq=False)
class Handle:
    """A context that goes with every question; the server may keep it between them."""

    chunks: tuple[Chunk, ...]
    prompt: Prompt
    n_tokens: int


class RemoteGenerator:
    """Answers of a server, streamed, at temperature 0."""

    def __init__(
        self,
        address: str,
        *,
        api_key: str = "",
        window_tokens: int = 0,
        nonce: str = "",
        patience: Patience | None = None,
    ) -> None:
        """address: URL#NAME, the URL as clients of the server take it, mostly ending in /v1. Contacts nothing yet.

        window_tokens: what the model can hold; asked of the server when 0, and DEFAULT_WINDOW if it does not say.
        Raises ConfigError for an address that cannot be used, MissingDependencyError without langchain-openai.
        """
        self._url, self._name = _parse(address)
        self._key = api_key or PLACEHOLDER_KEY
        self._window, self._patience = _Window(window_tokens), patience or Patience()
        self._deadline: Deadline | None = None
        self._fences = fresh_nonce((), nonce)
        try:
            import langchain_openai  # noqa: F401 (loaded now, so that its absence is known now)
        except ImportError as error:
            raise MissingDependencyError("an OpenAI-compatible model server", "langchain-openai", "openai") from error

    @property
    def context_length(self) -> int:
        """Tokens that prompt and answer may take together.

        Asks the server, unless it was given; again when the server did not say and _ASK_AGAIN_SECONDS have passed.
        """
        window = self._window
        if not window.tokens and time.monotonic() >= window.ask_after:
            window.ask_after = time.monotonic() + _ASK_AGAIN_SECONDS
            try:
                window.tokens = next(self._in_time(self._ask_window() for _ in range(1)))
            except OutOfTimeError:
                window.ask_after = 0.0
                raise
        return window.tokens or DEFAULT_WINDOW

    def until(self, deadline: Deadline) -> RemoteGenerator:
        """The same model, whose server is not waited for when the time is up."""
        hasty = copy.copy(self)
        seconds = min(self._patience.deadline_seconds, max(0.0, deadline.left) + _BEYOND_SECONDS)
        hasty._deadline, hasty._patience = deadline, replace(self._patience, deadline_seconds=seconds)
        return hasty

    def count_tokens(self, text: str) -> int:
        """Tokens of `text`, estimated."""
        n_bytes = len(text.encode("utf-8", "surrogatepass"))
        return max(ceil(COUNT_FACTOR * wordpiece().count(text)), ceil(n_bytes / 4))

    def prefill(self, chunks: Sequence[Chunk]) -> Handle:
        """Makes the prompt; sends nothing. Raises ContextOverflowError."""
        prompt = make_prompt(chunks, fresh_nonce(chunks, self._fences), escape=True)
        n_tokens = self.count_tokens(prompt.instructions) + self.count_tokens(prompt.context)
        if n_tokens >= self.context_length:
            raise ContextOverflowError(
                n_tokens, self.context_length, "read fewer chunks, or give --window-tokens what the server can hold"
            )
        return Handle(tuple(chunks), prompt, n_tokens)

    def generate(self, question: str, handle: object, *, max_new_tokens: int = 512) -> Generation:
        """The whole answer. Raises ModelServerError, and ContextOverflowError when the server says so."""
        return drain(self.stream(question, handle, max_new_tokens=max_new_tokens))

    def stream(self, question: str, handle: object, *, max_new_tokens: int = 512) -> Stream:
        """The same answer piece by piece.

        An answer that breaks off is asked for again; it goes on where the new one repeats what was given already, and
        is a ModelServerError otherwise.
        """
        if not isinstance(handle, Handle):
            raise TypeError("the handle is not one of this generator's prefill()")
        draft, reply = Draft(handle.chunks, handle.prompt.nonce), _Reply()
        yield from draft.write(self._ended(self._tries(question, handle, max_new_tokens, reply), reply))
        counted = handle.n_tokens + self.count_tokens(handle.prompt.ask(question))
        usage = Usage(
            prompt_tokens=reply.prompt_tokens or counted,
            cached_tokens=reply.cached_tokens,
            new_tokens=reply.new_tokens or self.count_tokens(reply.text),
            prefill_seconds=reply.first_seconds,
            decode_seconds=reply.last_seconds - reply.first_seconds,
            peak_bytes=peak_bytes(),
        )
        return draft.generation(usage, reply.finish or "stop")

    def _ended(self, pieces: Iterator[str], reply: _Reply) -> Iterator[str]:
        """The pieces that come in time. Raises OutOfTimeError when none does."""
        try:
            yield from self._in_time(pieces)
        except OutOfTimeError:
            if not reply.text:
                raise
            reply.finish = "length"

    def _in_time(self, items: Iterator[T]) -> Iterator[T]:
        return items if self._deadline is None else raced(items, self._deadline)

    def _tries(self, question: str, handle: Handle, max_new_tokens: int, reply: _Reply) -> Iterator[str]:
        """The pieces of the answer, over as many tries as it takes."""
        deadline = time.monotonic() + self._patience.deadline_seconds
        given = 0
        for n_tried in range(1, self._patience.n_tries + 1):
            try:
                reply.begin()
                for text in self._one(question, handle, max_new_tokens, reply, deadline):
                    if len(text) > given:
                        if not text.startswith(reply.given):
                            raise self._error("broke its answer off, and began another one when it was asked again")
                        yield text[given:]
                        given, reply.given = len(text), text
                return
            except SelfRouteError:
                raise
            except Exception as error:
                again = self._judge(error)
                wait = self._patience.wait(n_tried, again.after_seconds)
                late = time.monotonic() + wait >= deadline
                if late or n_tried == self._patience.n_tries:
                    tried = f"after {n_tried} tries" if n_tried > 1 else "at the first try"
                    why = f"; {self._patience.deadline_seconds:g} s were up" if late else ""
                    raise self._error(f"{again.what} ({tried}{why})") from error
                time.sleep(wait)

    def _one(self, question: str, handle: Handle, max_new_tokens: int, reply: _Reply, deadline: float) -> Iterator[str]:
        """The text so far, with every piece that comes. Raises whatever the client does, and _Broken."""
        from langchain_core.messages import HumanMessage, SystemMessage
        from langchain_openai.chat_models.base import BaseChatOpenAI
        from pydantic import SecretStr

        client = make_client(self._url, self._key, deadline=deadline, stall_seconds=self._patience.stall_seconds)
        with closing(client):
            chat = BaseChatOpenAI(
                model=self._name,
                base_url=self._url,
                api_key=SecretStr(self._key),
                http_client=client,
                async_client=client,  # never used; given so that none is made from the environment
                openai_proxy=None,
                temperature=0,
                max_retries=0,
                timeout=client.timeout,
                stream_usage=True,
                use_responses_api=False,
                output_version=None,
                profile={},
            )
            messages = [
                SystemMessage(handle.prompt.instructions),
                HumanMessage(handle.prompt.context + handle.prompt.ask(question)),
            ]
            # _stream and not stream: the latter also runs callbacks, which the environment can make send traces.
            for chunk in chat._stream(messages, max_tokens=max_new_tokens):
                if reply.add(chunk, max_new_tokens * MAX_CHARACTERS):
                    yield reply.text
                if reply.finish == "length" and len(reply.text) > max_new_tokens * MAX_CHARACTERS:
                    return
        if not reply.finish:
            raise _Broken("" if reply.text else ", or sends no stream of answers")
        if not reply.text.strip():
            raise self._error(f"answered without a word (it gives as its reason {reply.finish!r})")

    def _judge(self, error: Exception) -> _Again:
        """What can be tried again. Raises ModelServerError or ContextOverflowError for what cannot."""
        import openai

        if isinstance(error, openai.APIStatusError):
            status, said = error.status_code, _said(error)
            if status in (408, 425, 429) or status >= 500:
                return _Again(f"answers {status}: {said}", retry_after(error.response.headers))
            if status in (400, 413, 422) and ("context" in said.lower() or "too long" in said.lower()):
                hint = f"the server says: {said}; give --window-tokens what it can hold"
                raise ContextOverflowError(self.context_length, self.context_length, hint) from error
            raise self._refused(status, said) from error
        if named(error, "Late"):
            raise self._error("took too long, or answered too much", _late_hint(error)) from error
        if isinstance(error, _Broken | openai.APIConnectionError) or named(error, "TransportError"):
            return _Again(f"broke its answer off{error}" if isinstance(error, _Broken) else _unreachable(error), None)
        if isinstance(error, openai.APIError) and not named(error, "APIResponseValidationError"):
            return _Again(f"reports an error: {_said(error)}", None)
        raise self._error(f"gives an answer that cannot be read: {type(error).__name__}") from error

    def _refused(self, status: int, said: str) -> ModelServerError:
        if status in (401, 403):
            return self._error(f"refuses the key ({status}): {said}", "export OPENAI_API_KEY=...")
        if status == 404:
            what = f"knows no model {self._name!r}, or nothing is at this address (404): {said}"
            return self._error(what, "the address mostly ends in /v1, and the model's name stands behind the #")
        if 300 <= status < 400:
            return self._error(f"sends elsewhere ({status}), which is not followed", "name the address it sends to")
        return self._error(f"refuses the question ({status}): {said}")

    def _error(self, what: str, hint: str = "") -> ModelServerError:
        return ModelServerError(self._url, what, hint or f"check that it runs and what it logs: {_EXAMPLE}")

    def _ask_window(self) -> int:
        """What the server says that the model can hold; 0 when it does not say or cannot be reached now."""
        deadline = time.monotonic() + _ASK_SECONDS
        client = make_client(self._url, self._key, deadline=deadline, stall_seconds=_ASK_SECONDS)
        try:
            with closing(client):
                found = client.get(f"{self._url}/models").json()["data"]
            entry = next(entry for entry in found if entry["id"] == self._name)
            for fields in (entry, entry.get("meta") or {}):
                for key in _WINDOW_KEYS:
                    if isinstance(fields.get(key), int) and fields[key] > 0:
                        return int(fields[key])
        except Exception:  # it need not have such a list; what is wrong with it shows when it is asked
            pass
        return 0


@dataclass
class _Window:
    """What the model can hold, 0 while that is not known; ask_after: on the monotonic clock."""

    tokens: int
    ask_after: float = 0.0


class _Broken(Exception):
    """The stream ended before the answer did."""


@dataclass(frozen=True, slots=True)
class _Again:
    """Why the server is asked again, and when it wants to be."""

    what: str
    after_seconds: float | None


@dataclass
class _Reply:
    """What came of the answer so far. given: what was given on already, in this try or an earlier one."""

    text: str = ""
    given: str = ""
    finish: Literal["", "stop", "length"] = ""
    prompt_tokens: int = 0
    cached_tokens: int = 0
    new_tokens: int = 0
    first_seconds: float = 0.0
    last_seconds: float = 0.0
    started: float = 0.0

    def begin(self) -> None:
        """A new try: nothing has come yet."""
        self.text, self.finish = "", ""
        self.started = self.started or time.perf_counter()

    def add(self, chunk: Any, most: int) -> bool:
        """Takes a piece in; whether it brought text. Raises _Broken for an answer that the server cuts."""
        self.last_seconds = time.perf_counter() - self.started
        usage = chunk.message.usage_metadata
        if usage:
            self.prompt_tokens, self.new_tokens = usage["input_tokens"], usage["output_tokens"]
            self.cached_tokens = (usage.get("input_token_details") or {}).get("cache_read") or 0
        reason = (chunk.generation_info or {}).get("finish_reason")
        if reason in ("stop", "length", "eos"):
            self.finish = "length" if reason == "length" else "stop"
        elif reason:
            raise _Broken(f" ({reason})")
        text = chunk.text
        if text and not self.text:
            self.first_seconds = self.last_seconds
        self.text += text
        if len(self.text) > most:
            self.finish = "length"
        return bool(text)


def _parse(address: str) -> tuple[str, str]:
    """(URL without a final slash, model's name). Raises ConfigError."""
    try:
        parts = urlsplit(address)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        usable = False
    if not usable or parts.query:
        raise ConfigError(f"{address!r} is no address of a model server", _EXAMPLE)
    if parts.username or parts.password:
        raise ConfigError("the address of a model server holds a password", "export OPENAI_API_KEY=... instead")
    if not parts.fragment:
        raise ConfigError(f"{address!r} does not say which model", _EXAMPLE)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    port = "" if parts.port in (None, {"http": 80, "https": 443}[parts.scheme]) else f":{parts.port}"
    return f"{parts.scheme}://{host}{port}{parts.path.rstrip('/')}", parts.fragment


def _said(error: Any) -> str:
    """What the server said, in one short line."""
    body = getattr(error, "body", None)
    said = body.get("message") if isinstance(body, dict) else None
    text = said if isinstance(said, str) else json.dumps(body) if body else str(getattr(error, "message", error))
    return " ".join(text.split())[:200]


def _unreachable(error: Exception) -> str:
    if named(error, "TimeoutException") or named(error, "APITimeoutError"):
        return "does not answer in time"
    if named(error, "ConnectError"):
        return "cannot be reached"
    return "broke the connection off"


def _late_hint(error: Exception) -> str:
    seen: BaseException | None = error
    while seen is not None and not isinstance(seen, Late):
        seen = seen.__cause__ or seen.__context__
    return f"{seen}" if seen is not None else ""
