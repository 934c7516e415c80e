"""``/memory/capture``, ``/memory/like``, ``/memory/patterns``: sensor memories over HTTP.

Patterns come as JSON of a few kB a channel, never as samples.
"""

from __future__ import annotations

from typing import Any

from aiki_kernel.daemon.engine import Engine
from aiki_kernel.daemon.exchange import BadRequestError, take
from aiki_kernel.daemon.memory_routes import (
    Body,
    _answers,
    _limit,
    _post,
    _scope,
    recall_to_json,
)
from aiki_kernel.memory.payload import point_id
from aiki_kernel.memory.wave import WavePattern


def _capture(engine: Engine, body: Body) -> Any:
    pattern = WavePattern.from_json(take(body, "pattern", dict))
    record = engine.memory.waves.capture(
        pattern,
        _scope(engine, body),
        at=take(body, "at", str, None),
        note=take(body, "note", str, ""),
        language=take(body, "language", str, ""),
        provenance=take(body, "provenance", dict, {}),
        id=point_id(take(body, "id", str, None)),
    )
    return record.to_json()


def _like(engine: Engine, body: Body) -> Any:
    from aiki_kernel.memory.wave_vector import rows

    pattern = WavePattern.from_json(take(body, "pattern", dict))
    names = take(body, "channels", list, [])
    if not all(isinstance(name, str) for name in names):
        raise BadRequestError("Field 'channels' must be a list of names.", param="channels")
    recall = engine.memory.waves.like(
        rows(pattern),
        _scope(engine, body),
        _limit(body, 8),
        channels=names,
        query=take(body, "query", str, ""),
    )
    return recall_to_json(recall)


def _patterns(engine: Engine, body: Body) -> Any:
    return engine.memory.waves.patterns(
        take(body, "since", str),
        take(body, "until", str),
        _scope(engine, body),
        take(body, "language", str, ""),
    ).to_json()


ROUTES = [
    _post("capture", _answers(_capture)),
    _post("like", _answers(_like)),
    _post("patterns", _answers(_patterns)),
]
