"""A file's text as the index sees it: read once, from inside the root alone, decoded, split into documents, masked."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path

from selfroute.memory.base import Document, Skipped
from selfroute.memory.decoding import decode
from selfroute.memory.generated import why_no_source
from selfroute.memory.languages import detect_language
from selfroute.memory.masking import masked
from selfroute.memory.notebooks import cells, is_notebook, split_path
from selfroute.memory.paths import printable, raw_path
from selfroute.memory.secrets import is_secret_file, looks_like_private_key
from selfroute.memory.walk import MAX_FILE_BYTES, FileEntry, os_reason, too_large

_HEAD_BYTES = 65_536  # enough to tell a key from a source


@dataclass(frozen=True, slots=True)
class LoadedFile:
    """A file as it was read. content_hash: blake2b of its bytes, 128 bits, hex.

    size, mtime_ns: from before it was read, so that a change since then shows. n_masked: secrets that were masked.
    """

    content_hash: str
    documents: tuple[Document, ...]
    size: int
    mtime_ns: int
    n_masked: int = 0


def load(root: Path, entry: FileEntry, *, max_bytes: int | None = None) -> LoadedFile | Skipped:
    """The documents of a file that a walk found, or why it has none.

    max_bytes: None for the walk's default, or the entry's size when the walk allowed more. Never leaves root, never
    waits for a pipe, and reads max_bytes + 1 at most.
    """
    limit = max(entry.size, MAX_FILE_BYTES) if max_bytes is None else max_bytes
    try:
        data, status = _read(os.fsencode(root), entry.raw_path, limit)
    except OSError as error:
        return Skipped(entry.path, _not_read(error, limit))
    documents = _documents(entry.path, data)
    if isinstance(documents, str):
        return Skipped(entry.path, documents)
    shown = [_masked(document) for document in documents]
    return LoadedFile(
        blake2b(data, digest_size=16).hexdigest(),
        tuple(document for document, _ in shown),
        status.st_size,
        status.st_mtime_ns,
        sum(n for _, n in shown),
    )


def read_document(root: Path, path: str, *, max_bytes: int = MAX_FILE_BYTES) -> str | None:
    """The text of one document as it is now, its secrets masked: of `a.py`, or of the cell `nb.ipynb#cell-3`.

    None when there is none: gone, a secret, not text, too large, outside root (absolute paths and `..` are) or reached
    by a link.
    """
    file, cell = split_path(path)
    try:
        names = dict.fromkeys((os.fsencode(file), raw_path(file)))
    except UnicodeEncodeError:
        return None
    for name in names:
        shown = printable(os.fsdecode(name))
        if shown != file or is_secret_file(os.fsdecode(name)):
            continue
        try:
            data, _ = _read(os.fsencode(root), name, max_bytes)
        except OSError:
            continue
        documents = _documents(file, data)
        if not isinstance(documents, str):
            wanted = f"{file}#cell-{cell}" if cell else file
            return next((_masked(document)[0].text for document in documents if document.path == wanted), None)
    return None


def _masked(document: Document) -> tuple[Document, int]:
    """The document as it is given to anyone, its secrets masked, and how many those were."""
    text, n_masked = masked(document.text)
    return (replace(document, text=text) if n_masked else document), n_masked


def _documents(path: str, data: bytes) -> tuple[Document, ...] | str:
    """The documents of a file's bytes, or the reason why there are none."""
    if looks_like_private_key(data[:_HEAD_BYTES]):
        return "private key or certificate"
    language = detect_language(path)
    text = decode(data, language)
    if text is None:
        return "binary"
    if not text.strip("\ufeff \t\r\n\v\f"):
        return "empty"
    if b"\0" in data[:_HEAD_BYTES] and looks_like_private_key(text[:_HEAD_BYTES].encode("utf-8", "replace")):
        return "private key or certificate"
    if is_notebook(path):
        documents = cells(path, text)
        return "not a notebook" if documents is None else documents or "empty"
    if not language and text.startswith(("#!", "\ufeff#!")):
        language = detect_language(path, text[:200].split("\n", 1)[0])
    return why_no_source(text, language) or (Document(path, text, language),)


def _read(root: bytes, name: bytes, limit: int) -> tuple[bytes, os.stat_result]:
    """The bytes of a regular file below root and its status from before. Raises OSError, EFBIG above the limit."""
    parts = name.split(b"/")
    if not all(part not in (b"", b".", b"..") for part in parts) or b"\0" in name:
        raise OSError(errno.EXDEV, "outside the folder")
    descriptor = _open_beneath(root, parts)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "not a file")
        if status.st_size > limit:
            raise OSError(errno.EFBIG, "too large")
        data = os.read(descriptor, status.st_size + 1)
        while len(data) != status.st_size and len(data) <= limit:  # grew, or came in pieces
            more = os.read(descriptor, limit + 1 - len(data))
            if not more:
                break
            data += more
        if len(data) > limit:
            raise OSError(errno.EFBIG, "too large")
        return data, status
    finally:
        os.close(descriptor)


def _open_beneath(root: bytes, parts: Sequence[bytes]) -> int:
    """A descriptor of root/parts that no link can lead elsewhere: each part is opened in the one before, no links."""
    folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in parts[:-1]:
            below = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
            os.close(folder)
            folder = below
        return os.open(parts[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    finally:
        os.close(folder)


def _not_read(error: OSError, limit: int) -> str:
    if error.errno == errno.EFBIG:
        return too_large(limit)
    if error.errno in (errno.ELOOP, errno.ENOTDIR):
        return "became a link"
    return os_reason(error)
