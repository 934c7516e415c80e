"""The generation queue: a few generations at a time, fair between sessions, with a bound.

A :class:`Job` runs a blocking generator in one of the queue's own threads and hands its items to
the event loop, or to the thread, that asked. Generations that run at once share the steps of the
engine. Cancelling a waiting job frees its place at once; a running one sees its event within one
token. Who is next is said in ``waiting``. A cell that comes while curation runs stops it: whoever
asked for that is told by :class:`PreemptedError`, and may ask again.
"""

from __future__ import annotations

import asyncio
import math
import queue
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from aiki_kernel.daemon.waiting import PRIORITIES, Place, Priority, WaitingLine
from aiki_kernel.errors import ModelError

Produce = Callable[[threading.Event], Iterator[Any]]

_SHOWN = 8  # letters of a session's name in health, and sessions that are named there


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


class PreemptedError(ModelError):
    """Curation was stopped because a cell wants the model; nothing of it counts."""

    code = "preempted"

    def __init__(self) -> None:
        super().__init__(
            "Curation made room for a cell: it begins again when the model is free.",
            stage="queue",
            status=503,
        )
        self.retry_after = 1


@dataclass(frozen=True)
class _End:
    error: BaseException | None = None


@dataclass
class Job:
    """One generation. Iterate it once, with ``async for`` on ``loop`` or, without a loop, with
    ``for`` in any thread. Leave the iteration and cancel it."""

    produce: Produce
    loop: asyncio.AbstractEventLoop | None
    session: str = ""
    priority: Priority = "cell"
    cancelled: threading.Event = field(default_factory=threading.Event)
    preempted: bool = False
    place: Place[Job] | None = None
    _items: asyncio.Queue[Any] = field(default_factory=asyncio.Queue)
    _here: queue.SimpleQueue[Any] = field(default_factory=queue.SimpleQueue)

    def post(self, item: Any) -> None:
        """Called in the queue's thread. A loop that has closed cancels the job."""
        if self.loop is None:
            self._here.put(item)
            return
        try:
            self.loop.call_soon_threadsafe(self._items.put_nowait, item)
        except RuntimeError:
            self.cancelled.set()

    async def __aiter__(self) -> AsyncIterator[Any]:
        while True:
            item = await self._items.get()
            if isinstance(item, _End):
                if item.error is not None:
                    raise item.error
                return
            yield item

    def __iter__(self) -> Iterator[Any]:
        while True:
            item = self._here.get()
            if isinstance(item, _End):
                if item.error is not None:
                    raise item.error
                return
            yield item


