"""One suite, two stores: what the memory promises holds embedded and on a server."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from memory_parts import Open, WordBag

from aiki_kernel.errors import StoreError
from aiki_kernel.memory.records import Draft, Hit, Scope, Turn
from aiki_kernel.memory.service import MemoryService
from aiki_kernel.memory.store import TURN, WINDOW, Either, Where

KARI = Scope("kari")
OLA = Scope("ola")


def turn(number: int, **changes: object) -> Turn:
    plain = Turn(
        id=f"turn-{number}",
        user_id="kari",
        session_id="notebook-1",
        question=f"what about subject{number}",
        answer=f"that is thing{number}",
        model="local",
        created_at=f"2026-11-21T09:{number:02d}:00+00:00",
        provenance={"notebook": "a.ipynb"},
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


def texts(hits: tuple[Hit, ...]) -> list[str]:
    return [hit.text for hit in hits]


def test_what_is_added_is_found_with_its_ranks_and_payload(memory: MemoryService) -> None:
    record = memory.add(
        "My dog is called Balto", KARI, metadata={"source": "form", "kind": "taken", "n": 3}
    )
    memory.add("The server runs on port 6333", KARI)
    hit = memory.recall("what is my dog called", KARI, 5).hits[0]
    assert hit.id == record.id
    assert hit.record == record
    assert hit.record.metadata == {"source": "form", "kind": "taken", "n": 3}
    assert hit.ranks == {"dense": 1, WINDOW: 1, TURN: 1}
    assert hit.scores[WINDOW] > 0


def test_nobody_sees_the_memories_of_another_user(memory: MemoryService) -> None:
    theirs = memory.add("the safe code is 1234", OLA)
    memory.add("the weather is fine", KARI)
    assert texts(memory.recall("what is the safe code", KARI, 10).hits) == ["the weather is fine"]
    assert [record.data for record in memory.list(KARI)] == ["the weather is fine"]
    assert [data["data"] for data in memory.export(KARI)] == ["the weather is fine"]
    with pytest.raises(StoreError, match="No memory"):
        memory.forget(theirs.id, KARI)
    assert memory.get(theirs.id, OLA).data == "the safe code is 1234"


def test_a_scope_narrows_by_agent_and_run(memory: MemoryService) -> None:
    memory.add("alpha note", Scope("kari", "tutor", "run-1"))
    memory.add("alpha remark", Scope("kari", "coder", "run-2"))
    assert texts(memory.recall("alpha", Scope("kari", agent_id="tutor"), 5).hits) == ["alpha note"]
    assert texts(memory.recall("alpha", Scope("kari", run_id="run-2"), 5).hits) == ["alpha remark"]


def test_a_turn_is_two_memories_and_a_replay_changes_nothing(memory: MemoryService) -> None:
    ids = memory.remember(turn(1))
    again = memory.remember(turn(1))
    assert ids == again
    question, answer = (memory.get(name) for name in ids)
    assert (question.role, question.trust, question.kind) == ("user", "user", "message")
    assert (answer.role, answer.trust, answer.metadata["model"]) == ("assistant", "model", "local")
    assert question.provenance == {"notebook": "a.ipynb"}
    assert question.created_at < answer.created_at
    assert memory.stats()["memories"] == 2
    assert [row["event"] for row in memory.history(ids[0])] == ["ADD"]


def test_an_interrupted_turn_without_an_answer_is_one_memory(memory: MemoryService) -> None:
    ids = memory.remember(turn(1, answer="", interrupted=True))
    assert [memory.get(name).role for name in ids] == ["user"]


def test_a_rerun_ends_its_own_turn_only(memory: MemoryService) -> None:
    old = memory.remember(turn(1))
    other = memory.remember(turn(2))
    new = memory.remember(turn(3, replaces="turn-1"))
    assert {record.id for record in memory.list(KARI)} == {*other, *new}
    assert memory.history(old[0])[-1]["reason"] == "replaced by turn turn-3"
    # The superseded turn comes once more, from a spool: it stays out.
    memory.remember(turn(1))
    assert {record.id for record in memory.list(KARI)} == {*other, *new}


def test_a_superseded_turn_that_was_never_stored_stays_out(memory: MemoryService) -> None:
    memory.remember(turn(2, replaces="turn-1"))
    memory.remember(turn(1))
    assert memory.stats()["memories"] == 2


def test_replaces_does_not_reach_into_another_users_turns(memory: MemoryService) -> None:
    theirs = memory.remember(turn(1, user_id="ola"))
    memory.remember(turn(2, replaces="turn-1"))
    assert memory.get(theirs[0]).user_id == "ola"


def test_what_was_forgotten_is_not_brought_back_by_a_replay(memory: MemoryService) -> None:
    ids = memory.remember(turn(1))
    memory.forget(ids[1])
    memory.remember(turn(1))
    with pytest.raises(StoreError, match="No memory"):
        memory.get(ids[1])
    assert [row["event"] for row in memory.history(ids[1])] == ["ADD", "DELETE"]


def test_a_message_is_found_by_its_neighbours_and_date(memory: MemoryService) -> None:
    memory.remember(turn(1, question="Do you like skiing in Sirdal?", answer="Very much so."))
    hits = memory.recall("skiing sirdal", KARI, 5).hits
    assert "Very much so." in texts(hits)
    answer = next(hit for hit in hits if hit.text == "Very much so.")
    assert WINDOW in answer.ranks
    assert TURN not in answer.ranks
    assert WINDOW in memory.recall("november 21", KARI, 5).hits[0].ranks


def test_forgetting_takes_a_text_out_of_its_neighbours_windows(memory: MemoryService) -> None:
    ids = memory.remember(turn(1, question="The zebra secret", answer="Understood."))
    assert len(memory.recall("zebra", KARI, 5).hits[0].ranks) == 3
    memory.forget(ids[0])
    assert all(WINDOW not in hit.ranks for hit in memory.recall("zebra", KARI, 5).hits)


def test_a_later_turn_enters_the_windows_before_it(memory: MemoryService) -> None:
    first = memory.remember(turn(1))
    memory.remember(turn(2, question="giraffe", answer="yes"))
    found = {hit.id: hit.ranks for hit in memory.recall("giraffe", KARI, 10).hits}
    assert WINDOW in found[first[1]]


def test_excluded_turns_are_not_recalled(memory: MemoryService) -> None:
    memory.remember(turn(1))
    memory.remember(turn(2))
    found = memory.recall("subject1 thing1", KARI, 10, exclude=["turn-1"]).hits
    assert {hit.record.turn_id for hit in found} == {"turn-2"}


def test_equal_texts_are_recalled_once(memory: MemoryService) -> None:
    for _ in range(3):
        memory.add("The same line", KARI)
    assert texts(memory.recall("same line", KARI, 10).hits) == ["The same line"]


def test_an_expired_memory_is_not_recalled(memory: MemoryService) -> None:
    memory.add("old offer", KARI, metadata={"expiration_date": "2020-01-01"})
    memory.add("new offer", KARI, metadata={"expiration_date": "2999-01-01"})
    assert texts(memory.recall("offer", KARI, 10).hits) == ["new offer"]


def test_update_embeds_anew_and_keeps_the_rest(memory: MemoryService) -> None:
    old = memory.add("The cat is black", KARI, metadata={"a": 1})
    new = memory.update(old.id, "The horse is white")
    assert memory.get(old.id) == new
    assert (new.created_at, new.metadata) == (old.created_at, {"a": 1})
    assert new.hash != old.hash
    assert set(memory.recall("horse", KARI, 1).hits[0].ranks) == {"dense", WINDOW, TURN}
    assert set(memory.recall("cat", KARI, 1).hits[0].ranks) == {"dense"}
    rows = memory.history(old.id)
    assert [(row["event"], row["old_memory"], row["new_memory"]) for row in rows] == [
        ("ADD", None, "The cat is black"),
        ("UPDATE", "The cat is black", "The horse is white"),
    ]


def test_the_list_is_newest_first_with_pages_and_kinds(memory: MemoryService) -> None:
    drafts = [
        Draft(
            f"note {n}",
            KARI,
            kind="fact" if n % 2 else "insight",
            created_at=f"2026-01-{n:02d}T00:00:00Z",
        )
        for n in range(1, 8)
    ]
    memory.add_many(drafts)
    assert [record.data for record in memory.list(KARI, limit=3)] == ["note 7", "note 6", "note 5"]
    assert [record.data for record in memory.list(KARI, limit=2, offset=3)] == ["note 4", "note 3"]
    assert [r.data for r in memory.list(KARI, kind="insight")] == ["note 6", "note 4", "note 2"]
    assert memory.stats()["kinds"] == {"fact": 4, "insight": 3}


@pytest.mark.parametrize(
    ("text", "scope", "when"),
    [("  ", KARI, None), ("x", Scope(""), None), ("x", KARI, "yesterday")],
    ids=["no text", "no user", "no date"],
)
def test_unusable_memories_are_refused_in_one_line(
    memory: MemoryService, text: str, scope: Scope, when: str | None
) -> None:
    with pytest.raises(StoreError) as caught:
        memory.add(text, scope, created_at=when)
    assert "\n" not in str(caught.value)
    assert memory.stats()["memories"] == 0


def test_odd_texts_survive(memory: MemoryService) -> None:
    for text in ("nul\0byte", "😀" * 400, "ordløst: øøø åå", "a" * 20_000, "?!", "\u202ertl"):
        record = memory.add(text, KARI)
        assert memory.get(record.id).data == text
    memory.recall("?!", KARI, 5)
    memory.recall("\0", KARI, 5)


def test_another_embedder_is_refused_until_the_memories_are_embedded_anew(
    open_memory: Open,
) -> None:
    first = open_memory()
    ids = [first.add(f"entry number {n}", KARI, metadata={"n": n}).id for n in range(150)]
    first.remember(turn(1))
    first.close()
    second = open_memory(WordBag("otherbag", 96))
    for attempt in (
        lambda: second.recall("entry", KARI, 3),
        lambda: second.add("more", KARI),
        lambda: second.remember(turn(2)),
        lambda: second.update(ids[0], "changed"),
    ):
        with pytest.raises(StoreError, match="aiki memory reembed"):
            attempt()
    assert second.get(ids[3]).data == "entry number 3"
    seen: list[tuple[int, int]] = []
    assert second.reembed(lambda done, total: seen.append((done, total))) == 152
    assert seen[-1] == (152, 152)
    hit = second.recall("entry number 77", KARI, 1).hits[0]
    assert (hit.text, hit.record.embedder, hit.record.metadata) == (
        "entry number 77",
        "otherbag",
        {"n": 77},
    )
    assert second.stats()["dimension"] == 96
    second.close()
    third = open_memory(WordBag("otherbag", 96))
    assert third.stats()["memories"] == 152
    assert third.recall("subject1", KARI, 1).hits[0].record.turn_id == "turn-1"


def test_reembedding_loses_nothing_that_is_written_meanwhile(memory: MemoryService) -> None:
    kept = [memory.add(f"steady {n}", KARI).id for n in range(200)]
    gone, changed = kept[5], kept[7]
    late: list[str] = []

    def meddle(done: int, total: int) -> None:
        if not late:
            worker = threading.Thread(target=write)
            worker.start()
            worker.join(30)
            assert not worker.is_alive()

    def write() -> None:
        late.append(memory.add("a latecomer", KARI).id)
        memory.forget(gone)
        memory.update(changed, "steadily altered")
        assert memory.recall("latecomer", KARI, 1).hits[0].text == "a latecomer"

    memory.reembed(meddle)
    assert memory.get(late[0]).data == "a latecomer"
    assert memory.get(changed).data == "steadily altered"
    with pytest.raises(StoreError, match="No memory"):
        memory.get(gone)
    assert memory.stats()["memories"] == 200


def test_a_failed_reembedding_leaves_everything_as_it_was(open_memory: Open) -> None:
    first = open_memory()
    first.add_many([Draft(f"entry {n}", KARI) for n in range(100)])
    first.close()

    class Fragile(WordBag):
        def embed_documents(self, texts):  # type: ignore[no-untyped-def]
            if "entry 80" in texts:
                raise StoreError("The embedder broke: try again.")
            return super().embed_documents(texts)

    second = open_memory(Fragile("otherbag", 96))
    with pytest.raises(StoreError, match="broke"):
        second.reembed()
    second.close()
    third = open_memory()
    assert third.stats()["memories"] == 100
    assert third.recall("entry 80", KARI, 1).hits[0].text == "entry 80"


def test_snapshot_and_restore_bring_everything_back(memory: MemoryService, tmp_path: Path) -> None:
    ids = memory.remember(turn(1))
    fact = memory.add("fact", KARI, metadata={"x": [1, {"y": None}]})
    before = sorted((record.to_json() for record in memory.list(KARI)), key=lambda r: r["id"])
    file = memory.snapshot(tmp_path / "backups")
    assert file.parent == tmp_path / "backups"
    memory.forget(fact.id)
    memory.add("added later", KARI)
    assert memory.restore(file) == 3
    after = sorted((record.to_json() for record in memory.list(KARI)), key=lambda r: r["id"])
    assert after == before
    assert [row["event"] for row in memory.history(fact.id)] == ["ADD"]
    assert memory.recall("subject1", KARI, 1).hits[0].id == ids[0]


@pytest.mark.parametrize("kind", ["embedded"])  # Qdrant in memory is for one thread at a time
def test_many_threads_write_and_read_at_once(memory: MemoryService) -> None:
    failures: list[BaseException] = []

    def work(worker: int) -> None:
        try:
            for n in range(10):
                memory.remember(
                    turn(
                        worker * 10 + n,
                        created_at="2026-11-21T09:00:00+00:00",
                        session_id=f"s{worker}",
                    )
                )
                assert memory.recall(f"subject{worker * 10 + n}", KARI, 3).hits
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert memory.stats()["memories"] == 80


def test_stats_are_plain_json(memory: MemoryService) -> None:
    import json

    memory.add("x", KARI)
    stats = memory.stats()
    assert json.loads(json.dumps(stats)) == stats
    assert stats["lists"] == ["dense", "bm25", "bm25_turn"]
    assert stats["users"] == {"kari": 1}


def test_both_stores_give_the_same_answers(
    settings: object, aiki_home: Path, tmp_path: Path
) -> None:
    """The same memories and questions, embedded and served: ids in the same order."""
    from qdrant_client import QdrantClient

    from aiki_kernel.config import Paths
    from aiki_kernel.memory.server import ServerStore

    client = QdrantClient(":memory:")
    services = [
        MemoryService(settings, Paths(tmp_path / "edge"), embedder=WordBag()),  # type: ignore[arg-type]
        MemoryService(
            settings,  # type: ignore[arg-type]
            Paths(tmp_path / "served"),
            embedder=WordBag(),
            store=ServerStore(client, "c", 64, "memory"),
        ),
    ]
    answers = []
    for service in services:
        for n in range(30):
            service.remember(turn(n, session_id=f"s{n // 10}"))
        found = [service.recall(f"subject{n} about the thing", KARI, 8).hits for n in range(30)]
        answers.append(
            [
                [(hit.id, round(hit.score, 3), dict(hit.ranks).keys()) for hit in hits]
                for hits in found
            ]
        )
        assert service.collection.store.count(Where(user_id="kari")) == 60
        service.close()
    for embedded, served in zip(*answers, strict=True):
        assert [score for _, score, _ in embedded] == [score for _, score, _ in served]
        assert embedded[0] == served[0]


# --- what is left out of recall ------------------------------------------------------------


def test_every_field_of_a_filter_means_the_same_in_both_stores(memory: MemoryService) -> None:
    """What each one lets through, by the numbers of the memories."""
    past, future = "2026-01-02T00:00:00+00:00", "2999-01-01T00:00:00+00:00"
    rows: list[dict[str, Any]] = [
        {"tags": ["budget", "plan"], "entities": ["kari"], "categories": ["work"]},
        {"tags": ["holiday"], "entities": ["kari", "oslo"], "valid_to": past},
        {"tags": [], "quarantined": True},
        {"quarantined": False, "valid_to": future, "entities": ["ola"]},
    ]
    agents, kinds = [None, "trisha", "default", None], ["fact", "decision", "fact", "sensor"]
    trusts = ["user", "model", "import", "sensor"]
    records = memory.add_many(
        [
            Draft(
                f"text {n}",
                Scope("kari", agent),
                kind=kind,
                trust=trust,
                metadata=metadata,
                role="Kari" if n == 1 else None,
            )
            for n, (agent, kind, trust, metadata) in enumerate(
                zip(agents, kinds, trusts, rows, strict=True)
            )
        ]
    )
    number = {record.id: n for n, record in enumerate(records)}
    vector = memory.collection.embedder.embed_query("text")
    store, dense = memory.collection.store, memory.collection.dense
    for where, expected in (
        (Where(agent_ids=("default", "")), {0, 2, 3}),
        (Where(agent_ids=("trisha", "nobody")), {1}),
        (Where(agent_id="trisha", agent_ids=("", "default")), set()),
        (Where(kinds=("decision", "sensor")), {1, 3}),
        (Where(exclude_kinds=("fact", "insight")), {1, 3}),
        (Where(tags=("plan", "holiday")), {0, 1}),
        (Where(tags=("plan", "")), {0, 2, 3}),
        (Where(entities=("kari",)), {0, 1}),
        (Where(entities=("oslo", "ola")), {1, 3}),
        (Where(categories=("work",)), {0}),
        (Where(trusts=("user", "sensor")), {0, 3}),
        (Where(trusts=("import",)), {2}),
        (Where(roles=("Kari", "nobody")), {1}),
        (Where(roles=("",)), {0, 2, 3}),
        (Where(either=(Either(("role", "entities"), ("Kari", "ola")),)), {1, 3}),
        (Where(either=(Either(("kind", "tags"), ("sensor", "plan")),)), {0, 3}),
        (Where(quarantined=True), {2}),
        (Where(quarantined=False), {0, 1, 3}),
        (Where(valid_at="2026-01-01T23:59:59Z"), {0, 1, 2, 3}),
        (Where(valid_at="2026-01-02"), {0, 2, 3}),
        (Where(quarantined=False, valid_at="2026-06-01", kinds=("fact",)), {0}),
    ):
        found = {number[name] for name, _ in store.search(vector, {}, where, 9)["dense"]}
        assert found == expected, where
        assert store.count(where) == len(expected)
        if dense is not None and dense.ready:
            answer = dense.search(vector, where, 9, "numpy")
            assert answer is not None
            assert {number[name] for name, _ in answer.scored} == expected, where


def test_recall_leaves_out_what_is_quarantined_or_has_ended(memory: MemoryService) -> None:
    over, later = "2026-01-02T00:00:00+00:00", "2999-01-01T00:00:00+00:00"
    memory.add("the budget is ten", KARI, metadata={"valid_to": over})
    memory.add("the budget is twenty", KARI, metadata={"valid_to": later})
    held = memory.add("the budget is a secret", KARI, metadata={"quarantined": True})
    memory.add("the budget is public", KARI, metadata={"quarantined": False})
    told = {hit.text for hit in memory.recall("budget", KARI, 9).hits}
    assert told == {"the budget is twenty", "the budget is public"}
    assert memory.get(held.id).metadata["quarantined"] is True
    memory.add("the budget is known", KARI, id=held.id)  # it was let go again
    assert len(memory.recall("budget", KARI, 9).hits) == 3


def test_the_only_memory_there_is_counts_when_it_shares_a_word(memory: MemoryService) -> None:
    memory.add("My dog is called Balto", KARI)
    (hit,) = memory.recall("what is my dog called", KARI, 5).hits
    assert hit.score > 0
    (other,) = memory.recall("where did I park the car", KARI, 5).hits
    assert other.score == 0
