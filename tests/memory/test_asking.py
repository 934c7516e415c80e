"""Questions in plain words: what their rules read, and which memories they leave."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from memory_parts import Open

from aiki_kernel.errors import StoreError, UsageError
from aiki_kernel.memory.asking.period import bound, find
from aiki_kernel.memory.asking.question import Asked, Vocabulary, understand
from aiki_kernel.memory.records import Draft, Scope
from aiki_kernel.memory.service import MemoryService

NOW = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)
"""A Saturday."""
KARI = Scope("kari")


@pytest.mark.parametrize(
    ("text", "since", "until", "rest"),
    [
        ("what did we say last week?", "2026-11-09", "2026-11-15", "what did we say ?"),
        ("hva sa vi forrige uke", "2026-11-09", "2026-11-15", "hva sa vi"),
        ("yesterday", "2026-11-20", "2026-11-20", ""),
        ("i går", "2026-11-20", "2026-11-20", ""),
        ("notes of the day before yesterday", "2026-11-19", "2026-11-19", "notes"),
        ("i forgårs", "2026-11-19", "2026-11-19", ""),
        ("in March", "2026-03-01", "2026-03-31", ""),
        ("hva skjedde i mars", "2026-03-01", "2026-03-31", "hva skjedde"),
        ("i desember", "2025-12-01", "2025-12-31", ""),
        ("in December last year", "2025-12-01", "2025-12-31", ""),
        ("i mars i fjor", "2025-03-01", "2025-03-31", ""),
        ("mars 2024", "2024-03-01", "2024-03-31", ""),
        ("since Monday", "2026-11-16", None, ""),
        ("siden mandag", "2026-11-16", None, ""),
        ("siden i går", "2026-11-20", None, ""),
        ("since 2024", "2024-01-01", None, ""),
        ("på fredag", "2026-11-20", "2026-11-20", ""),
        ("on Saturday", "2026-11-21", "2026-11-21", ""),
        ("last Saturday", "2026-11-14", "2026-11-14", ""),
        ("for tre dager siden", "2026-11-18", "2026-11-18", ""),
        ("three days ago", "2026-11-18", "2026-11-18", ""),
        ("a week ago", "2026-11-09", "2026-11-15", ""),
        ("for to måneder siden", "2026-09-01", "2026-09-30", ""),
        ("the last 10 days", "2026-11-11", "2026-11-21", ""),
        ("de siste to ukene", "2026-11-07", "2026-11-21", ""),
        ("siste uka", "2026-11-14", "2026-11-21", ""),
        ("before March", None, "2026-02-28", ""),
        ("før 1. april 2025", None, "2025-03-31", ""),
        ("etter påske before 2025-04-01", None, "2025-03-31", "etter påske"),
        ("until Tuesday", None, "2026-11-17", ""),
        ("after yesterday", "2026-11-21", None, ""),
        ("between 1 March and 3 April", "2026-03-01", "2026-04-03", ""),
        ("mellom 1. mars og 3. april", "2026-03-01", "2026-04-03", ""),
        ("from Monday to Wednesday", "2026-11-16", "2026-11-18", ""),
        ("on 3.11.2026", "2026-11-03", "2026-11-03", ""),
        ("3/11/26", "2026-11-03", "2026-11-03", ""),
        ("11/23/2025", "2025-11-23", "2025-11-23", ""),
        ("den 3. november", "2026-11-03", "2026-11-03", ""),
        ("November 3rd, 2025", "2025-11-03", "2025-11-03", ""),
        ("2026-02-28", "2026-02-28", "2026-02-28", ""),
        ("29 February", "2024-02-29", "2024-02-29", ""),
        ("den 25.", "2026-10-25", "2026-10-25", ""),
        ("uke 45", "2026-11-02", "2026-11-08", ""),
        ("week 50", "2025-12-08", "2025-12-14", ""),
        ("Q3", "2026-07-01", "2026-09-30", ""),
        ("i fjor sommer", "2025-06-01", "2025-08-31", ""),
        ("last summer", "2026-06-01", "2026-08-31", ""),
        ("this month", "2026-11-01", "2026-11-30", ""),
        ("i år", "2026-01-01", "2026-12-31", ""),
        ("i det siste", "2026-11-07", "2026-11-21", ""),
        ("denne helga", "2026-11-21", "2026-11-22", ""),
    ],
)
def test_periods_in_two_languages(
    text: str, since: str | None, until: str | None, rest: str
) -> None:
    period, left = find(text, NOW)
    assert period is not None
    assert (period.since or "")[:10] == (since or "")
    assert (period.until or "")[:10] == (until or "")
    assert left == rest


@pytest.mark.parametrize(
    "text",
    [
        "may I ask what you said",
        "version 1.2 of the plan",
        "the mars rover",
        "45.13. is no date",
        "what is 2024 times 2",
        "we march on",
        "31.02.2026",
        "",
    ],
)
def test_what_is_no_period(text: str) -> None:
    assert find(text, NOW) == (None, text)


def test_days_are_those_of_the_users_own_zone() -> None:
    east = NOW.astimezone(timezone(timedelta(hours=9)))
    period, _ = find("today", east)
    assert period is not None
    assert period.since == "2026-11-20T15:00:00.000000+00:00"
    assert period.until == "2026-11-21T14:59:59.999999+00:00"


def test_ends_of_a_period_as_options() -> None:
    assert bound("yesterday", NOW)[:19] == "2026-11-20T00:00:00"
    assert bound("i går", NOW, end=True)[:19] == "2026-11-20T23:59:59"
    assert bound("7d", NOW) == "2026-11-14T09:30:00.000000+00:00"
    assert bound("2026-03-01T12:00:00+02:00", NOW)[:19] == "2026-03-01T10:00:00"
    assert bound("mars", NOW)[:10] == "2026-03-01"
    with pytest.raises(UsageError, match="no time that is understood"):
        bound("once upon a time", NOW)


KNOWN = Vocabulary(
    kinds={"message": 9, "decision": 2, "sensor": 1},
    roles={"user": 4, "assistant": 4, "Kari": 1},
    agents={"trisha": 2},
    tags={"budget": 3},
    entities={"ola": 2, "acme corp": 1, "acme": 1},
    categories={"insight": 1},
)


@pytest.mark.parametrize(
    ("question", "parts"),
    [
        ("what did we decide about the budget?", [("kind", "decision")]),
        ("hva bestemte vi om budsjettet", [("kind", "decision")]),
        ("what did Kari say about the cabin", [("person", "said by Kari")]),
        ("hva sa jeg om hytta", [("person", "said by you")]),
        ("what did you tell me", [("person", "said by the model")]),
        ("hva har du foreslått", [("person", "said by the model")]),
        ("what did Trisha recommend", [("person", "said by trisha")]),
        ("alt fra Kari", [("person", "said by Kari")]),
        ("what do we know of Acme Corp", [("person", "about acme corp")]),
        ("hvilke innsikter har vi", [("kind", "insight")]),
        ("hva målte vi", [("kind", "sensor")]),
        ("everything #budget", [("tag", "#budget")]),
        ("alt merket budget i går", [("time", "2026-11-20"), ("tag", "#budget")]),
        ("the cabin in the mountains", []),
    ],
)
def test_people_kinds_and_tags(question: str, parts: list[tuple[str, str]]) -> None:
    asked = understand(question, KNOWN, NOW)
    assert [(part.name, part.meaning) for part in asked.parts] == parts
    assert Asked.from_json(asked.to_json()) == asked


def test_what_the_rules_cannot_read_is_left_to_a_model() -> None:
    assert understand("what did he say before the party", KNOWN, NOW).unclear == ("time", "person")
    assert understand("what did Kari say yesterday", KNOWN, NOW).unclear == ()


def test_a_kind_that_no_memory_has_is_searched_for_and_told() -> None:
    asked = understand("what did we decide?", Vocabulary(), NOW)
    assert asked.parts == ()
    assert "'decide' is searched for" in asked.notes[0]


def _fill(memory: MemoryService) -> None:
    """A meeting last week, one yesterday, and what is hidden or somebody else's."""
    rows = [
        ("We decided that the budget is 300", "decision", None, 8, {"tags": ["budget"]}),
        ("The budget of the cabin is unknown", "fact", None, 1, {"entities": ["ola"]}),
        ("Ola wants a larger budget", "message", "Ola", 1, {"entities": ["ola"]}),
        ("The secret budget", "decision", None, 8, {"quarantined": True}),
        ("The old budget", "decision", None, 8, {"valid_to": "2026-11-14T00:00:00+00:00"}),
    ]
    memory.add_many(
        [
            Draft(
                text,
                KARI,
                kind=kind,
                role=role,
                created_at=(NOW - timedelta(days=days)).isoformat(),
                metadata=metadata,
            )
            for text, kind, role, days, metadata in rows
        ]
        + [Draft("Somebody else's budget", Scope("ola"), created_at=NOW.isoformat())]
    )


