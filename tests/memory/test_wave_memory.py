"""Sensor memories in both stores: found by pattern and by text, and never left half behind."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from memory_parts import Open, WordBag

from aiki_kernel.config import Paths
from aiki_kernel.errors import StoreError, UsageError
from aiki_kernel.memory.records import Record, Scope, Turn
from aiki_kernel.memory.service import MemoryService
from aiki_kernel.memory.wave import WavePattern
from aiki_kernel.memory.wave_analysis import analyse
from aiki_kernel.memory.wave_vector import rows

KARI = Scope("kari")
RATE = 4000


def tone(frequency: float, rate: int = RATE, level: float = 1.0, seed: int = 0) -> WavePattern:
    t = np.arange(rate) / rate
    noise = np.random.default_rng(seed).normal(size=rate) * 0.1
    return analyse({"audio": (level * (np.sin(2 * np.pi * frequency * t) + noise), rate)})


def found(memory: MemoryService, pattern: WavePattern, limit: int = 5, **more: object) -> list[str]:
    recall = memory.waves.like(rows(pattern), KARI, limit, **more)  # type: ignore[arg-type]
    return [hit.record.metadata["note"] for hit in recall.hits]


def fill(memory: MemoryService) -> dict[str, Record]:
    """Twenty distractors and three that matter."""
    for k in range(20):
        memory.waves.capture(tone(80 * 1.18**k, seed=k), KARI, note=f"distractor {k}")
    memory.add("The kettle is on the stove.", KARI)
    bell = np.exp(-5 * np.arange(RATE) / RATE) * np.sin(2 * np.pi * 700 * np.arange(RATE) / RATE)
    spot = np.add.outer(np.arange(40.0), np.arange(30.0))
    return {
        "hum": memory.waves.capture(tone(50, level=3), KARI, note="the fridge hums"),
        "bell": memory.waves.capture(analyse({"audio": (bell, RATE)}), KARI, note="a bell"),
        "warm": memory.waves.capture(analyse({"thermal": spot}), KARI, note="warm corner"),
    }


def test_like_patterns_come_first_among_distractors(memory: MemoryService) -> None:
    fill(memory)
    # Another rate, another level, other noise.
    assert found(memory, tone(50.5, rate=11025, level=1e-3, seed=99))[0] == "the fridge hums"
    t = np.arange(16000) / 8000
    ring = analyse({"x": (9 * np.exp(-5.5 * t) * np.cos(2 * np.pi * 690 * t), 8000)})
    assert found(memory, ring)[0] == "a bell"
    corner = analyse({"x": np.add.outer(np.arange(90.0), np.arange(60.0))})
    assert found(memory, corner) == ["warm corner"]
    assert found(memory, tone(50), channels=["thermal"]) == []
    assert found(memory, tone(50), channels=["Audio"])[0] == "the fridge hums"
    assert found(memory, tone(50), limit=0) == []


def test_text_finds_them_and_both_together(memory: MemoryService) -> None:
    fill(memory)
    hit = memory.search("fridge hums", KARI, 3).hits[0]
    assert (hit.record.kind, hit.record.trust) == ("sensor", "sensor")
    assert hit.record.provenance["channels"] == ["audio"]
    assert hit.record.metadata["channels"] == ["audio"]
    both = memory.waves.like(rows(tone(50)), KARI, 5, query="a bell at 700 Hz")
    notes = [one.record.metadata.get("note") for one in both.hits]
    assert set(notes[:2]) == {"the fridge hums", "a bell"}


def test_a_capture_with_several_channels_is_found_by_any(memory: MemoryService) -> None:
    t = np.arange(2000) / 1000
    pattern = analyse(
        {
            "audio": (np.sin(2 * np.pi * 120 * t), 1000),
            "strain": (np.sin(2 * np.pi * 3 * t), 1000),
        }
    )
    memory.waves.capture(pattern, KARI, note="bridge")
    for k in range(5):
        memory.waves.capture(tone(400 + 200 * k), KARI, note=f"other {k}")
    assert found(memory, tone(120))[0] == "bridge"
    alone = memory.waves.like(rows(analyse({"x": (np.sin(2 * np.pi * 3 * t), 1000)})), KARI, 1)
    whole = memory.waves.like(rows(pattern), KARI, 1)
    assert alone.hits[0].score == pytest.approx(1, abs=0.01)
    assert whole.hits[0].score == pytest.approx(1, abs=0.01)


def test_before_anything_is_captured_nothing_is_like_it(memory: MemoryService) -> None:
    memory.add("a plain fact", KARI)
    assert found(memory, tone(50)) == []
    memory.waves.capture(tone(50), KARI, note="first")
    assert found(memory, tone(50)) == ["first"]
    assert [hit.text for hit in memory.search("plain fact", KARI, 1).hits] == ["a plain fact"]


def test_other_peoples_captures_are_not_seen(memory: MemoryService) -> None:
    memory.waves.capture(tone(50), Scope("ola"), note="his")
    assert found(memory, tone(50)) == []
    assert memory.waves.captures("2020-01-01", "2100-01-01", KARI) == []
    assert len(memory.waves.captures("2020-01-01", "2100-01-01", Scope("ola"))) == 1


def test_forgotten_with_everything(memory: MemoryService) -> None:
    made = fill(memory)
    memory.forget(made["hum"].id, KARI)
    assert "the fridge hums" not in found(memory, tone(50), limit=50)
    with pytest.raises(StoreError):
        memory.get(made["hum"].id)
    assert memory.history(made["hum"].id)[-1]["event"] == "DELETE"


def test_a_new_text_keeps_the_pattern(memory: MemoryService) -> None:
    made = fill(memory)
    memory.update(made["hum"].id, "It was the freezer.", KARI)
    recall = memory.waves.like(rows(tone(50)), KARI, 1)
    assert recall.hits[0].text == "It was the freezer."


def test_exported_and_imported_with_pattern_and_picture(
    memory: MemoryService, tmp_path: Path
) -> None:
    made = fill(memory)
    file = tmp_path / "all.jsonl"
    file.write_text("".join(json.dumps(one) + "\n" for one in memory.export(KARI)), "utf-8")
    for record in list(memory.list(KARI, limit=100)):
        memory.forget(record.id)
    assert found(memory, tone(50)) == []
    report = memory.import_(file, KARI)
    # What was forgotten stays out only of replayed turns; an import brings it back.
    assert (report.added, report.failed) == (24, ())
    assert found(memory, tone(50.2, rate=8000))[0] == "the fridge hums"
    back = memory.get(made["warm"].id)
    assert back.metadata["wave"] == made["warm"].metadata["wave"]
    assert back.created_at == made["warm"].created_at


def test_snapshot_and_restore_and_another_embedder(open_memory: Open, tmp_path: Path) -> None:
    memory = open_memory()
    fill(memory)
    file = memory.snapshot(tmp_path / "kept.tar.gz")
    memory.waves.capture(tone(1000), KARI, note="later")
    memory.restore(file)
    assert found(memory, tone(50))[0] == "the fridge hums"
    assert "later" not in found(memory, tone(1000), limit=50)
    memory.close()
    other = open_memory(WordBag("other", 96))
    other.reembed()
    assert found(other, tone(50))[0] == "the fridge hums"
    other.waves.capture(tone(999), KARI, note="after")
    assert found(other, tone(999))[0] == "after"


def test_reopened_it_is_all_there(open_memory: Open) -> None:
    memory = open_memory()
    fill(memory)
    memory.close()
    assert found(open_memory(), tone(50))[0] == "the fridge hums"


def test_a_false_wave_in_somebodys_metadata_harms_nothing(memory: MemoryService) -> None:
    for wave in ("hello", 7, {"version": 1, "channels": []}, {"version": 1, "channels": "x"}):
        memory.add("odd", KARI, metadata={"wave": wave})
    memory.waves.capture(tone(50), KARI, note="true")
    assert found(memory, tone(50)) == ["true"]
    assert memory.waves.patterns("2020-01-01", "2100-01-01", KARI).captures == 1


@pytest.mark.parametrize(
    "wave",
    [np.zeros((1, 224)), np.ones((1, 3)), np.ones((17, 224)), np.full((1, 224), np.nan)],
)
def test_a_search_with_no_wave_is_refused(memory: MemoryService, wave: np.ndarray) -> None:
    with pytest.raises(UsageError, match="wave to search with"):
        memory.waves.like(wave, KARI, 3)


def test_times_and_notes(memory: MemoryService) -> None:
    record = memory.waves.capture(tone(50), KARI, at="2026-03-01T10:00:00+01:00", note=" hum ")
    assert record.created_at.startswith("2026-03-01T09:00:00")
    assert record.metadata["note"] == "hum"
    assert record.data.startswith("hum. Audio: 1 second")
    norsk = memory.waves.capture(tone(51), KARI, language="no")
    assert "tone på 51" in norsk.data
    with pytest.raises(UsageError, match="is no time"):
        memory.waves.capture(tone(50), KARI, at="yesterday-ish")
    with pytest.raises(UsageError, match="at most 4000"):
        memory.waves.capture(tone(50), KARI, note="x" * 5000)


def test_a_collection_without_the_vector_gets_it_when_it_is_needed(
    open_memory: Open, kind: str, aiki_home: Path
) -> None:
    """One that mem0 or an older AIKI made: the vector appears with the first capture only."""
    memory = open_memory()
    memory.add("an old fact", KARI)
    turn = Turn("t1", "kari", "s1", "Question?", "Answer.", "m", "2026-01-01T00:00:00+00:00")
    memory.remember(turn)
    if kind == "server":
        client = memory.collection.store._client  # type: ignore[attr-defined]
        before = client.get_collection("aiki_memories").config.params.vectors
        assert not isinstance(before, dict)
    memory.waves.capture(tone(50), KARI, note="new")
    if kind == "server":
        after = client.get_collection("aiki_memories").config.params.vectors
        assert set(after) == {"", "wave"}
        # mem0 asks for the unnamed vector, without naming it.
        old = memory.collection.embedder.embed_query("an old fact").tolist()
        assert client.query_points("aiki_memories", query=old, limit=1).points[0].payload[
            "data"
        ] == ("an old fact")
    assert found(memory, tone(50)) == ["new"]
    assert Paths(aiki_home).memory.exists()
    assert {r.data for r in memory.list(KARI, limit=9)} >= {"an old fact", "Question?", "Answer."}


def test_a_chat_is_not_flooded_with_what_sensors_say(memory: MemoryService) -> None:
    for k in range(20):
        memory.waves.capture(tone(50 + k / 7, seed=k), KARI, note=f"hum of the fridge {k}")
    memory.add("Kari asked why the fridge makes a hum.", KARI)
    memory.add("The fridge is from 2009.", KARI)
    chat = memory.recall("the hum of the fridge", KARI, 8)
    kinds = [hit.record.kind for hit in chat.hits]
    assert kinds.count("sensor") == 2
    assert kinds.count("fact") == 2
    assert len(memory.search("the hum of the fridge", KARI, 20).hits) == 20
    asked = memory.recall("the hum of the fridge", KARI, 8, kinds=("sensor",))
    assert len(asked.hits) == 8
