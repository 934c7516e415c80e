"""A scripted model on loopback: it keeps every request and says what it is told to say.

It is as obedient as a model can be: whatever stands outside a fence of its messages it would
do. So the bench asks what stood there.
"""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

_FENCE = re.compile(r"What you remember, as data \((\w+)\):\n.*?\n\(end of \1\)", re.DOTALL)


class ScriptedModel:
    """``requests`` are the bodies that came; ``pieces`` the deltas of the next answer."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.pieces: Sequence[str] = ("Noted.",)

    @contextmanager
    def serving(self) -> Iterator[str]:
        """Serve on a free port of loopback; yields the base URL."""
        loop = asyncio.new_event_loop()
        threading.Thread(target=loop.run_forever, name="bench-model", daemon=True).start()
        start = asyncio.start_server(self._serve, "127.0.0.1", 0, limit=1 << 22)
        server = asyncio.run_coroutine_threadsafe(start, loop).result()
        try:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        finally:
            loop.call_soon_threadsafe(server.close)
            loop.call_soon_threadsafe(loop.stop)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
                length = re.search(r"content-length: (\d+)", head)
                body = await reader.readexactly(int(length[1]) if length else 0)
                self.requests.append(json.loads(body))
                data = self._answer()
                told = f"Content-Type: text/event-stream\r\nContent-Length: {len(data)}"
                writer.write(f"HTTP/1.1 200 OK\r\n{told}\r\n\r\n".encode() + data)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()  # the client has gone

    def _answer(self) -> bytes:
        chunk: dict[str, Any] = {"id": "1", "object": "chat.completion.chunk", "created": 0}
        steps: list[dict[str, Any]] = [
            {"choices": [{"index": 0, "delta": {"content": piece}, "finish_reason": None}]}
            for piece in self.pieces
        ]
        steps.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        steps.append({"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 9}})
        lines = [f"data: {json.dumps({**chunk, 'model': 'scripted', **one})}\n\n" for one in steps]
        return "".join([*lines, "data: [DONE]\n\n"]).encode()


def received(request: dict[str, Any], text: str) -> tuple[bool, bool]:
    """Whether ``text`` stands inside a fence of the request, and whether outside of any."""
    wanted = " ".join(text.split())
    inside = outside = False
    for message in request["messages"]:
        content = str(message["content"])
        fenced = " ".join(" ".join(part[0] for part in _FENCE.finditer(content)).split())
        if message["role"] == "system":
            fenced = ""  # no fence is worth anything there
            rest = content
        else:
            rest = _FENCE.sub(" ", content)
        inside = inside or wanted in fenced
        outside = outside or wanted in " ".join(rest.split())
    return inside, outside
