"""Life of the daemon, seen from its clients: start, stop, status.

Exactly one daemon serves one ``AIKI_HOME``; :mod:`aiki_kernel.daemon.lock` sees to that.
Everything here blocks: an event loop calls it in a thread. Only the standard library is
imported, because every kernel comes through here.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiki_kernel.daemon.lock import Lock, holder
from aiki_kernel.errors import ConfigError, DaemonError
from aiki_kernel.version import __version__

if TYPE_CHECKING:
    from aiki_kernel.config import Paths, Settings

START_S = 20.0
"""How long a client waits for a daemon to answer."""

DRAIN_S = 10.0
"""How long a stopping daemon lets a running answer go on."""

REPLACE_DRAIN_S = 60.0
"""The same, when a newer version takes over: nobody asked for that, so nobody is cut off."""

KILL_AFTER_S = 10.0
"""How much longer a stopping daemon may take before it is killed."""

_PROBE_S = 2.0


@dataclass(frozen=True)
class Status:
    """Whether a daemon serves this home. ``health`` is its own account (empty when silent)."""

    running: bool
    pid: int | None = None
    version: str = ""
    uptime_s: float = 0.0
    socket: str = ""
    log: str = ""
    note: str = ""
    health: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Started:
    """``started`` is False when a daemon was there already."""

    started: bool
    status: Status
    seconds: float


@dataclass(frozen=True)
class Stopped:
    """``stopped`` is False when none was running; ``killed`` when it had to be forced."""

    stopped: bool
    pid: int | None = None
    killed: bool = False
    seconds: float = 0.0


def run(settings: Settings, paths: Paths) -> None:
    """Be the daemon, in the foreground, until SIGTERM, Ctrl-C or ``/shutdown``."""
    from aiki_kernel.daemon.serve import serve

    serve(settings, paths)


def start(settings: Settings, paths: Paths, *, wait_s: float = START_S) -> Started:
    """Make sure that a daemon answers, and say which.

    An older one is asked to finish and is replaced; a newer one is used as it is. Raises
    :class:`DaemonError` with the cause in one line.
    """
    began = time.monotonic()
    deadline = began + wait_s
    child: subprocess.Popen[bytes] | None = None
    log_from = 0
    asked_to_leave = False
    pause = 0.01
    while True:
        found = probe(paths)
        if found is not None and found.get("status") != "stopping":
            if not _older(str(found.get("version", "")), __version__):
                _check_interface(found)
                status = _status_of(paths, found)
                ours = child is not None and child.pid == status.pid
                return Started(ours, status, time.monotonic() - began)
            if not asked_to_leave:
                asked_to_leave = True
                deadline += REPLACE_DRAIN_S
                _ask_to_stop(paths, REPLACE_DRAIN_S)
        if child is not None and child.poll() is not None:
            raise DaemonError(
                f"The memory daemon did not start ({_last_line(paths, log_from)}): "
                f"correct that, or see {log_file(paths)}."
            )
        if child is None:
            lock = _take(paths)
            if lock is not None:
                try:
                    log_from = _size(log_file(paths))
                    child = _spawn(settings, paths, lock)
                finally:
                    lock.close()
        if time.monotonic() > deadline:
            raise DaemonError(_silent(paths, wait_s))
        time.sleep(pause)
        pause = min(pause * 1.5, 0.1)


def stop(paths: Paths, *, drain_s: float = DRAIN_S) -> Stopped:
    """Stop the daemon: it takes no new work, finishes writes, flushes and leaves.

    One that does not leave within ``drain_s`` and ``KILL_AFTER_S`` more is killed; what it had
    acknowledged is durable. Raises :class:`DaemonError` when even that fails.
    """
    began = time.monotonic()
    lock = _take(paths)
    if lock is not None:
        lock.close()
        return Stopped(False)
    pid = _pid(paths)
    if not _ask_to_stop(paths, drain_s) and pid:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    if _wait_until_free(paths, drain_s + KILL_AFTER_S):
        return Stopped(True, pid, False, time.monotonic() - began)
    if pid:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        if _wait_until_free(paths, 5.0):
            return Stopped(True, pid, True, time.monotonic() - began)
    raise DaemonError(f"The memory daemon (process {pid or 'unknown'}) does not stop: end it.")


def status(paths: Paths) -> Status:
    """Whether a daemon runs, and how it is. Starts nothing."""
    health = request(paths, "GET", "/health", timeout=10.0) or probe(paths)
    if health is not None:
        return _status_of(paths, health)
    lock = _take(paths)
    if lock is not None:
        lock.close()
        return Status(False, socket=str(paths.socket), log=str(log_file(paths)))
    return Status(
        True,
        pid=_pid(paths),
        version=str(holder(paths.lock).get("version", "")),
        socket=str(paths.socket),
        log=str(log_file(paths)),
        note="It holds the lock but does not answer.",
    )


def log_file(paths: Paths) -> Path:
    """Where the daemon writes its log."""
    return paths.log / "daemon.log"


def probe(paths: Paths) -> dict[str, Any] | None:
    """Who answers on this home's socket: version, api, pid, status; None when nobody does."""
    return request(paths, "GET", "/health?brief=1", timeout=_PROBE_S)


