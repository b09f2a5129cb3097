"""Which file an import means: dotted Python modules, and paths as the other languages write them."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable

_PYTHON = (".py", ".pyi")
_PARTS = re.compile(r"[/\\:.]+")
_ENDINGS = re.compile(r"\.(?:d\.ts|[jt]sx?|[cm][jt]s|h|hh|hpp|hxx|c|cc|cpp|go|rs|java|rb|php|kt|swift|cs|sh)\Z")
_INDEX = frozenset({"index", "mod", "main", "lib"})  # files that stand for their folder


class Modules:
    """The modules of a corpus. A Python file in packages is named from the topmost package down, and by its path."""

    def __init__(self, paths: Iterable[str]) -> None:
        known = list(paths)
        packages = {
            posixpath.dirname(path) for path in known if posixpath.basename(path) in ("__init__.py", "__init__.pyi")
        }
        self._name_of: dict[str, str] = {}
        self._by_name: dict[str, str] = {}
        self._by_path: dict[str, str] = {}
        self._by_stem: dict[str, list[str]] = {}
        for path in known:
            stem = _ENDINGS.sub("", path)
            if path.endswith(_PYTHON):
                stem = path.rpartition(".")[0].removesuffix("/__init__")
                if stem != "__init__":
                    self._add_python(path, stem, packages)
            else:
                self._by_stem.setdefault(_stem(stem), []).append(path)

    def _add_python(self, path: str, stem: str, packages: set[str]) -> None:
        parts = stem.split("/")
        top = len(parts) - 1
        while top > 0 and "/".join(parts[:top]) in packages:
            top -= 1
        name = ".".join(parts[top:])
        self._name_of[path] = name
        for spelled in (name, ".".join(parts)):
            # a stub (.pyi) gives way to its source
            if spelled not in self._by_name or self._by_name[spelled].endswith(".pyi"):
                self._by_name[spelled] = path
        self._by_stem.setdefault(parts[-1], []).append(path)

    def name(self, path: str) -> str:
        """The dotted name of a Python file, "" for any other."""
        return self._name_of.get(path, "")

    def python(self, dotted: str, importer: str = "") -> str:
        """The file of a module, "" when the corpus does not hold it. dotted: relative when it begins with a dot."""
        if dotted.startswith("."):
            n_up = len(dotted) - len(dotted.lstrip("."))
            own = self.name(importer).split(".")
            keep = len(own) - n_up + (posixpath.basename(importer).startswith("__init__."))
            base = own[: max(0, keep)]
            return self._by_name.get(".".join([*base, *filter(None, dotted.lstrip(".").split("."))]), "")
        if found := self._by_name.get(dotted, ""):
            return found
        beside = posixpath.join(posixpath.dirname(importer), *dotted.split("."))  # a script imports its neighbours
        return next((name for name in (f"{beside}.py", f"{beside}/__init__.py") if name in self._name_of), "")

    def other(self, written: str, importer: str) -> list[str]:
        """The files that an import of another language may mean: those whose path ends as it does, nearest first."""
        if written.startswith("."):
            written = posixpath.normpath(posixpath.join(posixpath.dirname(importer), written))
        parts = [part for part in _PARTS.split(_ENDINGS.sub("", written)) if part and part != "*"]
        ending = posixpath.splitext(importer)[1]
        for length in (len(parts), len(parts) - 1):  # the last part may be a name inside the file
            wanted = parts[:length]
            if not wanted:
                continue
            found = [
                path
                for path in self._by_stem.get(wanted[-1], ())
                if not path.endswith(_PYTHON) and _ends_with(path, wanted) and path != importer
            ]
            same = [path for path in found if posixpath.splitext(path)[1] == ending] or found
            if same:
                return sorted(same, key=lambda path: (-len(posixpath.commonprefix((path, importer))), path))
        return []

    def called(self, name: str) -> list[str]:
        """The files that a person may mean by a module's name: exactly, by an ending, or by its path."""
        wanted = _ENDINGS.sub("", name.removesuffix(".py").removesuffix(".pyi")).strip("./")
        parts = [part for part in _PARTS.split(wanted) if part]
        if not parts:
            return []
        dotted = ".".join(parts)
        if found := self._by_name.get(dotted):
            return [found]
        candidates = self._by_stem.get(parts[-1], ())
        return [path for path in candidates if _ends_with(path, parts)]


def _stem(stem: str) -> str:
    folder, _, last = stem.rpartition("/")
    return posixpath.basename(folder) if last in _INDEX and folder else last


def _ends_with(path: str, parts: list[str]) -> bool:
    """Whether a path without its ending, and without `index`, ends in the parts; shorter ones need only their own."""
    stem = path.rpartition(".")[0].removesuffix("/__init__") if path.endswith(_PYTHON) else _ENDINGS.sub("", path)
    own = stem.split("/")
    if own[-1] in _INDEX and len(own) > 1:
        own = own[:-1]
    n = min(len(own), len(parts))
    return own[-n:] == parts[-n:]
