"""File names as text that can be printed, and back: what is no UTF-8, or nothing to send to a terminal, as \\xNN."""

from __future__ import annotations

import os
import re

_ESCAPE = re.compile(rb"\\x([0-9a-f]{2})")


def printable(path: str) -> str:
    """The path with each byte that cannot be printed as \\xNN: `caf\\xe9.py`. path: as os.fsdecode gives it."""
    return path if path.isprintable() else "".join(map(_shown, path))


def raw_path(path: str) -> bytes:
    """The bytes that a printed path stands for, when none of its \\xNN stand in the file's name as they are."""
    return _ESCAPE.sub(lambda escape: bytes([int(escape[1], 16)]), os.fsencode(path))


def _shown(char: str) -> str:
    return char if char.isprintable() else "".join(f"\\x{byte:02x}" for byte in os.fsencode(char))
