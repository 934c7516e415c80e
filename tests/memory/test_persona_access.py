"""No query of a persona returns or changes a record outside its scope, whatever it says."""

from __future__ import annotations

import contextlib
import itertools
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from memory_parts import Open

from aiki_kernel.errors import AikiError, RefusedError, StoreError
from aiki_kernel.memory.access import Access
from aiki_kernel.memory.asking.question import Asked, Part
from aiki_kernel.memory.payload import from_payload
from aiki_kernel.memory.records import Draft, Record, Scope, Turn
from aiki_kernel.memory.service import MemoryService
from aiki_kernel.memory.store import WINDOW, Either, Where
from aiki_kernel.safety.permissions import NOBODY, TOOLS, TRUSTS, Grant, Rights, owner

AGENTS = (None, "", "default", "trisha", "analyst", "interpreter", "all", "\x00")
SCOPE_WORDS = ("own", "shared", "all", "analyst", "interpreter", "nobody")
WORDS = ("secret", "budget", "agent_id", "OR", "1=1", "*", "trisha", "analyst", "what", "marker3")
OPERATIONS = (
    "recall",
    "search",
    "list",
    "get",
    "history",
    "export",
    "update",
    "forget",
    "add",
    "ask",
)
FORGETTING = ("forget_many", "choose", "forgotten", "undo")

rights = st.builds(
    Rights,
    st.lists(st.sampled_from(SCOPE_WORDS), max_size=3).map(tuple),
    st.lists(st.sampled_from(SCOPE_WORDS), max_size=3).map(tuple),
    st.lists(st.sampled_from(TOOLS)).map(tuple),
    st.sampled_from(("", *TRUSTS)),
)
queries = st.lists(st.sampled_from(WORDS), max_size=5).map(" ".join) | st.text(max_size=30)
scopes = st.builds(
    Scope,
    st.sampled_from(("kari", "ola", "")),
    st.sampled_from((None, None, *AGENTS[2:])),
    st.sampled_from((None, None, "run-1", "run-2", "")),
    st.just("trisha"),
)


class World:
    """A memory in which many have written, and the rights of trisha, which a test changes."""

    def __init__(self, memory: MemoryService) -> None:
        self.memory = memory
        self.rights = Rights()
        self.refusals: list[tuple[str, str, str]] = []
        memory.access = Access(self.grant, lambda *told: self.refusals.append(told))
        self.drafts = [
            Draft(
                f"marker{n} secret budget of {agent!r} {trust}",
                Scope(user, agent, f"run-{n % 2 + 1}"),
                kind=("message", "fact")[n % 2],
                metadata={"quarantined": True} if n % 7 == 6 else {},
                id=f"00000000-0000-4000-8000-{n:012d}",
                trust=trust,
                previous=f"hidden{n} before it",
                created_at=f"2026-11-21T09:{n % 60:02d}:00+00:00",
            )
            for n, (user, agent, trust) in enumerate(
                itertools.product(("kari", "ola"), AGENTS, TRUSTS[::2])
            )
        ]
        self.refill()

    def grant(self, name: str) -> Grant:
        return self.rights.grant(name) if name == "trisha" else NOBODY

    def refill(self) -> None:
        there = self.all()
        missing = [draft for draft in self.drafts if draft.id not in there]
        if missing:
            self.memory.add_many(missing)

    def all(self) -> dict[str, Record]:
        points, after = self.memory.collection.store.scroll(Where(), 500)
        assert after is None
        return {point.id: from_payload(point.id, point.payload) for point in points}

    def readable(self, record: Record, scope: Scope) -> bool:
        """The rule once more, in other words than the product's."""
        words = self.rights.read
        mine = {"own": "trisha", "shared": "default"}
        whose = record.agent_id or "default"
        allowed = "all" in words or whose in {mine.get(word, word) for word in words}
        least = self.rights.min_trust or "import"
        return (
            allowed
            and TRUSTS.index(record.trust) >= TRUSTS.index(least)
            and record.user_id == scope.user_id
            and record.metadata.get("quarantined") is not True
        )

    def writable(self, record: Record, scope: Scope) -> bool:
        words = self.rights.write
        mine = {"own": "trisha", "shared": "default"}
        whose = record.agent_id or "default"
        allowed = "all" in words or whose in {mine.get(word, word) for word in words}
        return allowed and self.readable(record, scope)


@pytest.fixture
def world(open_memory: Open) -> World:
    return World(open_memory())


