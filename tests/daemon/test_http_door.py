"""The door itself: tokens, sizes, broken bodies, a cut line, and a busy memory."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from daemon.turns import a_turn

from aiki_kernel.config import Paths, Settings
from aiki_kernel.daemon import exchange, lifecycle
from aiki_kernel.daemon.app import create_app
from aiki_kernel.daemon.connect import Connection, connect
from aiki_kernel.daemon.door import BASE_URL
from aiki_kernel.daemon.engine import Engine
from aiki_kernel.daemon.inprocess import AppTransport
from aiki_kernel.errors import DaemonError
from aiki_kernel.memory.records import Scope

TOKEN = "a-token-of-some-length"
KARI = Scope("kari")


@pytest.fixture
async def http(connection: Connection) -> AsyncIterator[httpx2.AsyncClient]:
    return connection.local_client()


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        (b"{", 400, "not valid JSON"),
        (b"[1]", 400, "must be a JSON object"),
        (b"\xff\xff", 400, "not valid JSON"),
        (b"[" * 100_000, 400, "not valid JSON"),
        (b'{"query": 5}', 400, "'query' must be text"),
        (b"{}", 400, "'query' is missing"),
        (b'{"query": "x", "scope": "kari"}', 400, "'scope' must be an object"),
        (b'{"query": "x", "limit": true}', 400, "must not be true or false"),
        (b'{"query": "x", "limit": -1}', 400, "from 0 to"),
    ],
    ids=["cut", "list", "not text", "deep", "type", "missing", "scope", "bool", "range"],
)
async def test_a_malformed_body_is_one_line(
    http: httpx2.AsyncClient, body: bytes, status: int, reason: str
) -> None:
    answer = await http.post("/memory/recall", content=body)
    assert answer.status_code == status
    error = answer.json()["error"]
    assert reason in error["message"]
    assert "\n" not in error["message"]


async def test_an_incomplete_turn_is_refused_and_not_spooled(
    http: httpx2.AsyncClient, paths: Paths
) -> None:
    for turn in (
        {"id": "x"},
        {**a_turn().to_json(), "question": 5},
        {**a_turn().to_json(), "id": None},
    ):
        answer = await http.post("/memory/remember", json={"turn": turn})
        assert answer.status_code == 400
    assert not paths.spool.exists()


async def test_an_unknown_address_and_a_wrong_method(http: httpx2.AsyncClient) -> None:
    nowhere = await http.get("/v2/nothing")
    assert nowhere.status_code == 404
    assert "no such address" in nowhere.json()["error"]["message"]
    assert (await http.get("/memory/recall")).status_code == 405


async def test_a_body_that_is_too_large(
    http: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = await http.post("/memory/recall", content=b" " * (exchange.MAX_BODY + 1))
    assert answer.status_code == 413
    assert "16 MiB" in answer.json()["error"]["message"]
    assert (await http.get("/health")).status_code == 200


async def test_the_engine_in_process_is_not_shut_down_from_outside(
    settings: Settings, paths: Paths
) -> None:
    connection = connect(settings.model_copy(update={"daemon": "off"}), paths)
    assert (await connection.local_client().post("/shutdown")).status_code == 409
    await connection.aclose()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port


async def test_tcp_needs_the_token_and_takes_no_paths(
    settings: Settings, paths: Paths, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AIKI_DAEMON_TOKEN", TOKEN)
    port = free_port()
    server = settings.server.model_copy(update={"tcp_port": port})
    await asyncio.to_thread(lifecycle.start, settings.model_copy(update={"server": server}), paths)
    async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
        for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": TOKEN}):
            refused = await http.get("/health", headers=headers)
            assert refused.status_code == 401
            assert "token" in refused.json()["error"]["message"]
        bearer = {"authorization": f"Bearer {TOKEN}"}
        assert (await http.get("/health", headers=bearer)).json()["status"]
        search = {"query": "dog", "scope": {"user_id": "kari"}}
        found = await http.post("/memory/search", json=search, headers=bearer)
        assert found.status_code == 200
        body = {"source": "/etc/passwd", "target": str(tmp_path / "x")}
        for path in ("import", "snapshot", "restore"):
            answer = await http.post(f"/memory/{path}", json=body, headers=bearer)
            assert answer.status_code == 403
    # The socket needs none.
    connection = connect(settings, paths)
    assert (await connection.health())["pid"]
    await connection.aclose()


async def test_work_in_the_memory_does_not_hold_up_the_door(
    settings: Settings, paths: Paths
) -> None:
    """A recall that blocks in its thread leaves /health and other answers alone."""
    engine = Engine(settings, paths)
    blocked = asyncio.Event()
    loop = asyncio.get_running_loop()
    import threading

    go_on = threading.Event()

    def slow(*_: Any) -> Any:
        loop.call_soon_threadsafe(blocked.set)
        go_on.wait()
        raise DaemonError("done waiting")

    engine.recall = slow  # type: ignore[method-assign]
    async with httpx2.AsyncClient(
        transport=AppTransport(create_app(engine)), base_url=BASE_URL
    ) as http:
        waiting = asyncio.create_task(http.post("/memory/recall", json={"query": "x"}))
        await blocked.wait()
        assert (await http.get("/health")).status_code == 200
        go_on.set()
        answer = await waiting
        assert answer.status_code == 503
        assert answer.json()["error"]["message"] == "done waiting"
    engine.close()


async def test_an_unforeseen_failure_is_one_line_too(settings: Settings, paths: Paths) -> None:
    engine = Engine(settings, paths)

    def broken(*_: Any) -> Any:
        raise ZeroDivisionError("first line\nsecond line")

    engine.recall = broken  # type: ignore[method-assign]
    async with httpx2.AsyncClient(
        transport=AppTransport(create_app(engine)), base_url=BASE_URL
    ) as http:
        answer = await http.post("/memory/recall", json={"query": "x"})
        assert answer.status_code == 500
        message = answer.json()["error"]["message"]
        assert "ZeroDivisionError: first line" in message
        assert "second" not in message
    engine.close()


async def test_a_stream_that_is_cut_is_an_error(settings: Settings, paths: Paths) -> None:
    """A daemon that dies in the middle of an export must not look like a short export."""
    connection = connect(settings, paths)
    text = "many words " * 2000
    for number in range(30):
        await connection.admin.add(f"{number} {text}", KARI)
    pid = (await connection.health())["pid"]
    items = connection.admin.export(KARI)
    await anext(items)
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(DaemonError, match="broke off"):
        _ = [item async for item in items]
    await connection.aclose()


async def test_closing_a_streamed_answer_in_process_reaches_the_application() -> None:
    left = asyncio.Event()

    async def application(scope: Any, receive: Any, send: Any) -> None:
        assert (await receive())["type"] == "http.request"
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"first", "more_body": True})
        assert (await receive())["type"] == "http.disconnect"
        left.set()

    transport = AppTransport(application)
    async with httpx2.AsyncClient(transport=transport, base_url=BASE_URL) as http:
        async with http.stream("GET", "/") as answer:
            pieces = answer.aiter_raw()
            assert await anext(pieces) == b"first"
            assert not left.is_set()
        await left.wait()
