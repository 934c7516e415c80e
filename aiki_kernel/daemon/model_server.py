"""Watching a llama.cpp (or bitnet.cpp) server: start, health, restart, limits, log.

One supervisor watches one server, in the foreground or in a process of its own. An ``flock`` sees
that a name is served once; the file beside it says how the server is. The server listens on the
loopback interface only, and dies with its supervisor.

It is asked for ``/health`` once a few seconds. One that has ended or does not answer is started
again after a pause that doubles up to a minute; one that never became healthy is given up after a
few tries, with the last lines of its log.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import logging
import logging.handlers
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import IO, Any

from aiki_kernel.daemon.lock import Lock

HOST = "127.0.0.1"
LOG_BYTES, LOG_BACKUPS = 4 << 20, 3
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0
TRIES = 4
"""How often a server that never was healthy is started before it is given up."""

_TELLING = re.compile(r"error|fail|cannot|invalid|unknown|not found", re.IGNORECASE)
_POLL_S = 0.1
_MISSES = 3  # checks in a row without an answer
_SETTLED_S = 60.0  # of health, after which the pause is short again
_STOP_S = 10.0


@dataclass(frozen=True)
class ServerPlan:
    """What is to be served, and within which limits.

    ``memory`` is of address space in bytes (0: no limit); ``threads`` and ``context`` 0 leave the
    choice to the server; ``start_s`` is how long loading may take. Once healthy it is asked every
    ``check_s`` and has ``check_timeout_s`` to answer.
    """

    name: str
    binary: str
    model: str
    port: int
    threads: int = 0
    context: int = 0
    memory: int = 0
    nice: int = 5
    start_s: float = 600.0
    check_s: float = 5.0
    check_timeout_s: float = 10.0
    options: tuple[str, ...] = ()

    @property
    def base_url(self) -> str:
        return f"http://{HOST}:{self.port}/v1"

    def command(self) -> list[str]:
        """The limits, then the server's own command line."""
        words = [sys.executable, "-P", "-m", "aiki_kernel.daemon.limited"]
        words += ["--memory", str(self.memory), "--nice", str(self.nice)]
        words += ["--parent", str(os.getpid()), "--", self.binary]
        words += ["--model", self.model, "--host", HOST, "--port", str(self.port)]
        words += ["--alias", self.name]
        if self.threads:
            words += ["--threads", str(self.threads)]
        if self.context:
            words += ["--ctx-size", str(self.context)]
        return [*words, *self.options]

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> ServerPlan:
        return cls(**{**data, "options": tuple(data.get("options", ()))})


@dataclass(frozen=True)
class ServerState:
    """How a served model is; ``state`` is starting, healthy, restarting, failed or stopped."""

    name: str
    state: str
    base_url: str
    model: str
    pid: int = 0
    server_pid: int = 0
    restarts: int = 0
    since: float = 0.0
    note: str = ""
    log: str = ""


Say = Callable[[str], None]


