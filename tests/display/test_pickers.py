"""The pickers and the cost board: the same facts in three faces, and choosing through them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from aiki_kernel.commands.command import Context, Result
from aiki_kernel.commands.registry import run
from aiki_kernel.display import cost_facts, picker_facts
from aiki_kernel.display.markup import coded
from aiki_kernel.display.static_pickers import facts, models_html, models_text, state
from aiki_kernel.errors import AikiError
from aiki_kernel.mind.conversation import Conversation
from aiki_kernel.mind.ledger import Entry, Ledger

EVIL = "<img src=x onerror=alert(1)>\u202e"
Call = Callable[..., Result]


@pytest.fixture
def context(aiki_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Context]:
    monkeypatch.setenv("AIKI_DAEMON", "off")
    made = Context("magic", conversation=Conversation(session_id="here"))
    yield made
    made.close()


@pytest.fixture
def call(context: Context) -> Call:
    return lambda *words: run([*words], context)


def test_personas_are_cards_with_their_rights(call: Call, context: Context) -> None:
    shown = call("persona")
    picker = shown.widget()  # type: ignore[misc]
    for one in picker.page["rows"]:
        for word in (one["title"], one["about"], facts(one)):
            assert word in shown.text
        assert f"@<bdi>{one['name']}</bdi>" in (shown.html or "")
    trisha = next(one for one in picker.page["rows"] if one["name"] == "trisha")
    assert trisha["about"].startswith("You know budgets, invoices")
    assert ["speaks", "English, Norwegian"] in trisha["facts"]
    told = picker.answer("choose", {"name": "trisha"})
    assert told["said"].startswith("Trisha from Accounting answers from now on in this session")
    assert context.conversation is not None
    assert context.conversation.persona == "trisha"
    assert [one["name"] for one in told["page"]["rows"] if one["current"]] == ["trisha"]
    assert "→ trisha" in picker.final()["text/plain"]
    with pytest.raises(AikiError, match="trisha"):
        picker.answer("choose", {"name": "trysha"})
    picker.close()


def test_a_broken_persona_says_why(call: Call, context: Context) -> None:
    folder = context.paths.home / "personas"
    folder.mkdir()
    (folder / "kaputt.toml").write_text(
        'name = "kaputt"\ntitle = "x"\nsystem = "x"\nnonsense = 1\n'
    )
    page = call("persona").widget().page  # type: ignore[misc]
    broken = next(one for one in page["rows"] if one["name"] == "kaputt")
    assert "nonsense" in broken["problem"]


def test_models_have_prices_and_what_they_need(call: Call, context: Context) -> None:
    shown = call("model")
    picker = shown.widget()  # type: ignore[misc]
    page = picker.page
    assert len(json.dumps(page)) < 16_000
    for one in page["rows"]:
        for word in (one["name"], one["given"], one["made"], one["window"], state(one)):
            assert word in models_text(page)
            assert coded(word) in models_html(page)
    smart = next(one for one in page["rows"] if one["tier"] == "smart")
    assert smart["state"] == "OPENAI_API_KEY not set"
    assert "`aiki config key OPENAI_API_KEY`" in page["todo"]
    local = next(one for one in page["rows"] if one["local"])
    assert (local["given"], local["state"][:14]) == ("free", "not installed:")
    assert local["size"].endswith("B")
    found = picker.answer("find", {"wanted": {"query": "gpt-5", "tier": "smart"}})["page"]
    assert {one["tier"] for one in found["rows"]} == {"smart"}
    wide = picker.answer("find", {"wanted": {"query": "o"}})["page"]
    assert len(wide["rows"]) == picker_facts.MOST_MODELS
    assert wide["note"].endswith("more: type a part of the name.")
    assert len(json.dumps(wide)) < 16_000
    none = picker.answer("find", {"wanted": {"query": "nosuchmodel"}})["page"]
    assert none["note"] == "No model has 'nosuchmodel' in its name."
    told = picker.answer("choose", {"name": smart["name"]})
    assert told["said"].startswith(f"{smart['name']} answers from now on in this session")
    assert context.conversation is not None
    assert context.conversation.model == smart["name"]
    picker.close()


def test_what_nobody_knows_is_unknown() -> None:
    row = {"name": EVIL, "tier": None, "input_usd_per_million": None, "window": None}
    page = picker_facts.models([row], "x", "from the settings")
    assert (page["rows"][0]["given"], page["rows"][0]["window"]) == ("unknown", "")
    assert "<img" not in models_html(page)
    assert "\u202e" not in models_text(page)
    assert [picker_facts.window(n) for n in (8192, 128_000, 1_050_000)] == [
        "8,192",
        "128k",
        "1.05M",
    ]
    assert [picker_facts.price(p) for p in (0.05, 1.25, 0)] == ["$0.05", "$1.25", "$0.00"]


def spend(book: Ledger, days: int, usd: float | None, **more: Any) -> None:
    at = datetime.now(UTC) - timedelta(days=days)
    fields = {"model": "m", "provider": "p", "name": "p/m", "session_id": "here", **more}
    book.record(Entry(when=at.isoformat(), turn_id="t", cost_usd=usd, input_tokens=10, **fields))


def test_the_cost_board_counts_what_is_unknown_beside_the_sum(
    call: Call, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIKI_BUDGET__DAY_USD", "0.5")
    empty = call("cost")
    assert "No answer was asked for" in empty.text
    book = Ledger(context.paths.ledger)
    spend(book, 0, 0.25)
    spend(book, 3, 0.5, persona="trisha", session_id="other")
    spend(book, 3, None, name=EVIL)
    spend(book, 20, 2.0)
    shown = call("cost")
    board = shown.widget().board  # type: ignore[misc]
    assert board["said"] == "$0.75 + 1 of unknown price in 7 days"
    assert len(board["bars"]) == 7
    assert [bar["usd"] for bar in board["bars"]][-4:] == [0.5, 0, 0, 0.25]
    assert board["bars"][-4]["unknown"]
    assert board["lines"][0].startswith("Unknown price: <img src")
    assert board["caps"][0]["said"].startswith("Budget today: $0.25 left of $0.50")
    assert board["caps"][0]["share"] == 0.5
    assert board["groups"]["session"][0][0] == "other"
    assert board["groups"]["session"][1][0] == "this session"
    assert len(json.dumps(board)) < 6000
    assert "<img" not in (shown.html or "")
    for rows in board["groups"].values():
        for row in rows:
            assert row[3] in shown.text
            assert row[3] in (shown.html or "")


def test_the_cost_board_looks_again_and_copies(call: Call, context: Context) -> None:
    book = Ledger(context.paths.ledger)
    spend(book, 0, 0.25)
    board = call("cost").widget()  # type: ignore[misc]
    spend(book, 0, 0.5)
    month = board.answer("look", {"span": "30"})["board"]
    assert (month["said"], len(month["bars"])) == ("$0.75 in 30 days", 30)
    assert "$0.75 in 30 days" in board.final()["text/plain"]
    today = board.answer("look", {"span": "today"})["board"]
    assert len(today["bars"]) == 24
    assert sum(bar["usd"] for bar in today["bars"]) == 0.75
    assert len(json.dumps(today)) < 6000
    text = board.answer("copy", {"as": "csv", "span": "7", "by": "model"})["text"]
    assert text.startswith("model,calls,")
    assert "p/m,2" in text
    told = json.loads(board.answer("copy", {"as": "json", "span": "7", "by": "day"})["text"])
    assert next(iter(told["rows"].values()))["calls"] == 2
    assert [cost_facts.usd(x) for x in (None, 0, 0.01, 3)] == ["unknown", "$0", "$0.01", "$3.00"]
    assert [cost_facts.usd(x) for x in (0.49999, 0.0123)] == ["$0.50", "$0.0123"]
    board.close()


def test_the_terminal_has_its_own_faces(call: Call, context: Context) -> None:
    context.face = "cli"
    for noun in ("persona", "model", "cost"):
        assert call(noun).widget is None
