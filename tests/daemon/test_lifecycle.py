from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from daemon.turns import a_turn

from aiki_kernel.config import Paths, Settings
from aiki_kernel.daemon import client, lifecycle
from aiki_kernel.daemon.connect import connect
from aiki_kernel.daemon.lock import Lock
from aiki_kernel.errors import DaemonError
from aiki_kernel.memory.records import Scope, Turn
from aiki_kernel.version import __version__

KARI = Scope("kari")

CLIENT = """
import asyncio, json, sys
from aiki_kernel.config import Paths, load
from aiki_kernel.daemon.connect import connect
from aiki_kernel.memory.records import Turn
async def main():
    connection = connect(load(), Paths.default())
    stored = await connection.memory.remember(Turn(**json.loads(sys.argv[1])))
    health = await connection.health()
    print(json.dumps({"pid": health["pid"], "ids": stored.ids, "spooled": stored.spooled}))
    await connection.aclose()
asyncio.run(main())
"""

OTHER_VERSION = """
import sys
import aiki_kernel.version
aiki_kernel.version.__version__ = sys.argv[1]
import aiki_kernel.daemon.engine as engine
engine.API = int(sys.argv[2])
from aiki_kernel.config import Paths, load
from aiki_kernel.daemon.lifecycle import run
run(load(), Paths.default())
"""


@contextlib.contextmanager
def daemon_of_version(
    paths: Paths, version: str, api: int = 1
) -> Iterator[subprocess.Popen[bytes]]:
    words = [sys.executable, "-c", OTHER_VERSION, version, str(api)]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not (found := lifecycle.probe(paths)) or found["version"] != version:
            assert process.poll() is None
        yield process
    finally:
        process.kill()
        process.wait()


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "Z" not in Path(f"/proc/{pid}/stat").read_text().rsplit(")")[-1].split()[0]


async def texts(settings: Settings, paths: Paths) -> list[str]:
    connection = connect(settings, paths)
    try:
        return sorted(r.data for r in await connection.admin.list(KARI, limit=1000))
    finally:
        await connection.aclose()


def test_start_status_stop(settings: Settings, paths: Paths) -> None:
    assert not lifecycle.status(paths).running
    assert not lifecycle.stop(paths).stopped
    first = lifecycle.start(settings, paths)
    assert first.started
    assert first.status.version == __version__
    again = lifecycle.start(settings, paths)
    assert not again.started
    assert again.status.pid == first.status.pid
    status = lifecycle.status(paths)
    assert status.running
    assert status.health["store"]["kind"] == "embedded"
    mode = paths.socket.stat().st_mode
    assert mode & 0o777 == 0o600
    assert paths.socket.parent.stat().st_mode & 0o777 == 0o700
    stopped = lifecycle.stop(paths)
    assert stopped.stopped
    assert not stopped.killed
    assert stopped.pid == first.status.pid
    assert not paths.socket.exists()
    assert not lifecycle.status(paths).running


@pytest.mark.slow
def test_eight_clients_racing_get_one_daemon(settings: Settings, paths: Paths) -> None:
    turns = [a_turn(question=f"race {number}", answer="") for number in range(8)]
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", CLIENT, json.dumps(turn.to_json())], stdout=subprocess.PIPE
        )
        for turn in turns
    ]
    answers = [json.loads(racer.communicate(timeout=100)[0]) for racer in racers]
    assert len({answer["pid"] for answer in answers}) == 1
    assert not any(answer["spooled"] for answer in answers)
    assert lifecycle.log_file(paths).read_text().count("serves") == 1
    found = asyncio.run(texts(settings, paths))
    assert found == sorted(turn.question for turn in turns)


