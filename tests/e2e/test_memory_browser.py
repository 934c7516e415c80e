"""The memory browser in JupyterLab: search, filter, edit, forget and undo beside a busy cell."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(240)]
Open = Callable[..., Any]
EVIL = "<img src=x onerror=alert(1)> is how the attack began"
TEXTS = (
    "My sister Åse keeps bees in Ålesund, and the honey is sold at the market on Saturdays.",
    "We decided that the budget of the cabin is 300,000 kroner.",
    "I prefer short answers, in Norwegian when I write Norwegian.",
    "Flight SK4035 to Bergen leaves at 07:40 from gate C12.",
    EVIL,
    "The invoice from Nordlys is due on the first of each month; ask Trisha when it is not there.",
)
BUSY = "%%python\nimport time\nfor _ in range(24): time.sleep(0.5)"


def seeds(folder: Path) -> None:
    """Sixty memories over two years."""
    start = datetime.now(UTC) - timedelta(days=700)
    lines = []
    for n in range(60):
        text = TEXTS[n] if n < len(TEXTS) else f"Note {n}: {TEXTS[n % 4]}"
        lines.append(
            {
                "memory": text,
                "kind": ("fact", "decision", "preference", "note")[n % 4],
                "created_at": (start + timedelta(days=n * 11.6)).isoformat(),
                "metadata": {"tags": ["cabin", "money"][: n % 3]},
            }
        )
    (folder / "seeds.jsonl").write_text("\n".join(map(json.dumps, lines)), "utf-8")


def test_the_browser_works_while_a_cell_does(lab: Any, open_book: Open) -> None:
    seeds(lab.folder)
    lab.theme("Light")
    name = lab.write("browse.ipynb", ["%aiki_memory import seeds.jsonl", "%aiki_memory", BUSY])
    book = open_book(name, width=1280, height=800)
    book.ask(0)
    book.ask(1)
    board = book.output(1).locator(".aiki-memories")
    board.locator(".aiki-barbutton").first.wait_for()
    book.page.screenshot(path=str(lab.shots / "memories-light.png"))
    book.page.wait_for_timeout(2000)  # JupyterLab makes the subshell for widgets meanwhile
    book.run(2)
    board.get_by_label("Search the memory").fill("what does the cabin cost")
    board.get_by_text("best first").wait_for()
    first = board.locator(".aiki-open").first
    assert "budget of the cabin" in first.inner_text()
    first.click()
    whole = board.locator(".aiki-whole")
    whole.wait_for()
    text = whole.inner_text()
    book.page.screenshot(path=str(lab.shots / "memories-opened.png"))
    board.get_by_role("button", name="Forget", exact=True).click()
    board.get_by_label("Why").fill("sold it")
    book.page.keyboard.press("Enter")
    undo = board.locator(".aiki-undo")
    undo.wait_for()
    assert undo.inner_text().startswith(f"Forgot “{text[:30]}")
    book.page.screenshot(path=str(lab.shots / "memories-forgot.png"))
    undo.get_by_role("button", name="Undo").click()
    undo.wait_for(state="detached")
    assert book.prompt(2).startswith("[*]")
    board.get_by_label("Search the memory").fill("attack")
    board.get_by_text(EVIL).wait_for()
    assert board.locator("img").count() == 0


def test_notebook_takes_no_key_from_a_widget(lab: Any, open_book: Open) -> None:
    """Its shortcuts look at what has the focus before they look at what is around it."""
    book = open_book(lab.write("keys.ipynb", ["%aiki_model", ""]), way="notebooks")
    book.ask(0)
    models = book.output(0).locator("[role=radio]")
    models.first.focus()
    chosen = "() => document.activeElement.closest('[role=radio]')?.ariaLabel"
    for key, index in (("ArrowDown", 1), ("ArrowDown", 2), ("Home", 0), ("d", 0), ("d", 0)):
        book.page.keyboard.press(key)
        assert book.page.evaluate(chosen) == models.nth(index).get_attribute("aria-label")
    assert book.page.locator(".jp-Notebook .jp-CodeCell").count() == 2


@pytest.mark.long
@pytest.mark.parametrize(("theme", "width"), [("Dark", 1280), ("Light", 400)])
def test_pictures(lab: Any, open_book: Open, theme: str, width: int) -> None:
    lab.theme(theme)
    name = lab.write(f"memories-{theme}-{width}.ipynb", ["%aiki_memory"])
    book = open_book(name, width=width, height=800, bare=width < 600)
    book.ask(0)
    board = book.output(0).locator(".aiki-memories")
    board.locator(".aiki-barbutton").first.wait_for()
    board.locator(".aiki-open").first.click()
    board.locator(".aiki-whole").wait_for()
    assert board.evaluate("n => n.scrollWidth <= n.clientWidth")
    book.page.screenshot(path=str(lab.shots / f"memories-{theme}-{width}.png"))
