"""What became of answers: labels, beside the calls in the ledger's own file.

A label says that one model's answer to one message was good or bad, and who says so: the
user (``good``, ``bad``), a cell that was run again (``rerun``), the router itself when the
cheap model's own signs were poor (``escalated``), or the check of an executor
(``checked``). ``aiki route train`` learns from them. The table is made when the first
label is written, so that the ledger's own format does not change.
"""

from __future__ import annotations

import sqlite3
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

from aiki_kernel.mind.ledger_file import LedgerFile
from aiki_kernel.safety.secrets import redact

Source = Literal["good", "bad", "rerun", "escalated", "checked"]
SOURCES: tuple[Source, ...] = get_args(Source)
SAID_BY_USER: tuple[Source, ...] = ("good", "bad")
_TEXT = 8000  # characters of a message that a label keeps

_SCHEMA = (
    """CREATE TABLE IF NOT EXISTS label (
  id INTEGER PRIMARY KEY,
  "when" TEXT NOT NULL,
  turn_id TEXT NOT NULL,
  session_id TEXT NOT NULL,
  message TEXT NOT NULL,
  model TEXT NOT NULL,
  tier TEXT NOT NULL,
  source TEXT NOT NULL,
  good REAL NOT NULL,
  confidence REAL
) STRICT""",
    "CREATE UNIQUE INDEX IF NOT EXISTS label_once ON label (turn_id, model, source)",
)


@dataclass(frozen=True)
class Label:
    """One judgement of one answer. ``good`` is 0..1; ``when`` is ISO-8601; ``tier`` is the
    model's at that time, or ""; ``confidence`` is what an insight claimed, where it had one."""

    when: str
    turn_id: str
    message: str
    model: str
    source: Source
    good: float
    session_id: str = ""
    tier: str = ""
    confidence: float | None = None

    def to_json(self) -> dict[str, Any]:
        """A plain dict of all fields."""
        return asdict(self)


_COLUMNS = tuple(field.name for field in fields(Label))
_NAMES = ", ".join(f'"{name}"' for name in _COLUMNS)
_INSERT = (
    f"INSERT INTO label ({_NAMES}) VALUES ({', '.join('?' * len(_COLUMNS))}) "  # noqa: S608
    "ON CONFLICT (turn_id, model, source) DO UPDATE SET "
    'good = excluded.good, "when" = excluded."when", confidence = excluded.confidence'
)


class Labels:
    """The labels in the ledger file at ``path``. Thread-safe; many processes may write.

    Every method raises :class:`aiki_kernel.mind.ledger.LedgerError`, one line.
    """

    def __init__(self, path: Path) -> None:
        self.file = LedgerFile(path)

    def put(self, *labels: Label) -> None:
        """Write labels; they are on disk on return. The same source labels an answer once:
        a later label takes the place of an earlier one, and ``good`` that of ``bad``."""
        rows = [
            tuple(redact(value[:_TEXT]) if name == "message" else value for name, value in pairs)
            for pairs in (asdict(label).items() for label in labels)
        ]

        def write(db: sqlite3.Connection) -> None:
            _prepare(db)
            with db:
                for label in labels:
                    if label.source in SAID_BY_USER:
                        db.execute(
                            "DELETE FROM label WHERE turn_id = ? AND model = ? "
                            "AND source IN ('good', 'bad')",
                            (label.turn_id, label.model),
                        )
                db.executemany(_INSERT, rows)

        self.file.use(write, verb="written")

    def all(self, *, since: str | None = None) -> list[Label]:
        """Every label, oldest first; those from ``since`` (ISO-8601, UTC) on."""
        where, values = (' WHERE "when" >= ?', (since,)) if since else ("", ())
        sql = f"SELECT {_NAMES} FROM label{where} ORDER BY id"  # noqa: S608 - names are our own

        def read(db: sqlite3.Connection) -> list[Label]:
            _prepare(db)
            return [
                Label(**dict(zip(_COLUMNS, row, strict=True))) for row in db.execute(sql, values)
            ]

        return self.file.use(read, verb="read") if self.file.path.exists() else []

    def counts(self) -> dict[str, int]:
        """How many labels each source has given."""
        out = dict.fromkeys(SOURCES, 0)
        for label in self.all():
            out[label.source] += 1
        return {str(source): count for source, count in out.items()}


def _prepare(db: sqlite3.Connection) -> None:
    with db:
        for statement in _SCHEMA:
            db.execute(statement)
