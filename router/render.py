"""Answers, hits and decisions as people read them, and as one JSON object a line."""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from selfroute.errors import ConfigError
from selfroute.memory.hidden import show_hidden
from selfroute.router.hidden_text import HIDDEN_NOTE
from selfroute.types import Answer, Attempt, Citation, Decision, Features, Hit, Usage

if TYPE_CHECKING:
    from selfroute.memory.base import Progress, Skipped
    from selfroute.memory.update import UpdateReport

N_LINES_SHOWN = 5  # of a hit
# Files may hold sequences that a terminal obeys; what is shown on one is shown in a visible form.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def say(line: str = "", *, to: TextIO | None = None) -> None:
    """Prints a line, to standard error unless told otherwise; on a terminal with nothing that acts on it or hides."""
    stream = sys.stderr if to is None else to
    print(_visible(line) if stream.isatty() else line, file=stream)


def give(piece: str) -> None:
    """Prints a piece of an answer to standard output, at once; on a terminal as say() does."""
    print(_visible(piece) if sys.stdout.isatty() else piece, end="", flush=True)


def put(value: Any) -> None:
    """Prints one JSON object as one line to standard output; on a terminal in ASCII alone, which hides nothing."""
    print(json.dumps(value, ensure_ascii=sys.stdout.isatty(), separators=(", ", ": ")))


def write_file(name: str, text: str) -> None:
    """Writes a file that the user asked for. Raises ConfigError when it cannot be written."""
    try:
        Path(name).expanduser().write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot write {name}: {error.strerror}", "name a file in a folder that exists") from error


def hit_object(hit: Hit) -> dict[str, Any]:
    """A hit's fields as `search --json` gives them."""
    chunk = hit.chunk
    return {
        "path": chunk.path,
        "start_line": chunk.start_line,
        "end_line": chunk.end_line,
        "symbol": chunk.symbol,
        "score": hit.score,
        "via": list(hit.via),
        "stale": hit.stale,
        "text": chunk.text,
    }


def answer_object(answer: Answer) -> dict[str, Any]:
    """An answer's fields as `ask --json` gives them."""
    return {
        "answer": answer.text,
        "answerable": answer.answerable,
        "confidence": answer.confidence,
        "route": answer.route,
        "reason": answer.decision.reason,
        "citations": [asdict(citation) for citation in answer.citations],
        "attempts": [
            {
                "route": attempt.route,
                "answerable": attempt.generation.answerable,
                "seconds": attempt.usage.seconds,
                "tokens": attempt.usage.prompt_tokens,
                "degraded": attempt.degraded,
            }
            for attempt in answer.attempts
        ],
        "usage": asdict(answer.usage),
        "index_age_seconds": answer.index_age_seconds,
    }


def decision_object(decision: Decision, features: Features) -> dict[str, Any]:
    """A decision and what it was taken from."""
    return {
        "route": decision.route,
        "action": decision.action,
        "reason": decision.reason,
        "estimates": {route: asdict(estimate) for route, estimate in decision.estimates.items()},
        "features": asdict(features),
    }


def report_object(report: UpdateReport, directory: str) -> dict[str, Any]:
    """What `index --json` gives. skipped: reason -> count."""
    return {
        "files": report.files,
        "chunks": report.chunks,
        "tokens": report.tokens,
        "added": report.added,
        "changed": report.changed,
        "removed": report.removed,
        "skipped": dict(Counter(skip.reason for skip in report.skipped).most_common()),
        "seconds": report.seconds,
        "directory": directory,
        "notes": list(report.notes),
    }


def hit_lines(hit: Hit) -> Iterator[str]:
    """Where it stands and what it belongs to, then the first lines of its text."""
    chunk = hit.chunk
    about = [chunk.location, chunk.symbol, f"{hit.score:.2f}", "+".join(hit.via), "stale" if hit.stale else ""]
    yield "  ".join(part for part in about if part)
    lines = [line for line in chunk.text.splitlines() if line.strip()]
    yield from (f"    {line}" for line in lines[:N_LINES_SHOWN])
    if len(lines) > N_LINES_SHOWN:
        yield f"    ... {len(lines) - N_LINES_SHOWN} more lines"