def test_a_question_is_sifted_by_its_filters(memory: MemoryService) -> None:
    _fill(memory)
    known = memory.vocabulary(KARI)
    assert known.kinds == {"decision": 3, "fact": 1, "message": 1}
    assert (known.tags, known.entities, known.roles) == ({"budget": 1}, {"ola": 2}, {"Ola": 1})
    for question, expected in (
        ("what did we decide about the budget last week?", {"We decided that the budget is 300"}),
        ("hva sa Ola om budsjettet i går", {"Ola wants a larger budget"}),
        (
            "what about Ola yesterday?",
            {"The budget of the cabin is unknown", "Ola wants a larger budget"},
        ),
        ("everything #budget", {"We decided that the budget is 300"}),
    ):
        found = memory.sift(understand(question, known, NOW), KARI, 9)
        assert {hit.text for hit in found.recall.hits} == expected, question
        assert (found.memories, found.matching) == (3, len(expected))
        assert found.reason == ""


def test_where_nothing_is_searched_for_the_newest_come_first(memory: MemoryService) -> None:
    _fill(memory)
    asked = understand("what was it since i fjor?", memory.vocabulary(KARI), NOW)
    hits = memory.sift(asked, KARI, 9).recall.hits
    dates = [hit.record.created_at for hit in hits]
    assert dates == sorted(dates, reverse=True)
    assert [hit.ranks for hit in hits] == [{"newest": 1}, {"newest": 2}, {"newest": 3}]


