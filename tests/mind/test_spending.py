"""The loop with chains and caps, on the real engine and a real HTTP server as the API."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from fault_server import TEXT, FaultServer, Scenario, failing

from aiki_kernel.aiki import Aiki
from aiki_kernel.config import load
from aiki_kernel.errors import AikiError, ModelError
from aiki_kernel.mind.budget import Budget, BudgetError
from aiki_kernel.mind.conversation import Conversation, Message
from aiki_kernel.mind.events import Completed, Event, Hop, Remembered
from aiki_kernel.models.breaker import BREAKER

TOML = """
model = "cheap/503"
daemon = "off"
[memory]
recall_k = 0
[endpoints.cheap]
base_url = "{url}"
input_price = 1.0
output_price = 2.0
[endpoints.dear]
base_url = "{url}"
input_price = 10.0
output_price = 20.0
[endpoints.gift]
base_url = "{url}"
[models.cards."cheap/narrow"]
window = 600
input_price = 1.0
output_price = 2.0
[routing]
smart = ["dear/ok"]
cheap = ["cheap/503", "cheap/ok"]
[timeouts]
first_token = 3
between_tokens = 1
retries = 0
"""


@pytest.fixture
async def aiki(aiki_home: Path, fault_server: FaultServer) -> AsyncIterator[Aiki]:
    BREAKER.clear()
    (aiki_home / "aiki.toml").write_text(TOML.format(url=fault_server.base_url), "utf-8")
    mind = Aiki(load())
    yield mind
    await mind.aclose()
    BREAKER.clear()


def cap(aiki: Aiki, **caps: float) -> None:
    budget = aiki.settings.budget.model_copy(update=caps)
    aiki.configure(aiki.settings.model_copy(update={"budget": budget}))


async def events_of(aiki: Aiki, text: str, **options: object) -> list[Event]:
    return [event async for event in aiki.stream(text, **options)]


def completed_of(events: list[Event]) -> Completed:
    return next(event for event in events if isinstance(event, Completed))


async def test_a_hop_is_seen_in_events_reply_ledger_and_health(aiki: Aiki) -> None:
    events = await events_of(aiki, "Hello")
    (hop,) = [event for event in events if isinstance(event, Hop)]
    assert (hop.model, hop.to) == ("cheap/503", "cheap/ok")
    told = completed_of(events).metadata
    assert told["hops"] == [hop.to_json()]
    assert hop.note in told["notes"]
    assert (told["name"], told["model"], told["tier"]) == ("cheap/ok", "ok", "cheap")
    (row,) = aiki.ledger.rows()
    assert (row.name, row.hops, row.tier) == ("cheap/ok", 1, "cheap")
    assert row.price_source == "aiki.toml"
    health = await asyncio.to_thread(aiki.health)
    assert health["routing"]["hops"][-1]["to"] == "cheap/ok"
    assert health["routing"]["breakers"][0]["model"] == "cheap/503"


async def test_cost_is_of_the_model_that_answered_and_what_else_it_could_have_cost(
    aiki: Aiki,
) -> None:
    completed = completed_of(await events_of(aiki, "Hello"))
    used = completed.usage
    assert completed.cost_usd == pytest.approx((used.input_tokens + 2 * used.output_tokens) / 1e6)
    (row,) = aiki.ledger.rows()
    assert row.cost_usd == completed.cost_usd
    assert row.cheap_only_usd == row.cost_usd, "it was of the cheap tier"
    assert row.smart_only_usd == pytest.approx(10 * row.cost_usd)
    compared = completed.metadata["compared"]
    assert (compared["smart"], compared["estimated"]) == ("dear/ok", True)
    totals = aiki.ledger.totals()
    assert totals["smart_only_usd"] - totals["compared_usd"] == pytest.approx(9 * row.cost_usd)


async def test_the_smart_model_itself_saves_nothing(aiki: Aiki) -> None:
    await events_of(aiki, "Hello", model="dear/ok")
    (row,) = aiki.ledger.rows()
    assert row.smart_only_usd == row.cost_usd
    assert row.cheap_only_usd == pytest.approx(row.cost_usd / 10)


async def test_a_mistake_in_a_chain_spoils_no_answer(aiki: Aiki) -> None:
    routing = aiki.settings.routing.model_copy(update={"smart": ("nowhere/x",)})
    aiki.configure(aiki.settings.model_copy(update={"routing": routing}))
    assert completed_of(await events_of(aiki, "Hello", model="cheap/ok")).cost_usd > 0
    (row,) = aiki.ledger.rows()
    assert row.smart_only_usd is None


async def test_a_rerun_is_booked_as_one(aiki: Aiki) -> None:
    await events_of(aiki, "Hello", cell_id="c", model="cheap/ok")
    await events_of(aiki, "Hello", cell_id="c", model="cheap/ok")
    assert [row.kind for row in aiki.ledger.rows()] == ["rerun", "message"]


async def test_an_answer_cut_after_a_hop_is_booked_on_the_model_that_gave_it(
    aiki: Aiki, fault_server: FaultServer
) -> None:
    fault_server.script(failing(503), Scenario(cut="reset"))
    with pytest.raises(ModelError):
        await events_of(aiki, "Hello")
    await aiki.consciousness.drain()
    (row,) = aiki.ledger.rows()
    assert row.name == "cheap/ok"
    assert row.cost_usd > 0
    assert aiki.conversation.exchanges[0].model == "cheap/ok"


async def test_no_first_token_in_time_is_booked_as_what_was_sent(aiki: Aiki) -> None:
    timeouts = aiki.settings.timeouts.model_copy(update={"first_token": 0.2})
    aiki.configure(aiki.settings.model_copy(update={"timeouts": timeouts}))
    with pytest.raises(ModelError, match="first token"):
        await events_of(aiki, "Hello", model="cheap/stall-first")
    await aiki.consciousness.drain()
    (row,) = aiki.ledger.rows()
    assert row.input_tokens > 0
    assert row.output_tokens == 0
    assert row.cost_usd > 0


async def test_a_cap_refuses_before_any_request(aiki: Aiki, fault_server: FaultServer) -> None:
    cap(aiki, day_usd=0.0001)
    with pytest.raises(BudgetError, match="cheap/ok was not asked"):
        await events_of(aiki, "Hello", model="cheap/ok")
    await aiki.consciousness.drain()
    assert fault_server.requests == []
    assert aiki.ledger.rows() == [], "no call was made"
    assert aiki.conversation.exchanges == ()


async def test_a_fallback_does_not_pass_the_cap_either(
    aiki: Aiki, fault_server: FaultServer
) -> None:
    routing = aiki.settings.routing.model_copy(update={"cheap": ("cheap/503", "dear/ok")})
    aiki.configure(aiki.settings.model_copy(update={"routing": routing}))
    cap(aiki, cell_usd=0.005)  # 1,024 tokens of answer cost 0.002 here and 0.02 there
    with pytest.raises(AikiError, match=r"failing \(503\).*dear/ok was not asked"):
        await events_of(aiki, "Hello")
    assert {request.body["model"] for request in fault_server.requests} == {"503"}


async def test_two_notebooks_cannot_both_slip_under_the_cap(
    aiki: Aiki, fault_server: FaultServer
) -> None:
    """Room for one call: of two at the same moment one is refused, though none is booked."""
    cap(aiki, day_usd=0.003)
    other = Aiki(aiki.settings)
    fault_server.script(Scenario(first_delay_s=0.5), Scenario(first_delay_s=0.5))
    try:
        results = await asyncio.gather(
            *(events_of(mind, "Hello", model="cheap/ok") for mind in (aiki, other)),
            return_exceptions=True,
        )
    finally:
        await other.aclose()
    assert sorted(type(result).__name__ for result in results) == ["BudgetError", "list"]
    assert len(fault_server.requests) == 1
    # Booked, it cost far less than was held: there is room again.
    events = await events_of(aiki, "Hello", model="cheap/ok")
    assert completed_of(events).text == TEXT


async def test_an_interrupted_call_is_booked_and_holds_nothing(
    aiki: Aiki, fault_server: FaultServer
) -> None:
    cap(aiki, day_usd=0.003)
    task = asyncio.create_task(events_of(aiki, "Hello", model="cheap/slow"))
    while not fault_server.requests or fault_server.requests[-1].tokens_sent < 2:
        await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await aiki.consciousness.drain()
    (row,) = aiki.ledger.rows()
    assert row.interrupted
    assert row.cost_usd > 0
    assert isinstance((await events_of(aiki, "Hello", model="cheap/ok"))[-1], Remembered)


async def test_an_unknown_price_is_no_way_round_a_cap(aiki: Aiki) -> None:
    assert completed_of(await events_of(aiki, "Hello", model="gift/ok")).cost_usd is None
    cap(aiki, session_usd=5.0)
    with pytest.raises(BudgetError, match="unknown"):
        await events_of(aiki, "Hello", model="gift/ok")


async def test_history_is_cut_to_the_window_and_it_is_said(
    aiki: Aiki, fault_server: FaultServer
) -> None:
    talk = Conversation()
    long = "What do you think of the sea, the mountains and the long road home? " * 10
    notes: list[str] = []
    for _ in range(3):
        message = Message(long, model="cheap/narrow", parameters={"max_tokens": 100})
        async for event in aiki.respond(message, talk):
            if isinstance(event, Completed):
                notes = event.metadata["notes"]
    assert any("did not fit" in note and "cheap/narrow's window" in note for note in notes)
    with pytest.raises(ModelError, match="takes 600 with its answer"):
        await events_of(aiki, long * 5, model="cheap/narrow")
    assert len(fault_server.requests) == 3


async def test_a_cascade_that_is_cut_books_what_both_calls_cost(
    aiki: Aiki, fault_server: FaultServer
) -> None:
    routing = aiki.settings.routing.model_copy(update={"router": "cascade", "cheap": ("cheap/ok",)})
    budget = aiki.settings.budget.model_copy(update={"day_usd": 1.0})
    aiki.configure(
        aiki.settings.model_copy(update={"model": "auto", "routing": routing, "budget": budget})
    )
    fault_server.script(
        Scenario(text="I cannot help with that."), Scenario(text="a b c", delay_s=0.5)
    )
    task = asyncio.create_task(events_of(aiki, "Why is the sea salt?"))
    while not (sent := fault_server.requests) or len(sent) < 2 or sent[-1].tokens_sent < 1:
        await asyncio.sleep(0.02)
    await asyncio.sleep(0.2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await aiki.consciousness.drain()
    rows = {row.stage: row for row in aiki.ledger.rows()}
    assert {stage: row.name for stage, row in rows.items()} == {
        "cascade": "cheap/ok",
        "generate": "dear/ok",
    }
    assert all(row.cost_usd > 0 for row in rows.values())
    caps = Budget(aiki.ledger.file, aiki.settings).state()
    assert (caps[0].held, caps[0].spent) == (
        0.0,
        pytest.approx(sum(r.cost_usd for r in rows.values())),
    )


async def test_a_consultation_is_checked_like_any_call(
    aiki: Aiki, fault_server: FaultServer
) -> None:
    """The cap has room for the cheap answer and not for the smart model's insight."""
    routing = aiki.settings.routing.model_copy(update={"cheap": ("cheap/ok",)})
    aiki.configure(aiki.settings.model_copy(update={"routing": routing}))
    cap(aiki, cell_usd=0.005)
    aiki.conversation.route = "consult"
    completed = completed_of(await events_of(aiki, "Why is the sea salt?"))
    assert completed.text == TEXT
    assert any("dear/ok was not asked" in note for note in completed.metadata["notes"])
    assert len(fault_server.requests) == 1
    (row,) = aiki.ledger.rows()
    assert (row.stage, row.name) == ("generate", "cheap/ok")


async def test_a_session_handed_to_auto_is_answered(aiki: Aiki) -> None:
    aiki.conversation.model = "auto"
    assert completed_of(await events_of(aiki, "Hello")).metadata["name"] in ("cheap/ok", "dear/ok")
