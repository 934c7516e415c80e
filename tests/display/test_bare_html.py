"""What is left where styles, classes and scripts are taken away (GitHub), or where HTML is not
shown at all (a console): every fact of every widget must still be read."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from shown_boards import document, hour_of_history

from aiki_kernel.display import (
    cost_facts,
    memory_facts,
    picker_facts,
    static_board,
    static_card,
    static_cost,
    static_memory,
    static_pickers,
)
from aiki_kernel.display.board_facts import board, changed
from aiki_kernel.display.facts import Facts
from aiki_kernel.mind.ledger import Entry, Ledger

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
Shown = tuple[str, str, list[str]]


class Bare(HTMLParser):
    """The words of a page, as a reader without styles and titles sees them. A new block or cell
    begins a new word."""

    def __init__(self) -> None:
        super().__init__()
        self.words = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("div", "td", "th", "tr", "li", "summary", "p"):
            self.words += "\n"

    def handle_data(self, data: str) -> None:
        self.words += data


def card(answer: Callable[..., dict[str, Any]], _: Path) -> Shown:
    shown = answer(
        stale=True,
        kept=True,
        persona="trisha",
        hops=2,
        notes=["Consulted openai/x: count the jars.", "Memory is away: this turn waits."],
        consult={"insight": "count the jars"},
        route={"router": "learned", "reason": "cheap, complexity 0.21"},
    )
    facts = Facts.read(shown)
    wanted = [*facts.headline, facts.route, facts.insight, *facts.notes, facts.searched_why]
    wanted += [facts.searched, *(word for mark in facts.marks for word in (mark.word, mark.why))]
    wanted += [f"{one.label} {one.time}" for one in facts.segments]
    wanted += [word for one in facts.memories for word in (one.text, one.score, one.role, one.when)]
    return static_card.render_html(shown), static_card.render_text(shown), wanted


def health(_: Any, folder: Path) -> Shown:
    shown = board(document(), hour_of_history(folder))
    wanted = [shown["headline"], static_board.spent(shown["money"])]
    wanted += [word for one in shown["services"] for word in (one["title"], one["state"])]
    wanted += [word for one in shown["services"] for word in (one["figure"], one["reason"])]
    wanted += [changed(one) for one in shown["changes"]]
    return static_board.render_html(shown), static_board.render_text(shown), wanted


def unwatched(_: Any, folder: Path) -> Shown:
    shown = board(document(), folder / "none.sqlite")
    wanted = ["No history: aiki health daemon keeps one."]
    return static_board.render_html(shown), static_board.render_text(shown), wanted


def costs(_: Any, folder: Path) -> Shown:
    book = Ledger(folder / "ledger.sqlite")
    for day, usd in ((20, 0.25), (21, None), (15, 1.5)):
        at = NOW.replace(day=day).isoformat()
        book.record(Entry(at, "s", f"t{day}", "m", "p", name="p/m", cost_usd=usd, input_tokens=9))
    cap = {"what": "today", "spent_usd": 0.25, "held_usd": 0, "limit_usd": 2, "left_usd": 1.75}
    shown = cost_facts.board(book, "7", [{**cap, "unpriced_calls": 1}], ["A line."], NOW)
    wanted = [shown["said"], shown["counted"], *shown["lines"]]
    wanted += [one["said"] for one in shown["caps"]]
    bars = [one for one in shown["bars"] if one["usd"] or one["unknown"]]
    wanted += [word for one in bars for word in (one["name"], one["said"])]
    wanted += [cell for rows in shown["groups"].values() for row in rows for cell in row]
    wanted += [f"by {name}" for name in shown["groups"]]
    return static_cost.render_html(shown), static_cost.render_text(shown), wanted


def memories(_: Any, __: Path) -> Shown:
    one = {
        "id": "00000001-0000-4000-8000-000000000000",
        "text": "Hytta koster 300 000 kroner 🏠",
        "created_at": "2026-03-01T12:00:00+00:00",
        "kind": "fact",
        "role": "user",
        "agent_id": "trisha",
        "trust": "import",
        "tags": ["økonomi", "hytte"],
        "held": True,
        "provenance": {"notebook": "work/cabin.ipynb"},
        "reason": "sold",
        "at": "2026-04-01T12:00:00+00:00",
        "actor": "kari",
    }
    asked = {"kind": "fact", "tag": "hytte"}
    shown = memory_facts.page({"rows": [one], "total": 12, "note": "A note."}, asked, 0)
    (row,) = shown["rows"]
    wanted = [shown["said"], shown["note"], *shown["filters"], row["text"], row["when"]]
    wanted += [static_memory.about(row), static_memory.left(row), row["id"][:8]]
    return static_memory.render_html(shown), static_memory.render_text(shown), wanted


def models(_: Any, __: Path) -> Shown:
    one = {"name": "x/one", "tier": "cheap", "input_usd_per_million": 0.1, "window": 128_000}
    here = {**one, "output_usd_per_million": 2, "usable": True, "state": "key set", "todo": ""}
    away = {"name": "local/b", "local": True, "size": 98e6, "state": "`aiki model pull b`"}
    asked = {**away, "todo": "aiki config key X_API_KEY"}
    shown = picker_facts.models([{**here, "current": True}, asked], "x/one", "from the settings")
    wanted = [shown["said"], shown["todo"], "→ x/one"]
    for row in shown["rows"]:
        wanted += [row[name] for name in ("name", "tier", "given", "made", "window")]
        wanted.append(static_pickers.state(row))
    return static_pickers.models_html(shown), static_pickers.models_text(shown), wanted


def personas(_: Any, __: Path) -> Shown:
    voice = {"en": {"title": "Trisha from Accounting", "system": "You keep books."}}
    whole = {"name": "trisha", "voices": voice, "models": ["a/b"], "read": ["own"], "tools": []}
    broken = {"name": "odd", "problem": "no `system` in it"}
    shown = picker_facts.personas([whole, broken], "trisha", "en")
    wanted = [shown["said"], "→"]
    for row in shown["rows"]:
        wanted += [row["name"], row["title"], row["problem"] or row["about"]]
        wanted += [part for name, value in row["facts"] for part in (name, value)]
    return static_pickers.personas_html(shown), static_pickers.personas_text(shown), wanted


@pytest.mark.parametrize("face", [card, health, unwatched, costs, memories, models, personas])
def test_every_fact_is_read_without_styles_and_without_html(
    face: Callable[[Any, Path], Shown], answer: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    html, text, wanted = face(answer, tmp_path)
    bare = Bare()
    bare.feed(html)
    for said in (bare.words, text):
        plain = flat(said)
        assert [fact for fact in wanted if fact and flat(fact) not in plain] == []


@pytest.mark.parametrize("face", [card, health, costs, memories, models, personas])
def test_no_two_facts_run_into_each_other(
    face: Callable[[Any, Path], Shown], answer: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    """Elements that only a style keeps apart: a letter or a digit on each side of the seam."""
    html, _, _ = face(answer, tmp_path)
    assert list(seams(html)) == []


def seams(html: str) -> Iterator[str]:
    inline = r"</(?:span|bdi|strong|code|time|a)>"
    for found in re.finditer(
        rf"\w(?:{inline})+(?:<(?:span|bdi|strong|code|time|a)[^>]*>)+\w", html
    ):
        yield html[max(0, found.start() - 30) : found.end() + 30]


def flat(said: str) -> str:
    """In words alone: a command is code in HTML and stands in backticks in text."""
    return " ".join(said.replace("`", "").split())
