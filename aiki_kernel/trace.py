"""Timing of every stage, under the names of OpenTelemetry's gen_ai conventions.

A :class:`Trace` belongs to one message. Its spans are the loop's stages; each carries
the ``gen_ai.operation.name`` that the conventions give that work, so that an exporter
has nothing to translate:

=========  ====================
stage      gen_ai operation
=========  ====================
recall     ``search_memory``
route      ``plan``
consult    ``chat``
generate   ``chat``
remember   ``upsert_memory``
=========  ====================
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

OPERATIONS = {
    "recall": "search_memory",
    "route": "plan",
    "consult": "chat",
    "generate": "chat",
    "remember": "upsert_memory",
}


@dataclass
class Span:
    """One timed stage. ``start`` and ``end`` are ``time.perf_counter()`` seconds."""

    name: str
    start: float
    end: float | None = None
    attributes: dict[str, Any] = field(default_factory=dict)
    error: str | None = None

    @property
    def seconds(self) -> float:
        """Duration so far, or in all once the span has ended."""
        return (self.end if self.end is not None else time.perf_counter()) - self.start

    def to_json(self, origin: float) -> dict[str, Any]:
        """A plain dict; ``start_s`` is relative to ``origin``."""
        out: dict[str, Any] = {
            "name": self.name,
            "start_s": round(self.start - origin, 6),
            "seconds": round(self.seconds, 6),
            "attributes": dict(self.attributes),
        }
        if self.error:
            out["error"] = self.error
        return out


class Trace:
    """The spans of one message, in order of their start."""

    def __init__(self) -> None:
        self.id = uuid.uuid4().hex
        self.started_at = time.time()
        self.origin = time.perf_counter()
        self.spans: list[Span] = []

    @contextmanager
    def span(self, name: str, **attributes: Any) -> Iterator[Span]:
        """Time a stage. An exception is noted on the span and passed on."""
        span = Span(name, time.perf_counter(), attributes=dict(attributes))
        if name in OPERATIONS:
            span.attributes.setdefault("gen_ai.operation.name", OPERATIONS[name])
        self.spans.append(span)
        try:
            yield span
        except BaseException as error:
            span.error = type(error).__name__
            raise
        finally:
            span.end = time.perf_counter()

    def latencies(self) -> dict[str, float]:
        """Seconds by stage name; stages of the same name add up."""
        out: dict[str, float] = {}
        for span in self.spans:
            out[span.name] = out.get(span.name, 0.0) + span.seconds
        return out

    def to_json(self) -> dict[str, Any]:
        """The whole trace as plain data."""
        return {
            "trace_id": self.id,
            "started_at": self.started_at,
            "spans": [span.to_json(self.origin) for span in self.spans],
        }
