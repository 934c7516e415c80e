"""Every method of the memory, through the socket and in-process alike."""

from __future__ import annotations

import asyncio
import json
import threading
from pathlib import Path
from typing import Any

import pytest
from daemon.turns import a_turn

from aiki_kernel.config import Paths, Settings
from aiki_kernel.daemon.connect import Connection, connect
from aiki_kernel.daemon.spool import Spool
from aiki_kernel.errors import StoreError, UsageError
from aiki_kernel.memory.records import Draft, Scope, new_id

KARI, OLA = Scope("kari"), Scope("ola")


async def test_remember_and_recall(connection: Connection) -> None:
    turn = a_turn(answer="Balto \ud83d", provenance={"notebook": "n.ipynb", "cell_id": "c1"})
    stored = await connection.memory.remember(turn)
    assert len(stored.ids) == 2
    assert not stored.spooled
    assert (await connection.memory.remember(turn)).ids == stored.ids
    recall = await connection.memory.recall("dog called", scope=KARI, limit=5)
    assert {hit.id for hit in recall.hits} == set(stored.ids)
    assert recall.seconds["embed"] >= 0
    assert recall.backend.name in ("numpy", "qdrant")  # a few rows; or the index is being built
    assert recall.backend.reason
    assert recall.hits[0].record.provenance["notebook"] == "n.ipynb"
    assert not (await connection.memory.recall("dog", scope=OLA, limit=5)).hits
    known = await connection.memory.recall("dog", scope=KARI, limit=5, exclude=[turn.id])
    assert not known.hits


async def test_every_method_of_the_memory(connection: Connection, tmp_path: Path) -> None:
    admin = connection.admin
    record = await admin.add(
        "Oslo er hovedstaden i Norge.",
        KARI,
        kind="fact",
        metadata={"tags": ["geo"]},
        provenance={"notebook": "x"},
    )
    assert await admin.get(record.id) == record
    assert record.metadata["tags"] == ["geo"]
    with pytest.raises(StoreError, match="No memory"):
        await admin.get(record.id, OLA)
    changed = await admin.update(record.id, "Oslo is the capital of Norway.")
    assert changed.id == record.id
    more = await admin.add_many([Draft(f"fact {n}", KARI) for n in range(3)])
    assert [r.data for r in more] == ["fact 0", "fact 1", "fact 2"]
    assert len(await admin.list(KARI, limit=2)) == 2
    assert len(await admin.list(KARI, limit=10, offset=1, kind="fact")) == 3
    assert (await admin.search("capital of Norway", KARI, 1)).hits[0].id == record.id
    await admin.forget(more[0].id)
    assert [row["event"] for row in await admin.history(record.id)] == ["ADD", "UPDATE"]
    assert (await admin.history(more[0].id))[-1]["event"] == "DELETE"
    stats = await admin.stats()
    assert stats["memories"] == 3

    lines = [item async for item in admin.export(KARI)]
    assert len(lines) == 3
    file = tmp_path / "all.jsonl"
    file.write_text("\n".join(json.dumps(line) for line in lines))
    reported: list[tuple[int, int]] = []
    report = await admin.import_(
        file, Scope("per"), progress=lambda done, total: reported.append((done, total))
    )
    assert report.added + report.skipped == 3
    assert report.failed == ()
    assert reported[-1][0] == 3

    path = await admin.snapshot(tmp_path / "memory.snapshot")
    assert path.exists()
    await admin.forget(more[1].id)
    await admin.restore(path)
    assert (await admin.get(more[1].id)).data == "fact 1"
    done: list[int] = []
    await admin.reembed(lambda count, total: done.append(count))
    assert done
    with pytest.raises(StoreError, match="needs a text"):
        await admin.add("  ", KARI)
    with pytest.raises(UsageError, match="from 0 to"):
        await admin.search("x", KARI, 10**9)
    missing = "No such|not|cannot|There is no"
    with pytest.raises((StoreError, UsageError), match=missing):
        await admin.import_(tmp_path / "nothing.jsonl", KARI)


async def test_a_search_may_be_for_one_kind_and_texts_are_embedded(connection: Connection) -> None:
    scope = Scope("kari")
    for number in range(20):
        await connection.admin.add(f"The budget of team {number} is fixed.", scope)
    added = await connection.admin.add("Budgets grow with the team.", scope, kind="insight")
    found = await connection.admin.search("budget of the team", scope, 5, kinds=("insight",))
    assert [hit.id for hit in found.hits] == [added.id]
    both = await connection.admin.search("budget of the team", scope, 30, kinds=("insight", "fact"))
    assert len(both.hits) == 21
    vectors = await connection.admin.embed(["budget", "budget", "rain"])
    assert vectors.shape[0] == 3
    assert float(vectors[0] @ vectors[1]) > float(vectors[0] @ vectors[2])


async def test_a_write_that_is_sent_again_does_not_double(connection: Connection) -> None:
    body = {"text": "once", "scope": {"user_id": "kari"}, "id": new_id()}
    for _ in range(2):
        await connection.door.call("POST", "/memory/add", body)
    assert len(await connection.admin.list(KARI)) == 1