def test_nothing_left_is_told_by_filter(memory: MemoryService) -> None:
    _fill(memory)
    known = memory.vocabulary(KARI)
    asked = understand("what did Ola decide in 2020", known, NOW)
    found = memory.sift(asked, KARI, 9)
    assert not found.recall.hits
    assert "No memory fits time (in 2020): this filter removed all 3." in found.reason
    both = understand("what did we decide yesterday", known, NOW)
    reason = memory.sift(both, KARI, 9).reason
    assert "no memory fits them all" in reason
    assert "Without time: 1 memory (--without time)." in reason
    assert "Without kind: 2 memories (--without kind)." in reason
    assert memory.sift(both.without(["kind"]), KARI, 9).matching == 2


def test_an_empty_memory_says_so(open_memory: Open) -> None:
    memory = open_memory()
    asked = understand("yesterday", memory.vocabulary(KARI), NOW)
    assert memory.sift(asked, KARI, 9).reason == "Nothing is remembered yet."


# --- forgetting ----------------------------------------------------------------------------


def test_a_period_is_forgotten_and_comes_back_as_it_was(memory: MemoryService) -> None:
    _fill(memory)
    before = {record.id: record for record in memory.list(KARI, limit=99)}
    asked = understand("last week", memory.vocabulary(KARI), NOW)
    chosen = memory.choose(asked, KARI, 20)
    assert chosen.kinds == {"decision": 3}  # what is hidden or has ended goes as well
    assert {record.id for record in chosen.examples} == set(chosen.ids)
    assert memory.forget_many(chosen.ids, KARI, reason="it was a mistake") == 3
    assert memory.forget_many(chosen.ids, KARI) == 0
    assert len(memory.list(KARI, limit=99)) == 2
    row = memory.history(chosen.ids[0])[-1]
    assert (row["event"], row["actor_id"]) == ("DELETE", "kari")
    assert row["reason"] == "forgotten: it was a mistake"
    graves = memory.forgotten(KARI, 9)
    assert {grave["id"] for grave in graves} == set(chosen.ids)
    assert {grave["actor"] for grave in graves} == {"kari"}
    back = memory.undo([], KARI)
    assert {record.id for record in back} == set(chosen.ids)
    assert {record.id: record for record in memory.list(KARI, limit=99)} == before
    assert memory.history(chosen.ids[0])[-1]["reason"] == "undone"
    assert memory.forgotten(KARI, 9) == []


def test_undo_takes_the_last_act_whole_and_ids_by_their_beginning(memory: MemoryService) -> None:
    records = memory.add_many([Draft(f"text {n}", KARI) for n in range(150)])
    memory.forget(records[0].id, KARI, reason="first")
    memory.forget_many([record.id for record in records[1:]], KARI)
    assert len(memory.undo([], KARI)) == 149
    assert [record.data for record in memory.undo([records[0].id[:9]], KARI)] == ["text 0"]
    with pytest.raises(StoreError, match="Nothing was forgotten"):
        memory.undo([], KARI)
    with pytest.raises(StoreError, match="can be brought back"):
        memory.undo(["95331a49"], KARI)


def test_nobody_forgets_or_brings_back_for_somebody_else(memory: MemoryService) -> None:
    record = memory.add("Kari's own", KARI)
    assert memory.forget_many([record.id], Scope("ola")) == 0
    memory.forget(record.id, KARI)
    assert memory.forgotten(Scope("ola"), 9) == []
    with pytest.raises(StoreError, match="can be brought back"):
        memory.undo([record.id], Scope("ola"))


def test_a_query_chooses_what_is_near_the_best(memory: MemoryService) -> None:
    _fill(memory)
    memory.add_many([Draft(f"nothing of the kind {n}", KARI) for n in range(8)])
    chosen = memory.choose(understand("the larger budget", Vocabulary(), NOW), KARI, 20)
    texts = {record.data for record in chosen.examples}
    assert "Ola wants a larger budget" in texts
    assert not any("nothing of the kind" in text for text in texts)
