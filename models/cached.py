"""The language models of a Hugging Face cache, read from its folders: nothing is loaded, no network is used."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from selfroute.errors import ModelLoadError
from selfroute.models.sizes import Size, read_config, size_of

_PREFIX = "models--"


@dataclass(frozen=True, slots=True)
class CachedModel:
    """name: as on the hub. size: None for what cannot be loaded as a language model, and then why says it."""

    name: str
    folder: Path
    size: Size | None
    why: str = ""


def cached_models(cache: Path) -> list[CachedModel]:
    """The models of a cache folder by name, each at the revision that its name stands for; none without the folder."""
    found = []
    for entry in sorted(cache.glob(f"{_PREFIX}*")):
        folder = _snapshot(entry)
        if folder is not None:
            found.append(_look(entry.name.removeprefix(_PREFIX).replace("--", "/"), folder))
    return found


def _snapshot(entry: Path) -> Path | None:
    """The folder of the main revision, or of the only one there is."""
    try:
        folder = entry / "snapshots" / (entry / "refs" / "main").read_text().strip()
        if folder.is_dir():
            return folder
    except OSError:
        pass
    folders = [path for path in (entry / "snapshots").glob("*") if path.is_dir()]
    return folders[0] if len(folders) == 1 else None


def _look(name: str, folder: Path) -> CachedModel:
    try:
        config = read_config(folder)
        kinds = config.get("architectures")
        if not isinstance(kinds, list) or not any("CausalLM" in str(k) or "Generation" in str(k) for k in kinds):
            shown = ", ".join(map(str, kinds)) if isinstance(kinds, list) and kinds else str(config.get("model_type"))
            return CachedModel(name, folder, None, f"not a language model ({shown})")
        return CachedModel(name, folder, size_of(folder))
    except (ModelLoadError, OSError) as error:
        return CachedModel(name, folder, None, getattr(error, "message", str(error)).splitlines()[0])
