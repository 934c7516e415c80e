"""The health daemon: a sample each interval, written down for everybody, until SIGTERM.

The interval is counted on the clock that never jumps, from fixed points: a sample that takes too
long moves none of the later ones, it makes the loop leave out those that it covered, and say so.
After each sample, in this order: ``system_health.json``, metrics, history, issues, and only then
the sign of life that systemd waits for.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aiki_kernel.health.counters import Counters
from aiki_kernel.health.door import Answer, Door
from aiki_kernel.health.history import History
from aiki_kernel.health.issues import Issues, teller
from aiki_kernel.health.metrics import CONTENT_TYPE, render
from aiki_kernel.health.moment import Moment
from aiki_kernel.health.notify import notify, watchdog_s
from aiki_kernel.health.plan import Plan
from aiki_kernel.health.probe import probes
from aiki_kernel.health.reading import DEGRADED, Reading, one_line
from aiki_kernel.health.sampler import Sample, Sampler
from aiki_kernel.health.status_file import document, steady, write

_RESOLVE_S = 60.0
_JUMP_S = 10.0

Resolve = Callable[[], Plan]
"""Resolves the settings anew. Raises :class:`PlanError`."""


class PlanError(Exception):
    """The settings cannot be resolved; one line for the user."""


def say(text: str) -> None:
    """A line of log: on stderr, where systemd and a terminal read it."""
    print(f"aiki-health: {one_line(text)}", file=sys.stderr, flush=True)  # noqa: T201


class Daemon:
    """The loop and what it writes. ``resolve`` gives the plan, now and after each change."""

    def __init__(self, resolve: Resolve) -> None:
        self._resolve = resolve
        self.stopping = threading.Event()
        self.samples = self.skipped = 0
        self.plan = resolve()
        self._marks = _marks(self.plan)
        self._sampler = Sampler(self.plan, probes(self.plan))
        self._counters = Counters()
        self._history = History(self.plan.folder / "history.sqlite")
        self._issues = Issues(self.plan.folder / "issues.json")
        self._wrong_settings = ""
        self._clock: tuple[float, float] | None = None
        self._jump: dict[str, float] | None = None
        self._steady_since = steady()
        self._told: dict[str, str] = {}
        self._shown: tuple[dict[str, Any], str] = ({}, "")
        self._door: Door | None = None
        self._open_door()

    def run(self) -> None:
        """Sample until :attr:`stopping` is set."""
        watched = watchdog_s()
        if watched and watched < 2 * self.plan.interval_s:
            say(f"WatchdogSec={watched:.0f} is short for samples each {self.plan.interval_s:g} s.")
        next_at = time.monotonic()
        while not self.stopping.is_set():
            began, began_with = time.monotonic(), self.plan.interval_s
            sample = self.tick()
            if not self.samples - 1:
                say(f"watches {self.plan.home} each {self.plan.interval_s:g} s: {sample.state}")
            interval, now = self.plan.interval_s, time.monotonic()
            if interval != began_with:
                next_at = now
            missed = max(0, int((now - next_at) // interval))
            if missed:
                self.skipped += missed
                say(f"A round took {now - began:.1f} s: {missed} samples were left out.")
            next_at += (missed + 1) * interval
            self.stopping.wait(max(0.0, next_at - time.monotonic()))
        notify(STOPPING="1", STATUS="stopping")

    def tick(self) -> Sample:
        """One sample and all that follows from it. Nothing that fails here ends the loop."""
        self._renew()
        sample = self._judged(self._sampler.sample())
        self.samples += 1
        data = document(
            sample,
            self.plan,
            {"samples": self.samples, "skipped": self.skipped, "clock_jump": self._jump},
        )
        page = self._page(sample)
        self._shown = (data, page)
        self._try("status", lambda: self._write(self.plan.status_file, _json(data), 0o600))
        if self.plan.textfile:
            target = Path(self.plan.textfile) / "aiki.prom"
            self._try("textfile", lambda: self._write(target, page, 0o644))
        self._try("history", lambda: self._history.add(sample, steady() - self._steady_since))
        if self.plan.issues:
            self._try("issues", lambda: self._remember(sample))
        for note in [*self._history.notes, *self._issues.notes]:
            say(note)
        self._history.notes.clear()
        self._issues.notes.clear()
        wrong = ", ".join(f"{one.title} {one.state}" for one in sample.bad)
        notify(READY="1", WATCHDOG="1", STATUS=f"{sample.state}: {wrong}" if wrong else "ok")
        return sample

    def close(self) -> None:
        """Leave in order: the port, the history."""
        if self._door is not None:
            self._door.close()
        self._history.close()

    # -- within -------------------------------------------------------------------------

    def _judged(self, sample: Sample) -> Sample:
        """The sample with what this process alone knows: its settings, and the clock."""
        now = (sample.wall, steady())
        if self._clock is not None:
            jumped = (now[0] - self._clock[0]) - (now[1] - self._clock[1])
            if abs(jumped) >= _JUMP_S:
                self._jump = {"jumped_s": jumped, "wall_s": now[0], "steady_s": now[1]}
                self._steady_since = now[1]
        self._clock = now
        if not self._wrong_settings:
            return sample
        reason = f"{self._wrong_settings} Until then the last right settings are used."
        reading = Reading(DEGRADED, reason, probe="settings", title="Settings")
        return sample._replace(readings=(*sample.readings, reading))

    def _renew(self) -> None:
        """Resolve the settings again when a file that they come from has changed."""
        marks = _marks(self.plan)
        if marks == self._marks:
            return
        self._marks = marks
        try:
            plan = self._resolve()
        except PlanError as error:
            self._wrong_settings = str(error)
            say(self._wrong_settings)
            return
        self._wrong_settings = ""
        if plan == self.plan:
            return
        before, self.plan = self.plan, plan
        self._marks = _marks(plan)
        self._sampler = Sampler(plan, probes(plan))
        if (before.http_host, before.http_port) != (plan.http_host, plan.http_port):
            self._open_door()
        say("The settings have changed and count from now on.")

    def _remember(self, sample: Sample) -> None:
        for event in self._issues.update(sample):
            say(event["text"])
        if self._issues.waiting and self.plan.daemon != "off":
            self._issues.deliver(teller(self.plan, say))

    def _page(self, sample: Sample) -> str:
        def count() -> None:
            with Moment(self.plan).ledger() as ledger:
                if ledger is not None:
                    self._counters.update(ledger)

        self._try("ledger", count)
        return render(sample, self.plan, self._counters, self.samples, self.skipped)

    def _write(self, path: Path, text: str, mode: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path, text, mode)

    def _try(self, what: str, work: Callable[[], None]) -> None:
        """Do ``work``; what fails is said once, and again when it fails otherwise."""
        try:
            work()
        except Exception as error:  # a loop that watches others must not end by one of them
            text = (
                f"{what} could not be written or read ({getattr(error, 'strerror', None) or error})"
            )
            if self._told.get(what) != text:
                say(f"{text}: check the disk and the permissions of {self.plan.home}.")
            self._told[what] = text
        else:
            if self._told.pop(what, ""):
                say(f"{what} works again.")

    def _open_door(self) -> None:
        if self._door is not None:
            self._door.close()
            self._door = None
        if self.plan.http_port:
            try:
                self._door = Door(self.plan.http_host, self.plan.http_port, self._answer)
            except OSError as error:
                where = f"{self.plan.http_host}:{self.plan.http_port}"
                say(
                    f"{where} cannot be opened ({error.strerror}): choose another health.http_port."
                )

    def _answer(self, path: str) -> Answer:
        data, page = self._shown
        if path not in ("/metrics", "/health", "/"):
            return 404, "text/plain", "There are /metrics and /health.\n"
        if not data:
            return 503, "text/plain", "The first sample is being taken.\n"
        if path == "/metrics":
            return 200, CONTENT_TYPE, page
        late = time.monotonic() - data["monotonic_s"] > data["stale_after_s"]
        ill = late or data["status"] == "down"
        return 503 if ill else 200, "application/json", _json({**data, "stale": late})


def resolver() -> Plan:
    """The plan, resolved by a process that may be heavy and ends at once."""
    import subprocess

    words = [sys.executable, "-P", "-m", "aiki_kernel.commands.health_plan"]
    try:
        done = subprocess.run(
            words, capture_output=True, text=True, timeout=_RESOLVE_S, check=False
        )
        if done.returncode:
            lines = done.stderr.strip().splitlines() or ["no reason given"]
            raise PlanError(lines[-1])
        return Plan.from_json(json.loads(done.stdout))
    except (OSError, ValueError, TypeError, subprocess.TimeoutExpired) as error:
        raise PlanError(f"The settings cannot be read ({error}): run `aiki config`.") from None


def claim(plan: Plan) -> int:
    """The lock of this home's health daemon, held until this process ends; -1 when taken."""
    path = plan.lock.removesuffix(".lock") + "-health.lock"
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return -1
    os.ftruncate(handle, 0)
    os.pwrite(handle, f'{{"pid": {os.getpid()}}}\n'.encode(), 0)
    return handle


