"""selfroute: questions about a codebase, each routed to retrieval or to long context, each answer cited.

from selfroute import SelfRouter
router = SelfRouter.from_path("~/code/flask")
print(router.ask("Where is the session cookie signed?"))
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from selfroute.errors import (
    ConfigError,
    ContextOverflowError,
    CorpusError,
    DeviceMemoryError,
    DimensionError,
    IndexCorruptError,
    IndexLockedError,
    IndexMissingError,
    IndexVersionError,
    LimitsError,
    MissingDependencyError,
    ModelLoadError,
    ModelServerError,
    OutOfTimeError,
    SelfRouteError,
    UnknownNameError,
)
from selfroute.types import (
    Answer,
    Attempt,
    Chunk,
    Citation,
    Context,
    Decision,
    Estimate,
    Features,
    Generation,
    Hit,
    Limits,
    Query,
    Span,
    Usage,
)

if TYPE_CHECKING:
    from selfroute.router.router import SelfRouter

__version__ = "0.1.0"

__all__ = [
    "Answer",
    "Attempt",
    "Chunk",
    "Citation",
    "ConfigError",
    "Context",
    "ContextOverflowError",
    "CorpusError",
    "Decision",
    "DeviceMemoryError",
    "DimensionError",
    "Estimate",
    "Features",
    "Generation",
    "Hit",
    "IndexCorruptError",
    "IndexLockedError",
    "IndexMissingError",
    "IndexVersionError",
    "Limits",
    "LimitsError",
    "MissingDependencyError",
    "ModelLoadError",
    "ModelServerError",
    "OutOfTimeError",
    "Query",
    "SelfRouteError",
    "SelfRouter",
    "Span",
    "UnknownNameError",
    "Usage",
    "__version__",
]

_LAZY = {"SelfRouter": "selfroute.router.router"}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'selfroute' has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(__all__)
