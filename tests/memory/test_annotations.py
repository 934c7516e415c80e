"""Metadata that is written beside a memory afterwards: both stores, the index, the journal."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from memory_parts import Open, WordBag

from aiki_kernel.config import Paths, Settings
from aiki_kernel.errors import StoreError
from aiki_kernel.memory.payload import from_payload, noted
from aiki_kernel.memory.records import Scope, new_id
from aiki_kernel.memory.service import MemoryService
from aiki_kernel.memory.store import Where

KARI = Scope("kari")


def test_notes_change_metadata_and_nothing_else(memory: MemoryService) -> None:
    record = memory.add("The boat is called Ternen.", KARI, metadata={"colour": "red", "old": 1})
    other = memory.add("The boat is in Bergen.", KARI)
    notes = {
        record.id: {"tags": ["boat"], "importance": 0.5, "old": None},
        new_id(): {"tags": ["nobody"]},
    }
    changed = memory.collection.annotate(notes)
    assert [one.id for one in changed] == [record.id]
    found = memory.get(record.id)
    assert found.metadata == {"colour": "red", "tags": ["boat"], "importance": 0.5}
    same = ("data", "hash", "created_at", "updated_at", "kind", "embedder", "user_id")
    assert all(getattr(found, name) == getattr(record, name) for name in same)
    assert memory.get(other.id) == other
    assert memory.recall("boat called Ternen", KARI, 1).hits[0].record == found
    assert [row["event"] for row in memory.history(record.id)] == ["ADD"]


def test_a_note_cannot_take_the_place_of_a_records_own_key(memory: MemoryService) -> None:
    record = memory.add("Mine.", KARI)
    memory.collection.annotate({record.id: {"user_id": "ola", "data": "stolen"}})
    found = memory.get(record.id)
    assert (found.user_id, found.data) == ("kari", "Mine.")
    assert found.metadata == {"user_id": "ola", "data": "stolen"}


def test_what_mem0_wrote_keeps_its_own_keys() -> None:
    payload = {"data": "x", "text_lemmatized": "ex", "hash": "h", "user_id": "u", "mine": 1}
    after = noted(payload, {"tags": ["t"], "mine": None})
    assert after == {
        "data": "x",
        "text_lemmatized": "ex",
        "hash": "h",
        "user_id": "u",
        "tags": ["t"],
    }
    assert from_payload("i", after).metadata == {"tags": ["t"]}


def test_notes_are_in_the_index_and_outlive_its_file(open_memory: Open, kind: str) -> None:
    if kind != "embedded":
        pytest.skip("a server has no index of ours beside it")
    memory = open_memory()
    ids = [memory.add(f"note {n}", KARI).id for n in range(5)]
    memory.close()
    memory = open_memory()
    memory.collection.annotate({ids[2]: {"tags": ["kept"]}})
    memory.close()
    memory = open_memory()
    assert memory.get(ids[2]).metadata == {"tags": ["kept"]}
    assert memory.collection.store.count(Where()) == 5
    assert {hit.id for hit in memory.recall("note", KARI, 10).hits} == set(ids)


def test_notes_come_back_after_a_power_cut(settings: Settings, tmp_path: Path) -> None:
    home, disk = tmp_path / "home", tmp_path / "disk"
    service = MemoryService(settings, Paths(home), embedder=WordBag())
    record = service.add("I live in Bergen.", KARI)
    service.close()
    shutil.copytree(home / "memory" / "shards", disk)
    service = MemoryService(settings, Paths(home), embedder=WordBag())
    service.collection.annotate({record.id: {"valid_to": "2026-01-01T00:00:00+00:00"}})
    journal = tmp_path / "journal"
    journal.mkdir()
    for file in (home / "memory").glob("history.db*"):
        shutil.copy(file, journal)
    service.close()
    shutil.rmtree(home / "memory" / "shards")
    shutil.copytree(disk, home / "memory" / "shards")
    for file in (home / "memory").glob("history.db*"):
        file.unlink()
    for file in journal.iterdir():
        shutil.copy(file, home / "memory")
    again = MemoryService(settings, Paths(home), embedder=WordBag())
    assert again.get(record.id).metadata == {"valid_to": "2026-01-01T00:00:00+00:00"}
    again.close()


def test_what_awaits_curation_is_known_from_the_history(memory: MemoryService) -> None:
    log = memory.collection.log
    assert log.uncurated(10) == []
    assert log.left_to_curate() == 0
    first, second = memory.add("one", KARI), memory.add("two", KARI)
    rows = log.uncurated(10)
    assert [row["memory_id"] for _, row in rows] == [first.id, second.id]
    assert log.left_to_curate() == 2
    log.curated(rows[0][0])
    assert [row["memory_id"] for _, row in log.uncurated(10)] == [second.id]
    log.curated(rows[1][0])
    assert log.left_to_curate() == 0
    log.note("asking", "x")
    assert log.noted("asking") == "x"
    log.note("asking")
    assert log.noted("asking") == ""


def test_a_restored_history_is_looked_through_again(memory: MemoryService, tmp_path: Path) -> None:
    memory.add("one", KARI)
    copy = memory.snapshot(tmp_path / "copy.aiki")
    memory.add("two", KARI)
    log = memory.collection.log
    log.curated(log.uncurated(10)[-1][0])
    memory.restore(copy)
    assert log.left_to_curate() == 1
    memory.add("three", KARI)
    assert log.left_to_curate() == 2


def test_an_old_history_begins_at_its_end(open_memory: Open) -> None:
    memory = open_memory()
    memory.add("before there was curation", KARI)
    memory.collection.log._db.execute("DELETE FROM marks WHERE name = 'curated'")
    memory.collection.log._db.commit()
    memory.close()
    memory = open_memory()
    assert memory.collection.log.left_to_curate() == 0
    fresh = memory.add("after", KARI)
    assert [row["memory_id"] for _, row in memory.collection.log.uncurated(5)] == [fresh.id]
    memory.collection.log.curated(0)
    assert memory.collection.log.left_to_curate() == 2


def test_what_ended_can_be_brought_back_whole(memory: MemoryService) -> None:
    record = memory.add("The boat is called Ternen.", KARI, metadata={"tags": ["boat"]})
    memory.collection.end([record], actor="curation", reason="curated: greeting")
    assert memory.list(KARI) == []
    assert memory.collection.log.endings("curated: ") == {"curated: greeting": 1}
    assert memory.collection.bring_back(record.id, actor="kari") == record
    assert memory.get(record.id) == record
    assert memory.recall("boat", KARI, 1).hits[0].record == record
    assert memory.collection.log.endings("curated: ") == {}
    assert [row["event"] for row in memory.history(record.id)] == ["ADD", "DELETE", "UPDATE"]
    assert memory.collection.log.ended([record.id]) == set()
    with pytest.raises(StoreError, match="did not end"):
        memory.collection.bring_back(record.id, actor="kari")