class GenerationQueue:
    """At most ``limit`` waiting jobs of each priority behind the ``parallel`` running ones."""

    def __init__(self, limit: int, parallel: int = 1) -> None:
        self.limit, self.parallel = limit, parallel
        self.served = 0
        self.refused = 0
        self.preempted = 0
        self._line: WaitingLine[Job] = WaitingLine(limit)
        self._running: list[Job] = []
        self._lock = threading.Lock()
        self._wake = threading.Condition(self._lock)
        self._threads: list[threading.Thread] = []
        self._closed = False
        self._seconds = 5.0
        self._longest_wait_s = 0.0

    def submit(self, produce: Produce, *, session: str = "", priority: Priority = "cell") -> Job:
        """Take a place in the queue, on a running event loop. ``session`` is whose work it is.

        Raises :class:`QueueFullError` or :class:`StoppingError`.
        """
        return self._enter(Job(produce, asyncio.get_running_loop(), session, priority))

    def run(
        self, produce: Produce, *, session: str = "", priority: Priority = "curation"
    ) -> Iterator[Any]:
        """The items of a job, in a thread that waits for them; closing the iterator cancels it.

        Raises what :meth:`submit` raises, and :class:`PreemptedError` when a cell took the place.
        """
        job = self._enter(Job(produce, None, session, priority))
        try:
            yield from job
        finally:
            self.cancel(job)

    def cancel(self, job: Job) -> None:
        """Stop ``job`` wherever it is; harmless when it has ended."""
        job.cancelled.set()
        with self._lock:
            if job.place is not None and self._line.leave(job.place):
                job.post(_End())
                self._wake.notify_all()  # curation may begin where only this cell waited

    def health(self) -> dict[str, Any]:
        """Counts for ``/health``. ``sessions``: waiting ones by session, most first."""
        with self._lock:
            waiting = list(self._line.by_session().items())[:_SHOWN]
            return {
                "running": len(self._running),
                "parallel": self.parallel,
                "waiting": len(self._line),
                "limit": self.limit,
                "served": self.served,
                "refused": self.refused,
                "preempted": self.preempted,
                "by_priority": {
                    kind: {
                        "running": sum(job.priority == kind for job in self._running),
                        "waiting": self._line.count(kind),
                    }
                    for kind in PRIORITIES
                },
                "sessions": {name[:_SHOWN] or "unnamed": count for name, count in waiting},
                "oldest_wait_s": round(self._line.oldest_s(), 3),
                "longest_wait_s": round(self._longest_wait_s, 3),
            }

    @property
    def busy(self) -> bool:
        with self._lock:
            return bool(self._running or len(self._line))

    def refuse(self) -> None:
        """Take no more jobs; those that wait are told so, the running ones go on."""
        with self._lock:
            self._closed = True
            waiting = self._line.clear()
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

    def _enter(self, job: Job) -> Job:
        with self._lock:
            if self._closed:
                raise StoppingError
            free = max(0, self.parallel - sum(one.priority == "cell" for one in self._running))
            if not self._line.has_room(job.session, job.priority, free):
                self.refused += 1
                turns = 1 + len(self._line) // self.parallel
                raise QueueFullError(self.limit, max(1, min(60, math.ceil(turns * self._seconds))))
            job.place = self._line.put(job, job.session, job.priority)
            if job.priority == "cell":
                self._preempt()
            if len(self._threads) < min(self.parallel, len(self._line) + len(self._running)):
                thread = threading.Thread(target=self._work, name="aiki-generation", daemon=True)
                self._threads.append(thread)
                thread.start()
            self._wake.notify()
        return job

    def _preempt(self) -> None:
        """A cell comes: curation would share its steps, and take its place when all are taken."""
        for job in self._running:
            if job.priority == "curation" and not job.cancelled.is_set():
                job.preempted = True
                job.cancelled.set()
                self.preempted += 1

    def _next(self) -> Job | None:
        """Wait for a job and take it; None when the queue is closed. The lock is held."""
        while True:
            cells = sum(job.priority == "cell" for job in self._running)
            place = self._line.take(Counter(job.session for job in self._running), cells=cells)
            if place is not None:
                if place.priority == "cell":
                    waited = time.monotonic() - place.since
                    self._longest_wait_s = max(self._longest_wait_s, waited)
                return place.item
            if self._closed:
                return None
            self._wake.wait()

    def _work(self) -> None:
        while True:
            with self._lock:
                job = self._next()
                if job is None:
                    return
                self._running.append(job)
            began = time.monotonic()
            end = _End()
            try:
                iterator = job.produce(job.cancelled)
                try:
                    for item in iterator:
                        if job.preempted:
                            break
                        job.post(item)
                        if job.cancelled.is_set():
                            break
                finally:
                    close = getattr(iterator, "close", None)
                    if close is not None:
                        close()
            except BaseException as error:
                end = _End(error)
            if job.preempted:
                end = _End(PreemptedError())
            with self._lock:
                self._running.remove(job)
                self.served += not job.preempted
                self._seconds = 0.7 * self._seconds + 0.3 * (time.monotonic() - began)
                self._wake.notify_all()  # the last cell to end lets curation begin
            job.post(end)
