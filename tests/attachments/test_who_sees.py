"""Which models see, what an image counts as, and who is asked when one is attached."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from aiki_kernel.config import load
from aiki_kernel.mind.routing.candidates import candidates, demand, seeing
from aiki_kernel.models.ability import fitted
from aiki_kernel.models.cards import card
from aiki_kernel.models.chat import ChatMessage, ChatRequest
from aiki_kernel.models.image import Image

IMAGE = Image("plot", "image/png", 640, 480, b"x" * 2000, "two bars")
KNOWN = [
    ("openai/gpt-6.1-sol", True),
    ("openrouter/anthropic/claude-opus-5.5", True),
    ("openrouter/google/gemini-3.8-flash", True),
    ("openrouter/deepseek/deepseek-v4.1-flash", False),
    ("openrouter/some/other", None),
    ("local/smollm2-135m", False),
]


@pytest.mark.parametrize(("name", "sees"), KNOWN)
def test_cards_know_who_sees(name: str, sees: bool | None, aiki_home: Path) -> None:
    assert card(load(), name).vision is sees


def test_an_image_counts_by_tiles_or_by_area() -> None:
    assert replace(IMAGE, width=100, height=100).tokens == 85 + 170
    assert replace(IMAGE, width=1024, height=1024).tokens == 1399  # 765 by tiles
    assert replace(IMAGE, width=4000, height=4000).tokens == 1600


def test_who_does_not_see_gets_fewer_tokens_and_all_words(aiki_home: Path) -> None:
    message = ChatMessage("user", "What is it?", (IMAGE,))
    asked = ChatRequest("local", (message,), prompt_tokens=500)
    blind = card(load(), "local/smollm2-135m")
    sent, notes = fitted(asked, blind)
    assert "two bars" in sent.messages[0].content
    assert sent.prompt_tokens < 200
    assert len(notes) == 1
    assert fitted(asked, replace(blind, vision=None)) == (asked, [])


def test_a_router_leaves_out_who_does_not_see_while_another_does(aiki_home: Path) -> None:
    settings = load()
    blind, sees = (card(settings, name) for name in (KNOWN[3][0], KNOWN[0][0]))
    wanted = demand("?", (), system="", context=100, recall=0, longest=10, attached=IMAGE.tokens)
    assert wanted.message >= IMAGE.tokens
    tiers = {"cheap": blind, "smart": sees}
    notes = [one.note for one in candidates(tiers, wanted, images=True)]
    assert notes == ["it does not see the image", ""]
    assert [one.note for one in candidates({"cheap": blind}, wanted, images=True)] == [""]
    assert seeing([blind, sees]) is sees
