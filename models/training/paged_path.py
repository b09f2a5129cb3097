"""Makes `selfroute` importable from the checkout where the package is not installed."""

from __future__ import annotations

import sys
import types
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def map_package(root: Path = ROOT) -> None:
    """selfroute.models becomes root/models, and so on: what the installed package's mapping of folders says."""
    package = types.ModuleType("selfroute")
    package.__path__ = [str(root / "selfroute"), str(root)]
    sys.modules["selfroute"] = package
