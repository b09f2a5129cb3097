"""A file put in its place at once or not at all."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from selfroute.errors import ConfigError


def write(path: Path, content: str | bytes, hint: str = "give another folder: --out DIR") -> None:
    """Replaces the file, flushed to the disk first; what was begun is taken away when that fails.

    Raises ConfigError with the hint when it cannot be written.
    """
    scratch = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    data = content.encode("utf-8", "replace") if isinstance(content, str) else content
    try:
        with scratch.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(path)
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}", hint) from error
    finally:
        with suppress(OSError):
            scratch.unlink(missing_ok=True)
