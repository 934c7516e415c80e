"""A model server on loopback that gives one fixed answer at once: what kernels are compared on."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SIGN = "Perihelion"
"""The answer's first word. No kernel says it unasked, so whoever shows it shows the answer."""

ANSWER = f"""{SIGN} is the point of an orbit that is nearest to the sun.

- The Earth is there in early January, about 147.1 million km away.
- In July it is farthest, about 152.1 million km away: **aphelion**.

```python
ratio = 152.1 / 147.1  # 1.034
```

So the distance is not why winters are cold: the tilt of the axis is."""
MODEL = "gpt-4o-mini"
"""The name that every peer knows and takes for a model of OpenAI's."""

_USAGE = {"prompt_tokens": 40, "completion_tokens": 110, "total_tokens": 150}


@dataclass(frozen=True)
class Served:
    """A running server: its base URL, and what it was asked, the last message of each call."""

    url: str
    asked: list[str] = field(default_factory=list)


@contextmanager
def serving() -> Iterator[Served]:
    """A running server. It streams when it is asked to."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Answers)
    served = Served(f"http://127.0.0.1:{server.server_address[1]}/v1")
    server.asked = served.asked  # type: ignore[attr-defined]
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, name="fixed-answer", daemon=True)
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._send("application/json", json.dumps({"object": "list", "data": [{"id": MODEL}]}))

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers.get("content-length") or 0)) or b"{}")
        last = (asked.get("messages") or [{}])[-1].get("content")
        self.server.asked.append(last if isinstance(last, str) else json.dumps(last))  # type: ignore[attr-defined]
        stream = bool(asked.get("stream"))
        kind = "text/event-stream" if stream else "application/json"
        self._send(kind, _streamed() if stream else _whole())

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the terminal belongs to the command."""

    def _send(self, kind: str, text: str) -> None:
        data = text.encode()
        with contextlib.suppress(ConnectionError):  # a kernel that was ended has gone
            self.send_response(200)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)


def _head(kind: str) -> dict[str, Any]:
    return {"id": "fixed", "object": kind, "created": 0, "model": MODEL}


def _whole() -> str:
    message = {"role": "assistant", "content": ANSWER}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return json.dumps({**_head("chat.completion"), "choices": [choice], "usage": _USAGE})


def _streamed() -> str:
    """A word an event, as a server's tokens come."""
    pieces = ANSWER.split(" ")
    words = [word if last == len(pieces) else f"{word} " for last, word in enumerate(pieces, 1)]
    deltas: list[tuple[dict[str, Any], str | None]] = [({"role": "assistant", "content": ""}, None)]
    deltas += [({"content": word}, None) for word in words]
    deltas.append(({}, "stop"))
    head = _head("chat.completion.chunk")
    events = [
        {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}
        for delta, reason in deltas
    ]
    events.append({**head, "choices": [], "usage": _USAGE})
    return "".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n"
