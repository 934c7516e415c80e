"""A look at the machine's health with an hour of history, as tests of every face show it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aiki_kernel.health.history import History
from aiki_kernel.health.reading import Reading
from aiki_kernel.health.sampler import Sample

NOW = 1_795_000_000.0


def document(*more: dict[str, Any], cap: float | None = 2.0) -> dict[str, Any]:
    probes = [
        {
            "probe": "disk",
            "title": "Disk",
            "state": "ok",
            "reason": "120 GB free.",
            "value": 1.2e11,
            "unit": "bytes",
        },
        {
            "probe": "cost",
            "title": "Cost today",
            "state": "degraded",
            "reason": "$1.9000 of today's $2 is spent: use a local model.",
            "value": 1.9,
            "unit": "USD",
            "facts": {"usd": 1.9, "day_usd": cap},
        },
        *more,
    ]
    return {
        "status": "degraded",
        "at": "2026-11-18T09:46:40+01:00",
        "wall_s": NOW,
        "probes": probes,
    }


def hour_of_history(folder: Path) -> Path:
    """An hour of samples; the disk was nearly full for a part of it."""
    made = History(folder / "history.sqlite")
    for minute in range(60):
        state = "degraded" if 20 <= minute < 30 else "ok"
        reading = Reading(state, "", float(minute), "bytes", {}, "disk", "Disk")
        at = NOW - 3540 + 60 * minute
        made.add(Sample(at, at, (reading,), 0.1))
    made.close()
    return made.path
