"""A chart on two logarithmic axes, drawn as SVG by hand: no plotting library is needed.

It is shown as an image in HTML. Such an image is seen in a notebook that is not trusted yet and
on GitHub, where an SVG output is not. It has a ground of its own, so that it reads the same in
light and dark themes.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 920, 560
LEFT, RIGHT, TOP, BOTTOM = 74, 262, 58, 70
ROW = 15.0  # least distance between two labels
_DIGIT = 7.0  # at most the width of a digit
GROUND, INK, SOFT, GRID = "#ffffff", "#1f2933", "#5f6b7a", "#e4e7eb"
FONT = "font-family='system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif'"


@dataclass(frozen=True)
class Line:
    """A named line through points ``(x, y)``, all positive. ``quiet`` ones (a bound, not a
    measurement) are dashed and without marks.
    """

    name: str
    points: Sequence[tuple[float, float]]
    color: str = INK
    quiet: bool = False


@dataclass(frozen=True)
class Chart:
    """Lines with their names at their right ends. ``x_text`` and ``y_text`` write the numbers
    of the axes; ``x_ticks`` are marked on the x axis (powers of ten when there are none).
    """

    title: str
    x_label: str
    y_label: str
    lines: Sequence[Line]
    subtitle: str = ""
    x_ticks: Sequence[float] = ()
    x_text: Callable[[float], str] = "{:,.0f}".format
    y_text: Callable[[float], str] = "{:g}".format

    def svg(self) -> str:
        """The drawing. Raises ValueError when no line has a point."""
        lines = [line for line in self.lines if line.points]
        wide, high = self.spans()
        across = _Scale(*wide, LEFT, WIDTH - RIGHT)
        down = _Scale(*high, HEIGHT - BOTTOM, TOP)
        parts = [
            f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {HEIGHT}' "
            f"width='{WIDTH}' height='{HEIGHT}' role='img' {FONT}>",
            f"<title>{escape(self.title)}</title>",
            f"<rect width='{WIDTH}' height='{HEIGHT}' rx='6' fill='{GROUND}'/>",
            _text(LEFT, 24, self.title, 16, weight=600),
            _text(LEFT, 43, self.subtitle, 12, SOFT),
            *self._axes(across, down),
        ]
        # measured lines lie above the bounds they are compared with
        for line in sorted(lines, key=lambda line: not line.quiet):
            parts += _drawn(line, across, down)
        parts += _labels(lines, across, down)
        return "\n".join([*parts, "</svg>"])

    def spans(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """What the x and the y axis span, as decimal logarithms. Raises ValueError when no line
        has a point."""
        points = [point for line in self.lines for point in line.points]
        if not points:
            raise ValueError("a chart needs at least one point")
        xs, ys = zip(*points, strict=True)
        return _widened(min(xs), max(xs)), _decades(min(ys), max(ys))

    def marked(self) -> tuple[list[float], list[float]]:
        """The numbers that stand at the x and the y axis."""
        (left, right), (bottom, top) = self.spans()
        tens = [10.0**power for power in range(math.ceil(left), math.floor(right) + 1)]
        powers = range(math.floor(bottom), math.ceil(top) + 1)
        return sorted(self.x_ticks) or tens, [10.0**power for power in powers]

    def html(self) -> str:
        """The drawing as an image, with the names of its lines for who cannot see it."""
        image = base64.b64encode(self.svg().encode()).decode()
        style = f"max-width:100%;width:{WIDTH}px"
        return (
            f'<img alt="{escape(str(self))}" style="{style}" '
            f'src="data:image/svg+xml;base64,{image}">'
        )

    def __str__(self) -> str:
        return f"{self.title}: {', '.join(line.name for line in self.lines if line.points)}."

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        return {"text/html": self.html(), "text/plain": str(self)}

    def _axes(self, across: _Scale, down: _Scale) -> list[str]:
        parts = []
        x_marks, y_marks = self.marked()
        for mark in y_marks:
            y = down(mark)
            parts.append(_rule(LEFT, y, WIDTH - RIGHT, y))
            parts.append(_text(LEFT - 8, y + 4, self.y_text(mark), 12, SOFT, "end"))
        free = [-math.inf, -math.inf]  # where the last number of each row ends
        for x in x_marks:
            at, text = across(x), self.x_text(x)
            half = _DIGIT * len(text) / 2
            row = int(at - half < free[0])  # a number too near to the one before goes below it
            free[row] = at + half + _DIGIT
            parts.append(_rule(at, TOP, at, HEIGHT - BOTTOM + 4 + 13 * row))
            down_to = HEIGHT - BOTTOM + 18 + 13 * row
            parts.append(_text(at, down_to, text, 12, SOFT, "middle"))
        middle = (LEFT + WIDTH - RIGHT) / 2
        parts.append(_text(middle, HEIGHT - 18, self.x_label, 13, anchor="middle"))
        upward = f"transform='rotate(-90 16 {(TOP + HEIGHT - BOTTOM) / 2:.0f})'"
        at = (TOP + HEIGHT - BOTTOM) / 2
        parts.append(_text(16, at, self.y_label, 13, anchor="middle", extra=upward))
        return parts


@dataclass(frozen=True)
class _Scale:
    """From a number to a place on the drawing, by its logarithm."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        part = (math.log10(value) - self.low) / (self.high - self.low)
        return self.start + part * (self.end - self.start)


