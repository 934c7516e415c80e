"""What a probe found, and how bad that is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

OK, DEGRADED, DOWN, UNKNOWN = "ok", "degraded", "down", "unknown"
STATES = (OK, DEGRADED, DOWN, UNKNOWN)
STATUS = {OK: 0, DEGRADED: 1, UNKNOWN: 1, DOWN: 2}
"""State -> exit status of ``aiki health``. What cannot be told is not well."""

_LONGEST = 400  # characters of a reason


class Reading(NamedTuple):
    """One probe, once. ``reason`` is a sentence for the user; where something is wrong it ends
    with the next step. ``value`` is the figure, in ``unit``; ``facts`` are plain JSON data that
    metrics and tables read; ``seconds`` is how long the probe took."""

    state: str
    reason: str
    value: float | None = None
    unit: str = ""
    facts: Mapping[str, Any] = {}
    probe: str = ""
    title: str = ""
    seconds: float = 0.0

    @property
    def bad(self) -> bool:
        """Whether something is known to be wrong."""
        return self.state in (DEGRADED, DOWN)

    def to_json(self) -> dict[str, Any]:
        return {
            "probe": self.probe,
            "title": self.title,
            "state": self.state,
            "reason": one_line(self.reason),
            "value": self.value,
            "unit": self.unit,
            "seconds": round(self.seconds, 4),
            "facts": dict(self.facts),
        }


def worst(readings: Iterable[Reading]) -> str:
    """The state of all of them together: that of the worst, unknown counting as degraded."""
    states = {reading.state for reading in readings}
    if DOWN in states:
        return DOWN
    return DEGRADED if states & {DEGRADED, UNKNOWN} else OK


def one_line(text: str) -> str:
    """``text`` without line breaks and control characters, at most 400 characters."""
    flat = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return flat if len(flat) <= _LONGEST else flat[: _LONGEST - 1] + "…"


def span(seconds: float) -> str:
    """A duration as people say it: 40 s, 12 min, 3 h, 2 days."""
    for limit, unit, name in ((120, 1, "s"), (7200, 60, "min"), (172_800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds / 86_400:.0f} days"


def size(count: float) -> str:
    """Bytes as people say them: 3.2 GB."""
    for name in ("bytes", "kB", "MB", "GB"):
        if abs(count) < 1000:
            return f"{count:.0f} {name}" if name in ("bytes", "kB") else f"{count:.1f} {name}"
        count /= 1000
    return f"{count:.1f} TB"


def figure(value: float | None, unit: str) -> str:
    """The value of a reading with its unit, as people read it."""
    if value is None:
        return "–"
    if unit == "bytes":
        return size(value)
    if unit == "USD":
        return f"${value:.4f}"
    if unit in ("of calls", "of all"):
        return f"{100 * value:.0f} %"
    if unit == "s":
        return f"{1000 * value:.0f} ms" if value < 1 else span(value)
    return f"{value:,.0f} {unit}" if value == int(value) else f"{value:,.2f} {unit}"
