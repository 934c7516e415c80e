"""The loop's traces for OpenTelemetry: one span a message, its stages below it, and metrics.

Names are those of the semantic conventions for generative AI (``gen_ai.*``); what they have no
name for is ``aiki.*``. The span of a message is ``invoke_agent PERSONA``; :mod:`aiki_kernel.trace`
says which operation each stage is. What was said is left out unless ``otel.content`` asks for it.

Needs the extra ``otel``. Where spans go is told by the settings or by the SDK's own variables
(``OTEL_EXPORTER_OTLP_ENDPOINT`` and its like).
"""

from __future__ import annotations

import asyncio
import json
import logging
from typing import TYPE_CHECKING, Any

from aiki_kernel.errors import ConfigError
from aiki_kernel.safety.secrets import redact
from aiki_kernel.trace import OPERATIONS
from aiki_kernel.version import __version__

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.export import MetricReader
    from opentelemetry.sdk.trace import SpanProcessor

    from aiki_kernel.config import Otel
    from aiki_kernel.mind.run import Run
    from aiki_kernel.trace import Span

_log = logging.getLogger(__name__)
_NS = 1_000_000_000
_PATIENCE_S = 2.0  # for a collector, its retries included: the end of a chat waits for it
_CALLS = ("chat", "search_memory", "upsert_memory")  # operations that leave this process

TOKEN_BUCKETS = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304)
SECOND_BUCKETS = tuple(0.01 * 2**n for n in range(14))
"""Bounds that the conventions give for tokens, and for seconds."""


