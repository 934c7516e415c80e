"""What the card says, in both of its lasting faces."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable
from html import unescape
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiki_kernel.display.facts import Facts, clean, duration, when
from aiki_kernel.display.static_card import render_html, render_text
from aiki_kernel.display.weight import LIMIT, compact, weigh

ALLOWED = {"div", "span", "strong", "bdi", "details", "summary", "ul", "li", "time"}
ATTRIBUTES = {"style", "title", "class"}
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)
Answer = Callable[..., dict[str, Any]]
KEYS = [
    "turn_id",
    "session_id",
    "model",
    "provider",
    "persona",
    "engine",
    "quantisation",
    "backend",
    "finish_reason",
    "usage",
    "cost",
    "latency_s",
    "tokens_per_second",
    "hits",
    "hit_ids",
    "hits_left_out",
    "hops",
    "compared",
    "notes",
    "remembered",
    "stale",
]
HOSTILE = st.sampled_from(
    [
        "<script>alert(1)</script>",
        "<img src=http://evil.example/x.png onerror=alert(1)>",
        '"><svg onload=alert(1)>',
        "' onmouseover='alert(1)",
        "</span></details><iframe src=//evil.example>",
        "javascript:alert(1)",
        "&lt;b&gt; &amp; &#60;",
        "\u202eright to left\u202c",
        "\x1b[31mred\x07",
        "\ud800 lone",
    ]
) | st.text(max_size=300)


class Reader(HTMLParser):
    """Collects the elements, the attributes and the text of a piece of HTML."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.open: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text: list[str] = []
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.open.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def harmless(source: str) -> Reader:
    """Read ``source`` and check that it holds nothing but our own markup."""
    read = Reader(source)
    assert read.open == []
    assert set(read.tags) <= ALLOWED
    assert {name for name, _ in read.attributes} <= ATTRIBUTES
    styles = " ".join(value for name, value in read.attributes if name == "style")
    assert "url(" not in styles
    assert "expression" not in styles
    assert "@import" not in styles
    return read


@given(text=HOSTILE, model=HOSTILE, note=HOSTILE, where=HOSTILE, when=HOSTILE, reason=HOSTILE)
def test_no_text_becomes_markup(
    answer: Answer, text: str, model: str, note: str, where: str, when: str, reason: str
) -> None:
    hit = {
        "id": text,
        "text": text,
        "score": 1.0,
        "created_at": when,
        "kind": note,
        "role": model,
        "provenance": {"notebook": where, "session_id": where},
    }
    shown = answer(model=model, notes=[note], hits=[hit], finish_reason=reason)
    read = harmless(render_html(shown))
    said = "".join(read.text)
    assert clean(text) in said
    assert clean(model) in said
    assert clean(note) in said


@given(st.dictionaries(st.sampled_from(KEYS), ANYTHING))
def test_any_shape_of_summary_is_shown_and_light(broken: dict[str, Any]) -> None:
    harmless(render_html(broken))
    render_text(broken).encode()
    small = compact(broken)
    assert weigh(small) < LIMIT
    assert json.loads(json.dumps(small, allow_nan=False)) == small


@given(
    hits=st.lists(st.text(st.characters(codec="utf-8"), max_size=400), max_size=30),
    name=st.text(max_size=500),
)
def test_a_card_weighs_less_than_six_kilobytes(answer: Answer, hits: list[str], name: str) -> None:
    many = [
        {**answer()["hits"][0], "id": name, "text": text, "provenance": {"notebook": name}}
        for text in hits
    ]
    whole = answer(hits=many, model=name, notes=[name] * 9, persona=name, session_id=name)
    small = compact(whole)
    assert weigh(small) < LIMIT
    assert Facts.read(small).memory_count == len(hits)
    assert compact(small) == small


def test_the_heaviest_names_fit_with_at_least_one_memory(answer: Answer) -> None:
    heavy = "\U0001f9e0" * 900
    keys = ("turn_id", "session_id", "model", "provider", "persona")
    hit = {**answer()["hits"][0], "text": heavy, "provenance": {"notebook": heavy}}
    backend = {"name": heavy, "reason": heavy, "ms": 1e15}
    whole = answer(
        hits=[hit] * 100, notes=[heavy] * 50, backend=backend, **dict.fromkeys(keys, heavy)
    )
    small = compact(whole)
    assert weigh(small) < LIMIT
    assert len(small["hits"]) >= 1
    assert small["hits_left_out"] == 100 - len(small["hits"])


