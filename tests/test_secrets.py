"""Secrets are known by name and by content, and ordinary files are not taken for them."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path

import pytest

from selfroute.memory.base import Skipped
from selfroute.memory.secrets import is_secret_file, looks_like_private_key
from selfroute.memory.text import load, read_document
from selfroute.memory.walk import walk

BODY = base64.encodebytes(bytes(range(256)) * 4)  # nobody's key
PEM = b"-----BEGIN RSA PRIVATE KEY-----\n" + BODY + b"-----END RSA PRIVATE KEY-----\n"


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        (".env", "environment file"),
        ("app/.env.local", "environment file"),
        (".env.development.local", "environment file"),
        (".ENV.Production", "environment file"),
        ("deploy/prod.env", "environment file"),
        ("tls/server.pem", "private key"),
        ("server.KEY", "private key"),
        ("store.p12", "private key"),
        ("store.pfx", "private key"),
        ("app.jks", "private key"),
        ("upload.keystore", "private key"),
        ("vault.kdbx", "private key"),
        ("home/id_rsa", "private key"),
        ("id_ed25519", "private key"),
        ("id_rsa.bak", "private key"),
        ("server.pem.old", "private key"),
        ("ca.crt", "certificate"),
        ("ca.cer", "certificate"),
        ("ca.der", "certificate"),
        (".netrc", "credentials"),
        (".pgpass", "credentials"),
        (".npmrc", "credentials"),
        (".pypirc", "credentials"),
        (".git-credentials", "credentials"),
        ("apache/.htpasswd", "credentials"),
        ("aws/credentials", "credentials"),
        (".aws/config", "private folder"),
        (".ssh/known_hosts", "private folder"),
        (".kube/config", "private folder"),
        ("sub/.git/config", "private folder"),
        ("kubeconfig", "credentials"),
        ("my-service.json", ""),
        ("service-account.json", "credentials"),
        ("service_account_prod.json", "credentials"),
        ("client_secret_123.apps.json", "credentials"),
        ("config/master.key", "credentials"),
        ("config/credentials.yml.enc", "credentials"),
        ("infra/terraform.tfstate", "may hold secrets"),
        ("infra/terraform.tfstate.backup", "may hold secrets"),
        ("infra/prod.tfvars", "may hold secrets"),
        (".envrc", "may hold secrets"),
    ],
)
def test_names_of_secrets_give_a_reason(path: str, reason: str) -> None:
    assert is_secret_file(path) == reason


@pytest.mark.parametrize(
    "path",
    [
        ".env.example",
        ".env.sample",
        ".env.local.template",
        "example.env",
        "env",
        "env.py",
        ".env.d.ts",
        "environment.ts",
        "credentials.py",
        "secrets.py",
        "key.py",
        "keys/index.js",
        "id_rsa.pub",
        "test_pem.py",
        "main.tf",
        "src/.github/config",
        "README",
        "pem",
        "",
    ],
)
def test_names_of_sources_and_templates_are_no_secrets(path: str) -> None:
    assert is_secret_file(path) == ""


@pytest.mark.parametrize(
    "content",
    [
        PEM,
        b"\n\n" + PEM,
        PEM[:-40],
        PEM.replace(b"RSA PRIVATE KEY", b"CERTIFICATE"),
        PEM.replace(b"RSA PRIVATE KEY", b"OPENSSH PRIVATE KEY"),
        PEM.replace(b"RSA PRIVATE KEY", b"ENCRYPTED PRIVATE KEY"),
        PEM.replace(b"RSA PRIVATE KEY", b"PGP PRIVATE KEY BLOCK"),
        b"Bag Attributes\n    friendlyName: x\nsubject=CN = x\n" + PEM,
        b"KEY = '''\n" + PEM + b"'''\n",
        b"PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none\n",
        b"# created: 2024\n# public key: age1x\nAGE-SECRET-KEY-1QQQ\n",
        json.dumps(
            {"type": "service_account", "private_key": PEM.decode(), "client_email": "a@b.c", "x": "y" * 9000}
        ).encode(),
    ],
)
def test_content_that_is_a_key_is_known(content: bytes) -> None:
    assert looks_like_private_key(content)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"def f():\n    return '-----BEGIN PRIVATE KEY-----' in text\n",
        b"# Keys\n\nA key starts with `-----BEGIN RSA PRIVATE KEY-----` and ends with its END line.\n"
        + b"More prose. " * 60,
        b"import ssl\n" + b"value = compute()\n" * 200 + b"KEY = '''\n" + PEM + b"'''\n" + b"check(KEY)\n" * 50,
        b"-----BEGIN PUBLIC KEY-----\nMFkw\n-----END PUBLIC KEY-----\n",
        b'{"private_key": "<yours>", "client_email": "you@example.com"}',
    ],
)
def test_content_that_speaks_of_keys_is_no_key(content: bytes) -> None:
    assert not looks_like_private_key(content)


@pytest.mark.parametrize("codec", ["utf-8", "utf-16"])
def test_a_key_is_not_indexed_or_read_whatever_its_file_is_called(tmp_path: Path, codec: str) -> None:
    (tmp_path / "notes.md").write_bytes(PEM.decode().encode(codec))
    (entry,) = walk(tmp_path).files
    assert load(tmp_path, entry) == Skipped("notes.md", "private key or certificate")
    assert read_document(tmp_path, "notes.md") is None


@pytest.mark.parametrize("path", [".env", "server.key", "sub/.git/config", ".ssh/config"])
def test_a_secret_is_not_read_by_name(tmp_path: Path, path: str) -> None:
    (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / path).write_text("TOKEN=1\n")
    assert walk(tmp_path).files == ()
    assert read_document(tmp_path, path) is None


def test_a_secret_under_another_spelling_of_its_name_is_not_read(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("TOKEN=1\n")
    os.link(tmp_path / ".env", tmp_path / "plain.txt")
    assert read_document(tmp_path, "\\x2eenv") is None
    assert read_document(tmp_path, "./.env") is None
    assert (
        read_document(tmp_path, "plain.txt") == "TOKEN=1\n"
    )  # a name of its own is all that can be seen of a hard link
