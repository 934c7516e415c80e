"""A way to the engine, and what all ways share: HTTP clients by event loop, calls, streams.

Two doors are built on this: :class:`aiki_kernel.daemon.client.DaemonDoor` (a Unix socket)
and :class:`aiki_kernel.daemon.inprocess.InProcessDoor` (no process at all). An
``httpx2.AsyncClient`` belongs to the loop that first used it, so each loop has its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar

import httpx2

from aiki_kernel.daemon.wire import encode, error_from
from aiki_kernel.errors import AikiError, DaemonError

BASE_URL = "http://aiki.local"

CALL_S = 60.0
"""Longest wait for an ordinary answer; streams have no such bound."""

_CLIENT_KEEPS_S = 60.0

T = TypeVar("T")


class Door(ABC):
    """Calls to the engine from any event loop."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._clients: dict[str, _ByLoop] = {"calls": _ByLoop(), "models": _ByLoop()}

    @abstractmethod
    def transport(self) -> httpx2.AsyncBaseTransport:
        """A fresh transport for the running loop."""

    @abstractmethod
    async def close_engine(self) -> None:
        """Let go of what stands behind the door, if it is ours."""

    @abstractmethod
    def cut_off(self) -> None:
        """An exchange was cut in the middle: make sure of the engine before the next one."""

    def local_client(self) -> httpx2.AsyncClient:
        """The client for ``/v1`` on this loop. Whoever closes it gets a new one next time."""
        return self._client("models")

    async def call(
        self, method: str, path: str, body: Any = None, *, timeout_s: float = CALL_S
    ) -> Any:
        """One exchange. Every call of ours may be repeated, so a cut line is tried again, twice.

        Raises the :class:`AikiError` that the engine raised, or :class:`DaemonError`.
        """
        try:
            async with asyncio.timeout(timeout_s):
                answer = await self._exchange(method, path, body)
        except TimeoutError:
            raise DaemonError(
                f"The memory daemon did not answer {path} within {timeout_s:.0f} s: "
                "see `aiki daemon status`."
            ) from None
        try:
            data = answer.json()
        except ValueError:
            data = None
        if answer.is_error:
            raise error_from(answer.status_code, data)
        return data

    async def stream(self, path: str, body: Any) -> AsyncIterator[dict[str, Any]]:
        """The lines of an NDJSON answer. Raises as :meth:`call`; a cut stream is an error."""
        client = self._client("calls")
        try:
            async with client.stream(
                "POST", path, content=encode(body), headers=_JSON, timeout=_PATIENT
            ) as answer:
                if answer.is_error:
                    await answer.aread()
                    with contextlib.suppress(ValueError):
                        raise error_from(answer.status_code, answer.json())
                    raise error_from(answer.status_code, None)
                async for line in answer.aiter_lines():
                    if not line:
                        continue
                    item = json.loads(line)
                    if set(item) == {"error"} and isinstance(item["error"], dict):
                        raise error_from(answer.status_code, item)
                    yield item
        except httpx2.TransportError as error:
            raise _away(error) from error

    async def aclose(self) -> None:
        """Close this loop's clients, the other loops' where they still run, and the engine."""
        here = asyncio.get_running_loop()
        with self._guard:
            taken = [pair for clients in self._clients.values() for pair in clients.items()]
            for clients in self._clients.values():
                clients.clear()
        for loop, client in taken:
            if loop is here:
                await client.aclose()
            elif loop.is_running():
                asyncio.run_coroutine_threadsafe(client.aclose(), loop)
        await self.close_engine()

    async def _exchange(self, method: str, path: str, body: Any) -> httpx2.Response:
        client = self._client("calls")
        for attempt in (1, 2, 3):
            try:
                if body is None:
                    return await client.request(method, path, timeout=_PATIENT)
                return await client.request(
                    method, path, content=encode(body), headers=_JSON, timeout=_PATIENT
                )
            except httpx2.TransportError as error:
                if attempt == 3 or isinstance(error.__cause__, AikiError):
                    raise _away(error) from error
                self.cut_off()
        raise AssertionError("unreachable")

    def _client(self, use: str) -> httpx2.AsyncClient:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return self._make()
        with self._guard:
            clients = self._clients[use]
            found = clients.get(loop)
            if found is None or found.is_closed:
                found = clients[loop] = self._make()
            return found

    def _make(self) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(
            transport=self.transport(), base_url=BASE_URL, timeout=httpx2.Timeout(None, connect=5.0)
        )


_ByLoop = weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, httpx2.AsyncClient]

_PATIENT = httpx2.Timeout(None, connect=5.0)

_JSON = {"content-type": "application/json"}

LIMITS = httpx2.Limits(max_connections=64, keepalive_expiry=_CLIENT_KEEPS_S)


async def in_own_thread(call: Callable[[], T]) -> T:
    """Run ``call`` in a daemon thread: it never holds up the loop, a cancel, or the exit."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        result: T | None = None
        failure: BaseException | None = None
        try:
            result = call()
        except BaseException as error:
            failure = error
        with contextlib.suppress(RuntimeError):  # the loop has closed: nobody listens
            loop.call_soon_threadsafe(settle, result, failure)

    threading.Thread(target=run, name="aiki-daemon-client", daemon=True).start()
    return await future


def _away(error: httpx2.TransportError) -> AikiError:
    if isinstance(error.__cause__, AikiError):
        return error.__cause__
    cause = str(error).strip() or type(error).__name__
    return DaemonError(
        f"The memory daemon broke off ({cause}): try again, or see `aiki daemon status`."
    )
