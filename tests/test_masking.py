"""Secrets inside ordinary files are in nothing that is stored, searched, answered or printed, and all else stays."""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import random
import string
import sys
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfroute.backends.citations import verify
from selfroute.memory.base import Document
from selfroute.memory.index import Index
from selfroute.memory.masking import mask, masked
from selfroute.memory.text import LoadedFile, load, read_document
from selfroute.memory.walk import walk
from selfroute.models.hashing import HashingEmbedder
from selfroute.router.cli import main
from selfroute.router.router import SelfRouter
from selfroute.types import Generation, Span

EMBEDDER = HashingEmbedder(64)
SHOWN = 8  # characters of a secret that may nowhere stand together

# What is planted is nobody's, made when the tests run, put together from parts: this file holds nothing that a scanner
# would find.
UPPER, LOWER, DIGITS = string.ascii_uppercase, string.ascii_lowercase, string.digits
ALNUM, HEX, URLSAFE = UPPER + LOWER + DIGITS, DIGITS + "abcdef", UPPER + LOWER + DIGITS + "-_"
BASE64 = ALNUM + "+/"


@dataclass(frozen=True)
class Planted:
    """secret: what must never be seen. line: how it stands in a file; {q} is a quote of the language."""

    kind: str
    secret: str
    line: str


class Maker:
    """Random characters, the same ones for the same seed."""

    def __init__(self, seed: int) -> None:
        self._pick = random.Random(seed)

    def of(self, alphabet: str, n: int) -> str:
        """n characters, among them a letter and a digit where the alphabet has both, as in any real token."""
        text = self._pick.choices(alphabet, k=n)
        for i, group in enumerate((DIGITS, LOWER, UPPER)):
            both = [c for c in group if c in alphabet]
            if both and n >= 8:
                for j in range(2):
                    text[2 + 3 * j + i if 2 + 3 * j + i < n else i] = self._pick.choice(both)
        return "".join(text)

    def uuid(self) -> str:
        return "-".join(self.of(HEX, n) for n in (8, 4, 4, 4, 12))


