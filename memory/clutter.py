"""What a walk leaves out by its name or its marks: hidden, installed, cached, locked, binary.

A folder is left out by name only where that name means nothing else: `node_modules`, `third_party`. `vendor`, `target`
and `env` are often somebody's own code, so they are left out by what a tool put into them. A `!` pattern in
.selfrouteignore takes any of these back.
"""

from __future__ import annotations

from collections.abc import Set
from functools import lru_cache

CACHE_SIGNATURE = b"Signature: 8a477f597d28d172789f06886806bc55"  # https://bford.info/cachedir/

# Hidden names that say how a project is built, tested and released; every other hidden name is left out.
_SHOWN_NAMES = """
    .github .gitlab .circleci .gitlab-ci.yml .travis.yml .appveyor.yml .azure-pipelines.yml .cirrus.yml .drone.yml
    .pre-commit-config.yaml .pre-commit-hooks.yaml .readthedocs.yaml .readthedocs.yml .golangci.yml .golangci.yaml
    .goreleaser.yml .goreleaser.yaml .coveragerc
"""
_FOLDERS = {
    "version control": ".git .hg .svn .bzr .jj CVS",
    "installed packages": """
        node_modules bower_components jspm_packages site-packages dist-packages __pypackages__ Pods elm-stuff
        _vendor vendored third_party third-party thirdparty
    """,
    "cache": "__pycache__ DerivedData",
}
_INSTALLED_SUFFIXES = (".dist-info", ".egg-info")
_MARKS = {"pyvenv.cfg": "virtual environment", "conda-meta": "virtual environment"}
_VENDOR_MARKS = frozenset(("modules.txt", "autoload.php"))  # go mod vendor, composer

_LOCK_FILES = """
    bun.lock bun.lockb cargo.lock composer.lock conan.lock deno.lock flake.lock gemfile.lock go.sum
    gradle.lockfile mix.lock npm-shrinkwrap.json package-lock.json package.resolved packages.lock.json pdm.lock
    pipfile.lock pixi.lock pnpm-lock.yaml podfile.lock poetry.lock pubspec.lock pylock.toml uv.lock yarn.lock
"""
_BINARY = """
    7z a avi bmp bz2 class db dll dmg doc docx dylib eot exe flac gif gz ico icns jar jpeg jpg lib mkv mov mp3 mp4
    npy npz o ogg onnx otf parquet pdf pickle png ppt pptx psd pth pyc pyd pyo rar safetensors so sqlite sqlite3
    tar tgz tif tiff ttf war wasm wav webm webp whl woff woff2 xls xlsx xz zip zst
"""

SHOWN = frozenset(_SHOWN_NAMES.split())
_FOLDER_REASONS = {name: reason for reason, names in _FOLDERS.items() for name in names.split()}
_LOCK_NAMES = frozenset(_LOCK_FILES.split())
_BINARY_EXTENSIONS = frozenset(_BINARY.split())


def folder_reason(name: str) -> str:
    """Why a folder of this name is left out, or ""."""
    if reason := _FOLDER_REASONS.get(name):
        return reason
    if name.endswith(_INSTALLED_SUFFIXES):
        return "installed packages"
    return "hidden" if name[0] == "." and name not in SHOWN else ""


def marked_folder_reason(name: str, inside: Set[str]) -> str:
    """Why a folder that holds these names is left out, or ""; a CACHEDIR.TAG is for the caller to read."""
    for mark, reason in _MARKS.items():
        if mark in inside:
            return reason
    return "installed packages" if name == "vendor" and not _VENDOR_MARKS.isdisjoint(inside) else ""


@lru_cache(1 << 15)
def file_reason(name: str) -> str:
    """Why a file of this name is left out, or ""."""
    if name[0] == "." and name not in SHOWN:
        return "hidden"
    lower = name.lower()
    if lower in _LOCK_NAMES:
        return "lock file"
    stem, _, extension = lower.rpartition(".")
    if extension in _BINARY_EXTENSIONS and stem:
        return "binary"
    if extension == "map" and stem.endswith((".js", ".css", ".mjs", ".cjs", ".ts")):
        return "source map"
    return "minified" if stem.endswith((".min", "-min")) and extension in ("js", "css", "mjs", "cjs", "html") else ""
