"""Files of a home as the rest of the program writes them, and as tests read them."""

from __future__ import annotations

import sqlite3
import time
from datetime import UTC, datetime
from pathlib import Path

from aiki_kernel.config import Paths
from aiki_kernel.mind.ledger import Entry, Ledger


def booked(paths: Paths, count: int = 1, *, ago_s: float = 1.0, **fields: object) -> None:
    """``count`` model calls in the ledger, ``ago_s`` seconds ago."""
    ledger = Ledger(paths.ledger)
    when = datetime.fromtimestamp(time.time() - ago_s, UTC).isoformat()
    values = {"model": "m", "provider": "p", "latency_s": 2.0, "cost_usd": 0.001, **fields}
    for number in range(count):
        row = {"session_id": "s", "turn_id": f"t{number}", **values}
        ledger.record(Entry(when=when, **row))  # type: ignore[arg-type]
    ledger.close()


def rows(path: Path, sql: str) -> list[tuple[object, ...]]:
    """What a query finds in a file of SQLite."""
    with sqlite3.connect(path) as opened:
        return opened.execute(sql).fetchall()
