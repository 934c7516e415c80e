"""What the health board shows: a sample, the last hour's figures, and what has changed.

Plain JSON data of a few kilobytes, made in the kernel; the widget, the HTML and the text are
three renderings of it. Nothing here trusts its input: titles and reasons are other programs'
text, and a probe may be somebody else's.
"""

from __future__ import annotations

import itertools
import re
import sqlite3
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from aiki_kernel.display.facts import clean, number
from aiki_kernel.health.history import Point, all_series
from aiki_kernel.health.reading import STATES, figure

VERSION = 1
SPAN_S = 3600.0
_POINTS, _CHANGES, _TITLE, _REASON = 40, 8, 60, 300
_TURNS = re.compile("[\u202a-\u202e\u2066-\u2069]")
_RANK = {"down": 0, "degraded": 1, "unknown": 2, "ok": 3}

Board = dict[str, Any]


def board(document: Mapping[str, Any], history: Path) -> Board:
    """The board of a sample (as ``system_health.json`` has it); ``history`` may be missing."""
    wall = number(document.get("wall_s")) or 0.0
    hour = _hour(history, wall)
    services, changes = [], []
    for probe in document.get("probes") or ():
        if not isinstance(probe, Mapping):
            continue
        name = str(probe.get("probe", ""))
        points = hour.get(name, [])
        service = _service(name, probe, points)
        services.append(service)
        changes += _changes(service["title"], points)
    services.sort(key=lambda one: _RANK[one["state"]])
    changes.sort(key=lambda one: -one["at"])
    wrong = [one for one in services if one["state"] != "ok"]
    return {
        "version": VERSION,
        "status": _state(document.get("status")),
        "headline": _headline(services, wrong),
        "at": clean(document.get("at")),
        "wall_s": wall,
        "services": services,
        "money": _money(document),
        "changes": changes[:_CHANGES],
        "watched": any(hour.values()),
    }


def clock(wall: float) -> str:
    """``14:05``, in the reader's own time zone."""
    return datetime.fromtimestamp(wall).astimezone().strftime("%H:%M")


def changed(change: Mapping[str, Any]) -> str:
    """One change in words: ``14:05 Disk: ok → degraded``."""
    return f"{clock(change['at'])} {change['title']}: {change['from']} → {change['to']}"


def _hour(history: Path, wall: float) -> dict[str, list[Point]]:
    """The last hour by probe. The board is about now: without a history it has no lines."""
    try:
        return all_series(history, wall - SPAN_S, wall)
    except (sqlite3.Error, OSError):
        return {}


def _service(name: str, probe: Mapping[str, Any], points: Sequence[Point]) -> Board:
    value = probe.get("value")
    given = value if isinstance(value, int | float) and not isinstance(value, bool) else None
    return {
        "probe": _said(name)[:_TITLE],
        "title": _said(probe.get("title") or name)[:_TITLE],
        "state": _state(probe.get("state")),
        "reason": _cut(_said(probe.get("reason")), _REASON),
        "figure": figure(given, _said(probe.get("unit"))[:_TITLE]),
        "line": _line(points),
    }


def _said(value: Any) -> str:
    """A printable line that cannot turn the order of what stands around it."""
    return _TURNS.sub("", clean(value))


def _state(value: Any) -> str:
    return value if value in STATES else "unknown"


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _line(points: Sequence[Point]) -> list[float | None]:
    """At most 40 values, oldest first: each the mean of its part of the hour; None is a gap."""
    if len(points) < 2:
        return []
    first, last = points[0].at, points[-1].at
    count = min(_POINTS, len(points))
    bins: list[list[float]] = [[] for _ in range(count)]
    for point in points:
        place = int((point.at - first) / ((last - first) or 1.0) * (count - 1) + 0.5)
        if point.value is not None:
            bins[place].append(point.value)
    line = [float(f"{sum(one) / len(one):.4g}") if one else None for one in bins]
    return line if any(value is not None for value in line) else []


def _changes(title: str, points: Sequence[Point]) -> list[Board]:
    return [
        {"at": after.at, "title": title, "from": before.state, "to": after.state}
        for before, after in itertools.pairwise(points)
        if before.state != after.state
    ]


def _headline(services: Sequence[Board], wrong: Sequence[Board]) -> str:
    if not services:
        return "Nothing was looked at"
    if not wrong:
        return f"All {len(services)} are well"
    names = ", ".join(f"{one['title']} {one['state']}" for one in wrong[:3])
    more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
    return f"{names}{more}"


def _money(document: Mapping[str, Any]) -> Board | None:
    """Today's cost and its cap in USD (None: no budget), as the probe of costs tells them."""
    for probe in document.get("probes") or ():
        if isinstance(probe, Mapping) and probe.get("probe") == "cost":
            facts = probe.get("facts")
            told = facts if isinstance(facts, Mapping) else {}
            spent = number(told.get("usd"))
            if spent is not None:
                return {"usd": spent, "day_usd": number(told.get("day_usd"))}
    return None
