"""Ranking anew: recency, importance and variety, off by default and the same in both stores."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from memory_parts import Open

from aiki_kernel.config import Ranking
from aiki_kernel.memory.finding import find
from aiki_kernel.memory.ranking import diverse, gain, likeness, redundancy
from aiki_kernel.memory.recall import Candidate
from aiki_kernel.memory.records import Draft, Recall, Scope
from aiki_kernel.memory.service import MemoryService

KARI = Scope("kari")
AT = datetime(2026, 11, 21, tzinfo=UTC)


def _days(days: float) -> str:
    return (AT - timedelta(days=days)).isoformat()


def test_the_gain_halves_with_each_half_life() -> None:
    recent = Ranking(recency=2.0, recency_half_life_days=10)
    at = AT.timestamp()
    for days, expected in ((0, 2.0), (10, 1.0), (20, 0.5), (-5, 2.0)):
        assert gain({"created_at": _days(days)}, recent, at) == pytest.approx(expected)
    assert gain({"created_at": "once"}, recent, at) == 0
    weighed = Ranking(importance=1.0, importance_half_life_days=100)
    for given, expected in ((1.0, 0.5), (None, 0.25), (7, 0.5), (True, 0.25), ("high", 0.25)):
        payload = {"created_at": _days(100), "importance": given}
        assert gain(payload, weighed, at) == pytest.approx(expected), given


def test_variety_passes_over_what_is_alike() -> None:
    vectors = np.array([[1, 0, 0], [1, 0.01, 0], [0.4, 1, 0], [0.4, 0, 1]], np.float32)
    pool = [Candidate(name, 4.0 - n, {}, {}) for n, name in enumerate("abcd")]
    assert [one.id for one in diverse(pool, vectors, 0.0)] == list("abcd")
    assert [one.id for one in diverse(pool, vectors, 0.6)][:2] == ["a", "c"]
    assert diverse(pool[:1], vectors[:1], 0.5) == pool[:1]
    assert likeness(vectors)[0, 1] > 0.99
    assert redundancy(vectors[:2]) == pytest.approx(1, abs=1e-3)
    assert redundancy(vectors[:1]) == 0


@pytest.fixture
def filled(memory: MemoryService) -> MemoryService:
    rows = [
        ("the budget is ten", 300, 0.1),
        ("the budget is ten now", 1, 0.1),
        ("our budget has no limit", 200, 0.9),
    ]
    memory.add_many(
        [
            Draft(text, KARI, created_at=_days(days), metadata={"importance": worth})
            for text, days, worth in rows
        ]
        + [Draft(f"something else {n}", KARI, created_at=_days(50)) for n in range(30)]
    )
    return memory


def _asked(memory: MemoryService, ranking: Ranking, limit: int = 3) -> Recall:
    view = memory.access.must(KARI, "recall")
    query = "the budget is ten"
    return find(memory, query, view, view.where, limit, ranking=ranking, at=AT.timestamp())


def test_each_of_them_changes_the_order_and_none_does_by_default(filled: MemoryService) -> None:
    def texts(ranking: Ranking, limit: int = 3) -> list[str]:
        return [hit.text for hit in _asked(filled, ranking, limit).hits]

    plain = texts(Ranking())
    assert plain == [hit.text for hit in filled.recall("the budget is ten", KARI, 3).hits]
    assert plain[0] == "the budget is ten"
    assert texts(Ranking(recency=10))[0] == "the budget is ten now"
    assert texts(Ranking(importance=10, importance_half_life_days=10_000))[0].startswith("our")
    assert "the budget is ten now" not in texts(Ranking(diversity=0.9), 2)


def test_what_gave_way_to_variety_is_told(filled: MemoryService) -> None:
    found = _asked(filled, Ranking(diversity=0.9), 2)
    assert [one.why for one in found.dropped] == ["redundant"]
    assert filled.get(found.dropped[0].id).data == "the budget is ten now"


def test_settings_turn_it_on(
    open_memory: Open, monkeypatch: pytest.MonkeyPatch, filled: MemoryService
) -> None:
    settings = filled.settings.model_copy(update={"ranking": Ranking(recency=10)})
    monkeypatch.setattr(filled, "settings", settings)
    newest = [hit.record.created_at for hit in filled.recall("the budget", KARI, 2).hits]
    assert newest == sorted(newest, reverse=True)
