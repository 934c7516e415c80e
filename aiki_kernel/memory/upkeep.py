"""Upkeep of the dense index behind the scenes: it is built when it is missing or no longer
to be trusted, and written to its file when the memory has been quiet for a while.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time

from aiki_kernel.compute.errors import VectorError
from aiki_kernel.errors import StoreError
from aiki_kernel.memory.dense import DenseIndex

_log = logging.getLogger(__name__)

QUIET_S = 10.0
_FIRST_S = 2.0
_LOOK_S = 1.0
_AGAIN_S = 60.0
_SMALL = 32_000  # rows that are written in an instant
_WORTH = 64  # changed rows, or one in a hundred: fewer are read from the store as fast


class Upkeep:
    """One thread for one index, from :meth:`begin` to :meth:`end`."""

    def __init__(self, index: DenseIndex) -> None:
        self.index = index
        self._stopped = threading.Event()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._not_before = 0.0

    def begin(self) -> None:
        """Load the file; without it start to build."""
        if not self.index.load():
            _log.info("the index is built: %s", self.index.why)
        self._thread = threading.Thread(target=self._run, name="aiki-dense-upkeep", daemon=True)
        self._thread.start()

    def hurry(self) -> None:
        """Look now."""
        self._not_before = 0.0
        self._wake.set()

    def end(self) -> None:
        """Stop building, wait for the thread, and write the file if that is worth it."""
        self._stopped.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join()
        unsaved = self.index.unsaved
        if unsaved and (self.index.rows <= _SMALL or unsaved * 100 >= self.index.rows):
            self._save()

    def _run(self) -> None:
        while not self._stopped.is_set():
            if time.monotonic() >= self._not_before:
                try:
                    if not self.index.ready:
                        self._build()
                    elif self._worth_saving():
                        self._save()
                except Exception as error:  # a thread that ends would leave all to the store
                    _log.exception("the upkeep of the index failed")
                    self._later(f"it cannot be kept up ({type(error).__name__})")
            self._wake.wait(_LOOK_S)
            self._wake.clear()

    def _worth_saving(self) -> bool:
        index = self.index
        idle_s = time.monotonic() - index.changed_at
        unsaved = index.unsaved
        if index.saved_at is None:
            return unsaved > 0 and idle_s >= _FIRST_S
        return idle_s >= QUIET_S and unsaved >= _WORTH and unsaved * 100 >= index.rows

    def _build(self) -> None:
        began = time.perf_counter()
        try:
            self.index.build(self._stopped)
        except (StoreError, VectorError, MemoryError, sqlite3.Error) as error:
            self._later(f"it cannot be built ({error or type(error).__name__})")
        else:
            if self.index.ready:
                seconds = time.perf_counter() - began
                _log.info("the index was built in %.2f s: %d rows", seconds, self.index.rows)

    def _save(self) -> None:
        try:
            self.index.save()
        except OSError as error:
            self._later(f"{self.index.path.name} cannot be written ({error.strerror or error})")
        except (StoreError, VectorError, sqlite3.Error) as error:
            self._later(str(error))

    def _later(self, why: str) -> None:
        _log.warning("dense index: %s", why)
        if not self.index.ready:
            self.index.why = why
        self._not_before = time.monotonic() + _AGAIN_S
