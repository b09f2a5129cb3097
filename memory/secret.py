"""A word that only this user's processes know, so that files beside a corpus which they did not write are not believed.

It lies in the user's cache, never in a corpus: whoever brings a corpus along may bring files of an index, too.
"""

from __future__ import annotations

import os
import re
import secrets
from contextlib import suppress
from pathlib import Path

from selfroute.memory import location

FILE = "secret"
_WORD = re.compile(r"[0-9a-f]{64}")


def secret() -> str:
    """64 hexadecimal digits, made when there are none; "" where none can be kept."""
    path = location.user_cache() / FILE
    for _ in range(2):
        if found := _read(path):
            return found
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            _make(path)
    return _read(path)


def _read(path: Path) -> str:
    try:
        status = path.lstat()
        text = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""
    return text if status.st_uid == os.getuid() and _WORD.fullmatch(text) else ""


def _make(path: Path) -> None:
    """Another process may do the same: the first one's word stays."""
    scratch = path.with_name(f".{FILE}.{os.getpid()}.{secrets.token_hex(4)}")
    fd = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(fd, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(32))
            file.flush()
            os.fsync(file.fileno())
        if path.exists() and not _read(path):
            path.unlink()
        with suppress(FileExistsError):
            os.link(scratch, path)
    finally:
        scratch.unlink(missing_ok=True)
