"""The curator in the daemon: killed, out of the way, switched off, with a model and a budget."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import threading
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

import pytest
from daemon.turns import a_turn
from fault_server import FaultServer, Scenario

from aiki_kernel.config import Endpoint, Paths, Settings, load
from aiki_kernel.daemon.connect import Connection, connect
from aiki_kernel.daemon.engine import Engine
from aiki_kernel.daemon.lock import holder
from aiki_kernel.memory.records import Scope
from aiki_kernel.mind.ledger import Ledger

KARI = Scope("kari")
PATIENCE_S = 60.0
LONG = (
    "We sailed from Bergen to Shetland in a small wooden boat last summer. The mast broke on the "
    "second day, far from land, and Ingrid repaired it with a rope and an oar while Lars held the "
    "rudder. In Lerwick we bought a new mast for 4,500 kroner, and a fisherman called Magnus "
    "helped "
    "us to put it up. We came home on 14 July, tired and happy, and decided to do it again."
)


@pytest.fixture
def at_once(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings under which curation does not wait for a quiet moment."""
    monkeypatch.setenv("AIKI_MEMORY__CURATE_AFTER_S", "0")
    monkeypatch.setenv("AIKI_MEMORY__CURATE_MODEL", "rules")
    return load()


async def done(connection: Connection) -> dict[str, Any]:
    """The curator's status once nothing waits."""
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        status = await connection.admin.curation()
        if status.get("waiting") == 0 and status["state"] == "idle":
            return status
        await asyncio.sleep(0.1)
    raise AssertionError(f"curation did not come to its end: {status}")


async def texts(connection: Connection) -> set[str]:
    return {record.data for record in await connection.admin.list(KARI, limit=10_000)}


@pytest.fixture
async def real(at_once: Settings, paths: Paths) -> AsyncIterator[Connection]:
    """A connection to a real daemon of its own."""
    made = connect(at_once, paths)
    yield made
    await made.aclose()


