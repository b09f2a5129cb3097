"""The router that comes with the package, or the one that was trained for a corpus."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from selfroute.models import weights
from selfroute.router.classifier.classifier import Classifier
from selfroute.router.classifier.versions import Versions

FOLDER = Path(__file__).parent.parent / "weights"
FILE = "router.json"


@cache
def shipped() -> Classifier:
    """Raises ModelLoadError when the file is not the one that was shipped."""
    return Classifier.from_json(weights.read(FILE, FOLDER).decode("utf-8"), FILE)


def current(directory: Path | None) -> Classifier:
    """The one in use in the folder of an index, else the shipped one."""
    own = Versions(directory).load() if directory is not None else None
    return own or shipped()
