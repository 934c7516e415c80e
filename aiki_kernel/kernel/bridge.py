"""Cells listen here; the loop itself runs on Aiki's own thread.

A message makes the process import a model client, open sockets and wait for memory.
None of that may hold up an interrupt, a Tab or a Stop button, and HTTP connections belong
to the event loop that opened them while cells run on several (the main shell's, one per
subshell). So ``Aiki`` lives on one loop in a thread of its own, and a cell's loop only
waits on a queue: cancelling it takes effect at once, whatever the other side is doing.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import importlib
import sys
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from aiki_kernel.aiki import Aiki
    from aiki_kernel.mind.conversation import Conversation, Message
    from aiki_kernel.mind.events import Event

T = TypeVar("T")

_END = object()


def _default() -> Aiki:
    from aiki_kernel.aiki import Aiki

    return Aiki()


class Bridge:
    """The way from cells to one :class:`Aiki`, made when it is first needed."""

    def __init__(self, make: Callable[[], Aiki] = _default) -> None:
        self._make = make
        self._aiki: Aiki | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()
        self._streams: set[concurrent.futures.Future[None]] = set()
        self.on_made: Callable[[Aiki], None] = lambda aiki: None

    @property
    def started(self) -> bool:
        return self._aiki is not None

    @property
    def aiki(self) -> Aiki:
        """The parts put together. Heavy at first use; raises ``ConfigError``."""
        with self._lock:
            if self._aiki is None:
                aiki = self._make()
                self._loop = aiki.run(_own_loop())
                self.on_made(aiki)
                self._aiki = aiki
            return self._aiki

    async def ready(self, *modules: str) -> Aiki:
        """:attr:`aiki`, and ``modules`` imported, without holding up this loop."""

        def prepare() -> Aiki:
            aiki = self.aiki
            for name in modules:
                importlib.import_module(name)
            return aiki

        loaded = all(name in sys.modules for name in modules)
        if self._aiki is not None and loaded:
            return self._aiki
        made: Aiki = await in_thread(prepare)
        return made

    def submit(self, work: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Run ``work`` on Aiki's own loop. :attr:`aiki` must be there."""
        assert self._loop is not None
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    async def events(
        self, message: Message, conversation: Conversation
    ) -> AsyncGenerator[Event, None]:
        """The events of one message. Leaving early (or a cancel) stops the answer; a turn
        that is being remembered is remembered all the same."""
        aiki = await self.ready()
        here = asyncio.get_running_loop()
        queue: asyncio.Queue[Any] = asyncio.Queue()

        def put(item: Any) -> None:
            with contextlib.suppress(RuntimeError):  # the subshell's loop is gone
                here.call_soon_threadsafe(queue.put_nowait, item)

        async def pump() -> None:
            async with contextlib.aclosing(aiki.respond(message, conversation)) as events:
                async for event in events:
                    put(event)

        assert self._loop is not None
        stream = asyncio.run_coroutine_threadsafe(pump(), self._loop)
        self._streams.add(stream)
        stream.add_done_callback(self._streams.discard)
        stream.add_done_callback(lambda _: put(_END))
        try:
            while (item := await queue.get()) is not _END:
                yield item
            if not stream.cancelled() and (error := stream.exception()) is not None:
                raise error
        finally:
            stream.cancel()

    def stop(self, seconds: float) -> None:
        """End answers, let writes finish within ``seconds``, close everything.

        A turn that cannot be stored in time is cancelled, and its memory client spools it.
        """
        for stream in list(self._streams):
            stream.cancel()
        if self._aiki is None or self._loop is None:
            return
        ending = asyncio.run_coroutine_threadsafe(_finish(self._aiki, seconds), self._loop)
        with contextlib.suppress(TimeoutError):
            ending.result(seconds + 0.3)


async def _finish(aiki: Aiki, seconds: float) -> None:
    closing = asyncio.create_task(aiki.aclose())
    await asyncio.wait([closing], timeout=seconds * 0.6)
    if not closing.done():
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.wait(others, timeout=seconds * 0.4)


async def _own_loop() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


async def in_thread(work: Callable[[], Any]) -> Any:
    """Run ``work`` in a daemon thread: unlike a pool's, it holds up nothing at exit."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Any] = loop.create_future()

    def settle(result: Any, error: BaseException | None) -> None:
        if future.done():
            return
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)

    def run() -> None:
        result, error = None, None
        try:
            result = work()
        except Exception as caught:
            error = caught
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=run, name="aiki-prepare", daemon=True).start()
    return await future
