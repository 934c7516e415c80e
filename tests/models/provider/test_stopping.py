"""Stopping at any await closes the connection at once, seen from the server's side."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from contextlib import suppress

import pytest
from fault_server import Scenario

pytestmark = pytest.mark.alone

LIMIT_S = 0.25


async def drink(line, model, got):
    async for event in line.provider.stream(line.request(model)):
        got.append(event)


@pytest.mark.parametrize(
    ("model", "pieces"),
    [("stall-headers", 0), ("stall-first", 0), ("stall-between", 3), ("slow", 2)],
)
async def test_cancelling_the_task_closes_the_connection(line, model, pieces):
    await line.ask("ok")  # the imports are done
    got: list[object] = []
    line.provider.settings = line.provider.settings.model_copy(
        update={
            "timeouts": line.provider.settings.timeouts.model_copy(
                update={"first_token": 30.0, "between_tokens": 30.0}
            )
        }
    )
    task = asyncio.create_task(drink(line, model, got))
    request = await asyncio.to_thread(line.server.wait_request, 2)
    while len(got) < pieces:
        await asyncio.sleep(0.005)
    await asyncio.sleep(0.05)
    began = time.monotonic()
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert time.monotonic() - began < LIMIT_S
    assert await asyncio.to_thread(request.wait_closed, 5.0)
    assert request.closed_at - began < LIMIT_S
    assert not request.finished


async def test_closing_the_generator_closes_the_connection(line):
    await line.ask("ok")
    stream = line.provider.stream(line.request("slow"))
    await anext(stream)
    began = time.monotonic()
    await stream.aclose()
    request = line.server.requests[1]
    assert await asyncio.to_thread(request.wait_closed, 5.0)
    assert request.closed_at - began < LIMIT_S


async def test_cancelling_while_waiting_to_try_again(line):
    line.server.script(Scenario(status=429, headers={"Retry-After": "20"}))
    task = asyncio.create_task(drink(line, "ok", []))
    await asyncio.to_thread(line.server.wait_request, 1)
    await asyncio.sleep(0.05)
    began = time.monotonic()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert time.monotonic() - began < LIMIT_S
    assert len(line.server.requests) == 1


async def test_a_slow_reader_is_not_a_slow_server(line):
    line.server.script(Scenario(text="one two three"))
    got = []
    async for event in line.provider.stream(line.request("ok")):
        await asyncio.sleep(0.5)  # longer than between_tokens
        got.append(event)
    assert len(got) == 4


def test_the_first_call_imports_off_the_event_loop(line):
    """In a fresh process: cancelled while ``openai`` is being imported, it ends at once."""
    program = f"""
import asyncio, sys, time
from aiki_kernel.config import load
from aiki_kernel.models.chat import ChatMessage, ChatRequest
from aiki_kernel.models.provider import Provider
assert "openai" not in sys.modules and "genai_prices" not in sys.modules
async def go():
    provider = Provider(load())
    request = ChatRequest("fault/slow", (ChatMessage("user", "hi"),))
    async def drink():
        async for _ in provider.stream(request): pass
    task = asyncio.create_task(drink())
    await asyncio.sleep(0.1)
    began = time.monotonic()
    task.cancel()
    try: await task
    except asyncio.CancelledError: print(time.monotonic() - began < {LIMIT_S})
asyncio.run(go())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "True", done.stderr


def test_one_provider_serves_many_event_loops(line):
    for _ in range(2):
        got: list[object] = []
        asyncio.run(drink(line, "ok", got))
        assert len(got) == 13