def test_one_connection_serves_many_event_loops(settings: Settings, paths: Paths) -> None:
    connection = connect(settings, paths)
    counts: list[int] = []

    def other_loop(number: int) -> None:
        async def work() -> None:
            await connection.memory.remember(a_turn(question=f"loop {number}", answer=""))
            counts.append((await connection.health())["pid"])

        asyncio.run(work())

    threads = [threading.Thread(target=other_loop, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(counts) == 4
    assert len(set(counts)) == 1

    async def all_of_them() -> int:
        found = await connection.admin.list(KARI)
        await connection.aclose()
        return len(found)

    assert asyncio.run(all_of_them()) == 4


async def test_health(connection: Connection, paths: Paths) -> None:
    await connection.memory.remember(a_turn())
    health = await connection.health()
    assert health["status"] == "ok"
    assert health["home"] == str(paths.home)
    assert health["count"] == 2
    assert health["embedder"] == "wordllama"
    assert health["store"]["state"] == "ready"
    assert health["spool"] == {"waiting": 0, "bad": 0}
    assert health["queue"]["limit"] == 8
    assert health["models"] == []


async def away_then_back(
    connection: Connection, paths: Paths, settings: Settings, server: Any
) -> None:
    """The Qdrant server is away: the turn waits in the spool, and the chat goes on."""
    turn = a_turn()
    stored = await connection.memory.remember(turn)
    assert stored.spooled
    assert stored.ids == ()
    assert "spool" in stored.note
    assert "\n" not in stored.note
    recall = await connection.memory.recall("dog", scope=KARI, limit=5)
    assert recall.hits == ()
    assert recall.note.startswith("Answered without memory")
    health = await connection.health()
    assert health["status"] == "degraded"
    assert health["store"]["error"]
    assert health["spool"]["waiting"] == 1


@pytest.mark.parametrize("mode", ["auto", "off"])
async def test_a_qdrant_server_that_is_away(settings: Settings, paths: Paths, mode: Any) -> None:
    memory = settings.memory.model_copy(update={"url": "http://127.0.0.1:9"})
    away = connect(settings.model_copy(update={"memory": memory, "daemon": mode}), paths)
    await away_then_back(away, paths, settings, None)
    assert len(Spool(paths.spool).waiting()) == 1
    await away.aclose()
    if mode == "auto":
        from aiki_kernel.daemon import lifecycle

        await asyncio.to_thread(lifecycle.stop, paths)

    back = connect(settings.model_copy(update={"daemon": mode}), paths)
    while (await back.health())["spool"]["waiting"] or not await back.admin.list(KARI):
        await asyncio.sleep(0.05)
    assert sorted(r.data for r in await back.admin.list(KARI)) == [
        "Balto.",
        "What is my dog called?",
    ]
    await back.aclose()


async def test_another_process_has_the_store(settings: Settings, paths: Paths) -> None:
    """In-process beside a running daemon: nothing is lost, the daemon replays it."""
    daemon = connect(settings, paths)
    assert (await daemon.health())["pid"]
    while (await daemon.health())["store"]["state"] != "ready":
        await asyncio.sleep(0.02)
    inside = connect(settings.model_copy(update={"daemon": "off"}), paths)
    stored = await inside.memory.remember(a_turn())
    assert stored.spooled
    await inside.aclose()
    while len(await daemon.admin.list(KARI)) != 2:
        await asyncio.sleep(0.05)
    # The file goes right after the store has acknowledged.
    while Spool(paths.spool).waiting():
        await asyncio.sleep(0.05)
    await daemon.aclose()


async def test_another_embedder_spools_until_the_memory_is_embedded_anew(
    settings: Settings, paths: Paths
) -> None:
    inside = settings.model_copy(update={"daemon": "off"})
    first = connect(inside, paths)
    await first.memory.remember(a_turn())
    await first.aclose()
    memory = settings.memory.model_copy(update={"embedder": "multilingual-e5-small"})
    other = connect(inside.model_copy(update={"memory": memory}), paths)
    stored = await other.memory.remember(a_turn(question="And my cat?", answer="Pus."))
    assert stored.spooled
    assert "aiki memory reembed" in stored.note
    assert "aiki memory reembed" in (await other.memory.recall("x", scope=KARI, limit=1)).note
    await other.admin.reembed()
    while len(await other.admin.list(KARI)) != 4:
        await asyncio.sleep(0.05)
    await other.aclose()


async def test_nothing_is_acknowledged_when_the_spool_refuses_too(
    settings: Settings, paths: Paths
) -> None:
    paths.spool.write_text("a file where the folder should be")
    memory = settings.memory.model_copy(update={"url": "http://127.0.0.1:9"})
    inside = connect(settings.model_copy(update={"memory": memory, "daemon": "off"}), paths)
    with pytest.raises(StoreError, match="not remembered"):
        await inside.memory.remember(a_turn())
    await inside.aclose()
