"""The health daemon as a real process: its files, its port, systemd's socket, its end."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fault_server import closed_port

from aiki_kernel.config import Paths
from aiki_kernel.health.status_file import line, read

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(paths: Paths) -> Iterator[Start]:
    """Starts health daemons of this home, and ends them."""
    children: list[subprocess.Popen[str]] = []

    def begin(interval: float = 0.2, **settings: object) -> subprocess.Popen[str]:
        environment = {**os.environ, "AIKI_HEALTH__INTERVAL_S": str(interval)}
        environment |= {name: str(value) for name, value in settings.items()}
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", "aiki_kernel.health"],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        children.append(child)
        return child

    yield begin
    for child in children:
        child.kill()
        child.communicate()


def seen(paths: Paths, passes: Callable[[dict[str, object]], bool] = lambda data: True) -> dict:  # type: ignore[type-arg]
    """``system_health.json`` as soon as it is there and passes; each read must be whole."""
    path = paths.home / "system_health.json"
    deadline = time.monotonic() + 30.0
    while time.monotonic() < deadline:
        if path.exists():
            data = json.loads(path.read_text("utf-8"))
            if passes(data):
                return data  # type: ignore[no-any-return]
        time.sleep(0.02)
    raise AssertionError("system_health.json never came to that")


def probe(data: dict, name: str) -> dict:  # type: ignore[type-arg]
    return next(one for one in data["probes"] if one["probe"] == name)  # type: ignore[no-any-return]


def test_killed_at_any_moment_it_leaves_a_whole_file(start: Start, paths: Paths) -> None:
    for delay in (0.0, 0.003, 0.011, 0.017):
        child = start(0.05)
        few = 1 if delay < 0.01 else 3

        def passes(data: dict, pid: int = child.pid, few: int = few) -> bool:  # type: ignore[type-arg]
            return bool(data["pid"] == pid and data["samples"] >= few)

        seen(paths, passes)
        time.sleep(delay)
        child.send_signal(signal.SIGKILL)
        child.wait()
        data = json.loads((paths.home / "system_health.json").read_text("utf-8"))
        assert (data["schema_version"], data["pid"]) == (1, child.pid)
    # It is told as stale when its time has passed, and the history is whole.
    time.sleep(max(0.0, data["stale_after_s"] - 0.5))
    deadline = time.monotonic() + 10
    while not line(paths.home) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert "the health daemon is gone" in line(paths.home) or "down" in line(paths.home)
    import sqlite3

    with sqlite3.connect(paths.home / "health" / "history.sqlite") as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert db.execute("SELECT count(*) FROM raw").fetchone()[0] > 0


def test_one_is_enough_and_it_leaves_in_order(start: Start, paths: Paths) -> None:
    child = start()
    seen(paths)
    second = start()
    _, error = second.communicate(timeout=30)
    assert second.returncode == 1
    assert "already" in error
    child.send_signal(signal.SIGTERM)
    _, error = child.communicate(timeout=10)
    assert child.returncode == 0
    assert error.splitlines()[-1] == "aiki-health: stopped"


def test_systemd_hears_ready_status_and_a_sign_of_life_after_each_sample(
    start: Start, paths: Paths, tmp_path: Path
) -> None:
    name = f"\0aiki-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(name)
        systemd.settimeout(30)
        child = start(0.2, NOTIFY_SOCKET="@" + name[1:], WATCHDOG_USEC=1_000_000)
        first = systemd.recv(4096).decode()
        assert "READY=1" in first.splitlines()
        assert "WATCHDOG=1" in first.splitlines()
        assert any(word.startswith("STATUS=") for word in first.splitlines())
        samples = seen(paths)["samples"]
        systemd.recv(4096)
        assert seen(paths)["samples"] >= samples
        child.send_signal(signal.SIGTERM)
        last = ""
        while "STOPPING=1" not in last:
            last = systemd.recv(4096).decode()


def test_a_loop_that_hangs_gives_no_sign_of_life(start: Start, paths: Paths) -> None:
    name = f"\0aiki-hang-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(name)
        systemd.settimeout(30)
        child = start(0.1, NOTIFY_SOCKET="@" + name[1:])
        systemd.recv(4096)
        os.kill(child.pid, signal.SIGSTOP)
        systemd.setblocking(False)
        try:
            while True:
                systemd.recv(4096)
        except BlockingIOError:
            pass
        time.sleep(0.5)
        with pytest.raises(BlockingIOError):
            systemd.recv(4096)
        os.kill(child.pid, signal.SIGCONT)


def test_metrics_and_health_over_http_and_the_textfile(
    start: Start, paths: Paths, tmp_path: Path
) -> None:
    port = closed_port()
    start(0.2, AIKI_HEALTH__HTTP_PORT=port, AIKI_HEALTH__TEXTFILE=tmp_path / "collector")
    seen(paths)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
        text = answer.read().decode()
    assert 'aiki_service_up{service="spool"} 1' in text
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=10) as answer:
            data = json.load(answer)
    except urllib.error.HTTPError as error:  # 503: something is down on this machine
        data = json.loads(error.read())
    assert data["stale"] is False
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/other", timeout=10)
    with socket.create_connection(("127.0.0.1", port), 10) as silent:  # holds the door for a while
        silent.sendall(b"GET /metrics")
        assert "aiki_health_samples_total" in (tmp_path / "collector" / "aiki.prom").read_text()


def test_new_settings_count_and_wrong_ones_are_told(start: Start, paths: Paths) -> None:
    start()
    first = seen(paths)
    assert first["interval_s"] == 0.2
    paths.toml.write_text("[budget]\nday_usd = 7.0\n", "utf-8")
    changed = seen(paths, lambda data: probe(data, "cost")["facts"]["day_usd"] == 7.0)  # type: ignore[arg-type]
    assert "of today's $7" in probe(changed, "cost")["reason"]
    paths.toml.write_text("[budget]\nday_usd = 'much'\n", "utf-8")
    wrong = seen(paths, lambda data: any(p["probe"] == "settings" for p in data["probes"]))  # type: ignore[attr-defined]
    assert "budget.day_usd" in probe(wrong, "settings")["reason"]
    assert probe(wrong, "cost")["facts"]["day_usd"] == 7.0
    paths.toml.write_text("", "utf-8")
    seen(paths, lambda data: not any(p["probe"] == "settings" for p in data["probes"]))  # type: ignore[attr-defined]


def test_wrong_settings_at_the_start_are_one_line(start: Start, paths: Paths) -> None:
    paths.toml.write_text("[health]\ninterval_s = -1\n", "utf-8")
    child = subprocess.run(
        [sys.executable, "-m", "aiki_kernel.cli", "health", "daemon"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert child.returncode == 1
    assert "health.interval_s" in child.stderr
    assert "Traceback" not in child.stderr


def test_the_command_becomes_the_small_process(start: Start, paths: Paths) -> None:
    words = [sys.executable, "-m", "aiki_kernel.cli", "health", "daemon", "--interval", "0.2"]
    child = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    try:
        data = seen(paths)
        assert data["pid"] == child.pid
        maps = Path(f"/proc/{child.pid}/maps").read_text("utf-8")
        assert not [name for name in ("numpy", "pydantic", "psutil") if name in maps]
    finally:
        child.send_signal(signal.SIGINT)
        child.communicate(timeout=10)
    assert child.returncode == 0


def test_what_may_not_be_imported_is_not(paths: Paths) -> None:
    forbidden = {"numpy", "pydantic", "starlette", "openai", "httpx2", "psutil", "asyncio"}
    forbidden |= {"dataclasses", "inspect", "http", "email", "logging", "ssl", "hashlib", "rich"}
    code = (
        "import sys, aiki_kernel.health.__main__\n"
        "from aiki_kernel.health.plan import Plan\n"
        "from aiki_kernel.health.probe import probes\n"
        "from aiki_kernel.health.sampler import Sampler\n"
        "plan = Plan(home='/nowhere')\n"
        "Sampler(plan, probes(plan)).sample()\n"
        "print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {name.partition(".")[0] for name in done.stdout.split()} & forbidden


def test_a_full_disk_stops_nothing_and_leaves_the_last_file(
    paths: Paths, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from aiki_kernel.commands.health_plan import resolve
    from aiki_kernel.config import load
    from aiki_kernel.health.daemon import Daemon

    daemon = Daemon(lambda: resolve(load(), paths))
    daemon.tick()
    before = (paths.home / "system_health.json").read_text("utf-8")
    real = os.write

    def full(handle: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    daemon.tick()
    daemon.tick()
    monkeypatch.setattr(os, "write", real)
    assert (paths.home / "system_health.json").read_text("utf-8") == before
    assert not list(paths.home.glob(".*.part"))
    daemon.tick()
    daemon.close()
    error = capsys.readouterr().err
    assert error.count("No space left on device") == error.count("status could not") == 1
    assert "status works again" in error
    assert read(paths.home / "system_health.json").data["samples"] == 4  # type: ignore[union-attr]


def test_a_clock_that_jumps_is_told_and_moves_no_sample(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    from aiki_kernel.commands.health_plan import resolve
    from aiki_kernel.config import load
    from aiki_kernel.health.daemon import Daemon
    from aiki_kernel.health.history import series
    from aiki_kernel.health.probe import probes
    from aiki_kernel.health.sampler import Sampler

    plan = resolve(load(), paths)._replace(issues=False)
    daemon = Daemon(lambda: plan)
    assert daemon.tick().reading("clock") is None  # nothing to compare with yet
    well = daemon.tick().reading("clock")
    assert well is not None
    assert well.state == "ok"
    real = time.time
    for jump, way in ((10 * 365 * 86_400.0, "ahead"), (-86_400.0, "back")):
        monkeypatch.setattr(time, "time", lambda jump=jump: real() + jump)
        told = daemon.tick().reading("clock")
        assert told is not None
        assert (told.state, way in told.reason) == ("degraded", True)
    monkeypatch.setattr(time, "time", real)
    daemon.tick()
    # `aiki health`, which only sees the file, is told of it, too.
    sampler = Sampler(plan, [p for p in probes(plan) if p.name == "clock"])
    later = sampler.sample().reading("clock")
    assert later is not None
    assert later.state == "degraded"
    daemon.close()
    points = series(plan.folder / "history.sqlite", "spool", real() - 60)
    assert len(points) >= 3


def test_samples_that_take_too_long_are_left_out_not_gathered(
    paths: Paths, capsys: pytest.CaptureFixture[str]
) -> None:
    from aiki_kernel.commands.health_plan import resolve
    from aiki_kernel.config import load
    from aiki_kernel.health.daemon import Daemon
    from aiki_kernel.health.sampler import Sample

    plan = resolve(load(), paths)._replace(interval_s=0.2, issues=False)
    times: list[float] = []

    class Slow(Daemon):
        def tick(self) -> Sample:
            times.append(time.monotonic())
            sample = super().tick()
            if len(times) == 2:
                time.sleep(0.75)
            if len(times) == 5:
                self.stopping.set()
            return sample

    daemon = Slow(lambda: plan)
    daemon.run()
    daemon.close()
    assert daemon.skipped >= 3
    assert "were left out" in capsys.readouterr().err
    # Every sample has its place, counted from the first: those left out are left out whole.
    assert times[-1] - times[0] >= (len(times) - 1 + daemon.skipped) * 0.2 - 0.1


@pytest.mark.slow
def test_the_bench_measures_a_real_daemon(aiki_home: Path) -> None:
    from aiki_kernel.commands.bench_health import measure

    data = measure(5.0, 0.5, lambda done, of: None)
    assert data["samples"] >= 3
    assert 5 < data["resident_peak_mb"] < 60
    assert data["cpu_per_sample_s"] < 1.0
