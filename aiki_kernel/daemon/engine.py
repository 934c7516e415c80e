"""Engine: the memory, the local models and their queue, as one plain Python class.

The daemon is this behind a socket; ``AIKI_DAEMON=off`` is this in the caller's process.
Making one costs nothing: the store is opened on first use or by :meth:`Engine.start`, in
the background, and a store that is away is tried again. Until it is back, turns go to
the spool and are replayed exactly once.
"""

from __future__ import annotations

import hashlib
import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from aiki_kernel.config import Paths, Settings
from aiki_kernel.daemon.curation import Curator
from aiki_kernel.daemon.generation import GenerationQueue
from aiki_kernel.daemon.local import LocalModels
from aiki_kernel.daemon.spool import Replayed, Spool
from aiki_kernel.errors import AikiError, DaemonError, RefusedError, StoreError
from aiki_kernel.memory.records import Recall, Scope, Stored, Turn
from aiki_kernel.safety.audit import audit_of
from aiki_kernel.version import __version__

if TYPE_CHECKING:
    from aiki_kernel.memory.service import MemoryService

logger = logging.getLogger("aiki.daemon")

API = 1
"""Version of the daemon's own HTTP interface; a client of another one does not talk to it."""

_TICK_S = 1.0
_REOPEN_AFTER_S = 2.0
_BROKEN_FOR_S = 28.0
"""A failure that nobody foresaw is tried again (and logged whole) only every half minute."""


