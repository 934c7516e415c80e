"""The pickers and the cost board in Chromium: how they look, wide, narrow, light and dark."""

from __future__ import annotations

from typing import Any

import pytest
from picture import Pictures
from stage import Stage

from aiki_kernel.display import picker_facts
from aiki_kernel.display.static_pickers import state

pytestmark = pytest.mark.browser
EVIL = "<img src=x onerror=alert(1)>"
SIZES = [(820, "light"), (820, "dark"), (400, "light")]


def personas() -> dict[str, Any]:
    voice = {"title": "AIKI", "system": "You are AIKI. Answer briefly."}
    other = {"title": "Trisha from Accounting", "system": "You know budgets, VAT and receipts."}
    rights = {"read": ["own", "shared"], "write": ["own"], "tools": ["memory.ask"]}
    found = [
        {"name": "default", "voices": {"en": voice, "no": voice}, "read": ["all"]},
        {"name": "trisha", "voices": {"en": other}, "models": ["local"], **rights},
        {"name": "kaputt", "problem": f"kaputt.toml: {EVIL} is no key."},
    ]
    return picker_facts.personas(found, "default", "en")


def models() -> dict[str, Any]:
    fields = ("name", "tier", "input_usd_per_million", "output_usd_per_million", "window", "state")
    rows: list[tuple[Any, ...]] = [
        ("openai/gpt-6.1-sol", "smart", 2.0, 10.0, 1_050_000, "OPENAI_API_KEY not set"),
        ("openrouter/deepseek/deepseek-v4.1", "cheap", 0.21, 0.84, 128_000, "key set"),
        (EVIL, None, None, None, None, "no key needed"),
        ("local/smollm2-135m", "local", 0, 0, 8192, "here"),
    ]
    found = [dict(zip(fields, row, strict=True)) for row in rows]
    found[0]["todo"] = "aiki config key OPENAI_API_KEY"
    found[1] |= {"usable": True, "current": True}
    found[3] |= {"usable": True, "local": True, "size": 88_000_000}
    return picker_facts.models(found, found[1]["name"], "chosen in this session")


def costs() -> dict[str, Any]:
    spent = (0.1, 0.0, 0.05, 0.2, 0.15, 0.0, 0.07)
    bars = [
        {
            "name": f"{15 + n} November",
            "short": str(15 + n),
            "usd": usd,
            "said": f"${usd:.4f}, 3 calls",
            "unknown": n == 3,
        }
        for n, usd in enumerate(spent)
    ]
    rows = [["openai/gpt-6-luna", "12", "8,046 → 1,266", "$0.42"]]
    rows.append([EVIL, "2", "900 → 40", "2 of unknown price"])
    return {
        "span": "7",
        "said": "$0.57 + 2 of unknown price in 7 days",
        "counted": "21 calls, 30,843 → 4,853 tokens",
        "bars": bars,
        "groups": {"model": rows, "session": [], "persona": []},
        "caps": [{"said": "Budget today: $0.03 left of $0.10 ($0.07 spent)", "share": 0.85}],
        "lines": [f"Unknown price: {EVIL}. What they cost is not in the sums."],
        "at": "12:00",
    }


WIDGETS: dict[str, Any] = {
    "persona_picker": lambda: {"page": personas()},
    "model_picker": lambda: {"page": models()},
    "cost_board": lambda: {"board": costs(), "every": 15.0},
}


@pytest.mark.parametrize("name", WIDGETS)
@pytest.mark.parametrize(("width", "theme"), SIZES)
def test_pictures(still: Stage, pictures: Pictures, name: str, width: int, theme: str) -> None:
    tab = still.show(name, WIDGETS[name](), width=width, theme=theme)
    assert tab.evaluate("() => document.documentElement.scrollWidth") <= width
    assert tab.evaluate("() => document.querySelectorAll('img,script').length") == 0
    pictures.check(tab, f"{name.replace('_', '-')}-{width}-{theme}")


def test_the_front_end_says_the_same(page: Stage) -> None:
    tab, made = page.show("model_picker", WIDGETS["model_picker"]()), models()
    rows = tab.locator(".aiki-modelrows .aiki-model").all()[1:]
    for row, one in zip(rows, made["rows"], strict=True):
        assert row.locator(".aiki-modelname").inner_text().strip() == one["name"]
        shown = row.locator(".aiki-figure").all_inner_texts()
        assert shown == [one["given"], one["made"], one["window"]]
        assert row.locator(".aiki-modelstate").inner_text() == state(one)
