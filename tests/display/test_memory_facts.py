"""What the memory browser shows, in three faces, and what it does with a memory."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from aiki_kernel.commands.command import Context, Result
from aiki_kernel.commands.registry import run
from aiki_kernel.display import memory_facts
from aiki_kernel.display.memory_browser import MemoryBrowser
from aiki_kernel.display.static_memory import about, render_html, render_text
from aiki_kernel.errors import UsageError

EVIL = "<img src=x onerror=alert(1)>\u202e"
Call = Callable[..., Result]


@pytest.fixture
def call(aiki_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Call]:
    monkeypatch.setenv("AIKI_DAEMON", "off")
    monkeypatch.setenv("AIKI_MEMORY__EMBEDDER", "wordllama")
    context = Context("magic", report=lambda what, done, total: None)
    yield lambda *words: run(["memory", *words], context)
    context.close()


def test_a_page_says_the_same_in_text_and_html_and_stays_small() -> None:
    rows = [
        {
            "id": f"{n:08d}-0000-4000-8000-000000000000",
            "text": f"{EVIL} {n} " + "æ" * 1000,
            "created_at": "2026-03-01T12:00:00+00:00",
            "kind": EVIL,
            "role": "user",
            "agent_id": "trisha",
            "trust": "import",
            "tags": [EVIL] * 20,
            "held": n == 3,
            "provenance": {"notebook": f"work/{EVIL}.ipynb"},
        }
        for n in range(memory_facts.PAGE)
    ]
    page = memory_facts.page({"rows": rows, "next": "x|1", "total": 1204}, {"kind": "fact"}, 20)
    assert page["said"] == "21–30 of 1,204 memories, newest first"
    assert len(json.dumps(page, ensure_ascii=False).encode()) < 16_000
    text, html = render_text(page), render_html(page)
    assert "<img" not in html
    assert "\u202e" not in text
    assert "Only: kind fact" in text
    for one in page["rows"]:
        assert one["when"] in text
        assert one["when"] in html
        assert about(one) in text
    assert page["rows"][3]["marks"] == ["quarantined"]


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({}, "Nothing is remembered yet."),
        ({"query": "x"}, "No memory fits: take a filter away, or look for other words."),
        ({"state": "gone"}, "Nothing has left the memory."),
        ({"state": "held"}, "Nothing is in quarantine."),
    ],
)
def test_nothing_is_said_with_what_helps(wanted: dict[str, str], said: str) -> None:
    assert memory_facts.page({"rows": [], "total": 0}, wanted)["said"] == said


def test_the_noun_alone_browses_in_a_notebook(call: Call) -> None:
    call("add", "The budget of the cabin is 300 kroner", "--kind", "decision")
    call("add", EVIL)
    shown = call()
    assert "300 kroner" in shown.text
    assert "<img" not in (shown.html or "")
    assert shown.widget is not None
    only = call("browse", "--kind", "decision")
    assert (only.data["total"], only.data["filters"]) == (1, ["kind decision"])
    assert call("browse", "--until", "yesterday").data["total"] == 0
    with pytest.raises(UsageError, match="--since is later"):
        call("browse", "--since", "today", "--until", "yesterday")


def test_the_widget_changes_what_the_verbs_change(call: Call) -> None:
    id = call("add", "The budget is 300 kroner").data["id"]
    widget: MemoryBrowser = call("browse").widget()  # type: ignore[misc]
    told: list[dict[str, Any]] = []
    came = threading.Event()

    def send(content: dict[str, Any], *_: Any) -> None:
        told.append(content)
        came.set()

    widget.send = send
    count = 0

    def ask(what: str, **more: Any) -> dict[str, Any]:
        nonlocal count
        count += 1
        came.clear()
        question = {"type": "ask", "id": f"v-{count}", "view": "v", "what": what, **more}
        widget._receive(widget, question, [])
        widget._receive(widget, question, [])  # sent twice, done once
        assert came.wait(30)
        assert told[-1]["id"] == f"v-{count}"
        return told[-1]

    opened = ask("open", memory=id)["memory"]
    assert (opened["whole"], opened["editable"]) == ("The budget is 300 kroner", True)
    opened = ask("tag", memory=id, tags=["Cabin"])["memory"]
    assert opened["tags"] == ["cabin"]
    opened = ask("rewrite", memory=id, text="The budget is 400 kroner")["memory"]
    assert [one["what"] for one in opened["history"]] == [
        "remembered",
        "tags changed",
        "text changed",
    ]
    assert ask("hold", memory=id, reason="odd")["memory"]["held"]
    assert not ask("release", memory=id)["memory"]["held"]
    assert ask("forget", memory=id, reason="sold it") == {"type": "answer", "id": f"v-{count}"}
    (row,) = ask("page", wanted={"state": "gone"})["page"]["rows"]
    assert row["gone"]["why"] == "forgotten: sold it"
    assert "forgotten: sold it" in widget.final()["text/plain"]
    assert "forgotten: sold it" in call("forgotten").data[0]["reason"]
    assert ask("undo", memory=id)["memory"]["whole"] == "The budget is 400 kroner"
    assert ask("labels")["labels"]["tag"] == [["cabin", "cabin", 1]]
    assert len(ask("timeline", wanted={})["timeline"]["bars"]) == 1
    assert "cannot be empty" in ask("rewrite", memory=id, text=" ")["error"]
    assert "No memory" in ask("open", memory="nothing")["error"]
    assert "run the cell again" in ask("dance")["error"]
    widget.close()
