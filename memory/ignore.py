"""Ignore files, as git reads .gitignore: what their patterns say of one file or folder, and which of them have a say.

Patterns are asked about an entry itself, never about what lies below it: the walk does not enter a folder that is
ignored, so nothing there can be re-included, as in git.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from selfroute.memory.globs import glob_regex
from selfroute.memory.paths import printable

GITIGNORE = ".gitignore"
MAX_RULES_BYTES = 1_000_000  # a larger file of patterns is no file of patterns

_GLOB = re.compile(r"[*?\[\\]")


@dataclass(frozen=True, slots=True)
class Pattern:
    """One line of an ignore file. by_name: it has no inner slash, so it is asked about the name alone, at any depth."""

    glob: str
    negated: bool
    dir_only: bool
    by_name: bool

    @classmethod
    def parse(cls, line: str) -> Pattern | None:
        """The pattern of a line, or None for a blank one or a comment."""
        if line.startswith("#"):
            return None
        line = _without_trailing_spaces(line)
        negated = line.startswith("!")
        glob = line[negated:]
        dir_only = glob.endswith("/")
        glob = glob[: len(glob) - dir_only]
        by_name = "/" not in glob
        glob = glob.removeprefix("/")
        return cls(glob, negated, dir_only, by_name) if glob else None


class _Globs:
    """Many globs as one question: may any of them match? Literal names and `*.suffix` are answered without a regex."""

    __slots__ = ("_literals", "_regex", "_suffixes")

    def __init__(self, globs: Iterable[str]) -> None:
        literals, suffixes, regexes = [], [], []
        for glob in globs:
            if not _GLOB.search(glob):
                literals.append(glob)
            elif glob[0] == "*" and "/" not in glob and not _GLOB.search(glob, 1):
                suffixes.append(glob[1:])
            elif (regex := glob_regex(glob)) is not None:
                regexes.append(f"(?:{regex})")
        self._literals = frozenset(literals)
        self._suffixes = tuple(suffixes)
        self._regex = re.compile("|".join(regexes), re.DOTALL) if regexes else None

    def may_match(self, text: str) -> bool:
        return (
            text in self._literals
            or text.endswith(self._suffixes)
            or (self._regex is not None and self._regex.fullmatch(text) is not None)
        )


class Patterns:
    """The patterns of one file, the last that matches an entry deciding."""

    def __init__(self, patterns: Iterable[Pattern]) -> None:
        self._latest_first = tuple(reversed(tuple(patterns)))
        self._names = _Globs(pattern.glob for pattern in self._latest_first if pattern.by_name)
        paths = [pattern.glob for pattern in self._latest_first if not pattern.by_name]
        self._paths = _Globs(paths) if paths else None

    def __bool__(self) -> bool:
        return bool(self._latest_first)

    def decide(self, path: str, name: str, is_dir: bool, cut: int = 0) -> bool | None:
        """True to ignore, False to re-include, None when none matches. path[cut:] is from the patterns' folder."""
        if self._paths is not None:
            path = path[cut:]
        if not (self._names.may_match(name) or (self._paths is not None and self._paths.may_match(path))):
            return None
        for pattern in self._latest_first:
            if (is_dir or not pattern.dir_only) and _matches(pattern.glob, name if pattern.by_name else path):
                return not pattern.negated
        return None


@dataclass(frozen=True, slots=True)
class Rules:
    """The patterns of one file. source: how a reason names it. cut: length of its folder's path with the last slash."""

    patterns: Patterns
    source: str
    cut: int


def decide(chain: Iterable[Rules], path: str, name: str, is_dir: bool) -> tuple[bool | None, str]:
    """What the first rules of the chain that say anything say, and their source. path: as the cuts count it."""
    for rules in chain:
        ignored = rules.patterns.decide(path, name, is_dir, rules.cut)
        if ignored is not None:
            return ignored, rules.source
    return None, ""


@lru_cache(maxsize=256)
def parse(content: bytes) -> Patterns:
    """The patterns of a file's bytes."""
    lines = os.fsdecode(content.removeprefix(b"\xef\xbb\xbf")).split("\n")
    parsed = (Pattern.parse(line.removesuffix("\r")) for line in lines)
    return Patterns(pattern for pattern in parsed if pattern is not None)


def around(root: Path) -> tuple[str, tuple[Rules, ...]]:
    """The path of root in the git work tree around it, "" or with a last slash, and the rules from above root.

    Those do not hold when they ignore root itself: who names such a folder wants what is in it.
    """
    work_tree = next((f for f in (root, *root.parents) if os.path.exists(f / ".git")), root)  # noqa: PTH110 (may raise)
    parts = root.relative_to(work_tree).parts
    chain = excludes(f"{work_tree}/", "")
    path = ""
    for n_up, part in zip(range(len(parts), 0, -1), parts, strict=True):
        chain = with_file(chain, f"{work_tree}/{path}", GITIGNORE, path, source="../" * n_up + GITIGNORE)
        if decide(chain, path + part, part, is_dir=True)[0]:
            return "", ()
        path += f"{part}/"
    return path, chain


def with_file(chain: tuple[Rules, ...], folder: str, name: str, path: str, *, source: str) -> tuple[Rules, ...]:
    """The chain with the rules of one more file before it. folder: on disk; path: the same as the cuts count it."""
    patterns = _read_patterns(folder + name)
    return (Rules(patterns, printable(source), len(path)), *chain) if patterns else chain


def excludes(work_tree: str, path: str) -> tuple[Rules, ...]:
    """The rules of a work tree's .git/info/exclude. work_tree: on disk, with a last slash; path: as cuts count it."""
    git = work_tree + ".git"
    try:
        if not os.path.isdir(git):  # noqa: PTH112 (names may be no text; they are joined as they are)
            # A worktree or submodule: a file that names its folder, which may name the one that it shares with others.
            git = os.path.join(work_tree, _first_line(git).removeprefix("gitdir:").strip())  # noqa: PTH118
        if os.path.exists(f"{git}/commondir"):  # noqa: PTH110
            git = os.path.join(git, _first_line(f"{git}/commondir"))  # noqa: PTH118
    except OSError:
        return ()
    return with_file((), f"{git}/info/", "exclude", path, source=".git/info/exclude")


def _read_patterns(path: str) -> Patterns:
    """The patterns of a file; none when it is a link, as git has it, or cannot be read."""
    try:
        return parse(head(path, MAX_RULES_BYTES))
    except OSError:
        return parse(b"")


def _first_line(path: str) -> str:
    return os.fsdecode(head(path, 4_096).partition(b"\n")[0])


def head(path: str, n_bytes: int) -> bytes:
    """The first n_bytes of a file that is no link; never waits for a pipe."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        return os.read(descriptor, n_bytes)
    finally:
        os.close(descriptor)


@lru_cache(maxsize=4096)
def _compiled(glob: str) -> re.Pattern[str] | None:
    regex = glob_regex(glob)
    return None if regex is None else re.compile(regex, re.DOTALL)


def _matches(glob: str, text: str) -> bool:
    if not _GLOB.search(glob):
        return glob == text
    compiled = _compiled(glob)
    return compiled is not None and compiled.fullmatch(text) is not None


def _without_trailing_spaces(line: str) -> str:
    """The line without the spaces at its end, but for one that a backslash keeps."""
    bare = line.rstrip(" ")
    n_backslashes = len(bare) - len(bare.rstrip("\\"))
    return bare + " " if n_backslashes % 2 and len(bare) < len(line) else bare
