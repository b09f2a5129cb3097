"""What policies share: whether a route keeps within a question's limits, and what to make of the last attempt."""

from __future__ import annotations

from collections.abc import Mapping
from math import floor, log10

from selfroute.types import Attempt, Decision, Estimate, Limits, Query


def excess(query: Query, estimate: Estimate) -> str:
    """Why a route may not be taken, its window or a limit of the question, in words; or ""."""
    most, room = query.limits.max_context_tokens, estimate.room_tokens
    if room is not None and not estimate.fits:
        if most is not None and room >= most:
            return f"{estimate.tokens:,} tokens are over the limit of {most:,}"
        return f"{estimate.tokens:,} tokens are more than the {room:,} that the model has room for"
    return over(query.limits, estimate)


def over(limits: Limits, estimate: Estimate) -> str:
    """Which limit a route might break, at the most that it may take, in words; or ""."""
    if limits.max_tokens is not None and estimate.most_tokens > limits.max_tokens:
        return f"{estimate.most_tokens:,} tokens are over the limit of {limits.max_tokens:,}"
    if limits.max_seconds is not None and estimate.most_seconds > limits.max_seconds:
        about = f"about {_number(estimate.seconds)} s"
        if estimate.most_seconds > 1.1 * estimate.seconds:
            about += f", up to {_number(estimate.most_seconds)} s,"
        return f"{about} are over the limit of {_number(limits.max_seconds)} s"
    if limits.max_dollars is not None and estimate.most_dollars > limits.max_dollars * (1 + 1e-9):
        return f"up to {_number(estimate.most_dollars)} dollars are over the limit of {_number(limits.max_dollars)}"
    return ""


def _number(value: float) -> str:
    """Two digits that count, in full: 0.00031, 1.2, 45, 1,300."""
    if value >= 100 or value <= 0:
        return f"{value:,.0f}"
    digits = max(0, 1 - floor(log10(value)))
    text = f"{value:.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def accept(attempt: Attempt, estimates: Mapping[str, Estimate]) -> Decision:
    """Keeps the attempt's answer."""
    reason = f"{attempt.route} found an answer (confidence {attempt.generation.confidence:.2f})"
    return Decision(attempt.route, estimates, reason, "accept")


def decline(attempt: Attempt, estimates: Mapping[str, Estimate], why: str = "") -> Decision:
    """Says that the corpus holds no answer."""
    reason = f"{attempt.route} found no answer" + (f"; {why}" if why else "")
    return Decision(attempt.route, estimates, reason, "decline")


def verdict(attempt: Attempt, estimates: Mapping[str, Estimate]) -> Decision:
    """Accepts an attempt that answers, declines otherwise; never asks for another."""
    return accept(attempt, estimates) if attempt.generation.answerable else decline(attempt, estimates)