def test_a_limit_that_cannot_be_kept_is_refused(answer: Answer) -> None:
    with pytest.raises(ValueError, match="at least 5000"):
        compact(answer(), 100)


def test_an_ordinary_summary_keeps_every_fact_when_made_light(answer: Answer) -> None:
    assert Facts.read(compact(answer())) == Facts.read(answer())


FACTS = [
    ({}, ["local/smollm2-135m", "1,412 → 38 tokens", "free", "2.3 s", "21 tok/s", "2 memories"]),
    ({"usage": {"input_tokens": 7, "output_tokens": 9, "estimated": True}}, ["~7 → ~9 tokens"]),
    ({"usage": {"input_tokens": 9, "output_tokens": 1, "cached_tokens": 8}}, ["(8 cached)"]),
    ({"usage": {"output_tokens": 3}}, ["3 tokens"]),
    ({}, ["mojo 0.21 ms"]),
    ({"backend": {"name": "numpy", "reason": "", "ms": 3.44}}, ["numpy 3.4 ms"]),
    ({"backend": {"name": "qdrant", "reason": "x", "ms": 12.5}}, ["qdrant 13 ms"]),
    ({"model": "gpt-5-mini", "provider": "openai"}, ["openai/gpt-5-mini"]),
    ({"cost": {"usd": None, "estimated": True}}, ["price unknown"]),
    ({"cost": {"usd": 0.0123, "estimated": False}}, ["$0.012"]),
    ({"cost": {"usd": 0.00031, "estimated": True}}, ["~$0.00031"]),
    ({"cost": {"usd": 12.5, "estimated": False}}, ["$12.50"]),
    ({"cost": {"usd": 1e-9, "estimated": False}}, ["<$0.000001"]),
    ({"tokens_per_second": 3.14159}, ["3.1 tok/s"]),
    ({"engine": "mojo", "quantisation": "Q4_1"}, ["mojo Q4_1"]),
    ({"engine": "numpy"}, ["numpy"]),
    ({"finish_reason": "interrupted"}, ["stopped"]),
    ({"finish_reason": "error"}, ["failed"]),
    ({"finish_reason": "length"}, ["cut at the token limit"]),
    ({"stale": True}, ["stale"]),
    ({"notes": ["Memory is away: the turn waits."]}, ["Memory is away: the turn waits."]),
    ({"hits": []}, ["recall 12 ms", "first token 481 ms", "generate 1.8 s", "remember 18 ms"]),
]


@pytest.mark.parametrize(("changes", "expected"), FACTS)
def test_html_and_text_say_the_same(
    answer: Answer, changes: dict[str, Any], expected: list[str]
) -> None:
    shown = answer(**changes)
    page = "".join(harmless(render_html(shown)).text)
    line = render_text(shown)
    for fact in expected:
        assert fact in page
        if fact not in ("2 memories",):
            assert fact in line
    for hit in shown["hits"]:
        assert hit["text"] in page
        assert hit["text"] in line


def test_a_memory_shows_text_score_time_and_origin(answer: Answer) -> None:
    page, line = html.unescape(render_html(answer())), render_text(answer())
    for shown in (page, line):
        for fact in (
            "My sister Åse keeps bees",
            "2.41",
            when("2026-11-18T09:30:00+00:00"),
            "garden.ipynb",
        ):
            assert fact in shown
        for fact in ("-0.31", when("2025-02-01T18:00:00+00:00"), "session 77aa01bc"):
            assert fact in shown
    assert "2026-11-18T09:30:00.000000+00:00" in page


def test_a_memory_that_was_found_but_not_used_says_so(answer: Answer) -> None:
    shown = answer(hits=[{**answer()["hits"][0], "used": False}])
    assert "found, not used" in render_html(shown)
    assert "garden.ipynb · found, not used)" in render_text(compact(shown))
    assert "not used" not in render_html(answer())


