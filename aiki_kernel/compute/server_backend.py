"""Mojo in a process of its own: for isolation, since a crash there cannot take this process.

The server is started at the first search. When it dies or falls silent in the middle of one,
that search is answered by NumPy, :attr:`ServerBackend.note` says so, and the next search
starts a new server. After a fork the child starts its own.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from aiki_kernel.compute import frames
from aiki_kernel.compute.backend import Found, Snapshot, check_finite
from aiki_kernel.compute.errors import BackendError
from aiki_kernel.compute.frames import FrameError, Kind
from aiki_kernel.compute.mojo_backend import checked, settings
from aiki_kernel.compute.native import native
from aiki_kernel.compute.numpy_backend import NumpyBackend
from aiki_kernel.compute.parts import Layout, ListLayout, Region
from aiki_kernel.compute.plan import Plan

PATIENCE = 20.0  # seconds without an answer after which the server counts as hung


class Process:
    """One running server: the control socket and idle connections. Not shared with forks."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        self.owner = os.getpid()
        self.lock = threading.Lock()
        self.control = ours
        self.idle: list[socket.socket] = []
        self.attached: dict[int, weakref.ref[Region]] = {}
        ours.settimeout(PATIENCE)
        with theirs:
            self.popen = subprocess.Popen(
                [sys.executable, "-P", "-m", "aiki_kernel.compute.server", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,  # an interrupt typed at the notebook is not for it
            )

    def tell(self, kind: Kind, body: bytes = b"", fd: int | None = None) -> None:
        """One frame on the control socket, with a descriptor when given; waits for its answer."""
        header = frames.HEADER.pack(frames.MAGIC, kind, len(body))
        if fd is None:
            self.control.sendall(header + body)
        else:
            socket.send_fds(self.control, [header], [fd])
            self.control.sendall(body)
        answer, text = frames.receive(self.control)
        if answer != Kind.DONE:
            raise FrameError(text.decode("utf-8", "replace"))

    def attach(self, region: Region, layout: Layout | ListLayout) -> None:
        """Make a region known to the server, and forget those that are gone here."""
        if region.number in self.attached:
            return
        with self.lock:
            for number in [number for number, there in self.attached.items() if there() is None]:
                self.tell(Kind.DETACH, number.to_bytes(8, "little"))
                del self.attached[number]
            if region.number not in self.attached:
                capacity = layout.capacity if isinstance(layout, Layout) else 0
                body = frames.ATTACH.pack(
                    region.number, capacity, layout.dim, *layout.offsets(), *layout.sizes()
                )
                self.tell(Kind.ATTACH, body, region.fd)
                self.attached[region.number] = weakref.ref(region)

    @contextlib.contextmanager
    def connection(self):  # type: ignore[no-untyped-def]
        """A socket of this thread's own; it goes back only after a whole answer."""
        with self.lock:
            taken = self.idle.pop() if self.idle else None
            if taken is None:
                taken, theirs = socket.socketpair()
                taken.settimeout(PATIENCE)
                with theirs:
                    self.tell(Kind.CONNECT, fd=theirs.fileno())
        try:
            yield taken
        except BaseException:
            taken.close()
            raise
        with self.lock:
            self.idle.append(taken)

    def end(self) -> None:
        """Close the sockets; the server ends with them, or is killed. A fork's copy is left."""
        for one in [self.control, *self.idle]:
            one.close()
        if self.owner == os.getpid():
            self.popen.kill()
            self.popen.wait()


class ServerBackend:
    """Searches in another process, over shared memory."""

    name = "mojo-server"
    uses_codes = True
    needs_shared_memory = True

    def __init__(self) -> None:
        loaded = native()
        if loaded.kernels is None:
            raise BackendError(f"No Mojo here: {loaded.reason}. Use the numpy backend.")
        self.note = ""
        self.starts = 0
        self._numpy = NumpyBackend()
        self._lock = threading.Lock()
        self._process: Process | None = None

    @property
    def pid(self) -> int | None:
        """The server's process number while one runs."""
        return self._process.popen.pid if self._process else None

    def _running(self) -> Process:
        process = self._process
        if process is not None and process.owner == os.getpid():
            return process
        if process is not None:  # we are a fork: the parent's server stays the parent's
            self._lock = threading.Lock()
            process.end()
        with self._lock:
            if self._process is None or self._process.owner != os.getpid():
                self._process = Process()
                self.starts += 1
            return self._process

    def _drop(self, process: Process) -> None:
        with self._lock:
            if self._process is process:
                self._process = None
        process.end()

    def search(
        self,
        snapshot: Snapshot,
        queries: NDArray[np.float32],
        plan: Plan,
        mask: NDArray[np.bool_] | None,
        allowed: int,
    ) -> Found:
        bitmap = snapshot.bitmap if mask is None else np.packbits(mask, bitorder="little").tobytes()
        coarse = snapshot.coarse if plan.method == "lists" else None
        chosen = b""
        if coarse is not None:
            chosen = coarse.lists_for(self._numpy, queries, plan.probes).tobytes()
        head = frames.SEARCH.pack(
            snapshot.parts.region.number,
            0 if coarse is None else coarse.parts.region.number,
            1 if queries.ndim == 1 else len(queries),
            plan.k,
            len(bitmap),
            len(chosen),
            settings(snapshot, plan, allowed),
        )
        process = self._running()
        try:
            process.attach(snapshot.parts.region, snapshot.parts.layout)
            if coarse is not None:
                process.attach(coarse.parts.region, coarse.parts.layout)
            with process.connection() as connection:
                frames.send(connection, Kind.SEARCH, head, bitmap, chosen, queries.tobytes())
                kind, body = frames.receive(connection)
        except (OSError, EOFError, FrameError) as error:
            self._drop(process)
            check_finite(queries)
            found = self._numpy.search(
                snapshot, queries, plan._replace(method="exact"), mask, allowed
            )
            why = str(error) or type(error).__name__
            self.note = f"the search server went away ({why}); NumPy answered"
            return found
        if kind != Kind.FOUND:
            raise BackendError(f"The search server refused: {body.decode('utf-8', 'replace')}")
        self.note = ""
        count = int.from_bytes(body[:8], "little", signed=True)
        if coarse is not None and 0 <= count < plan.k:  # too few allowed rows in these lists
            return self.search(snapshot, queries, plan.flat(), mask, allowed)
        checked(count, plan.k)
        shape = (*queries.shape[:-1], plan.k)
        cells = queries.size // snapshot.dim * plan.k
        rows = np.frombuffer(body, np.int64, cells, 8).reshape(shape)
        scores = np.frombuffer(body, np.float32, cells, 8 + 8 * cells).reshape(shape)
        return Found(rows, scores)

    def asker(
        self, snapshot: Snapshot, plan: Plan
    ) -> Callable[[NDArray[np.float32]], Found] | None:
        """The way to the server and back takes longer than what leads to it."""
        return None

    def close(self) -> None:
        """End the server; a later search starts another."""
        with self._lock:
            process, self._process = self._process, None
        if process is not None:
            process.end()