def answer_lines(answer: Answer) -> Iterator[str]:
    """Route, reason, citations, cost: what stands beside the answer."""
    yield f"route: {answer.route}"
    yield f"why: {answer.decision.reason}"
    told = [citation for citation in answer.citations if _is_told(citation, answer.text)]
    if told:
        yield f"cited: {', '.join(dict.fromkeys(citation.location for citation in told))}"
    for number, citation in enumerate(answer.citations, 1):
        if citation in told:
            continue
        mark = f"[{number}] " if f"[{number}]" in answer.text else ""
        yield f"cited: {mark}{citation.location}" + (" (changed since it was indexed)" if citation.stale else "")
        yield from (f"  | {line}" for line in citation.text.splitlines())
    for attempt in answer.attempts:
        yield f"cost: {_cost(attempt.route, attempt.usage)}"
    for note in _notes(answer.attempts):
        yield f"note: {note}"


def _is_told(citation: Citation, text: str) -> bool:
    """Whether the answer itself gives the place and the words, as one that is made of quotes does."""
    place = re.search(rf"(?<!\S){re.escape(citation.location)}[: ]", text)
    return bool(place) and not citation.stale and re.sub(r"\s*\n\s*", " ", citation.text) in text


def decision_lines(decision: Decision, features: Features) -> Iterator[str]:
    """Route and reason, what each route is expected to give, what the policy saw."""
    yield f"route: {decision.route}"
    yield f"why: {decision.reason}"
    for route, estimate in decision.estimates.items():
        yield (
            f"expected of {route}: {estimate.tokens:,} tokens, about {estimate.seconds:.2f} s,"
            f" right in {estimate.p_correct:.0%} (a prior from published figures, not measured on this corpus)"
        )
        if estimate.once_tokens:
            later = "" if estimate.later_seconds is None else f"; later questions about {estimate.later_seconds:.1f} s"
            yield f"  encodes {estimate.once_tokens:,} tokens once{later}"
    for name, value in asdict(features).items():
        shown = "yes" if value is True else "no" if value is False else f"{value:.3f}".rstrip("0").rstrip(".")
        yield f"  {name}: {shown}"


def report_lines(report: UpdateReport, directory: str) -> Iterator[str]:
    """One line of what was indexed, one of what was skipped and why."""
    yield (
        f"indexed {report.files:,} files, {report.chunks:,} chunks, {report.tokens:,} tokens in {report.seconds:.2f} s"
        f" ({report.added:,} added, {report.changed:,} changed, {report.removed:,} removed) in {directory}"
    )
    yield skipped_line(report.skipped)


def skipped_line(skipped: Sequence[Skipped]) -> str:
    """How many were skipped, by reason, the commonest first."""
    if not skipped:
        return "skipped nothing"
    counts = Counter(skip.reason for skip in skipped).most_common()
    return f"skipped {len(skipped):,}: {', '.join(f'{count:,} {reason}' for reason, count in counts)}"


def nearest_lines(nearest: Sequence[Citation]) -> Iterator[str]:
    """What to look at by hand, for a question without an answer."""
    for citation in nearest:
        yield f"nearest: {citation.location}"
        yield from (f"  | {line}" for line in citation.text.splitlines())
    if not nearest:
        yield "nearest: nothing"


@contextmanager
def progress_bar() -> Iterator[Progress | None]:
    """A bar on standard error when that is a terminal, else None."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TaskID,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    times = TimeElapsedColumn(), TextColumn("left:"), TimeRemainingColumn()
    columns = (TextColumn("{task.description:>12}"), BarColumn(), MofNCompleteColumn(), *times)
    tasks: dict[str, TaskID] = {}
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:

        def show(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bar.add_task(stage, total=total)
            bar.update(tasks[stage], completed=done, total=total)

        yield show


def hidden_notes(answer: Answer) -> list[str]:
    """Those of the answer's notes that warn of hidden characters in what it cites."""
    return [note for note in _notes(answer.attempts) if note.startswith(HIDDEN_NOTE)]


def _visible(line: str) -> str:
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", show_hidden(line))


def _cost(route: str, usage: Usage) -> str:
    cached = f" ({usage.cached_tokens:,} of them read before)" if usage.cached_tokens else ""
    return f"{route} read {usage.prompt_tokens:,} tokens{cached} in {usage.seconds:.2f} s"


def _notes(attempts: Sequence[Attempt]) -> list[str]:
    return list(dict.fromkeys(note for attempt in attempts for note in attempt.notes))
