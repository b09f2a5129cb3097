"""The files that code questions are made of: the standard library and installed packages, found and never imported."""

from __future__ import annotations

import random
import sysconfig
from collections.abc import Iterator
from importlib.metadata import Distribution, distributions
from pathlib import Path

from selfroute.models.training.code_project import rendered_projects
from selfroute.models.training.pairs import MAX_FILE_BYTES, SKIPPED_FOLDERS

STDLIB = "stdlib"
PROJECTS = ("METADATA", "pyproject.toml", "setup.cfg")

# Evaluated on, here or elsewhere, or with lines of such a package in it (typer of click, two files of langsmith): no
# file whose path or project has one of these words in it is trained on.
KEPT_OUT = (
    "flask requests fastapi click aiohttp pydantic httpx starlette model2vec django pytest sphinx xarray pylint "
    "astropy werkzeug networkx selfroute typer langsmith/_models _datetime_parse"
).split()


def is_kept_out(path: str) -> bool:
    """Whether a path or a name is one of what is evaluated on, or of what carries a copy of it."""
    return any(word in path.lower() for word in KEPT_OUT)


def installed() -> dict[str, Distribution]:
    """Distributions by their normalised name, those kept out left out."""
    found = {str(d.metadata["Name"]).lower().replace("_", "-"): d for d in distributions() if d.metadata["Name"]}
    return {name: found[name] for name in sorted(found) if not is_kept_out(name)}


def training_sets(names: list[str], max_files: int, seed: int) -> Iterator[tuple[str, dict[str, str]]]:
    """(name, path -> text) of the standard library, of each named distribution, and of the project files of all.

    names: distributions; all that are installed when it is empty. max_files: Python files of each that are kept, drawn
    by the seed; a large library gives a part of itself, within which names are unique.
    """
    known = installed()
    yield STDLIB, _sample(_python_files(Path(sysconfig.get_path("stdlib"))), 3 * max_files, seed)
    projects: dict[str, dict[str, str]] = {name: {} for name in PROJECTS}
    for name in names or list(known):
        distribution = known.get(name)
        if distribution is None:
            continue
        files: dict[str, str] = {}
        for entry in distribution.files or ():
            path = Path(str(distribution.locate_file(entry)))
            inner = entry.as_posix()
            if path.suffix == ".py" and not inner.startswith("..") and _is_wanted(inner) and path.is_file():
                text = _read(path)
                if text:
                    files[inner] = text
        files = _sample(files, max_files, seed)
        metadata = (distribution.read_text("METADATA") or "").replace("\r\n", "\n")
        folder = f"{name}-{distribution.version}.dist-info"
        if metadata:
            head = metadata.partition("\n\n")[0] + "\n"  # without the description, which is the README
            projects["METADATA"][f"{name}/METADATA"] = files[f"{folder}/METADATA"] = head
            for file, text in rendered_projects(metadata):
                projects[file][f"{name}/{file}"] = text
        entries = distribution.read_text("entry_points.txt")
        if entries:
            projects["METADATA"][f"{folder}/entry_points.txt"] = entries.replace("\r\n", "\n")
        yield name, files
    yield from projects.items()  # each by itself, since all three state the same facts


def _python_files(folder: Path) -> dict[str, str]:
    files = {}
    for path in sorted(folder.rglob("*.py")):
        inner = path.relative_to(folder).as_posix()
        if _is_wanted(inner) and (text := _read(path)):
            files[inner] = text
    return files


def _is_wanted(inner: str) -> bool:
    parts = {part.lower() for part in Path(inner).parts} | {Path(inner).stem.lower()}
    return not parts & SKIPPED_FOLDERS and not is_kept_out(inner)


def _read(path: Path) -> str:
    """The text of a file, nothing when it is too large or not UTF-8."""
    if path.stat().st_size > MAX_FILE_BYTES:
        return ""
    try:
        return path.read_text(encoding="utf-8").replace("\r\n", "\n")
    except UnicodeDecodeError:
        return ""


def _sample(files: dict[str, str], n: int, seed: int) -> dict[str, str]:
    kept = set(random.Random(seed).sample(sorted(files), min(n, len(files))))
    return {path: text for path, text in files.items() if path in kept}