# Known services: the beginning in parts, the alphabet and length of what follows.
PREFIXED = (
    ("aws access key", "AK IA", UPPER + "234567", 16),
    ("aws session key", "AS IA", UPPER + "234567", 16),
    ("google api key", "AI za", URLSAFE, 35),
    ("google client secret", "GOC SPX-", URLSAFE, 28),
    ("google oauth token", "ya2 9.", URLSAFE, 60),
    ("github personal", "gh p_", ALNUM, 36),
    ("github oauth", "gh o_", ALNUM, 36),
    ("github user", "gh u_", ALNUM, 36),
    ("github server", "gh s_", ALNUM, 36),
    ("github refresh", "gh r_", ALNUM, 36),
    ("github fine grained", "github _pat_", ALNUM, 82),
    ("gitlab personal", "gl pat-", URLSAFE, 20),
    ("gitlab deploy", "gl dt-", URLSAFE, 20),
    ("gitlab runner", "gl rt-", URLSAFE, 20),
    ("gitlab build", "gl cbt-", URLSAFE, 24),
    ("gitlab trigger", "gl ptt-", HEX, 40),
    ("slack bot", "xo xb-", DIGITS + "-" + LOWER, 40),
    ("slack user", "xo xp-", DIGITS + "-" + LOWER, 60),
    ("slack app", "xa pp-", DIGITS + "-" + ALNUM, 60),
    ("slack config", "xo xe-", ALNUM, 80),
    ("stripe live", "sk _live_", ALNUM, 24),
    ("stripe test", "sk _test_", ALNUM, 24),
    ("stripe restricted", "rk _live_", ALNUM, 24),
    ("stripe webhook", "wh sec_", ALNUM, 32),
    ("twilio key", "S K", HEX, 32),
    ("twilio account", "A C", HEX, 32),
    ("mailgun", "ke y-", HEX, 32),
    ("npm", "np m_", ALNUM, 36),
    ("pypi", "pypi -AgEIcHlwaS5vcmc", URLSAFE, 80),
    ("openai project", "sk -proj-", URLSAFE, 64),
    ("openai service", "sk -svcacct-", URLSAFE, 64),
    ("openai", "s k-", ALNUM, 48),
    ("anthropic", "sk -ant-api03-", URLSAFE, 95),
    ("openrouter", "sk -or-v1-", HEX, 64),
    ("hugging face", "h f_", ALNUM, 34),
    ("replicate", "r 8_", ALNUM, 37),
    ("groq", "gs k_", ALNUM, 52),
    ("xai", "xa i-", ALNUM, 80),
    ("perplexity", "pp lx-", ALNUM, 48),
    ("nvidia", "nv api-", URLSAFE, 64),
    ("pinecone", "pc sk_", ALNUM, 60),
    ("together", "tgp _v1_", URLSAFE, 43),
    ("langsmith", "lsv2 _pt_", HEX, 42),
    ("digitalocean", "dop _v1_", HEX, 64),
    ("shopify access", "sh pat_", HEX, 32),
    ("shopify shared", "sh pss_", HEX, 32),
    ("square access", "sq 0atp-", URLSAFE, 22),
    ("square secret", "sq 0csp-", URLSAFE, 43),
    ("databricks", "da pi", HEX, 32),
    ("linear", "lin _api_", ALNUM, 40),
    ("notion", "nt n_", ALNUM, 46),
    ("new relic user", "NR AK-", UPPER + DIGITS, 27),
    ("grafana service", "gl sa_", ALNUM, 41),
    ("grafana cloud", "gl c_", ALNUM, 60),
    ("sentry org", "sn trys_", ALNUM, 80),
    ("sentry user", "sn tryu_", HEX, 64),
    ("vault", "hv s.", URLSAFE, 90),
    ("vault batch", "hv b.", URLSAFE, 120),
    ("pulumi", "pu l-", HEX, 40),
    ("doppler", "dp .pt.", ALNUM, 43),
    ("docker hub", "dckr _pat_", URLSAFE, 27),
    ("rubygems", "ruby gems_", HEX, 48),
    ("buildkite", "bk ua_", HEX, 40),
    ("figma", "fi gd_", URLSAFE, 40),
    ("atlassian", "ATATT3x FfGF0", URLSAFE, 180),
    ("tailscale", "ts key-auth-kAbCdEfG1CNTRL-", ALNUM, 32),
    ("sendinblue", "xkey sib-", HEX, 64),
    ("age", "AGE-SECRET- KEY-1", UPPER + DIGITS, 58),
    ("planetscale", "pscale _tkn_", URLSAFE, 43),
    ("prefect", "pn u_", ALNUM, 36),
    ("readme", "rd me_", LOWER + DIGITS, 70),
    ("shippo", "shippo _live_", HEX, 40),
    ("alibaba", "LT AI", ALNUM, 20),
    ("netlify", "nf p_", ALNUM, 40),
    ("posthog", "ph x_", ALNUM, 43),
    ("sourcegraph", "sg p_", HEX, 40),
    ("supabase", "sb p_", HEX, 40),
    ("contentful", "CF PAT-", URLSAFE, 43),
    ("artifactory", "AK Cp", ALNUM, 69),
    ("razorpay", "rzp _live_", ALNUM, 14),
    ("easypost", "EZ AK", ALNUM, 54),
    ("adafruit", "ai o_", ALNUM, 28),
    ("yandex", "AQ VN", URLSAFE, 38),
    ("fly", "fm 2_", BASE64, 80),
)

