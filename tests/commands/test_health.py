"""``aiki health``: exit status, one line of JSON, a stream of them, and who is told what."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from aiki_kernel import cli
from aiki_kernel.commands import registry
from aiki_kernel.commands.command import Context
from aiki_kernel.config import Paths, load
from aiki_kernel.daemon import lifecycle
from aiki_kernel.errors import UsageError
from aiki_kernel.health.probes.memory import queue_told
from aiki_kernel.models.breaker import BREAKER


@pytest.fixture
def home(aiki_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home whose model is there, on a machine that nothing else is wrong with."""
    (aiki_home / "models").mkdir()
    (aiki_home / "models" / "mine.gguf").write_bytes(b"GGUF")
    monkeypatch.setenv("AIKI_MODEL", "local/mine")
    monkeypatch.setenv("AIKI_MEMORY__EMBEDDER", "wordllama")
    monkeypatch.setenv("AIKI_HEALTH__SKIP", '["load", "cpu", "ram", "disk", "battery", "gpu"]')
    return aiki_home


def test_all_well_is_status_zero_and_one_line_of_json(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.call(["health", "--json"]) == 0
    printed = capsys.readouterr()
    assert printed.out.count("\n") == 1
    assert printed.err == ""
    data = json.loads(printed.out)
    assert (data["schema_version"], data["status"]) == (1, "ok")
    assert {probe["probe"] for probe in data["probes"]} >= {"memory_daemon", "spool", "cost"}
    assert not lifecycle.status(Paths.default()).running  # nothing is started to ask


def test_degraded_is_one_and_down_is_two(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "spool").mkdir()
    turn = home / "spool" / "1-x.json"
    turn.write_text("{}", "utf-8")
    day = 86_400
    for age, status in ((600, 1), (2 * day, 2)):
        at = turn.stat().st_ctime - age
        os.utime(turn, (at, at))
        assert cli.call(["health"]) == status
        assert "aiki daemon start" in " ".join(capsys.readouterr().out.split())


def test_follow_is_a_line_an_interval_and_nothing_else_on_stdout(home: Path) -> None:
    words = [sys.executable, "-m", "aiki_kernel.cli", "health", "--follow", "--interval", "0.2"]
    child = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stdout is not None
    lines = [json.loads(child.stdout.readline()) for _ in range(3)]
    child.send_signal(signal.SIGINT)
    rest, error = child.communicate(timeout=20)
    assert all(json.loads(line)["probes"] for line in rest.splitlines())
    assert [line["status"] for line in lines] == ["ok"] * 3
    assert lines[0]["monotonic_s"] < lines[1]["monotonic_s"] < lines[2]["monotonic_s"]
    assert error.strip() == "Stopped."


def test_words_that_do_not_go_together(home: Path) -> None:
    with pytest.raises(UsageError, match="only one"):
        registry.run(["health", "--follow", "--watch"], Context("cli"))
    with pytest.raises(UsageError, match="terminal"):
        registry.run(["health", "--follow"], Context("magic"))
    with pytest.raises(UsageError, match="terminal"):
        registry.run(["health", "--watch"], Context("cli"))


def test_watch_draws_the_table_on_a_terminal(home: Path) -> None:
    import pty
    import select
    import time

    main, side = pty.openpty()
    words = [sys.executable, "-m", "aiki_kernel.cli", "health", "--watch", "--interval", "0.2"]
    env = {**os.environ, "TERM": "xterm", "COLUMNS": "120", "LINES": "40"}
    child = subprocess.Popen(words, stdin=side, stdout=side, stderr=side, env=env)
    os.close(side)
    seen = b""
    deadline = time.monotonic() + 30
    while seen.count(b"Health: ok") < 2 and time.monotonic() < deadline:
        if select.select([main], [], [], 1.0)[0]:
            seen += os.read(main, 65536)
    child.send_signal(signal.SIGINT)
    child.wait(20)
    os.close(main)
    assert seen.count(b"Health: ok") >= 2
    assert b"Memory daemon" in seen


@pytest.mark.slow
def test_a_running_daemon_tells_of_its_store_and_queue(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AIKI_HEALTH__TIMEOUT_S", "20")
    lifecycle.start(load(), Paths.default())
    try:
        cli.call(["health"])
        text = " ".join(capsys.readouterr().out.split())  # a narrow column breaks lines
        assert "0 of 4 run; 0 of 8 wait; 0 served, 0 refused" in text, text
        assert "Up for" in text
    finally:
        lifecycle.stop(Paths.default(), drain_s=1.0)


def test_in_this_process_a_store_that_is_away_is_down(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIKI_DAEMON", "off")
    context = Context("magic", width=160)
    try:
        good = registry.run(["health"], context)
        assert good.status in (0, 1), good.text  # the store may be opening still
        assert "<table" in (good.html or "")
    finally:
        context.close()
    monkeypatch.setenv("AIKI_MEMORY__URL", "http://127.0.0.1:9")
    context = Context("cli", width=160)
    try:
        with pytest.raises(Exception, match="127"):
            context.aiki.memory.stats()
        away = registry.run(["health"], context)
        assert away.status == 2
        assert "127.0.0.1:9" in away.text
        assert "does not open" in away.text
    finally:
        context.close()


def test_an_endpoint_that_fails_is_a_row(home: Path) -> None:
    BREAKER.failed("test/smart", "is failing (500)", threshold=1, open_s=30.0)
    try:
        result = registry.run(["health"], Context("cli", width=200))
        (line,) = [line for line in result.text.splitlines() if "test/smart" in line]
        assert "open" in line
        assert "is failing (500)" in line
        assert result.status == 1
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
    assert queue_told(queue) == (
        "4 of 4 run; 3 of 8 wait (aaaa 2, unnamed 1); the oldest for 1.2 s; "
        "curation: 0 run, 1 wait; 12 served, 2 refused; curation made room 1 times"
    )


def test_chat_begins_with_what_is_wrong_on_stderr(home: Path) -> None:
    from fault_server import FaultServer

    (home / "system_health.json").write_text('{"schema_version": 1', "utf-8")
    with FaultServer() as server:
        environment = {**os.environ, **server.environment("ok", "test"), "AIKI_DAEMON": "off"}
        done = subprocess.run(
            [sys.executable, "-m", "aiki_kernel.cli", "chat", "hello?"],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    assert "Health: " in done.stderr
    assert "Health" not in done.stdout
