"""The roofline of language models: tokens a second against the bytes that a token must read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aiki_kernel.display.chart import Chart, Line

ONE = {
    "mojo": "#c2410c",
    "numpy": "#6d28d9",
    "llama.cpp": "#1d4ed8",
    "llama.cpp Q4_0": "#0f766e",
    "transformers+torch": "#9d174d",
}
MORE = {"mojo": "#f59e0b", "llama.cpp": "#60a5fa", "llama.cpp Q4_0": "#4fb89f"}
OTHER = "#5f6b7a"
"""One hue an engine: dark for one thread, light for more."""


def roofline_chart(found: Mapping[str, Any]) -> Chart:
    """The chart of what :func:`aiki_kernel.models.bench_generate.measure` returned: a line an
    engine and number of threads, from prompts, which share a reading of the weights among many
    tokens, to decoding, and above each number of threads what memory allows. Engines stand where
    Mojo's bytes are. Raises ValueError when nothing was measured.
    """
    rows: Sequence[Mapping[str, Any]] = found["rows"]
    places = {row["work"]: row["token_bytes"] for row in rows if "token_bytes" in row}
    points: dict[tuple[str, int], dict[float, float]] = {}
    for row in rows:
        # Decoding after many tokens also reads those: it is no point of this line.
        if row["work"] in places and row["work"] != "decode after 1500":
            at = points.setdefault((row["engine"], row["threads"]), {})
            at[places[row["work"]] / 1e6] = row["tokens_s"]
    lines = [
        Line(
            f"{engine}, {_threads(threads)}",
            list(at.items()),
            (ONE if threads == 1 else MORE).get(engine, OTHER),
        )
        for (engine, threads), at in points.items()
    ]
    edges = [f(places.values()) / 1e6 for f in (min, max)] if places else []
    for threads in sorted({threads for _, threads in points}):
        speed = found.get(f"bandwidth_{threads}_bytes_s")
        if speed:
            roof = [(x, speed / 1e6 / x) for x in edges]
            name = f"memory, {_threads(threads)}: {speed / 1e9:.0f} GB/s"
            lines.append(Line(name, roof, "#6b7785", quiet=True))
    return Chart(
        "Language model: tokens a second under the roof of the memory",
        "megabytes of weights read for a token",
        "tokens a second",
        lines,
        f"{found['model']}; left prompts, right decoding one token at a time",
        sorted(x / 1e6 for x in set(places.values())),
        x_text="{:,.3g}".format,
        y_text=lambda speed: f"{speed:,.0f}" if speed >= 1 else f"{speed:g}",
    )


def _threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"