class Telemetry:
    """Sends what a message did, in the background. ``close`` waits for what is under way."""

    def __init__(self, processor: SpanProcessor, reader: MetricReader, *, content: bool) -> None:
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.view import ExplicitBucketHistogramAggregation, View
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider

        resource = Resource.create({"service.name": "aiki-kernel", "service.version": __version__})
        self._content = content
        # Providers of our own: a notebook may have set up global ones for its own work.
        self._traces = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._traces.add_span_processor(processor)
        self._meters = MeterProvider(
            [reader],
            resource,
            shutdown_on_exit=False,
            views=[
                View(
                    instrument_name=name,
                    aggregation=ExplicitBucketHistogramAggregation(bounds),
                )
                for name, bounds in (
                    ("gen_ai.client.token.usage", TOKEN_BUCKETS),
                    ("gen_ai.client.operation.duration", SECOND_BUCKETS),
                )
            ],
        )
        self._tracer = self._traces.get_tracer("aiki_kernel", __version__)
        meter = self._meters.get_meter("aiki_kernel", __version__)
        self._tokens = meter.create_histogram(
            "gen_ai.client.token.usage", "{token}", "Tokens of a call, by type"
        )
        self._seconds = meter.create_histogram(
            "gen_ai.client.operation.duration", "s", "Duration of an operation"
        )
        self._usd = meter.create_counter("aiki.cost.usd", "USD", "What the calls cost")

    @classmethod
    def of(cls, settings: Otel) -> Telemetry | None:
        """As the settings want it; None when they do not.

        Raises :class:`ConfigError` when the extra is not installed.
        """
        if not settings.enabled:
            return None
        try:
            from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
        except ImportError as error:
            raise ConfigError(
                f"otel.enabled needs a package that is missing ({error.name}): "
                "run `pip install aiki-kernel[otel]`, or set otel.enabled to false."
            ) from None
        base = settings.endpoint.rstrip("/")
        spans = OTLPSpanExporter(
            endpoint=f"{base}/v1/traces" if base else None, timeout=_PATIENCE_S
        )
        figures = OTLPMetricExporter(
            endpoint=f"{base}/v1/metrics" if base else None, timeout=_PATIENCE_S
        )
        return cls(
            BatchSpanProcessor(spans),
            PeriodicExportingMetricReader(figures, settings.interval_s * 1000),
            content=settings.content,
        )

    def send(self, run: Run) -> None:
        """The spans and figures of a message that is over. Never raises, never waits."""
        try:
            self._send(run)
        except Exception:
            _log.exception("a trace could not be exported")

    def close(self) -> None:
        """Send what waits, and end."""
        self._traces.shutdown()
        self._meters.shutdown()

    async def aclose(self) -> None:
        """As :meth:`close`, beside other work: a collector that is away takes a while."""
        await asyncio.to_thread(self.close)

    def _send(self, run: Run) -> None:
        from opentelemetry import trace as api

        first = int(run.trace.started_at * _NS)
        persona = _persona(run)
        about: dict[str, Any] = {
            "gen_ai.operation.name": "invoke_agent",
            "gen_ai.agent.name": persona,
            "gen_ai.conversation.id": run.conversation.session_id,
            "aiki.turn.id": run.turn_id,
            "aiki.trace.id": run.trace.id,
        }
        spent = [entry.cost_usd for entry in run.entries]
        if spent and None not in spent:
            about["aiki.cost.usd"] = float(sum(usd or 0.0 for usd in spent))
        if self._content:
            about["gen_ai.input.messages"] = _message("user", run.message.text)
            about["gen_ai.output.messages"] = _message("assistant", run.text)
        root = self._tracer.start_span(f"invoke_agent {persona}", start_time=first)
        root.set_attributes(about)
        below = api.set_span_in_context(root)
        last = first
        for stage in run.trace.spans:
            begin = first + int((stage.start - run.trace.origin) * _NS)
            end = begin + int(stage.seconds * _NS)
            operation = OPERATIONS.get(stage.name, stage.name)
            span = self._tracer.start_span(
                _name(stage, operation),
                context=below,
                kind=api.SpanKind.CLIENT if operation in _CALLS else api.SpanKind.INTERNAL,
                start_time=begin,
            )
            span.set_attributes({"aiki.stage": stage.name, **_plain(stage.attributes)})
            if stage.error:
                span.set_attribute("error.type", stage.error)
                span.set_status(api.StatusCode.ERROR, stage.error)
                root.set_attribute("error.type", stage.error)
                root.set_status(api.StatusCode.ERROR, stage.error)
            span.end(end)
            last = max(last, end)
            self._seconds.record(stage.seconds, _measured(stage, operation))
        root.end(last)
        for entry in run.entries:
            told = {
                "gen_ai.operation.name": "chat",
                "gen_ai.request.model": entry.name or entry.model,
                "gen_ai.response.model": entry.model,
                "gen_ai.provider.name": entry.provider,
                "aiki.stage": entry.stage,
            }
            self._tokens.record(entry.input_tokens, {**told, "gen_ai.token.type": "input"})
            self._tokens.record(entry.output_tokens, {**told, "gen_ai.token.type": "output"})
            if entry.cost_usd:
                self._usd.add(entry.cost_usd, told)


def _message(role: str, text: str) -> str:
    """One message as the conventions lay it down: JSON with parts."""
    return json.dumps(
        [{"role": role, "parts": [{"type": "text", "content": redact(text)}]}], ensure_ascii=False
    )


def _persona(run: Run) -> str:
    return run.entries[-1].persona if run.entries else "default"


def _name(stage: Span, operation: str) -> str:
    model = stage.attributes.get("gen_ai.request.model")
    return f"{operation} {model}" if operation == "chat" and model else operation


def _plain(attributes: dict[str, Any]) -> dict[str, Any]:
    """What OpenTelemetry takes: text, numbers, truth values."""
    return {k: v for k, v in attributes.items() if isinstance(v, str | bool | int | float)}


def _measured(stage: Span, operation: str) -> dict[str, Any]:
    told = {"gen_ai.operation.name": operation, "aiki.stage": stage.name}
    for name in ("gen_ai.request.model", "gen_ai.provider.name"):
        if name in stage.attributes:
            told[name] = stage.attributes[name]
    if stage.error:
        told["error.type"] = stage.error
    return told
