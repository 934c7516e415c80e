"""Ledger files of other days and other fates: an old format, a torn journal, a cut file."""

from __future__ import annotations

import random
import shutil
import sqlite3
from pathlib import Path

# The schema exactly as AIKI 0.1.0 wrote it (format 1).
FORMAT_1 = """
CREATE TABLE IF NOT EXISTS entry (
  id INTEGER PRIMARY KEY,
  at REAL NOT NULL,
  "when" TEXT NOT NULL,
  session_id TEXT NOT NULL,
  turn_id TEXT NOT NULL,
  cell_id TEXT NOT NULL,
  stage TEXT NOT NULL,
  model TEXT NOT NULL,
  provider TEXT NOT NULL,
  persona TEXT NOT NULL,
  input_tokens INTEGER NOT NULL,
  output_tokens INTEGER NOT NULL,
  cached_tokens INTEGER NOT NULL,
  cost_usd REAL,
  estimated INTEGER NOT NULL,
  latency_s REAL NOT NULL,
  first_token_s REAL,
  finish_reason TEXT NOT NULL,
  error TEXT,
  interrupted INTEGER NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS entry_at ON entry (at);
CREATE INDEX IF NOT EXISTS entry_session ON entry (session_id);
CREATE INDEX IF NOT EXISTS entry_turn ON entry (turn_id);
"""


def row_of_format_1(number: int) -> tuple[object, ...]:
    """What 0.1.0 wrote for a call; every third has no known price, every fifth was cut."""
    cost = None if number % 3 == 0 else number / 1000
    cut = number % 5 == 0
    error = "CancelledError" if cut else None
    return (
        1_763_467_200.0 + number,
        "2025-11-18T12:00:00+00:00",
        f"s{number % 2}",
        f"t{number}",
        f"c{number}",
        "generate",
        "gpt-4o-mini",
        "openai",
        "default",
        *(100 + number, 20, 40, cost, int(cut), 1.5),
        *(None if cut else 0.25, "interrupted" if cut else "stop", error, int(cut)),
    )


def format_1(path: Path, rows: int) -> None:
    """A ledger of AIKI 0.1.0 with ``rows`` calls, in WAL as that version left it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    db = sqlite3.connect(path)
    db.execute("PRAGMA journal_mode=WAL")
    db.executescript(f"BEGIN IMMEDIATE; {FORMAT_1} PRAGMA user_version=1; COMMIT;")
    columns = [row[1] for row in db.execute("PRAGMA table_info(entry)")][1:]
    names = ", ".join(f'"{name}"' for name in columns)
    insert = f"INSERT INTO entry ({names}) VALUES ({', '.join('?' * len(columns))})"
    with db:
        db.executemany(insert, [row_of_format_1(number) for number in range(rows)])
    db.close()


def torn(source: Path, target: Path, ending: str, dice: random.Random) -> int:
    """A copy of a ledger whose file with that ending ("-wal", "") ends at a random byte."""
    target.parent.mkdir(parents=True)
    for file in source.parent.glob(f"{source.name}*"):
        if not file.name.endswith("-shm"):
            shutil.copy(file, target.parent / file.name)
    cut = target.with_name(target.name + ending)
    size = dice.randrange(1, cut.stat().st_size)
    with cut.open("r+b") as file:
        file.truncate(size)
    return size