def given_out(memory: MemoryService, operation: str, scope: Scope, data: Any) -> list[Record]:
    """What one operation with arguments of any kind gives out."""
    id = data.draw(st.sampled_from([f"00000000-0000-4000-8000-{n:012d}" for n in range(60)]))
    query, many = data.draw(queries), data.draw(st.integers(0, 70))
    if operation in ("recall", "search"):
        backend = data.draw(st.sampled_from(("", "numpy")))
        if operation == "search":
            found = memory.search(query, scope, many, backend)
        else:
            found = memory.recall(query, scope, many, [query], backend)
        return [hit.record for hit in found.hits]
    if operation == "list":
        kind = data.draw(st.sampled_from((None, "message", "fact", "")))
        return memory.list(scope, limit=many, offset=data.draw(st.integers(0, 5)), kind=kind)
    if operation == "get":
        return [memory.get(id, scope)]
    if operation == "history":
        memory.history(id, scope)
        return [named(memory, id)]  # that it was told at all is what counts
    if operation == "ask":
        either = (Either(("agent_id", "kind"), ("interpreter", "fact", "analyst")),)
        asked = Asked(query, query, (Part("person", query, query, either=either),))
        asked = data.draw(st.sampled_from((asked, Asked(query, query), Asked(query, ""))))
        memory.vocabulary(scope)
        sifted = memory.sift(asked, scope, many)
        return [hit.record for hit in sifted.recall.hits]
    if operation in FORGETTING:
        return forgetting(memory, operation, scope, data, Asked(query, query))
    if operation == "export":
        fields = Record.__dataclass_fields__
        return [
            Record(**{"previous": "", "embedder": None, **one})
            for one in memory.export(scope)
            if set(one) <= set(fields)
        ]
    if operation == "update":
        return [memory.update(id, f"changed {query}", scope)]
    if operation == "forget":
        memory.forget(id, scope)
        return []
    given_id = data.draw(st.sampled_from((None, id)))
    memory.add(f"planted {query}", scope, id=given_id)
    return []


def named(memory: MemoryService, id: str) -> Record:
    """A memory of which only the id was given out."""
    return replace(memory.get(id), previous="")


def forgetting(
    memory: MemoryService, operation: str, scope: Scope, data: Any, asked: Asked
) -> list[Record]:
    several = data.draw(st.lists(st.integers(0, 60), min_size=1, max_size=5))
    ids = [f"00000000-0000-4000-8000-{n:012d}" for n in several]
    if operation == "forget_many":
        memory.forget_many(ids, scope)
    elif operation == "choose":
        chosen = memory.choose(asked, scope, 20)
        return [named(memory, id) for id in chosen.ids] + list(chosen.examples)
    else:
        memory.forget_many(ids, Scope("kari"))
        try:
            gone = {record["id"] for record in memory.forgotten(scope, 100)}
            with contextlib.suppress(StoreError):
                if operation == "undo":
                    gone |= {record.id for record in memory.undo(ids[:1], scope)}
        finally:
            with contextlib.suppress(StoreError):
                memory.undo([], Scope("kari"))
        return [named(memory, id) for id in gone & set(ids)]
    return []


@pytest.mark.slow
@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    rights=rights, scope=scopes, operation=st.sampled_from(OPERATIONS + FORGETTING), data=st.data()
)
def test_no_operation_reaches_outside_the_scope(
    world: World, rights: Rights, scope: Scope, operation: str, data: Any
) -> None:
    world.rights = rights
    world.refill()
    before = world.all()
    found: list[Record] = []
    with contextlib.suppress(AikiError):
        found = given_out(world.memory, operation, scope, data)
        tool = "forget" if operation in FORGETTING else operation
        assert tool in ("recall", "search") or f"memory.{tool}" in rights.tools
    for record in found:
        old = before.get(record.id, record)
        assert world.readable(old, scope), (operation, record)
        assert not record.previous
    after = world.all()
    for id, old in before.items():
        if after.get(id) != old and not world.writable(old, scope):
            # Nothing but what was to be changed has changed; not even its neighbours.
            assert replace(after[id], previous=old.previous) == old, (operation, old)
    for id in after.keys() - before.keys():
        assert Rights(write=rights.write).grant("trisha").may_write(after[id].agent_id)
        assert after[id].trust == "model"
        world.memory.forget(id)


@pytest.mark.parametrize("read", [("own",), ("shared",), ("own", "shared", "analyst"), ("all",)])
def test_what_is_allowed_is_given(world: World, read: tuple[str, ...]) -> None:
    """The other side of the property: a filter that hides everything would pass it, too."""
    world.rights = Rights(read, (), TOOLS)
    scope = Scope("kari", persona="trisha")
    allowed = {one.id for one in world.all().values() if world.readable(one, scope)}
    assert allowed
    assert {record.id for record in world.memory.list(scope, limit=100)} == allowed
    assert {data["id"] for data in world.memory.export(scope)} == allowed
    assert {h.id for h in world.memory.recall("secret budget", scope, 100).hits} == allowed
    assert all(world.memory.get(id, scope).id == id for id in allowed)


