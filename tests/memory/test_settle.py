"""The journal: what was acknowledged is there after a power cut that took the store's pages."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from memory_parts import WordBag

from aiki_kernel.config import Paths, Settings
from aiki_kernel.memory.records import Scope, Turn
from aiki_kernel.memory.service import MemoryService
from aiki_kernel.memory.wave_analysis import analyse
from aiki_kernel.memory.wave_vector import rows

KARI = Scope("kari")


def opened(settings: Settings, home: Path) -> MemoryService:
    return MemoryService(settings, Paths(home), embedder=WordBag())


def turn(n: int, **more: object) -> Turn:
    when = f"2026-01-01T00:00:00.{n:06d}+00:00"
    return Turn(f"t{n}", "kari", "s", f"question {n}", f"answer {n}", "m", when, **more)  # type: ignore[arg-type]


@pytest.fixture
def before_cut(settings: Settings, tmp_path: Path) -> tuple[Path, Path]:
    """A home with one settled turn, and a copy of its shards as the disk has them."""
    home, disk = tmp_path / "home", tmp_path / "disk"
    service = opened(settings, home)
    service.remember(turn(1))
    service.close()
    shutil.copytree(home / "memory" / "shards", disk)
    return home, disk


def cut_power(service: MemoryService, home: Path, disk: Path) -> None:
    """The journal is on disk; of the store only what was flushed when ``disk`` was copied."""
    journal = home / "journal"
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


def test_turns_and_changes_come_back(settings: Settings, before_cut: tuple[Path, Path]) -> None:
    home, disk = before_cut
    service = opened(settings, home)
    service.remember(turn(2))
    added = service.add("The budget is 300 kroner.", KARI)
    service.update(added.id, "The budget is 400 kroner.")
    old = next(r for r in service.list(KARI) if r.data == "question 1")
    service.forget(old.id)
    cut_power(service, home, disk)

    again = opened(settings, home)
    texts = {record.data for record in again.list(KARI, limit=100)}
    assert texts == {"answer 1", "question 2", "answer 2", "The budget is 400 kroner."}
    assert [row["event"] for row in again.history(added.id)] == ["ADD", "UPDATE"]
    assert again.recall("question 2", KARI, 1).hits[0].text == "question 2"
    again.close()


def test_a_replay_after_the_cut_changes_nothing(
    settings: Settings, before_cut: tuple[Path, Path]
) -> None:
    home, disk = before_cut
    service = opened(settings, home)
    ids = service.remember(turn(2, replaces="t1"))
    cut_power(service, home, disk)
    again = opened(settings, home)
    assert again.remember(turn(2, replaces="t1")) == ids
    assert {record.data for record in again.list(KARI)} == {"question 2", "answer 2"}
    again.close()


def test_the_journal_is_empty_once_the_store_has_it(settings: Settings, tmp_path: Path) -> None:
    service = opened(settings, tmp_path / "home")
    service.remember(turn(1))
    assert len(service.collection.log.pending()[1]) == 2
    service.collection._settler.now()
    assert service.collection.log.pending() == (0, {})
    service.close()


def test_a_capture_comes_back_with_its_second_vector(
    settings: Settings, before_cut: tuple[Path, Path]
) -> None:
    home, disk = before_cut
    service = opened(settings, home)
    pattern = analyse({"audio": (np.sin(np.arange(2000.0) / 3), 1000)})
    made = service.waves.capture(pattern, KARI, note="a hum")
    cut_power(service, home, disk)

    again = opened(settings, home)
    hit = again.waves.like(rows(pattern), KARI, 3).hits[0]
    assert (hit.id, hit.record.metadata["wave"]) == (made.id, made.metadata["wave"])
    again.close()
