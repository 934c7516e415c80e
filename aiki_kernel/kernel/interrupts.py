"""Interrupts that work: by signal and by message, in the main shell and in subshells.

What ipykernel 7.4 does with SIGINT while an async cell waits does not wake the event
loop, so the cell goes on until something else does; in a subshell nothing is done at all;
and a KeyboardInterrupt raised between two bytecodes of the machinery ends the process or
eats the reply. Here one handler stays installed for the life of the kernel:

* an async cell is cancelled through ``call_soon_threadsafe``, which does wake the loop;
* KeyboardInterrupt is raised only where user code runs and IPython will catch it;
* subshells' cells are cancelled from wherever the interrupt arrives;
* an interrupt between two cells does nothing.

``interrupt_request`` (the kernelspec asks for messages) sends this process the signal, so
both ways meet in the same handler; children of a cell get the signal as well.
"""

# mypy: allow-untyped-calls
# (ipykernel is only partly typed)
from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
import time
import weakref
from collections.abc import Iterator
from types import FrameType
from typing import Any

from ipykernel.ipkernel import IPythonKernel

_ONCE_S = 0.2
"""Two interrupts within this time are one: a console's Ctrl-C comes as signal and message."""

_SHELL = "IPython.core.interactiveshell"
_COMMS = {("ipykernel.comm.manager", "comm_msg"), ("comm.base_comm", "comm_msg")}


class Cells:
    """The async cells that run now, on whatever loop, and the answers within them."""

    def __init__(self) -> None:
        self._running: dict[asyncio.Future[Any], float] = {}
        self._stopped: weakref.WeakSet[asyncio.Future[Any]] = weakref.WeakSet()
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def running(self, cell: asyncio.Future[Any]) -> Iterator[None]:
        """Keep ``cell`` listed while it runs."""
        with self._lock:
            self._running[cell] = 0.0
        try:
            yield
        finally:
            with self._lock:
                del self._running[cell]

    def stop(self, cell: asyncio.Future[Any]) -> None:
        """Cancel a cell's task from any thread or signal handler."""
        now = time.monotonic()
        # No lock: the handler may interrupt the very thread that holds it.
        if now - self._running.get(cell, 0.0) < _ONCE_S:
            return
        if cell in self._running:
            self._running[cell] = now
        self._stopped.add(cell)
        with contextlib.suppress(RuntimeError):  # its loop has ended
            cell.get_loop().call_soon_threadsafe(cell.cancel)

    def stop_all(self, but: asyncio.Future[Any] | None = None) -> None:
        for cell in list(self._running):
            if cell is not but:
                self.stop(cell)

    def __contains__(self, task: object) -> bool:
        return task in self._running

    def was_stopped(self, cell: asyncio.Future[Any]) -> bool:
        """Whether :meth:`stop` was called for it."""
        return cell in self._stopped


class InterruptibleKernel(IPythonKernel):
    """An IPython kernel whose cells stop when they are told to."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.cells = Cells()
        self._main_cell: asyncio.Future[Any] | None = None
        self._handling = False
        self._early = False
        self._raised_at = 0.0

    def start(self) -> None:
        super().start()
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, self._on_sigint)

    # -- ipykernel's hooks ----------------------------------------------------------------

    def pre_handler_hook(self) -> None:
        """Called before a message is handled; stock ipykernel changes the handler here."""
        if threading.current_thread() is threading.main_thread():
            self._handling, self._early = True, False

    def post_handler_hook(self) -> None:
        if threading.current_thread() is threading.main_thread():
            self._handling = False

    @contextlib.contextmanager
    def _cancel_on_sigint(self, future: asyncio.Future[Any]) -> Iterator[None]:
        with self.cells.running(future):
            self._main_cell = future
            if self._early:  # the interrupt came while the cell was being compiled
                self.cells.stop(future)
            try:
                yield
            finally:
                self._main_cell = None

    @contextlib.contextmanager
    def _dummy_context_manager(self, *args: Any) -> Iterator[None]:
        with self.cells.running(args[0]):
            yield

    async def interrupt_request(self, stream: Any, ident: Any, parent: Any) -> None:
        """Runs in the control thread, so it is heard while a cell computes."""
        self.cells.stop_all(but=self._main_cell)
        if os.name == "nt":
            if self._main_cell is not None:
                self.cells.stop(self._main_cell)
            if self.session:
                self.session.send(stream, "interrupt_reply", {"status": "ok"}, parent, ident=ident)
            return
        await super().interrupt_request(stream, ident, parent)

    # -- the one handler --------------------------------------------------------------------

    def _on_sigint(self, _signal: int, frame: FrameType | None) -> None:
        cell = self._main_cell
        self.cells.stop_all(but=cell)
        if cell is not None and (self.is_answering(cell) or not _in_user_code(frame)):
            self.cells.stop(cell)
        elif self._handling and _in_user_code(frame):
            now = time.monotonic()
            if now - self._raised_at >= _ONCE_S:
                self._raised_at = now
                raise KeyboardInterrupt
        elif self._handling:
            self._early = True

    def is_answering(self, cell: asyncio.Future[Any]) -> bool:
        """Whether what runs in ``cell`` this very moment is our own code, not the user's."""
        return False


def _in_user_code(frame: FrameType | None) -> bool:
    """Whether a KeyboardInterrupt raised at ``frame`` will be caught and answered: in a cell's
    own code below IPython's ``run_code``, or in a widget's callback."""
    cell = False
    while frame is not None:
        where = (frame.f_globals.get("__name__"), frame.f_code.co_name)
        if where in _COMMS or (cell and where == (_SHELL, "run_code")):
            return True
        if where == (_SHELL, "showtraceback"):
            return False  # the cell has failed already and is being reported
        cell = cell or where[0] == "__main__"
        frame = frame.f_back
    return False
