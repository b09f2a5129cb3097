"""The second look of long_context.py: the joint reader reads the text of the pages that the pointer has chosen."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from selfroute.backends import linked
from selfroute.models.calibration import Calibration
from selfroute.models.span_reader import SpanReader
from selfroute.models.span_scores import GRAPH
from selfroute.models.training.squad_scores import exact_match, f1, normalised
from selfroute.types import Chunk

N_PAGES = 16


@cache
def joint_reader() -> SpanReader:
    """The shipped one; it always answers, since every question of these tasks has an answer."""
    return SpanReader(calibration=Calibration.read(GRAPH).forced())


def reread(question: str, chosen: Sequence[Chunk]) -> str:
    """The answer that the joint reader quotes, of the pages apart and of those that are linked, as the route does."""
    return linked.read(joint_reader(), question, chosen).text


def scores(answer: str, ways: Sequence[Sequence[str]]) -> tuple[float, float, float]:
    """(share contained, exact match, F1). ways: for each thing that is asked for the ways to write it.

    Contained is RULER's measure of its qa tasks: a right answer stands in the answer, both normalised as SQuAD does.
    """
    said = f" {normalised(answer)} "
    held = [any(f" {normalised(way)} " in said for way in one) for one in ways]
    every = [way for one in ways for way in one]
    return sum(held) / len(held), exact_match(answer, every), f1(answer, every)
