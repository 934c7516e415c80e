"""Lines over two linear axes, drawn as SVG by hand; an image in HTML like ``chart``'s."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from aiki_kernel.display.chart import FONT, GRID, GROUND, INK, SOFT, Line

WIDTH, HEIGHT = 760, 460
LEFT, RIGHT, TOP, BOTTOM = 70, 150, 56, 58
_LABEL = 15.0  # least distance of two names


@dataclass(frozen=True)
class Plane:
    """Lines with their names at their right ends; ``x`` and ``y`` are the ends of the axes.
    ``percent`` writes numbers as per cent. Lines may be quiet (dashed) or marked points."""

    title: str
    x_label: str
    y_label: str
    lines: Sequence[Line]
    x: tuple[float, float] = (0.0, 1.0)
    y: tuple[float, float] = (0.0, 1.0)
    subtitle: str = ""
    percent: bool = True

    def svg(self) -> str:
        """The drawing. Raises ValueError when no line has a point."""
        lines = [line for line in self.lines if line.points]
        if not lines:
            raise ValueError("a drawing needs at least one point")
        parts = [
            f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {HEIGHT}' "
            f"width='{WIDTH}' height='{HEIGHT}' role='img' {FONT}>",
            f"<title>{escape(self.title)}</title>",
            f"<rect width='{WIDTH}' height='{HEIGHT}' rx='6' fill='{GROUND}'/>",
            _text(LEFT, 24, self.title, 16),
            _text(LEFT, 42, self.subtitle, 12, SOFT),
            *self._grid(),
            *(self._line(line) for line in sorted(lines, key=lambda line: not line.quiet)),
            *self._names(lines),
        ]
        return "\n".join([*parts, "</svg>"])

    def html(self) -> str:
        """The drawing as an image, with the names of its lines for who cannot see it."""
        image = base64.b64encode(self.svg().encode()).decode()
        return (
            f'<img alt="{escape(str(self))}" style="max-width:100%;width:{WIDTH}px" '
            f'src="data:image/svg+xml;base64,{image}">'
        )

    def __str__(self) -> str:
        return f"{self.title}: {', '.join(line.name for line in self.lines if line.points)}."

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        return {"text/html": self.html(), "text/plain": str(self)}

    def _place(self, x: float, y: float) -> tuple[float, float]:
        across = (x - self.x[0]) / ((self.x[1] - self.x[0]) or 1.0)
        up = (y - self.y[0]) / ((self.y[1] - self.y[0]) or 1.0)
        return (
            LEFT + across * (WIDTH - RIGHT - LEFT),
            HEIGHT - BOTTOM - up * (HEIGHT - BOTTOM - TOP),
        )

    def _grid(self) -> list[str]:
        parts = []
        for step in range(6):
            x = self.x[0] + (self.x[1] - self.x[0]) * step / 5
            y = self.y[0] + (self.y[1] - self.y[0]) * step / 5
            (at, bottom), (left, up) = self._place(x, self.y[0]), self._place(self.x[0], y)
            parts.append(_rule(at, TOP, at, HEIGHT - BOTTOM))
            parts.append(_rule(LEFT, up, WIDTH - RIGHT, up))
            parts.append(_text(at, bottom + 18, self._number(x), 12, SOFT, "middle"))
            parts.append(_text(left - 8, up + 4, self._number(y), 12, SOFT, "end"))
        parts.append(
            _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 16, self.x_label, 13, INK, "middle")
        )
        middle = (TOP + HEIGHT - BOTTOM) / 2
        parts.append(
            f"<text x='16' y='{middle:.0f}' font-size='13' fill='{INK}' text-anchor='middle' "
            f"transform='rotate(-90 16 {middle:.0f})'>{escape(self.y_label)}</text>"
        )
        return parts

    def _line(self, line: Line) -> str:
        places = [self._place(x, y) for x, y in line.points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        dash = " stroke-dasharray='5 4'" if line.quiet else ""
        marks = "".join(
            f"<circle cx='{x:.1f}' cy='{y:.1f}' r='3.5' fill='{line.color}'/>"
            for x, y in (places if len(places) <= 12 and not line.quiet else [])
        )
        return (
            f"<polyline data-line='{escape(line.name)}' points='{path}' fill='none' "
            f"stroke='{line.color}' stroke-width='2'{dash}/>{marks}"
        )

    def _names(self, lines: Sequence[Line]) -> list[str]:
        """Each name beside its line's middle, kept apart from the others."""
        middles = [line.points[len(line.points) // 2] for line in lines]
        wanted = sorted(zip((self._place(*m)[1] for m in middles), lines, strict=True), key=_first)
        parts, last = [], TOP - _LABEL
        for at, line in wanted:
            last = max(at, last + _LABEL)
            parts.append(_text(WIDTH - RIGHT + 10, last + 4, line.name, 12, line.color))
        return parts

    def _number(self, value: float) -> str:
        return f"{100 * value:.0f} %" if self.percent else f"{value:g}"


def _first(pair: tuple[float, Line]) -> float:
    return pair[0]


def _rule(x1: float, y1: float, x2: float, y2: float) -> str:
    return f"<line x1='{x1:.1f}' y1='{y1:.1f}' x2='{x2:.1f}' y2='{y2:.1f}' stroke='{GRID}'/>"


def _text(x: float, y: float, text: str, size: int, color: str = INK, anchor: str = "start") -> str:
    return (
        f"<text x='{x:.1f}' y='{y:.1f}' font-size='{size}' fill='{color}' "
        f"text-anchor='{anchor}'>{escape(text)}</text>"
    )
