"""The health board in Chromium: it says what its static faces say."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from picture import Pictures
from shown_boards import document, hour_of_history
from stage import NOW as STILL
from stage import Stage

from aiki_kernel.display.board_facts import board
from aiki_kernel.display.static_board import path, spent

pytestmark = pytest.mark.browser
EVIL = "<img src=x onerror=alert(1)>\u202e"


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hour_of_history(tmp_path_factory.mktemp("history"))


def shown(page: Stage, made: dict[str, Any], **look: Any) -> Any:
    return page.show("health_board", {"board": made, "every": 10.0}, **look)


def test_the_front_end_says_the_same(page: Stage, history: Path) -> None:
    made = board(document(), history)
    tab = shown(page, {**made, "wall_s": time.time()})
    assert tab.inner_text(".aiki-head strong") == made["headline"]
    assert tab.inner_text(".aiki-money span") == spent(made["money"])
    for row, one in zip(tab.locator(".aiki-service").all(), made["services"], strict=True):
        assert row.locator(".aiki-title").inner_text() == one["title"]
        assert row.locator(".aiki-state").inner_text() == one["state"]
        assert row.locator(".aiki-figure").inner_text() == one["figure"]
        assert row.locator(".aiki-reason").inner_text() == one["reason"]
    drawn = tab.locator(".aiki-spark path").first.get_attribute("d")
    assert drawn == path(made["services"][1]["line"], 96, 18)
    assert tab.evaluate("() => sent[0].type") == "opened"
    tab.click(".aiki-again")
    assert tab.evaluate("() => sent.at(-1).type") == "look"
    tab.evaluate("() => { cleanup(); window.cleanup = undefined; }")
    assert tab.evaluate("() => [sent.at(-1).type, model.count()]") == ["closed", 0]


def test_an_old_look_is_marked(page: Stage, history: Path) -> None:
    tab = shown(page, {**board(document(), history), "wall_s": time.time() - 7200})
    assert tab.inner_text(".aiki-when") == "last looked 2 h ago"


def test_it_fits(page: Stage, history: Path) -> None:
    tab = shown(page, board(document(), history), width=400)
    assert tab.evaluate("() => document.documentElement.scrollWidth") <= 400


def test_no_text_becomes_markup(page: Stage, tmp_path: Path) -> None:
    evil = {"probe": EVIL, "title": EVIL, "state": "down", "reason": EVIL, "value": None}
    tab = shown(page, board(document(evil), tmp_path / "none"))
    assert tab.evaluate("() => document.querySelectorAll('img,script').length") == 0


@pytest.mark.parametrize(("width", "theme"), [(820, "light"), (820, "dark"), (400, "light")])
def test_pictures(still: Stage, pictures: Pictures, history: Path, width: int, theme: str) -> None:
    seen = STILL.timestamp() + (57 if width == 820 else -600)  # the narrow one is out of date
    made = {**board(document(), history), "wall_s": seen}
    tab = shown(still, made, width=width, theme=theme)
    pictures.check(tab, f"health-board-{width}-{theme}")
