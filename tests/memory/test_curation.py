"""The pass over the memory: sifted, merged, described, linked; in both stores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from memory_parts import Open

from aiki_kernel.memory.curation import Curation, YieldedError
from aiki_kernel.memory.curation_record import Described
from aiki_kernel.memory.payload import to_record
from aiki_kernel.memory.records import Draft, Record, Scope, Turn
from aiki_kernel.memory.service import MemoryService

KARI = Scope("kari")


def say(memory: MemoryService, number: int, question: str, answer: str = "", **more: Any) -> None:
    fields = {
        "id": f"t{number}",
        "user_id": "kari",
        "session_id": "s",
        "created_at": f"2026-05-{number:02}T10:00:00+00:00",
        "model": "m",
        **more,
    }
    memory.remember(Turn(question=question, answer=answer, **fields))


def curated(memory: MemoryService, **more: Any) -> Curation:
    curation = Curation(memory, **more)
    while curation.run(3):
        pass
    assert curation.waiting() == 0
    return curation


def texts(memory: MemoryService, scope: Scope = KARI) -> set[str]:
    return {record.data for record in memory.list(scope, limit=100)}


def of(memory: MemoryService, text: str) -> Record:
    return next(record for record in memory.list(KARI, limit=100) if record.data == text)


def test_what_says_nothing_leaves_recall_and_can_be_brought_back(memory: MemoryService) -> None:
    say(memory, 1, "Hi!", "Hello! How can I help you today?")
    say(memory, 2, "My dog is called Balto.", "You're welcome!")
    greeting = of(memory, "Hi!")
    curation = curated(memory)
    assert texts(memory) == {"My dog is called Balto."}
    assert dict(curation.tally.turned_away) == {
        "greeting": 1,
        "stock phrase": 1,
        "acknowledgement": 1,
    }
    last = memory.history(greeting.id)[-1]
    assert (last["event"], last["actor_id"], last["reason"]) == (
        "DELETE",
        "curation",
        "curated: greeting",
    )
    assert last["old_memory"] == "Hi!"
    say(memory, 1, "Hi!", "Hello! How can I help you today?")  # a replay of the spool
    curated(memory)
    assert texts(memory) == {"My dog is called Balto."}
    memory.collection.bring_back(greeting.id, actor="kari")
    curated(memory)
    assert texts(memory) == {"My dog is called Balto.", "Hi!"}
    assert of(memory, "Hi!").metadata["curated"]["reason"] == "says something"


def test_what_is_kept_is_described(memory: MemoryService) -> None:
    say(memory, 6, "We decided that the meeting with Ingrid is on 14 May.")
    curated(memory)
    found = of(memory, "We decided that the meeting with Ingrid is on 14 May.").metadata
    assert found["entities"] == ["ingrid"]
    assert found["dates"] == ["2026-05-14"]
    assert found["language"] == "en"
    assert set(found["emotion"]) == {"valence", "arousal"}
    assert found["curated"] | {"at": "", "hash": ""} == {
        "by": "rules",
        "version": 1,
        "keep": True,
        "reason": "says something",
        "at": "",
        "hash": "",
    }
    again = curated(memory)
    assert again.tally.seen == 0


def test_what_was_said_before_is_merged_with_the_provenance_of_both(memory: MemoryService) -> None:
    say(memory, 1, "Ingrid keeps her boat in Bergen.", provenance={"notebook": "a.ipynb"})
    say(
        memory, 2, "As I said, Ingrid keeps her boat in Bergen!", provenance={"notebook": "b.ipynb"}
    )
    say(memory, 3, "Ingrid keeps her boat in Bergen.", session_id="other")
    say(memory, 4, "Lars keeps his boat in Bergen.")
    gone = of(memory, "As I said, Ingrid keeps her boat in Bergen!")
    curation = curated(memory)
    assert curation.tally.merged == 2
    assert len(memory.list(KARI, limit=100)) == 2
    kept = of(memory, "Ingrid keeps her boat in Bergen.")
    assert kept.provenance == {"notebook": "a.ipynb"}
    merged = kept.metadata["merged"]
    assert [item["turn_id"] for item in merged] == ["t2", "t3"]
    assert merged[0]["provenance"] == {"notebook": "b.ipynb"}
    assert kept.metadata["times_said"] == 3
    assert memory.history(gone.id)[-1]["reason"] == f"curated: said before ({kept.id})"
    back = memory.collection.bring_back(gone.id, actor="kari")
    assert back.metadata["duplicate_of"] == kept.id


def test_nobody_else_is_merged_with(memory: MemoryService) -> None:
    say(memory, 1, "Ingrid keeps her boat in Bergen.")
    say(memory, 2, "Ingrid keeps her boat in Bergen.", user_id="ola")
    draft = Draft("Ingrid keeps her boat in Bergen.", Scope("kari", "trisha", "s"), kind="message")
    memory.collection.put([to_record(replace(draft, role="user"), "wordbag")], reason="turn")
    curation = curated(memory)
    assert curation.tally.merged == 0
    assert len(memory.list(KARI, limit=100)) == 2
    assert len(memory.list(Scope("ola"), limit=100)) == 1


def test_an_answer_that_repeats_recalled_text_is_not_learned(memory: MemoryService) -> None:
    say(memory, 1, "My dog is called Balto and is afraid of fireworks.")
    say(memory, 2, "What is my dog called?", "Your dog is called Balto.")
    say(memory, 3, "Tell me of Balto.", "Balto led a team of sled dogs to Nome in 1925.")
    curation = curated(memory)
    assert dict(curation.tally.turned_away) == {"recalled text restated": 1}
    assert "Your dog is called Balto." not in texts(memory)
    assert "Balto led a team of sled dogs to Nome in 1925." in texts(memory)


def test_a_fact_ends_when_another_contradicts_it(memory: MemoryService) -> None:
    say(memory, 1, "I live in Bergen.")
    say(memory, 5, "I moved to Oslo yesterday.")
    curated(memory)
    old, new = of(memory, "I live in Bergen."), of(memory, "I moved to Oslo yesterday.")
    assert old.metadata["valid_to"] == new.metadata["valid_from"] == "2026-05-04T00:00:00+00:00"
    assert old.metadata["superseded_by"] == new.id
    assert new.metadata["supersedes"] == [old.id]
    assert "valid_to" not in new.metadata
    say(memory, 9, "Jeg har flyttet til Tromsø.")
    curated(memory)
    assert of(memory, "I live in Bergen.").metadata == old.metadata
    third = of(memory, "Jeg har flyttet til Tromsø.")
    assert of(memory, new.data).metadata["superseded_by"] == third.id
    found = memory.recall("Where do I live? Bergen Oslo Tromsø", KARI, 10)
    assert {hit.text for hit in found.hits} == {third.data}


def test_what_says_more_than_the_fact_that_ended_stays_in_recall(memory: MemoryService) -> None:
    both = "I live in Bergen. My dog is called Balto."
    say(memory, 1, both)
    say(memory, 2, "I live in Oslo now.")
    curated(memory)
    found = of(memory, both).metadata
    assert found["outdated"] == ["home"]
    assert found["superseded_by"] == of(memory, "I live in Oslo now.").id
    assert "valid_to" not in found


def test_facts_that_arrive_late_are_put_where_they_belong(memory: MemoryService) -> None:
    memory.add("I live in Oslo.", KARI, created_at="2026-05-09T10:00:00+00:00")
    curated(memory)
    memory.add("I live in Bergen.", KARI, created_at="2026-05-01T10:00:00+00:00")
    curated(memory)
    old, new = of(memory, "I live in Bergen."), of(memory, "I live in Oslo.")
    assert old.metadata["valid_to"] == "2026-05-09T10:00:00+00:00"
    assert old.metadata["superseded_by"] == new.id
    assert "valid_to" not in new.metadata


def test_a_model_does_not_end_what_the_user_said(memory: MemoryService) -> None:
    say(memory, 1, "I live in Bergen.")
    say(memory, 2, "Where should I go?", "I live in Paris, so I would say Paris.")
    curated(memory)
    assert "valid_to" not in of(memory, "I live in Bergen.").metadata


def test_what_was_added_by_hand_is_described_and_never_turned_away(memory: MemoryService) -> None:
    memory.add("Hi!", KARI)
    memory.add("Hi!", KARI)
    curation = curated(memory)
    assert curation.tally.kept == 2
    assert len(memory.list(KARI)) == 2


def test_quarantined_memories_are_left_alone(memory: MemoryService) -> None:
    record = memory.add("Ingrid lives in Bergen.", KARI, metadata={"quarantined": True})
    curated(memory)
    assert "curated" not in memory.get(record.id).metadata


def test_a_changed_text_is_curated_anew(memory: MemoryService) -> None:
    record = memory.add("Ingrid lives in Bergen.", KARI)
    curated(memory)
    memory.update(record.id, "Sindre works with Astrid.")
    curated(memory)
    assert memory.get(record.id).metadata["entities"] == ["astrid", "sindre"]


class Reader:
    """A model that says what it is told to say, and counts."""

    name, trusted = "scripted", False

    def __init__(self, said: Described | None, *, once: bool = False) -> None:
        self.said, self.once, self.asked = said, once, 0
        self.before: Callable[[], None] = lambda: None

    def wants(self, text: str) -> bool:
        return len(text) > 20

    def describe(self, text: str, record: Record) -> Described | None:
        self.asked += 1
        self.before()
        return self.said


def test_a_model_adds_what_the_text_bears_out(memory: MemoryService) -> None:
    memory.add("Ingrid repaired the mast of her boat with rope.", KARI)
    reader = Reader(Described(tags=("rope", "piracy"), themes=("boat repair",)))
    curation = curated(memory, describer=reader)
    found = memory.list(KARI)[0].metadata
    assert "rope" in found["tags"]
    assert "piracy" not in found["tags"]
    assert found["curated"]["by"] == "rules and scripted"
    assert (curation.tally.described, curation.tally.dropped) == (
        1,
        2 - ("boat repair" in found["themes"]),
    )


def test_tags_that_a_memory_came_with_stay(memory: MemoryService) -> None:
    memory.add("Ingrid repaired the mast of her boat with rope.", KARI, metadata={"tags": ["sea"]})
    curated(memory)
    found = memory.list(KARI)[0]
    assert found.metadata["tags"] == ["sea"]
    assert found.metadata["summary"]
    memory.update(found.id, "Ingrid sold her boat.")
    curated(memory)  # once more, of the new text
    assert memory.list(KARI)[0].metadata["tags"] == ["sea"]


def test_a_memory_is_taken_up_again_when_the_model_was_wanted_elsewhere(
    memory: MemoryService,
) -> None:
    memory.add("Ingrid repaired the mast of her boat with rope.", KARI)
    reader = Reader(None)

    def wanted() -> None:
        raise YieldedError

    reader.before = wanted
    curation = Curation(memory, describer=reader)
    assert curation.run(5) == 0
    assert curation.waiting() == 1
    assert "curated" not in memory.list(KARI)[0].metadata
    reader.before = lambda: None
    assert curation.run(5) == 1
    assert memory.list(KARI)[0].metadata["curated"]["by"] == "rules"


class Killed(BaseException):
    """The process ends here."""


def test_a_call_that_costs_money_is_never_made_twice(open_memory: Open) -> None:
    memory = open_memory()
    memory.add("Ingrid repaired the mast of her boat with rope.", KARI)
    reader = Reader(Described(tags=("rope",)), once=True)

    def kill() -> None:
        raise Killed

    reader.before = kill
    with pytest.raises(Killed):
        Curation(memory, describer=reader).run(5)
    memory.close()
    memory = open_memory()
    reader.before = lambda: None
    curated(memory, describer=reader)
    assert reader.asked == 1
    assert "was asked and cut off" in memory.list(KARI)[0].metadata["curated"]["by"]
    memory.add("Lars painted the hull of his boat with tar.", KARI)
    curated(memory, describer=reader)
    assert reader.asked == 2


@pytest.mark.parametrize("step", range(1, 14))
def test_a_process_killed_between_any_two_writes_goes_on(
    step: int, open_memory: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each write of the pass is the last one before the end; what comes out is the same."""
    memory = open_memory()
    say(memory, 1, "I live in Bergen.", "Hello! How can I help you today?")
    say(memory, 2, "As I said, Ingrid keeps her boat here.", "Thanks!")
    say(memory, 3, "Ingrid keeps her boat here.", "")
    say(memory, 4, "I moved to Oslo.", "Ingrid keeps her boat here.")
    left = step

    def dying(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*words: Any, **more: Any) -> Any:
            nonlocal left
            left -= 1
            if left == 0:
                raise Killed
            return real(*words, **more)

        return call

    collection = memory.collection
    for owner, name in (
        (collection, "annotate"),
        (collection, "end"),
        (collection.log, "curated"),
        (collection.log, "record"),
        (collection.store, "delete"),
    ):
        monkeypatch.setattr(owner, name, dying(getattr(owner, name)))
    try:
        curated(memory)
        assert left > 0
    except Killed:
        monkeypatch.undo()
        memory.close()
        memory = open_memory()
    monkeypatch.undo()
    curated(memory)
    assert texts(memory) == {
        "I live in Bergen.",
        "As I said, Ingrid keeps her boat here.",
        "I moved to Oslo.",
    }
    kept = of(memory, "As I said, Ingrid keeps her boat here.").metadata
    assert kept["times_said"] == 2
    assert len(kept["merged"]) == 1
    assert (
        of(memory, "I live in Bergen.").metadata["superseded_by"]
        == of(memory, "I moved to Oslo.").id
    )
