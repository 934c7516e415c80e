"""The first answer of a kernel says what is wrong, on one line; nothing when all is well."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from notebook_driver import Notebook

from aiki_kernel.health.plan import Plan
from aiki_kernel.health.reading import Reading
from aiki_kernel.health.sampler import Sample
from aiki_kernel.health.status_file import document, line, write


def watched(home: Path, state: str, *, ago_s: float = 0.0) -> None:
    """What the health daemon wrote of ``home``, ``ago_s`` seconds ago."""
    import json

    reason = "Make room." if state != "ok" else "Fine."
    readings = (Reading(state, reason, probe="disk", title="Disk"),)
    readings += (Reading("ok", "Fine.", probe="spool", title="Spool"),)
    sample = Sample(time.time() - ago_s, time.monotonic() - ago_s, readings, 0.1)
    home.mkdir(parents=True, exist_ok=True)
    text = json.dumps(document(sample, Plan(home=str(home))))
    write(home / "system_health.json", text)


@pytest.mark.parametrize(
    ("state", "ago_s", "words"),
    [
        ("ok", 0.0, ""),
        ("down", 0.0, "Health: Disk down: Make room."),
        ("ok", 3600.0, "Health: nobody has looked for 60 min"),
    ],
)
def test_the_first_answer_carries_it_and_the_second_does_not(
    environment: dict[str, str], tmp_path: Path, state: str, ago_s: float, words: str
) -> None:
    home = tmp_path / "home"
    watched(home, state, ago_s=ago_s)
    kernel = Notebook(env={**environment, "AIKI_HOME": str(home)})
    try:
        first, second = kernel.run("hello?", cell="one"), kernel.run("again?", cell="two")
    finally:
        kernel.close()
    notes = [note for note in first.metadata["notes"] if note.startswith("Health:")]
    assert len(notes) == bool(words), notes
    if words:
        assert notes[0].startswith(words)
        assert "`aiki health`" in notes[0]
        card = first.of("update_display_data")[-1]["data"]["text/plain"]
        assert words in card
    assert not [note for note in second.metadata["notes"] if note.startswith("Health:")]


def test_who_is_never_watched_is_told_nothing(tmp_path: Path) -> None:
    assert line(tmp_path) == ""


def test_a_file_that_is_torn_or_of_tomorrow_is_told(tmp_path: Path) -> None:
    file = tmp_path / "system_health.json"
    file.write_text('{"schema_version": 1, "wall_', "utf-8")
    assert "cannot be read" in line(tmp_path)
    file.write_text('{"schema_version": 99, "wall_s": 1.0}', "utf-8")
    assert "newer version" in line(tmp_path)
    file.write_text("[]", "utf-8")
    assert "not what the health daemon writes" in line(tmp_path)


def test_several_faults_are_one_line_the_worst_first(tmp_path: Path) -> None:
    import json

    readings = (
        Reading("degraded", "Slow.", probe="load", title="Load"),
        Reading("down", "Gone.", probe="disk", title="Disk"),
    )
    sample = Sample(time.time(), time.monotonic(), readings, 0.1)
    write(tmp_path / "system_health.json", json.dumps(document(sample, Plan(home=str(tmp_path)))))
    assert line(tmp_path) == "Health: Disk down: Gone. (and 1 more) `aiki health` says more."


def test_a_clock_that_was_set_back_or_ahead_makes_nothing_stale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched(tmp_path, "ok")
    real = time.time
    for jump in (1e8, -1e8):
        monkeypatch.setattr(time, "time", lambda jump=jump: real() + jump)
        assert line(tmp_path) == ""
