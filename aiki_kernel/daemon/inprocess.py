"""The engine without a process: the same application behind a transport that never leaves
this one (``AIKI_DAEMON=off``).

httpx2's own ASGI transport gathers the whole answer before it returns; this one streams,
and closing the answer tells the application that its client is gone, so a generation
stops as it does over a socket.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import AsyncIterator
from typing import Any

import httpx2
from starlette.types import ASGIApp, Message, Scope

from aiki_kernel.config import Paths, Settings
from aiki_kernel.daemon.app import create_app
from aiki_kernel.daemon.door import Door, in_own_thread
from aiki_kernel.daemon.engine import Engine

logger = logging.getLogger("aiki.daemon")


class InProcessDoor(Door):
    """The engine in this process, opened at the first call."""

    def __init__(self, settings: Settings, paths: Paths) -> None:
        super().__init__()
        self.settings = settings
        self.paths = paths
        self._making = threading.Lock()
        self._engine: Engine | None = None
        self._app: ASGIApp | None = None

    @property
    def engine(self) -> Engine:
        """The engine; a new one after :meth:`aclose`."""
        return self._open()[0]

    def transport(self) -> httpx2.AsyncBaseTransport:
        return AppTransport(self._enter)

    async def close_engine(self) -> None:
        with self._making:
            engine, self._engine, self._app = self._engine, None, None
        if engine is not None:
            await in_own_thread(engine.close)

    def cut_off(self) -> None:
        """The engine is in this process: it is there as long as we are."""

    async def _enter(self, scope: Scope, receive: Any, send: Any) -> None:
        await self._open()[1](scope, receive, send)

    def _open(self) -> tuple[Engine, ASGIApp]:
        with self._making:
            if self._engine is None or self._app is None:
                self._engine = Engine(self.settings, self.paths)
                self._engine.start()
                self._app = create_app(self._engine)
            return self._engine, self._app


class AppTransport(httpx2.AsyncBaseTransport):
    """A streaming transport to an ASGI application on the running loop."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._running: dict[asyncio.Task[None], asyncio.Event] = {}

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        assert isinstance(request.stream, httpx2.AsyncByteStream)
        body = b"".join([piece async for piece in request.stream])
        gone = asyncio.Event()
        answer: asyncio.Queue[Message | None] = asyncio.Queue()
        asked = False

        async def receive() -> Message:
            nonlocal asked
            if not asked:
                asked = True
                return {"type": "http.request", "body": body, "more_body": False}
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            if not gone.is_set():
                answer.put_nowait(message)

        async def work() -> None:
            try:
                await self._app(_scope(request), receive, send)
            except Exception:
                # The application has already answered 500 where it could, and logged why.
                logger.debug("in-process request failed", exc_info=True)
            finally:
                answer.put_nowait(None)

        task = asyncio.get_running_loop().create_task(work())
        self._running[task] = gone
        task.add_done_callback(lambda ended: self._running.pop(ended, None))
        try:
            start = await answer.get()
        except asyncio.CancelledError:
            gone.set()
            raise
        if start is None:
            raise httpx2.RemoteProtocolError("the engine gave no answer", request=request)
        return httpx2.Response(
            start["status"], headers=start.get("headers", []), stream=_Body(answer, gone)
        )

    async def aclose(self) -> None:
        """Tell what still runs that nobody listens, and let writes come to their end."""
        for gone in self._running.values():
            gone.set()
        if self._running:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(10.0):
                    await asyncio.wait(list(self._running))


class _Body(httpx2.AsyncByteStream):
    def __init__(self, answer: asyncio.Queue[Message | None], gone: asyncio.Event) -> None:
        self._answer = answer
        self._gone = gone

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            message = await self._answer.get()
            if message is None:
                raise httpx2.ReadError("the engine broke off its answer")
            if message.get("body"):
                yield message["body"]
            if not message.get("more_body", False):
                return

    async def aclose(self) -> None:
        self._gone.set()


def _scope(request: httpx2.Request) -> Scope:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": request.method,
        "headers": [(name.lower(), value) for name, value in request.headers.raw],
        "scheme": "http",
        "path": request.url.path,
        "raw_path": request.url.raw_path.split(b"?")[0],
        "query_string": request.url.query,
        "root_path": "",
        "client": None,
        # A server without a port: the application takes us for its own socket.
        "server": ("in-process", None),
    }
