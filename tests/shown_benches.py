"""What the search benchmark finds, as tests of its chart show it."""

from __future__ import annotations

from typing import Any


def searched() -> dict[str, Any]:
    """Three sizes, two methods of ours, a library and a floor."""
    times = {"NumPy best, 1 thread": 0.00009, "mojo": 0.0000121, "mojo, 1bit": 0.0000031}
    rows: list[dict[str, Any]] = [
        {"method": name, "n": n, "p50_ms": 0.004 + factor * n, "recall": 1.0}
        for n in (922, 10_000, 100_000)
        for name, factor in times.items()
    ]
    rows += [
        {"method": "HNSW 32", "library": "faiss", "n": n, "p50_ms": 0.05 + n / 1e6, "recall": 0.995}
        for n in (922, 10_000, 100_000)
    ]
    floors = [{"floor": "float32", "n": row["n"], "ms": row["n"] / 2e4} for row in rows[::3]]
    return {"rows": rows, "floors": floors, "dim": 384, "k": 10}
