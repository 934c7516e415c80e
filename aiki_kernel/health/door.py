"""``/metrics`` and ``/health`` over HTTP: one thread, one request a connection, nothing else.

It shows what the last sample found and asks nobody, so a scraper cannot make work. The address
is the loopback interface unless the settings say otherwise; there is no key, and nothing secret.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable

_HEAD_BYTES = 8192
_PATIENCE_S = 2.0

Answer = tuple[int, str, str]
"""Status, content type, body."""

_WORDS = {200: "OK", 404: "Not Found", 405: "Method Not Allowed", 400: "Bad Request", 503: "Ill"}


class Door:
    """An open port. Raises ``OSError`` when it cannot be had."""

    def __init__(self, host: str, port: int, answer: Callable[[str], Answer]) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.create_server((host, port), family=family, backlog=16)
        self._answer = answer
        self._closed = False
        self._thread = threading.Thread(target=self._serve, name="aiki-health-door", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._socket.getsockname()[1])

    def close(self) -> None:
        """Answer no more."""
        self._closed = True
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits in accept
        self._socket.close()
        self._thread.join(_PATIENCE_S + 1.0)

    def _serve(self) -> None:
        while not self._closed:
            try:
                visitor, _ = self._socket.accept()
            except OSError:
                if self._closed:
                    return
                time.sleep(0.1)  # out of files, or cut before it was taken
                continue
            with visitor, contextlib.suppress(OSError):
                self._attend(visitor)

    def _attend(self, visitor: socket.socket) -> None:
        until = time.monotonic() + _PATIENCE_S
        data = b""
        while b"\r\n\r\n" not in data and b"\n\n" not in data:
            visitor.settimeout(max(0.01, until - time.monotonic()))
            piece = visitor.recv(4096)
            data += piece
            if not piece or len(data) > _HEAD_BYTES or time.monotonic() > until:
                return
        words = data.split(b"\n", 1)[0].decode("latin-1").split()
        if len(words) < 2:
            status, kind, body = 400, "text/plain", "Not HTTP.\n"
        elif words[0] not in ("GET", "HEAD"):
            status, kind, body = 405, "text/plain", "Only GET.\n"
        else:
            status, kind, body = self._answer(words[1].partition("?")[0])
        content = body.encode("utf-8", "replace")
        head = (
            f"HTTP/1.1 {status} {_WORDS.get(status, 'Error')}\r\nContent-Type: {kind}\r\n"
            f"Content-Length: {len(content)}\r\nConnection: close\r\n\r\n"
        )
        visitor.settimeout(_PATIENCE_S)
        visitor.sendall(head.encode() + (b"" if words[:1] == ["HEAD"] else content))
