"""Rights of personas behind the daemon's door: every route, over a real socket and without."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from aiki_kernel.config import Paths
from aiki_kernel.daemon.browse_routes import ROUTES as BROWSING
from aiki_kernel.daemon.connect import Connection
from aiki_kernel.daemon.memory_routes import ROUTES
from aiki_kernel.daemon.wave_routes import ROUTES as WAVES
from aiki_kernel.errors import AikiError, RefusedError, StoreError
from aiki_kernel.memory.records import Draft, Scope, Turn
from aiki_kernel.safety.audit import audit_of

KARI = Scope("kari")
TRISHA = Scope("kari", persona="trisha")
SECRET = "the interpreter was told of a divorce"


@pytest.fixture
async def theirs(connection: Connection) -> str:
    """The id of a memory that is the interpreter's."""
    await connection.admin.add("the office moves in May", KARI)
    record = await connection.admin.add(SECRET, Scope("kari", "interpreter"))
    return record.id


def bodies(id: str, scope: dict[str, Any]) -> dict[str, Any]:
    """Something for every field that any route reads."""
    pattern = {"channels": []}
    return {
        "scope": scope,
        "id": id,
        "ids": [id],
        "text": "planted",
        "items": [{"text": "planted", "scope": scope, "id": id}],
        "query": "divorce",
        "asked": {"question": "divorce", "query": "", "parts": []},
        "source": "/nowhere",
        "target": "/nowhere",
        "reason": "x",
        "since": "2020-01-01T00:00:00+00:00",
        "until": "2030-01-01T00:00:00+00:00",
        "pattern": pattern,
        "patterns": [pattern],
        "limit": 50,
        "tags": ["x"],
    }


@pytest.mark.parametrize("persona", ["trisha", "stranger", "../trisha", "own"])
async def test_no_route_gives_out_or_changes_what_is_anothers(
    connection: Connection, theirs: str, persona: str
) -> None:
    scope = {"user_id": "kari", "persona": persona}
    for route in {route.path: route for route in (*ROUTES, *WAVES, *BROWSING)}.values():
        name = route.path.rpartition("/")[2]
        if name in ("remember", "stats"):
            continue
        told, refused = "", False
        try:
            if name in ("export", "import", "reembed"):
                path = f"/memory/{name}"
                items = [i async for i in connection.door.stream(path, bodies(theirs, scope))]
                told = str(items)
            else:
                told = str(await connection.door.call("POST", route.path, bodies(theirs, scope)))
        except AikiError as error:
            told, refused = str(error), True
        assert SECRET not in told, (name, told)
        assert refused or persona == "trisha", (name, told)
    kept = await connection.admin.get(theirs)
    assert (kept.data, kept.agent_id) == (SECRET, "interpreter")


async def test_a_persona_keeps_its_own_and_what_is_shared(
    connection: Connection, theirs: str
) -> None:
    mine = await connection.admin.add("4200 kroner for Nordlys", TRISHA)
    assert (mine.agent_id, mine.trust) == ("trisha", "model")
    listed = {record.data for record in await connection.admin.list(TRISHA)}
    assert listed == {"4200 kroner for Nordlys", "the office moves in May"}
    found = await connection.admin.search("divorce kroner office", TRISHA)
    assert {hit.text for hit in found.hits} == listed
    with pytest.raises(StoreError, match="No memory"):
        await connection.admin.get(theirs, TRISHA)
    with pytest.raises(RefusedError, match="may not change what is shared"):
        await connection.admin.add("shared?", replace(TRISHA, agent_id="default"))
    with pytest.raises(RefusedError, match=r"may not use memory\.history"):
        await connection.admin.history(mine.id, TRISHA)
    with pytest.raises(RefusedError):
        await connection.admin.add_many([Draft("x", KARI), Draft("y", TRISHA, id=theirs)])


async def test_a_refusal_is_in_the_audit_log(
    connection: Connection, paths: Paths, theirs: str
) -> None:
    with pytest.raises(RefusedError, match=r"trisha may not use memory\.forget"):
        await connection.admin.forget(theirs, TRISHA)
    (line,) = audit_of(paths.home).recent(event="permission.refused")
    assert line["facts"] == {"persona": "trisha", "operation": "forget"}


def turn(persona: str) -> Turn:
    return Turn(
        f"turn-{persona}",
        "kari",
        "notebook",
        "what was said",
        "an answer",
        "local",
        "2026-11-21T10:00:00+00:00",
        persona=persona,
    )


async def test_a_turn_of_a_persona_whose_file_is_gone_waits_for_it(
    connection: Connection, paths: Paths
) -> None:
    stored = await connection.memory.remember(turn("kari"))
    assert stored.spooled
    assert "no usable persona 'kari'" in stored.note
    (paths.home / "personas").mkdir()
    (paths.home / "personas" / "kari.toml").write_text(
        'name = "kari"\ntitle = "K"\nsystem = "You."\n[memory]\nwrite = ["own"]\n', "utf-8"
    )
    await connection.admin.replay()
    (question, answer) = await connection.admin.list(Scope("kari", agent_id="kari"))
    assert {question.role, answer.role} == {"user", "assistant"}


async def test_a_turn_that_may_not_be_kept_is_not_spooled(
    connection: Connection, paths: Paths
) -> None:
    (paths.home / "personas").mkdir()
    (paths.home / "personas" / "silent.toml").write_text(
        'name = "silent"\ntitle = "S"\nsystem = "You."\n', "utf-8"
    )
    stored = await connection.memory.remember(turn("silent"))
    assert (stored.ids, stored.spooled) == ((), False)
    assert "this turn is not kept" in stored.note
    assert not list(Path(paths.spool).glob("*.json"))
