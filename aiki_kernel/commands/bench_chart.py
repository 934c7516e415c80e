"""The result of a benchmark with its chart: a widget where there are widgets, else a picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from aiki_kernel.commands.command import Context, Result
from aiki_kernel.commands.tables import Table

if TYPE_CHECKING:
    from aiki_kernel.display.chart import Chart


def charted(
    context: Context,
    data: Any,
    chart: Chart | None,
    tables: Sequence[Table],
    notes: Sequence[str],
    *,
    status: int = 0,
) -> Result:
    """``data`` with ``tables`` and ``notes`` as text; in a notebook ``chart`` stands above them."""
    from html import escape

    text = "\n\n".join([*(table.text(context) for table in tables), *notes])
    told = [f"<p>{escape(note)}</p>" for note in notes]
    html = "".join([*(table.html() for table in tables), *told])
    if chart is None:
        return Result(data, text, html, status)
    html = chart.html() + html

    def widget() -> Any:
        from aiki_kernel.display.bench_plot import BenchPlot
        from aiki_kernel.display.plot_facts import plot

        facts = plot(chart, [table.facts() for table in tables], notes)
        return BenchPlot(facts, html, text)

    return Result(data, text, html, status, widget=widget)