# Values that only their name gives away. {} is the secret.
NAMED = (
    ("password", "password = {q}{}{q}", "hunter2"),
    ("password of words", "DB_PASSWORD = {q}{}{q}", "correct-horse-staple"),
    ("password with signs", "passwd = {q}{}{q}", "Tr0ub4dor&3!x"),
    ("password in a call", "connect(user={q}app{q}, password={q}{}{q})", "zebra-Quartz"),
    ("password in a mapping", "{q}password{q}: {q}{}{q},", "blueMoon77"),
    ("passphrase", "key_passphrase = {q}{}{q}", "opensesame99"),
    ("pwd", "pwd = {q}{}{q}", "s3cr3tSauce"),
    ("password in yaml", "password: {}", "g0ldf1shBowl"),
    ("password in an environment", "export DB_PASSWORD={}", "silverfish"),
    ("password in a connection string", "conn = {q}Server=db;User Id=sa;Password={};Timeout=3{q}", "Vx9!tg4Kq"),
    ("password option", "run --password {} --verbose", "qP7xLm2Zr9"),
    ("password in xml", "<password>{}</password>", "wR4tBn8Kd2"),
    ("api key", "api_key = {q}{}{q}", "ALNUM 32"),
    ("api key in yaml", "api_key: {}", "ALNUM 32"),
    ("apiKey", "const cfg = {{ apiKey: {q}{}{q} }};", "ALNUM 40"),
    ("x-api-key header", "headers = {{{q}X-Api-Key{q}: {q}{}{q}}}", "HEX 40"),
    ("secret key", "SECRET_KEY = {q}{}{q}", "URLSAFE 50"),
    ("client secret", "client_secret={q}{}{q}", "URLSAFE 40"),
    ("aws secret access key", "aws_secret_access_key = {}", "BASE64 40"),
    ("access token", "access_token = {q}{}{q}", "ALNUM 64"),
    ("token hash", "token = {q}{}{q}", "HEX 64"),
    ("token uuid", "HEROKU_API_KEY={}", "UUID"),
    ("bearer", "curl -H {q}Authorization: Bearer {}{q}", "URLSAFE 44"),
    ("basic", "Authorization: Basic {}", "ALNUM 36"),
    ("default of a variable", "os.environ.get({q}API_TOKEN{q}, {q}{}{q})", "ALNUM 32"),
    ("encryption key", "encryption_key = {q}{}{q}", "HEX 64"),
    ("private key hex", "private_key = {q}0x{}{q}", "HEX 64"),
    ("azure storage", "{q}AccountName=x;AccountKey={};EndpointSuffix=y{q}", "BASE64 86"),
    ("signing key typed", "signing_key: str = {q}{}{q}", "ALNUM 32"),
    ("query of a url", "https://api.example.com/v1?api_key={}&page=2", "HEX 32"),
    ("webhook secret", "webhook_secret => {q}{}{q}", "ALNUM 32"),
    ("high entropy", "key = {q}{}{q}", "ALNUM 44"),
)

# Others, each with a shape of its own. `secret` is built by the function of the same place in _shaped().
URLS = (
    "postgres://app:{}@db:5432/x",
    "https://deploy:{}@git.example.com/r.git",
    "redis://:{}@cache:6379",
    "amqp://q:{}@mq",
)