def main(resolve: Resolve = resolver) -> int:
    """Be the health daemon. Exit status 0 after SIGTERM or Ctrl-C, 1 for one line on stderr."""
    os.umask(0o077)
    stopping: list[threading.Event] = []

    def stop(*_: object) -> None:
        for event in stopping:
            event.set()
        if not stopping:
            raise SystemExit(0)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, stop)
    try:
        plan = resolve()
        lock = claim(plan)
        if lock < 0:
            say(f"A health daemon watches {plan.home} already: one is enough.")
            return 1
        first = [plan]
        daemon = Daemon(lambda: first.pop() if first else resolve())
    except PlanError as error:
        say(str(error))
        return 1
    except OSError as error:
        say(f"The health daemon cannot begin ({error.strerror}: {error.filename}).")
        return 1
    stopping.append(daemon.stopping)
    try:
        daemon.run()
    finally:
        daemon.close()
        with contextlib.suppress(OSError):
            os.close(lock)
    say("stopped")
    return 0


def _marks(plan: Plan) -> tuple[object, ...]:
    """What changes when a file does that the settings come from."""
    found: list[object] = []
    for source in plan.sources:
        try:
            info = os.stat(source)  # noqa: PTH116
            found.append((source, info.st_mtime_ns, info.st_size, info.st_ino))
        except OSError:
            found.append((source, None))
    return tuple(found)


def _json(data: dict[str, Any]) -> str:
    return json.dumps(data, ensure_ascii=False) + "\n"
