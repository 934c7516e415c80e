"""The health board: its facts, and its faces without a kernel."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from shown_boards import document, hour_of_history

from aiki_kernel.display.board import HealthBoard
from aiki_kernel.display.board_facts import board
from aiki_kernel.display.static_board import path, render_html, render_text

EVIL = "<img src=x onerror=alert(1)>\u202e"


@pytest.fixture
def history(tmp_path: Path) -> Path:
    return hour_of_history(tmp_path)


def test_what_is_wrong_stands_first_and_the_hour_is_a_line(history: Path) -> None:
    made = board(document(), history)
    assert made["headline"] == "Cost today degraded"
    assert [one["title"] for one in made["services"]] == ["Cost today", "Disk"]
    line = made["services"][1]["line"]
    assert len(line) == 40
    assert line == sorted(line)
    assert [(one["from"], one["to"]) for one in made["changes"]] == [
        ("degraded", "ok"),
        ("ok", "degraded"),
    ]
    assert made["money"] == {"usd": 1.9, "day_usd": 2.0}
    assert len(json.dumps(made)) < 6000


def test_without_a_history_it_says_who_keeps_one(tmp_path: Path) -> None:
    made = board(document(), tmp_path / "none.sqlite")
    assert not made["watched"]
    assert "aiki health daemon" in render_html(made)
    (tmp_path / "broken.sqlite").write_bytes(b"no database" * 100)
    assert board(document(), tmp_path / "broken.sqlite")["changes"] == []


def test_twenty_services_with_long_reasons_stay_small(history: Path) -> None:
    more = [
        {"probe": f"p{n}", "title": f"Probe {n}", "state": "down", "reason": "x" * 5000}
        for n in range(20)
    ]
    made = board(document(*more), history)
    assert len(json.dumps(made)) < 12_000
    assert "and 18 more" in made["headline"]


@pytest.mark.parametrize(
    ("line", "drawn"),
    [
        ([], ""),
        ([1.0], ""),
        ([None, None], ""),
        ([1.0, 3.0], "M0.0 17.0L96.0 1.0"),
        ([2.0, 2.0], "M0.0 9.0L96.0 9.0"),
        ([0.0, None, 1.0], "M0.0 17.0M96.0 1.0"),
    ],
)
def test_a_line_is_drawn_and_a_gap_lifts_the_pen(line: list[float | None], drawn: str) -> None:
    assert path(line, 96, 18) == drawn


def test_other_programs_text_is_text_everywhere(tmp_path: Path) -> None:
    evil = {"probe": EVIL, "title": EVIL, "state": EVIL, "reason": EVIL, "unit": EVIL, "value": 1}
    made = board(document(evil), tmp_path / "none")
    assert "<img" not in render_html(made)
    assert "\u202e" not in render_text(made)
    assert made["services"][1]["state"] == "unknown"


def test_each_fact_is_in_the_text_and_in_the_html(history: Path) -> None:
    made = board(document(), history)
    text, html = render_text(made), render_html(made)
    for one in made["services"]:
        for word in (one["title"], one["state"], one["figure"]):
            assert word in text
            assert word in html
    assert "ok → degraded" in text
    assert "ok → degraded" in html


def test_it_looks_while_it_is_seen_and_not_otherwise() -> None:
    looks: list[str] = []

    def look() -> dict[str, Any]:
        looks.append(threading.current_thread().name)
        return {"headline": f"look {len(looks)}"}

    made = HealthBoard(look, {"headline": "first"}, 0.02)
    time.sleep(0.1)
    assert looks == []
    made._receive(made, {"type": "opened"}, [])
    made._receive(made, {"type": "opened"}, [])  # a second view of the same output
    made._receive(made, {"type": "closed"}, [])
    _until(lambda: len(looks) >= 3)
    assert set(looks) == {"aiki-health-board"}
    made._receive(made, {"type": "closed"}, [])
    _until(lambda: made._thread is None)
    count = len(looks)
    time.sleep(0.1)
    assert len(looks) == count
    made._receive(made, {"type": "opened"}, [])
    _until(lambda: len(looks) > count)
    made.close()
    _until(lambda: made._thread is None)


def test_a_look_that_fails_is_tried_again() -> None:
    looks: list[int] = []

    def look() -> dict[str, Any]:
        looks.append(1)
        if len(looks) < 3:
            raise OSError("away")
        return {"headline": "back"}

    made = HealthBoard(look, {"headline": "first"}, 0.02)
    made._receive(made, {"type": "opened"}, [])
    _until(lambda: made.board.get("headline") == "back")
    made.close()


def _until(true: Any) -> None:
    for _ in range(500):
        if true():
            return
        time.sleep(0.01)
    pytest.fail("it never came")
