"""Summaries of answers, as tests of every face show them."""

from __future__ import annotations

from typing import Any


def summary(**changes: Any) -> dict[str, Any]:
    """An ordinary finished answer with two memories."""
    whole: dict[str, Any] = {
        "version": 1,
        "turn_id": "1c6f",
        "session_id": "0f2d",
        "model": "local/smollm2-135m",
        "provider": "local",
        "persona": "default",
        "backend": {"name": "mojo", "reason": "922 memories of 384 dimensions", "ms": 0.2134},
        "finish_reason": "stop",
        "usage": {
            "input_tokens": 1412,
            "output_tokens": 38,
            "cached_tokens": 0,
            "estimated": False,
        },
        "cost": {"usd": 0.0, "estimated": False},
        "latency_s": {
            "recall": 0.0124,
            "route": 0.0002,
            "first_token": 0.481,
            "generate": 2.3,
            "remember": 0.018,
        },
        "tokens_per_second": 20.9,
        "hits": [
            {
                "id": "a",
                "text": "My sister Åse keeps bees in Ålesund.",
                "score": 2.4137,
                "created_at": "2026-11-18T09:30:00.000000+00:00",
                "kind": "turn",
                "role": "user",
                "provenance": {"notebook": "work/garden.ipynb", "session_id": "0f2d7c11"},
            },
            {
                "id": "b",
                "text": "Honey is sold at the market on Saturdays for $5 to $9 a jar.",
                "score": -0.31,
                "created_at": "2025-02-01T18:00:00+00:00",
                "kind": "fact",
                "role": None,
                "provenance": {"session_id": "77aa01bc9"},
            },
        ],
        "hit_ids": ["a", "b"],
        "notes": [],
        "remembered": {"ids": ["c"], "spooled": False},
        "stale": False,
    }
    return {**whole, **changes}
