"""The consultant over a real HTTP server and a real memory: protocol, repair, threshold, reuse,
failure of either model, cancellation between the two calls."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from fault_server import FaultServer, Scenario, failing

sys.path.insert(0, str(Path(__file__).parent))

from routed_home import aiki_of, events_of, models_asked

from aiki_kernel.aiki import Aiki
from aiki_kernel.display.weight import compact
from aiki_kernel.memory.records import Draft
from aiki_kernel.mind.conversation import Conversation, Message
from aiki_kernel.mind.events import Completed, Consulted, Delta, Event, Routed
from aiki_kernel.mind.insight import Stored
from aiki_kernel.mind.labels import Label, Labels

QUESTION = "Why does my Python loop over a dict raise RuntimeError when I delete keys?"
ANSWER = Scenario(text="Iterate over list(d) and delete then.", logprob=-0.1)
SMART = Scenario(text="The smart model says: copy the keys first.")


def insight(confidence: Any = 0.9, **changes: Any) -> Scenario:
    data = {
        "insight": "A dict must not change its size while it is iterated over.",
        "reasoning": "The iterator checks the size at each step.",
        "confidence": confidence,
        "plan": ["copy the keys", "delete while going over the copy"],
        "applies_when": "a container is changed while it is iterated over",
        **changes,
    }
    return Scenario(text=json.dumps({key: one for key, one in data.items() if one is not None}))


@pytest.fixture
async def aiki(aiki_home: Path, fault_server: FaultServer) -> AsyncIterator[Aiki]:
    mind = aiki_of(aiki_home, fault_server, "rules")
    mind.conversation.route = "consult"
    yield mind
    await mind.aclose()


def completed(events: list[Event]) -> Completed:
    return next(event for event in events if isinstance(event, Completed))


def rows(aiki: Aiki) -> list[tuple[str, str]]:
    """Stage and model of each call that did not fail."""
    return sorted((row.stage, row.name) for row in aiki.ledger.rows() if not row.error)


async def kept(aiki: Aiki) -> list[Stored]:
    found = await aiki.connection.admin.list(aiki.memory.scope, limit=50, kind="insight")
    return [one for record in found if (one := Stored.read(record))]


async def test_the_smart_model_advises_and_the_cheap_one_works(
    aiki: Aiki, fault_server: FaultServer
) -> None:
    fault_server.script(insight(), ANSWER)
    events = await events_of(aiki, QUESTION)
    done = completed(events)
    (consulted,) = [event for event in events if isinstance(event, Consulted)]
    assert consulted.insight.startswith("A dict must not change")
    assert (consulted.model, consulted.confidence, consulted.reused) == ("test/smart", 0.9, False)
    assert consulted.cost_usd
    assert models_asked(fault_server) == ["smart", "cheap"]
    assert [event.text for event in events if isinstance(event, Delta)] == [ANSWER.text]
    asked, worked = (request.body for request in fault_server.requests)
    assert asked["response_format"]["json_schema"]["name"] == "insight"
    assert len(asked["messages"]) == 2
    assert "A dict must not change" in worked["messages"][-1]["content"]
    assert worked["messages"][-1]["content"].startswith(QUESTION)
    assert "A dict must not change" not in worked["messages"][0]["content"]
    assert rows(aiki) == [("consult", "test/smart"), ("generate", "test/cheap")]
    told = done.metadata["consult"]
    assert told["claimed"] == 0.9
    assert told["usd"] == pytest.approx(consulted.cost_usd)
    assert done.metadata["compared"]["smart_only_usd"] > done.metadata["compared"]["cheap_only_usd"]
    assert done.cost_usd == pytest.approx(sum(row.cost_usd or 0 for row in aiki.ledger.rows()))
    said, costs = done.metadata["notes"][:2]
    assert said.startswith("Consulted test/smart (confidence 0.90, calibrated 0.90): A dict must")
    assert costs.startswith(f"insight ${consulted.cost_usd:.4f}, answer $")
    assert "smart-only" in costs
    assert "cheap-only" in costs
    card = compact({**done.metadata, "hits": []})
    assert card["notes"][:2] == [said, costs], "the card shows both whole"
    (stored,) = await kept(aiki)
    assert stored.model == "test/smart"
    assert stored.valid()
    assert len(stored.context_sha256) == 64
    (label,) = Labels(aiki.paths.ledger).all()
    assert (label.source, label.good, label.confidence) == ("checked", 1.0, 0.9)


async def test_a_stored_insight_is_used_again_at_no_smart_call(
    aiki: Aiki, fault_server: FaultServer
) -> None:
    fault_server.script(insight(), ANSWER, ANSWER)
    await events_of(aiki, QUESTION)
    talk = Conversation()
    talk.route = "consult"
    again = f"{QUESTION[:-1]} in a loop?"
    events = [e async for e in aiki.respond(Message(again), talk)]
    (consulted,) = [event for event in events if isinstance(event, Consulted)]
    assert (consulted.reused, consulted.cost_usd) == (True, 0.0)
    assert models_asked(fault_server) == ["smart", "cheap", "cheap"]
    assert completed(events).metadata["notes"][1].startswith("used again (fits 100%), no call, ")
    fault_server.script(insight(), ANSWER)
    other = [e async for e in aiki.respond(Message("Which tax applies to a gift?"), talk)]
    assert [e.reused for e in other if isinstance(e, Consulted)] == [False]


async def test_an_insight_is_found_in_a_memory_full_of_the_same_words(
    aiki: Aiki, fault_server: FaultServer
) -> None:
    fault_server.script(insight(), ANSWER, ANSWER)
    await events_of(aiki, QUESTION)
    admin, scope = aiki.connection.admin, aiki.memory.scope
    crowd = [Draft(f"{QUESTION} {n}", scope) for n in range(200)]
    await admin.add_many(crowd)
    nearest = await admin.search(QUESTION, scope, 12)
    assert "insight" not in {hit.record.kind for hit in nearest.hits}
    talk = Conversation()
    talk.route = "consult"
    again = [e async for e in aiki.respond(Message(QUESTION), talk)]
    assert [e.reused for e in again if isinstance(e, Consulted)] == [True]


async def test_a_paraphrase_in_another_language_uses_the_insight_again(
    aiki_home: Path, fault_server: FaultServer
) -> None:
    """Through the real loop and the memory's own embedder."""
    aiki = aiki_of(aiki_home, fault_server, "rules")
    memory = aiki.settings.memory.model_copy(update={"embedder": "multilingual-e5-small"})
    aiki.configure(aiki.settings.model_copy(update={"memory": memory}))
    asked = "How do we plan a database migration without downtime?"
    for text, reused in (
        (asked, False),
        ("Hvordan planlegger vi en databasemigrering uten nedetid?", True),
        ("How do we plan an office move without downtime?", False),
    ):
        fault_server.script(*([] if reused else [insight()]), ANSWER)
        talk = Conversation()
        talk.route = "consult"
        events = [e async for e in aiki.respond(Message(text), talk)]
        (consulted,) = [event for event in events if isinstance(event, Consulted)]
        assert consulted.reused is reused, text
    fits = completed(events).metadata["consult"]["fits"]
    assert fits == 1.0
    await aiki.aclose()


