"""The cascade and the routed loop over a real HTTP server."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from fault_server import FaultServer, Scenario, failing

sys.path.insert(0, str(Path(__file__).parent))

from routed_home import aiki_of, events_of, models_asked

from aiki_kernel.aiki import Aiki
from aiki_kernel.errors import ModelError
from aiki_kernel.mind.cascade import agreement, refuses
from aiki_kernel.mind.conversation import Conversation, Message
from aiki_kernel.mind.events import Completed, Delta, Routed
from aiki_kernel.mind.labels import Labels
from aiki_kernel.mind.reply import ReplyBuilder

SURE = Scenario(text="The capital of Norway is Oslo.", logprob=-0.05)
UNSURE = Scenario(text="It may be Bergen, perhaps.", logprob=-1.7)
SMART = Scenario(text="Oslo.")


@pytest.fixture
async def aiki(aiki_home: Path, fault_server: FaultServer) -> AsyncIterator[Aiki]:
    mind = aiki_of(aiki_home, fault_server, "cascade")
    yield mind
    await mind.aclose()


def completed(events: list[object]) -> Completed:
    return next(event for event in events if isinstance(event, Completed))


async def test_a_sure_first_answer_is_kept_and_appears_whole(
    aiki: Aiki, fault_server: FaultServer
) -> None:
    fault_server.script(SURE)
    events = await events_of(aiki, "What is the capital of Norway?")
    assert [e.text for e in events if isinstance(e, Delta)] == [SURE.text]
    assert models_asked(fault_server) == ["cheap"]
    assert fault_server.requests[0].body["logprobs"] is True
    (row,) = aiki.ledger.rows()
    assert (row.stage, row.name, row.tier) == ("generate", "test/cheap", "cheap")
    assert Labels(aiki.paths.ledger).all() == []


@pytest.mark.parametrize(
    ("first", "why"),
    [
        (UNSURE, "mean log-probability -1.70 is below -0.50"),
        (Scenario(text="I'm sorry, I cannot help."), "it refused"),
        (Scenario(text="Beklager, jeg kan ikke svare."), "it refused"),
    ],
)
async def test_poor_signs_escalate_and_say_so(
    aiki: Aiki, fault_server: FaultServer, first: Scenario, why: str
) -> None:
    fault_server.script(first, SMART)
    events = await events_of(aiki, "What is the capital of Norway?")
    done = completed(events)
    assert done.text == "Oslo."
    assert first.text not in "".join(e.text for e in events if isinstance(e, Delta))
    assert [e.decision.model for e in events if isinstance(e, Routed)] == [
        "test/cheap",
        "test/smart",
    ]
    assert any(why in note and "was set aside" in note for note in done.metadata["notes"])
    answer, draft = sorted(aiki.ledger.rows(), key=lambda row: row.stage, reverse=True)
    assert (answer.stage, answer.name, draft.stage, draft.name) == (
        "generate",
        "test/smart",
        "cascade",
        "test/cheap",
    )
    assert answer.cost_usd is not None
    assert draft.cost_usd
    assert done.cost_usd == pytest.approx(answer.cost_usd + draft.cost_usd)
    assert [call["stage"] for call in done.metadata["cost"]["calls"]] == ["cascade", "generate"]
    (label,) = Labels(aiki.paths.ledger).all()
    assert (label.source, label.model, label.tier, label.good) == (
        "escalated",
        "test/cheap",
        "cheap",
        0.0,
    )


async def test_without_logprobs_two_samples_decide(aiki: Aiki, fault_server: FaultServer) -> None:
    same = Scenario(text="The answer is 42.")
    fault_server.script(same, same)
    assert completed(await events_of(aiki, "How much is 6 * 7?")).text == same.text
    assert [row.stage for row in aiki.ledger.rows()].count("cascade") == 1
    fault_server.script(same, Scenario(text="Perhaps seventeen dogs bark."), SMART)
    done = completed(await events_of(aiki, "And another one?"))
    assert done.text == "Oslo."
    assert any("two samples agree to" in note for note in done.metadata["notes"])


async def test_json_that_was_asked_for_and_not_given_escalates(
    aiki: Aiki, fault_server: FaultServer
) -> None:
    fault_server.script(
        Scenario(text="here it comes", logprob=-0.01), Scenario(text='{"city": "Oslo"}')
    )
    wanted = {"response_format": {"type": "json_object"}}
    done = completed(await events_of(aiki, "As JSON: the capital?", parameters=wanted))
    assert done.text == '{"city": "Oslo"}'
    assert fault_server.requests[0].body["response_format"] == {"type": "json_object"}


async def test_a_cheap_model_that_fails_is_no_answer(aiki: Aiki, fault_server: FaultServer) -> None:
    fault_server.script(failing(500), SMART)
    done = completed(await events_of(aiki, "Hello?"))
    assert done.text == "Oslo."
    assert any("it failed" in note for note in done.metadata["notes"])


async def test_a_smart_model_that_fails_leaves_the_first_answer(
    aiki: Aiki, fault_server: FaultServer
) -> None:
    fault_server.script(UNSURE, failing(500))
    done = completed(await events_of(aiki, "Hello?"))
    assert done.text == UNSURE.text
    assert any("shown after all" in note for note in done.metadata["notes"])
    rows = {row.name: row for row in aiki.ledger.rows()}
    assert (rows["test/cheap"].stage, rows["test/cheap"].error) == ("generate", None)
    assert (rows["test/smart"].error, rows["test/smart"].cost_usd) == ("ModelError", 0.0)


async def test_when_both_fail_the_user_is_told(aiki: Aiki, fault_server: FaultServer) -> None:
    fault_server.script(failing(500), failing(500))
    with pytest.raises(ModelError):
        await events_of(aiki, "Hello?")


@pytest.mark.parametrize("calls", [1, 2])
async def test_a_cancel_between_the_calls_books_what_was_spent(
    aiki: Aiki, fault_server: FaultServer, calls: int
) -> None:
    """Cut in the first call, or in the second after the first has ended."""
    stalled = Scenario(stall="first")
    fault_server.script(*([UNSURE, stalled] if calls == 2 else [stalled]))
    builder = ReplyBuilder()

    async def chat() -> None:
        async for event in aiki.stream("Remember the walnut"):
            builder.add(event)

    task = asyncio.create_task(chat())
    while len(fault_server.requests) < calls:
        await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await aiki.consciousness.drain()
    assert builder.reply.text == ""
    rows = aiki.ledger.rows()
    assert any(row.interrupted for row in rows)
    spent = [row for row in rows if not row.interrupted]
    assert [(row.stage, row.name) for row in spent] == [("cascade", "test/cheap")] * (calls - 1)
    last = fault_server.requests[-1]
    assert await asyncio.to_thread(last.wait_closed, 3)


@pytest.mark.parametrize(
    ("one", "other", "low", "high"),
    [
        ("The answer is 42.", "It is 42, the answer.", 0.6, 1.0),
        ("The answer is 42.", "The answer is 17.", 0.0, 0.65),
        ("", "", 1.0, 1.0),
        ("Oslo", "Bergen", 0.0, 0.0),
    ],
)
def test_agreement(one: str, other: str, low: float, high: float) -> None:
    assert low <= agreement(one, other) <= high
    assert agreement(one, other) == agreement(other, one)


@pytest.mark.parametrize(
    ("text", "refusal"),
    [
        ("I’m sorry, but no.", True),
        ("  \n", True),
        ("Jeg kan ikke hjelpe med det.", True),
        ("Sorry is a word in English.", False),
        ("Oslo.", False),
    ],
)
def test_refusals(text: str, refusal: bool) -> None:
    assert refuses(text) is refusal


# -- the routed loop ---------------------------------------------------------------------------


async def test_rules_send_the_hard_one_to_the_smart_model(
    aiki_home: Path, fault_server: FaultServer
) -> None:
    aiki = aiki_of(aiki_home, fault_server, "rules")
    hard = "Prove it, analyse the trade-offs, and design the architecture"
    done = completed(await events_of(aiki, hard))
    _ = [e async for e in aiki.respond(Message("hello, thanks"), Conversation())]
    assert models_asked(fault_server) == ["smart", "cheap"]
    assert done.metadata["route"]["router"] == "rules"
    assert done.metadata["route"]["complexity"] > 0.8
    await aiki.aclose()


async def test_a_pin_wins_and_auto_hands_back(aiki_home: Path, fault_server: FaultServer) -> None:
    aiki = aiki_of(aiki_home, fault_server, "rules")
    aiki.conversation.route = "smart"
    await events_of(aiki, "hello, thanks")
    aiki.conversation.route = "auto"
    _ = [e async for e in aiki.respond(Message("hello, thanks"), Conversation())]
    aiki.conversation.route = "standard"
    with pytest.raises(ModelError, match="no standard model"):
        await events_of(aiki, "hello, thanks")
    assert models_asked(fault_server) == ["smart", "cheap"]
    await aiki.aclose()


async def test_only_the_newest_answer_run_again_is_a_label(
    aiki_home: Path, fault_server: FaultServer
) -> None:
    aiki = aiki_of(aiki_home, fault_server, "rules")
    for cell in ("a", "b", "b", "a"):
        await events_of(aiki, f"Question {cell}", cell_id=cell)
    await events_of(aiki, "Another question", cell_id="b")
    (label,) = Labels(aiki.paths.ledger).all()
    assert (label.source, label.message, label.good) == ("rerun", "Question b", 0.0)
    await aiki.aclose()


async def test_the_learned_router_reads_the_memorys_embedding(
    aiki_home: Path, fault_server: FaultServer
) -> None:
    import numpy as np

    from aiki_kernel.memory.embedders import embedder
    from aiki_kernel.mind.routing.components import Inputs
    from aiki_kernel.mind.routing.learned import About, fit, place, save

    texts = [f"What is {n} plus {n}?" for n in range(60)] + [f"Prove lemma {n}." for n in range(60)]
    weak = np.array([1.0] * 60 + [0.0] * 60)
    weak[::10] = 1 - weak[::10]
    vectors = embedder("wordllama").embed_documents(texts)
    about = About("2026-11-01T00:00:00+00:00", "test", 120, 120, 0.5, 0.9, embedder="wordllama")
    aiki = aiki_of(aiki_home, fault_server, "learned", "answer_value_usd = 1.0")
    save(fit(Inputs.of(texts, vectors), weak, np.full(120, 0.95), about), place(aiki.paths.home))
    await aiki.connection.door.call("POST", "/v1/embeddings", {"input": "warm"})
    decision = await aiki.planner.decide(Message("Prove lemma 7."), aiki.conversation)
    assert decision.model == "test/smart"
    assert not any("embedding" in reason for reason in decision.reasons)
    easy = await aiki.planner.decide(Message("What is 7 plus 7?"), aiki.conversation)
    assert (easy.complexity or 0) < (decision.complexity or 0)
    place(aiki.paths.home).write_bytes(b"damaged")
    told = await aiki.planner.decide(Message("What is 7 plus 7?"), aiki.conversation)
    assert any("aiki route train" in reason for reason in told.reasons)
    await aiki.aclose()
