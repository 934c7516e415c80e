"""The memory browser in Chromium: it says what its static faces say, and how it looks."""

from __future__ import annotations

from typing import Any

import pytest
from picture import Pictures
from stage import Stage

from aiki_kernel.display import memory_facts
from aiki_kernel.display.static_memory import about

pytestmark = pytest.mark.browser
EVIL = "<img src=x onerror=alert(1)>"
TEXTS = (
    "My sister Åse keeps bees in Ålesund, and sells the honey at the market on Saturdays.",
    "We decided that the budget of the cabin is 300,000 kroner.",
    EVIL,
)


def found() -> dict[str, Any]:
    rows = [
        {
            "id": f"{n}c6f0000-0000-4000-8000-000000000000",
            "text": text,
            "created_at": f"2026-03-0{3 - n}T12:00:00+00:00",
            "kind": ("message", "decision", "fact")[n],
            "role": ("user", None, None)[n],
            "trust": ("user", "user", "import")[n],
            "tags": (["bees"], ["cabin", "money"], [])[n],
            "held": n == 2,
            "provenance": {"notebook": "work/garden.ipynb"} if n == 0 else {},
        }
        for n, text in enumerate(TEXTS)
    ]
    made = memory_facts.page({"rows": rows, "next": "x|1", "total": 1204}, {})
    for n, one in enumerate(made["rows"]):
        one["when"] = f"2026-03-0{3 - n} 12:00"  # in whichever zone this machine is
    return made


def shown(on: Stage, **look: Any) -> Any:
    tab = on.show("memory_browser", {"page": found(), "wanted": {}}, **look)
    bars = [
        {"since": f"2026-{m:02d}-01", "until": "", "count": (7 * m) % 11, "name": f"month {m}"}
        for m in range(1, 13)
    ]
    answers = {"labels": {"labels": {"kind": [["fact", "fact", 2]]}}}
    answers["timeline"] = {"timeline": {"unit": "month", "bars": bars}}
    answers["page"] = {"page": found()}
    tab.evaluate(
        "(told) => { for (const one of sent) model.receive("
        "{ type: 'answer', id: one.id, ...told[one.what] }); }",
        answers,
    )
    tab.locator(".aiki-barbutton").nth(11).wait_for()
    return tab


def test_the_front_end_says_the_same(page: Stage) -> None:
    tab = shown(page)
    made = found()
    assert tab.inner_text("[role=status]") == made["said"]
    for row, one in zip(tab.locator(".aiki-open").all(), made["rows"], strict=True):
        assert row.locator(".aiki-text").inner_text() == one["text"]
        assert row.locator(".aiki-about").inner_text() == f"{one['when']} {about(one)}"
    assert tab.evaluate("() => document.querySelectorAll('img,script').length") == 0


@pytest.mark.parametrize(("width", "theme"), [(820, "light"), (820, "dark"), (400, "light")])
def test_pictures(still: Stage, pictures: Pictures, width: int, theme: str) -> None:
    tab = shown(still, width=width, theme=theme)
    assert tab.evaluate("() => document.documentElement.scrollWidth") <= width
    pictures.check(tab, f"memory-browser-{width}-{theme}")