@pytest.mark.parametrize(
    "broken",
    [
        Scenario(text="I think you should copy the keys."),
        insight(confidence=7),
        insight(plan="copy"),
        insight(applies_when=None),
        insight(extra="no"),
    ],
)
async def test_what_does_not_fit_is_repaired_once(
    aiki: Aiki, fault_server: FaultServer, broken: Scenario
) -> None:
    fenced = Scenario(text=f"```json\n{insight().text}\n```")
    fault_server.script(broken, fenced, ANSWER)
    done = completed(await events_of(aiki, QUESTION))
    assert done.text == ANSWER.text
    assert models_asked(fault_server) == ["smart", "smart", "cheap"]
    repair = fault_server.requests[1].body["messages"]
    assert repair[-2]["content"] == broken.text
    assert "does not fit" in repair[-1]["content"]
    assert [stage for stage, _ in rows(aiki)] == ["consult", "consult", "generate"]


async def test_without_a_valid_insight_the_smart_model_works(
    aiki: Aiki, fault_server: FaultServer
) -> None:
    fault_server.script(Scenario(text="no"), Scenario(text="still no"), SMART)
    events = await events_of(aiki, QUESTION)
    assert completed(events).text == SMART.text
    assert not [event for event in events if isinstance(event, Consulted)]
    assert models_asked(fault_server) == ["smart"] * 3
    assert any("no valid insight in two tries" in n for n in completed(events).metadata["notes"])
    assert await kept(aiki) == []


