"""The units that `aiki deploy` and `aiki schedule` install, run by a real systemd.

A system manager is started as process 1 of namespaces of its own, over a copy-on-write view of
this machine's files; in it a user with a manager of his own. Needs root, systemd, and the
Debian packages dbus-user-session and libpam-systemd.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.long

SYSTEMD = "/lib/systemd/systemd"
BOOT = f"""
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs "$1"; mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"
cd "$1/root"
mount -t proc proc proc; mount -t sysfs -o ro sysfs sys; mount --rbind /dev dev
for folder in run tmp sys/fs/cgroup; do mount -t tmpfs tmpfs "$folder"; done
mount -t cgroup2 cgroup2 sys/fs/cgroup
mkdir -p old; pivot_root . old; umount -l /old
exec env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin {SYSTEMD} --system --log-target=null
"""
RUNNING = ("running", "degraded")

As = Callable[..., subprocess.CompletedProcess[str]]


def _until(what: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        time.sleep(0.5)


@pytest.fixture
def as_user(tmp_path: Path) -> Iterator[As]:
    """Runs a command as a user of the inner machine."""
    needs = (SYSTEMD, "/usr/bin/dbus-daemon", "/lib/x86_64-linux-gnu/security/pam_systemd.so")
    if os.geteuid() or not all(Path(one).exists() for one in needs) or not shutil.which("nsenter"):
        pytest.skip("needs root, systemd, dbus-user-session and libpam-systemd")
    words = [
        "unshare",
        "--fork",
        "--pid",
        "--mount",
        "--uts",
        "--ipc",
        "--cgroup",
        "--kill-child",
        "bash",
        "-c",
    ]
    with (tmp_path / "boot.log").open("wb") as log:
        outer = subprocess.Popen(
            [*words, BOOT, "boot", str(tmp_path)], stdout=log, stderr=log, start_new_session=True
        )
    try:
        time.sleep(1)
        children = Path(f"/proc/{outer.pid}/task/{outer.pid}/children").read_text().split()
        if outer.poll() is not None or not children:
            pytest.skip(f"namespaces cannot be had here: {(tmp_path / 'boot.log').read_text()}")

        def inside(*command: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
            enter = ["nsenter", "-t", children[0], *["-m", "-p", "-u", "-i", "-C", "env", "-i"]]
            path = "PATH=/usr/sbin:/usr/bin:/sbin:/bin"
            return subprocess.run(
                [*enter, path, *command],
                capture_output=True,
                text=True,
                timeout=timeout,
                check=False,
            )

        _until(lambda: inside("systemctl", "is-system-running").stdout.strip() in RUNNING, 60)
        # A user must be able to read the interpreter, wherever it lives.
        places = {Path(sys.prefix), Path(sys.base_prefix), Path(__file__).resolve().parents[2]}
        for folder in {parent for place in places for parent in (place, *place.parents)}:
            inside("chmod", "a+rx", str(folder))
        inside("useradd", "-m", "-u", "4711", "tester")
        inside("loginctl", "enable-linger", "tester")
        home = ["HOME=/home/tester", "XDG_RUNTIME_DIR=/run/user/4711"]
        path = f"PATH={Path(sys.executable).parent}:/usr/bin:/bin"

        def run(*command: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
            words = ["runuser", "-u", "tester", "--", "env", "-C", "/home/tester", *home, path]
            return inside(*words, *command, timeout=timeout)

        def well() -> bool:
            return run("systemctl", "--user", "is-system-running").stdout.strip() in RUNNING

        _until(well, 60)
        yield run
    finally:
        os.killpg(outer.pid, signal.SIGKILL)
        outer.wait(20)


def test_the_units_run_restart_and_go(as_user: As) -> None:
    def active(unit: str) -> bool:
        return as_user("systemctl", "--user", "is-active", unit).stdout.strip() == "active"

    def main_pid(unit: str) -> str:
        return as_user("systemctl", "--user", "show", "-P", "MainPID", unit).stdout.strip()

    done = as_user("aiki", "deploy", "install")
    assert done.returncode == 0, done.stderr
    units = ("aiki-memory-daemon.service", "aiki-health-daemon.service")
    _until(lambda: all(active(unit) for unit in units), 60)

    done = as_user("aiki", "memory", "add", "My bike is a red Brompton.")
    assert done.returncode == 0, done.stderr
    before = [main_pid(unit) for unit in units]
    as_user("systemctl", "--user", "kill", "-s", "KILL", *units)
    _until(lambda: all(active(u) and main_pid(u) not in ("0", *before) for u in units), 60)
    assert "Brompton" in as_user("aiki", "memory", "search", "which bike?").stdout

    assert "active/running" in as_user("aiki", "health", "--json").stdout
    done = as_user("aiki", "schedule", "install", "health", "--at", "hourly")
    assert done.returncode == 0, done.stderr
    as_user("systemctl", "--user", "start", "aiki-notebook-health.service", timeout=300)
    runs = as_user("bash", "-c", "cat .local/share/aiki/runs/health/*.ipynb").stdout
    assert "Kernel died" not in runs
    assert "execute_result" in runs or "display_data" in runs

    assert as_user("aiki", "deploy", "uninstall").returncode == 0
    assert as_user("aiki", "schedule", "remove", "health").returncode == 0
    assert not any(active(unit) for unit in units)
