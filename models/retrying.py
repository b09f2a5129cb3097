"""How long a model server is waited for, and how often it is asked again."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime


@dataclass(frozen=True, slots=True)
class Patience:
    """deadline_seconds: for a question, all tries and waits together. stall_seconds: for the next bytes of an answer.

    Between tries it waits first_wait_seconds, twice that, and so on up to most_wait_seconds, less a random part of up
    to a half; or as long as the server asks for, up to most_wait_seconds.
    """

    deadline_seconds: float = 600.0
    stall_seconds: float = 120.0
    n_tries: int = 4
    first_wait_seconds: float = 0.5
    most_wait_seconds: float = 20.0

    def wait(self, n_tried: int, asked_seconds: float | None) -> float:
        """Seconds to wait after this many tries."""
        if asked_seconds is not None:
            return min(max(0.0, asked_seconds), self.most_wait_seconds)
        most = min(self.first_wait_seconds * 2.0 ** (n_tried - 1), self.most_wait_seconds)
        return most * random.uniform(0.5, 1.0)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """The seconds that a response's Retry-After asks for, as a number or a date; None without a usable one."""
    value = headers.get("retry-after", "").strip()
    try:
        return float(value) if value else None
    except ValueError:
        pass
    try:
        return parsedate_to_datetime(value).timestamp() - time.time()
    except (TypeError, ValueError):
        return None
