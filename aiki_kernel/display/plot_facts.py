"""What an interactive chart shows, as plain JSON data: the widget draws it, and says its numbers
in the words that the still picture's axes use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aiki_kernel.display.chart import Chart

VERSION = 1
Plot = dict[str, Any]


def plot(chart: Chart, tables: Sequence[Mapping[str, Any]] = (), notes: Sequence[str] = ()) -> Plot:
    """The facts of ``chart``. ``tables`` have a ``title``, ``columns`` (``title``, ``right``) and
    ``rows`` of words; ``notes`` are lines below. Raises ValueError when no line has a point.

    A point is ``[x, y, words of x, words of y]``; a mark on an axis a number and its words.
    """
    (left, right), (bottom, top) = chart.spans()
    x_marks, y_marks = chart.marked()
    return {
        "version": VERSION,
        "title": chart.title,
        "subtitle": chart.subtitle,
        "x": {
            "label": chart.x_label,
            "span": [left, right],
            "marks": [[x, chart.x_text(x)] for x in x_marks],
        },
        "y": {
            "label": chart.y_label,
            "span": [bottom, top],
            "marks": [[y, chart.y_text(y)] for y in y_marks],
        },
        "lines": [
            {
                "name": line.name,
                "color": line.color,
                "quiet": line.quiet,
                "points": [
                    [x, y, chart.x_text(x), chart.y_text(_round(y))] for x, y in sorted(line.points)
                ],
            }
            for line in chart.lines
            if line.points
        ],
        "tables": [dict(table) for table in tables],
        "notes": list(notes),
    }


def _round(value: float) -> float:
    """Three digits that count: more were not measured."""
    return float(f"{value:.3g}")
