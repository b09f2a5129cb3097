"""Text from bytes, in whatever encoding, or the finding that they are no text.

A UTF-8 byte order mark stays, as the first character: offsets in the text's UTF-8 form are then offsets in the file.
"""

from __future__ import annotations

import codecs
import re

_SAMPLE = 8_192  # bytes that are looked at where the whole would be slow
_CONTROL = bytes({*range(32), 127} - set(b"\t\n\v\f\r\b\x1b"))
_MAX_CONTROL_SHARE = 0.02  # random bytes hold 10%; logs and legacy texts hold a stray one

# What may hold no zero and few control characters; the rest shows by those.
_MAGIC = (
    b"%PDF-",
    b"\x7fELF",
    b"\x89PNG",
    b"\xff\xd8\xff",
    b"PK\x03\x04",
    b"\x1f\x8b",
    b"\xfd7zXZ",
    b"\x28\xb5\x2f\xfd",
)

# PEP 263: a comment in one of the first two lines.
_CODING = re.compile(rb"\A(?:[ \t\f]*(?:#[^\r\n]*)?\r?\n)?[ \t\f]*#[^\r\n]*?coding[:=][ \t]*([-\w.]+)")
# Codecs that Python knows and that no source is written in; some take hours over a megabyte.
_NOT_FOR_SOURCES = frozenset(("idna", "punycode", "undefined", "raw-unicode-escape", "unicode-escape", "utf-7"))


def decode(data: bytes, language: str = "") -> str | None:
    """The text of a file's bytes, newlines as they are; None when they are no text.

    In order: what a byte order mark says; UTF-16 that shows by its zeros; a coding line when the language is python;
    UTF-8; Latin-1.
    """
    if data.startswith(_MAGIC):
        return None
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return _wide(data, "utf-32" if data.startswith(codecs.BOM_UTF32_LE) else "utf-16")
    if b"\0" in data:
        codec = _utf16_by_zeros(data[:_SAMPLE])
        return _wide(data, codec) if codec else None
    text = None
    if language == "python" and b"coding" in data[:512] and not data.startswith(codecs.BOM_UTF8):
        text = _by_coding_line(data)
    if text is None:
        try:
            text = data.decode()
        except UnicodeDecodeError:
            text = data.decode("latin-1")
    return None if _is_binary(data[:_SAMPLE]) else text


def _is_binary(sample: bytes) -> bool:
    n_control = len(sample) - len(sample.translate(None, _CONTROL))
    return n_control > _MAX_CONTROL_SHARE * len(sample)


def _wide(data: bytes, codec: str) -> str | None:
    """UTF-16 or UTF-32, a damaged character replaced; None when it comes out as noise."""
    text = data.decode(codec, "replace")
    sample = text[:_SAMPLE]
    noise = sample.count("\ufffd") > 1 + _MAX_CONTROL_SHARE * len(sample)
    return None if noise or "\0" in text or _is_binary(sample.encode("utf-8", "replace")) else text


def _utf16_by_zeros(sample: bytes) -> str:
    """The UTF-16 that shows without a mark, or "": every other byte zero, as in Latin text, and hardly any else."""
    half = len(sample) // 2
    even, odd = sample[0::2].count(0), sample[1::2].count(0)
    if half and odd >= 0.4 * half and even <= 0.02 * half:
        return "utf-16-le"
    if half and even >= 0.4 * half and odd <= 0.02 * half:
        return "utf-16-be"
    return ""


def _by_coding_line(data: bytes) -> str | None:
    found = _CODING.match(data)
    if found is None:
        return None
    try:
        name = codecs.lookup(found[1].decode()).name
        line = data[: found.end()]
        if name in _NOT_FOR_SOURCES or line.decode(name) != line.decode(
            "latin-1"
        ):  # UTF-16 would not have been read so
            return None
        text = data.decode(name)  # LookupError for what is no text encoding
        text.encode()
    except (LookupError, ValueError):
        return None
    return text