def test_the_text_bar_is_proportional_and_lines_are_aligned(answer: Answer) -> None:
    lines = render_text(answer()).splitlines()
    assert len(lines) == 5
    bar = lines[1].split()[1]
    assert bar.count("█") > bar.count("▒") > bar.count("░") >= 1
    assert lines[3].index("My sister") == lines[4].index("Honey")


def test_a_terminal_gets_no_control_characters(answer: Answer) -> None:
    hostile = "\x1b[2J\x9b31m\u2028\r\nnext"
    line = render_text(answer(model=hostile, notes=[hostile], hits=[{"text": hostile}]))
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028]", line)


def test_an_empty_summary_says_little_and_breaks_nothing() -> None:
    assert render_text({}) == ""
    assert "no memories" in render_html({})


def test_the_html_fetches_nothing_and_is_small(answer: Answer) -> None:
    page = render_html(answer())
    assert "http" not in page
    assert "src=" not in page
    assert len(page.encode()) < 4000
    eight = compact(answer(hits=[{**answer()["hits"][0], "text": "å" * 240}] * 8))
    assert len(render_html(eight).encode()) < 9000


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "<1 ms"),
        (0.0009, "<1 ms"),
        (0.0015, "2 ms"),
        (0.9994, "999 ms"),
        (0.9996, "1.0 s"),
        (2.25, "2.3 s"),
        (59.94, "59.9 s"),
        (59.96, "1 min 0 s"),
        (72.4, "1 min 12 s"),
    ],
)
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"compared": {"smart_only_usd": 0.0123}}, "~$0.012 saved"),
        ({"cost": {"usd": 0.03}, "compared": {"smart_only_usd": 0.01}}, "~$0.020 over smart-only"),
        ({"hops": [{}]}, "1 hop"),
        ({"hops": [{}, {}]}, "2 hops"),
    ],
)
def test_hops_and_what_was_saved_are_told_on_the_line(
    answer: Answer, changes: dict[str, Any], told: str
) -> None:
    assert told in Facts.read(answer(**changes)).headline
    assert told in Facts.read(compact(answer(**changes))).headline
    assert told in render_text(answer(**changes))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"compared": None, "hops": []},
        {"cost": {"usd": None}, "compared": {"smart_only_usd": 1}},
    ],
)
def test_nothing_is_said_of_savings_that_nobody_knows(
    answer: Answer, changes: dict[str, Any]
) -> None:
    line = " ".join(Facts.read(answer(**changes)).headline)
    assert "saved" not in line
    assert "hop" not in line


def test_who_searched_is_not_named_beside_nothing_found() -> None:
    backend = {"name": "numpy", "reason": "small", "ms": 0.32}
    facts = Facts.read({"finish_reason": "stop", "hits": [], "backend": backend})
    assert facts.memories_label == "no memories"
    found = Facts.read({"finish_reason": "stop", "hits": [{"text": "a"}], "backend": backend})
    assert found.memories_label == "1 memory · numpy 0.32 ms"


def test_every_fact_is_readable_where_all_styles_are_taken_away(answer: Answer) -> None:
    shown = answer(
        stale=True,
        kept=True,
        notes=["Consulted x: count.", "Memory is away."],
        consult={"insight": "count"},
        route={"router": "learned", "reason": "cheap, complexity 0.21"},
    )
    html = render_html(shown)
    read = unescape(re.sub(r"<[^>]+>", "", re.sub(r"</(div|li|summary)>", "\n", html)))
    facts = Facts.read(shown)
    assert " · ".join(facts.headline) in read
    assert "stale ● · kept ●" in read
    assert " ■ ".join(f"{s.label} {s.time}" for s in facts.segments) in read
    assert "Model: learned: cheap, complexity 0.21\n" in read
    for text in (facts.memories_label, facts.insight, *facts.notes):
        assert f"{text}\n" in read
    for memory in facts.memories:
        assert " · ".join([memory.score, *memory.about]) in read
    text = render_text(shown)
    for line in ("stale     An earlier cell", "kept      Kept by # keep", "insight   Consulted x"):
        assert line in text
