"""Served models, seen from outside their supervisors: start one, how they are, stop one."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from aiki_kernel.daemon.lock import Lock, holder
from aiki_kernel.daemon.model_server import (
    HOST,
    ServerPlan,
    ServerState,
    health,
    supervise,
)
from aiki_kernel.errors import ModelError

if TYPE_CHECKING:
    from aiki_kernel.config import Paths

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}")
_STOP_S = 25.0


def foreground(plan: ServerPlan, paths: Paths, say: Callable[[str], None]) -> int:
    """Serve here until a signal; the exit status. Raises :class:`ModelError` when taken."""
    lock = _take(plan.name, paths)
    return supervise(plan, lock, _state_file(plan.name, paths), log_file(plan.name, paths), say)


def background(plan: ServerPlan, paths: Paths, *, wait_s: float) -> ServerState:
    """Start a supervisor of its own and wait until the server is healthy.

    Raises :class:`ModelError` when it is served already, or does not become healthy.
    """
    lock = _take(plan.name, paths)
    state_file = _state_file(plan.name, paths)
    state_file.unlink(missing_ok=True)
    words = [sys.executable, "-P", "-m", "aiki_kernel.daemon.model_server"]
    words += [json.dumps(asdict(plan)), str(lock.handle), str(lock.path), str(state_file)]
    words += [str(log_file(plan.name, paths))]
    root = str(Path(__file__).resolve().parents[2])
    env = dict(os.environ)
    if not root.endswith(("site-packages", "dist-packages")):
        env["PYTHONPATH"] = os.pathsep.join(filter(None, (root, env.get("PYTHONPATH", ""))))
    try:
        child = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env=env,
            pass_fds=(lock.handle,),
            start_new_session=True,
        )
    finally:
        lock.close()
    deadline = time.monotonic() + wait_s
    while time.monotonic() < deadline:
        found = _read(state_file)
        if found is not None and found.state == "healthy":
            return found
        if child.poll() is not None:
            note = found.note if found is not None else "no reason given"
            raise ModelError(
                f"{plan.name} could not be served: {note}: see {log_file(plan.name, paths)}."
            )
        time.sleep(0.05)
    raise ModelError(
        f"{plan.name} is not ready after {wait_s:.0f} s and goes on loading: "
        "see `aiki model served`."
    )


def states(paths: Paths) -> list[ServerState]:
    """Every model that was ever served from this home, as it is now."""
    found = []
    for path in sorted(_folder(paths).glob("*.json")):
        state = _read(path)
        if state is None:
            continue
        lock = Lock.take(_lock_path(state.name, paths))
        if lock is not None:  # nobody watches it
            lock.close()
            ended = state.state if state.state in ("failed", "stopped") else "stopped"
            state = replace(state, state=ended, pid=0, server_pid=0)
        found.append(state)
    return found


def stop(name: str, paths: Paths) -> bool:
    """End a supervisor and its server; False when none runs. Raises :class:`ModelError`."""
    lock_path = _lock_path(name, paths)
    lock = Lock.take(lock_path)
    if lock is not None:
        lock.close()
        return False
    pid = holder(lock_path).get("pid")
    if not isinstance(pid, int):
        raise ModelError(f"Who serves {name} cannot be told: end its process by hand.")
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + _STOP_S
    while time.monotonic() < deadline:
        lock = Lock.take(lock_path)
        if lock is not None:
            lock.close()
            return True
        time.sleep(0.05)
    raise ModelError(f"The supervisor of {name} (process {pid}) does not stop: end it.")


def free_port(wanted: int = 0) -> int:
    """``wanted`` if nobody listens there, else a free one when 0 was asked for.

    Raises :class:`ModelError` when it is taken.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, wanted))
        except OSError as error:
            raise ModelError(
                f"Port {wanted} cannot be used ({error.strerror}): choose another --port."
            ) from None
        return int(probe.getsockname()[1])


def log_file(name: str, paths: Paths) -> Path:
    """Where a server's own lines are kept."""
    return paths.log / f"serve-{name}.log"


def answers(state: ServerState) -> bool:
    """Whether the server says at this moment that it is healthy."""
    port = int(state.base_url.rpartition(":")[2].partition("/")[0])
    return health(port, timeout=2.0) == 200


def _take(name: str, paths: Paths) -> Lock:
    if not _NAME.fullmatch(name) or name == "local":
        raise ModelError(
            f"{name[:80]!r} cannot be an endpoint's name: use letters, digits, '_' and '-'."
        )
    lock = Lock.take(_lock_path(name, paths))
    if lock is None:
        raise ModelError(
            f"{name} is served already: see `aiki model served`, or end it with "
            f"`aiki model stop {name}`."
        )
    return lock


def _folder(paths: Paths) -> Path:
    folder = paths.home / "serve"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


def _state_file(name: str, paths: Paths) -> Path:
    return _folder(paths) / f"{name}.json"


def _lock_path(name: str, paths: Paths) -> Path:
    return paths.lock.with_name(f"{paths.lock.stem}-serve-{name}.lock")


def _read(path: Path) -> ServerState | None:
    try:
        return ServerState(**json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        return None
