"""The trained routers of one folder: numbered, never overwritten, one of them in use."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from selfroute.errors import ConfigError
from selfroute.router.classifier.classifier import Classifier
from selfroute.router.evaluation.writing import write

FOLDER, CURRENT = "router", "current"
_NAME = re.compile(r"router-(\d{4,})\.json")


@dataclass(frozen=True, slots=True)
class Versions:
    """directory: of an index; the routers lie in its folder `router`."""

    directory: Path

    @property
    def folder(self) -> Path:
        """Where they lie."""
        return self.directory / FOLDER

    def names(self) -> list[str]:
        """Oldest first."""
        if not self.folder.is_dir():
            return []
        found = [(int(m[1]), p.name) for p in self.folder.iterdir() if (m := _NAME.fullmatch(p.name))]
        return [name for _, name in sorted(found)]

    def current(self) -> str:
        """The name of the one in use, "" when none is."""
        try:
            name = (self.folder / CURRENT).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            return ""
        return name if _NAME.fullmatch(name) and (self.folder / name).is_file() else ""

    def load(self, name: str = "") -> Classifier | None:
        """The named one, or the one in use; None without any. Raises ConfigError for one that is damaged."""
        name = name or self.current()
        if not name:
            return None
        path = self.folder / name
        if not _NAME.fullmatch(name) or not path.is_file():
            raise ConfigError(f"no router {name!r} in {self.folder}", f"one of {', '.join(self.names()) or 'none'}")
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"cannot read {path}: {error}", "selfroute router train RUN --force") from error
        return Classifier.from_json(text, str(path))

    def add(self, classifier: Classifier, *, use: bool = True) -> str:
        """Keeps it under the next number, and puts it in use; its name."""
        numbers = [int(m[1]) for name in self.names() if (m := _NAME.fullmatch(name))]
        name = f"router-{max(numbers, default=0) + 1:04d}.json"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"cannot make {self.folder}: {error.strerror}", "--index-dir DIR") from error
        write(self.folder / name, classifier.to_json(), f"ls -ld {self.folder}")
        if use:
            self.use(name)
        return name

    def use(self, name: str) -> None:
        """Puts a kept one in use; "" goes back to the shipped one."""
        if name and name not in self.names():
            raise ConfigError(f"no router {name!r} in {self.folder}", f"one of {', '.join(self.names()) or 'none'}")
        write(self.folder / CURRENT, f"{name}\n", f"ls -ld {self.folder}")
