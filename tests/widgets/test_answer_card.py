"""The widget's ES module in a real Chromium, with a small stand-in for its model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from picture import Pictures
from stage import Stage

from aiki_kernel.display.facts import Facts
from aiki_kernel.display.static_card import render_html

pytestmark = pytest.mark.browser
Answer = Callable[..., dict[str, Any]]
Show = Callable[..., Any]

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
    {"kept": True},
    {"stale": True, "kept": True, "finish_reason": "interrupted"},
    {"route": {"router": "learned", "reason": "cheap, complexity 0.21", "complexity": 0.21}},
    {"route": {"router": "fixed", "reason": "the default of your settings"}, "hits": []},
    {"consult": {"insight": "Count the jars."}, "notes": ["Kept: nothing was asked."]},
    {
        "consult": {"insight": "Count the jars.", "model": "openai/gpt-5"},
        "notes": ["Consulted openai/gpt-5 (confidence 0.90): Count the jars.", "insight $0.01"],
    },
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


@pytest.fixture
def show(page: Stage) -> Show:
    """Puts a card on the page; gives the tab."""

    def _show(summary: dict[str, Any], state: str = "done", **look: Any) -> Any:
        return page.show("answer_card", {"summary": summary, "state": state}, **look)

    return _show


@pytest.mark.parametrize("changes", CHANGES, ids=lambda c: ",".join(c) or "plain")
def test_the_widget_says_what_the_static_card_says(
    show: Show, answer: Answer, changes: dict[str, Any]
) -> None:
    shown = answer(**changes)
    facts = Facts.read(shown)
    tab = show(shown)
    widget = tab.evaluate(
        "() => ({"
        "head: [...document.querySelectorAll('.aiki-facts bdi')].map((n) => n.textContent),"
        "said: [...document.querySelectorAll('.aiki-said')].map((n) => n.textContent),"
        "legend: [...document.querySelectorAll('.aiki-key')].map((n) => n.textContent),"
        "fold: document.querySelector('summary').textContent,"
        "texts: [...document.querySelectorAll('.aiki-memory-text')].map((n) => n.textContent),"
        "scores: [...document.querySelectorAll('.aiki-score')].map((n) => n.textContent),"
        "why: [...document.querySelectorAll('.aiki-why bdi')].map((n) => n.textContent),"
        "marks: [...document.querySelectorAll('.aiki-said')].map((n) => n.title),"
        "insight: [...document.querySelectorAll('.aiki-insight')].map((n) => n.textContent),"
        "notes: [...document.querySelectorAll('.aiki-note')].map((n) => n.textContent)})"
    )
    assert widget["head"] == list(facts.headline)
    assert [word.strip() for word in widget["said"]] == [mark.word for mark in facts.marks]
    assert widget["marks"] == [mark.why for mark in facts.marks]
    assert widget["why"] == list(facts.reasons)
    assert widget["insight"] == ([facts.insight] if facts.insight else [])
    assert widget["legend"] == [f"{s.label} {s.time}" for s in facts.segments]
    assert widget["fold"] == facts.memories_label
    assert widget["texts"] == [m.text for m in facts.memories]
    assert widget["scores"] == [m.score for m in facts.memories]
    assert widget["notes"] == [*widget["insight"], *facts.notes]


def test_the_bar_is_in_proportion(show: Show, answer: Answer) -> None:
    tab = show(answer())
    widths = tab.evaluate(
        "() => { const whole = document.querySelector('.aiki-bar').offsetWidth;"
        "return Object.fromEntries([...document.querySelectorAll('.aiki-bar i')]"
        ".map((n) => [n.className, n.getBoundingClientRect().width / whole])) }"
    )
    for segment in Facts.read(answer()).segments:
        share = max(segment.share, 0.003)  # what took any time is seen
        assert widths[f"aiki-{segment.stage}"] == pytest.approx(share, abs=1e-4)


@pytest.mark.parametrize("state", ["streaming", "done", "error"])
def test_no_text_becomes_markup(show: Show, answer: Answer, state: str) -> None:
    evil = "<img src=http://evil.example/x.png onerror='window.hurt=1'><script>hurt=1</script>"
    hit = {"text": evil, "score": 1, "created_at": evil, "role": evil, "kind": evil}
    shown = answer(
        model=evil, notes=[evil], hits=[{**hit, "provenance": {"notebook": evil}}], finish_reason=""
    )
    tab = show(shown, state)
    tab.wait_for_timeout(50)
    assert tab.evaluate("() => document.querySelectorAll('img,script,iframe').length") == 0
    assert tab.evaluate("() => window.hurt") is None
    assert evil in tab.inner_text(".aiki-model")


def test_memories_unfold_and_stay_unfolded_while_facts_change(show: Show, answer: Answer) -> None:
    tab = show(answer())
    assert not tab.is_visible(".aiki-memory")
    tab.click("summary")
    assert tab.is_visible(".aiki-memory")
    tab.evaluate("s => model.set({summary: s})", answer(stale=True))
    assert tab.is_visible(".aiki-memory")
    when = tab.locator(".aiki-memory time").first
    assert when.get_attribute("title") == "2026-11-18 09:30"


@pytest.mark.parametrize("way", ["click", "Enter", "Space"])
def test_stop_is_sent_once_by_mouse_and_by_keyboard(show: Show, answer: Answer, way: str) -> None:
    tab = show(answer(finish_reason=None), "streaming")
    stop = tab.get_by_role("button", name="Stop this answer")
    if way == "click":
        stop.click()
    else:
        tab.keyboard.press("Tab")
        assert tab.evaluate("() => document.activeElement.ariaLabel") == "Stop this answer"
        tab.keyboard.press(way)
    assert tab.evaluate("() => sent") == [{"type": "stop"}]
    assert stop.is_disabled()
    assert stop.inner_text() == "Stopping…"


def test_stop_is_there_only_while_the_answer_streams(show: Show, answer: Answer) -> None:
    tab = show(answer(finish_reason=None), "streaming")
    assert tab.is_visible(".aiki-stop")
    tab.focus(".aiki-stop")
    tab.evaluate("s => model.set({summary: s, state: 'done'})", answer())
    assert not tab.is_visible(".aiki-stop")
    assert tab.evaluate("() => document.activeElement.tagName") == "SUMMARY"


@pytest.mark.parametrize("width", [820, 400])
def test_the_page_does_not_jump_when_the_answer_ends(
    page: Stage, show: Show, answer: Answer, width: int
) -> None:
    def height(tab: Any) -> int:
        return int(tab.evaluate("() => host.firstChild.offsetHeight"))

    tab = show(answer(finish_reason=None), "streaming", width=width)
    heights = [height(tab)]
    tab.evaluate("s => model.set({summary: s, state: 'done'})", answer())
    heights += [height(tab), height(page.put(render_html(answer()), width=width))]
    assert max(heights) - min(heights) <= (1 if width == 820 else 18)


@pytest.mark.parametrize("width", [820, 540, 480, 300])
@pytest.mark.parametrize("face", ["widget", "static"])
def test_the_label_of_the_memories_is_never_covered(
    page: Stage, show: Show, answer: Answer, face: str, width: int
) -> None:
    html = render_html(answer())
    tab = show(answer(), width=width) if face == "widget" else page.put(html, width=width)
    label = tab.locator("summary").bounding_box()
    assert tab.evaluate(
        "([x, y]) => document.elementFromPoint(x, y).closest('summary') !== null",
        [label["x"] + 6, label["y"] + 8],
    )


@pytest.mark.parametrize("face", ["widget", "static"])
def test_nothing_is_cut_at_400_pixels(page: Stage, show: Show, answer: Answer, face: str) -> None:
    shown = answer(
        model="openrouter/" + "very-long-name" * 8,
        notes=["A note with a path: /" + "folder/" * 30],
        hits=[{**answer()["hits"][0], "text": "å" * 240}],
    )
    tab = show(shown, width=400) if face == "widget" else page.put(render_html(shown), width=400)
    tab.evaluate("() => { document.querySelector('details').open = true }")
    assert tab.evaluate("() => document.documentElement.scrollWidth - innerWidth") <= 0


def test_it_shows_what_is_being_done(show: Show, answer: Answer) -> None:
    bare = {"model": "local"}
    tab = show(bare, "streaming")
    steps = [tab.inner_text(".aiki-status")]
    for latency in ({"recall": 0.01}, {"recall": 0.01, "first_token": 0.4}):
        tab.evaluate("s => model.set({summary: s})", {**bare, "latency_s": latency})
        steps.append(tab.inner_text(".aiki-status"))
    tab.evaluate("s => model.set({summary: s})", {**bare, "finish_reason": "stop"})
    steps.append(tab.inner_text(".aiki-status"))
    assert [step.strip(" ·") for step in steps] == [
        "recalling",
        "thinking",
        "writing",
        "remembering",
    ]


def test_it_leaves_nothing_behind(show: Show, answer: Answer) -> None:
    tab = show(answer(finish_reason=None), "streaming")
    assert tab.evaluate("() => model.count()") == 3
    tab.evaluate("() => { cleanup(); window.cleanup = undefined; }")
    assert tab.evaluate("() => model.count()") == 0


# What a model on its way tells, message by message.
FACTS: list[dict[str, Any]] = [
    {"model": ""},
    {"model": "openai/gpt-5-mini", "latency_s": {"recall": 0.012}, "hits": "all"},
    {"latency_s": {"recall": 0.012, "route": 0.0002}, "persona": "trisha"},
    {"hops": 1, "notes": ["openai/gpt-5 is failing (503): openai/gpt-5-mini answers. " * 3]},
    {"latency_s": {"recall": 0.012, "route": 0.0002, "first_token": 0.48, "generate": 0.5}},
    {"latency_s": {"recall": 0.012, "route": 0.0002, "first_token": 0.48, "generate": 72.0}},
    {"finish_reason": "stop", "tokens_per_second": 20.9},
]


@pytest.mark.parametrize("width", [820, 400])
def test_nothing_moves_while_facts_arrive(show: Show, answer: Answer, width: int) -> None:
    hits = answer()["hits"]
    whole: dict[str, Any] = {"backend": answer()["backend"]}
    tab = show({}, "streaming", width=width)
    tab.evaluate(
        """() => {
          const next = document.createElement("p");
          next.textContent = "the next cell";
          document.body.append(next);
          window.shifts = [];
          new PerformanceObserver((found) =>
            window.shifts.push(
              ...found.getEntries().map((one) => one.sources.map((s) => s.node?.className)),
            ),
          ).observe({ type: "layout-shift" });
        }"""
    )
    tab.wait_for_timeout(100)
    for facts in FACTS:
        whole |= {**facts, **({"hits": hits} if "hits" in facts else {})}
        tab.evaluate("s => { model.set({ summary: s }) }", whole)
        tab.wait_for_timeout(100)
    assert tab.evaluate("() => shifts") == []
    # The observer sees a move when there is one.
    tab.evaluate("() => { host.style.marginTop = '40px' }")
    tab.wait_for_timeout(200)
    assert tab.evaluate("() => shifts.length") > 0


def test_a_screen_reader_is_told_little(still: Stage) -> None:
    tab = still.show("answer_card", {"summary": {}, "state": "streaming"})
    tab.evaluate(
        "() => { window.told = []; new MutationObserver(() => told.push("
        "document.querySelector('.aiki-ears').textContent)).observe("
        "document.querySelector('.aiki-ears'), { childList: true }) }"
    )
    for latency in ({"recall": 0.01}, {"recall": 0.01, "first_token": 0.2}):
        tab.evaluate("s => { model.set({ summary: s }) }", {"latency_s": latency})
        tab.clock.run_for(400)
    assert tab.evaluate("() => told") == []
    tab.clock.run_for(10_000)
    tab.evaluate("() => { model.set({ state: 'interrupted' }) }")
    assert tab.evaluate("() => told") == ["writing", "stopped"]


PICTURES: list[tuple[str, str, str, int, dict[str, Any]]] = [
    ("streaming", "streaming", "light", 820, {}),
    ("streaming", "streaming", "dark", 400, {}),
    ("done", "done", "light", 820, {}),
    ("done", "done", "dark", 820, {}),
    ("done", "done", "light", 400, {}),
    ("interrupted", "interrupted", "dark", 820, {"finish_reason": "interrupted", "hits": []}),
    (
        "failed-stale-kept",
        "error",
        "light",
        820,
        {"finish_reason": "error", "stale": True, "kept": True, "hits": []},
    ),
]


def pictured(answer: Answer, state: str, changes: dict[str, Any]) -> dict[str, Any]:
    """An answer that shows everything a card can show."""
    known = {
        "model": "openai/gpt-5-mini",
        "provider": "openai",
        "cost": {"usd": 0.0123, "estimated": False},
        "compared": {"smart_only_usd": 0.05},
        "route": {"router": "learned", "reason": "cheap, complexity 0.21"},
        "consult": {"insight": "Count the jars."},
        "notes": ["Consulted openai/gpt-5 (confidence 0.90, calibrated 0.82): Count the jars."],
    }
    if state == "streaming":
        latency = {"recall": 0.0124, "route": 0.0002, "first_token": 0.48, "generate": 1.9}
        told = {"finish_reason": "", "usage": {}, "cost": None, "tokens_per_second": None}
        known |= {**told, "latency_s": latency, "notes": [], "consult": None}
    elif state != "done":
        known |= {"notes": [], "consult": None}
    return answer(**{**known, **changes})


STATIC = [one for one in PICTURES if one[0] in ("done", "failed-stale-kept")]


@pytest.mark.parametrize(
    ("face", "name", "state", "theme", "width", "changes"),
    [*(("widget", *one) for one in PICTURES), *(("static", *one) for one in STATIC)],
)
def test_pictures(
    still: Stage,
    pictures: Pictures,
    answer: Answer,
    face: str,
    name: str,
    state: str,
    theme: str,
    width: int,
    changes: dict[str, Any],
) -> None:
    shown = pictured(answer, state, changes)
    if face == "static":
        tab = still.put(render_html(shown), width=width, theme=theme)
    else:
        tab = still.show(
            "answer_card", {"summary": shown, "state": state}, width=width, theme=theme
        )
    if name == "done":
        tab.evaluate("() => { document.querySelector('details').open = true }")
    pictures.check(tab, f"card-{face}-{name}-{width}-{theme}")
