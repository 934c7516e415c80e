"""Issues become memories on change only; what cannot be told waits; a flapping probe is damped."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from aiki_kernel.config import Paths, load
from aiki_kernel.daemon import lifecycle
from aiki_kernel.health.daemon import Daemon
from aiki_kernel.health.issues import Issues, teller
from aiki_kernel.health.plan import Plan
from aiki_kernel.health.reading import Reading
from aiki_kernel.health.sampler import Sample


class Days:
    """Samples of one probe, a minute apart."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.issues = Issues(path)
        self.at = 1_800_000_000.0

    def see(self, *states: str, minutes: float = 1.0) -> list[str]:
        """What there was to tell of these states, one sample each."""
        told = []
        for state in states:
            self.at += 60 * minutes
            reading = Reading(state, f"It is {state}.", probe="disk", title="Disk")
            events = self.issues.update(Sample(self.at, self.at, (reading,), 0.1))
            told += [event["metadata"]["event"] for event in events]
        return told

    def again(self) -> None:
        """The daemon is killed and begins anew."""
        self.issues = Issues(self.path)


@pytest.fixture
def days(tmp_path: Path) -> Days:
    return Days(tmp_path / "health" / "issues.json")


def test_once_when_it_breaks_and_once_when_it_is_well(days: Days) -> None:
    assert days.see("ok", "ok") == []
    assert days.see("degraded", "down", "down", "unknown", "down") == ["broke"]
    assert days.see("ok", "ok", "ok") == ["recovered"]
    broke, ended, over = days.issues.waiting
    assert ended["id"] == broke["id"]  # its memory is replaced by one with an end
    assert (ended["text"], "valid_to" in broke["metadata"]) == (broke["text"], False)
    assert ended["metadata"]["valid_to"].endswith("+00:00")
    assert "What is wrong: It is degraded." in broke["text"]
    assert broke["metadata"]["dedup_key"] == over["metadata"]["dedup_key"] == "health:disk"
    assert over["metadata"]["duration_s"] == 6 * 60
    assert "was down from" in over["text"]  # the worst that it was
    assert "What was wrong: It is down." in over["text"]


def test_it_is_not_told_again_after_a_restart_and_the_end_is(days: Days) -> None:
    assert days.see("down") == ["broke"]
    for _ in range(3):
        days.again()
        assert days.see("down") == []
    days.again()
    assert days.see("ok", "ok") == ["recovered"]
    told = [event["metadata"]["event"] for event in days.issues.waiting]
    assert told == ["broke", "broke", "recovered"]


def test_what_cannot_be_told_is_neither_broken_nor_well(days: Days) -> None:
    assert days.see("unknown", "unknown") == []
    assert days.see("down", "ok", "unknown", "ok") == ["broke", "recovered"]


def test_a_flapping_probe_is_damped(days: Days) -> None:
    told = days.see(*["down", "ok"] * 30)
    assert told == ["broke"]
    told = days.see(*["down", "ok", "ok", "ok"] * 60)
    assert len(told) <= 3, told  # four hours of flapping
    told = days.see(*["ok"] * 120)
    assert told == ["recovered"]
    text = days.issues.waiting[-1]["text"]
    assert "on and off" in text
    assert days.see("down") == ["broke"]  # an hour later it is a new one


def test_what_is_not_watched_any_more_is_nobodys_issue(days: Days) -> None:
    days.see("down")
    told = [
        event["metadata"]["event"]
        for step in (60, 120)
        for event in days.issues.update(Sample(days.at + step, days.at + step, (), 0.1))
    ]
    assert told == ["recovered"]


def test_they_wait_until_they_are_taken_in_order_and_once(days: Days) -> None:
    days.see("down", "ok", "ok")
    assert days.issues.deliver(lambda event: False) == 0
    days.again()
    taken: list[str] = []

    def tell(event: dict[str, object]) -> bool:
        taken.append(str(event["id"]))
        return len(taken) != 2  # the second is refused at first

    assert days.issues.deliver(tell) == 1
    days.again()
    assert days.issues.deliver(tell) == 2
    assert len(set(taken)) == 2  # the beginning twice, as its end came with it
    assert taken[0] == taken[1] == taken[2]
    assert json.loads(days.path.read_text("utf-8"))["waiting"] == []


def test_a_damaged_file_begins_anew_and_says_so(days: Days) -> None:
    days.see("down")
    days.path.write_text("{", "utf-8")
    days.again()
    assert "begin anew" in days.issues.notes[0]
    assert days.see("down") == ["broke"]


@pytest.mark.slow
def test_the_memory_is_told_when_it_answers_and_the_loop_can_be_asked(
    plan: Plan, paths: Paths
) -> None:
    plan = plan._replace(
        skip=("load", "cpu", "ram", "disk", "battery", "gpu", "local_model"),
        timeout_s=10.0,
        spool_age_s=(1.0, 1e12),
    )
    daemon = Daemon(lambda: plan)
    paths.spool.mkdir()
    stuck = paths.spool / "bad"
    stuck.mkdir()
    (stuck / "x.json").write_text("not json", "utf-8")
    daemon.tick()
    daemon.tick()
    assert len(daemon._issues.waiting) == 1  # no memory daemon runs, and none is started
    assert not lifecycle.status(paths).running
    lifecycle.start(load(), paths)
    for _ in range(100):
        daemon.tick()
        if not daemon._issues.waiting:
            break
    (stuck / "x.json").unlink()
    for _ in range(3):
        daemon.tick()
    daemon.close()

    from aiki_kernel.aiki import Aiki

    aiki = Aiki(load())
    try:
        for text in ("The capital of Norway is Oslo.", "Kari likes waffles.", "The cat is grey."):
            aiki.memory.add(text)
        found = aiki.memory.list(kind="issue")
        assert len(found) == 2, [record.data for record in found]
        best = aiki.memory.search("what was wrong last night?", limit=4)
        assert best[0].record.kind == "issue"
        assert "could not be read" in best[0].text
        assert "is well again" in best[0].text
        # Its beginning has ended, too: it is not recalled as if it were so now.
        assert [hit.record.kind for hit in best].count("issue") == 1
    finally:
        aiki.close()
    assert teller(plan, print)({"text": "x"}) in (True, False)