@dataclass
class Supervisor:
    """Runs in the main thread of its process, until it is told to stop or has given up."""

    plan: ServerPlan
    state_file: Path
    log_file: Path
    say: Say
    stopping: threading.Event = field(default_factory=threading.Event)
    _tail: deque[str] = field(default_factory=lambda: deque(maxlen=20))

    def __post_init__(self) -> None:
        self._state = ServerState(
            self.plan.name,
            "starting",
            self.plan.base_url,
            self.plan.model,
            pid=os.getpid(),
            since=time.time(),
            log=str(self.log_file),
        )
        self.log_file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._log = logging.handlers.RotatingFileHandler(
            self.log_file, maxBytes=LOG_BYTES, backupCount=LOG_BACKUPS, encoding="utf-8"
        )
        self.log_file.chmod(0o600)
        self._log.setFormatter(logging.Formatter("%(asctime)s %(message)s"))

    def run(self) -> int:
        """Serve. Returns 0 after a stop, 1 when the server was given up."""
        pause, was_healthy, tries = FIRST_PAUSE_S, False, 0
        try:
            while not self.stopping.is_set():
                tries += 1
                began = time.monotonic()
                cause, healthy_s = self._serve_once()
                if self.stopping.is_set():
                    break
                was_healthy = was_healthy or healthy_s > 0
                if not was_healthy and tries >= TRIES:
                    return self._give_up(cause)
                if healthy_s > _SETTLED_S:
                    pause = FIRST_PAUSE_S
                self._tell("restarting", cause, restarts=self._state.restarts + 1)
                lived = time.monotonic() - began
                self._note(f"{cause} after {lived:.0f} s; starting again in {pause:.0f} s")
                self.stopping.wait(pause)
                pause = min(2 * pause, LONGEST_PAUSE_S)
            self._tell("stopped", "")
            self._note("stopped")
            return 0
        finally:
            self._log.close()

    def _serve_once(self) -> tuple[str, float]:
        """One life of the server: why it ended, and for how many seconds it was healthy."""
        child = subprocess.Popen(
            self.plan.command(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            # Ctrl-C in a terminal goes to us, and we end it in order.
            start_new_session=True,
        )
        reader = threading.Thread(target=self._read, args=(child.stdout,), daemon=True)
        reader.start()
        self._tell("starting" if not self._state.restarts else "restarting", server_pid=child.pid)
        self._note(f"{Path(self.plan.binary).name} is process {child.pid}, {self.plan.base_url}")
        try:
            return self._watch(child)
        finally:
            end(child)
            reader.join(2.0)

    def _watch(self, child: subprocess.Popen[bytes]) -> tuple[str, float]:
        began, healthy_since, misses = time.monotonic(), 0.0, 0
        next_check = began
        while not self.stopping.is_set():
            healthy_s = time.monotonic() - healthy_since if healthy_since else 0.0
            if child.poll() is not None:
                return _death(child.returncode), healthy_s
            if time.monotonic() >= next_check:
                status = health(self.plan.port, self.plan.check_timeout_s)
                if status == 200:
                    misses = 0
                    if not healthy_since:
                        healthy_since = time.monotonic()
                        self._tell("healthy", "")
                        self._note(f"ready after {healthy_since - began:.1f} s")
                elif healthy_since:
                    misses += 1
                    if misses >= _MISSES:
                        return f"it did not answer {misses} health checks", healthy_s
                elif time.monotonic() - began > self.plan.start_s:
                    return f"it was not ready within {self.plan.start_s:.0f} s", 0.0
                next_check = time.monotonic() + (
                    self.plan.check_s if healthy_since else 2 * _POLL_S
                )
            self.stopping.wait(_POLL_S)
        return "stopped", 0.0

    def _give_up(self, cause: str) -> int:
        lines = [line.strip() for line in self._tail if line.strip()]
        telling = [line for line in lines if _TELLING.search(line)]
        said = (telling[:1] or lines[-1:] or ["it said nothing"])[0][:300]
        self._tell("failed", f"{cause} ({said})")
        self._note(f"given up: {cause} ({said}); see {self.log_file}")
        return 1

    def _read(self, stream: IO[bytes]) -> None:
        """The server's own lines, into the log. Ends with the server."""
        for raw in stream:
            line = raw.decode("utf-8", "replace").rstrip()
            self._tail.append(line)
            self._write(line)

    def _note(self, text: str) -> None:
        self.say(f"{self.plan.name}: {text}")
        self._write(f"aiki: {text}")

    def _write(self, line: str) -> None:
        self._log.emit(logging.LogRecord("served", logging.INFO, "", 0, line, None, None))

    def _tell(self, state: str, note: str | None = None, **changes: Any) -> None:
        """Put the state into its file, in one step."""
        kept = self._state.note if note is None else note
        since = time.time() if state != self._state.state else self._state.since
        self._state = replace(self._state, state=state, note=kept, since=since, **changes)
        part = self.state_file.with_suffix(".part")
        with contextlib.suppress(OSError):  # a full disk is no reason to stop serving
            part.write_text(json.dumps(asdict(self._state)), "utf-8")
            part.replace(self.state_file)


def health(port: int, timeout: float) -> int:
    """The HTTP status of ``/health`` (503 while it loads); 0 for no answer."""
    connection = http.client.HTTPConnection(HOST, port, timeout=timeout)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()


def end(child: subprocess.Popen[bytes]) -> None:
    """Ask, then force. The child is waited for."""
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def _death(status: int) -> str:
    if status < 0:
        return f"it was ended by {signal.Signals(-status).name}"
    return f"it ended with status {status}"


def supervise(plan: ServerPlan, lock: Lock, state_file: Path, log_file: Path, say: Say) -> int:
    """Watch ``plan`` in this process until SIGTERM, Ctrl-C or the end of hope."""
    lock.sign(name=plan.name)
    supervisor = Supervisor(plan, state_file, log_file, say)
    before = {
        number: signal.signal(number, lambda *_: supervisor.stopping.set())
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    }
    try:
        return supervisor.run()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        lock.close()


def main(words: list[str]) -> int:
    """``python -m aiki_kernel.daemon.model_server PLAN LOCK_HANDLE LOCK STATE LOG``."""
    plan, handle, lock_path, state_file, log_file = words
    lock = Lock(Path(lock_path), int(handle))
    return supervise(
        ServerPlan.from_json(json.loads(plan)),
        lock,
        Path(state_file),
        Path(log_file),
        lambda line: None,
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
