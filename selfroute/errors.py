"""Every error that selfroute raises on purpose, and the exit code each one gives.

    SelfRouteError                 1
      ConfigError                  2   a value, key or option that cannot be used
        UnknownNameError           2   a name that no registry knows; carries the nearest one
      MissingDependencyError       2   an optional package, with the line that installs it
      CorpusError                  3   a path that is missing, unreadable, or holds nothing to index
      IndexMissingError            3
      IndexLockedError             3
      IndexCorruptError            3
      IndexVersionError            3   an index that a newer version of selfroute made
      DimensionError               3   vectors of another width than the store's
      ModelLoadError               4
      DeviceMemoryError            4   needed and free bytes, and the option that lowers the need
      ModelServerError             4   a model's server that is gone, refuses, or answers what cannot be used
      ContextOverflowError         5   more tokens than the route can hold
      LimitsError                  5   no route keeps within the question's limits
      OutOfTimeError               5   the time is up; a route that meets it says what it has

Raised where the fact is known, printed once, in selfroute.router.cli.main.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class SelfRouteError(Exception):
    """Says what went wrong in `message` and what can be typed next in `hint`."""

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class ConfigError(SelfRouteError):
    """A configuration value, key or option that cannot be used."""

    exit_code = 2


class UnknownNameError(ConfigError):
    """A name that is not among the known ones; the hint offers the nearest."""

    def __init__(self, what: str, name: str, known: Iterable[str]) -> None:
        self.what, self.name, self.known = what, name, tuple(sorted(known))
        near = difflib.get_close_matches(name, self.known, n=1, cutoff=0.5)
        self.nearest = near[0] if near else ""
        hint = f"did you mean {self.nearest!r}?" if near else ""
        super().__init__(f"unknown {what} {name!r}; known: {', '.join(self.known) or 'none'}", hint)


class MissingDependencyError(SelfRouteError):
    """A package is needed; the hint is the line that installs it: an extra, or for extra="" the package itself."""

    exit_code = 2

    def __init__(self, feature: str, package: str, extra: str = "") -> None:
        super().__init__(
            f"{feature} needs the package {package!r}, which is not installed",
            f"pip install 'selfroute[{extra}]'" if extra else f"pip install {package}",
        )


class CorpusError(SelfRouteError):
    """The corpus is missing, unreadable, or holds nothing that can be indexed."""

    exit_code = 3


class IndexMissingError(SelfRouteError):
    """There is no index where one was asked for."""

    exit_code = 3


class IndexLockedError(SelfRouteError):
    """Another process is writing the index and did not finish in time."""

    exit_code = 3


class IndexCorruptError(SelfRouteError):
    """The store cannot be read and cannot be mended without the user's word."""

    exit_code = 3


class IndexVersionError(SelfRouteError):
    """A newer version of selfroute made the index; this one neither reads it nor deletes it unasked."""

    exit_code = 3

    def __init__(self, directory: object, found: int, known: int, rebuild: str) -> None:
        super().__init__(
            f"the index in {directory} is of format {found}, which a newer selfroute made; this version knows {known}",
            f"use the newer version, or make the index anew: {rebuild}",
        )


class DimensionError(SelfRouteError):
    """Vectors of one width were offered to a store of another."""

    exit_code = 3

    def __init__(self, got: int, expected: int) -> None:
        super().__init__(
            f"vectors have {got} dimensions, the store has {expected}",
            "index again with one embedder: selfroute index --rebuild",
        )


class ModelLoadError(SelfRouteError):
    """A model's files are missing, altered, or of a kind that cannot be loaded."""

    exit_code = 4


class DeviceMemoryError(SelfRouteError):
    """The device lacks memory for what was asked. needed_bytes: 0 when only the attempt told that it is too much."""

    exit_code = 4

    def __init__(self, needed_bytes: int, free_bytes: int, option: str) -> None:
        self.needed_bytes, self.free_bytes = needed_bytes, free_bytes
        needs = f"needs {needed_bytes:,} bytes" if needed_bytes else "memory ran out"
        super().__init__(f"{needs}, {free_bytes:,} are free", option)


class ModelServerError(SelfRouteError):
    """A model's server cannot be reached, refuses, breaks off, or answers what cannot be used. Names its address."""

    exit_code = 4

    def __init__(self, url: str, what: str, hint: str = "") -> None:
        self.url = url
        super().__init__(f"the model server at {url} {what}", hint)


class ContextOverflowError(SelfRouteError):
    """More tokens than the route can hold; nothing was cut."""

    exit_code = 5

    def __init__(self, n_tokens: int, limit: int, hint: str = "") -> None:
        self.n_tokens, self.limit = n_tokens, limit
        super().__init__(f"{n_tokens:,} tokens do not fit the limit of {limit:,}", hint)


class LimitsError(SelfRouteError):
    """No route, or not the one that was asked for, keeps within the question's limits; nothing was read."""

    exit_code = 5


class OutOfTimeError(SelfRouteError):
    """The question's time is up, between two pieces of work."""

    exit_code = 5

    def __init__(self, message: str = "the time for this question is up") -> None:
        super().__init__(message, "give it more: --max-seconds")
