"""The interactive chart of a benchmark in Chromium."""

from __future__ import annotations

from typing import Any

import pytest
from picture import Pictures
from shown_benches import searched
from stage import Stage

from aiki_kernel.display.plot_facts import plot
from aiki_kernel.display.search_chart import search_chart

pytestmark = pytest.mark.browser


def drawn(**changes: Any) -> dict[str, Any]:
    columns = [{"title": "method", "right": False}, {"title": "p50 ms", "right": True}]
    table = {"title": "922 memories", "columns": columns, "rows": [["mojo", "0.015"]]}
    return {"plot": {**plot(search_chart(searched()), [table], ["Measured once."]), **changes}}


def test_the_pointer_and_the_keyboard_say_values(page: Stage) -> None:
    tab = page.show("bench_plot", drawn())
    point = tab.get_by_role("img", name="mojo: 0.125 ms at 10,000 memories", exact=True)
    box = point.bounding_box()
    tab.mouse.move(box["x"] + 8, box["y"] + 2)
    assert tab.inner_text(".aiki-tip") == "mojo\n0.125 ms at 10,000 memories"
    tab.mouse.move(2, 2)
    assert not tab.is_visible(".aiki-tip")
    tab.keyboard.press("Tab")
    first = tab.inner_text(".aiki-tip")
    tab.keyboard.press("ArrowRight")
    assert tab.inner_text(".aiki-tip") != first
    tab.keyboard.press("ArrowUp")
    tab.keyboard.press("Tab")
    assert tab.evaluate("() => document.activeElement.className") == "aiki-key"
    assert not tab.is_visible(".aiki-tip")
    tab.keyboard.press("ArrowRight")
    tab.keyboard.press("Space")
    assert tab.locator(".aiki-key[aria-pressed=false]").count() == 1


@pytest.mark.parametrize("width", [400, 820])
def test_it_fits_and_no_number_lies_on_another(page: Stage, width: int) -> None:
    tab = page.show("bench_plot", drawn(), width=width)
    tab.locator("details").evaluate("node => { node.open = true }")
    assert tab.evaluate("() => document.documentElement.scrollWidth") <= width
    boxes = tab.evaluate(
        "() => [...document.querySelectorAll('.aiki-drawing text')].map((node) => {"
        "const b = node.getBoundingClientRect(); return [b.left, b.top, b.right, b.bottom] })"
    )
    for index, one in enumerate(boxes):
        for other in boxes[:index]:
            apart = one[0] >= other[2] or other[0] >= one[2] or one[1] >= other[3] - 3
            assert apart or other[1] >= one[3] - 3


@pytest.mark.parametrize(("width", "theme"), [(600, "light"), (600, "dark"), (400, "light")])
def test_pictures(still: Stage, pictures: Pictures, width: int, theme: str) -> None:
    tab = still.show("bench_plot", drawn(), width=width, theme=theme)
    if width == 600:
        tab.locator(".aiki-point[role=img]").nth(4).focus()
    pictures.check(tab, f"bench-plot-{width}-{theme}")