def planted(seed: int = 7) -> list[Planted]:
    """Every kind once."""
    make = Maker(seed)
    alphabets = {"ALNUM": ALNUM, "HEX": HEX, "URLSAFE": URLSAFE, "BASE64": BASE64}
    made = []
    for kind, start, alphabet, n in PREFIXED:
        body = make.of(alphabet, n).strip("-_")
        body += make.of(ALNUM if alphabet not in (HEX, UPPER + DIGITS) else alphabet, 8)[: n - len(body)]
        made.append(Planted(kind, body, "value = {q}" + start.replace(" ", "") + body + "{q}"))
    for kind, line, secret in NAMED:
        name, _, size = secret.partition(" ")
        value = make.uuid() if name == "UUID" else make.of(alphabets[name], int(size)) if size else secret
        if name == "URLSAFE":
            value = "a" + value[1:-1] + "Z"
        made.append(Planted(kind, value, line.replace("{q}", "\0").format(value).replace("\0", "{q}")))
    for i, url in enumerate(URLS):
        secret = make.of(ALNUM, 14)
        made.append(Planted(f"password in url {i}", secret, "url = {q}" + url.format(secret) + "{q}"))
    jwt = ".".join(("ey" + "JhbGciOiJIUzI1NiJ9", "ey" + "J" + make.of(URLSAFE, 40), "s" + make.of(URLSAFE, 43)))
    made.append(Planted("jwt", jwt.rpartition(".")[2], "value = {q}" + jwt + "{q}"))
    sendgrid = make.of(ALNUM, 22) + "." + make.of(ALNUM, 43)
    made.append(Planted("sendgrid", sendgrid, "value = {q}S" + "G." + sendgrid + "{q}"))
    hook = make.of(ALNUM, 24)
    made.append(
        Planted("slack webhook", hook, "value = {q}https://hooks." + f"slack.com/services/T01/B02/{hook}" + "{q}")
    )
    discord = make.of(URLSAFE, 66) + "aB"
    url = "https://discord.com/api/" + f"webhooks/123456789012345678/{discord}"
    made.append(Planted("discord webhook", discord, "value = {q}" + url + "{q}"))
    bot = "M" + make.of(ALNUM, 23) + ".Gx" + "1a2b." + make.of(ALNUM, 30)
    made.append(Planted("discord bot", bot, "value = {q}" + bot + "{q}"))
    telegram = "AA" + make.of(ALNUM, 33)
    made.append(Planted("telegram", telegram, "value = {q}123456789:" + telegram + "{q}"))
    mailchimp = make.of(HEX, 32)
    made.append(Planted("mailchimp", mailchimp, "value = {q}" + mailchimp + "-us12{q}"))
    azure = make.of(ALNUM, 3) + "8Q" + "~" + make.of(ALNUM, 34)
    made.append(Planted("azure application", azure, "value = {q}" + azure + "{q}"))
    sas = make.of(ALNUM, 43)
    made.append(Planted("azure signature", sas, "value = {q}https://x.blob.core.example/c?sv=1&sig=" + sas + "%3D{q}"))
    airtable = make.of(HEX, 64)
    made.append(Planted("airtable", airtable, "value = {q}pa" + "t" + make.of(ALNUM, 14) + "." + airtable + "{q}"))
    terraform = make.of(ALNUM, 67)
    made.append(
        Planted("terraform", terraform, "value = {q}" + make.of(ALNUM, 14) + ".atlas" + "v1." + terraform + "{q}")
    )
    dynatrace = make.of(UPPER + DIGITS, 24) + "." + make.of(UPPER + DIGITS, 64)
    made.append(Planted("dynatrace", dynatrace, "value = {q}dt0" + "c01." + dynatrace + "{q}"))
    for name in ("RSA PRIVATE KEY", "PRIVATE KEY", "EC PRIVATE KEY", "OPENSSH PRIVATE KEY", "PGP PRIVATE KEY BLOCK"):
        body = [make.of(BASE64, 64) for _ in range(4)]
        text = f"-----BEGIN {name}-----\\n" + "\\n".join(body) + f"\\n-----END {name}-----"
        made.append(Planted(f"{name} in a string", body[2], "pem = {q}" + text + "{q}"))
    return made


PLANTED = planted()


def pieces(secret: str) -> list[str]:
    """The secret, and every run of SHOWN characters in it."""
    return [secret, *(secret[i : i + SHOWN] for i in range(len(secret) - SHOWN))]


def left(secret: str, text: str) -> list[str]:
    return [piece for piece in pieces(secret) if piece in text]


def test_there_are_more_than_a_hundred_kinds() -> None:
    assert len({plant.kind for plant in PLANTED}) >= 100


CONTEXTS = ("{}\n", "def f():\n    {}  # kept\n", "a: 1\r\n{}")


@pytest.mark.parametrize("plant", PLANTED, ids=[plant.kind for plant in PLANTED])
def test_a_secret_is_masked_one_for_one(plant: Planted) -> None:
    for quote, context in itertools.product("'\"", CONTEXTS):
        text = context.replace("{}", plant.line.replace("{q}", quote))
        hidden, n = masked(text)
        assert n >= 1
        assert left(plant.secret, hidden) == []
        assert len(hidden) == len(text)
        assert all(now in (was, "*") for now, was in zip(hidden, text, strict=True))
        assert mask(hidden) == hidden


def test_a_mask_keeps_how_a_token_begins_and_every_place_after_it() -> None:
    token = "gh" + "p_" + "a1B2" * 9
    text = f"é = 1\nTOKEN = '{token}'  # naïve\nx = 2\n"
    assert mask(text) == f"é = 1\nTOKEN = '{'*' * 40}'  # naïve\nx = 2\n"
    assert mask(f"see {token}, é") == f"see ghp_{'*' * 36}, é"


