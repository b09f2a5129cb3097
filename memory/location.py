"""Where an index lives: `.selfroute` in the root of its corpus, a named folder, or the user's cache."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path

import platformdirs

from selfroute.errors import ConfigError, CorpusError
from selfroute.memory.walk import OWN_FOLDER as FOLDER
from selfroute.memory.walk import checked_root

_MARKS = {
    ".gitignore": "*\n",
    # https://bford.info/cachedir/ : backup programs leave such a folder out.
    "CACHEDIR.TAG": "Signature: 8a477f597d28d172789f06886806bc55\n# A cache of selfroute; it can be deleted.\n",
}


def resolve_root(root: str | Path) -> Path:
    """The folder as an absolute path without links. Raises CorpusError when it is missing, no folder or unreadable."""
    try:
        return checked_root(Path(root).expanduser())
    except (RuntimeError, ValueError) as error:  # a ~ without a home, a null character
        raise CorpusError(f"no such folder: {root!r} ({error})", "give the folder of the corpus: --path DIR") from error


def locate(root: Path, directory: Path | None = None) -> Path:
    """The folder that holds, or will hold, the index of a resolved root; creates nothing.

    An index in the tree is used where the tree can be written, and otherwise the user's cache, named after the root. So
    it is when the folder in the tree is a link: a corpus must not make us write outside of it.
    """
    if directory is not None:
        return Path(directory).expanduser().absolute()
    inside = root / FOLDER
    if not inside.is_symlink() and can_write(inside if os.path.isdir(inside) else root):  # noqa: PTH112 (False where it may not look)
        return inside
    key = blake2b(os.fsencode(root), digest_size=8).hexdigest()
    return user_cache() / f"{root.name[:60] or 'root'}-{key}"


def user_cache() -> Path:
    """selfroute's folder in the user's cache; in the temporary folder for a user without a home."""
    folder = Path(platformdirs.user_cache_dir("selfroute", appauthor=False))
    nearest = next((parent for parent in (folder, *folder.parents) if os.path.exists(parent)), None)  # noqa: PTH110 (False where it may not look)
    if folder.is_absolute() and nearest is not None and can_write(nearest):
        return folder
    return Path(tempfile.gettempdir()) / f"selfroute-{os.getuid()}"


def can_write(folder: Path) -> bool:
    """Whether files can be made in a folder that exists."""
    return os.access(folder, os.W_OK | os.X_OK)


def prepare(directory: Path) -> None:
    """Makes the folder and marks it as a cache that neither git nor backups keep.

    A folder that holds other things is used as it is: its own .gitignore is not ours to write.
    Raises ConfigError when it cannot be made or written, or belongs to another user.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        if directory.is_relative_to(tempfile.gettempdir()) and directory.stat().st_uid != os.getuid():
            raise PermissionError(f"{directory} belongs to another user")
        if not can_write(directory):
            raise PermissionError(f"{directory} cannot be written")
        names = {path.name for path in directory.iterdir()}
        if {
            name.removesuffix(".tmp") for name in names
        } <= _MARKS.keys():  # new, or marked in part when a run was cut short
            mark(directory, [name for name in _MARKS if name not in names])
    except OSError as error:
        raise ConfigError(
            f"no index can be kept in {directory}: {error}", "name another folder: --index-dir DIR"
        ) from error


def is_marked(directory: Path, root: Path) -> bool:
    """Whether the folder is one that selfroute made for itself, and so has its marks."""
    own = directory == root / FOLDER or directory.is_relative_to(user_cache())
    return own or any((directory / name).exists() for name in _MARKS)


def wrong_marks(directory: Path) -> list[str]:
    """The marks that are missing from a marked folder or are not what was written."""
    wrong = []
    for name, text in _MARKS.items():
        try:
            if (directory / name).read_bytes() != text.encode():
                wrong.append(name)
        except OSError:
            wrong.append(name)
    return wrong


def mark(directory: Path, names: Iterable[str]) -> None:
    """Writes the marks of these names, each whole or not at all; of two processes at once the other may be first."""
    for name in names:
        temporary = directory / f"{name}.tmp"
        temporary.unlink(missing_ok=True)
        with suppress(FileExistsError, FileNotFoundError):
            with temporary.open("x", encoding="utf-8") as file:
                file.write(_MARKS[name])
            temporary.replace(directory / name)
