"""The chart of a benchmark as a widget: values under the pointer and the keyboard, lines that
come and go, and the tables it was drawn from. Its picture and its tables stay when it has ended.
"""

from __future__ import annotations

from typing import Any

import anywidget
import traitlets

from aiki_kernel.display import front_end
from aiki_kernel.display.plot_facts import Plot


class BenchPlot(anywidget.AnyWidget):
    """``plot`` is what :func:`aiki_kernel.display.plot_facts.plot` made; ``html`` and ``text``
    say the same without it."""

    _esm = front_end.module("bench_plot")
    _css = front_end.style("bench_plot")

    plot = traitlets.Dict().tag(sync=True)

    def __init__(self, plot: Plot, html: str, text: str) -> None:
        super().__init__(plot=plot)
        self._static = {"text/html": html, "text/plain": text}

    def bundle(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """``(data, metadata)`` of the live chart, with HTML and text for other front ends."""
        data, metadata = super()._repr_mimebundle_() or ({}, {})
        return {**data, **self._static}, metadata

    def final(self) -> dict[str, str]:
        """What stays: the picture and the tables."""
        return self._static

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        return self.bundle()
