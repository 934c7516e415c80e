"""The pictures of ``notebooks/health.ipynb``: a row a service, coloured by its state over time."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape
from pathlib import Path

from aiki_kernel.display.chart import FONT, GROUND, INK, SOFT
from aiki_kernel.display.static_board import COLOURS
from aiki_kernel.health.history import Point, all_series

_WIDTH, _LEFT, _RIGHT, _TOP, _ROW, _BAR = 760, 200, 24, 16, 22, 12
_GAP_S = 900.0  # no sample for so long: nobody looked
_TICKS = 6


@dataclass(frozen=True)
class Service:
    """One probe over a period. ``well`` is the share of its samples that were not bad (0..1)."""

    probe: str
    points: tuple[Point, ...]

    @property
    def well(self) -> float:
        return 1.0 - sum(point.bad for point in self.points) / len(self.points)

    @property
    def last(self) -> str:
        """The state of its last sample."""
        return self.points[-1].state

    def spans(self) -> list[tuple[float, float, str]]:
        """(from, to, state) in seconds since 1970, one after the other; where nobody looked there
        is none."""
        found: list[tuple[float, float, str]] = []
        for point in self.points:
            if found and point.at - found[-1][1] <= _GAP_S:
                begun, _, state = found[-1]
                found[-1] = (begun, point.at, state)
                if state == point.state:
                    continue
            found.append((point.at, point.at, point.state))
        return found


def services(history: Path, since: float, until: float) -> list[Service]:
    """All probes that the history knows in a period, the least well first."""
    known = all_series(history, since, until)
    found = [Service(name, tuple(points)) for name, points in known.items() if points]
    return sorted(found, key=lambda one: (one.well, one.probe))


@dataclass(frozen=True)
class Timeline:
    """A picture that a notebook shows: an image, with text for front ends without pictures."""

    services: Sequence[Service]
    since: float
    until: float

    def svg(self) -> str:
        """The drawing, on a ground of its own."""
        height = _TOP + 30 + _ROW * len(self.services)
        parts = [
            f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {_WIDTH} {height}' "
            f"width='{_WIDTH}' height='{height}' role='img' font-size='12' {FONT}>",
            f"<title>States of {len(self.services)} services</title>",
            f"<rect width='{_WIDTH}' height='{height}' rx='6' fill='{GROUND}'/>",
        ]
        for number, one in enumerate(self.services):
            top = _TOP + _ROW * number
            parts.append(
                f"<text x='16' y='{top + 11}' fill='{INK}'>{escape(one.probe)}</text>"
                f"<text x='{_LEFT - 10}' y='{top + 11}' text-anchor='end' fill='{SOFT}'>"
                f"{100 * one.well:.1f} %</text>"
            )
            for begun, ended, state in one.spans():
                left, right = self._x(begun), self._x(ended)
                when = f"{_clock(begun)} to {_clock(ended)}"
                parts.append(
                    f"<rect x='{left:.1f}' y='{top + 1}' width='{max(1.5, right - left):.1f}' "
                    f"height='{_BAR}' fill='{COLOURS[state]}'><title>{escape(one.probe)} {state}, "
                    f"{when}</title></rect>"
                )
        for tick in range(_TICKS):
            at = self.since + (self.until - self.since) * tick / (_TICKS - 1)
            anchor = "start" if not tick else "end" if tick == _TICKS - 1 else "middle"
            parts.append(
                f"<text x='{self._x(at):.1f}' y='{height - 10}' text-anchor='{anchor}' "
                f"fill='{SOFT}'>{_clock(at)}</text>"
            )
        return "".join([*parts, "</svg>"])

    def __str__(self) -> str:
        width = max((len(one.probe) for one in self.services), default=0)
        return "\n".join(
            f"{one.probe:<{width}}  {100 * one.well:5.1f} %  {one.last}" for one in self.services
        )

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        return {"text/html": self.html(), "text/plain": str(self)}

    def html(self) -> str:
        """The drawing as an image, with its figures for who cannot see it."""
        image = base64.b64encode(self.svg().encode()).decode()
        return (
            f'<img alt="{escape(str(self), quote=True)}" style="max-width:100%;width:{_WIDTH}px" '
            f'src="data:image/svg+xml;base64,{image}">'
        )

    def _x(self, at: float) -> float:
        share = (at - self.since) / max(self.until - self.since, 1.0)
        return _LEFT + (_WIDTH - _RIGHT - _LEFT) * min(1.0, max(0.0, share))


def _clock(at: float) -> str:
    return datetime.fromtimestamp(at).astimezone().strftime("%d.%m. %H:%M")
