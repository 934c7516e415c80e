"""What the probes of one sample share: the plan, and answers that are asked for once."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from aiki_kernel.health.exchange import NoAnswerError, ask
from aiki_kernel.health.plan import Plan


class Moment:
    """One sample's view of things. ``wall`` is seconds since 1970, ``monotonic`` of the clock
    that never jumps. ``account`` is given where the memory runs in this very process. Safe to
    share between threads."""

    def __init__(self, plan: Plan, account: Mapping[str, Any] | None = None) -> None:
        self.plan = plan
        self.wall = time.time()
        self.monotonic = time.monotonic()
        self.patience = 0.8 * plan.timeout_s
        """Seconds that one question may take, so that its probe can still say who was silent."""
        self._lock = threading.Lock()
        self._daemon: Mapping[str, Any] | NoAnswerError | None = account

    def daemon(self) -> Mapping[str, Any]:
        """The memory daemon's own account. Raises :class:`NoAnswerError`."""
        with self._lock:
            if self._daemon is None:
                self._daemon = self._ask_daemon()
            found = self._daemon
        if isinstance(found, NoAnswerError):
            raise found
        return found

    def daemon_lives(self) -> bool:
        """Whether a process holds the memory daemon's lock, whatever it answers.

        Shared and let go at once: a client that starts just now tries again.
        """
        try:
            handle = os.open(self.plan.lock, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False
        finally:
            os.close(handle)
        return False

    def daemon_age_s(self) -> float:
        """For how long the memory daemon's lock has been signed: since it was started."""
        try:
            age = self.wall - Path(self.plan.lock).stat().st_mtime
        except OSError:
            return float("inf")
        return age if age >= 0 else float("inf")  # the clock was moved: it says nothing

    @contextlib.contextmanager
    def ledger(self) -> Iterator[sqlite3.Connection | None]:
        """The ledger, for reading alone; None when there is none yet."""
        path = self.plan.ledger
        if not path.exists():
            yield None
            return
        name = str(path).replace("%", "%25").replace("?", "%3f").replace("#", "%23")
        opened = sqlite3.connect(f"file:{name}?mode=ro", uri=True, timeout=self.patience)
        try:
            opened.execute("PRAGMA cache_size = -256")
            yield opened
        finally:
            opened.close()

    def _ask_daemon(self) -> Mapping[str, Any] | NoAnswerError:
        if self.plan.daemon == "off":
            return NoAnswerError("absent")
        began = time.monotonic()
        try:
            answer = ask("http://aiki.local/health", unix=self.plan.socket, timeout=self.patience)
            data = json.loads(answer.body)
        except NoAnswerError as error:
            return error
        except ValueError:
            return NoAnswerError("cut", "its answer is no JSON")
        if answer.status != 200 or not isinstance(data, dict):
            return NoAnswerError("cut", f"it answers with status {answer.status}")
        return {**data, "answered_in_s": time.monotonic() - began}
