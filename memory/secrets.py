"""Files that hold keys, passwords or certificates, by name and by content. They are never indexed and never read out.

A token inside a line of ordinary code is another matter: it is masked (masking.py), its file is not left out.
"""

from __future__ import annotations

import re
from functools import lru_cache

_NAMES = {
    "credentials": """
        .boto .dockercfg .git-credentials .htpasswd .my.cnf .mylogin.cnf .netrc .npmrc .pgpass .pypirc .s3cfg
        .terraformrc .vault-token .yarnrc.yml _netrc application_default_credentials.json client_secret.json
        credentials credentials.csv credentials.ini credentials.json credentials.toml credentials.xml
        credentials.yaml credentials.yml credentials.yml.enc htpasswd kubeconfig master.key netrc pgpass
        rootkey.csv secrets.ini secrets.json secrets.toml secrets.yaml secrets.yml service-account.json
        service_account.json serviceaccount.json terraform.rc token.json
    """,
    "private key": "id_rsa id_dsa id_ecdsa id_ecdsa_sk id_ed25519 id_ed25519_sk",
    "may hold secrets": ".bash_history .envrc .psql_history .python_history .zsh_history",
}
_EXTENSIONS = {
    "private key": "pem key p8 p12 pfx pkcs12 pvk ppk jks jceks keystore bks kdb kdbx keytab ovpn age agekey",
    "certificate": "crt cer cert der p7b p7c p7s csr crl",
    "may hold secrets": "tfstate tfvars agilekeychain keychain htpasswd",
}
_TEMPLATES = "example sample template tmpl tpl dist defaults default schema in ts js py md d"

_BY_NAME = {name: reason for reason, names in _NAMES.items() for name in names.split()}
_BY_EXTENSION = {extension: reason for reason, extensions in _EXTENSIONS.items() for extension in extensions.split()}
_ENV_TEMPLATES = frozenset(_TEMPLATES.split())
_SERVICE_ACCOUNT = re.compile(r"(?:service[-_]?account|client_secret|firebase-adminsdk)[^/]*\.json")
_PRIVATE_FOLDERS = re.compile(r"(?:^|/)\.(?:ssh|gnupg|aws|azure|git|kube|docker|password-store)/")
_BACKUP = re.compile(r"\.(?:bak|backup|old|orig|save|tmp|swp)$|~$")

# An armored block: its first line, headers, and base64 to its last line or to where the head was cut. In JSON its lines
# end in a backslash and an n.
_ARMOR = re.compile(
    rb"-----BEGIN [A-Z0-9 ]*(?:PRIVATE KEY|CERTIFICATE|PKCS7|PKCS12|CRL)[A-Z0-9 ]*-----(?:\s|\\[nr])"
    rb"(?:\s*[\w-]+: [^\n]*\n)*(?:[A-Za-z0-9+/=\s]|\\[nr]){40,}+(?:-----END [A-Z0-9 ]*-----)?"
)
_KEY_STARTS = (b"PuTTY-User-Key-File-", b"AGE-SECRET-KEY-1")
_ACCOUNT_KEYS = (b'"private_key"', b'"client_email"')
_MAIN_SHARE = 0.5


@lru_cache(maxsize=1 << 14)
def is_secret_file(path: str) -> str:
    """Why a file of this name is never indexed, or ""; `.env.example` and its like are no secrets."""
    lower = path.lower()
    name = lower.rpartition("/")[2]
    while backup := _BACKUP.search(name):  # id_rsa.bak is as private as id_rsa
        name = name[: backup.start()]
    if reason := _BY_NAME.get(name):
        return reason
    stem, dot, extension = name.rpartition(".")
    if dot and (reason := _BY_EXTENSION.get(extension)):
        return reason
    if _is_environment(name, stem, extension):
        return "environment file"
    if _SERVICE_ACCOUNT.match(name):
        return "credentials"
    return "private folder" if "/." in f"/{lower}" and _PRIVATE_FOLDERS.search(lower) else ""


def looks_like_private_key(head: bytes) -> bool:
    """Whether a file that begins so is a key or certificate before all else, whatever its name.

    True when it opens with an armored block (PEM, OpenPGP), when such are at least half of it, or when it is a service
    account's JSON.
    """
    if b"-----BEGIN " in head:
        head = head.strip()
        blocks = [block.span() for block in _ARMOR.finditer(head)]
        armored = sum(end - start for start, end in blocks)
        if blocks and (blocks[0][0] == 0 or armored >= _MAIN_SHARE * len(head)):
            return True
        if b"PRIVATE KEY" in head and all(key in head for key in _ACCOUNT_KEYS) and head.startswith(b"{"):
            return True
    return head.startswith(_KEY_STARTS) or b"\nAGE-SECRET-KEY-1" in head


def _is_environment(name: str, stem: str, extension: str) -> bool:
    """.env, .env.local, prod.env; not .env.example, not env.py."""
    if name.startswith(".env."):
        return not _ENV_TEMPLATES.intersection(name.split(".")[2:])
    return name == ".env" or (bool(stem) and extension == "env" and not _ENV_TEMPLATES.intersection(stem.split(".")))