def _widened(low: float, high: float) -> tuple[float, float]:
    """Logarithms with a little room on both sides."""
    least, most = math.log10(low), math.log10(high)
    room = max(0.06 * (most - least), 0.1)
    return least - room, most + room


def _decades(low: float, high: float) -> tuple[float, float]:
    """Logarithms from power of ten to power of ten."""
    least, most = math.floor(math.log10(low)), math.ceil(math.log10(high))
    return least, max(most, least + 1)


def _drawn(line: Line, across: _Scale, down: _Scale) -> list[str]:
    places = [(across(x), down(y)) for x, y in sorted(line.points)]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    width, dash = (1.4, " stroke-dasharray='5 4'") if line.quiet else (2, "")
    parts = [
        f"<polyline data-line='{escape(line.name)}' points='{path}' fill='none' "
        f"stroke='{line.color}' stroke-width='{width}' stroke-linejoin='round'{dash}/>"
    ]
    if not line.quiet:
        parts += [
            f"<circle cx='{x:.1f}' cy='{y:.1f}' r='3.2' fill='{line.color}' "
            f"stroke='{GROUND}' stroke-width='1'/>"
            for x, y in places
        ]
    return parts


def _labels(lines: Sequence[Line], across: _Scale, down: _Scale) -> list[str]:
    """Names beside the last points, pushed apart where they would lie on each other."""
    ends = sorted((down(max(line.points)[1]), index) for index, line in enumerate(lines))
    places = [y for y, _ in ends]
    for _ in range(200):
        moved = False
        for upper in range(len(places) - 1):
            lack = ROW - (places[upper + 1] - places[upper])
            if lack > 0.1:
                places[upper] -= lack / 2
                places[upper + 1] += lack / 2
                moved = True
        if not moved:
            break
    parts = []
    edge = WIDTH - RIGHT
    for (y, index), place in zip(ends, places, strict=True):
        line = lines[index]
        x = across(max(line.points)[0])
        parts.append(
            f"<path d='M{x + 5:.1f},{y:.1f} L{edge + 6},{place:.1f}' fill='none' "
            f"stroke='{line.color}' stroke-width='0.7' opacity='0.6'/>"
        )
        parts.append(_text(edge + 9, place + 4, line.name, 12, line.color))
    return parts


def _rule(x1: float, y1: float, x2: float, y2: float) -> str:
    return (
        f"<line x1='{x1:.1f}' y1='{y1:.1f}' x2='{x2:.1f}' y2='{y2:.1f}' "
        f"stroke='{GRID}' stroke-width='1'/>"
    )


def _text(
    x: float,
    y: float,
    text: str,
    size: int,
    color: str = INK,
    anchor: str = "start",
    *,
    weight: int = 400,
    extra: str = "",
) -> str:
    return (
        f"<text x='{x:.1f}' y='{y:.1f}' font-size='{size}' font-weight='{weight}' "
        f"fill='{color}' text-anchor='{anchor}' {extra}>{escape(text)}</text>"
    )
