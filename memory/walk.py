"""Which files of a folder are the corpus, and why each of the others is not. Contents are not read.

The first of these that speaks decides. Secrets are never taken. `.selfrouteignore` (nearest folder first) ignores or,
with `!`, takes back. `.gitignore` (nearest first, inside a work tree or not) and `.git/info/exclude` ignore as git
would. Then what is clutter by its name or its marks is left out. A folder that is left out is one entry, its path
ending in "/", and nothing below it is looked at.

Links are never followed: what one points to inside the root is found there by itself. The user's own global ignore file
does not count, nor does it count that git tracks a file which a pattern ignores.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from operator import attrgetter
from pathlib import Path

from selfroute.errors import CorpusError
from selfroute.memory import clutter, ignore
from selfroute.memory.base import Progress, Skipped
from selfroute.memory.ignore import Rules
from selfroute.memory.paths import printable
from selfroute.memory.secrets import is_secret_file

MAX_FILE_BYTES = 1_000_000
SELFROUTEIGNORE = ".selfrouteignore"
OWN_FOLDER = ".selfroute"  # at the root; not even worth a word among what was skipped

_PROGRESS_EVERY = 1_000  # files
_SPECIAL = (
    (stat.S_ISFIFO, "named pipe"),
    (stat.S_ISSOCK, "socket"),
    (stat.S_ISCHR, "device"),
    (stat.S_ISBLK, "device"),
)


@dataclass(frozen=True, slots=True)
class FileEntry:
    """A file to index. path: printable, relative to the root, POSIX. raw_path: the bytes of that path on disk."""

    path: str
    raw_path: bytes
    size: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Walk:
    """What a walk found, both by path."""

    files: tuple[FileEntry, ...]
    skipped: tuple[Skipped, ...]


def walk(root: Path, *, max_bytes: int = MAX_FILE_BYTES, progress: Progress | None = None) -> Walk:
    """The files below root, and what was left out and why; names and sizes are looked at, contents are not.

    progress is called with ("walk", files so far, 0). Raises CorpusError when root is no folder or cannot be read.
    """
    root = checked_root(root)
    above, rules = ignore.around(root)
    found = _Found(os.fspath(root), above, max_bytes)
    todo = [_Folder("", (), rules)]
    shown = 0
    while todo:
        todo += _enter(todo.pop(), found)
        if progress is not None and len(found.files) >= shown + _PROGRESS_EVERY:
            shown = len(found.files)
            progress("walk", shown, 0)
    return Walk(_one_per_path(found), tuple(sorted(found.skipped, key=lambda skip: skip.path)))


def checked_root(root: Path) -> Path:
    """The folder with all links in its path resolved. Raises CorpusError."""
    try:
        resolved = Path(root).resolve(strict=True)
        with os.scandir(resolved):
            return resolved
    except FileNotFoundError:
        nearest = next((p for p in Path(root).absolute().parents if p.is_dir()), Path("/"))
        raise CorpusError(f"no such folder: {root}", f"ls {nearest}") from None
    except NotADirectoryError:
        raise CorpusError(
            f"{root} is a file, and a corpus is a folder", f"selfroute index {Path(root).parent}"
        ) from None
    except PermissionError:
        raise CorpusError(f"no permission to read {root}", f"ls -ld {root}") from None
    except (OSError, RuntimeError) as error:  # a circle of links is the one or the other, by the version of Python
        raise CorpusError(
            f"cannot read {root}: {getattr(error, 'strerror', None) or error}", f"ls -ld {root}"
        ) from None


@dataclass(slots=True)
class _Found:
    """above: the path of the root in its work tree, from where rules count, "" or with a last slash."""

    root: str
    above: str
    max_bytes: int
    files: list[FileEntry] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)

    def skip(self, path: str, reason: str) -> None:
        self.skipped.append(Skipped(printable(path), reason))


@dataclass(frozen=True, slots=True)
class _Folder:
    """A folder to enter. path: "" or one that ends in "/"; ours, git: the rules that hold in it, nearest first."""

    path: str
    ours: tuple[Rules, ...]
    git: tuple[Rules, ...]
    wanted: bool = False  # taken back by name, so that marks inside it do not count


def _enter(folder: _Folder, found: _Found) -> list[_Folder]:
    """Sorts the entries of a folder into found; returns the folders in it that are to be entered."""
    at = f"{found.root}/{folder.path}"
    try:
        with os.scandir(at) as scan:
            entries = list(scan)
    except OSError as error:
        found.skip(folder.path, os_reason(error))
        return []
    names = {entry.name for entry in entries}
    if folder.path and not folder.wanted:
        name = folder.path[:-1].rpartition("/")[2]
        reason = clutter.marked_folder_reason(name, names)
        if not reason and "CACHEDIR.TAG" in names and _is_cache(at):
            reason = "cache"
        if reason:
            found.skip(folder.path, reason)
            return []
    ours, git = folder.ours, folder.git
    base = found.above + folder.path
    if ".git" in names and folder.path:  # a repository within: what is around it has no say there
        git = ignore.excludes(at, base)
    if ignore.GITIGNORE in names:
        git = ignore.with_file(git, at, ignore.GITIGNORE, base, source=folder.path + ignore.GITIGNORE)
    if SELFROUTEIGNORE in names:
        ours = ignore.with_file(ours, at, SELFROUTEIGNORE, base, source=folder.path + SELFROUTEIGNORE)

    below = []
    for entry in entries:
        name = entry.name
        path = folder.path + name
        is_dir = entry.is_dir(follow_symlinks=False)
        if path == OWN_FOLDER and is_dir:
            continue
        reason, wanted = _reason(found.above + path, name, is_dir, ours, git)
        if reason:
            found.skip(path + "/" if is_dir else path, reason)
        elif is_dir:
            below.append(_Folder(path + "/", ours, git, wanted))
        elif entry.is_symlink():
            found.skip(path, _link_reason(found.root, at + name))
        else:
            _take(entry, path, found)
    return below


def _reason(path: str, name: str, is_dir: bool, ours: Sequence[Rules], git: Sequence[Rules]) -> tuple[str, bool]:
    """Why an entry is left out, or "", and whether .selfrouteignore asked for it. path: as rules count it."""
    if is_dir:
        if name == ".git":
            return "version control", False
    elif secret := is_secret_file(path):
        return secret, False
    if ours:
        ignored, source = ignore.decide(ours, path, name, is_dir)
        if ignored is not None:
            return (f"ignored by {source}", False) if ignored else ("", True)
    if git:
        ignored, source = ignore.decide(git, path, name, is_dir)
        if ignored:
            return f"ignored by {source}", False
    return (clutter.folder_reason(name) if is_dir else clutter.file_reason(name)), False


def _take(entry: os.DirEntry[str], path: str, found: _Found) -> None:
    try:
        status = entry.stat(follow_symlinks=False)
    except OSError as error:
        found.skip(path, os_reason(error))
        return
    if not stat.S_ISREG(status.st_mode):
        found.skip(path, next((reason for test, reason in _SPECIAL if test(status.st_mode)), "not a file"))
    elif not status.st_size:
        found.skip(path, "empty")
    elif status.st_size > found.max_bytes:
        found.skip(path, too_large(found.max_bytes))
    else:
        found.files.append(FileEntry(printable(path), os.fsencode(path), status.st_size, status.st_mtime_ns))


def too_large(max_bytes: int) -> str:
    """The reason for leaving out a file of more than max_bytes."""
    return f"larger than {max_bytes:,} bytes"


def os_reason(error: OSError) -> str:
    """What the system said, in a few words."""
    if error.errno in (errno.EACCES, errno.EPERM):
        return "no permission"
    if error.errno == errno.ENOENT:
        return "vanished"
    return (error.strerror or "unreadable").lower()


def _link_reason(root: str, link: str) -> str:
    try:
        target = os.path.realpath(link, strict=True)
    except OSError:
        return "broken link"
    inside = target == root or target.startswith(root.rstrip("/") + "/")
    return f"link to {printable(os.path.relpath(target, root))}" if inside else "link that leaves the folder"


def _one_per_path(found: _Found) -> tuple[FileEntry, ...]:
    """The files by path; of several whose names print alike, the one whose name stands so on disk."""
    files = sorted(found.files, key=attrgetter("path"))
    if any(file.path == following.path for file, following in pairwise(files)):
        files.sort(key=lambda file: (file.path, file.raw_path != os.fsencode(file.path), file.raw_path))
    one: list[FileEntry] = []
    for file in files:
        if one and one[-1].path == file.path:
            found.skip(file.path, "its name prints like another's")
        else:
            one.append(file)
    return tuple(one)


def _is_cache(folder: str) -> bool:
    try:
        return ignore.head(f"{folder}CACHEDIR.TAG", len(clutter.CACHE_SIGNATURE)) == clutter.CACHE_SIGNATURE
    except OSError:
        return False
