"""Looking through the memory page by page: nothing twice, nothing left out, nothing of others."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from memory_parts import Open

from aiki_kernel.errors import RefusedError, StoreError
from aiki_kernel.memory import browsing, quarantine
from aiki_kernel.memory.access import Access, View
from aiki_kernel.memory.browsing import Wanted
from aiki_kernel.memory.records import Draft, Scope
from aiki_kernel.memory.service import MemoryService
from aiki_kernel.safety.permissions import Grant

KARI = Scope("kari")
DAY = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def full(memory: MemoryService) -> MemoryService:
    """120 memories: forty days of them, ten of one and the same moment, some by trisha."""
    drafts = []
    for n in range(120):
        at = DAY + timedelta(days=n // 3, minutes=n) if n >= 10 else DAY
        drafts.append(
            Draft(
                f"memory {n} about {'the budget' if n % 4 == 0 else 'a trip'}",
                Scope("kari", "trisha" if n % 10 == 3 else None),
                kind=("fact", "preference")[n % 2],
                metadata={"tags": ["money"]} if n % 4 == 0 else {},
                created_at=at.isoformat(),
                trust="import" if n % 5 == 0 else "user",
            )
        )
    memory.add_many(drafts)
    memory.add_many([Draft("ola's secret budget", Scope("ola"))])
    return memory


def walk(memory: MemoryService, wanted: Wanted, view: View | None = None) -> list[str]:
    """All pages of seven, one after the other."""
    found: list[str] = []
    after = ""
    while True:
        got = browsing.page(memory, view or View(KARI), wanted, after, 7)
        found += [one["text"] for one in got["rows"]]
        after = got["next"]
        if not after:
            return found
        assert len(got["rows"]) == 7


def test_pages_give_each_memory_once_newest_first(full: MemoryService) -> None:
    found = walk(full, Wanted())
    assert len(found) == len(set(found)) == 120
    assert found[0] == "memory 119 about a trip"
    assert browsing.page(full, View(KARI), Wanted(), "", 7)["total"] == 120
    with pytest.raises(StoreError, match="no place in the memory"):
        browsing.page(full, View(KARI), Wanted(), "what|ever", 7)


FILTERS = (
    (Wanted(kind="fact"), 60),
    (Wanted(tag="#Money"), 30),
    (Wanted(who="agent:trisha"), 12),
    (Wanted(who="agent:default"), 108),
    (Wanted(trust="import"), 24),
    (Wanted(kind="preference", trust="import"), 12),
    (Wanted(since="2026-03-02T00:00:00+00:00", until="2026-03-06T23:59:59+00:00"), 8),
    (Wanted(held=True), 0),
    (Wanted(held=False), 120),
)


def test_filters(full: MemoryService) -> None:
    for wanted, count in FILTERS:
        assert len(walk(full, wanted)) == count, wanted
        bars = browsing.timeline(full, View(KARI), wanted)["bars"]
        assert sum(bar["count"] for bar in bars) == count, wanted


def test_words_find_the_best_and_pages_go_on(full: MemoryService) -> None:
    found = walk(full, Wanted(query="budget", kind="fact"))
    assert len(found) == len(set(found)) >= 25
    assert all("budget" in text for text in found[:10])
    assert not any("ola" in text for text in found)


def test_a_timeline_counts_in_days_months_or_years(full: MemoryService) -> None:
    line = browsing.timeline(full, View(KARI), Wanted())
    assert (line["unit"], len(line["bars"])) == ("day", 40)
    assert line["bars"][0]["count"] == 10
    full.add("long ago", KARI, created_at="2024-07-01T10:00:00+00:00")
    line = browsing.timeline(full, View(KARI), Wanted())
    assert (line["unit"], len(line["bars"])) == ("month", 22)
    assert (line["bars"][0]["count"], line["bars"][1]["count"]) == (1, 0)
    full.add("before that", KARI, created_at="1999-07-01T10:00:00+00:00")
    line = browsing.timeline(full, View(KARI), Wanted())
    assert (line["unit"], len(line["bars"])) == ("year", 28)
    assert sum(bar["count"] for bar in line["bars"]) == 122
    bound = Wanted(since=line["bars"][-1]["since"], until=line["bars"][-1]["until"])
    assert browsing.timeline(full, View(KARI), bound)["unit"] == "day"


def test_tags_change_with_a_history_and_can_be_searched(full: MemoryService) -> None:
    record = full.add("the cabin costs 300", KARI, metadata={"tags": ["money"]})
    changed = browsing.tag(full, View(KARI), record, ["#Cabin", " two words ", "cabin", ""])
    assert changed.metadata["tags"] == ["cabin", "two-words"]
    assert walk(full, Wanted(tag="two-words")) == ["the cabin costs 300"]
    row = full.history(record.id)[-1]
    assert (row["event"], row["old_memory"], row["new_memory"]) == (
        "TAGS",
        "money",
        "cabin, two-words",
    )
    assert row["actor_id"] == "kari"
    assert browsing.tag(full, View(KARI), changed, []).metadata.get("tags") is None
    with pytest.raises(StoreError, match="at most 20 tags"):
        browsing.tag(full, View(KARI), changed, [str(n) for n in range(21)])


def test_what_is_there_to_filter_by(full: MemoryService) -> None:
    found = browsing.labels(full, View(KARI))
    assert found["kinds"] == [("fact", 60), ("preference", 60)]
    assert (found["tags"], found["agents"]) == ([("money", 30)], [("trisha", 12)])
    assert found["trusts"] == [("user", 96), ("import", 24)]
    assert (found["total"], found["held"]) == (120, 0)


def test_a_memory_opens_with_what_took_its_place(full: MemoryService) -> None:
    old, new = (full.add(text, KARI) for text in ("I live in Oslo", "I live in Bergen"))
    gone = full.add("I live in Bergen.", KARI)
    full.collection.annotate(
        {
            old.id: {"superseded_by": new.id, "valid_to": "2026-01-01T00:00:00+00:00"},
            new.id: {"supersedes": [old.id], "merged": [{"id": gone.id}]},
        }
    )
    full.forget(gone.id, KARI, reason="said before")
    opened = browsing.opened(full, View(KARI), full.get(old.id))
    assert opened["related"]["superseded_by"][0]["text"] == "I live in Bergen"
    assert opened["row"]["ended"]
    opened = browsing.opened(full, View(KARI), full.get(new.id))
    (merged,) = opened["related"]["merged"]
    assert (merged["text"], merged["there"]) == ("I live in Bergen.", False)
    (row,) = browsing.gone(full, View(KARI), "bergen", "", 5)["rows"]
    assert (row["id"], row["reason"], row["actor"]) == (gone.id, "forgotten: said before", "kari")


def test_what_is_in_quarantine_is_searched_by_its_words(full: MemoryService) -> None:
    record = full.add("Planted words of a stranger", KARI)
    quarantine.hold(full.collection, record, by="kari")
    assert walk(full, Wanted(held=True)) == ["Planted words of a stranger"]
    assert walk(full, Wanted(held=True, query="PLANTED stranger")) == [record.data]
    assert walk(full, Wanted(held=True, query="budget")) == []
    assert record.data not in walk(full, Wanted(query="planted words stranger"))


def test_a_persona_sees_and_counts_only_what_it_may(open_memory: Open) -> None:
    memory = open_memory()
    tools = frozenset({"memory.list", "memory.get"})
    grant = Grant("trisha", frozenset({"trisha", "default"}), frozenset({"trisha"}), tools)
    memory.access = Access(lambda name: grant)
    memory.add("shared", KARI)
    theirs = memory.add("a secret of the analyst", Scope("kari", "analyst"))
    held = memory.add("held back", KARI)
    quarantine.hold(memory.collection, held, by="kari")
    scope = Scope("kari", persona="trisha")
    view = memory.access.must(scope, "list")
    assert walk(memory, Wanted(), view) == ["shared"]
    assert walk(memory, Wanted(query="secret"), view) in ([], ["shared"])
    assert walk(memory, Wanted(held=True), view) == []
    assert browsing.page(memory, view, Wanted(), "", 5)["total"] == 1
    found = browsing.labels(memory, view)
    assert (found["agents"], found["total"], found["held"]) == ([], 1, 0)
    assert [bar["count"] for bar in browsing.timeline(memory, view, Wanted())["bars"]] == [1]
    shared = memory.list(KARI, kind="fact")[-1]
    memory.collection.annotate({shared.id: {"superseded_by": theirs.id}})
    told = browsing.opened(memory, view, memory.get(shared.id, scope))
    assert told["related"]["superseded_by"][0]["text"] == ""
    with pytest.raises(RefusedError, match="may not"):
        browsing.tag(memory, view, shared, ["mine"])
    memory.forget(shared.id, KARI)
    assert browsing.gone(memory, view, "", "", 5)["rows"] == []
