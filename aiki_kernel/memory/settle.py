"""Settling: the store is made durable behind the writers' backs, and the journal emptied.

A write is acknowledged when the journal (a table beside the history) has it on disk. Here
the store is flushed a moment later, once for many writes; and after a crash whatever the
journal holds and the store lost is written again.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Callable

from aiki_kernel.errors import StoreError
from aiki_kernel.memory.history import History
from aiki_kernel.memory.store import MemoryStore

_log = logging.getLogger(__name__)

DELAY_S = 2.0


class Settler:
    """Flushes ``store`` some seconds after a write, then strikes the journal of ``log``;
    ``before`` is work that has to be done first."""

    def __init__(
        self,
        store: MemoryStore,
        log: History,
        delay_s: float = DELAY_S,
        before: Callable[[], None] = lambda: None,
    ) -> None:
        self._store, self._log, self._delay_s, self._before = store, log, delay_s, before
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None
        self._closed = False

    def soon(self) -> None:
        """Settle within a few seconds; calls that come meanwhile are served by the same flush."""
        with self._lock:
            if self._timer is None and not self._closed:
                self._timer = threading.Timer(self._delay_s, self._run)
                self._timer.daemon = True
                self._timer.start()

    def now(self) -> None:
        """Settle before returning. What is written during the flush stays in the journal."""
        seq, _ = self._log.pending()
        if seq:
            self._store.flush()
            self._log.settled(seq)

    def close(self) -> None:
        """Settle a last time; the store stays open."""
        with self._lock:
            self._closed = True
            timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
            if timer is not threading.current_thread():
                timer.join()
        self.now()

    def _run(self) -> None:
        with self._lock:
            self._timer = None
        try:
            self._before()
            self.now()
        except (StoreError, sqlite3.Error) as error:
            # The journal keeps what the store could not take; the next write tries again.
            _log.warning("the memory is not settled yet: %s", error)
