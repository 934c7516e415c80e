"""The pictures of ``notebooks/routing.ipynb``: quality against cost, and how claims have held."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aiki_kernel.display.chart import SOFT, Line
from aiki_kernel.display.plane import Plane

_COLORS = {
    "oracle": SOFT,
    "random": SOFT,
    "learned": "#0b6e4f",
    "length": "#b35900",
    "rules": "#3f5fbf",
}
_QUIET = ("oracle", "random")


def quality_curve(
    section: Mapping[str, Any], cheap_usd: float | None = None, smart_usd: float | None = None
) -> Plane:
    """Quality over cost for each router of a section of ``aiki route eval --json``.

    Cost is a share of smart-only: the share of smart calls, or with both prices of one message
    (USD) what that share costs.
    """
    floor = 0.0 if not smart_usd or cheap_usd is None else cheap_usd / smart_usd
    lines = []
    for row in section["rows"]:
        places = zip(row["curve"]["share"], row["curve"]["quality"], strict=True)
        points = [(floor + (1.0 - floor) * share, quality) for share, quality in places]
        name = row["router"]
        lines.append(Line(name, points, _COLORS[name], quiet=name in _QUIET))
    qualities = [quality for line in lines for _, quality in line.points]
    low, high = min(qualities), max(qualities)
    room = max(0.05 * (high - low), 0.005)
    priced = "share of smart calls" if not floor else "cost, as a share of smart-only"
    return Plane(
        f"{section['set']}, {section['held_out']}",
        priced,
        "answered right",
        lines,
        x=(floor, 1.0),
        y=(max(0.0, low - room), min(1.0, high + room)),
        subtitle=f"{section['questions']:,} questions that both models answered",
    )


def reliability_curve(
    claimed: Sequence[Mapping[str, Any]], calibrated: Sequence[Mapping[str, Any]]
) -> Plane:
    """Share of consultations that ended well over their confidence, in bins; on the dashed
    line a confidence is worth what it says."""
    lines = [Line("as it says", ((0.0, 0.0), (1.0, 1.0)), SOFT, quiet=True)]
    for name, bins, color in (
        ("claimed", claimed, "#b35900"),
        ("calibrated", calibrated, "#0b6e4f"),
    ):
        points = [(one["confidence"], one["right"]) for one in bins]
        if points:
            lines.append(Line(name, points, color))
    count = sum(one["count"] for one in claimed)
    return Plane(
        "How far claims of confidence have held",
        "confidence",
        "ended well",
        lines,
        subtitle=f"{count} consultations",
    )