async def test_turns_are_curated_behind_the_scenes(real: Connection) -> None:
    await real.memory.remember(a_turn("Hi!", "Hello! How can I help you today?"))
    await real.memory.remember(a_turn("My dog is called Balto.", "You're welcome!"))
    await real.memory.remember(a_turn("What is my dog called?", "Your dog is called Balto."))
    status = await done(real)
    assert await texts(real) == {"My dog is called Balto.", "What is my dog called?"}
    assert status["turned_away"] == {
        "greeting": 1,
        "stock phrase": 1,
        "acknowledgement": 1,
        "recalled text restated": 1,
    }
    health = await real.health()
    assert health["curation"]["waiting"] == 0
    assert health["curation"]["done"]["kept"] == 2
    found = await real.admin.list(KARI)
    assert all(record.metadata["curated"]["keep"] for record in found)


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_kill_9_in_mid_curation_loses_nothing_and_does_nothing_twice(
    at_once: Settings, paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = connect(at_once, paths)
    kept, gone = set(), set()
    for number in range(40):
        fact = f"Colleague number {number} keeps boat {number * 7} in harbour {number * 3}."
        await connection.memory.remember(a_turn(fact, "You're welcome!"))
        await connection.memory.remember(a_turn(f"As I said, {fact}", ""))
        kept.add(fact)
        gone.add(f"As I said, {fact}")
        if number % 13 == 12:  # in the middle of the work of the batch before
            with contextlib.suppress(ProcessLookupError):
                os.kill(holder(paths.lock)["pid"], signal.SIGKILL)
    status = await done(connection)
    assert status["waiting"] == 0
    found = await connection.admin.list(KARI, limit=10_000)
    assert {record.data for record in found} == kept
    assert {record.metadata["times_said"] for record in found} == {2}
    assert {len(record.metadata["merged"]) for record in found} == {1}
    for record in found:
        twin = record.metadata["merged"][0]["id"]
        rows = await connection.admin.history(twin)
        assert [row["event"] for row in rows].count("DELETE") == 1
        assert rows[-1]["old_memory"] in gone
    assert status["turned_away"]["acknowledgement"] == 40
    assert status["turned_away"]["said before"] == 40
    await connection.aclose()


async def test_the_switch_turns_it_off(
    at_once: Settings, paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIKI_MEMORY__CURATE", "false")
    connection = connect(load(), paths)
    await connection.memory.remember(a_turn("Hi!", "Hello! How can I help you today?"))
    await asyncio.sleep(2.5)  # longer than it looks about
    status = await connection.admin.curation()
    assert (status["enabled"], status["state"], status["waiting"]) == (False, "off", 2)
    assert await texts(connection) == {"Hi!", "Hello! How can I help you today?"}
    # Asked for, it does what it does otherwise by itself.
    steps: list[tuple[int, int]] = []
    after = await connection.admin.curate(progress=lambda *step: steps.append(step))
    assert after["waiting"] == 0
    assert steps[-1] == (2, 2)
    assert await texts(connection) == set()
    await connection.aclose()


async def test_it_waits_until_nobody_has_written_for_a_while(
    settings: Settings, paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIKI_MEMORY__CURATE_AFTER_S", "3600")
    connection = connect(load(), paths)
    await connection.memory.remember(a_turn("Hi!", "Hello!"))
    await asyncio.sleep(2.0)
    status = await connection.admin.curation()
    assert status["waiting"] == 2
    assert await texts(connection) == {"Hi!", "Hello!"}
    await connection.aclose()


# --- with models ----------------------------------------------------------------------------


@pytest.fixture
def engine(model_installed: Paths, at_once: Settings) -> Iterator[Engine]:
    """An engine with the small model, whose curation is begun by hand."""
    memory = at_once.memory.model_copy(update={"curate_model": "local", "curate": False})
    made = Engine(at_once.model_copy(update={"memory": memory}), model_installed)
    yield made
    made.close()


def test_the_small_model_adds_only_what_the_text_says(engine: Engine) -> None:
    engine.remember(a_turn(LONG, ""))
    status = engine.curator.finish()
    assert status["model"].startswith("local/")
    assert status["done"]["described"] == 1
    record = engine.memory.list(KARI)[0]
    found = record.metadata
    assert found["curated"]["by"] == f"rules and {status['model']}"
    assert {"ingrid", "lars", "bergen", "lerwick"} <= set(found["entities"])
    assert [day[5:] for day in found["dates"]] == ["07-14"]
    low = LONG.lower()
    spoken = set(engine.memory.collection.lexicon.query(LONG).indices)
    for label in (*found["tags"], *found.get("themes", ())):
        assert set(engine.memory.collection.lexicon.query(label).indices) & spoken, label
    assert len(found["summary"]) <= 200
    assert all(name in low for name in found["entities"])
    rows = Ledger(engine.paths.ledger).totals(group_by="stage")
    assert rows["curate"]["calls"] == 1
    assert rows["curate"]["cost_usd"] == 0.0


def test_a_short_text_is_not_worth_the_models_time(engine: Engine) -> None:
    engine.remember(a_turn("My dog is called Balto.", ""))
    status = engine.curator.finish()
    assert status["done"]["described"] == 0
    assert engine.models.health() == []


def test_it_makes_room_for_a_waiting_cell_within_a_token(engine: Engine) -> None:
    engine.remember(a_turn(LONG, ""))
    running = threading.Event()
    describer_queue = engine.queue.run

    def watched(produce: Any, **more: Any) -> Iterator[Any]:
        for item in describer_queue(produce, **more):
            running.set()
            yield item

    engine.queue.run = watched  # type: ignore[method-assign]
    work = threading.Thread(target=engine.curator.finish)
    work.start()
    assert running.wait(PATIENCE_S)

    async def cell() -> dict[str, Any]:
        ended = threading.Event()

        def produce(cancelled: threading.Event) -> Iterator[Any]:
            ended.set()
            yield engine.queue.health()

        job = engine.queue.submit(produce, session="s1")
        found = [item async for item in job]
        assert ended.is_set()
        return dict(found[0])

    asyncio.run(cell())
    assert engine.queue.health()["preempted"] >= 1
    # Nothing of the broken-off call counts, and the memory is taken up again.
    work.join(PATIENCE_S)
    assert not work.is_alive()
    found = engine.memory.list(KARI)[0].metadata
    assert found["curated"]["by"].startswith("rules and local/")
    rows = Ledger(engine.paths.ledger).totals(group_by="stage")
    assert rows["curate"]["calls"] == 1


def test_a_message_stops_a_model_that_reads(engine: Engine) -> None:
    engine.remember(a_turn(LONG, ""))
    describer = engine.curator
    work = threading.Thread(target=describer.finish)
    work.start()
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        reader = describer._describer
        if reader is not None and reader._cancelled is not None:
            break
        time.sleep(0.001)
    assert reader is not None
    cancelled = reader._cancelled
    engine.curator.message()
    assert cancelled is None or cancelled.is_set()
    work.join(PATIENCE_S)
    assert "curated" in engine.memory.list(KARI)[0].metadata


# --- a model that costs money ---------------------------------------------------------------

_ANSWER = {
    "summary": "Ingrid repaired the mast with a rope and an oar.",
    "tags": ["mast repair", "Titanic"],
    "themes": ["wooden boat"],
    "entities": ["Ingrid", "Leonardo"],
    "categories": ["travel"],
}


def paid(at_once: Settings, server: FaultServer, **more: Any) -> Settings:
    point = Endpoint(base_url=server.base_url, input_price=1.0, output_price=2.0, models=("ok",))
    memory = at_once.memory.model_copy(update={"curate_model": "acme/ok", "curate": False})
    return at_once.model_copy(update={"memory": memory, "endpoints": {"acme": point}, **more})


@pytest.fixture
def acme(at_once: Settings, paths: Paths, fault_server: FaultServer) -> Iterator[Engine]:
    made = Engine(paid(at_once, fault_server), paths)
    yield made
    made.close()


def test_a_model_by_name_is_booked_and_not_believed(
    acme: Engine, fault_server: FaultServer
) -> None:
    fault_server.script(Scenario(text="Here it is: " + json.dumps(_ANSWER)))
    acme.remember(a_turn(LONG, ""))
    acme.curator.finish()
    found = acme.memory.list(KARI)[0].metadata
    assert found["summary"] == _ANSWER["summary"]
    assert "wooden boat" in found["themes"]
    assert "mast repair" in found["tags"]
    assert "titanic" not in found["tags"]
    assert "leonardo" not in found["entities"]
    (asked,) = fault_server.requests
    assert asked.body["response_format"]["type"] == "json_schema"
    (row,) = Ledger(acme.paths.ledger).rows()
    assert (row.stage, row.kind, row.name) == ("curate", "curation", "acme/ok")
    assert row.cost_usd is not None
    assert row.cost_usd > 0


def test_the_budget_is_kept_and_rules_go_on(
    at_once: Settings, paths: Paths, fault_server: FaultServer
) -> None:
    budget = at_once.budget.model_copy(update={"day_usd": 0.0})
    engine = Engine(paid(at_once, fault_server, budget=budget), paths)
    try:
        engine.remember(a_turn(LONG, ""))
        status = engine.curator.finish()
        assert fault_server.requests == []
        assert "was not asked" in status["error"]
        assert engine.memory.list(KARI)[0].metadata["curated"]["by"] == "rules"
    finally:
        engine.close()


def test_a_name_that_nobody_knows_is_told_and_turns_nothing_away(
    at_once: Settings, paths: Paths
) -> None:
    memory = at_once.memory.model_copy(update={"curate_model": "nowhere/model"})
    engine = Engine(at_once.model_copy(update={"memory": memory}), paths)
    engine.start()
    try:
        engine.remember(replace(a_turn("Hi!", ""), id="t1"))
        until = time.monotonic() + PATIENCE_S
        while "error" not in engine.curator.status() and time.monotonic() < until:
            time.sleep(0.05)
        assert "nowhere" in engine.curator.status()["error"]
        assert len(engine.memory.list(KARI)) == 1
    finally:
        engine.close()