class Engine:
    """Everything that the daemon does. All methods block and are thread-safe."""

    def __init__(self, settings: Settings, paths: Paths) -> None:
        self.settings = settings
        self.paths = paths
        self.audit = audit_of(paths.home)
        self.spool = Spool(paths.spool)
        self.models = LocalModels(settings, paths)
        self.queue = GenerationQueue(settings.server.queue, settings.local.parallel)
        self.curator = Curator(self)
        self.on_tick: list[Callable[[], None]] = []
        self.started_at = time.time()
        self.last_request = time.monotonic()
        self.active = 0
        self._memory: MemoryService | None = None
        self._opening = threading.Lock()
        self._refusal: tuple[float, AikiError] | None = None
        self._replaying = threading.Lock()
        self._stats: dict[str, Any] = {}
        self._closed = threading.Event()
        self._closing = False
        self._tick_thread: threading.Thread | None = None

    def start(self) -> None:
        """Open the store in the background and keep house: replay, free idle models."""
        if self._tick_thread is None and not self._closing:
            self._audit_start()
            self._tick_thread = threading.Thread(
                target=self._keep_house, name="aiki-housekeeping", daemon=True
            )
            self._tick_thread.start()
            self.curator.start()

    @property
    def opened(self) -> MemoryService | None:
        """The memory if it is open; it is not opened for this."""
        return self._memory

    @property
    def memory(self) -> MemoryService:
        """The open memory. Raises :class:`StoreError` or :class:`ConfigError` in one line.

        A refusal is remembered for two seconds, so that a crowd of requests does not
        knock on a server that is away.
        """
        found = self._memory
        if found is not None:
            return found
        with self._opening:
            if self._memory is not None:
                return self._memory
            if self._closing:
                raise DaemonError("The memory is closed: send the message again.")
            if self._refusal and time.monotonic() - self._refusal[0] < _REOPEN_AFTER_S:
                raise self._refusal[1]
            try:
                from aiki_kernel.memory.access import Access
                from aiki_kernel.memory.service import MemoryService
                from aiki_kernel.mind.roster import Roster

                began = time.perf_counter()
                self.paths.home.mkdir(parents=True, exist_ok=True)
                access = Access(Roster(self.paths.home).grant, self._refused)
                self._memory = MemoryService(self.settings, self.paths, access=access)
                logger.info("memory open in %.2f s", time.perf_counter() - began)
            except AikiError as error:
                self._refusal = (time.monotonic(), error)
                raise
            except OSError as error:
                refusal = StoreError(
                    f"The memory in {self.paths.memory} cannot be opened "
                    f"({error.strerror or error}): check the folder and its permissions."
                )
                self._refusal = (time.monotonic(), refusal)
                raise refusal from error
            except Exception as error:
                logger.exception("memory does not open")
                broken = StoreError(
                    f"The memory in {self.paths.memory} does not open ({_one_line(error)}): "
                    "see the daemon's log."
                )
                self._refusal = (time.monotonic() + _BROKEN_FOR_S, broken)
                raise broken from error
            self._refusal = None
            self.spool.hurry()
            return self._memory

    def recall(
        self,
        query: str,
        scope: Scope,
        limit: int,
        exclude: Sequence[str] = (),
        backend: str = "",
    ) -> Recall:
        """As :meth:`MemoryService.recall`."""
        self.curator.message()
        return self.memory.recall(query, scope, limit, exclude, backend)

    def remember(self, turn: Turn) -> Stored:
        """Store ``turn``, or spool it when the store refuses; either way it is durable.

        Raises :class:`StoreError` when neither was possible.
        """
        self.curator.message()
        try:
            ids = self.memory.remember(turn)
        except RefusedError as error:  # its file says so: it would be refused again
            return Stored((), note=str(error))
        except Exception as error:
            cause = _one_line(error)
            if not isinstance(error, AikiError):
                logger.exception("remember failed")
            self.spool.put(turn)
            logger.warning("turn %s spooled: %s", turn.id, cause)
            return Stored((), True, f"Not in memory yet, kept in the spool: {cause}")
        if turn.replaces:
            self.spool.discard(turn.replaces)
        return Stored(tuple(ids))

    def embed(self, texts: Sequence[str]) -> tuple[list[list[float]], int]:
        """Vectors of ``texts`` by this memory's embedder, and a count of their tokens.

        The count is an estimate: embedders do not tell.
        """
        from aiki_kernel.models.tokens import estimate

        vectors = self.memory.collection.embedder.embed_documents(texts)
        return [row.tolist() for row in vectors], sum(estimate(text) for text in texts)

    def replay(self) -> Replayed:
        """One pass over the spool. At most one runs at a time."""
        with self._replaying:
            done = self.spool.replay(self._replay_one)
        if done.stored:
            logger.info("replayed %d turns, %d wait", done.stored, done.waiting)
        for note in self.spool.notes:
            logger.warning("spool: %s", note)
        self.spool.notes.clear()
        return done

    def _replay_one(self, turn: Turn) -> None:
        try:
            self.memory.remember(turn)
        except RefusedError as error:
            logger.warning("turn %s is not kept: %s", turn.id, error)

    def _refused(self, persona: str, operation: str, line: str) -> None:
        logger.warning("refused %s to %s: %s", operation, persona, line)
        self.audit.record("permission.refused", persona=persona, operation=operation)

    def identity(self) -> dict[str, Any]:
        """Who answers here, at once: what a client needs before it talks."""
        return {
            "status": "stopping" if self._closing else "ok",
            "version": __version__,
            "api": API,
            "pid": os.getpid(),
            "uptime_s": round(time.time() - self.started_at, 3),
            "home": str(self.paths.home),
        }

    def rebuilt(self) -> None:
        """The store takes turns again (it was re-embedded or restored): try the spool now."""
        self.spool.hurry()

    def health(self) -> dict[str, Any]:
        """What ``/health`` says; plain JSON data, never blocked by a store that is opening."""
        memory = self._memory
        if memory is not None:
            try:
                self._stats = dict(memory.stats())
                state, error = "ready", ""
            except Exception as failure:
                state, error = "away", _one_line(failure)
        elif self._refusal is not None:
            state, error = "away", _one_line(self._refusal[1])
        else:
            state, error = "opening", ""
        spool = {"waiting": len(self.spool.waiting()), "bad": len(self.spool.bad())}
        status = {"ready": "ok", "opening": "starting"}.get(state, "degraded")
        return {
            **self.identity(),
            **({} if self._closing else {"status": status}),
            "store": {
                "state": state,
                "kind": "server" if self.settings.memory.url else "embedded",
                "path": self.settings.memory.url or str(self.paths.memory),
                "error": error,
            },
            "count": self._stats.get("memories"),
            "embedder": self._stats.get("embedder", self.settings.memory.embedder),
            "index": {k: v for k, v in self._stats.items() if k != "search"},
            "search": self._stats.get("search", {}),
            "queue": self.queue.health(),
            "models": self.models.health(),
            "spool": spool,
            "curation": self.curator.status(),
            "audit": {"missed": self.audit.missed, "error": self.audit.error},
        }

    def refuse(self) -> None:
        """Going down: no new work is taken, what runs goes on."""
        self._closing = True
        self.queue.refuse()

    def close(self) -> None:
        """Finish what runs, flush and close the store. Safe to call twice."""
        self.refuse()
        self._closed.set()
        self.curator.close()
        self.queue.close()
        thread = self._tick_thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(30.0)
        with self._opening, self._replaying:
            memory, self._memory = self._memory, None
        if memory is not None:
            memory.close()
        self.models.close()
        self.audit.sync()

    @property
    def closing(self) -> bool:
        return self._closing

    def _audit_start(self) -> None:
        """A settings file that was edited by hand shows by its SHA-256."""
        try:
            digest = hashlib.sha256(self.paths.toml.read_bytes()).hexdigest()
        except OSError:
            digest = None
        self.audit.record("daemon.start", version=__version__, config_sha256=digest)

    def _keep_house(self) -> None:
        self.spool.sweep()
        while True:
            try:
                self._tick()
            except AikiError as error:
                logger.warning("%s", error)
            except Exception:
                logger.exception("housekeeping")
            if self._closed.wait(_TICK_S):
                return

    def _tick(self) -> None:
        for call in self.on_tick:
            call()
        self.audit.sync()
        self.models.free_idle()
        if self._closing:
            return
        try:
            _ = self.memory
        except AikiError as error:
            logger.debug("memory is away: %s", error)
            return
        if self.spool.due():
            self.replay()


def _one_line(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0]
