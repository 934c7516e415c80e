"""Everything that can go wrong, for real and at once: the health daemon sees it within one
interval, `aiki health` too, and the memory is told of each when it is there again."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from health_files import booked

from aiki_kernel.config import Paths, load
from aiki_kernel.daemon import lifecycle
from aiki_kernel.health.moment import Moment
from aiki_kernel.health.plan import Plan
from aiki_kernel.health.probes.machine import Disk

INTERVAL_S = 1.0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of four megabytes."""
    folder = tmp_path / "small"
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=4m", "none", str(folder)]
    if os.geteuid() or not shutil.which("mount") or subprocess.run(words, check=False).returncode:
        pytest.skip("a file system can be mounted by root alone")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_real_disk_that_fills_up(plan: Plan, small_disk: Path) -> None:
    moment = Moment(plan._replace(home=str(small_disk), disk_free=(2e6, 5e5)))
    assert Disk().measure(moment).state == "ok"
    (small_disk / "a").write_bytes(bytes(2_500_000))
    assert Disk().measure(moment).state == "degraded"
    (small_disk / "b").write_bytes(bytes(1_400_000))
    full = Disk().measure(moment)
    assert (full.state, "is full" in full.reason) == ("down", True)


class Provider(BaseHTTPRequestHandler):
    """Answers with the status that its server has."""

    def do_GET(self) -> None:
        self.send_response(self.server.status)  # type: ignore[attr-defined]
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Quiet."""


class Home:
    """A home with both daemons and a provider, all well."""

    def __init__(self, paths: Paths, provider: ThreadingHTTPServer) -> None:
        self.paths, self.provider = paths, provider
        self.model = paths.models / "mine.gguf"
        paths.models.mkdir()
        self.model.write_bytes(b"GGUF")
        self.environment = {
            "AIKI_MODEL": "local/mine",
            "AIKI_BUDGET__DAY_USD": "1.0",
            "AIKI_HEALTH__INTERVAL_S": str(INTERVAL_S),
            "AIKI_HEALTH__TIMEOUT_S": "5.0",
            "AIKI_HEALTH__SKIP": '["load", "cpu", "ram", "disk", "battery", "gpu", "systemd"]',
            "AIKI_HEALTH__SPOOL_AGE_S": "[300.0, 1e9]",
            "AIKI_ENDPOINTS": json.dumps(
                {
                    "house": {
                        "base_url": f"http://127.0.0.1:{provider.server_port}/v1",
                        "api_key_env": "HOUSE_API_KEY",
                    }
                }
            ),
            "HOUSE_API_KEY": "k",
        }

    def states(self) -> dict[str, dict[str, Any]]:
        data = json.loads((self.paths.home / "system_health.json").read_text("utf-8"))
        return {one["probe"]: one for one in data["probes"]}

    def until(self, passes: Callable[[dict[str, dict[str, Any]]], bool], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if (self.paths.home / "system_health.json").exists() and passes(self.states()):
                return
            time.sleep(0.05)
        raise AssertionError({k: (v["state"], v["reason"]) for k, v in self.states().items()})


@pytest.fixture
def home(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    provider = ThreadingHTTPServer(("127.0.0.1", 0), Provider)
    provider.status = 200  # type: ignore[attr-defined]
    threading.Thread(target=provider.serve_forever, daemon=True).start()
    made = Home(paths, provider)
    for name, value in made.environment.items():
        monkeypatch.setenv(name, value)
    health = subprocess.Popen([sys.executable, "-P", "-m", "aiki_kernel.health"])
    yield made
    health.terminate()
    health.wait(20)
    provider.shutdown()
    provider.server_close()


@pytest.mark.slow
def test_each_fault_is_seen_told_and_remembered(home: Home, paths: Paths) -> None:
    from aiki_kernel.aiki import Aiki

    pid = lifecycle.start(load(), paths).status.pid
    assert pid is not None
    home.until(lambda s: all(one["state"] == "ok" for one in s.values()), 60)

    os.kill(pid, signal.SIGKILL)
    home.provider.status = 401  # type: ignore[attr-defined]
    home.model.unlink()
    paths.spool.mkdir(exist_ok=True)
    turn = paths.spool / "1-x.json"
    turn.write_text("{}", "utf-8")
    os.utime(turn, (time.time() - 3600,) * 2)
    booked(paths, 4, cost_usd=0.5, error="it failed")
    wanted = {
        "memory_daemon": ("down", "was killed"),
        "provider_house": ("down", "refused by house (401)"),
        "local_model": ("down", "aiki model pull mine"),
        "spool": ("degraded", "1 turn waits"),
        "cost": ("down", "until midnight"),
        "answers": ("down", "4 of 4 model calls"),
    }

    def all_seen(states: dict[str, dict[str, Any]]) -> bool:
        return all(
            states[name]["state"] == state and words in states[name]["reason"]
            for name, (state, words) in wanted.items()
        )

    # One interval, and what the settings take to be resolved anew: the models' folder changed.
    home.until(all_seen, INTERVAL_S + 20)
    done = subprocess.run(
        [sys.executable, "-m", "aiki_kernel.cli", "health", "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert all_seen({one["probe"]: one for one in json.loads(done.stdout)["probes"]})

    home.provider.status = 429  # type: ignore[attr-defined]
    home.until(lambda s: "rate limit" in s["provider_house"]["reason"], INTERVAL_S + 10)
    home.provider.status = 200  # type: ignore[attr-defined]
    turn.unlink()
    home.model.write_bytes(b"GGUF")
    lifecycle.start(load(), paths)
    well = ("memory_daemon", "provider_house", "local_model", "spool")
    home.until(lambda s: all(s[name]["state"] == "ok" for name in well), 60)

    def remembered() -> dict[tuple[str, str], str]:
        records = aiki.memory.list(kind="issue", limit=50)
        return {(str(r.metadata["probe"]), str(r.metadata["event"])): r.data for r in records}

    aiki = Aiki(load())
    try:
        deadline = time.monotonic() + 60
        expected = {(name, "broke") for name in wanted}
        expected |= {(name, "recovered") for name in well}
        while set(remembered()) != expected and time.monotonic() < deadline:
            time.sleep(0.3)
        told = remembered()
        assert set(told) == expected  # each once: two of them are not over yet
        assert "aiki model pull mine" in told["local_model", "broke"]
        assert "is well again" in told["provider_house", "recovered"]
        hits = aiki.memory.search("Was the memory daemon killed last night?", limit=3)
        assert any("was killed" in hit.text for hit in hits)
    finally:
        aiki.close()
