"""A real OpenAI-compatible HTTP server on loopback that can also stall, refuse and cut the line.

It stands in for paid APIs. It runs on its own thread with its own event loop, so that a
test's loop can be blocked, cancelled or closed without touching it, and a kernel in
another process can reach it too. Standard library only.

What a request gets is chosen by the queue or the model's name: see ``fault_scenarios``.

By hand: ``python tests/fault_server.py --port 8765``.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import socket
import struct
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))  # also when loaded by its path alone

from fault_scenarios import (
    BY_NAME,
    TEXT,
    Scenario,
    counts,
    failing,
    scenario_for,
    whole_answer,
)

__all__ = ["TEXT", "FaultServer", "Request", "Scenario", "closed_port", "failing", "scenario_for"]


@dataclass
class Request:
    """One request as the server saw it. Times are ``time.monotonic()``.

    ``closed_at`` is when the client's side of the connection was seen closed (polled every
    2 ms); ``finished`` says whether the answer had been written in full by then.
    """

    method: str
    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    connection: int
    arrived_at: float
    tokens_sent: int = 0
    finished: bool = False
    closed_at: float | None = None
    closed: threading.Event = field(default_factory=threading.Event)

    def wait_closed(self, seconds: float) -> bool:
        """Whether the connection was closed within ``seconds``, waiting for it."""
        return self.closed.wait(seconds)

    def mark_closed(self) -> None:
        if self.closed_at is None:
            self.closed_at = time.monotonic()
            self.closed.set()


class _GoneError(Exception):
    """The client closed the connection."""


class FaultServer:
    """The server; use it as a context manager. ``requests`` holds all that came, in order."""

    def __init__(self, port: int = 0, key: str | None = None) -> None:
        self.requests: list[Request] = []
        self.key = key
        self._port = port
        self._queue: deque[Scenario] = deque()
        self._seen: dict[str, int] = {}
        self._connections = 0
        self._arrived = threading.Condition()
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="fault-server", daemon=True)

    # -- for tests ----------------------------------------------------------

    def __enter__(self) -> FaultServer:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    @property
    def port(self) -> int:
        return self._port

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._port}/v1"

    def script(self, *scenarios: Scenario) -> None:
        """Answer the next requests with these, whatever model they name."""
        self._queue.extend(scenarios)

    def wait_request(self, count: int = 1, seconds: float = 10.0) -> Request:
        """The ``count``-th request, waiting for it. Raises TimeoutError."""
        with self._arrived:
            if not self._arrived.wait_for(lambda: len(self.requests) >= count, seconds):
                raise TimeoutError(f"{len(self.requests)} of {count} requests came")
        return self.requests[count - 1]

    def environment(self, model: str = "ok", name: str = "fault") -> dict[str, str]:
        """Variables that make this server the endpoint ``name`` and the model in use."""
        endpoint = {"base_url": self.base_url, "api_key_env": "FAULT_API_KEY"}
        return {
            "AIKI_ENDPOINTS": json.dumps({name: endpoint}),
            "AIKI_MODEL": f"{name}/{model}",
            "FAULT_API_KEY": self.key or "test-key-0000",
        }

    # -- the server's thread ------------------------------------------------

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        tasks: set[asyncio.Task[None]] = set()

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            tasks.add(task)
            try:
                await self._connection(reader, writer)
            finally:
                tasks.discard(task)
                writer.transport.abort()

        server = await asyncio.start_server(accept, "127.0.0.1", self._port, limit=1 << 24)
        self._port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections += 1
        number = self._connections
        mine: list[Request] = []
        try:
            while True:
                request = await _read_request(reader, number)
                if request is None:
                    return
                mine.append(request)
                with self._arrived:
                    self.requests.append(request)
                    self._arrived.notify_all()
                if not await self._answer(request, reader, writer):
                    return
        except (_GoneError, ConnectionError, asyncio.IncompleteReadError):
            return
        except asyncio.CancelledError:
            return  # the server stops
        finally:
            for request in mine:
                request.mark_closed()

    def _choose(self, body: Mapping[str, Any]) -> Scenario:
        model = str(body.get("model", ""))
        seen = self._seen.get(model, 0)
        self._seen[model] = seen + 1
        return self._queue.popleft() if self._queue else scenario_for(model, seen)

    async def _answer(
        self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """Answer one request; whether the connection may carry another."""
        line = _Line(request, reader, writer)
        if request.path.endswith("/models"):
            listed = [{"id": name, "object": "model"} for name in ("ok", *BY_NAME)]
            await line.json(200, {"object": "list", "data": listed})
            return True
        if not request.path.endswith("/chat/completions"):
            await line.error(404, f"Unknown path {request.path}", None, None)
            return True
        if self.key and request.headers.get("authorization") != f"Bearer {self.key}":
            await line.error(401, "Incorrect API key provided", "invalid_api_key", None)
            return True
        scenario = self._choose(request.body)
        for parameter in scenario.refuses:
            if parameter in request.body:
                text = f"Unsupported parameter: '{parameter}' is not supported with this model."
                await line.error(400, text, "unsupported_parameter", parameter)
                return True
        if scenario.stall == "headers":
            await line.stall()
        await line.sleep(scenario.headers_delay_s)
        if scenario.cut == "before":
            line.reset()
            return False
        if scenario.status != 200:
            await line.error(
                scenario.status, scenario.message, scenario.code, scenario.param, scenario.headers
            )
            return True
        if not request.body.get("stream"):
            await line.json(200, whole_answer(scenario, request.body))
            return True
        return await line.stream(scenario)


async def _read_request(reader: asyncio.StreamReader, connection: int) -> Request | None:
    head = await reader.readuntil(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    method, path, _version = first.split(" ", 2)
    headers = {k.strip().lower(): v.strip() for k, _, v in (x.partition(":") for x in lines) if k}
    content = await reader.readexactly(int(headers.get("content-length", "0")))
    body = json.loads(content) if content else {}
    return Request(method, path, headers, body, connection, time.monotonic())


class _Line:
    """The answering side of one request: writes, and notices when the client is gone."""

    def __init__(
        self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.request = request
        self.reader = reader
        self.writer = writer

    def gone(self) -> bool:
        transport = self.writer.transport
        closed = self.reader.at_eof() or self.reader.exception() is not None
        if closed or transport.is_closing():
            self.request.mark_closed()
            return True
        return False

    async def sleep(self, seconds: float) -> None:
        """Wait; raises :class:`_GoneError` as soon as the client closes."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            if self.gone():
                raise _GoneError
            await asyncio.sleep(min(left, 0.002))

    async def stall(self) -> None:
        """Say nothing more until the client closes."""
        while True:
            await self.sleep(3600.0)

    def reset(self) -> None:
        """Cut the line with a TCP reset."""
        connection = self.writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def write(self, data: bytes) -> None:
        if self.gone():
            raise _GoneError
        self.writer.write(data)
        await self.writer.drain()

    async def json(
        self, status: int, value: Mapping[str, Any], headers: Mapping[str, str] | None = None
    ) -> None:
        content = json.dumps(value).encode()
        more = "".join(f"{name}: {text}\r\n" for name, text in (headers or {}).items())
        await self.write(
            f"HTTP/1.1 {status} Scripted\r\nContent-Type: application/json\r\n{more}"
            f"Content-Length: {len(content)}\r\n\r\n".encode("latin-1")
            + content
        )
        self.request.finished = True

    async def error(
        self,
        status: int,
        message: str,
        code: str | None,
        param: str | None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        error = {"message": message, "type": "scripted", "code": code, "param": param}
        await self.json(status, {"error": error}, headers)

    async def chunk(self, data: bytes) -> None:
        await self.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    async def event(self, delta: Mapping[str, Any] | None, **more: Any) -> None:
        choices: list[dict[str, Any]] = []
        if delta is not None:
            reason = more.pop("finish_reason", None)
            choices = [{"index": 0, "delta": delta, "finish_reason": reason}]
            logprob = more.pop("logprob", None)
            if logprob is not None and self.request.body.get("logprobs"):
                token = {"token": delta["content"], "logprob": logprob, "bytes": None}
                choices[0]["logprobs"] = {"content": [token]}
        value = {
            "id": "chatcmpl-fault",
            "object": "chat.completion.chunk",
            "created": 0,
            "model": self.request.body.get("model"),
            "choices": choices,
            **more,
        }
        await self.chunk(b"data: " + json.dumps(value).encode() + b"\n\n")

    async def stream(self, scenario: Scenario) -> bool:
        """The whole SSE answer; whether the connection may carry another request."""
        body = self.request.body
        await self.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
            b"Cache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        await self.event({"role": "assistant", "content": ""})
        if scenario.stall == "first":
            await self.stall()
        await self.sleep(scenario.first_delay_s)
        for thought in scenario.reasoning:
            await self.event({"content": None, "reasoning": thought})
            await self.event({})
        for line in scenario.raw:
            await self.chunk(line)
        special = bool(scenario.cut or scenario.garbage or scenario.stall == "between")
        for number, token in enumerate(scenario.tokens(body)):
            if special and number == scenario.cut_after:
                break
            await self.sleep(scenario.delay_s)
            await self.event({"content": token}, logprob=scenario.logprob)
            self.request.tokens_sent += 1
        if scenario.stall == "between":
            await self.stall()
        if scenario.cut == "reset":
            await asyncio.sleep(0.02)  # a reset overtakes data that the client has not read
            self.reset()
            return False
        if scenario.garbage:
            await self.chunk(scenario.garbage)
        if scenario.cut != "quiet":
            await self._end(scenario, body)
        await self.write(b"0\r\n\r\n")
        self.request.finished = True
        return True

    async def _end(self, scenario: Scenario, body: Mapping[str, Any]) -> None:
        wanted = bool((body.get("stream_options") or {}).get("include_usage"))
        extra = dict(scenario.extra)
        if scenario.finish_reason is not None:
            await self.event({}, finish_reason=scenario.finish_reason)
        if scenario.usage and wanted:
            await self.event(None, usage=counts(scenario, body), **extra)
        elif extra:
            await self.event(None, **extra)
        if scenario.done:
            await self.chunk(b"data: [DONE]\n\n")


def closed_port() -> int:
    """A loopback port on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> None:
    parser = argparse.ArgumentParser(description="A scripted OpenAI-compatible server.")
    parser.add_argument("--port", type=int, default=0)
    with FaultServer(parser.parse_args().port) as server:
        print(server.base_url, flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()


if __name__ == "__main__":
    main()
