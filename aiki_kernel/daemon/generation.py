"""The generation queue: a few generations at a time, first come first served, with a bound.

A :class:`Job` runs a blocking generator in one of the queue's own threads and hands its items to
the event loop that asked. Generations that run at once share the steps of the engine. Cancelling a
waiting job frees its place at once; a running one sees its event within one token.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import math
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from aiki_kernel.errors import ModelError

Produce = Callable[[threading.Event], Iterator[Any]]


class QueueFullError(ModelError):
    """No place left; ``retry_after`` is a guess in whole seconds."""

    def __init__(self, limit: int, retry_after: int) -> None:
        super().__init__(
            f"The model on this machine is busy ({limit} requests wait): "
            f"try again in {retry_after} s.",
            stage="queue",
            status=429,
        )
        self.retry_after = retry_after


class StoppingError(ModelError):
    """The daemon is going down and takes no new work."""

    def __init__(self) -> None:
        super().__init__(
            "The memory daemon is stopping: send the message again.", stage="queue", status=503
        )


@dataclass(frozen=True)
class _End:
    error: BaseException | None = None


@dataclass
class Job:
    """One generation. Iterate it once; leave the iteration and it is cancelled."""

    produce: Produce
    loop: asyncio.AbstractEventLoop
    cancelled: threading.Event = field(default_factory=threading.Event)
    items: asyncio.Queue[Any] = field(default_factory=asyncio.Queue)

    def post(self, item: Any) -> None:
        """Called in the queue's thread. A loop that has closed cancels the job."""
        try:
            self.loop.call_soon_threadsafe(self.items.put_nowait, item)
        except RuntimeError:
            self.cancelled.set()

    async def __aiter__(self) -> AsyncIterator[Any]:
        while True:
            item = await self.items.get()
            if isinstance(item, _End):
                if item.error is not None:
                    raise item.error
                return
            yield item


class GenerationQueue:
    """At most ``limit`` waiting jobs behind the ``parallel`` running ones."""

    def __init__(self, limit: int, parallel: int = 1) -> None:
        self.limit, self.parallel = limit, parallel
        self.served = 0
        self.refused = 0
        self._waiting: collections.deque[Job] = collections.deque()
        self._running: list[Job] = []
        self._lock = threading.Lock()
        self._wake = threading.Condition(self._lock)
        self._threads: list[threading.Thread] = []
        self._closed = False
        self._seconds = 5.0

    def submit(self, produce: Produce) -> Job:
        """Take a place in the queue. Raises :class:`QueueFullError` or :class:`StoppingError`."""
        job = Job(produce, asyncio.get_running_loop())
        with self._lock:
            if self._closed:
                raise StoppingError
            taken = len(self._waiting) + len(self._running)
            if taken >= self.limit + self.parallel:
                self.refused += 1
                turns = 1 + len(self._waiting) // self.parallel
                raise QueueFullError(self.limit, max(1, min(60, math.ceil(turns * self._seconds))))
            self._waiting.append(job)
            if len(self._threads) < min(self.parallel, taken + 1):
                thread = threading.Thread(target=self._work, name="aiki-generation", daemon=True)
                self._threads.append(thread)
                thread.start()
            self._wake.notify()
        return job

    def cancel(self, job: Job) -> None:
        """Stop ``job`` wherever it is; harmless when it has ended."""
        job.cancelled.set()
        with self._lock, contextlib.suppress(ValueError):
            self._waiting.remove(job)

    def health(self) -> dict[str, Any]:
        """Counts for ``/health``."""
        with self._lock:
            return {
                "running": len(self._running),
                "parallel": self.parallel,
                "waiting": len(self._waiting),
                "limit": self.limit,
                "served": self.served,
                "refused": self.refused,
            }

    @property
    def busy(self) -> bool:
        with self._lock:
            return bool(self._running or self._waiting)

    def refuse(self) -> None:
        """Take no more jobs; those that wait are told so, the running ones go on."""
        with self._lock:
            self._closed = True
            waiting = list(self._waiting)
            self._waiting.clear()
            self._wake.notify_all()
        for job in waiting:
            job.post(_End(StoppingError()))

    def close(self, timeout: float = 5.0) -> None:
        """Refuse, cancel what runs and wait for the threads."""
        self.refuse()
        with self._lock:
            running, threads = list(self._running), list(self._threads)
        for job in running:
            job.cancelled.set()
        until = time.monotonic() + timeout
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join(max(0.0, until - time.monotonic()))

    def _work(self) -> None:
        while True:
            with self._lock:
                while not self._waiting:
                    if self._closed:
                        return
                    self._wake.wait()
                job = self._waiting.popleft()
                self._running.append(job)
            began = time.monotonic()
            end = _End()
            try:
                iterator = job.produce(job.cancelled)
                try:
                    for item in iterator:
                        job.post(item)
                        if job.cancelled.is_set():
                            break
                finally:
                    close = getattr(iterator, "close", None)
                    if close is not None:
                        close()
            except BaseException as error:
                end = _End(error)
            with self._lock:
                self._running.remove(job)
                self.served += 1
                self._seconds = 0.7 * self._seconds + 0.3 * (time.monotonic() - began)
            job.post(end)