def test_a_multi_line_key_in_code_is_masked_line_by_line() -> None:
    body = [random.Random(i).choices(string.ascii_letters + string.digits + "+/", k=64) for i in range(6)]
    lines = ["".join(line) for line in body]
    begin, end = "-----BEGIN RSA " + "PRIVATE KEY-----", "-----END RSA " + "PRIVATE KEY-----"
    text = "KEY = '''" + "\n".join([begin, *lines, "QUJD=", end]) + "'''\nafter = 'untouched'\n"
    assert mask(text) == "KEY = '''" + "\n".join([begin, *["*" * 64] * 6, "*" * 5, end]) + "'''\nafter = 'untouched'\n"
    assert lines[3] not in mask(text.replace(end, ""))
    joined = '" +\n    "'.join([begin, *lines, end])
    assert not any(line in mask(f'String key = "{joined}";') for line in lines)


HASH = hashlib.sha256(b"x").hexdigest()
KEPT = [
    f"sha256 = '{HASH}'",
    f'  "integrity": "sha512-{"aB3/" * 21}Zg==",',
    f"commit = '{HASH[:40]}'",
    f"rev: {HASH[:40]}",
    f"REQUEST_ID = '{uuid.UUID(HASH[:32])}'",
    f"image: python@sha256:{HASH}",
    f"assert digest(b'abc') == '{HASH}'",
    f"vector = b'{'dGhlIHF1aWNrIGJyb3duIGZveA==' * 2}'",
    f"etag: W/'{HASH[:32]}'",
    "token = self._next_token()",
    "token: str | None = None",
    "tokens = tokenizer.tokenize(text)",
    "password = getpass.getpass('Password: ')",
    "password: Optional[str] = None",
    'parser.add_argument("--password", help="The password to log in with")',
    'raise ValueError("the password is wrong")',
    "api_key = os.environ['OPENAI_API_KEY']",
    'api_key: "${API_KEY}"',
    "api_key: <your-api-key>",
    'secret = "your-secret-here"',
    "key = sorted(keys)[0]",
    'TOKEN_URL = "https://example.com/oauth/token"',
    'token_type = "bearer"',
    'SERVER_AUTH = "1.3.6.1.5.5.7.3.1"',
    "https://user:pass@host:port/path",
    "https://user:${PASSWORD}@host/path",
    "git@github.com:owner/repo.git",
    '"password": "password"',
    "const { password, token } = request.body",
    "self.assertEqual(token, 'identifier')",
    "AKIA is how an access key begins; ghp_ is how a token does",
    "-----BEGIN RSA " + "PRIVATE KEY----- is the first line of a key",
    "sk_live_ keys are for production",
    "primary_key=True, foreign_key='users.id'",
    "public_key = 'ssh-rsa AAAAB3NzaC1yc2E'",
    "secret_name = 'database-credentials'",
    "utf8_to_utf16_le_bytes_v2_of_the_stream_4711",
    "password_hash_algorithm_name_sha256_v1 = 2",
]


@pytest.mark.parametrize("line", KEPT)
def test_what_is_no_secret_stays(line: str) -> None:
    assert mask(f"{line}\n") == f"{line}\n"


def test_a_hash_under_a_name_that_says_secret_is_masked() -> None:
    assert HASH not in mask(f"auth_token = '{HASH}'\n")


def test_the_standard_library_is_left_alone() -> None:
    """Three hundred files without their tests: what is masked is given to a name that says password."""
    changed = []
    files = sorted(Path(json.__file__).parent.parent.glob("*.py"))
    for path in files:
        text = path.read_text(encoding="utf-8", errors="replace")
        hidden = mask(text)
        pairs = zip(text.splitlines(), hidden.splitlines(), strict=True)
        changed += [(path.name, now) for was, now in pairs if was != now]
    assert len(files) > 150
    assert [line for line in changed if "pass" not in line[1]] == []
    assert len(changed) < 5


HARD = [
    "key" * 75_000,
    "password=" * 25_000,
    'password = "' * 20_000,
    "token: " * 35_000,
    "://" * 82_500,
    "://a:" * 50_000,
    "https://x?sig=" * 17_500,
    "eyJ" * 82_500,
    "eyJaaaaaaaaaaaaaaaaaaaaaaaa." * 8_750,
    "a" * 250_000,
    "a-" * 125_000,
    "-----BEGIN PRIVATE " + "KEY-----" * 30_000,
    ("-----BEGIN " + "PRIVATE KEY-----\n" + "A" * 40 + "\n") * 3_500,
    "secret" + " " * 250_000,
    "token =" + "\\" * 250_000,
    "api_key = '" + "a1" * 125_000,
    "1234567890:" * 22_500,
    "x." * 125_000,
    "MaaaaaaaaaaaaaaaaaaaaaaaaaA." * 8_750,
    "\n" * 250_000,
    "whsec_" * 40_000,
]


