"""The health board in JupyterLab: live, refreshing beside a busy cell, readable in every theme."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(240)]
Open = Callable[..., Any]
BOARD = ".aiki-board"


@pytest.mark.parametrize(("theme", "width"), [("Dark", 1100), ("Light", 1100), ("Light", 400)])
def test_pictures_of_the_board(lab: Any, open_book: Open, theme: str, width: int) -> None:
    lab.theme(theme)
    name = lab.write(f"board-{theme}-{width}.ipynb", ["%aiki_health"])
    book = open_book(name, width=width, bare=width < 600)
    book.ask(0)
    board = book.output(0).locator(BOARD)
    board.wait_for()
    assert board.locator(".aiki-service").count() >= 6
    assert board.evaluate("n => n.scrollWidth <= n.clientWidth")
    book.page.screenshot(path=str(lab.shots / f"board-{theme}-{width}.png"))


def test_the_board_refreshes_while_a_cell_works_and_stops_when_closed(
    lab: Any, open_book: Open
) -> None:
    looks = "%%python\nimport threading\nprint([t.name for t in threading.enumerate()])"
    busy = "%%python\nimport time\nfor _ in range(24): time.sleep(0.5)"
    name = lab.write("busy.ipynb", ["%aiki_health", busy, looks])
    book = open_book(name)
    book.ask(0)
    board = book.output(0).locator(BOARD)
    board.wait_for()
    book.run(1)
    page = book.page
    page.evaluate(
        "() => { window.looks = 0; new MutationObserver(() => window.looks++)"
        ".observe(document.querySelector('.aiki-services'), {childList: true}); }"
    )
    board.get_by_role("button", name="Look now").click()
    page.wait_for_function("() => window.looks >= 1", timeout=11_000)
    assert book.prompt(1).startswith("[*]")
    book.idle()
    book.ask(2)
    assert "aiki-health-board" in book.output(2).inner_text()
    page.locator(".jp-Notebook .jp-CodeCell").first.locator(".cm-content").click()
    page.keyboard.press("Escape")
    page.keyboard.press("d")
    page.keyboard.press("d")
    for _ in range(10):
        book.ask(1)
        if "aiki-health-board" not in book.output(1).inner_text():
            return
    pytest.fail("the board still looks, though nobody sees it")
