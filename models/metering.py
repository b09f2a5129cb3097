"""What answering costs the machine."""

from __future__ import annotations

import sys


def peak_bytes() -> int:
    """The most memory that this process has held so far, 0 where the platform does not say."""
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * 1024)