def test_what_is_unknown_may_nothing(world: World) -> None:
    stranger = Scope("kari", persona="stranger")
    id = world.drafts[0].id or ""
    memory = world.memory
    calls = (
        lambda: memory.recall("secret", stranger, 5),
        lambda: memory.search("secret", stranger, 5),
        lambda: memory.list(stranger),
        lambda: memory.get(id, stranger),
        lambda: memory.history(id, stranger),
        lambda: memory.export(stranger),
        lambda: memory.update(id, "x", stranger),
        lambda: memory.forget(id, stranger),
        lambda: memory.add("x", stranger),
        lambda: memory.compare("x", stranger),
        lambda: memory.import_("/nowhere", stranger),
        lambda: memory.vocabulary(stranger),
        lambda: memory.sift(Asked("x", "x"), stranger, 5),
        lambda: memory.choose(Asked("x", "x"), stranger, 5),
        lambda: memory.forget_many([id], stranger),
        lambda: memory.forgotten(stranger, 5),
        lambda: memory.undo([id], stranger),
    )
    for call in calls:
        with pytest.raises(RefusedError, match="no usable persona 'stranger'"):
            call()
    assert len(world.refusals) == len(calls)
    assert {told[0] for told in world.refusals} == {"stranger"}


def test_the_user_himself_is_not_limited(world: World) -> None:
    kari = Scope("kari")
    mine = [draft for draft in world.drafts if draft.scope.user_id == "kari"]
    assert {record.id for record in world.memory.list(kari, limit=100)} == {d.id for d in mine}
    assert world.memory.history(mine[0].id or "")


def turn(number: int, persona: str, **changes: Any) -> Turn:
    return replace(
        Turn(
            f"turn-{persona}-{number}",
            "kari",
            "notebook",
            f"question{number} of {persona} about {persona}word{number}",
            f"answer{number}",
            "local",
            f"2026-11-22T10:{number:02d}:00+00:00",
            persona=persona,
        ),
        **changes,
    )


def test_a_memory_is_not_found_by_what_another_persona_was_told_beside_it(world: World) -> None:
    world.rights = Rights(("own",), ("own",))
    world.memory.access = Access(
        lambda name: Rights(("own",), ("own",)).grant(name), lambda *told: None
    )
    for number in range(6):
        world.memory.remember(turn(number, ("trisha", "interpreter", "default")[number % 3]))
    trisha = Scope("kari", persona="trisha")
    # Its own neighbours are in a memory's window; those of others never are.
    own = world.memory.recall("trishaword0", trisha, 10).hits
    assert [hit for hit in own if hit.text.startswith("question3") and WINDOW in hit.ranks]
    for word in ("interpreterword1", "interpreterword4", "defaultword2", "interpreter"):
        hits = world.memory.recall(word, trisha, 10).hits
        assert all(WINDOW not in hit.ranks for hit in hits), word
        assert all(owner(hit.record.agent_id) == "trisha" for hit in hits)


def test_what_stood_before_is_known_by_owner(world: World) -> None:
    world.memory.access = Access(lambda name: Rights(("own",), ("own",)).grant(name))
    world.memory.remember(turn(1, "interpreter"))
    # The store has a turn of this session, but none of trisha's: her own past still helps.
    ids = world.memory.remember(turn(2, "trisha", previous="what trisha said in between"))
    assert world.memory.get(ids[0]).previous == "what trisha said in between"
    assert world.memory.recall("question2", Scope("kari", persona="trisha"), 1).hits[0]
    shown = world.memory.recall("question2", Scope("kari", persona="trisha"), 1).hits[0].record
    assert shown.previous == ""


def test_a_turn_needs_the_right_to_write(world: World) -> None:
    world.rights = Rights(("own",), ())
    with pytest.raises(RefusedError, match="this turn is not kept"):
        world.memory.remember(turn(1, "trisha"))
    with pytest.raises(StoreError, match="no usable persona 'gone'") as waits:
        world.memory.remember(turn(1, "gone"))
    assert not isinstance(waits.value, RefusedError), "its file may come back: the turn waits"
    world.rights = Rights((), ("own",))
    assert len(world.memory.remember(turn(1, "trisha"))) == 2


def test_a_rerun_replaces_in_its_own_session_only(world: World) -> None:
    everybody = Rights(("own",), ("own",))
    world.memory.access = Access(lambda name: everybody.grant(name))
    old = world.memory.remember(turn(1, "interpreter"))
    world.memory.remember(turn(2, "trisha", replaces="turn-interpreter-1", session_id="other"))
    assert set(old) <= world.all().keys(), "another session's turn is not hers to end"
    world.memory.remember(turn(3, "trisha", replaces="turn-interpreter-1"))
    assert not set(old) & world.all().keys(), "the user ran the cell again for somebody else"


def test_an_id_keeps_its_owner_and_its_history(world: World) -> None:
    world.rights = Rights(("all",), ("own", "analyst"), ("memory.history", "memory.add"))
    theirs = next(d for d in world.drafts if d.scope == Scope("kari", "analyst", d.scope.run_id))
    with pytest.raises(StoreError, match="analyst's: forget it first"):
        world.memory.add("mine now", Scope("kari", persona="trisha"), id=theirs.id)
    world.memory.forget(theirs.id or "")
    world.memory.add("mine now", Scope("kari", persona="trisha"), id=theirs.id)
    told = world.memory.history(theirs.id or "", Scope("kari", persona="trisha"))
    assert not [row for row in told if "marker" in str(row)]
    assert [row for row in world.memory.history(theirs.id or "") if "marker" in str(row)]
