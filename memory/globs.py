"""Globs of gitignore files as regexes, as git's wildmatch reads them."""

from __future__ import annotations

import re

_CLASSES = {
    "alnum": "0-9A-Za-z",
    "alpha": "A-Za-z",
    "blank": " \\t",
    "cntrl": "\\x00-\\x1f\\x7f",
    "digit": "0-9",
    "graph": "!-~",
    "lower": "a-z",
    "print": " -~",
    "punct": "!-/:-@\\[-`{-~",
    "space": "\\t-\\r ",
    "upper": "A-Z",
    "xdigit": "0-9A-Fa-f",
}


def glob_regex(glob: str) -> str | None:
    """The regex that matches, as a whole, what the glob does; None for a broken glob, which matches nothing.

    `?` and brackets stand for one character, where git counts bytes.
    """
    runs: list[tuple[str, list[str]]] = [("", [])]  # a star, and what follows it up to the next one
    at, end = 0, len(glob)
    while at < end:
        char = glob[at]
        at += 1
        if char == "*":
            start = at - 1
            while at < end and glob[at] == "*":
                at += 1
            whole_parts = at - start > 1 and glob[start - 1 : start] in ("", "/") and glob[at : at + 1] in ("", "/")
            if not whole_parts:
                star = "[^/]*"
            elif at == end:
                star = ".+"
            else:
                star = "(?:.*/)?"
                at += 1
            runs.append((star, []))
        elif char == "?":
            runs[-1][1].append("[^/]")
        elif char == "[":
            bracket = _bracket_regex(glob, at)
            if bracket is None:
                return None
            runs[-1][1].append(bracket[0])
            at = bracket[1]
        else:
            if char == "\\":
                char = glob[at : at + 1]
                at += 1
                if not char:
                    return None
            runs[-1][1].append(re.escape(char))
    return "".join(_run_regex(star, "".join(rest), is_last=n == len(runs) - 1) for n, (star, rest) in enumerate(runs))


def _run_regex(star: str, rest: str, is_last: bool) -> str:
    """A star and what follows it. The first place where that fits is as good as any when another star comes after it.

    Not trying the others keeps `*a*a*a*a*b` from taking for ever.
    """
    return f"(?>[^/]*?{rest})" if star == "[^/]*" and not is_last else star + rest


def _bracket_regex(glob: str, at: int) -> tuple[str, int] | None:
    """The regex of a bracket expression whose inside begins at `at`, and where it ends; None when it is broken."""
    negated = glob[at : at + 1] in ("!", "^")
    at += negated
    members: list[str] = []
    low = ""  # what a range would begin with
    first = True
    while first or glob[at : at + 1] != "]":
        first = False
        char = glob[at : at + 1]
        if glob.startswith("[:", at):
            name, closed, _ = glob[at + 2 :].partition(":]")
            if not closed or name not in _CLASSES:
                return None
            members.append(_CLASSES[name])
            at += len(name) + 4
            low = ""
            continue
        is_range = char == "-" and bool(low) and glob[at + 1 : at + 2] not in ("", "]")
        at += is_range
        if glob[at : at + 1] == "\\":
            at += 1
        char = glob[at : at + 1]
        if not char:
            return None
        if is_range:
            if low <= char:
                members.append(f"{re.escape(low)}-{re.escape(char)}")
            low = ""
        else:
            members.append(re.escape(char))
            low = char
        at += 1
    return f"(?!/)[{'^' * negated}{''.join(members)}]", at + 1
