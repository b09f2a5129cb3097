"""Which file an import means: dotted Python modules, and paths as the other languages write them."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable

_PYTHON = (".py", ".pyi")
_PARTS = re.compile(r"[/\\:.]+")
_ENDINGS = re.compile(
    r"\.(?:d\.ts|[jt]sx?|[cm][jt]s|h|hh|hpp|hxx|c|cc|cpp|cxx|go|rs|java|rb|php|kts?|swift|cs|scala|sh)\Z"
)
_PACKAGED = (".go", ".java", ".kt", ".cs", ".swift", ".scala")  # what is imported may be a folder's files
_NOT_PARTS = frozenset({"*", "crate", "self", "super"})
_INDEX = frozenset({"index", "mod", "main", "lib"})  # files that stand for their folder


class Modules:
    """The modules of a corpus. A Python file in packages is named from the topmost package down, and by its path.

    root: the name of the corpus's folder, which is a package when it holds an `__init__.py`.
    """

    def __init__(self, paths: Iterable[str], root: str = "") -> None:
        known = list(paths)
        self._packages = {
            posixpath.dirname(path) for path in known if posixpath.basename(path) in ("__init__.py", "__init__.pyi")
        }
        self._root = [root] if root and "" in self._packages else []
        self._name_of: dict[str, str] = {}
        self._by_name: dict[str, list[str]] = {}
        self._by_stem: dict[str, list[str]] = {}
        self._by_folder: dict[str, list[str]] = {}
        self._cells: dict[str, list[str]] = {}
        for path in known:
            stem = _ENDINGS.sub("", path)
            if path.endswith(_PYTHON):
                self._add_python(path, [part for part in path.rpartition(".")[0].split("/") if part != "__init__"])
            elif ".ipynb#" in path:
                self._cells.setdefault(path.partition("#")[0], []).append(path)
            else:
                self._by_stem.setdefault(_stem(stem), []).append(path)
                if path.endswith(_PACKAGED) and "/" in path:
                    self._by_folder.setdefault(path.split("/")[-2], []).append(path)

    def _add_python(self, path: str, parts: list[str]) -> None:
        top = max(0, len(parts) - 1)
        while top > 0 and "/".join(parts[:top]) in self._packages:
            top -= 1
        own = parts[top:] if top else self._root + parts
        if not own:
            return
        self._name_of[path] = ".".join(own)
        # from further up, too: a namespace package has no file that says so
        for spelled in dict.fromkeys((".".join(own), *(".".join(parts[at:]) for at in range(top)))):
            self._by_name.setdefault(spelled, []).append(path)
        self._by_stem.setdefault(own[-1], []).append(path)

    def name(self, path: str) -> str:
        """The dotted name of a Python file, "" for any other."""
        return self._name_of.get(path, "")

    def cells(self, path: str) -> list[str]:
        """The cells of the notebook that a document is a cell of, which share their names; none for any other."""
        return self._cells.get(path.partition("#")[0], []) if "#" in path else []

    def python(self, dotted: str, importer: str = "") -> str:
        """The file of a module, "" when the corpus does not hold it. dotted: relative when it begins with a dot.

        Of several files of one name the nearest to the importer; a script finds what lies beside it first.
        """
        parts = [part for part in dotted.split(".") if part]
        folder = posixpath.dirname(importer)
        if dotted.startswith("."):
            for _ in range(len(dotted) - len(dotted.lstrip(".")) - 1):
                if not folder:
                    return ""
                folder = posixpath.dirname(folder)
            return self._at(folder, parts)
        if importer and folder not in self._packages and (beside := self._at(folder, parts)):
            return beside
        found = self._nearest(self._by_name.get(dotted, []), importer) or self._at(folder, parts)
        if not found and len(parts) > 1 and parts[0] in self._packages:
            found = self._at("", parts[1:])  # a package whose folders lie beside it, as its build configuration says
        return found

    def _at(self, folder: str, parts: list[str]) -> str:
        stem = posixpath.join(folder, *parts)
        package = posixpath.join(stem, "__init__")
        spelled = (f"{one}{ending}" for ending in _PYTHON for one in (package, *((stem,) if parts else ())))
        return next((path for path in spelled if path in self._name_of), "")

    def _nearest(self, paths: list[str], importer: str) -> str:
        def distance(path: str) -> tuple[bool, int, int, str]:  # a stub (.pyi) gives way to its source
            return path.endswith(".pyi"), -len(posixpath.commonprefix((path, importer))), path.count("/"), path

        return min(paths, key=distance, default="")

    def other(self, written: str, importer: str) -> list[str]:
        """The files that an import of another language may mean, the best: a path, or the end of one, or a folder's.

        A relative path is taken as it is. Of several files those count whose path has most of what is written, then
        those nearest to the importer.
        """
        is_relative = written.startswith(".") and written.strip("./") != ""
        if is_relative:
            written = posixpath.normpath(posixpath.join(posixpath.dirname(importer), written))
        ending = posixpath.splitext(importer)[1]
        as_written = _ENDINGS.search(written)
        parts = [part for part in _PARTS.split(_ENDINGS.sub("", written)) if part and part not in _NOT_PARTS]
        for length in (len(parts), len(parts) - 1):  # the last part may be a name inside the file
            wanted = parts[: max(0, length)]
            found: list[str] = []
            if wanted and ending != ".go":
                files = self._by_stem.get(wanted[-1], ())
                found = [path for path in files if path != importer and _fits(_own(path), wanted, is_relative)]
            if wanted and not found and ending in _PACKAGED:
                inside = self._by_folder.get(wanted[-1], ())
                found = [path for path in inside if _fits(path.split("/")[:-1], wanted, False)]
            for preferred in (as_written[0] if as_written else ending, ending):
                if same := [path for path in found if path.endswith(preferred)]:
                    return _best(same, wanted, importer)
            found = [path for path in found if not path.endswith(_PYTHON)]
            if found:
                return _best(found, wanted, importer)
        return []

    def called(self, name: str) -> list[str]:
        """The files that a person may mean by a module's name: exactly, by an ending, or by its path."""
        wanted = _ENDINGS.sub("", name.removesuffix(".py").removesuffix(".pyi")).strip("./")
        parts = [part for part in _PARTS.split(wanted) if part]
        if not parts:
            return []
        dotted = ".".join(parts)
        if found := self._by_name.get(dotted):
            return [path for path in found if not path.endswith(".pyi")] or found
        candidates = [*self._by_stem.get(parts[-1], ()), *self._by_folder.get(parts[-1], ())]
        return [path for path in candidates if _fits(_own(path), parts, False)] or [
            path for path in candidates if _fits(path.split("/")[:-1], parts, False)
        ]


def _stem(stem: str) -> str:
    folder, _, last = stem.rpartition("/")
    return posixpath.basename(folder) if last in _INDEX and folder else last


def _own(path: str) -> list[str]:
    """The parts of a path without its ending, and without `index`."""
    stem = path.rpartition(".")[0].removesuffix("/__init__") if path.endswith(_PYTHON) else _ENDINGS.sub("", path)
    own = stem.split("/")
    return own[:-1] if own[-1] in _INDEX and len(own) > 1 else own


def _fits(own: list[str], parts: list[str], is_whole: bool) -> bool:
    """Whether parts end in the same ones; shorter ones need only their own."""
    n = max(len(own), len(parts)) if is_whole else min(len(own), len(parts))
    return n > 0 and own[-n:] == parts[-n:]


def _best(paths: list[str], parts: list[str], importer: str) -> list[str]:
    def nearness(path: str) -> tuple[int, int]:
        folder = posixpath.dirname(path)
        return min(path.count("/") + 1, len(parts)), len(posixpath.commonprefix((f"{folder}/", importer)))

    best = max(map(nearness, paths))
    return sorted(path for path in paths if nearness(path) == best)
