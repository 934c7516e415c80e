"""How much of an answer's summary travels: a card must stay light, however much was recalled.

A notebook with two hundred answers holds two hundred cards. Text of memories is
shortened first, then the last memories are left out and counted; the figures stay.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from aiki_kernel.display.facts import STAGES, VOUCHED, Summary, clean, number

LIMIT = 6000
"""Bytes of UTF-8 JSON that one message of a card may weigh."""

_AROUND = 100  # what a widget's message says besides: its method, and the card's state

_TEXT_STEPS = (240, 160, 100, 60)
_NAME = 60
_NOTES = 3
_NOTE = 120
_INSIGHT = 240
_REASON = 200
_FIGURES = {
    "usage": ("input_tokens", "output_tokens", "cached_tokens", "estimated"),
    "cost": ("usd", "estimated"),
    "compared": ("smart_only_usd",),
    "latency_s": tuple(stage for stage, _ in STAGES),
}


def weigh(summary: Summary) -> int:
    """Bytes of ``summary`` as JSON in UTF-8."""
    return len(json.dumps(summary, ensure_ascii=False, allow_nan=False).encode())


def compact(summary: Summary, limit: int = LIMIT - _AROUND) -> dict[str, Any]:
    """What a card shows of ``summary``, as plain finite JSON of fewer than ``limit`` bytes.

    ``hits_left_out`` counts memories that had to go. ``limit`` must be at least 5000,
    which the figures, the names and the notes always fit. Raises :class:`ValueError` if not.
    """
    if limit < 5000:
        raise ValueError(f"A card needs at least 5000 bytes, not {limit}.")
    given = summary.get("hits")
    hits = (
        [hit for hit in given if isinstance(hit, Mapping)]
        if isinstance(given, list | tuple)
        else []
    )
    before = int(number(summary.get("hits_left_out")) or 0)
    out = _figures(summary)
    for length in _TEXT_STEPS:
        out["hits"] = [_hit(hit, length) for hit in hits]
        if before:
            out["hits_left_out"] = before
        if weigh(out) < limit:
            return out
    while out["hits"] and weigh(out) >= limit:
        out["hits"].pop()
        out["hits_left_out"] = before + len(hits) - len(out["hits"])
    return out


def shorten(value: Any, length: int) -> str:
    """One clean line of at most ``length`` characters; a cut is marked with an ellipsis.

    Nor has it more than twice as many bytes: a line of emoji weighs four a character.
    """
    text = clean(value)
    if len(text) <= length and len(text.encode()) <= 2 * length:
        return text
    cut = text[: length - 1].encode()[: 2 * length - 3].decode(errors="ignore")
    return cut.rstrip() + "…"


def _figures(summary: Summary) -> dict[str, Any]:
    out: dict[str, Any] = {"version": 1}
    for key in ("turn_id", "session_id", "model", "provider", "persona", "engine", "quantisation"):
        if summary.get(key) is not None:
            out[key] = shorten(summary[key], _NAME)
    backend = summary.get("backend")
    if isinstance(backend, Mapping):
        out["backend"] = {
            "name": shorten(backend.get("name"), 20),
            "reason": shorten(backend.get("reason"), _NOTE),
            "ms": _figure(backend.get("ms")),
        }
    route = summary.get("route")
    if isinstance(route, Mapping) and route.get("reason"):
        out["route"] = {
            "router": shorten(route.get("router"), 20),
            "reason": shorten(route["reason"], _REASON),
        }
    consult = summary.get("consult")
    if isinstance(consult, Mapping):
        # The insight itself is the first note: here is only that there is one.
        out["consult"] = {"insight": bool(consult.get("insight"))}
    if summary.get("finish_reason") is not None:
        out["finish_reason"] = shorten(summary["finish_reason"], 20)
    for key, names in _FIGURES.items():
        value = summary.get(key)
        if isinstance(value, Mapping):
            out[key] = {name: _figure(value[name]) for name in names if name in value}
    hops = summary.get("hops")
    if hops:
        out["hops"] = len(hops) if isinstance(hops, list | tuple) else int(number(hops) or 0)
    if "tokens_per_second" in summary:
        out["tokens_per_second"] = number(summary["tokens_per_second"])
    notes = summary.get("notes")
    if isinstance(notes, list | tuple) and notes:
        # An insight is what was paid for: its line, the first, may be longer.
        first = _INSIGHT if isinstance(consult, Mapping) else _NOTE
        out["notes"] = [shorten(notes[0], first), *(shorten(n, _NOTE) for n in notes[1:_NOTES])]
    out["stale"] = bool(summary.get("stale"))
    if summary.get("kept"):
        out["kept"] = True
    return out


def _hit(hit: Mapping[str, Any], length: int) -> dict[str, Any]:
    score = hit.get("score")
    finite = isinstance(score, int | float) and math.isfinite(score)
    provenance = hit.get("provenance")
    known = provenance if isinstance(provenance, Mapping) else {}
    unused = {"used": False} if hit.get("used") is False else {}
    return {
        "id": shorten(hit.get("id"), 40),
        "text": shorten(hit.get("text"), length),
        "score": round(float(score), 4) if finite and score is not None else None,
        "created_at": shorten(hit.get("created_at"), 40),
        "kind": shorten(hit.get("kind"), 24),
        "role": shorten(hit.get("role"), 24),
        **({"trust": trust} if (trust := shorten(hit.get("trust"), 12)) in VOUCHED else {}),
        "provenance": {
            key: name
            for key in ("notebook", "source", "import", "session_id")
            if (name := shorten(known.get(key), _NAME))
        },
        **unused,
    }


def _figure(value: Any) -> float | int | bool | None:
    if isinstance(value, bool):
        return value
    found = number(value)
    if found is None or isinstance(value, int):
        return None if found is None else int(found)
    return round(found, 9)