def request(
    paths: Paths, method: str, path: str, body: Any = None, *, timeout: float
) -> dict[str, Any] | None:
    """One small JSON exchange over the socket; None when there is no answer in time."""
    connection = _UnixConnection(str(paths.socket), timeout)
    try:
        data = None if body is None else json.dumps(body)
        connection.request(method, path, data, {"content-type": "application/json"})
        answer = json.loads(connection.getresponse().read())
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()
    return answer if isinstance(answer, dict) else None


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("aiki.local", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def _spawn(settings: Settings, paths: Paths, lock: Lock) -> subprocess.Popen[bytes]:
    try:
        paths.log.mkdir(parents=True, exist_ok=True, mode=0o700)
        log = log_file(paths).open("ab")
    except OSError as error:
        raise DaemonError(
            f"The memory daemon's log {log_file(paths)} cannot be written "
            f"({error.strerror}): check AIKI_HOME and its permissions."
        ) from None
    with log:
        child = subprocess.Popen(
            # -P: a file in the working folder must not pass for one of our modules.
            [sys.executable, "-P", "-m", "aiki_kernel.daemon", "--lock", str(lock.handle)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            env=_environment(settings, paths),
            pass_fds=(lock.handle,),
            start_new_session=True,
        )
    # Somebody must wait for it, or it stays a zombie as long as this process lives.
    threading.Thread(target=child.wait, name="aiki-daemon-reaper", daemon=True).start()
    return child


def _environment(settings: Settings, paths: Paths) -> dict[str, str]:
    """The child's environment: this home, and the settings that its starter has."""
    sections = ("memory", "server", "local")
    prefixes = tuple(f"AIKI_{name}__".upper() for name in sections)
    env = {k: v for k, v in os.environ.items() if not k.upper().startswith(prefixes)}
    env["AIKI_HOME"] = str(paths.home)
    for name in sections:
        env[f"AIKI_{name.upper()}"] = getattr(settings, name).model_dump_json()
    root = str(Path(__file__).resolve().parents[2])
    if not root.endswith(("site-packages", "dist-packages")):
        env["PYTHONPATH"] = os.pathsep.join(filter(None, (root, env.get("PYTHONPATH", ""))))
    return env


def _take(paths: Paths) -> Lock | None:
    try:
        return Lock.take(paths.lock)
    except OSError as error:
        raise ConfigError(
            f"{paths.lock} cannot be locked ({error.strerror}): set XDG_RUNTIME_DIR to a "
            "folder of yours on a local disk."
        ) from None


def _wait_until_free(paths: Paths, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while True:
        lock = _take(paths)
        if lock is not None:
            lock.close()
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)


def _ask_to_stop(paths: Paths, drain_s: float) -> bool:
    body = {"drain_s": drain_s}
    return request(paths, "POST", "/shutdown", body, timeout=_PROBE_S) is not None


def _status_of(paths: Paths, health: dict[str, Any]) -> Status:
    return Status(
        True,
        pid=health.get("pid"),
        version=str(health.get("version", "")),
        uptime_s=float(health.get("uptime_s", 0.0)),
        socket=str(paths.socket),
        log=str(log_file(paths)),
        health=health,
    )


def _check_interface(found: dict[str, Any]) -> None:
    from aiki_kernel.daemon.engine import API

    if found.get("api") != API:
        raise DaemonError(
            f"The memory daemon is of version {found.get('version')} and this process of "
            f"{__version__}: restart this kernel or program to use the newer one."
        )


def _older(theirs: str, ours: str) -> bool:
    return _numbers(theirs) < _numbers(ours)


def _numbers(version: str) -> tuple[int, ...]:
    """``1.2.3rc1`` as (1, 2, 3): pre-releases of one version count as that version."""
    found = re.match(r"\d+(?:\.\d+)*", version)
    numbers = [int(part) for part in found.group().split(".")] if found else []
    return tuple([*numbers, 0, 0, 0][:3])


def _pid(paths: Paths) -> int | None:
    pid = holder(paths.lock).get("pid")
    return pid if isinstance(pid, int) else None


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _last_line(paths: Paths, since: int) -> str:
    """The cause of a failed start: the last line that the daemon wrote after ``since`` bytes."""
    try:
        with log_file(paths).open("rb") as file:
            file.seek(min(since, _size(log_file(paths))))
            text = file.read().decode("utf-8", "replace")
    except OSError as error:
        return f"its log cannot be read: {error.strerror}"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        return "it said nothing"
    # Our own lines are "time level name: cause".
    return re.sub(r"^\S+ \S+ [A-Z]+ \S+: ", "", lines[-1]).rstrip(".")[:400]


def _silent(paths: Paths, seconds: float) -> str:
    pid = _pid(paths)
    who = f"process {pid}" if pid else "a process that is starting"
    return (
        f"The memory daemon ({who}) did not answer within {seconds:.0f} s: "
        f"run `aiki daemon stop`, or see {log_file(paths)}."
    )
