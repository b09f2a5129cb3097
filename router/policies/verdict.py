"""What policies share: whether a route keeps within a question's limits, and what to make of the last attempt."""

from __future__ import annotations

from collections.abc import Mapping

from selfroute.types import Attempt, Decision, Estimate, Query


def excess(query: Query, estimate: Estimate) -> str:
    """Which limit of the question a route would break, in words, or ""."""
    limits = query.limits
    if not estimate.fits:
        return f"{estimate.tokens:,} tokens are more than the {estimate.room_tokens:,} that the model has room for"
    if limits.max_tokens is not None and estimate.tokens > limits.max_tokens:
        return f"{estimate.tokens:,} tokens are over the limit of {limits.max_tokens:,}"
    return too_dear(query, estimate)


def too_dear(query: Query, estimate: Estimate) -> str:
    """Which limit on seconds or dollars a route might break, in words, or ""."""
    limits = query.limits
    seconds = estimate.seconds_needed
    dollars = estimate.dollars if estimate.dollars_high is None else estimate.dollars_high
    if limits.max_seconds is not None and seconds > limits.max_seconds:
        return f"up to {seconds:.1f} s are over the limit of {max(0.0, limits.max_seconds):.3g} s"
    if limits.max_dollars is not None and dollars > limits.max_dollars:
        return f"up to {dollars:.4f} dollars are over the limit of {max(0.0, limits.max_dollars):.4g}"
    return ""


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
