"""The two drawings of the HTML report, as SVG that is coloured by the page's style."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, log10

WIDTH, HEIGHT = 720, 400
LEFT, RIGHT, TOP, BOTTOM = 48, 24, 36, 48
LINE = 17  # pixels: a name further from its point has a line to it
WIDE_LETTER = 7.3  # pixels


@dataclass(frozen=True, slots=True)
class Point:
    """One policy: what it reads, how often it is right, and between which bounds. css: its class."""

    name: str
    x: float
    y: float
    bounds: tuple[float, float] | None
    css: str = ""


def front(points: Sequence[Point], x_label: str) -> str:
    """Cost to the right, quality upwards; a line joins the points that nothing beats in both."""
    if not points:
        return ""
    ys = [y for p in points for y in (p.y, *(p.bounds or ()))]
    y_low, y_high = max(0.0, floor(min(ys) * 10) / 10), min(1.0, ceil(max(ys) * 10) / 10)
    y_low, y_high = (y_low, y_high) if y_high > y_low else (max(0.0, y_low - 0.1), min(1.0, y_high + 0.1))
    scale = _Scale([p.x for p in points])

    def at(x: float, y: float) -> tuple[float, float]:
        return (
            LEFT + scale.share(x) * (WIDTH - LEFT - RIGHT),
            TOP + (y_high - y) / (y_high - y_low) * (HEIGHT - TOP - BOTTOM),
        )

    drawn = [*_y_axis(y_low, y_high), *_x_axis(scale, x_label)]
    best: list[Point] = []
    for point in sorted(points, key=lambda p: (p.x, -p.y)):
        if not best or point.y > best[-1].y:
            best.append(point)
    path = " ".join("{:.1f},{:.1f}".format(*at(p.x, p.y)) for p in best)
    drawn.append(f'<polyline class="front" points="{path}"/>')
    for point in points:
        x, y = at(point.x, point.y)
        if point.bounds:
            low, high = at(point.x, point.bounds[0])[1], at(point.x, point.bounds[1])[1]
            drawn.append(f'<line class="bounds {point.css}" x1="{x:.1f}" x2="{x:.1f}" y1="{low:.1f}" y2="{high:.1f}"/>')
    for point in points:
        x, y = at(point.x, point.y)
        drawn.append(f'<circle class="dot {point.css}" cx="{x:.1f}" cy="{y:.1f}" r="6"/>')
    drawn += _labels([(point, *at(point.x, point.y)) for point in points])
    return _svg(drawn, "Share right against tokens read, by policy")


def calibration(curves: Sequence[tuple[str, str, Sequence[tuple[float, float, int]]]]) -> str:
    """Said probability to the right, share right upwards. curves: (name, css, [(mean p, share right, number)])."""
    size = HEIGHT - TOP - BOTTOM
    drawn = [*_y_axis(0.0, 1.0, right=LEFT + size)]

    def at(x: float, y: float) -> tuple[float, float]:
        return LEFT + x * size, TOP + (1 - y) * size

    for i in range(0, 11, 2):
        x, y = at(i / 10, 0)
        drawn.append(f'<text class="tick" x="{x:.1f}" y="{y + 18:.1f}" text-anchor="middle">{i * 10}%</text>')
    drawn.append(f'<text class="axis" x="{LEFT + size / 2:.0f}" y="{HEIGHT - 8}" text-anchor="middle">said</text>')
    (x0, y0), (x1, y1) = at(0, 0), at(1, 1)
    drawn.append(f'<line class="diagonal" x1="{x0:.1f}" y1="{y0:.1f}" x2="{x1:.1f}" y2="{y1:.1f}"/>')
    most = max((n for _, _, bins in curves for _, _, n in bins), default=1)
    for number, (name, css, bins) in enumerate(curves):
        places = [at(p, share) for p, share, _ in bins]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        drawn.append(f'<polyline class="curve {css}" points="{path}"/>')
        for (x, y), (_, _, n) in zip(places, bins, strict=True):
            radius = 3 + 4 * (n / most) ** 0.5
            drawn.append(f'<circle class="dot {css}" cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}"/>')
        x, y = LEFT + size + 28, TOP + 20 + number * 24
        drawn.append(f'<circle class="dot {css}" cx="{x}" cy="{y - 4}" r="6"/>')
        drawn.append(f'<text class="label" x="{x + 14}" y="{y}">{escape(name)}</text>')
    return _svg(drawn, "Said probability against share right")


class _Scale:
    """Numbers along the x axis: by their logarithm when they differ much."""

    def __init__(self, values: Sequence[float]) -> None:
        low, high = min(values), max(values)
        self.log = low > 0 and high / low > 8
        if self.log:
            self.low, self.high = log10(low) - 0.12, log10(high) + 0.3
        else:
            self.low, self.high = 0.0, high * 1.25 or 1.0

    def share(self, value: float) -> float:
        """0 at the left, 1 at the right."""
        return ((log10(value) if self.log else value) - self.low) / (self.high - self.low)

    def ticks(self) -> list[float]:
        """Round numbers within."""
        if not self.log:
            step = _step(self.high)
            return [step * i for i in range(int(self.high / step) + 1)]
        powers = range(floor(self.low), ceil(self.high) + 1)
        found = [m * 10.0**k for k in powers for m in (1, 2, 5)]
        inside = [value for value in found if self.low <= log10(value) <= self.high]
        return inside if len(inside) <= 8 else [value for value in inside if str(value)[0] == "1"]


def _step(high: float) -> float:
    power = 10.0 ** floor(log10(high))
    return next(power * m for m in (0.2, 0.5, 1.0, 2.0) if high / (power * m) <= 6)


def _y_axis(low: float, high: float, right: float = WIDTH - RIGHT) -> list[str]:
    n = round((high - low) * 10)
    step = 0.02 if n <= 1 else 0.05 if n <= 3 else 0.1 if n <= 6 else 0.2
    first = ceil(low / step - 1e-9)
    drawn = []
    for i in range(first, floor(high / step + 1e-9) + 1):
        y = TOP + (high - i * step) / (high - low) * (HEIGHT - TOP - BOTTOM)
        drawn.append(f'<line class="grid" x1="{LEFT}" x2="{right:.0f}" y1="{y:.1f}" y2="{y:.1f}"/>')
        drawn.append(f'<text class="tick" x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{i * step:.0%}</text>')
    drawn.append(f'<text class="axis" x="0" y="{TOP - 18}">share right</text>')
    return drawn


def _x_axis(scale: _Scale, label: str) -> list[str]:
    bottom, width = HEIGHT - BOTTOM, WIDTH - LEFT - RIGHT
    drawn = [f'<line class="base" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{bottom}" y2="{bottom}"/>']
    for value in scale.ticks():
        x = LEFT + scale.share(value) * width
        drawn.append(f'<line class="base" x1="{x:.1f}" x2="{x:.1f}" y1="{bottom}" y2="{bottom + 5}"/>')
        drawn.append(f'<text class="tick" x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{short(value)}</text>')
    drawn.append(
        f'<text class="axis" x="{LEFT + width / 2:.0f}" y="{HEIGHT - 8}" text-anchor="middle">{escape(label)}</text>'
    )
    return drawn


def _labels(placed: Sequence[tuple[Point, float, float]]) -> list[str]:
    """Names to the right of the points, or else to the left, below or above, so that they cover nothing."""
    drawn: list[str] = []
    taken = [(x - 8, x + 8, y - 8, y + 8) for _, x, y in placed]
    for point, x, y in sorted(placed, key=lambda p: (p[2], p[1])):
        width = WIDE_LETTER * len(point.name)
        sides = [left for left in (x + 12, x - 12 - width) if left > LEFT and left + width < WIDTH] or [LEFT]
        for step in range(0, 200):
            shift = (step + 1) // 2 * 6 * (1 if step % 2 else -1)
            boxes = [(left, left + width, y + shift - 8, y + shift + 8) for left in sides]
            free = [box for box in boxes if not any(_meet(box, other) for other in taken)]
            if free:
                break
        box = free[0] if free else boxes[0]
        taken.append(box)
        left, right, _, _ = box
        if abs(shift) > LINE:
            edge = left - 2 if left > x else right + 2
            drawn.append(f'<line class="leader" x1="{x:.1f}" y1="{y:.1f}" x2="{edge:.1f}" y2="{y + shift:.1f}"/>')
        at = f'x="{left:.1f}" y="{y + shift + 4:.1f}"'
        drawn.append(f'<text class="label {point.css}" {at}>{escape(point.name)}</text>')
    return drawn


def _meet(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one[0] < other[1] and other[0] < one[1] and one[2] < other[3] and other[2] < one[3]


def short(value: float) -> str:
    """1,500,000 as 1.5M."""
    for size, letter in ((1e6, "M"), (1e3, "K")):
        if value >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


def _svg(drawn: Sequence[str], title: str) -> str:
    body = "\n".join(drawn)
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">\n{body}\n</svg>'
