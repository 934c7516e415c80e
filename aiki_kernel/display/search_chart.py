"""What the search benchmark found, as one picture: time against size, a line a backend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aiki_kernel.display.chart import Chart, Line

GOOD = 0.99  # recall from which a library's fastest index is drawn
COLORS = {
    "NumPy naive": "#78716c",
    "NumPy best, 1 thread": "#111827",
    "NumPy best, default threads": "#475569",
    "mojo": "#c2410c",
    "mojo, exact": "#b45309",
    "mojo, 8bit": "#d97706",
    "mojo, 1bit": "#ea580c",
    "mojo, recall high": "#9a3412",
    "mojo, recall fast": "#e11d48",
    "mojo-server": "#be185d",
    "mojo run, a process a query": "#991b1b",
    "faiss": "#1d4ed8",
    "usearch": "#047857",
    "qdrant-edge": "#7c3aed",
}
OTHER = "#0e7490"
FLOORS = {
    "float32": "memory floor: all float32 read once",
    "1-bit codes": "memory floor: 1-bit codes read once",
}


def search_chart(found: Mapping[str, Any]) -> Chart:
    """The chart of what :func:`aiki_kernel.compute.bench.search_table` returned. Of another
    library the fastest index with a recall of at least 0.99 stands at each size. Raises
    ValueError when nothing was measured.
    """
    rows: Sequence[Mapping[str, Any]] = [row for row in found["rows"] if "p50_ms" in row]
    points: dict[str, dict[int, float]] = {}
    for row in rows:
        name = row["method"]
        if "library" in row:
            if row["recall"] < GOOD:
                continue
            name = row["library"]
        at = points.setdefault(name, {})
        at[row["n"]] = min(at.get(row["n"], float("inf")), row["p50_ms"])
    libraries = {row["library"] for row in rows if "library" in row}
    lines = [
        Line(
            f"{name}, fastest with recall ≥ {GOOD}" if name in libraries else name,
            list(at.items()),
            COLORS.get(name, OTHER),
        )
        for name, at in points.items()
    ]
    for floor, name in FLOORS.items():
        read = [(one["n"], one["ms"]) for one in found["floors"] if one["floor"] == floor]
        lines.append(Line(name, read, "#6b7785", quiet=True))
    return Chart(
        "Vector search: time of one query",
        "memories",
        "median time of a query",
        lines,
        f"{found['dim']} dimensions, the best {found['k']}; one thread unless said otherwise",
        sorted({row["n"] for row in rows}),
        y_text=_time,
    )


def _time(ms: float) -> str:
    if ms < 0.1:
        return f"{ms * 1000:g} µs"
    return f"{ms:g} ms" if ms < 1000 else f"{ms / 1000:g} s"
