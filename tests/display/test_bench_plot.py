"""The chart of a benchmark as data, as a widget, and as the result of a command."""

from __future__ import annotations

import json

import pytest
from shown_benches import searched

from aiki_kernel.commands.bench_chart import charted
from aiki_kernel.commands.command import Context
from aiki_kernel.commands.tables import Column, Table
from aiki_kernel.display.chart import Chart
from aiki_kernel.display.plot_facts import plot
from aiki_kernel.display.search_chart import search_chart


def test_the_facts_are_what_the_picture_shows() -> None:
    chart = search_chart(searched())
    facts = plot(chart)
    svg = chart.svg()
    assert len(json.dumps(facts)) < 6000
    assert [line["name"] for line in facts["lines"]] == [line.name for line in chart.lines[:5]]
    assert [text for _, text in facts["x"]["marks"]] == ["922", "10,000", "100,000"]
    for _, text in facts["x"]["marks"] + facts["y"]["marks"]:
        assert f">{text}</text>" in svg
    mojo = next(line for line in facts["lines"] if line["name"] == "mojo")
    assert mojo["points"][1] == [10_000, pytest.approx(0.125), "10,000", "0.125 ms"]


def test_a_chart_without_a_point_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one point"):
        plot(Chart("none", "x", "y", []))


def test_a_result_has_a_widget_a_picture_and_text() -> None:
    table = Table(["method", Column("p50 ms", right=True)], [("mojo <b>", 0.1), ("faiss", None)])
    chart = search_chart(searched())
    result = charted(Context("magic"), {"a": 1}, chart, [table], ["Measured < once."], status=1)
    assert result.status == 1
    assert result.html is not None
    assert result.html.startswith("<img alt=")
    assert "mojo &lt;b&gt;" in result.html
    assert "Measured &lt; once." in result.html
    assert result.widget is not None
    widget = result.widget()
    data, _ = widget.bundle()
    assert data["text/html"] == result.html
    assert data["text/plain"] == result.text
    assert widget.final() == {"text/html": result.html, "text/plain": result.text}
    assert widget.plot["tables"] == [
        {
            "title": "",
            "columns": [{"title": "method", "right": False}, {"title": "p50 ms", "right": True}],
            "rows": [["mojo <b>", "0.1"], ["faiss", "–"]],
        }
    ]
    widget.close()
    assert charted(Context("magic"), {}, None, [table], []).widget is None
