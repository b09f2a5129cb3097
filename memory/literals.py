"""Whether a literal value is a secret, or a word, a placeholder, an expression, a path."""

from __future__ import annotations

import re

_PLACEHOLDER = re.compile(
    rb"your|change_?-?me|example|placeholder|x{4}|\*{3}|\.{3}|redacted|dummy|insert|replace|<[^>]*>|\$\{|\{\{|%\(|%s"
    rb"|todo|undefined|sample|secret_?here|fake|foobar|_here\b|not[_-]?set|removed|hidden|masked",
    re.I,
)
_EMPTY_WORDS = frozenset(
    b"none null true false nil undefined string str text password passwd passwort pass secret token required optional"
    b" default any bytes object number integer boolean varchar char field input hidden prompt disabled enabled unknown"
    b" empty basic bearer plain value username user admin-password change show".split()
)
_EXPRESSION = re.compile(
    rb"[$%{<\[(&!@*#]|[\w.:>?-]{0,80}[(\[{]|(?:self|this|cls|os|process|env|config|settings|args)\b"
)
_PATH = re.compile(rb"(?:\.{0,2}/|~/|[a-z]+://|[A-Z]:\\)?[\w.@-]+(?:/[\w.@<>{}*-]*)+\Z", re.I)
_FLIP = re.compile(rb"(?<=[A-Za-z])[0-9]|(?<=[0-9])[A-Za-z]")
_WORDS = re.compile(rb"[A-Za-z]{1,24}(?:[ _./:-]{1,2}[A-Za-z]{1,24}){0,20}\d{0,4}")
_PIECE = re.compile(rb"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[0-9]+")
_MEAN_PIECE = 2.8  # characters; names have four and more, random letters and digits about two
_UUID = re.compile(rb"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\Z")
_CRYPT = re.compile(rb"\$(?:2[abxy]|argon2\w*|[156y]|scrypt|pbkdf2[\w-]*)\$[\w./=,+$-]{20,}\Z")
_BLOB = re.compile(rb"(?=[A-Za-z/+]{0,64}[0-9])(?=[a-z0-9/+]{0,64}[A-Z])[A-Za-z0-9/+]{32,}={0,2}\Z")
_RUN_TOGETHER = re.compile(rb"[a-z]{16,}\Z")
_IDENTIFIER = re.compile(rb"[A-Za-z_][\w.]*\Z")
_SYMBOL = re.compile(rb"[!@#$%^&*+/=~?]")


def is_password(value: bytes, *, bare: bool = False) -> bool:
    """Whether what is given to a name that says password is one. bare: it stands without quotes, and may be code."""
    if len(value) < 4 or len(set(value)) < 3 or _PATH.match(value) or not value.isascii():
        return False
    if any(space in value for space in b" \t\n") or value.lower() in _EMPTY_WORDS:
        return False
    if _CRYPT.match(value):
        return True
    if _EXPRESSION.match(value) and (bare or value[:1] in b"${<%" or not looks_random(value)):
        return False
    if _is_placeholder(value):
        return False
    if not bare:
        return True
    if value.isdigit():
        return len(value) >= 6
    if _IDENTIFIER.match(value):
        return n_flips(value) >= 2 or (value[-1:].isdigit() and not _in_code(value))
    return looks_random(value) or _mixed(value)


def is_secret(value: bytes, *, bare: bool = False) -> bool:
    """Whether what is given to a name that says token, key or secret is one: words and expressions are not."""
    if len(value) < 8 or len(set(value)) < 5 or not value.isascii() or any(space in value for space in b" \t\n"):
        return False
    if _UUID.match(value):
        return True
    if value.translate(None, b"0123456789.,:_/-") == b"":  # a date, a version, an object's number
        return False
    if (
        _is_placeholder(value)
        or _EXPRESSION.match(value)
        or (_PATH.match(value) and not looks_random(value) and not _BLOB.match(value))
    ):
        return False
    if looks_random(value) or _RUN_TOGETHER.match(value):
        return True
    return not bare and not _WORDS.fullmatch(value) and _mixed(value)


def looks_random(value: bytes) -> bool:
    """Whether nobody would have named anything so: letters, digits and cases change every other place."""
    if len(value) < 8 or len(set(value)) < 6 or b" " in value or not value.isascii():
        return False
    if len(value) < 12:
        return n_flips(value) >= 3 or (bool(_SYMBOL.search(value)) and n_flips(value) >= 1 and not _PATH.match(value))
    pieces = _PIECE.findall(value)
    return len(pieces) >= 5 and sum(map(len, pieces)) < _MEAN_PIECE * len(pieces) and any(map(bytes.isdigit, pieces))


def n_flips(value: bytes) -> int:
    """How often a letter stands beside a digit."""
    return len(_FLIP.findall(value))


def _mixed(value: bytes) -> bool:
    """Letters and digits, or letters and a sign that no name holds."""
    letters = any(65 <= byte <= 90 or 97 <= byte <= 122 for byte in value)
    return letters and (any(48 <= byte <= 57 for byte in value) or bool(_SYMBOL.search(value)))


def _in_code(value: bytes) -> bool:
    return b"." in value or b"_" in value


def _is_placeholder(value: bytes) -> bool:
    """`your-key-here`, `<token>`: not when it is long and all of a piece, where such letters come up by chance."""
    if n_flips(value) >= 6 or (len(value) >= 32 and not any(byte in b"_-<>{}. " for byte in value)):
        return False
    return bool(_PLACEHOLDER.search(value))