def test_the_daemon_is_detached(settings: Settings, paths: Paths) -> None:
    pid = lifecycle.start(settings, paths).status.pid
    assert pid
    assert os.getsid(pid) == pid
    assert Path(f"/proc/{pid}/fd/0").readlink() == Path("/dev/null")
    for number in (1, 2):
        assert Path(f"/proc/{pid}/fd/{number}").readlink() == lifecycle.log_file(paths)
    assert Path(f"/proc/{pid}/cwd").readlink() == Path("/")
    assert os.getpriority(os.PRIO_PROCESS, pid) > os.getpriority(os.PRIO_PROCESS, 0)
    assert lifecycle.log_file(paths).stat().st_mode & 0o777 == 0o600


def test_a_stale_socket_and_a_stale_lock_are_recovered(settings: Settings, paths: Paths) -> None:
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(paths.socket))
    paths.lock.write_text('{"pid": 999999}')
    assert paths.socket.exists()
    assert lifecycle.start(settings, paths).started


def test_a_lock_file_that_was_removed_locks_nobody_out(paths: Paths) -> None:
    first = Lock.take(paths.lock)
    assert first is not None
    assert Lock.take(paths.lock) is None
    first.close()
    second = Lock.take(paths.lock)
    assert second is not None
    second.close()


async def test_a_killed_daemon_is_started_again_by_the_same_client(
    settings: Settings, paths: Paths
) -> None:
    connection = connect(settings, paths)
    first = (await connection.health())["pid"]
    assert not (await connection.memory.remember(a_turn())).spooled
    os.kill(first, signal.SIGKILL)
    stored = await connection.memory.remember(a_turn(question="And my cat?", answer="Pus."))
    assert not stored.spooled
    assert (await connection.health())["pid"] != first
    recall = await connection.memory.recall("cat", scope=KARI, limit=4)
    assert {hit.text for hit in recall.hits} >= {"Pus.", "Balto."}
    await connection.aclose()


