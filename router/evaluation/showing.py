"""How far a run is, on standard error: a bar on a terminal, else a line now and then."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

EVERY_SECONDS = 30.0


@contextmanager
def progress(what: str, done: int, total: int) -> Iterator[Callable[[int], None]]:
    """Gives a function to be called with the number done. done: what was there before; the rate is of the rest."""
    began = time.monotonic()

    def rate(now: int) -> float:
        return (now - done) / max(1e-9, time.monotonic() - began)

    if not sys.stderr.isatty():
        last = began

        def tell(now: int) -> None:
            nonlocal last
            if time.monotonic() - last >= EVERY_SECONDS and now > done:
                last = time.monotonic()
                left = (total - now) / rate(now)
                print(f"{what}: {now:,} of {total:,}, {rate(now):.1f} a second, {_span(left)} left", file=sys.stderr)

        yield tell
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description:>12}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TextColumn("left:"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total, completed=done, rate="")

        def show(now: int) -> None:
            bar.update(task, completed=now, rate=f"{rate(now):.1f} a second")

        yield show


def _span(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
