from __future__ import annotations

import asyncio
import email.utils
import time

import pytest
from fault_server import Scenario, closed_port, failing

from aiki_kernel.config import load
from aiki_kernel.errors import ModelError
from aiki_kernel.models import refusals
from aiki_kernel.models.provider import Provider

SECRET = "sk-proj-Zx9Qw8Er7Ty6Ui5Op4As3Df2"


@pytest.mark.parametrize("model", ["429x2", "500x2", "503x1", "408x2"])
async def test_passing_failures_are_tried_again(line, model):
    answer = await line.ask(model)
    assert answer.error is None
    assert answer.finished.attempts == len(line.server.requests) == int(model[-1]) + 1
    assert len(answer.finished.detail["notes"]) == int(model[-1])


@pytest.mark.parametrize("scenario", [Scenario(cut="before"), Scenario(cut="reset", cut_after=0)])
async def test_a_line_cut_before_the_first_token_is_tried_again(line, scenario):
    line.server.script(scenario, Scenario(cut="quiet", cut_after=0), Scenario())
    answer = await line.ask("ok")
    assert answer.error is None
    assert answer.finished.attempts == 3


@pytest.mark.parametrize(
    ("model", "says", "stage", "requests"),
    [
        ("401", "fault refused the key (401): set FAULT_API_KEY", "first token", 1),
        ("402", "no credit left", "first token", 1),
        ("403", "fault forbids this (403): scripted 403", "first token", 1),
        ("404", "fault has no model '404'", "first token", 1),
        ("400", "fault refused the request (400): scripted 400", "first token", 1),
        ("429", "limiting requests (429) after 3 attempts", "first token", 3),
        ("503", "fault is failing (503) after 3 attempts", "first token", 3),
        ("stall-headers", "no first token within 1.2 s", "first token", 1),
        ("stall-first", "no first token within 1.2 s", "first token", 1),
        ("stall-between", "no further token within 0.6 s", "between tokens", 1),
        ("cut", "cut the answer off", "stream", 1),
        ("cut-quiet", "cut the answer off", "stream", 1),
        ("garbage", "not JSON", "stream", 1),
    ],
)
async def test_failures_are_one_line_that_names_cause_and_stage(line, model, says, stage, requests):
    answer = await line.ask(model)
    assert isinstance(answer.error, ModelError)
    assert says in str(answer.error)
    assert "\n" not in str(answer.error)
    assert answer.error.stage == stage
    assert len(line.server.requests) == requests, "never again after the first token"
    if model.startswith(("stall-b", "cut", "garb")):
        assert len(answer.pieces) == 3, "what came is delivered"


async def test_a_missing_key_is_refused_before_any_network(line, monkeypatch):
    monkeypatch.delenv("FAULT_API_KEY")
    answer = await line.ask("ok")
    assert str(answer.error).startswith("No API key for fault: set FAULT_API_KEY")
    assert line.server.requests == []


async def test_no_key_leaks_into_an_error(line, monkeypatch):
    monkeypatch.setenv("FAULT_API_KEY", SECRET)
    line.server.script(failing(400, message=f"bad thing with {SECRET} in it"))
    answer = await line.ask("ok")
    assert SECRET not in str(answer.error)
    assert "[key removed]" in str(answer.error)
    assert answer.error.__cause__ is None


async def test_quota_is_not_tried_again(line):
    line.server.script(failing(429, code="insufficient_quota"))
    answer = await line.ask("ok")
    assert "no credit left" in str(answer.error)
    assert len(line.server.requests) == 1


async def test_retry_after_is_waited_for(line):
    line.server.script(failing(429, headers={"Retry-After": "0.3"}), Scenario())
    answer = await line.ask("ok")
    first, second = line.server.requests
    assert answer.error is None
    assert second.arrived_at - first.arrived_at >= 0.3


async def test_a_retry_after_of_minutes_is_said_at_once(line):
    when = email.utils.formatdate(time.time() + 600, usegmt=True)
    line.server.script(failing(503, headers={"Retry-After": when}))
    answer = await line.ask("ok")
    assert "asks us to wait" in str(answer.error)
    assert len(line.server.requests) == 1


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after-ms": "250"}, 0.25),
        ({"retry-after": "Sat, 01 Jan 2000 00:00:30 GMT"}, 30.0),
        ({"retry-after": "Fri, 31 Dec 1999 00:00:00 GMT"}, 0.0),
        ({"retry-after": "-4"}, 0.0),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "soon"}, None),
        ({}, None),
    ],
)
def test_retry_after_is_read_as_seconds_or_date(headers, seconds):
    assert refusals.retry_after(headers, now=946684800.0) == seconds


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://no-such-host.invalid/v1", "(DNS)"),
        ("ftp://example.org/v1", "not an http(s) address"),
    ],
)
async def test_addresses_that_lead_nowhere(line, endpoint, url, says):
    endpoint(url)
    line.provider = Provider(load(), backoff_s=0.01)
    answer = await line.ask("ok")
    assert says in str(answer.error)
    assert answer.error.stage == "connect"


async def test_a_dead_server_is_named_with_its_place(line, endpoint):
    port = closed_port()
    endpoint(f"http://127.0.0.1:{port}/v1")
    line.provider = Provider(load(timeouts={"retries": 1}), backoff_s=0.01)
    answer = await line.ask("ok")
    expected = f"Nothing listens at 127.0.0.1:{port} for fault after 2 attempts"
    assert str(answer.error).startswith(expected)
    assert answer.error.stage == "connect"


async def test_tls_where_none_is_spoken(line, endpoint):
    async def plain(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(plain, "127.0.0.1", 0) as server:
        endpoint(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1")
        line.provider = Provider(load(), backoff_s=0.01)
        answer = await line.ask("ok")
    assert "TLS" in str(answer.error)
    assert answer.error.stage == "connect"
