"""The Python side of the live card, over a real comm's messages."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any, ClassVar

import comm
import comm.base_comm
import pytest

from aiki_kernel.display import front_end
from aiki_kernel.display.card import STATES, AnswerCard
from aiki_kernel.display.weight import LIMIT, compact, weigh
from aiki_kernel.kernel.answer import LiveView, Pace
from aiki_kernel.mind.reply import Reply

Answer = Callable[..., dict[str, Any]]
VIEW = "application/vnd.jupyter.widget-view+json"


class Wire(comm.base_comm.BaseComm):
    """A comm that keeps what it is given to send."""

    sent: ClassVar[list[dict[str, Any]]] = []

    def publish_msg(self, msg_type: str, data: Any = None, **rest: Any) -> None:
        Wire.sent.append({"type": msg_type, "data": data or {}, **rest})


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Messages that widgets send, in order."""
    Wire.sent = []
    monkeypatch.setattr(comm, "create_comm", Wire)
    return Wire.sent


def test_it_opens_with_code_facts_and_state(wire: list[dict[str, Any]], answer: Answer) -> None:
    AnswerCard(answer(), "done")
    opened = [m["data"]["state"] for m in wire if m["type"] == "comm_open"]
    state = next(s for s in opened if "_esm" in s)
    assert "export default" in state["_esm"]
    assert ".aiki-card" in state["_css"]
    assert state["state"] == "done"
    assert state["summary"]["model"] == "local/smollm2-135m"
    assert len(json.dumps(state["summary"]).encode()) < LIMIT


def test_an_update_is_one_message_with_both_changes(
    wire: list[dict[str, Any]], answer: Answer
) -> None:
    card = AnswerCard()
    wire.clear()
    card.update(answer(), "done")
    assert len(wire) == 1
    assert set(wire[0]["data"]["state"]) == {"summary", "state"}
    wire.clear()
    card.update(answer(), "done")
    assert wire == []


def test_an_update_is_light_however_much_was_recalled(
    wire: list[dict[str, Any]], answer: Answer
) -> None:
    card = AnswerCard()
    wire.clear()
    hit = {**answer()["hits"][0], "text": "\U0001f41d" * 240}
    card.update(answer(hits=[hit] * 50), "streaming")
    assert len(json.dumps(wire[0]["data"]["state"], ensure_ascii=False).encode()) < LIMIT
    assert card.summary["hits_left_out"] > 0


def test_the_worst_message_is_light(wire: list[dict[str, Any]], answer: Answer) -> None:
    """Everything that other people write is long and of four bytes a character, or is escaped."""
    for sign in ("\U0001f41d", "\\", '"', "å", "<"):
        long = sign * 5000
        names = ("turn_id", "session_id", "model", "provider", "persona", "engine", "quantisation")
        places = dict.fromkeys(("notebook", "source", "import", "session_id"), long)
        hit = dict.fromkeys(("id", "text", "created_at", "kind", "role", "trust"), long)
        stages = ("recall", "route", "first_token", "generate", "remember")
        worst = answer(
            **dict.fromkeys((*names, "finish_reason"), long),
            backend={"name": long, "reason": long, "ms": 1234.567890123},
            route={"router": long, "reason": long},
            consult={"insight": long},
            notes=[long] * 50,
            hops=[{}] * 50,
            compared={"smart_only_usd": 123456.123456789},
            cost={"usd": 123456.123456789, "estimated": True},
            latency_s=dict.fromkeys(stages, 12345.123456789),
            hits=[{**hit, "score": -0.123456789, "used": False, "provenance": places}] * 100,
        )
        card = AnswerCard()
        for state in ("streaming", "interrupted"):
            wire.clear()
            card.update({**worst, "stale": state == "interrupted"}, state)
            (message,) = wire
            assert len(json.dumps(message["data"], ensure_ascii=False).encode()) < LIMIT
        assert card.summary["hits"], "some memories are shown even so"
        assert weigh(compact({**worst, "hits": []}, 5000)) < 5000


def test_stop_calls_back_only_while_it_streams(wire: list[dict[str, Any]]) -> None:
    calls: list[str] = []
    card = AnswerCard(on_stop=lambda: calls.append("stop"))
    press = {"content": {"data": {"method": "custom", "content": {"type": "stop"}}}, "buffers": []}
    card._handle_msg(press)
    assert calls == ["stop"]
    for content in ("stop", {"type": "other"}, None, ["stop"]):
        data = {"method": "custom", "content": content}
        card._handle_msg({"content": {"data": data}, "buffers": []})
    card.update(state="interrupted")
    card._handle_msg(press)
    assert calls == ["stop"]


@pytest.mark.parametrize("state", STATES)
def test_every_state_has_a_bundle_with_fallbacks(
    wire: list[dict[str, Any]], answer: Answer, state: str
) -> None:
    card = AnswerCard(answer(), state)
    data, _ = card.bundle()
    assert data[VIEW]["model_id"] == card.model_id
    assert "local/smollm2-135m" in data["text/html"]
    assert data["text/plain"].startswith("local/smollm2-135m · 1,412 → 38 tokens")
    assert card._repr_mimebundle_() == card.bundle()


def test_the_final_bundle_needs_no_kernel(wire: list[dict[str, Any]], answer: Answer) -> None:
    card = AnswerCard({}, "streaming")
    data, metadata = card.final_bundle(answer())
    assert set(data) == {"text/html", "text/plain"}
    assert metadata == {}
    assert card.final_bundle()[0]["text/plain"] == ""


def test_an_unknown_state_is_refused() -> None:
    with pytest.raises(Exception, match="state"):
        AnswerCard({}, "asleep")


def test_the_front_end_asks_nothing_of_the_network() -> None:
    for name in ("answer_card", "health_board"):
        text = front_end.module(name).replace("http://www.w3.org/2000/svg", "")
        text += front_end.style(name)
        for word in ("http:", "https:", "import ", "@import", "fetch(", "url(", "innerHTML"):
            assert word not in text
        assert len(text.encode()) < 28_000


def test_the_light_half_imports_no_widget_library() -> None:
    code = (
        "import sys, aiki_kernel.display.static_card, aiki_kernel.display.weight;"
        "assert not {'anywidget', 'ipywidgets', 'traitlets', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


class Shown:
    """What publishes displays, and keeps none."""

    def publish(self, data: dict[str, Any], metadata: Any = None, **rest: Any) -> None: ...


async def test_words_without_an_end_do_not_put_the_card_off(
    wire: list[dict[str, Any]], answer: Answer
) -> None:
    waits, writes = answer(latency_s={"recall": 0.01}), answer(latency_s={"first_token": 0.1})
    view = LiveView(Shown(), Pace(), "a", lambda: None)
    view.begin(Reply("", metadata=waits))
    text = ""
    for _ in range(500):  # at most five seconds
        text += "word "
        view.update(Reply(text, metadata=writes), "word ")
        if view._card.summary["latency_s"] == {"first_token": 0.1}:
            break
        await asyncio.sleep(0.01)
    assert view._card.summary["latency_s"] == {"first_token": 0.1}
    view.end(Reply(text, metadata=writes))
