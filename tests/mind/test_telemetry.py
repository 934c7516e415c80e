"""Traces for OpenTelemetry: over the wire to a receiver that reads OTLP, and from memory."""

from __future__ import annotations

import asyncio
import gzip
import json
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from fault_server import FaultServer, closed_port
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from aiki_kernel.aiki import Aiki
from aiki_kernel.config import load
from aiki_kernel.errors import ConfigError, ModelError
from aiki_kernel.mind.telemetry import Telemetry

TOML = """
model = "test/ok"
daemon = "off"
[endpoints.test]
base_url = "{url}"
input_price = 1.0
output_price = 2.0
"""


class Collector:
    """Takes OTLP over HTTP, as a collector does, and keeps what came."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.metrics: list[Any] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                if self.path == "/v1/traces":
                    for group in ExportTraceServiceRequest.FromString(body).resource_spans:
                        for scope in group.scope_spans:
                            outer.spans += scope.spans
                elif self.path == "/v1/metrics":
                    for group in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                        for scope in group.scope_metrics:
                            outer.metrics += scope.metrics
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.close()


def _home(aiki_home: Path, fault_server: FaultServer, more: str = "") -> None:
    (aiki_home / "aiki.toml").write_text(TOML.format(url=fault_server.base_url) + more, "utf-8")


def _told(span: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in span.attributes}


def test_a_collector_is_sent_the_message_with_its_stages(
    aiki_home: Path, fault_server: FaultServer, collector: Collector
) -> None:
    _home(aiki_home, fault_server, f'[otel]\nenabled = true\nendpoint = "{collector.url}"\n')
    with Aiki(load()) as aiki:
        reply = aiki.ask("Hello there")
        session = aiki.conversation.session_id
    root = next(span for span in collector.spans if not span.parent_span_id)
    assert root.name == "invoke_agent default"
    about = _told(root)
    assert about["gen_ai.conversation.id"] == session
    assert about["aiki.cost.usd"] == pytest.approx(reply.cost_usd)
    below = {span.name: span for span in collector.spans if span.parent_span_id == root.span_id}
    assert set(below) == {"search_memory", "plan", "chat test/ok", "upsert_memory"}
    chat = below["chat test/ok"]
    assert _told(chat)["gen_ai.usage.output_tokens"] == reply.usage.output_tokens
    assert _told(chat)["gen_ai.operation.name"] == "chat"
    for span in below.values():
        assert root.start_time_unix_nano <= span.start_time_unix_nano
        assert span.start_time_unix_nano <= span.end_time_unix_nano <= root.end_time_unix_nano
    figures = {metric.name: metric for metric in collector.metrics}
    assert set(figures) == {
        "gen_ai.client.token.usage",
        "gen_ai.client.operation.duration",
        "aiki.cost.usd",
    }
    tokens = figures["gen_ai.client.token.usage"].histogram.data_points
    assert {_told(point)["gen_ai.token.type"]: point.sum for point in tokens} == {
        "input": reply.usage.input_tokens,
        "output": reply.usage.output_tokens,
    }
    assert list(tokens[0].explicit_bounds)[:3] == [1, 4, 16]
    sent = json.dumps([_told(span) for span in collector.spans])
    assert "Hello there" not in sent  # nothing of what was said, unasked


@pytest.fixture
async def watched(
    aiki_home: Path, fault_server: FaultServer
) -> AsyncIterator[tuple[Aiki, InMemorySpanExporter]]:
    _home(aiki_home, fault_server)
    aiki, kept = Aiki(load()), InMemorySpanExporter()
    processor = SimpleSpanProcessor(kept)
    aiki.consciousness.writer.telemetry = Telemetry(processor, InMemoryMetricReader(), content=True)
    yield aiki, kept
    await aiki.aclose()


async def test_what_was_said_is_sent_when_asked_for(
    watched: tuple[Aiki, InMemorySpanExporter],
) -> None:
    aiki, kept = watched
    said = "".join([getattr(event, "text", "") async for event in aiki.stream("Hello there")][-2:])
    await aiki.consciousness.drain()
    root = next(span for span in kept.get_finished_spans() if span.parent is None)
    assert root.attributes is not None
    (asked,) = json.loads(str(root.attributes["gen_ai.input.messages"]))
    assert asked["parts"] == [{"type": "text", "content": "Hello there"}]
    (answer,) = json.loads(str(root.attributes["gen_ai.output.messages"]))
    assert answer["parts"][0]["content"] in said


async def test_a_refused_call_and_a_stopped_one_are_traces_with_errors(
    watched: tuple[Aiki, InMemorySpanExporter], fault_server: FaultServer
) -> None:
    aiki, kept = watched
    with pytest.raises(ModelError):
        _ = [event async for event in aiki.stream("Hello", model="test/401")]
    await aiki.consciousness.drain()
    (root,) = [span for span in kept.get_finished_spans() if span.parent is None]
    assert not root.status.is_ok
    assert root.attributes is not None
    assert root.attributes["error.type"] == "ModelError"
    kept.clear()

    async def chat() -> None:
        _ = [event async for event in aiki.stream("Hello", model="test/stall-first")]

    before = len(fault_server.requests)
    task = asyncio.create_task(chat())
    while len(fault_server.requests) == before:
        await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await aiki.consciousness.drain()
    (root,) = [span for span in kept.get_finished_spans() if span.parent is None]
    assert root.attributes is not None
    assert root.attributes["error.type"] == "CancelledError"


def test_a_collector_that_is_away_costs_no_answer(
    aiki_home: Path, fault_server: FaultServer
) -> None:
    away = f"http://127.0.0.1:{closed_port()}"
    _home(aiki_home, fault_server, f'[otel]\nenabled = true\nendpoint = "{away}"\n')
    with Aiki(load()) as aiki:
        assert aiki.ask("Hello").text


def test_without_the_extra_it_is_one_line(aiki_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (aiki_home / "aiki.toml").write_text("[otel]\nenabled = true\n")
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(ConfigError, match=r"pip install aiki-kernel\[otel\]"):
        Telemetry.of(load().otel)


def test_nothing_is_loaded_for_those_who_do_not_want_it(aiki_home: Path) -> None:
    assert Telemetry.of(load().otel) is None