async def test_below_the_threshold_the_smart_model_does_the_work(
    aiki: Aiki, fault_server: FaultServer
) -> None:
    fault_server.script(insight(0.3), SMART)
    events = await events_of(aiki, QUESTION)
    assert completed(events).text == SMART.text
    assert models_asked(fault_server) == ["smart", "smart"]
    assert [e.decision.model for e in events if isinstance(e, Routed)] == [
        "test/cheap",
        "test/smart",
    ]
    notes = completed(events).metadata["notes"]
    assert any("confidence 0.30 is below 0.60" in note for note in notes)


async def test_claims_that_have_not_held_are_calibrated_down(
    aiki: Aiki, fault_server: FaultServer
) -> None:
    labels = Labels(aiki.paths.ledger)
    for turn in range(20):
        good = float(turn % 5 == 0)
        when = "2026-11-01T00:00:00+00:00"
        labels.put(Label(when, f"t{turn}", "m", "test/cheap", "checked", good, confidence=0.9))
    fault_server.script(insight(0.9), SMART)
    done = completed(await events_of(aiki, QUESTION))
    assert done.text == SMART.text
    assert done.metadata["consult"]["claimed"] == 0.9
    assert done.metadata["consult"]["confidence"] < 0.6


@pytest.mark.parametrize(
    "poor", [Scenario(text="I'm sorry, I cannot."), Scenario(text="perhaps", logprob=-3.0)]
)
async def test_an_executor_that_fails_its_check_is_replaced(
    aiki: Aiki, fault_server: FaultServer, poor: Scenario
) -> None:
    fault_server.script(insight(), poor, SMART)
    events = await events_of(aiki, QUESTION)
    assert completed(events).text == SMART.text
    assert poor.text not in "".join(e.text for e in events if isinstance(e, Delta))
    assert rows(aiki) == [
        ("cascade", "test/cheap"),
        ("consult", "test/smart"),
        ("generate", "test/smart"),
    ]
    assert await kept(aiki) == [], "an insight that failed is withdrawn"
    (label,) = Labels(aiki.paths.ledger).all()
    assert (label.good, label.confidence) == (0.0, 0.9)


async def test_a_consultant_that_fails_leaves_the_cheap_model_at_work(
    aiki: Aiki, fault_server: FaultServer
) -> None:
    fault_server.script(failing(500), ANSWER)
    done = completed(await events_of(aiki, QUESTION))
    assert done.text == ANSWER.text
    assert models_asked(fault_server) == ["smart", "cheap"]
    assert any("could not be consulted" in note for note in done.metadata["notes"])
    (failed,) = [row for row in aiki.ledger.rows() if row.error]
    assert (failed.stage, failed.name, failed.cost_usd) == ("consult", "test/smart", 0.0)


@pytest.mark.parametrize(
    "fault",
    [
        Scenario(text=insight().text, cut="reset"),
        Scenario(text=insight().text, cut="quiet"),
        Scenario(text=insight().text, cut="before"),
        Scenario(text=insight().text, garbage=b"data: {not json\n\n"),
        Scenario(stall="between"),
        failing(429),
    ],
    ids=["reset", "quiet", "before", "garbage", "stall", "limited"],
)
async def test_whatever_happens_to_the_consultant_the_cheap_model_answers(
    aiki: Aiki, fault_server: FaultServer, fault: Scenario
) -> None:
    fault_server.script(fault, ANSWER)
    events = await events_of(aiki, QUESTION)
    done = completed(events)
    assert done.text == ANSWER.text
    assert models_asked(fault_server) == ["smart", "cheap"]
    assert not [event for event in events if isinstance(event, Consulted)]
    assert any("could not be consulted" in note for note in done.metadata["notes"])
    assert await kept(aiki) == []
    (failed,) = [row for row in aiki.ledger.rows() if row.error]
    assert failed.stage == "consult"
    assert failed.cost_usd is not None


