"""One HTTP exchange: over a Unix socket, TCP or TLS, within one time limit for all of it.

The standard library's client would cost four megabytes for what these lines do. It asks once and
closes; a proxy of the environment is used as other clients of this program use it.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

_HEAD_BYTES = 65_536


class Answer(NamedTuple):
    """Status, headers by lower-case name, and the body (empty when it was not wanted)."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class NoAnswerError(Exception):
    """Nobody answered. ``cause`` is absent, refused, silent, unknown host, tls or cut."""

    def __init__(self, cause: str, detail: str = "") -> None:
        super().__init__(detail or cause)
        self.cause = cause


class Address(NamedTuple):
    """The parts of ``http[s]://host[:port][/path]``."""

    secure: bool
    host: str
    port: int
    path: str

    @property
    def netloc(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.secure else 80) else f"{host}:{self.port}"


def address(url: str) -> Address:
    """``url`` taken apart. Raises :class:`ValueError`."""
    scheme, found, rest = url.partition("://")
    if not found or scheme.lower() not in ("http", "https"):
        raise ValueError(f"{url!r} is no http address")
    secure = scheme.lower() == "https"
    netloc, slash, path = rest.partition("/")
    netloc = netloc.rpartition("@")[2]
    host, colon, port = netloc.rpartition(":")
    if not colon or port.endswith("]"):
        host, port = netloc, ""
    return Address(
        secure, host.strip("[]"), int(port) if port else 443 if secure else 80, slash + path
    )


def ask(
    url: str,
    *,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
    timeout: float = 3.0,
    unix: str = "",
    ca_file: str = "",
    want_body: bool = True,
    limit: int = 4 << 20,
) -> Answer:
    """Ask ``url`` once; ``unix`` is a socket to go through instead of TCP.

    Raises :class:`NoAnswerError`; a body beyond ``limit`` bytes is cut there.
    """
    until = time.monotonic() + timeout
    where = address(url)
    try:
        door, target = _door(where, unix, ca_file, until)
    except TimeoutError:
        raise NoAnswerError("silent") from None
    except OSError as error:
        raise _refusal(error) from None
    with door:
        lines = [f"{method} {target} HTTP/1.1", f"Host: {where.netloc}", "Connection: close"]
        lines += [f"{name}: {_safe(value)}" for name, value in (headers or {}).items()]
        if body is not None:
            lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
        head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")
        try:
            _patience(door, until)
            door.sendall(head + (body or b""))
            return _answer(door, until, want_body, limit)
        except TimeoutError:
            raise NoAnswerError("silent") from None
        except OSError as error:
            raise NoAnswerError("cut", error.strerror or str(error)) from None


def _door(where: Address, unix: str, ca_file: str, until: float) -> tuple[socket.socket, str]:
    """A connected socket, and what to ask it for."""
    target = where.path or "/"
    if unix:
        door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            _patience(door, until)
            door.connect(unix)
        except BaseException:
            door.close()
            raise
        return door, target
    proxy = _proxy(where)
    first = proxy or where
    door = socket.create_connection((first.host, first.port), max(0.01, until - time.monotonic()))
    if not where.secure:
        return door, f"http://{where.netloc}{target}" if proxy else target
    try:
        if proxy:
            _tunnel(door, where, until)
        _patience(door, until)
        return _wrapped(door, where.host, ca_file), target
    except BaseException:
        door.close()
        raise


_contexts: dict[str, Any] = {}


def _wrapped(door: socket.socket, host: str, ca_file: str) -> socket.socket:
    import ssl  # some megabytes: only for who asks over the network

    if ca_file not in _contexts:
        _contexts[ca_file] = ssl.create_default_context(cafile=ca_file or None)
    made: socket.socket = _contexts[ca_file].wrap_socket(door, server_hostname=host)
    return made


def _proxy(where: Address) -> Address | None:
    """The proxy that the environment names for ``where``."""
    if where.host in ("localhost", "::1") or where.host.startswith("127."):
        return None
    none = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    for name in (part.strip().lstrip(".") for part in none.split(",")):
        if name and (name == "*" or where.host == name or where.host.endswith("." + name)):
            return None
    for variable in ("https_proxy" if where.secure else "http_proxy", "all_proxy"):
        url = os.environ.get(variable) or os.environ.get(variable.upper()) or ""
        if url.startswith("http://") or (url and "://" not in url):
            return address(url if "://" in url else f"http://{url}")
    return None


def _tunnel(door: socket.socket, where: Address, until: float) -> None:
    _patience(door, until)
    name = f"{where.host}:{where.port}"
    door.sendall(f"CONNECT {name} HTTP/1.1\r\nHost: {name}\r\n\r\n".encode())
    found = _answer(door, until, False, 0)
    if found.status != 200:
        raise ConnectionRefusedError(0, f"the proxy answers {found.status}")


def _answer(door: socket.socket, until: float, want_body: bool, limit: int) -> Answer:
    data = b""
    while b"\r\n\r\n" not in data:
        piece = _receive(door, until)
        if not piece or len(data) > _HEAD_BYTES:
            raise NoAnswerError("cut", "no whole answer came")
        data += piece
    head, _, rest = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    words = first.split(" ", 2)
    if len(words) < 2 or not words[0].startswith("HTTP/") or not words[1].isdigit():
        raise NoAnswerError("cut", "it does not speak HTTP")
    headers = {k.strip().lower(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
    if not want_body:
        return Answer(int(words[1]), headers, b"")
    length = int(headers.get("content-length", limit))
    while len(rest) < min(length, limit):
        piece = _receive(door, until)
        if not piece:
            break
        rest += piece
    if headers.get("transfer-encoding", "").lower() == "chunked":
        rest = _joined(rest)
    return Answer(int(words[1]), headers, rest[:limit])


def _joined(data: bytes) -> bytes:
    """The body of a chunked answer."""
    out = b""
    while data:
        line, _, data = data.partition(b"\r\n")
        try:
            count = int(line.partition(b";")[0], 16)
        except ValueError:
            return out
        if not count:
            return out
        out, data = out + data[:count], data[count + 2 :]
    return out


def _receive(door: socket.socket, until: float) -> bytes:
    _patience(door, until)
    return door.recv(65_536)


def _patience(door: socket.socket, until: float) -> None:
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError
    door.settimeout(left)


def _refusal(error: OSError) -> NoAnswerError:
    if isinstance(error, FileNotFoundError):
        return NoAnswerError("absent")
    if isinstance(error, socket.gaierror):
        return NoAnswerError("unknown host", error.strerror or "")
    if isinstance(error, ConnectionRefusedError):
        return NoAnswerError("refused", error.strerror or "")
    if type(error).__module__ == "ssl":
        return NoAnswerError("tls", getattr(error, "verify_message", "") or str(error.args[-1]))
    return NoAnswerError("unreachable", error.strerror or str(error))


def _safe(value: str) -> str:
    return value.replace("\r", " ").replace("\n", " ")
