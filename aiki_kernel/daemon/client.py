"""The daemon's client: starts it on demand, survives its death, never loses a turn."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

import httpx2

from aiki_kernel.config import Paths, Settings
from aiki_kernel.daemon import lifecycle
from aiki_kernel.daemon.door import LIMITS, Door, in_own_thread
from aiki_kernel.daemon.spool import Spool
from aiki_kernel.daemon.wire import STOPPING
from aiki_kernel.errors import AikiError
from aiki_kernel.memory.records import Dropped, Hit, Recall, Record, Scope, Searched, Stored, Turn

RECALL_S = 30.0
REMEMBER_S = 30.0

_REFUSED_FOR_S = 5.0


class DaemonDoor(Door):
    """HTTP over the Unix socket of the one daemon of this home."""

    def __init__(self, settings: Settings, paths: Paths) -> None:
        super().__init__()
        self.settings = settings
        self.paths = paths
        self._starting = threading.Lock()
        self._ready = False
        self._refusal: tuple[float, AikiError] | None = None

    def transport(self) -> httpx2.AsyncBaseTransport:
        return _OnDemand(self)

    async def close_engine(self) -> None:
        """The daemon is everybody's: it stays."""

    def cut_off(self) -> None:
        """The daemon was killed, perhaps: its socket takes connections a little longer than
        it lives, so the next request first asks who is there."""
        self._ready = False

    async def ready(self, *, again: bool = False) -> None:
        """Return when a daemon of our version answers. Raises :class:`AikiError`.

        ``again`` says that the one we knew is gone. A failed start is not repeated for
        five seconds.
        """
        if again:
            self._ready = False
        if not self._ready:
            await in_own_thread(self._start)

    def _start(self) -> None:
        with self._starting:
            if self._ready:
                return
            if self._refusal and time.monotonic() - self._refusal[0] < _REFUSED_FOR_S:
                raise self._refusal[1]
            try:
                lifecycle.start(self.settings, self.paths)
            except AikiError as error:
                self._refusal = (time.monotonic(), error)
                raise
            self._refusal = None
            self._ready = True


class _OnDemand(httpx2.AsyncBaseTransport):
    """The socket's transport; a daemon that is not there (any more) is started first.

    Only requests that no daemon has begun to work on are sent again: the connection was
    refused, or the daemon said that it is stopping.
    """

    def __init__(self, door: DaemonDoor) -> None:
        self._door = door
        self._inner = httpx2.AsyncHTTPTransport(uds=str(door.paths.socket), limits=LIMITS)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        await self._ready(request, again=False)
        try:
            response = await self._inner.handle_async_request(request)
        except httpx2.ConnectError:
            await self._ready(request, again=True)
            return await self._inner.handle_async_request(request)
        if STOPPING in response.headers:
            await response.aclose()
            await self._ready(request, again=True)
            return await self._inner.handle_async_request(request)
        return response

    async def _ready(self, request: httpx2.Request, *, again: bool) -> None:
        try:
            await self._door.ready(again=again)
        except AikiError as error:
            raise httpx2.ConnectError(str(error), request=request) from error

    async def aclose(self) -> None:
        await self._inner.aclose()


class MemoryClient:
    """:class:`MemoryPort` through a door, with the spool behind it."""

    def __init__(self, door: Door, paths: Paths) -> None:
        self.door = door
        self.spool = Spool(paths.spool)

    async def recall(
        self,
        query: str,
        *,
        scope: Scope,
        limit: int,
        exclude: Sequence[str] = (),
        backend: str = "",
    ) -> Recall:
        """As the port says. A memory that cannot answer gives no hits and a ``note``."""
        body = {
            "query": query,
            "scope": scope_to_json(scope),
            "limit": limit,
            "exclude": list(exclude),
            "backend": backend,
        }
        try:
            answer = await self.door.call("POST", "/memory/recall", body, timeout_s=RECALL_S)
        except AikiError as error:
            return Recall(note=f"Answered without memory: {error}")
        return recall_from_json(answer)

    async def remember(self, turn: Turn) -> Stored:
        """As the port says. Raises :class:`StoreError` when even the spool refuses."""
        body = {"turn": turn.to_json()}
        try:
            answer = await self.door.call("POST", "/memory/remember", body, timeout_s=REMEMBER_S)
        except AikiError as error:
            cause = str(error)
        except asyncio.CancelledError:
            # The process is ending: what is not known to be stored must at least be on disk.
            self.spool.put(turn)
            raise
        else:
            return Stored(tuple(answer["ids"]), answer["spooled"], answer["note"])
        # The daemon may have stored it all the same: it will know the turn by its id.
        await in_own_thread(lambda: self.spool.put(turn))
        return Stored((), True, f"Not in memory yet, kept in the spool: {cause}")


class DaemonClient(MemoryClient):
    """The memory behind the daemon of ``paths``."""

    def __init__(self, paths: Paths, settings: Settings | None = None) -> None:
        from aiki_kernel.config import load

        super().__init__(DaemonDoor(settings or load(), paths), paths)


def scope_to_json(scope: Scope) -> dict[str, str | None]:
    """A scope as the daemon reads it."""
    return {
        "user_id": scope.user_id,
        "agent_id": scope.agent_id,
        "run_id": scope.run_id,
        "persona": scope.persona,
    }


def record_from_json(data: Mapping[str, Any]) -> Record:
    """The reverse of :meth:`Record.to_json`."""
    return Record(**{key: data[key] for key in Record.__dataclass_fields__ if key in data})


def recall_from_json(answer: dict[str, object]) -> Recall:
    """The reverse of the daemon's answer to a recall or a search."""
    hits = answer.get("hits", [])
    seconds = answer.get("seconds", {})
    dropped = answer.get("dropped", [])
    assert isinstance(hits, list)
    assert isinstance(seconds, dict)
    assert isinstance(dropped, list)
    return Recall(
        tuple(Hit.from_json(hit) for hit in hits),
        seconds,
        Searched.from_json(answer.get("backend")),
        str(answer.get("note", "")),
        tuple(Dropped.from_json(one) for one in dropped),
    )