@pytest.mark.parametrize(
    "fault",
    [
        Scenario(cut="reset", logprob=-0.1),
        Scenario(garbage=b"data: {not json\n\n", logprob=-0.1),
        Scenario(text="", logprob=-0.1),
    ],
    ids=["reset", "garbage", "empty"],
)
async def test_whatever_happens_to_the_executor_the_smart_model_works(
    aiki: Aiki, fault_server: FaultServer, fault: Scenario
) -> None:
    fault_server.script(insight(), fault, SMART)
    done = completed(await events_of(aiki, QUESTION))
    assert done.text == SMART.text
    assert models_asked(fault_server) == ["smart", "cheap", "smart"]
    assert any("does the work itself" in note for note in done.metadata["notes"])


async def test_an_executor_that_fails_leaves_the_smart_model_at_work(
    aiki: Aiki, fault_server: FaultServer
) -> None:
    fault_server.script(insight(), failing(500), SMART)
    done = completed(await events_of(aiki, QUESTION))
    assert done.text == SMART.text
    assert any("test/cheap failed" in note for note in done.metadata["notes"])


async def test_a_smart_model_that_fails_at_the_work_leaves_what_there_is(
    aiki: Aiki, fault_server: FaultServer
) -> None:
    fault_server.script(insight(), Scenario(text="perhaps", logprob=-3.0), failing(500))
    assert completed(await events_of(aiki, QUESTION)).text == "perhaps"
    assert rows(aiki) == [("consult", "test/smart"), ("generate", "test/cheap")]
    fault_server.script(insight(0.1), failing(500), ANSWER)
    done = completed(await events_of(aiki, "And what of a set that grows in its own loop?"))
    assert done.text == ANSWER.text


@pytest.mark.parametrize("calls", [1, 2])
async def test_a_cancel_between_the_calls_books_the_insight(
    aiki: Aiki, fault_server: FaultServer, calls: int
) -> None:
    stalled = Scenario(stall="first")
    fault_server.script(*([insight(), stalled] if calls == 2 else [stalled]))

    async def chat() -> None:
        async for _ in aiki.stream(QUESTION):
            continue

    task = asyncio.create_task(chat())
    while len(fault_server.requests) < calls:
        await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await aiki.consciousness.drain()
    found = aiki.ledger.rows()
    assert [row.stage for row in found if not row.interrupted] == ["consult"] * (calls - 1)
    assert sum(row.interrupted for row in found) == 1
    assert len(await kept(aiki)) == calls - 1
    assert await asyncio.to_thread(fault_server.requests[-1].wait_closed, 3)


async def test_auto_consults_only_where_it_saves_enough(
    aiki_home: Path, fault_server: FaultServer
) -> None:
    aiki = aiki_of(
        aiki_home, fault_server, "rules", 'answer_value_usd = 10.0\n[consult]\nwhen = "auto"'
    )
    hard = Message("Prove it, and analyse the architecture: " + "the lock is fair. " * 40)
    short = await aiki.planner.decide(hard, aiki.conversation)
    assert short.model == "test/smart", "a small context saves nothing"
    from aiki_kernel.mind.conversation import Exchange

    long = Conversation()
    text = "The lock is taken by the reader before the writer. " * 400
    long.put(Exchange("t", "Read this", text, "test/cheap", "2026-01-01T00:00:00+00:00"))
    decision = await aiki.planner.decide(hard, long)
    assert (decision.model, decision.consult) == ("test/cheap", "test/smart")
    assert any("saves about" in reason for reason in decision.reasons)
    await aiki.aclose()
