"""OpenAI clients, one for each event loop and endpoint.

Importing ``openai`` takes about a second and building a client reads certificates; both
happen on a thread, so that an interrupt is heard meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import httpx2
    import openai

    from aiki_kernel.models.catalogue import ModelRef

LocalClient = Callable[[], "httpx2.AsyncClient"]


@dataclass(frozen=True)
class _Slot:
    """What a client was made for; another key or address needs another client."""

    endpoint: str
    base_url: str
    key: str
    headers: tuple[tuple[str, str], ...]
    connect_s: float


class Clients:
    """Clients by loop and endpoint. ``local`` gives the transport to this machine's models."""

    def __init__(self, local: LocalClient | None) -> None:
        self._local = local
        self._lock = threading.Lock()
        self._by_loop: weakref.WeakKeyDictionary[
            asyncio.AbstractEventLoop, dict[_Slot, openai.AsyncOpenAI]
        ] = weakref.WeakKeyDictionary()

    async def get(self, ref: ModelRef, key: str, connect_s: float) -> openai.AsyncOpenAI:
        """The client for ``ref`` on the running loop. ``connect_s`` bounds connecting."""
        loop = asyncio.get_running_loop()
        slot = _Slot(ref.endpoint, ref.base_url, key, tuple(sorted(ref.headers.items())), connect_s)
        with self._lock:
            found = self._by_loop.setdefault(loop, {}).get(slot)
        if found is not None:
            return found
        http = self._local() if ref.local and self._local is not None else None
        made = await asyncio.to_thread(_build, slot, http)
        with self._lock:
            kept = self._by_loop.setdefault(loop, {}).setdefault(slot, made)
        if kept is not made:
            await made.close()  # another task built one meanwhile
        return kept

    async def aclose(self) -> None:
        """Close every client: here those of this loop, elsewhere on their own loop if it runs."""
        with self._lock:
            taken = list(self._by_loop.items())
            self._by_loop = weakref.WeakKeyDictionary()
        here = asyncio.get_running_loop()
        for loop, clients in taken:
            for client in clients.values():
                if loop is here:
                    await client.close()
                elif loop.is_running():
                    closing = asyncio.run_coroutine_threadsafe(client.close(), loop)
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(asyncio.wrap_future(closing), 1.0)


def _build(slot: _Slot, http: httpx2.AsyncClient | None) -> openai.AsyncOpenAI:
    import httpx2
    import openai

    timeout = httpx2.Timeout(None, connect=slot.connect_s, pool=slot.connect_s)
    options: dict[str, Any] = {"http_client": http} if http is not None else {}
    headers: dict[str, Any] = dict(slot.headers)
    if slot.endpoint != "openai":
        # the client reads OPENAI_ORG_ID and OPENAI_PROJECT_ID: no other endpoint's business
        headers = {"OpenAI-Organization": openai.Omit(), "OpenAI-Project": openai.Omit(), **headers}
    client = openai.AsyncOpenAI(
        base_url=slot.base_url,
        # the client insists on a key; an endpoint without one ignores it
        api_key=slot.key or "none",
        max_retries=0,
        timeout=timeout,
        default_headers=headers,
        **options,
    )
    # resources are imported on first touch: touch them here, on the thread
    _ = client.chat.completions.with_streaming_response
    return client
