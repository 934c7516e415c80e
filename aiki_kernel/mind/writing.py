"""Writing a turn down: ledger and memory side by side, in tasks of their own.

An interrupt ends an answer, never its writing. Whatever fails here is a note for the user.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Protocol

from aiki_kernel.errors import AikiError
from aiki_kernel.memory.records import Stored, Turn
from aiki_kernel.mind import booking
from aiki_kernel.mind.events import Remembered
from aiki_kernel.mind.labels import Labels
from aiki_kernel.mind.ledger import Entry
from aiki_kernel.mind.ports import MemoryPort
from aiki_kernel.mind.run import Run

if TYPE_CHECKING:
    from aiki_kernel.config import Settings
    from aiki_kernel.mind.recollection import Recollections
    from aiki_kernel.mind.sessions import Sessions
    from aiki_kernel.mind.telemetry import Telemetry
    from aiki_kernel.safety.audit import AuditLog

_log = logging.getLogger(__name__)


class LedgerPort(Protocol):
    """Where each model call is written down. ``notes`` are lines that the user must see."""

    @property
    def notes(self) -> list[str]: ...

    def record(self, entry: Entry) -> None: ...

    def remembered(self, seconds: float, *, spooled: bool = False) -> None: ...


class Writer:
    """Writes for many conversations at once. A part that is None is not told."""

    def __init__(
        self,
        settings: Settings,
        memory: MemoryPort,
        ledger: LedgerPort,
        labels: Labels | None = None,
        telemetry: Telemetry | None = None,
        audit: AuditLog | None = None,
        recollections: Recollections | None = None,
        sessions: Sessions | None = None,
    ) -> None:
        self.settings = settings
        self.memory = memory
        self.ledger = ledger
        self.labels = labels
        self.telemetry = telemetry
        self.audit = audit
        self.recollections = recollections
        self.sessions = sessions
        self._writes: set[asyncio.Task[Any]] = set()

    async def drain(self, seconds: float | None = None) -> None:
        """Wait for the writes that are still under way (at exit, on any loop)."""
        loop = asyncio.get_running_loop()
        waits: list[asyncio.Future[Any]] = []
        for task in list(self._writes):
            if task.get_loop() is loop:
                waits.append(task)
            elif task.get_loop().is_running():
                remote = asyncio.run_coroutine_threadsafe(_outcome(task), task.get_loop())
                waits.append(asyncio.wrap_future(remote))
        if waits:
            await asyncio.wait(waits, timeout=seconds)

    async def write(self, run: Run, turn: Turn | None) -> Remembered:
        """Ledger and memory side by side; a failure of either is a note, not a lost answer."""
        notes: list[str] = []

        async def book() -> None:
            if self.audit is not None:
                for where, kinds in run.secrets.items():
                    self.audit.record("secret.found", where=where, kinds=kinds, turn_id=run.turn_id)
            for entry in run.entries:
                try:
                    priced = await asyncio.to_thread(booking.priced, self.settings, entry)
                    await asyncio.to_thread(self.ledger.record, priced)
                except AikiError as error:
                    notes.append(str(error))
                while self.ledger.notes:
                    notes.append(self.ledger.notes.pop(0))
            if run.labels and self.labels is not None:
                try:
                    await asyncio.to_thread(self.labels.put, *run.labels)
                except AikiError as error:
                    notes.append(str(error))

        async def remember() -> Stored:
            if turn is None:
                return Stored(())
            try:
                return await self.memory.remember(turn)
            except AikiError as error:
                return Stored((), note=f"This turn was NOT remembered. {error}")

        try:
            with run.trace.span("remember") as span:
                stored, _ = await asyncio.gather(remember(), book())
                span.attributes["aiki.remember.spooled"] = stored.spooled
        finally:
            self.tell(run)
        if stored.ids or stored.spooled:
            self.ledger.remembered(span.seconds, spooled=stored.spooled)
        note = " ".join(part for part in (stored.note, *notes) if part)
        return Remembered(stored.ids, span.seconds, stored.spooled, note)

    def tell(self, run: Run) -> None:
        if self.telemetry is not None:
            self.telemetry.send(run)
        if self.recollections is not None and run.decision.model:
            self.recollections.keep(run)
        if self.sessions is not None and run.text:
            self.sessions.note(run.conversation, run.message.text)

    def background(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work)
        self._writes.add(task)
        task.add_done_callback(self._settle)
        return task

    def _settle(self, task: asyncio.Task[Any]) -> None:
        self._writes.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("a turn could not be written", exc_info=error)


async def _outcome(task: asyncio.Task[Any]) -> None:
    await asyncio.wait([task])
