"""The picture at the top of README: JupyterLab as it is, with the model that comes with AIKI.

``AIKI_PICTURES=store python -m pytest -m long tests/e2e/test_screenshot.py`` takes it anew; look
at it before you commit it. Without that the scene is only played.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.long, pytest.mark.timeout(400)]

PICTURE = Path(__file__).resolve().parents[2] / "docs/images/welcome.png"
STORE = os.environ.get("AIKI_PICTURES") == "store"  # read before the tests clear AIKI_*

BEFORE = [
    "My name is Ada. I harvested 14 jars of honey in July.",
    "What is honey? Answer in one sentence.",
]
SCENE = [
    "Say in one sentence what I harvested in July.",
    '%%python\nharvest = {"May": 4, "June": 9, "July": 14}\ntotal = sum(harvest.values())',
    "%aiki_memory",
]


def test_the_scene_of_the_picture(
    lab: Any, open_book: Callable[..., Any], local_model: str
) -> None:
    (lab.home / "aiki.toml").write_text(
        f'model = "{local_model}"\n[generation]\ntemperature = 0.0\nmax_tokens = 60\n'
    )
    garden = open_book(lab.write("garden.ipynb", BEFORE))
    for index in range(len(BEFORE)):
        garden.ask(index, 120)
    garden.save()
    book = open_book(lab.write("kitchen.ipynb", SCENE), width=1280, height=860, scale=1.25)
    for index in (2, 0, 1, 2):  # the first cell connects; the answer shows what is usual
        book.ask(index, 120)
    card = book.card(0)
    card.get_by_role("button", name="memories").or_(card.locator("summary")).first.click()
    assert "garden.ipynb" in card.inner_text()
    assert "14 jars" in book.answer(0).inner_text()
    book.page.locator(".jp-Notebook .jp-CodeCell").nth(0).locator(".jp-InputPrompt").click()
    book.page.wait_for_timeout(1000)
    shot = book.page.screenshot(path=str(lab.shots / "scene.png"))
    if STORE:
        PICTURE.write_bytes(shot)