def test_a_home_of_two_hundred_characters(
    settings: Settings, paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = paths.home / ("a" * 100) / ("b" * 100)
    monkeypatch.setenv("AIKI_HOME", str(home))
    deep = Paths.default()
    assert len(str(deep.home)) > 200
    try:
        assert lifecycle.start(settings, deep).started
        assert asyncio.run(texts(settings, deep)) == []
    finally:
        lifecycle.stop(deep)


def test_a_start_that_fails_says_why_in_one_line(
    settings: Settings, paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AIKI_DAEMON_TOKEN", raising=False)
    server = settings.server.model_copy(update={"tcp_port": 65000})
    with pytest.raises(DaemonError, match="needs a token") as caught:
        lifecycle.start(settings.model_copy(update={"server": server}), paths)
    assert "\n" not in str(caught.value)
    # The failure leaves nothing behind that is in the way of the next start.
    assert lifecycle.start(settings, paths).started


async def test_a_client_says_in_a_note_that_the_daemon_cannot_start(
    settings: Settings, paths: Paths
) -> None:
    paths.log.write_text("a file where a folder should be")
    connection = connect(settings, paths)
    recall = await connection.memory.recall("dog", scope=KARI, limit=4)
    assert recall.hits == ()
    assert "cannot be written" in recall.note
    turn = a_turn()
    stored = await connection.memory.remember(turn)
    assert stored.spooled
    assert "spool" in stored.note
    await connection.aclose()
    paths.log.unlink()
    # A new client: the first one does not try again at once.
    later = connect(settings, paths)
    await later.admin.replay()
    assert len(await later.admin.list(KARI)) == 2
    await later.aclose()


def test_a_second_daemon_in_the_foreground_is_refused(settings: Settings, paths: Paths) -> None:
    lifecycle.start(settings, paths)
    with pytest.raises(DaemonError, match="runs already"):
        lifecycle.run(settings, paths)


async def test_sigterm_loses_nothing_that_was_acknowledged(
    settings: Settings, paths: Paths
) -> None:
    connection = connect(settings, paths)
    pid = (await connection.health())["pid"]
    turns = [a_turn(question=f"question {number}", answer="") for number in range(40)]

    async def remember(turn: Turn) -> bool:
        return (await connection.memory.remember(turn)).spooled

    running = [asyncio.create_task(remember(turn)) for turn in turns]
    await running[3]
    os.kill(pid, signal.SIGTERM)
    await asyncio.gather(*running)
    await connection.admin.replay()
    assert await texts(settings, paths) == sorted(turn.question for turn in turns)
    await connection.aclose()


async def test_an_older_daemon_is_replaced_without_losing_a_turn(
    settings: Settings, paths: Paths
) -> None:
    with daemon_of_version(paths, "0.0.9") as old:
        older = connect(settings, paths)
        # The old daemon is busy with turns when the newer client comes.
        turns = [a_turn(question=f"question {number}", answer="") for number in range(20)]
        door = older.door
        assert isinstance(door, client.DaemonDoor)
        door._ready = True  # a client of the old version: it does not ask for another daemon
        running = [asyncio.create_task(older.memory.remember(turn)) for turn in turns]
        await running[0]
        newer = connect(settings, paths)
        health = await newer.health()
        assert health["version"] == __version__
        assert health["pid"] != old.pid
        assert old.wait(20) == 0
        await asyncio.gather(*running)
        await newer.admin.replay()
        assert await texts(settings, paths) == sorted(turn.question for turn in turns)
        await older.aclose()
        await newer.aclose()


async def test_an_older_client_uses_a_newer_daemon(settings: Settings, paths: Paths) -> None:
    with daemon_of_version(paths, "99.0.0") as newer:
        connection = connect(settings, paths)
        assert (await connection.health())["pid"] == newer.pid
        assert not (await connection.memory.remember(a_turn())).spooled
        assert newer.poll() is None
        await connection.aclose()


async def test_a_newer_daemon_of_another_interface_is_left_alone(
    settings: Settings, paths: Paths
) -> None:
    with daemon_of_version(paths, "99.0.0", api=2) as newer:
        connection = connect(settings, paths)
        with pytest.raises(DaemonError, match="restart this kernel"):
            await connection.health()
        stored = await connection.memory.remember(a_turn())
        assert stored.spooled
        assert newer.poll() is None
        await connection.aclose()


async def test_a_frozen_daemon_costs_a_bounded_time_and_no_turn(
    settings: Settings, paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "RECALL_S", 0.5)
    monkeypatch.setattr(client, "REMEMBER_S", 0.5)
    monkeypatch.setattr(lifecycle, "KILL_AFTER_S", 0.5)
    connection = connect(settings, paths)
    pid = (await connection.health())["pid"]
    os.kill(pid, signal.SIGSTOP)
    assert "within" in (await connection.memory.recall("dog", scope=KARI, limit=4)).note
    turn = a_turn()
    assert (await connection.memory.remember(turn)).spooled
    stopped = await asyncio.to_thread(lifecycle.stop, paths, drain_s=0.1)
    assert stopped.killed
    assert not is_alive(pid)
    await connection.admin.replay()
    assert len(await texts(settings, paths)) == 2
    await connection.aclose()


def test_an_idle_daemon_leaves_when_it_is_told_to(settings: Settings, paths: Paths) -> None:
    server = settings.server.model_copy(update={"idle_exit_s": 0.2})
    pid = lifecycle.start(settings.model_copy(update={"server": server}), paths).status.pid
    assert pid
    while is_alive(pid):
        os.sched_yield()
    assert not paths.socket.exists()


def test_the_log_is_bounded(tmp_path: Path) -> None:
    script = f"""
import logging, os
from pathlib import Path
from aiki_kernel.daemon import log
log.MAX_BYTES = 20_000
path = Path({str(tmp_path / "log" / "daemon.log")!r})
log.to_file(path)
for number in range(2000):
    logging.getLogger("aiki").warning("line %d of the log", number)
    os.write(2, b"native line\\n")
    log.keep_small()
os.write(1, b"the end")
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
    files = sorted((tmp_path / "log").iterdir())
    assert [file.name for file in files] == ["daemon.log", "daemon.log.1", "daemon.log.2"]
    assert all(file.stat().st_size < 25_000 for file in files)
    assert files[0].read_text().endswith("the end")
