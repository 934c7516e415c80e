"""A matplotlib figure in words, for a model that does not see: what its artists say they are.

Nothing is drawn. Read are titles, axes, labels, ranges, legends, and for each line, bar, cloud
of points and image how much it holds and between which values.
"""

from __future__ import annotations

import contextlib
import math
from typing import Any

from aiki_kernel.attachments.values import cut, number

_AXES = 9
_ARTISTS = 12


def words(figure: Any) -> str:
    """The figure in a few lines."""
    lines = []
    above = getattr(figure, "_suptitle", None)
    if above is not None and above.get_text().strip():
        lines.append(f"Title: {cut(above.get_text(), 200)}")
    axes = list(figure.axes)
    for place, one in enumerate(axes[:_AXES], 1):
        label = f"Axes {place} of {len(axes)}" if len(axes) > 1 else "Axes"
        lines.append(f"{label}: {_axes(one)}")
    if len(axes) > _AXES:
        lines.append(f"{len(axes) - _AXES} more axes.")
    return "\n".join(lines) if lines else "An empty figure."


def _axes(axes: Any) -> str:
    parts = []
    if title := axes.get_title().strip():
        parts.append(f'"{cut(title, 200)}"')
    for name in ("x", "y"):
        label = cut(str(getattr(axes, f"get_{name}label")()), 80)
        low, high = getattr(axes, f"get_{name}lim")()
        scale = getattr(axes, f"get_{name}scale")()
        told = f"{name} axis{f' {label!r}' if label else ''} from {number(low)} to {number(high)}"
        ticks = _ticks(axes, name)
        parts.append(told + ("" if scale == "linear" else f" ({scale})") + ticks)
    artists = [_line(line) for line in axes.get_lines()]
    artists += [_container(one) for one in axes.containers]
    artists += [_points(one) for one in axes.collections]
    artists += [f"image of {' x '.join(map(str, one.get_size()))}" for one in axes.get_images()]
    artists = [one for one in artists if one]
    if len(artists) > _ARTISTS:
        artists = [*artists[:_ARTISTS], f"{len(artists) - _ARTISTS} more"]
    legend = axes.get_legend()
    if legend is not None:
        parts.append(f"legend: {', '.join(cut(t.get_text(), 40) for t in legend.get_texts())}")
    return "; ".join([*parts, *artists])


def _ticks(axes: Any, name: str) -> str:
    """The labels of an axis that names categories."""
    labels = [label.get_text() for label in getattr(axes, f"get_{name}ticklabels")()]
    named = [label for label in labels if label and not _is_number(label)]
    if not named:
        return ""
    more = ", …" if len(named) > _ARTISTS else ""
    return f" with {', '.join(cut(label, 30) for label in named[:_ARTISTS])}{more}"


def _line(line: Any) -> str:
    x, y = line.get_xdata(orig=False), line.get_ydata(orig=False)
    return f"line{_label(line)} of {len(x):,} points{_range('x', x)}{_range('y', y, ends=True)}"


def _container(container: Any) -> str:
    if type(container).__name__ != "BarContainer":
        return ""
    bars = container.patches
    heights = [bar.get_height() for bar in bars]
    upright = getattr(container, "orientation", "vertical") != "horizontal"
    values = heights if upright else [bar.get_width() for bar in bars]
    shown = ", ".join(number(float(value)) for value in values[:_ARTISTS])
    more = ", …" if len(values) > _ARTISTS else ""
    return f"{len(bars)} bars{_label(container)} of {shown}{more}"


def _points(collection: Any) -> str:
    if type(collection).__name__ != "PathCollection":
        return ""
    offsets = collection.get_offsets()
    if not len(offsets):
        return ""
    x, y = offsets[:, 0], offsets[:, 1]
    return f"{len(offsets):,} points{_label(collection)}{_range('x', x)}{_range('y', y)}"


def _label(artist: Any) -> str:
    label = str(artist.get_label() or "")
    return f' "{cut(label, 60)}"' if label and not label.startswith("_") else ""


def _range(name: str, values: Any, *, ends: bool = False) -> str:
    with contextlib.suppress(TypeError, ValueError):
        plain = [float(value) for value in values]
        finite = [value for value in plain if math.isfinite(value)]
        if not finite:
            return ""
        told = f", {name} {number(min(finite))} to {number(max(finite))}"
        if ends and len(finite) > 1:
            told += f" (first {number(finite[0])}, last {number(finite[-1])})"
        return told
    return ""


def _is_number(text: str) -> bool:
    try:
        float(text.replace("\N{MINUS SIGN}", "-").replace("$", "").replace("%", ""))
    except ValueError:
        return "mathdefault" in text
    return True
