"""Settings of the export to OpenTelemetry."""

from __future__ import annotations

from pydantic import Field

from aiki_kernel.config_routing import Section


class Otel(Section):
    """Traces and figures of the loop for an OTLP collector; needs the extra ``otel``."""

    enabled: bool = Field(False, description="send them")
    endpoint: str = Field(
        "", description="of the collector, e.g. http://127.0.0.1:4318; empty: OTEL_* variables"
    )
    interval_s: float = Field(60.0, gt=0, description="between two exports of the figures")
    content: bool = Field(False, description="send what was asked and answered as well")
