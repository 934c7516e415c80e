"""Stop in a real JupyterLab: the card, its keyboard and the toolbar, within a second."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from fault_server import FaultServer, Scenario

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.alone]
Open = Callable[..., Any]

LONG = " ".join(f"word{n}" for n in range(60))
IDLE_S = 1.0  # the limit for Stop


def _seconds_to_idle(book: Any, act: Callable[[], None]) -> float:
    begun = time.monotonic()
    act()
    book.idle(20)
    return time.monotonic() - begun


@pytest.mark.parametrize("way", ["card", "keyboard", "toolbar"])
def test_stop_ends_the_answer_within_a_second(
    lab: Any, open_book: Open, scripted: FaultServer, way: str
) -> None:
    book = open_book(lab.write(f"stop-{way}.ipynb", ["Count to sixty.", "%%python\n6 * 7"]))
    scripted.script(Scenario(text=LONG, delay_s=0.2))
    book.run(0)
    book.answer(0).get_by_text("word4").wait_for(timeout=60_000)
    stop = book.card(0).get_by_role("button", name="Stop this answer")
    acts: dict[str, Callable[[], None]] = {
        "card": stop.click,
        "keyboard": lambda: stop.press("Enter"),
        "toolbar": book.page.locator('[data-jp-item-name="interrupt"]').first.click,
    }
    took = _seconds_to_idle(book, acts[way])
    assert took < IDLE_S + 0.5, f"idle after {took:.2f} s"  # half a second for the browser's own

    assert "word4" in book.answer(0).inner_text()
    assert "word59" not in book.answer(0).inner_text()
    assert "stopped" in book.answer(0).inner_text()
    book.card(0).get_by_text("stopped").wait_for()
    assert scripted.requests[-1].wait_closed(5), "the connection stayed open"

    book.ask(1)
    assert "42" in book.output(1).inner_text()


def test_stop_before_the_first_token(lab: Any, open_book: Open, scripted: FaultServer) -> None:
    book = open_book(lab.write("early.ipynb", ["Think hard."]))
    scripted.script(Scenario(text="Late.", first_delay_s=30))
    seen = len(scripted.requests)
    book.run(0)
    scripted.wait_request(seen + 1, 60)
    book.card(0).get_by_text("thinking").wait_for()
    stop = book.card(0).get_by_role("button", name="Stop this answer")
    took = _seconds_to_idle(book, stop.click)
    assert took < IDLE_S + 0.5, f"idle after {took:.2f} s"
    book.card(0).get_by_text("stopped").wait_for()
