"""``aiki health`` over a real daemon, over none, and in this process."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from aiki_kernel import cli
from aiki_kernel.commands import registry
from aiki_kernel.commands.command import Context
from aiki_kernel.commands.health import _queue
from aiki_kernel.config import Paths, load
from aiki_kernel.daemon import lifecycle
from aiki_kernel.models.breaker import BREAKER


def test_without_a_daemon_it_starts_none_and_says_so(
    aiki_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.call(["health", "--json"]) == 3
    data = json.loads(capsys.readouterr().out)
    assert data["status"] == "stopped"
    assert not lifecycle.status(Paths.default()).running


@pytest.mark.slow
def test_a_running_daemon_tells_of_its_store_and_queue(
    aiki_home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AIKI_MEMORY__EMBEDDER", "wordllama")
    lifecycle.start(load(), Paths.default())
    try:
        assert cli.call(["health", "--json"]) == 0
        data = json.loads(capsys.readouterr().out)
        assert data["queue"]["sessions"] == {}
        assert data["queue"]["oldest_wait_s"] == 0.0
        assert cli.call(["health"]) == 0
        text = capsys.readouterr().out
        assert "0 of 4 run; 0 of 8 wait; 0 served, 0 refused" in text
    finally:
        lifecycle.stop(Paths.default(), drain_s=1.0)


def test_in_this_process_a_store_that_is_away_is_status_one(
    aiki_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIKI_DAEMON", "off")
    monkeypatch.setenv("AIKI_MEMORY__EMBEDDER", "wordllama")
    context = Context("cli", width=160)
    try:
        good = registry.run(["health"], context)
        assert good.status == 0, good.text
        assert (good.html or "").startswith("<p>Health: ")
    finally:
        context.close()
    monkeypatch.setenv("AIKI_MEMORY__URL", "http://127.0.0.1:9")
    context = Context("cli", width=160)
    try:
        with pytest.raises(Exception, match="127"):
            context.aiki.memory.stats()
        away = registry.run(["health"], context)
        assert away.status == 1
        assert "127.0.0.1:9" in away.text
    finally:
        context.close()


def test_an_endpoint_that_fails_is_a_row(aiki_home: Path) -> None:
    BREAKER.failed("test/smart", "is failing (500)", threshold=1, open_s=30.0)
    try:
        result = registry.run(["health"], Context("cli", width=160))
        (line,) = [line for line in result.text.splitlines() if "test/smart" in line]
        assert "open" in line
        assert "is failing (500)" in line
    finally:
        BREAKER.clear()


def test_a_busy_queue_names_who_waits_and_for_how_long() -> None:
    queue = {
        "running": 4,
        "parallel": 4,
        "waiting": 3,
        "limit": 8,
        "served": 12,
        "refused": 2,
        "preempted": 1,
        "by_priority": {"curation": {"running": 0, "waiting": 1}},
        "sessions": {"aaaa": 2, "unnamed": 1},
        "oldest_wait_s": 1.25,
    }
    name, state, told = _queue(queue)
    assert (name, state) == ("queue", "busy")
    assert told == (
        "4 of 4 run; 3 of 8 wait (aaaa 2, unnamed 1); the oldest for 1.2 s; "
        "curation: 0 run, 1 wait; 12 served, 2 refused; curation made room 1 times"
    )
    assert _queue({})[1] == "unknown"
