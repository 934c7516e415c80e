"""Which memories an answer had, and why not others: kept for the latest replies.

::

    AIKI_HOME/recollections.sqlite     one row a reply: ids, ranks and scores, no text

Rows are written half a second behind the answers, many at once, by the process that gave
them (or at its end), so that no message waits for them; they outlive a restart, and the
oldest go. Texts stay in the memory alone, so what is forgotten there is nowhere else.
"""

from __future__ import annotations

import atexit
import json
import logging
import sqlite3
import threading
from collections.abc import Container, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiki_kernel.errors import AikiError
from aiki_kernel.safety import wal
from aiki_kernel.safety.wal import step

if TYPE_CHECKING:
    from aiki_kernel.config import Settings
    from aiki_kernel.memory.records import Hit
    from aiki_kernel.mind.run import Run

MOST = 2000
"""Replies that are kept."""
_VERSION = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS recollection (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    turn_id TEXT NOT NULL UNIQUE,
    session_id TEXT NOT NULL,
    at TEXT NOT NULL,
    data TEXT NOT NULL
) STRICT
"""
_LATER_S = 0.5
_log = logging.getLogger(__name__)
_UNWRITTEN: set[Recollections] = set()


@atexit.register
def flush_all() -> None:
    """Write what waits in this process; also done when it ends."""
    for one in list(_UNWRITTEN):
        one.flush()


@dataclass(frozen=True)
class Recollection:
    """One reply's recall. ``hits`` have id, score, ranks, scores and ``fate``; ``dropped`` what
    was found and never became a hit, with the same keys and ``of``, whose like it is."""

    turn_id: str
    session_id: str
    at: str
    data: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        names = ("turn_id", "session_id", "at")
        return {**{name: getattr(self, name) for name in names}, **self.data}


class Recollections:
    """The file; made with the first reply. Thread-safe, and many processes may write."""

    def __init__(self, path: Path, settings: Settings) -> None:
        self.path, self.settings = path, settings
        self._lock = threading.Lock()
        self._waiting: list[Run] = []

    def keep(self, run: Run) -> None:
        """Write down the recall of a message, a moment later."""
        with self._lock:
            self._waiting.append(run)
            first = len(self._waiting) == 1
            _UNWRITTEN.add(self)
        if first:
            timer = threading.Timer(_LATER_S, self.flush)
            timer.daemon = True
            timer.start()

    def flush(self) -> None:
        """Write what waits, now. A failure is logged: the answers stand."""
        with self._lock:
            runs, self._waiting = self._waiting, []
            _UNWRITTEN.discard(self)
        try:
            if runs:
                self.put(*(recollected(run, self.settings) for run in runs))
        except (sqlite3.Error, OSError, AikiError) as error:
            _log.warning("%s was not written (%s)", self.path.name, error)

    def put(self, *rows: Recollection) -> None:
        """Write rows, and let the oldest go."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._lock, closing(self._open()) as db, db:
            db.executemany(
                "INSERT OR REPLACE INTO recollection (turn_id, session_id, at, data) "
                "VALUES (?, ?, ?, ?)",
                [
                    (row.turn_id, row.session_id, row.at, json.dumps(row.data, ensure_ascii=False))
                    for row in rows
                ],
            )
            db.execute(
                "DELETE FROM recollection WHERE id <= (SELECT max(id) FROM recollection) - ?",
                (MOST,),
            )

    def latest(self, limit: int = 20, session_id: str = "") -> list[Recollection]:
        """The newest first; of one session where it is named. Raises :class:`AikiError`."""
        where, values = ("WHERE session_id = ?", [session_id]) if session_id else ("", [])
        return self._read(f"{where} ORDER BY id DESC LIMIT ?", [*values, limit])

    def find(self, beginning: str) -> list[Recollection]:
        """Those whose turn id begins so, the newest first. Raises :class:`AikiError`."""
        return self._read(
            "WHERE substr(turn_id, 1, ?) = ? ORDER BY id DESC LIMIT 3",
            [len(beginning), beginning.lower()],
        )

    def _read(self, rest: str, values: Sequence[Any]) -> list[Recollection]:
        if not self.path.exists():
            return []
        try:
            with closing(self._open()) as db:
                rows = db.execute(
                    f"SELECT turn_id, session_id, at, data FROM recollection {rest}",  # noqa: S608
                    values,
                ).fetchall()
            return [Recollection(row[0], row[1], row[2], json.loads(row[3])) for row in rows]
        except (sqlite3.Error, ValueError) as error:
            todo = step(str(error), "a new one is made")
            raise AikiError(f"{self.path} cannot be read ({error}): {todo}.") from error

    def _open(self) -> sqlite3.Connection:
        db = sqlite3.connect(self.path, timeout=30)
        try:
            found = int(db.execute("PRAGMA user_version").fetchone()[0])
            if found > _VERSION:
                raise AikiError(
                    f"{self.path} was written by a newer AIKI: update with "
                    "`pip install -U aiki-kernel`."
                )
            if found < _VERSION:
                wal.switch_on(db, 30)
                db.execute(_SCHEMA)
                db.execute(f"PRAGMA user_version = {_VERSION}")
                self.path.chmod(0o600)
            # A row lost to a power cut is no loss that anybody must wait against.
            db.execute("PRAGMA synchronous=NORMAL")
        except BaseException:
            db.close()
            raise
        return db


def recollected(run: Run, settings: Settings) -> Recollection:
    """What is kept of a message's recall: who ranked what where, and what became of it."""
    hits, memory = run.recall.hits, settings.memory
    used = {hit.id for hit in run.used}
    best = max((hit.score for hit in hits if hit.id not in run.repeated), default=0.0)
    least = memory.relevance * best
    rows = [{**_row(hit), "fate": _fate(hit, least, used, run.repeated)} for hit in hits]
    data = {
        "model": run.name,
        "hits": rows,
        "dropped": [one.to_json() for one in run.recall.dropped],
        "least_score": round(least, 4),
        "recall_k": memory.recall_k,
        "recall_tokens": memory.recall_tokens,
        "relevance": memory.relevance,
        "backend": run.recall.backend.to_json(),
        "seconds": {name: round(value, 5) for name, value in run.recall.seconds.items()},
        "note": run.recall.note,
    }
    return Recollection(run.turn_id, run.conversation.session_id, run.created_at, data)


def _fate(hit: Hit, least: float, used: Container[str], echo: Container[str]) -> str:
    if hit.id in used:
        return "used"
    if hit.id in echo:
        return "echo"
    return "relevance" if hit.score <= 0 or hit.score < least else "budget"


def _row(hit: Hit) -> dict[str, Any]:
    return {
        "id": hit.id,
        "score": round(hit.score, 4),
        "ranks": dict(hit.ranks),
        "scores": {name: round(score, 4) for name, score in hit.scores.items()},
    }
