"""How a command ends, whatever happens in it: its exit code, and what went wrong in two lines, told once."""

from __future__ import annotations

import gc
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import typer

from selfroute.errors import SelfRouteError


def run(app: typer.Typer, arguments: Sequence[str]) -> int:
    """Runs a command and returns its exit code; prints what went wrong as `error:` and `hint:`."""
    gc.set_threshold(100_000)  # a short process that mostly loads: collecting meanwhile took a tenth of its time
    for stream in (sys.stdout, sys.stderr):
        if callable(mend := getattr(stream, "reconfigure", None)):
            mend(errors="backslashreplace")  # a file's name may hold what the terminal cannot show
    try:
        with _ending_on_sigterm():
            code = app(list(arguments), prog_name="selfroute", standalone_mode=False)
            sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except (KeyboardInterrupt, typer.Abort):
        return 130
    except _Terminated:
        return 143
    except (BrokenPipeError, SystemExit):  # typer ends the program on a closed pipe
        return _pipe_closed()
    except Exception as error:
        if "--debug" in arguments[: arguments.index("--") if "--" in arguments else None]:
            import traceback

            from selfroute.memory.masking import mask

            sys.stderr.write(mask(traceback.format_exc()))
        return _failed(error)


class _Terminated(BaseException):
    """SIGTERM came."""


@contextmanager
def _ending_on_sigterm() -> Iterator[None]:
    """SIGTERM ends a command as an interrupt does: what is open is closed, the writer's lock given back."""

    def end(number: int, frame: object) -> None:
        raise _Terminated

    try:
        before = signal.signal(signal.SIGTERM, end)
    except ValueError:  # not in the main thread, so not ours to say
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _failed(error: Exception) -> int:
    """Prints an error and what can be done about it, secrets masked; returns the exit code."""
    from selfroute.memory.masking import mask
    from selfroute.router.render import say
    from selfroute.router.usage import usage_error

    known = error if isinstance(error, SelfRouteError) else usage_error(error)
    if known is None:
        known = SelfRouteError(
            f"{type(error).__name__}: {error}", "run it again with --debug, and report what it shows"
        )
    say(mask(f"error: {known.message}"))
    if known.hint:
        say(mask(f"hint: {known.hint}"))
    return known.exit_code


def _pipe_closed() -> int:
    """The reader of our output went away, as `head` does: nothing is wrong, and nothing more can be said."""
    import os

    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 141
