"""What a reader of a saved notebook sees: the static card in a real JupyterLab."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import nbformat
import pytest

from aiki_kernel.display.facts import when
from aiki_kernel.display.static_card import render_html, render_text

pytestmark = [pytest.mark.browser, pytest.mark.slow]

SUMMARY: dict[str, Any] = {
    "model": "local/smollm2-135m",
    "finish_reason": "stop",
    "usage": {"input_tokens": 412, "output_tokens": 38},
    "cost": {"usd": 0.00031, "estimated": True},
    "latency_s": {
        "recall": 0.012,
        "route": 0.0,
        "first_token": 0.48,
        "generate": 2.3,
        "remember": 0.02,
    },
    "tokens_per_second": 20.9,
    "hits": [
        {
            "text": "Honey costs $5 at the market and $9 in town. <img src=//evil.example/x>",
            "score": 2.41,
            "created_at": "2026-11-18T09:30:00+00:00",
            "role": "user",
            "provenance": {"notebook": "garden.ipynb"},
        }
    ],
    "notes": [],
}


def _write(lab: Any, name: str) -> str:
    book = nbformat.v4.new_notebook()
    book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    cell = nbformat.v4.new_code_cell("What is honey?")
    cell.outputs = [
        nbformat.v4.new_output(
            "display_data",
            {"text/html": render_html(SUMMARY), "text/plain": render_text(SUMMARY)},
        )
    ]
    book.cells = [cell]
    nbformat.write(book, lab.folder / name)
    return name


@pytest.mark.parametrize("theme", ["Light", "Dark"])
@pytest.mark.parametrize("width", [1100, 400])
def test_a_saved_card_looks_right_in_a_notebook_that_is_not_trusted(
    lab: Any, open_book: Callable[..., Any], theme: str, width: int
) -> None:
    lab.theme(theme)
    book = open_book(_write(lab, f"saved-{theme}-{width}.ipynb"), width=width, bare=width < 600)
    card = book.card(0)
    card.wait_for()
    for fact in ("local/smollm2-135m", "412 → 38 tokens", "~$0.00031", "2.3 s", "21 tok/s"):
        assert fact in card.inner_text()
    assert "first token 480 ms" in card.inner_text()

    card.locator("summary span").click()
    assert "Honey costs $5 at the market and $9 in town. <img" in card.inner_text()
    assert f"{when('2026-11-18T09:30:00+00:00')} · garden.ipynb" in card.inner_text()
    # Nothing was typeset as a formula, nothing became an element.
    book.page.wait_for_timeout(500)
    assert card.locator("mjx-container, img").count() == 0

    # The sanitiser left us what the look rests on.
    bar = card.locator("div[title^='generate']")
    assert bar.evaluate("n => getComputedStyle(n).backgroundColor") == "rgb(33, 163, 139)"
    assert bar.evaluate("n => n.offsetHeight") == 4
    share = bar.evaluate("n => n.offsetWidth / n.parentNode.offsetWidth")
    assert share == pytest.approx(0.78, abs=0.03)
    colour = card.evaluate("n => getComputedStyle(n).color")
    light = [int(part) for part in colour.partition("(")[2].rstrip(")").split(",")[:3]]
    assert (min(light) > 180) if theme == "Dark" else (max(light) < 80)
    assert card.evaluate("n => n.scrollWidth <= n.clientWidth")