@pytest.mark.parametrize("text", HARD, ids=[text[:16] for text in HARD])
def test_no_text_takes_long(text: str) -> None:
    """A quarter of a megabyte of what a pattern might choke on: with one that backtracks this would not end."""
    assert len(mask(text)) == len(text)


PARTS = st.sampled_from(
    [
        *("gh" + "p_", "AK" + "IA", "PRIVATE KEY-----", "-----BEGIN ", " ", "\n", "é", "\U0001f600", "\udc80"),
        *"pass word token key api_ secret eyJ :// a B1 = : \" ' \\ @ . - 0 % / { )".split(),
    ]
)


@settings(max_examples=300, deadline=None)
@given(st.lists(PARTS, max_size=120).map("".join))
def test_any_text_keeps_its_places(text: str) -> None:
    hidden = mask(text)
    assert len(hidden.encode("utf-8", "surrogatepass")) == len(text.encode("utf-8", "surrogatepass"))
    assert hidden.count("\n") == text.count("\n")
    for now, was in zip(hidden.encode("utf-8", "surrogatepass"), text.encode("utf-8", "surrogatepass"), strict=True):
        assert now in (was, ord("*"))


# through everything


def source(plant: Planted, i: int, ending: str) -> str:
    """A file in which the secret stands among ordinary lines of its language."""
    line = plant.line.replace("{q}", '"')
    if ending == "py":
        return f'"""About service {i}."""\n\n\ndef connect_service_{i}(client):\n    {line}\n    return client\n'
    if ending == "js":
        return f"// About service {i}.\nfunction connectService{i}(client) {{\n  {line}\n  return client;\n}}\n"
    if ending == "md":
        return f"# Service {i}\n\nHow to connect to service {i}:\n\n    {line}\n"
    if ending == "ipynb":
        cell = {"cell_type": "code", "metadata": {}, "outputs": [], "source": [f"# service {i}\n", f"{line}\n"]}
        return json.dumps({"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5})
    return f"# About service {i}.\nname: service_{i}\n{line}\n"


ENDINGS = ("py", "js", "yaml", "md", "ipynb", "toml")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("planted") / "corpus"
    root.mkdir()
    for i, plant in enumerate(PLANTED):
        ending = ENDINGS[i % len(ENDINGS)]
        (root / f"service_{i}.{ending}").write_text(source(plant, i, ending), encoding="utf-8")
    return root


def nothing_of_them_in(data: bytes, where: str) -> None:
    found = [plant.kind for plant in PLANTED if plant.secret.encode() in data or plant.secret.lower().encode() in data]
    assert found == [], where


def test_no_stored_byte_holds_a_secret(corpus: Path, tmp_path: Path) -> None:
    index = Index.open(corpus, directory=tmp_path / "index", embedder=EMBEDDER)
    (corpus / "service_0.py").touch()
    index.update()
    for when in ("open", "closed"):
        files = sorted((tmp_path / "index").iterdir())
        assert {"index.sqlite"} < {path.name for path in files}
        for path in files:
            nothing_of_them_in(path.read_bytes(), f"{path.name}, {when}")
        index.close()
    assert any(path.name.startswith("arrays-") for path in files)


def test_no_search_answer_or_explanation_holds_a_secret(corpus: Path, tmp_path: Path) -> None:
    with SelfRouter.from_path(corpus, index_dir=tmp_path / "index", embedder=EMBEDDER) as router:
        seen = [repr(list(router.index.chunks())), repr(router.index.snapshot.content.vocabulary)]
        for i in range(0, len(PLANTED), 9):
            seen.append(repr(router.search(f"connect service {i}")))
            seen.append(repr(router.ask(f"How is service_{i} connected?", route="retrieval")))
            seen.append(repr(router.ask(f"How is service_{i} connected?", route="long-context")))
        for plant in PLANTED[::12]:
            assert plant.secret not in repr(router.ask(f"What is {plant.secret}?").citations)
            assert plant.secret not in repr(router.search(plant.secret))
            assert plant.secret not in repr(router.explain(plant.secret))
    nothing_of_them_in("".join(seen).encode(), "answers")


def test_citations_of_masked_lines_are_exact_and_fresh(corpus: Path, tmp_path: Path) -> None:
    with Index.open(corpus, directory=tmp_path / "index", embedder=EMBEDDER) as index:
        chunks = [chunk for chunk in index.chunks() if "****" in chunk.text]
        spans = tuple(Span(i, 0, len(chunk.text)) for i, chunk in enumerate(chunks))
        citations = verify(Generation("", spans), chunks, index)
        assert len(citations) == len(chunks) > 100
        for chunk, citation in zip(chunks, citations, strict=True):
            text = index.read(citation.path)
            assert text is not None
            assert text.encode()[citation.start_byte : citation.end_byte].decode() == citation.text == chunk.text
            assert (citation.start_line, citation.end_line, citation.stale) == (chunk.start_line, chunk.end_line, False)
            if "#" not in citation.path:
                raw = (corpus / citation.path).read_bytes()[citation.start_byte : citation.end_byte]
                assert [now for now, was in zip(chunk.text.encode(), raw, strict=True) if now not in (was, 42)] == []


Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    def call(*arguments: object, stdin: str = "") -> tuple[int, str]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        code = main([str(argument) for argument in arguments])
        return code, "".join(capsys.readouterr())

    return call


def test_no_command_prints_a_secret(corpus: Path, tmp_path: Path, run: Run) -> None:
    options = ("--path", corpus, "--index-dir", tmp_path / "index")
    printed = [run("index", corpus, *options[2:])[1]]
    for i in range(0, len(PLANTED), 24):
        question = f"Where is service_{i} connected?"
        for command in ("search", "ask", "explain"):
            for extra in ((), ("--json",)):
                code, text = run(command, question, *options, *extra)
                assert code == 0
                printed.append(text)
    printed.append(run("doctor", *options)[1])
    printed.append(run("doctor", *options, "--json")[1])
    nothing_of_them_in("".join(printed).encode(), "commands")


@pytest.mark.parametrize("debug", [(), ("--debug",)])
def test_a_secret_in_a_question_or_a_mistake_is_not_repeated(
    corpus: Path, tmp_path: Path, run: Run, debug: tuple[str, ...]
) -> None:
    options = ("--path", corpus, "--index-dir", tmp_path / "index", *debug)
    token = "gh" + "p_" + "Zq7" * 12
    for plant in PLANTED[::24]:
        code, text = run("ask", "-", *options, "--json", stdin=f"What is {plant.secret} for?")
        assert (code, plant.secret in text) == (0, False)
    for mistake in (
        ("ask", "x", "--route", token),
        ("ask", "x", "--embedder", token),
        (token,),
        ("ask", "x", f"--{token}"),
    ):
        code, text = run(*mistake, *(() if mistake == (token,) else options))
        assert code != 0
        assert token[4:] not in text
        assert "error: " in text


def test_what_a_file_holds_is_counted_and_read_alike_by_all(tmp_path: Path) -> None:
    token = "gh" + "p_" + "a1B2" * 9
    (tmp_path / "a.py").write_text(f"A = '{token}'\nPASSWORD = 'hunter2x'\n")
    (entry,) = walk(tmp_path).files
    loaded = load(tmp_path, entry)
    assert isinstance(loaded, LoadedFile)
    assert loaded.n_masked == 2
    text = f"A = 'ghp_{'*' * 36}'\nPASSWORD = '********'\n"
    assert loaded.documents == (Document("a.py", text, "python"),)
    assert read_document(tmp_path, "a.py") == text


def test_doctor_counts_masked_values_by_file(tmp_path: Path, run: Run) -> None:
    (tmp_path / "a.py").write_text("PASSWORD = 'hunter2x'\n\n\ndef f():\n    return 1\n")
    (tmp_path / "b.py").write_text("def g():\n    return 2\n")
    code, text = run("doctor", "--path", tmp_path)
    assert code == 0
    assert "  a.py: 1 value masked\n" in text
    assert "b.py" not in text
