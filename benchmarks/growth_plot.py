"""Draws the lines of growth.py as an SVG: seconds over tokens, both axes logarithmic, with a line of linear growth."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

WIDTH, HEIGHT = 640, 400
LEFT, RIGHT, TOP, BOTTOM = 64, 24, 28, 48
COLOURS = ("#1b6ca8", "#c8553d", "#3a7d44", "#7b4ea3", "#8a6d1d", "#444444")
KINDS = {
    "process_seconds": "a question, as a process",
    "ask_seconds": "a question",
    "read_dense_seconds": "the global read, all pages",
    "read_seconds": "the global read, as by default",
}
Series = dict[str, list[tuple[float, float]]]


def series_of(rows: Sequence[Mapping[str, Any]]) -> Series:
    """Points (tokens, seconds) by what was measured and on what; of equal sizes the last counts."""
    found: dict[str, dict[float, float]] = {}
    for kind, what in KINDS.items():
        for row in rows:
            if row.get(kind):
                name = f"{what} ({str(row.get('device', '')).split(',')[0]})"
                found.setdefault(name, {})[float(row["tokens"])] = float(row[kind])
    return {name: sorted(points.items()) for name, points in found.items()}


def chart(rows: Sequence[Mapping[str, Any]]) -> str:
    """The SVG. Raises ValueError for rows without a point."""
    series = series_of(rows)
    if not series:
        raise ValueError("no line has tokens and seconds")
    points = [point for line in series.values() for point in line]
    x_low, x_high = _decades([x for x, _ in points])
    y_low, y_high = _decades([y for _, y in points])

    def x_of(value: float) -> float:
        return LEFT + (math.log10(value) - x_low) / (x_high - x_low) * (WIDTH - LEFT - RIGHT)

    def y_of(value: float) -> float:
        return HEIGHT - BOTTOM - (math.log10(value) - y_low) / (y_high - y_low) * (HEIGHT - TOP - BOTTOM)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}"'
        ' font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
    ]
    for n in range(x_low, x_high + 1):
        at = x_of(10.0**n)
        parts.append(f'<path d="M{at:.1f} {TOP}V{HEIGHT - BOTTOM}" stroke="#ddd"/>')
        parts.append(f'<text x="{at:.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{_number(10.0**n)}</text>')
    for n in range(y_low, y_high + 1):
        at = y_of(10.0**n)
        parts.append(f'<path d="M{LEFT} {at:.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{_number(10.0**n)}</text>')
    parts.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 10}" text-anchor="middle">tokens</text>')
    parts.append(
        f'<text x="14" y="{HEIGHT / 2}" text-anchor="middle" transform="rotate(-90 14 {HEIGHT / 2})">seconds</text>'
    )
    parts += _linear(
        max(series.values(), key=len), x_of, y_of, (10.0**x_low, 10.0**x_high), (10.0**y_low, 10.0**y_high)
    )
    for n, (name, line) in enumerate(series.items()):
        colour = COLOURS[n % len(COLOURS)]
        path = " ".join(f"{x_of(x):.1f},{y_of(y):.1f}" for x, y in line)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x_of(x):.1f}" cy="{y_of(y):.1f}" r="3" fill="{colour}"/>' for x, y in line]
        y = TOP + 14 + 16 * n
        parts.append(f'<path d="M{LEFT + 10} {y - 4}h18" stroke="{colour}" stroke-width="2"/>')
        parts.append(f'<text x="{LEFT + 34}" y="{y}">{escape(name)}</text>')
    y = TOP + 14 + 16 * len(series)
    parts.append(f'<path d="M{LEFT + 10} {y - 4}h18" stroke="#888" stroke-dasharray="4 3"/>')
    parts.append(f'<text x="{LEFT + 34}" y="{y}">linear growth</text>')
    return "\n".join([*parts, "</svg>\n"])


def _linear(
    line: Sequence[tuple[float, float]],
    x_of: Any,
    y_of: Any,
    x_range: tuple[float, float],
    y_range: tuple[float, float],
) -> list[str]:
    """Seconds in proportion to tokens, through the last point of a line, as far as the axes go."""
    x, y = line[-1]
    low = max(x_range[0], y_range[0] * x / y)
    high = min(x_range[1], y_range[1] * x / y)
    ends = f'x1="{x_of(low):.1f}" y1="{y_of(low * y / x):.1f}" x2="{x_of(high):.1f}" y2="{y_of(high * y / x):.1f}"'
    return [f'<line {ends} stroke="#888" stroke-dasharray="4 3"/>']


def _decades(values: Sequence[float]) -> tuple[int, int]:
    """The powers of ten around the values."""
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return low, max(high, low + 1)


def _number(value: float) -> str:
    for size, unit in ((1e6, "M"), (1e3, "K")):
        if value >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"
