"""The widget's ES module in a real Chromium, with a small stand-in for its model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from aiki_kernel.display.facts import Facts
from aiki_kernel.display.static_card import render_html

pytestmark = pytest.mark.browser
Answer = Callable[..., dict[str, Any]]

CHANGES: list[dict[str, Any]] = [
    {},
    {"usage": {"input_tokens": 1234567, "output_tokens": 9, "estimated": True}},
    {"usage": {"input_tokens": 9, "output_tokens": 0, "cached_tokens": 8}},
    {"usage": {"output_tokens": 3}},
    {"usage": {}},
    {"cost": {"usd": None, "estimated": True}},
    {"cost": {"usd": 0.0123, "estimated": False}},
    {"cost": {"usd": 0.00031, "estimated": True}},
    {"cost": {"usd": 0.125, "estimated": False}},
    {"cost": {"usd": 3.0e-7, "estimated": False}},
    {"cost": None},
    {"compared": {"smart_only_usd": 0.0123}},
    {"cost": {"usd": 0.02}, "compared": {"smart_only_usd": 0.0123}},
    {"cost": {"usd": 0.02}, "compared": {"smart_only_usd": 0.02}},
    {"cost": {"usd": None}, "compared": {"smart_only_usd": 0.02}},
    {"compared": {"smart_only_usd": None}, "hops": []},
    {"hops": [{"model": "openai/x", "to": "openai/y", "why": "is failing (503)"}]},
    {"hops": 2},
    {"tokens_per_second": 9.95},
    {"tokens_per_second": 3.25},
    {"tokens_per_second": None},
    {"engine": "mojo", "quantisation": "Q4_1"},
    {"engine": "numpy", "quantisation": None},
    {"finish_reason": "interrupted"},
    {"finish_reason": "error"},
    {"finish_reason": "length"},
    {"stale": True},
    {"notes": ["Memory is away: this turn waits.", "Second line."]},
    {"hits": []},
    {"hits_left_out": 4},
    {"latency_s": {"recall": 0.0015, "generate": 75.5}},
    {"latency_s": {}},
    {"model": ""},
    {"persona": "trisha"},
    {"persona": "", "model": ""},
    {"model": "gpt-5-mini", "provider": "openai"},
    {"model": "local", "provider": "local"},
]


@pytest.mark.parametrize("changes", CHANGES, ids=lambda c: ",".join(c) or "plain")
def test_the_widget_says_what_the_static_card_says(
    page: Any, answer: Answer, changes: dict[str, Any]
) -> None:
    shown = answer(**changes)
    facts = Facts.read(shown)
    page.evaluate("s => show(s, 'done')", shown)
    widget = page.evaluate(
        "() => ({"
        "head: [...document.querySelectorAll('.aiki-facts bdi')].map((n) => n.textContent),"
        "said: [...document.querySelectorAll('.aiki-said')].map((n) => n.textContent),"
        "legend: [...document.querySelectorAll('.aiki-key')].map((n) => n.textContent),"
        "fold: document.querySelector('summary').textContent,"
        "texts: [...document.querySelectorAll('.aiki-memory-text')].map((n) => n.textContent),"
        "scores: [...document.querySelectorAll('.aiki-score')].map((n) => n.textContent),"
        "notes: [...document.querySelectorAll('.aiki-note')].map((n) => n.textContent)})"
    )
    assert widget["head"] == list(facts.headline)
    assert widget["said"] == [w for w in (facts.label, "stale" if facts.stale else "") if w]
    assert widget["legend"] == [f"{s.label} {s.time}" for s in facts.segments]
    assert widget["fold"] == facts.memories_label
    assert widget["texts"] == [m.text for m in facts.memories]
    assert widget["scores"] == [m.score for m in facts.memories]
    assert widget["notes"] == list(facts.notes)


def test_the_bar_is_in_proportion(page: Any, answer: Answer) -> None:
    page.evaluate("s => show(s, 'done')", answer())
    widths = page.evaluate(
        "() => Object.fromEntries([...document.querySelectorAll('.aiki-bar i')]"
        ".map((n) => [n.className, parseFloat(n.style.width)]))"
    )
    for segment in Facts.read(answer()).segments:
        assert widths[f"aiki-{segment.stage}"] == pytest.approx(segment.share * 100, abs=0.01)


@pytest.mark.parametrize("state", ["streaming", "done", "error"])
def test_no_text_becomes_markup(page: Any, answer: Answer, state: str) -> None:
    evil = "<img src=http://evil.example/x.png onerror='window.hurt=1'><script>hurt=1</script>"
    hit = {"text": evil, "score": 1, "created_at": evil, "role": evil, "kind": evil}
    shown = answer(
        model=evil, notes=[evil], hits=[{**hit, "provenance": {"notebook": evil}}], finish_reason=""
    )
    page.evaluate("([s, state]) => show(s, state)", [shown, state])
    page.wait_for_timeout(50)
    assert page.evaluate("() => document.querySelectorAll('img,script,iframe').length") == 0
    assert page.evaluate("() => window.hurt") is None
    assert evil in page.inner_text(".aiki-model")


def test_memories_unfold_and_stay_unfolded_while_facts_change(page: Any, answer: Answer) -> None:
    page.evaluate("s => show(s, 'done')", answer())
    assert not page.is_visible(".aiki-memory")
    page.click("summary")
    assert page.is_visible(".aiki-memory")
    page.evaluate("s => model.set({summary: s})", answer(stale=True))
    assert page.is_visible(".aiki-memory")
    when = page.locator(".aiki-memory time").first
    assert when.get_attribute("title") == "2026-11-18T09:30:00.000000+00:00"


@pytest.mark.parametrize("way", ["click", "Enter", "Space"])
def test_stop_is_sent_once_by_mouse_and_by_keyboard(page: Any, answer: Answer, way: str) -> None:
    page.evaluate("s => show(s, 'streaming')", answer(finish_reason=None))
    stop = page.get_by_role("button", name="Stop this answer")
    if way == "click":
        stop.click()
    else:
        page.keyboard.press("Tab")
        assert page.evaluate("() => document.activeElement.ariaLabel") == "Stop this answer"
        page.keyboard.press(way)
    assert page.evaluate("() => sent") == [{"type": "stop"}]
    assert stop.is_disabled()
    assert stop.inner_text() == "Stopping…"


def test_stop_is_there_only_while_the_answer_streams(page: Any, answer: Answer) -> None:
    page.evaluate("s => show(s, 'streaming')", answer(finish_reason=None))
    assert page.is_visible(".aiki-stop")
    page.focus(".aiki-stop")
    page.evaluate("s => model.set({summary: s, state: 'done'})", answer())
    assert not page.is_visible(".aiki-stop")
    assert page.evaluate("() => document.activeElement.tagName") == "SUMMARY"


@pytest.mark.parametrize("width", [820, 400])
def test_the_page_does_not_jump_when_the_answer_ends(page: Any, answer: Answer, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 600})
    page.evaluate("s => show(s, 'streaming')", answer(finish_reason=None))
    heights = [page.evaluate("() => document.querySelector('.aiki-card').offsetHeight")]
    page.evaluate("s => model.set({summary: s, state: 'done'})", answer())
    heights.append(page.evaluate("() => document.querySelector('.aiki-card').offsetHeight"))
    page.evaluate("h => { document.body.innerHTML = h }", render_html(answer()))
    heights.append(page.evaluate("() => document.querySelector('.aiki-card-static').offsetHeight"))
    assert max(heights) - min(heights) <= (1 if width == 820 else 18)
    page.set_viewport_size({"width": 820, "height": 600})


@pytest.mark.parametrize("face", ["widget", "static"])
def test_nothing_is_cut_at_400_pixels(page: Any, answer: Answer, face: str) -> None:
    page.set_viewport_size({"width": 400, "height": 600})
    shown = answer(
        model="openrouter/" + "very-long-name" * 8,
        notes=["A note with a path: /" + "folder/" * 30],
        hits=[{**answer()["hits"][0], "text": "å" * 240}],
    )
    if face == "widget":
        page.evaluate("s => show(s, 'done')", shown)
    else:
        page.evaluate("h => { document.body.innerHTML = h }", render_html(shown))
    page.evaluate("() => { document.querySelector('details').open = true }")
    over = page.evaluate("() => document.documentElement.scrollWidth - window.innerWidth")
    assert over <= 0
    page.set_viewport_size({"width": 820, "height": 600})


def test_it_shows_what_is_being_done(page: Any, answer: Answer) -> None:
    bare = {"model": "local"}
    page.evaluate("s => show(s, 'streaming')", bare)
    steps = [page.inner_text(".aiki-status")]
    for latency in ({"recall": 0.01}, {"recall": 0.01, "first_token": 0.4}):
        page.evaluate("s => model.set({summary: s})", {**bare, "latency_s": latency})
        steps.append(page.inner_text(".aiki-status"))
    page.evaluate("s => model.set({summary: s})", {**bare, "finish_reason": "stop"})
    steps.append(page.inner_text(".aiki-status"))
    assert [step.strip(" ·") for step in steps] == [
        "recalling",
        "thinking",
        "writing",
        "remembering",
    ]


def test_it_leaves_nothing_behind(page: Any, answer: Answer) -> None:
    page.evaluate("s => show(s, 'streaming')", answer(finish_reason=None))
    assert page.evaluate("() => model.count()") == 2
    page.evaluate("() => { cleanup(); window.cleanup = undefined; }")
    assert page.evaluate("() => model.count()") == 0
