"""Secrets inside ordinary text, replaced character for character by asterisks, so that every place in it stays true.

What is masked: tokens of known services by how they begin (tokens.py), private keys, signed JSON tokens, passwords in
URLs, and literal values given to a name that says secret (`password = "..."`, `api_key: ...`). A hash, an id or a test
vector under another name stays. Nothing here waits on a pattern for long: each place that may begin a secret is found
by a search for fixed bytes, and every pattern is bounded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from selfroute.memory.literals import is_password, is_secret, looks_random, n_flips
from selfroute.memory.tokens import AIRTABLE, BY_START, DOTTED, LEAD_BYTES, LEADS, MIN_RUN, TELEGRAM

MASK = b"*"
Span = tuple[int, int]


def mask(text: str) -> str:
    """The text with `*` for each character of a secret; its length, also in UTF-8, and its lines stay."""
    return masked(text)[0]


def masked(text: str) -> tuple[str, int]:
    """mask(text), and how many secrets there were."""
    data = text.encode("utf-8", "surrogatepass")
    spans = _merged([*_tokens(data), *_urls(data), *_blocks(data), *_named(data)])
    if not spans:
        return text, 0
    changed = bytearray(data)
    for start, end in spans:
        changed[start:end] = _stars(data[start:end])
    return changed.decode("utf-8", "surrogatepass"), len(spans)


def _stars(secret: bytes) -> bytes:
    """One `*` for each byte of ASCII that is no space; the rest of a text has nothing to do with a key."""
    return _VISIBLE.sub(MASK, secret)


def _merged(spans: list[Span]) -> list[Span]:
    merged: list[Span] = []
    for start, end in sorted(spans):
        if merged and start < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


# tokens of known services

_VISIBLE = re.compile(rb"[!-~\x80-\xff]")
_WORD = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"
_TO_RUNS = bytes(1 if byte in _WORD else 32 for byte in range(256))
_RUN = b"\x01" * MIN_RUN
_BACKSLASH, _PERCENT, _DASH, _JOINTS = ord("\\"), ord("%"), ord("-"), b".:/~$"
_JWT = re.compile(rb"eyJ[\w-]{8,2000}\.([\w-]{8,8000}(?:\.[\w-]{0,8000}){1,3})")
_SLASHED = tuple(map(re.compile, (rb"whsec_([\w/+=]{16,200})", rb"fm2_([\w/+=,-]{40,4000})")))  # no long run to find
_MAILCHIMP = re.compile(rb"[0-9a-f]{32}-us\d{1,2}")
_BOT = re.compile(rb"[MNO][\w-]{22,27}\.[\w-]{6,7}\.[\w-]{27,45}(?![\w-])")


def _tokens(data: bytes) -> Iterator[Span]:
    runs = data.translate(_TO_RUNS)
    start = runs.find(_RUN)
    while start >= 0:
        end = runs.find(b" ", start)
        end = len(data) if end < 0 else end
        at = start
        if start:
            before = data[start - 1]
            # An escape sequence leaves a letter, a percent escape two, before what it stands for: `\nghp_`, `%3Dghp_`.
            if before == _BACKSLASH and data[start] in b"nrt":
                at += 1
            elif before == _PERCENT:
                at += 2
            elif before in _JOINTS:
                yield from _dotted(data, start, end)
        while data[at] == _DASH and at < end - 1:  # --ghp_
            at += 1
        for n_shown, pattern in BY_START.get(data[at : at + 2], ()):
            if found := pattern.match(data, at):
                yield at + n_shown, found.end()
        if data[end : end + 1] == b".":
            if data.startswith(b"eyJ", at) and (found := _JWT.match(data, at)):
                yield found.span(1)
            elif data[at] in b"MNO" and (found := _BOT.match(data, at)):
                yield found.span()
        elif data.find(b"-us", end - 5, end) >= 0 and _MAILCHIMP.fullmatch(data, start, end):
            yield start, end
        start = runs.find(_RUN, end)
    for pattern in _SLASHED:
        yield from (found.span(1) for found in pattern.finditer(data))


def _dotted(data: bytes, start: int, end: int) -> Iterator[Span]:
    """Tokens whose first long run is data[start:end]."""
    if data.endswith(LEADS, max(0, start - 6), start):
        for pattern in DOTTED:
            for found in pattern.finditer(data, max(0, start - LEAD_BYTES), min(len(data), end + 200)):
                yield found.span(1)
    elif end - start == 64:
        if airtable := AIRTABLE.match(data, max(0, start - 18)):
            yield airtable.span(1)
    elif end - start <= 40 and (bot := TELEGRAM.search(data, max(0, start - 11), min(len(data), end + 1))):
        yield bot.span(1)


# URLs

_USERINFO = re.compile(rb"://[^\s/?#@:\"'<>`\\]{0,200}:([^\s/?#\"'<>`\\]{1,400})@(?=[\w\[$%{(-])")
_SAS = re.compile(rb"://[^\s\"'<>`]{1,600}?[?&]sig=([\w%/+=-]{30,200})")
_HOOK = re.compile(
    rb"://(?:hooks\.slack(?:-gov)?\.com/(?:services|workflows|triggers)/([\w/+-]{20,200})"
    rb"|(?:\w{1,20}\.)?discord(?:app)?\.com/api/(?:v\d{1,2}/)?webhooks/\d{10,22}/([\w-]{40,100})"
    rb"|[\w.-]{1,80}webhook\.office\.com/webhookb2/([\w@/-]{40,300})"
    rb"|hooks\.zapier\.com/hooks/catch/([\w/-]{8,80})"
    rb"|[0-9a-f]{32}(?=@[\w.-]{1,80}sentry))"
)


def _urls(data: bytes) -> Iterator[Span]:
    may_be_signed = b"sig=" in data
    at = data.find(b"://")
    while at >= 0:
        if found := _USERINFO.match(data, at):
            if is_password(found[1]) or looks_random(found[1]):
                yield found.span(1)
        elif found := _HOOK.match(data, at):
            yield found.span(found.lastindex) if found.lastindex else (at + 3, found.end())
        elif may_be_signed and (found := _SAS.match(data, at)):
            yield found.span(1)
        at = data.find(b"://", at + 3)


# private keys

_BEGIN = re.compile(rb"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
_BASE64 = re.compile(rb"\\[nrt]|([A-Za-z0-9+/=]{1,4096})")
_LONG = re.compile(rb"[A-Za-z0-9+/=]{40}")
_NO_END = re.compile(rb"[A-Za-z0-9+/=\s\\\"'`,+]{1,20000}+")
_KEY_BYTES = 20_000
_HEADERS = 400  # bytes of headers that an armored key may have before its body


def _blocks(data: bytes) -> Iterator[Span]:
    at = data.find(b"-----BEGIN ")
    while at >= 0:
        begin = _BEGIN.match(data, at)
        at += 11
        if begin and _LONG.search(data, begin.end(), begin.end() + _HEADERS):
            end = data.find(b"-----", begin.end(), begin.end() + _KEY_BYTES)
            if end < 0 or not data.startswith(b"-----END", end):
                body = _NO_END.match(data, begin.end())
                end = body.end() if body else begin.end()
            yield from (found.span(1) for found in _BASE64.finditer(data, begin.end(), end) if found[1])
            at = max(at, end)
        at = data.find(b"-----BEGIN ", at)


# values of names that say secret

_SECRET, _PASSWORD, _WEAK = range(3)
_AFTER = (
    rb"(?:[_.-]?(?:value|val|string|str|text|hash|base64|b64|hex|prod|production|dev|test|staging|live|\d{1,3}))?"
    rb"(?![a-z0-9_-])"
)
_ANYWHERE = (b"",)
_KEY_OF = tuple(
    b"api app application access auth private signing sign encryption encrypt crypt cipher master account shared"
    b" license licence subscription service admin server storage deploy function host ssh hmac jwt aes consumer client"
    b" webhook write integration session cookie rsa pgp gpg secure security registration instrumentation ingestion"
    b" stripe twilio openai sendgrid aws gcp azure root wallet".split()
)
_PASS_OF = tuple(
    b"db user admin root smtp mail email ssh ftp mysql pg postgres redis sudo http proxy login auth".split()
)
# A name, and for each kind that it may be the words that may stand before it; none for a name that stands alone. Each
# name begins with fixed letters, for which the search of a pattern is as fast as one for bytes.
_NAMED: tuple[tuple[bytes, dict[int, tuple[bytes, ...]]], ...] = (
    (rb"pass(?:w(?:or)?d|phrase|code)s?", {_PASSWORD: _ANYWHERE}),
    (rb"pass(?=[\"'`]?\]?[ \t]{0,8}[:=])", {_PASSWORD: _PASS_OF, _SECRET: ()}),
    (rb"pwds?", {_PASSWORD: _ANYWHERE}),
    (rb"pw(?=[\"'`]?\]?[ \t]{0,8}[:=])", {_PASSWORD: (*_PASS_OF, b"my"), _SECRET: ()}),
    (rb"identified by", {_PASSWORD: _ANYWHERE}),
    (rb"secrets?(?:[_-]?(?:access)?[_-]?(?:key|token|id)(?:[_-]?base)?)?", {_SECRET: _ANYWHERE}),
    (rb"tokens?", {_SECRET: _ANYWHERE}),
    (rb"keys?", {_SECRET: _KEY_OF, _WEAK: ()}),
    (rb"credentials?", {_SECRET: _ANYWHERE}),
    (rb"bearer", {_SECRET: _ANYWHERE}),
    (rb"auth(?:orization)?(?=\\?[\"'`]?\]?[ \t]{0,8}[:=,])", {_SECRET: _ANYWHERE}),
)
_NAMES = tuple((re.compile(name + _AFTER), tuple(kinds.items())) for name, kinds in _NAMED)
_PUBLIC = (b"public", b"publickey", b"publishable")

# Between a name and its value. Some ways to write it take only a value in quotes, some one that is clearly random.
_OPERATOR = re.compile(
    rb"\\?[\"'`]?(?:\[\w{0,8}\])?\]?\)?[ \t]{0,40}(?:"
    rb"(?P<assign>(?:=>|[:?!+|]{0,2}={1,3}|:)[ \t]{0,40}(?:\r?\n[ \t]{1,40}(?=[\"']))?"
    rb"(?:basic|bearer|token|apikey)?[ \t]{0,4})"
    rb"|(?P<call>\([ \t]{0,8}|,\s{0,40}|[ \t]{1,40}(?=[\"'])|\s{1,40}value[ \t]{0,8}=[ \t]{0,8})"
    rb"|(?P<next>\r?\n[ \t]{1,40}\"?value\"?[ \t]{0,8}:[ \t]{0,8})"
    rb"|(?P<markup>>)"
    rb"|(?P<space>[ \t]{1,4}))"
)
_TYPED = re.compile(rb"[: ][ \t]{0,4}[\w.<>\[\], |?&*']{1,60}?[ \t]{0,8}=[ \t]{0,8}")
_QUOTED = re.compile(
    rb"(?:[rbuflRBUFL@$]{0,2}(?P<quote>\"\"\"|'''|[\"'`])(?P<plain>(?:\\.|(?!(?P=quote))[^\\\r\n]){1,4096}+)(?P=quote)"
    rb"|\\[\"'](?P<escaped>[^\"'\\\r\n]{1,4096}+)\\[\"'])"
)
_SCHEME = re.compile(rb"(?:basic|bearer|token|apikey) {1,4}", re.I)
_TOKEN = re.compile(rb"[\w+/=.~:-]+")
_BARE = re.compile(rb"[^\s\"'`,;&<>(){}\[\]|\\]{6,600}+(?=[\s\"'`,;&<)}\]|\\]|\Z)")
_WHOLE_LINE = re.compile(rb"(\S{4,600}+)[ \t]{0,40}(?:#[^\r\n]{0,400})?(?=[\r\n]|\Z)")
_LINE_START = re.compile(rb"[ \t]{0,80}(?:- |export |set |env |#[ \t]?|//[ \t]?)?[\"']?[\w.-]{0,80}\Z", re.I)
_NAME_LINE = 200  # bytes from a line's start to the name


def _named(data: bytes) -> Iterator[Span]:
    lower = data.lower()
    for name, kinds in _NAMES:
        for found in name.finditer(lower):
            start, end = found.span()
            before = lower[max(0, start - 20) : start]
            word = before.rstrip(b"_. -")
            alone = len(word) < len(before) or not before[-1:].isalnum()
            for kind, words in kinds:
                if word.endswith(words) if words else alone:
                    if not word.endswith(_PUBLIC) and (span := _value(data, lower, start, end, kind)):
                        yield span
                    break


def _value(data: bytes, lower: bytes, start: int, end: int, kind: int) -> Span | None:
    """The place of the literal value of a name that stands at data[start:end], None when it has none."""
    between = _OPERATOR.match(lower, end)
    if between is None:
        return None
    how, at = between.lastgroup, between.end()
    quoted = _QUOTED.match(data, at)
    if not quoted and how in ("assign", "space") and (typed := _TYPED.match(lower, end)):
        how, quoted = "assign", _QUOTED.match(data, typed.end())
    if quoted:
        first, last = quoted.span("escaped" if quoted["escaped"] else "plain")
        if scheme := _SCHEME.match(data, first, last):
            first = scheme.end()
        value = data[first:last]
        if how not in ("assign", "next") or kind == _WEAK:
            taken = _token_like(value) or (kind == _PASSWORD and n_flips(value) >= 2 and is_password(value))
        elif kind == _PASSWORD:
            taken = is_password(value) and value.lower() != lower[start:end]
        else:
            taken = is_secret(value)
        return (first, last) if taken else None
    if kind == _WEAK or how == "call":
        return None
    if how in ("assign", "next"):
        return _bare(data, start, at, kind)
    bare = _BARE.match(data, at)
    if bare is None or not _token_like(bare[0], 8 if kind == _PASSWORD else 12):
        return None
    return bare.span() if how == "markup" or _takes_a_word(data, lower, start) else None


def _takes_a_word(data: bytes, lower: bytes, start: int) -> bool:
    """Whether the value of a name may follow it after a space: `Bearer x`, `--token x`, `ENV TOKEN x`, .netrc's."""
    return (
        lower.startswith(b"bearer", start)
        or data[start : start + 3].isupper()
        or lower.find(b"--", max(0, start - 40), start) >= 0
        or lower.find(b"login ", max(0, start - 80), start) >= 0
    )


def _bare(data: bytes, start: int, at: int, kind: int) -> Span | None:
    """A value without quotes: a line of its own as in YAML and environment files, else one that is clearly random."""
    shouted = data[start : start + 3].isupper() and data[at - 1 : at] == b"="  # PASSWORD=word, not password = word
    first = data.rfind(b"\n", max(0, start - _NAME_LINE), start) + 1
    whole = (
        _WHOLE_LINE.match(data, at) if (first or start < _NAME_LINE) and _LINE_START.match(data, first, start) else None
    )
    if whole:
        value = whole[1].rstrip(b"\"',;")
        if is_password(value, bare=not shouted) if kind == _PASSWORD else is_secret(value, bare=True):
            return whole.start(1), whole.start(1) + len(value)
    bare = _BARE.match(data, at)
    if bare is None or len(bare[0]) < (8 if kind == _PASSWORD else 12):
        return None
    taken = looks_random(bare[0]) or (shouted and kind == _PASSWORD and is_password(bare[0], bare=True))
    return bare.span() if taken else None


def _token_like(value: bytes, least: int = 16) -> bool:
    """For names and ways of writing that more often than not hold no secret."""
    return len(value) >= least and looks_random(value) and bool(_TOKEN.fullmatch(value))
